"""DCCA: encoders trained so that streams correlate (Andrew et al., ICML 2013), for HDA's second stage (Panchal 2020, eq. 13).

Letters: n paired rows, p and q columns. With centred views U and V, S_uv = U^T V / (n - 1), S_uu + ridge I = L L^T (Cholesky) and
T = L_u^-1 S_uv L_v^-T, the canonical correlations are T's singular values. HDA has three views; the sum over their pairs is taken.
Everything is computed in float64; only singular values are used, whose sum has a stable gradient. n should be ten times p or
more: with few rows correlations near 1 appear in noise (the paper's batch of 4 means something only row by row).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from emofuse.pipeline.errors import StreamError

from .attention import present_mean
from .batch import Batch


def canonical_correlations(first: Tensor, second: Tensor, ridge: float = 1e-3) -> Tensor:
    """(n p) and (n q) -> (min(p, q)) float64, largest first, 0..1 up to the ridge. Raises `StreamError` for fewer than two rows."""
    if len(first) != len(second) or len(first) < 2:
        raise StreamError(f"correlation: expected two views of the same rows, two or more, got {len(first)} and {len(second)} rows")
    first_centred, second_centred = _centred(first), _centred(second)
    left, right = _cholesky(first_centred, ridge), _cholesky(second_centred, ridge)
    across = first_centred.T @ second_centred / (len(first_centred) - 1)  # (p q)
    whitened = torch.linalg.solve_triangular(left, across, upper=False)
    whitened = torch.linalg.solve_triangular(right, whitened.T, upper=False).T
    correlations: Tensor = torch.linalg.svdvals(whitened)
    return correlations


def dcca_loss(views: Sequence[Tensor], ridge: float = 1e-3) -> Tensor:
    """Views (n p) each -> minus the sum of all canonical correlations of all pairs, in -(pairs) p .. 0."""
    pairs = [canonical_correlations(a, b, ridge).sum() for a, b in itertools.combinations(views, 2)]
    return -torch.stack(pairs).sum()


def paired(rows: Mapping[str, Tensor], streams: Mapping[str, Batch], pairing: Literal["utterances", "rows"] = "utterances") -> list[Tensor]:
    """Encoded streams (b n r) -> views (n r), row for row of the same thing.

    "utterances"  the mean of each stream over each utterance that has all streams: right for streams of different rates
    "rows"        rows that all streams have, for streams aligned row by row; raises `StreamError` where their lengths differ
    """
    present = [streams[m].present for m in rows]
    if pairing == "utterances":
        whole = torch.stack([p.any(1) for p in present]).all(0)
        return [present_mean(values, streams[m].present)[whole] for m, values in rows.items()]
    if len({p.shape[1] for p in present}) != 1:
        raise StreamError(f"correlation: rows can be paired in aligned streams only, got {[p.shape[1] for p in present]} rows")
    everywhere = torch.stack(present).all(0)
    return [values[everywhere] for values in rows.values()]


def _centred(view: Tensor) -> Tensor:
    view = view.double()
    return view - view.mean(0)


def _cholesky(centred: Tensor, ridge: float) -> Tensor:
    n, width = centred.shape
    covariance = centred.T @ centred / (n - 1) + ridge * torch.eye(width, dtype=centred.dtype, device=centred.device)
    factor: Tensor = torch.linalg.cholesky(covariance)
    return factor
