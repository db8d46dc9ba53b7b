"""Augmentation: what it changes, what it leaves alone, and that training draws it the same way twice and never while validating."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from emofuse.fusion.augmentation import augmented
from emofuse.fusion.batch import Batch
from emofuse.fusion.recipe import AugmentPart, Recipe, TaskPart
from emofuse.fusion.tasks import task_of
from emofuse.fusion.train import one_cycle
from emofuse.pipeline.errors import UsageError


def ones(b: int = 200, n: int = 20, f: int = 5) -> Batch:
    present = torch.arange(n) < torch.full((b, 1), n // 2)
    return Batch(torch.ones(b, n, f), torch.zeros(b, n, dtype=torch.float64), present)


def test_nothing_asked_for_changes_nothing_present(streams_of: Callable[..., dict[str, Batch]]) -> None:
    batch = streams_of(1)["voice"]
    changed = augmented(batch, AugmentPart())
    assert torch.equal(changed.values[batch.present], batch.values[batch.present])
    assert torch.equal(changed.present, batch.present) and torch.equal(changed.times, batch.times)


def test_absent_rows_become_zero() -> None:
    torch.manual_seed(0)
    changed = augmented(ones(), AugmentPart(offset=1, noise=1, mask_columns=0.5, mask_rows=0.5))
    assert (changed.values[~changed.present] == 0).all()


def test_an_offset_is_shared_by_the_rows_of_an_utterance_and_noise_is_not() -> None:
    torch.manual_seed(0)
    shift = augmented(ones(), AugmentPart(offset=0.5)).values[:, :10] - 1  # (b n f)
    assert torch.equal(shift, shift[:, :1].expand_as(shift))
    assert shift[:, 0].std().item() == pytest.approx(0.5, abs=0.05)  # 1000 draws: three standard errors
    noise = augmented(ones(), AugmentPart(noise=0.5)).values[:, :10] - 1
    assert noise.std().item() == pytest.approx(0.5, abs=0.02)
    assert noise.mean(1).std().item() == pytest.approx(0.5 / 10**0.5, abs=0.02)


def test_masks_take_whole_columns_and_one_run_of_rows() -> None:
    torch.manual_seed(0)
    columns = augmented(ones(), AugmentPart(mask_columns=0.3)).values[:, :10]
    assert ((columns == 0) == (columns[:, :1] == 0)).all()
    assert (columns[:, 0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.05)
    rows = augmented(ones(), AugmentPart(mask_rows=0.6)).values[:, :10]
    gone = rows[..., 0] == 0
    assert ((rows == 0) == gone[..., None]).all()
    assert set(gone.sum(1).tolist()) == {0, 1, 2, 3, 4, 5}  # lengths floor(U * 0.6 * 10)
    assert (gone.int().diff(dim=1).abs().sum(1) <= 2).all()  # one run
    assert gone.any(0).all()  # anywhere


def test_the_rate_of_one_cycle() -> None:
    assert one_cycle(0) == pytest.approx(1 / 25)
    assert one_cycle(0.15) == pytest.approx(1)
    assert one_cycle(0.15 + 0.85 / 2) == pytest.approx(0.5)
    assert one_cycle(1) == pytest.approx(0)


def test_smoothing_by_hand() -> None:
    """Logits (0, ln 3): probabilities 1/4, 3/4. Truth 1, smoothed by 0.2: 0.1 and 0.9."""
    task = task_of("emotion", TaskPart("classes", labels=("a", "b"), smoothing=0.2))
    logits, truth = torch.tensor([[0.0, math.log(3)]]), torch.tensor([1])
    assert task.loss(logits, truth).item() == pytest.approx(-math.log(0.75))
    expected = -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
    assert task.loss(logits, truth, smoothing=0.2).item() == pytest.approx(expected)
    with pytest.raises(UsageError, match="smoothing belongs to classes with cross-entropy, not to regress"):
        task_of("sentiment", TaskPart("regress", smoothing=0.2))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"voice": {"offset": -1.0}}, "test: augment.voice: expected offset"),
        ({"face": {}}, "test: augment: no stream face; there are voice"),
    ],
)
def test_what_cannot_be_meant_is_named(table: dict[str, dict[str, float]], said: str) -> None:
    whole = {
        "name": "x",
        "data": {"form": "streams"},
        "streams": {"voice": {}},
        "tasks": {"emotion": {"kind": "classes", "labels": ["a", "b"]}},
        "model": {"name": "rrnn"},
        "training": {"epochs": 1, "batch": 1, "rate": 0.1},
        "augment": table,
    }
    with pytest.raises(UsageError, match=said):
        Recipe.of(whole, "test")
