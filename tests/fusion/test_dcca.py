"""Canonical correlations against Pearson's, numpy's eigenvalues and what must hold; the pairing of streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.fusion.batch import Batch
from emofuse.fusion.dcca import canonical_correlations, dcca_loss, paired
from emofuse.pipeline.errors import StreamError


def noise(n: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_column_gives_pearsons_correlation() -> None:
    first = noise(50, 1, 1)
    second = noise(50, 1, 2) - 0.7 * first
    expected = np.corrcoef(first[:, 0].numpy(), second[:, 0].numpy())[0, 1]
    assert expected < -0.3
    assert canonical_correlations(first, second, ridge=0).item() == pytest.approx(-expected, abs=1e-12)


def test_they_are_the_roots_of_the_classical_eigenvalue_problem() -> None:
    first = noise(200, 3, 1)
    second = noise(200, 4, 2) + torch.cat([first, first[:, :1]], 1)
    joint = np.cov(torch.cat([first, second], 1).numpy().T)
    aa, bb, ab = joint[:3, :3], joint[3:, 3:], joint[:3, 3:]
    squares = np.linalg.eigvals(np.linalg.inv(aa) @ ab @ np.linalg.inv(bb) @ ab.T)
    expected = np.sqrt(np.sort(squares.real)[::-1])
    np.testing.assert_allclose(canonical_correlations(first, second, ridge=0).numpy(), expected, atol=1e-10)


def test_a_view_and_its_linear_image_correlate_fully() -> None:
    first = noise(400, 4, 1)
    correlations = canonical_correlations(first, first @ noise(4, 4, 2) + 5, ridge=1e-4)
    assert correlations.min() > 0.995
    assert dcca_loss([first, first, first], ridge=1e-6).item() == pytest.approx(-12, abs=1e-3)


def test_affine_maps_of_a_view_change_nothing() -> None:
    first, second = noise(100, 3, 1), noise(100, 3, 2) + noise(100, 3, 1)
    moved = canonical_correlations(first @ noise(3, 3, 4) - 2, 10 * second @ noise(3, 3, 5) + 1, ridge=0)
    torch.testing.assert_close(moved, canonical_correlations(first, second, ridge=0))


def test_noise_correlates_little_in_many_rows_and_fully_in_few() -> None:
    assert canonical_correlations(noise(400, 5, 1), noise(400, 5, 2)).max() < 0.3
    assert (canonical_correlations(noise(4, 5, 1), noise(4, 5, 2)) > 0.9).sum() >= 3, "why a batch of 4 means nothing"


def test_the_gradient_is_finite_with_fewer_rows_than_columns_and_raises_the_correlation() -> None:
    few = noise(4, 8, 1).requires_grad_()
    dcca_loss([few, noise(4, 8, 2)]).backward()
    assert few.grad is not None and few.grad.isfinite().all()
    first, second = noise(100, 2, 1).requires_grad_(), noise(100, 2, 2)
    loss = dcca_loss([first, second])
    (gradient,) = torch.autograd.grad(loss, first)
    assert dcca_loss([first - gradient, second]) < loss


def test_streams_pair_by_utterance_or_row_by_row() -> None:
    def batch(present: list[list[bool]]) -> Batch:
        shown = torch.tensor(present)
        return Batch(torch.zeros(*shown.shape, 1), torch.zeros(shown.shape, dtype=torch.float64), shown)

    streams = {"text": batch([[True, True], [True, False], [True, True]]), "voice": batch([[True, False], [False, False], [True, True]])}
    rows = {m: torch.tensor([[[1.0], [3.0]], [[5.0], [7.0]], [[9.0], [11.0]]]) for m in streams}
    text, voice = paired(rows, streams)
    assert text.tolist() == [[2], [10]] and voice.tolist() == [[1], [10]]  # the second utterance has no voice
    text, voice = paired(rows, streams, "rows")
    assert text.tolist() == voice.tolist() == [[1], [9], [11]]
    streams["voice"] = batch([[True], [True], [True]])
    with pytest.raises(StreamError, match="aligned streams only"):
        paired(rows, streams, "rows")


def test_views_of_different_rows_are_refused() -> None:
    with pytest.raises(StreamError, match="got 3 and 4 rows"):
        canonical_correlations(noise(3, 2, 1), noise(4, 2, 2))
