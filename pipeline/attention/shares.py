"""A stream's attention as numbers to show: which rows have a share, and each share relative to an even spread over its utterance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..attention_rows import OUTSIDE, StreamAttention
from ..results import Analysis


def attention_on(analysis: Analysis, stream: str) -> StreamAttention | None:
    """The attention received by a stream's rows; None where the clip has no such stream."""
    return analysis.attention.streams.get(stream)


def attended(attention: StreamAttention) -> NDArray[np.intp]:
    """Indices (k) of the rows that lie in an utterance and have a share."""
    return np.flatnonzero((attention.utterance != OUTSIDE) & ~np.isnan(attention.overall))


def shares_present(attention: StreamAttention, rows: NDArray[np.intp]) -> list[str]:
    """`overall` and the name of every share that any of the rows `rows` (k indices) has."""
    return [name for name in ("overall", *attention.names()) if not np.isnan(attention.share(name)[rows]).all()]


def in_utterances(attention: StreamAttention, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """(u + 1) how many of the rows `rows` (k indices) lie outside utterances, in the first, in the second, ..."""
    return np.bincount(attention.utterance[rows] - OUTSIDE)


def relative(attention: StreamAttention, rows: NDArray[np.intp], name: str, counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n) each of these rows' share times its utterance's rows (`in_utterances`): 1 is the even part. NaN where there is no share."""
    return np.asarray(attention.share(name)[rows] * counts[attention.utterance[rows] - OUTSIDE])
