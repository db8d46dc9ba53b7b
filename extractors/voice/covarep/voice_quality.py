"""Descriptions of the glottal pulse: NAQ, QOQ, H1-H2 and the parabolic spectral parameter (PSP).

Sources: NAQ: P. Alku, T. Baeckstroem, E. Vilkman, JASA 112(2), 2002. QOQ: T. Hacki, Folia Phoniatrica, 1989. H1-H2: H. Hanson, JASA
101(1), 1997. PSP: P. Alku, H. Strik, E. Vilkman, Speech Comm. 22(1), 1997. Letters: b pulses, n samples, k bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .framing import Floats, Integers, batches, fft, local_maxima, pieces, round_half_away

RATE = 16000
AFTER_CLOSURE = 8  # samples after the closure in which the largest derivative may still lie
PARABOLA_SIZE = 2048
PARABOLA_BINS = PARABOLA_SIZE // 2
PARABOLA_ERROR = 0.01


def pulse_shape(flow: Floats, derivative: Floats, start: Integers, stop: Integers, *, between_samples: bool) -> tuple[Floats, Floats]:
    """(b) NAQ and QOQ of the pulses start .. stop (both included), each over its own length stop - start.

    QOQ counts from the first sample at or below half the amplitude to the next such sample, or `between_samples` from where a straight
    line crosses the half.
    """
    naq, qoq = np.zeros(len(start)), np.zeros(len(start))
    total = len(flow)
    for chunk in batches(stop - start + 1):
        first, period = start[chunk], (stop - start)[chunk]
        longest = int(period.max()) + 1
        n = np.arange(longest)
        inside = n <= period[:, None]
        pulse = pieces(flow, first, longest)
        end = flow[np.minimum(first + period, total - 1)]
        with np.errstate(divide="ignore", invalid="ignore"):
            line = pulse[:, :1] + (end - pulse[:, 0])[:, None] * n / period[:, None]
        pulse = np.where(inside, pulse - line, -np.inf)
        pulse[np.arange(len(chunk)), period] = 0  # whatever the rounding: where the flow lies below the line, the ends are its top
        top = pulse.argmax(axis=1)
        amplitude = np.take_along_axis(pulse, top[:, None], axis=1)[:, 0]
        reach = np.where(first + period + AFTER_CLOSURE < total, AFTER_CLOSURE, 0)
        slope = np.abs(pieces(derivative, first, longest + AFTER_CLOSURE))
        steepest = np.where(np.arange(longest + AFTER_CLOSURE) <= (period + reach)[:, None], slope, 0.0).max(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            naq[chunk] = amplitude / (steepest * period)
        below = pulse <= amplitude[:, None] / 2
        left = np.where(below & (n <= top[:, None]), n, -1).max(axis=1)  # where the walk down from the top stops
        left = np.where(below[np.arange(len(top)), top], top, np.maximum(left, np.minimum(top, 2)))
        right = np.where(below & (n >= top[:, None]), n, longest).min(axis=1)
        right = np.minimum(right, np.maximum(top, period - 2))
        open_for = (right - left).astype(np.float64)
        if between_samples:
            half = amplitude / 2
            for outer, inner in ((left, left + 1), (right, right - 1)):
                low, high = (np.take_along_axis(pulse, np.clip(i, 0, longest - 1)[:, None], axis=1)[:, 0] for i in (outer, inner))
                with np.errstate(divide="ignore", invalid="ignore"):
                    open_for -= np.where((low <= half) & (high > half), (half - low) / (high - low), 0.0)
        qoq[chunk] = open_for / np.maximum(period, 1)
    return naq, qoq


@lru_cache(maxsize=1024)
def flattest(period: int) -> float:
    """The curvature of a rectangular pulse of one period: the largest that PSP is divided by."""
    pulse = np.full((1, period), 1.0 / period)
    return float(parabola_curvature(pulse)[0])


def parabola_curvature(pulse: Floats) -> Floats:
    """(b) curvature of the parabola fitted to the low spectrum (dB) of (b n) pulses, over as many bins as it first misfits by 1 %."""
    with np.errstate(divide="ignore"):
        level = 20 * np.log10(np.abs(fft.rfft(pulse, PARABOLA_SIZE, axis=1))[:, :PARABOLA_BINS])
    curvature = np.full(len(pulse), np.nan)
    left = np.arange(len(pulse))
    bins = 48
    while len(left):
        a, misfit = _parabolas(level[left, :bins])
        over = misfit >= PARABOLA_ERROR
        exceeds = over.any(axis=1)
        curvature[left[exceeds]] = a[exceeds, over[exceeds].argmax(axis=1)]
        if bins == PARABOLA_BINS:
            curvature[left[~exceeds]] = a[~exceeds, -1]
            break
        left = left[~exceeds]
        bins = min(PARABOLA_BINS, 4 * bins)
    return curvature


def _parabolas(level: Floats) -> tuple[Floats, Floats]:
    """Curvature and relative misfit (b, k - 2) of least-squares parabolas a k^2 + c over the first 3, 4, ... bins."""
    k2 = np.arange(level.shape[1], dtype=np.float64) ** 2
    count = np.arange(1, level.shape[1] + 1)
    sx, sxx = np.cumsum(k2), np.cumsum(k2**2)
    sy, syy, sxy = np.cumsum(level, axis=1), np.cumsum(level**2, axis=1), np.cumsum(level * k2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (count * sxy - sx * sy) / (count * sxx - sx**2)
        c = (sy - a * sx) / count
        misfit = (syy - a * sxy - c * sy) / syy
    return a[:, 2:], misfit[:, 2:]


def parabolic_spectral_parameter(flow: Floats, start: Integers, stop: Integers) -> Floats:
    """(b) PSP of the pulses start .. stop, both included: 0 for an impulse, 1 for no closure at all. NaN where the flow is flat."""
    psp = np.full(len(start), np.nan)
    for chunk in batches(stop - start + 1, 400_000):
        period = (stop - start)[chunk]
        longest = int(period.max()) + 1
        inside = np.arange(longest) <= period[:, None]
        pulse = pieces(flow, start[chunk], longest)
        pulse = np.where(inside, pulse - np.where(inside, pulse, np.inf).min(axis=1, keepdims=True), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            pulse /= pulse.max(axis=1, keepdims=True)
        psp[chunk] = parabola_curvature(pulse) / np.array([flattest(int(p)) for p in period])
    return psp


def thinned(position: Integers | Floats, level: Floats, group: Integers, distance: Floats) -> NDArray[np.bool_]:
    """(n) which spectral peaks stay if, of each two neighbours within the group's `distance` (g), the lower goes until none is so near.

    `position`, `level` and `group` are (n). Positions ascend within a group, and groups follow each other.
    """
    keep = np.arange(len(position))
    while True:
        same = group[keep[1:]] == group[keep[:-1]]
        near = np.flatnonzero(same & (position[keep[1:]] - position[keep[:-1]] <= distance[group[keep[1:]]]))
        if len(near) == 0:
            break
        later_goes = level[keep[near + 1]] <= level[keep[near]]
        keep = np.delete(keep, np.unique(near + later_goes))
    result = np.zeros(len(position), np.bool_)
    result[keep] = True
    return result


@dataclass(frozen=True)
class HarmonicSearch:
    """How the harmonics of a pulse are looked for.

    size    points of the spectrum
    offset  Hz added to a harmonic's frequency before the nearest peak is taken
    upto    Hz: spectral peaks above are not looked at; beyond 8 kHz the spectrum folds over
    least   fewer peaks than these mean that there are no harmonics
    dtype   of the spectrum: the rounding of float32, 140 dB down, makes peaks of its own between the lowest
    """

    size: int
    offset: int
    upto: int
    least: int
    dtype: type[Any]


def harmonic_levels(derivative: Floats, centre: Integers, period: Integers, search: HarmonicSearch) -> tuple[Floats, Floats]:
    """(b) levels in dB of the first two harmonics of three periods of the flow's derivative around each closure.

    A harmonic is the spectral peak nearest to its frequency, once lesser peaks within half the pitch of a greater one are gone. NaN
    where too few peaks are left.
    """
    first, second = np.full(len(centre), np.nan), np.full(len(centre), np.nan)
    half = round_half_away(1.5 * period)
    start = np.maximum(centre - half, 0)
    length = np.minimum(centre + half, len(derivative) - 1) + 1 - start
    hertz = RATE / search.size
    bins = min(int(search.upto / hertz), search.size // 2) + 1
    folded = max(0, int((search.upto - RATE / 2) / hertz))
    for chunk in batches(length, 20_000):
        longest = int(length[chunk].max())
        n = np.arange(longest)
        window = 0.54 - 0.46 * np.cos(2 * np.pi * n / np.maximum(length[chunk] - 1, 1)[:, None])
        frames = pieces(derivative, start[chunk], longest) * np.where(n < length[chunk][:, None], window, 0.0) * 2**15
        frames = frames.astype(search.dtype)
        with np.errstate(divide="ignore"):
            level: NDArray[Any] = 20 * np.log10(np.abs(fft.rfft(frames, search.size, axis=1)[:, :bins]))
        if folded:
            level = np.concatenate([level, level[:, -2 : -2 - folded : -1]], axis=1)
        group, position = np.nonzero(local_maxima(level))
        height = level[group, position]
        pitch = RATE / period[chunk]
        keep = thinned(position, height, group, pitch / 2 / hertz)
        group, position, height = group[keep], position[keep], height[keep]
        stride = level.shape[1] * 2.0
        key = group * stride + position
        enough = np.bincount(group, minlength=len(chunk)) >= search.least
        for k, out in ((1, first), (2, second)):
            wanted = np.arange(len(chunk)) * stride + (k * pitch + search.offset) / hertz
            after = np.clip(np.searchsorted(key, wanted), 0, max(len(key) - 1, 0))
            before = np.maximum(after - 1, 0)
            if len(key) == 0:
                continue
            nearer = np.where(np.abs(key[after] - wanted) < np.abs(key[before] - wanted), after, before)
            out[chunk] = np.where(enough, height[nearer], np.nan)
    return first, second
