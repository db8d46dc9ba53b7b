"""Dispersion of wavelet maxima around closures (MDQ) and the slope of wavelet maxima over scales (peakSlope).

Sources: J. Kane, C. Gobl, "Wavelet maxima dispersion for breathy to tense voice discrimination", IEEE TASLP 21(6), 2013; the same,
"Identifying regions of non-modal phonation using features of the wavelet transform", Interspeech 2011; the wavelet is C. d'Alessandro's
and N. Sturmel's. Scale s is in samples; its centre frequency is 8000 / s Hz.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .framing import Floats, Integers, Mask, batches, pieces
from .framing import signal as scipy_signal

DISPERSION_SCALES = (4, 8, 16, 32, 64)
SLOPE_SCALES = (1, 2, 4, 8, 16, 32, 64)
LONGEST_REACH = 1000  # samples to either side
UNDERFLOW = 39  # scales: beyond, the Gaussian is 0 in double precision


def whole_reach(scale: int) -> int:
    """Samples to either side within which the program's wavelet of this scale is not 0."""
    return min(LONGEST_REACH, UNDERFLOW * scale)


@cache
def wavelet(scale: int, reach: int) -> Floats:
    """(2 reach + 1) taps; the centre is -1."""
    m = np.arange(-reach, reach + 1)
    return -np.cos(np.pi * m / scale) * np.exp(-((m / scale) ** 2) / 2)


def transform(signal: NDArray[Any], scale: int, reach: int) -> NDArray[Any]:
    """(n) zero-phase convolution of the signal with the wavelet, in the signal's precision."""
    if len(signal) == 0:
        return signal.copy()
    taps = wavelet(scale, reach).astype(signal.dtype)
    result: NDArray[Any] = scipy_signal.oaconvolve(signal, taps, mode="full")[reach : reach + len(signal)]
    return result


def smeared(mask: Mask, reach: int) -> Mask:
    """(n) True within `reach` samples of a True of the mask (n)."""
    sums = np.concatenate([[0], np.cumsum(mask)])
    n = len(mask)
    at = np.arange(n)
    result: Mask = sums[np.minimum(at + reach + 1, n)] > sums[np.maximum(at - reach, 0)]
    return result


def first_maximum(signal: NDArray[Any], start: Integers, length: Integers) -> Integers:
    """(b) where, counted from its start, each stretch is largest; NaN is passed over, and all NaN gives -1."""
    result = np.full(len(start), -1, np.int64)
    for chunk in batches(length):
        longest = int(length[chunk].max())
        values = pieces(signal, start[chunk], longest)
        values = np.where((np.arange(longest) < length[chunk][:, None]) & ~np.isnan(values), values, -np.inf)
        best = values.argmax(axis=1)
        result[chunk] = np.where(np.isneginf(values).all(axis=1), -1, best)
    return result


def slope_over_scales(level: Floats) -> Floats:
    """(...) least-squares slope, an octave a step, of levels (..., 7) given from the finest scale to the coarsest: per octave upwards."""
    steps = np.arange(len(SLOPE_SCALES)) - (len(SLOPE_SCALES) - 1) / 2
    with np.errstate(invalid="ignore"):
        # -inf times the middle weight 0 must stay NaN, as least squares would have it
        result: Floats = (level[..., ::-1] * steps).sum(axis=-1) / (steps @ steps)
    return result
