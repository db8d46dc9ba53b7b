"""Cutting one long signal into many pieces at once, and laying pieces back: what every method of this package does first and last.

Letters: n samples, b pieces. A piece that reaches past either end of the signal meets zeros there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

# SciPy describes its functions by how they dispatch, not by the arrays they give: to the type checkers they are Any.
fft: Any = scipy.fft
signal: Any = scipy.signal


def round_half_away(value: Any) -> Integers:
    """Nearest integers, halves away from zero (numpy rounds halves to even); any shape."""
    value = np.asarray(value, np.float64)
    result: Integers = np.trunc(value + np.copysign(0.5, value)).astype(np.int64)
    return result


def pieces(samples: NDArray[Any], start: Integers, length: int) -> NDArray[Any]:
    """(b length) copies of samples[start : start + length]; zeros where that lies outside the signal."""
    if len(start) == 0:
        return np.zeros((0, length), samples.dtype)
    if start.min() < 0 or start.max() + length > len(samples):
        before = max(0, -int(start.min()))
        after = max(0, int(start.max()) + length - len(samples))
        samples = np.concatenate([np.zeros(before, samples.dtype), samples, np.zeros(after, samples.dtype)])
        start = start + before
    return np.lib.stride_tricks.sliding_window_view(samples, length)[start]


def overlap_add(piece: Floats, start: Integers, length: Integers, total: int) -> Floats:
    """(total) sum of pieces (b, longest) laid at their starts, each as long as its length; what lies outside is dropped."""
    column = np.arange(piece.shape[1])
    where = start[:, None] + column
    inside = (column < length[:, None]) & (where >= 0) & (where < total)
    return np.bincount(where[inside], weights=piece[inside], minlength=total).astype(np.float64)


def batches(length: Integers, elements: int = 200_000) -> Iterator[Integers]:
    """Indices (k) of pieces of like length (b), shortest first, in batches of about so many samples, so that little of a batch is
    padding."""
    order = np.argsort(length, kind="stable")
    first = 0
    while first < len(order):
        shortest = max(1, int(length[order[first]]))
        last = int(np.searchsorted(length[order], int(1.25 * shortest) + 16, side="right"))
        last = max(first + 1, min(last, first + max(1, elements // int(length[order[last - 1]]))))
        yield order[first:last]
        first = last


def local_maxima(values: NDArray[Any]) -> Mask:
    """(... n) -> (... n): true at strict maxima along the last axis, ends excluded."""
    peak = np.zeros(values.shape, np.bool_)
    np.logical_and(values[..., 1:-1] > values[..., :-2], values[..., 1:-1] > values[..., 2:], out=peak[..., 1:-1])
    return peak


def wrap(phase: NDArray[Any]) -> NDArray[Any]:
    """The same angles in radians, within (-pi, pi]; any shape."""
    return phase - 2 * np.pi * np.round(phase / (2 * np.pi))
