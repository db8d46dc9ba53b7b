"""Glottal closure instants: maxima of the residual, searched in intervals of a mean-based signal (SEDREAMS).

Sources: T. Drugman, T. Dutoit, "Glottal Closure and Opening Instant Detection from Speech Signals", Interspeech 2009; T. Drugman et
al., "Detection of Glottal Closure Instants from Speech Signals: a Quantitative Review", IEEE TASLP 20(3), 2012. Samples throughout.
"""

from __future__ import annotations

import numpy as np

from .framing import Floats, Integers, local_maxima, round_half_away
from .framing import signal as scipy_signal
from .polarity import elliptic_highpass, filter_both_ways

WINDOW_IN_PERIODS = 1.7
STRONG = 0.4  # of the largest residual: the samples that tell where in a cycle closures lie
HALF_WIDTH = 0.35  # of the distance from minimum to maximum


def mean_based_signal(signal: Floats, period: int) -> Floats:
    """(n) the signal through a Blackman window of 1.7 periods, and a zero-phase high-pass at 50 Hz; largest value 1."""
    half = int(round_half_away(WINDOW_IN_PERIODS * period / 2))
    smooth = np.zeros_like(signal)
    if len(signal) > 2 * half:
        window = scipy_signal.get_window("blackman", 2 * half + 1, fftbins=False) / (2 * half + 1)
        smooth[half : len(signal) - half] = scipy_signal.oaconvolve(signal, window, mode="valid")
    smooth = filter_both_ways(*elliptic_highpass(5, 50.0), smooth)
    largest = np.abs(smooth).max(initial=0.0)
    return smooth / largest if largest > 0 else smooth


def cycles(mean_based: Floats) -> tuple[Integers, Integers]:
    """(k) minima and the maxima that follow them; a plateau counts from its first sample."""
    change = np.flatnonzero(np.diff(mean_based) != 0) if len(mean_based) else np.zeros(0, np.int64)
    first = np.concatenate([[0], change + 1]).astype(np.int64)  # first sample of each plateau
    level = mean_based[first] if len(mean_based) else mean_based
    maxima, minima = first[local_maxima(level)], first[local_maxima(-level)]
    if len(minima) == 0 or len(maxima) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    maxima = maxima[maxima > minima[0]]
    return minima[: len(maxima)], maxima


def closure_position(residual: Floats, minima: Integers, maxima: Integers) -> float:
    """Where closures lie in a cycle, 0 at its minimum and 1 at its maximum: median over the strong samples of the residual (n). `minima`
    and `maxima` (k) are samples."""
    strong = np.flatnonzero(residual > STRONG)
    if len(strong) == 0 or len(minima) == 0:
        return 0.0
    after = np.clip(np.searchsorted(minima, strong), 1, len(minima) - 1) if len(minima) > 1 else np.zeros(len(strong), np.int64)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(minima[after] - strong) < np.abs(strong - minima[before]), after, before)
    return float(np.median((strong - minima[nearest]) / (maxima[nearest] - minima[nearest])))


def largest_in(residual: Floats, start: Integers, stop: Integers) -> Integers:
    """(k) position of the first largest sample in residual[start .. stop], both included, cut to the signal."""
    start, stop = np.maximum(start, 0), np.minimum(stop, len(residual) - 1)
    width = int((stop - start).max(initial=0)) + 1
    where = start[:, None] + np.arange(width)
    values = np.where(where <= stop[:, None], residual[np.minimum(where, len(residual) - 1)], -np.inf)
    result: Integers = start + values.argmax(axis=1)
    return result


def closures(residual: Floats, minima: Integers, maxima: Integers, position: float | Floats) -> Integers:
    """(k) glottal closure instants, one a cycle, around `position` in it (one number, or one a cycle)."""
    rise = maxima - minima
    start = minima + round_half_away((position - HALF_WIDTH) * rise)
    stop = minima + round_half_away((position + HALF_WIDTH) * rise)
    keep = (start < len(residual)) & (stop >= 0)
    return largest_in(residual, start[keep], stop[keep]) if keep.any() else np.zeros(0, np.int64)
