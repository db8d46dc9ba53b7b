"""Phase distortion of the harmonics: its mean over time (HMPDM) and its deviation (HMPDD).

Sources: G. Degottex, D. Erro, "A uniform phase representation for the harmonic model in speech synthesis applications", EURASIP J.
Audio, Speech, Music Process. 2014:38; G. Degottex, A. Roebel, X. Rodet, ICASSP 2011; N. Fisher, "Statistical Analysis of Circular
Data", 1995. Letters: b frames, h harmonics, k bins 0..512 of 15.625 Hz. Angles in rad.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .envelope import warped_cepstrum
from .framing import Floats, Integers, fft, wrap
from .harmonics import Harmonics

RATE = 16000
SIZE = 1024
HALF = SIZE // 2
NOTHING = np.log(10.0) * -15  # -300 dB
MEAN_COUNT, DEVIATION_COUNT = 25, 13
MEAN_LENGTH = 25  # frames over which the mean is taken
SHORT_LENGTH = 9  # frames of the trend and of the deviation
LEAST_DEVIATION = 0.001
SCALE_KNEE = 8


def without_vocal_tract(harmonics: Harmonics) -> Floats:
    """(b h) phases of the harmonics less the minimum phase of their own amplitudes."""
    amplitude = harmonics.amplitude
    with np.errstate(divide="ignore"):
        level = np.log(amplitude)
    level[:, 0] = level[:, 1]
    spacing = harmonics.spacing[:, None]
    last = harmonics.count[:, None]
    frame = np.arange(len(level))[:, None]
    at = np.minimum(np.arange(HALF + 1) * (RATE / SIZE) / spacing, last)
    below = np.minimum(np.floor(at).astype(np.int64), np.maximum(last - 1, 0))
    with np.errstate(invalid="ignore"):
        smooth = level[frame, below] + (at - below) * (level[frame, below + 1] - level[frame, below])
    smooth = np.where(np.isnan(smooth), NOTHING, smooth)
    minimum = minimum_phase(smooth)
    at_bin = harmonics.spacing[:, None] * np.arange(amplitude.shape[1]) * (SIZE / RATE)
    lower = np.clip(np.floor(at_bin).astype(np.int64), 0, HALF - 1)
    angle = minimum[frame, lower] + (at_bin - lower) * (minimum[frame, lower + 1] - minimum[frame, lower])
    result: Floats = wrap(harmonics.phase - np.where(at_bin <= HALF, angle, 0.0))
    return result


def minimum_phase(level: Floats) -> Floats:
    """(b, 513) phase of the minimum-phase spectrum with these log magnitudes, by folding its real cepstrum."""
    cepstrum = fft.irfft(level, SIZE, axis=1)
    cepstrum[:, 1:HALF] *= 2
    cepstrum[:, HALF + 1 :] = 0
    result: Floats = fft.rfft(cepstrum, axis=1).imag
    return result


def distortion(phase: Floats, count: Integers, most: int) -> Floats:
    """(b, most + 1) phase distortion of harmonics 0..most: wrap(phase_h - phase_{h-1} - phase_1), 0 for the mean and the first.

    Beyond a frame's last harmonic its value is held.
    """
    result = np.zeros((len(phase), most + 1))
    upto = min(most, phase.shape[1] - 1)
    result[:, 2 : upto + 1] = wrap(phase[:, 2 : upto + 1] - phase[:, 1:upto] - phase[:, 1:2])
    held = np.minimum(np.arange(most + 1), count[:, None])
    return np.take_along_axis(result, held, axis=1)


def on_hertz(distorted: Floats, pitch: Floats) -> Floats:
    """(b, 513) phase distortion at every bin: linear between harmonics, the shorter way round; 0 below the first, held at the end."""
    last = distorted.shape[1] - 1
    at = np.minimum(np.arange(HALF + 1) * (RATE / SIZE) / pitch[:, None], last)
    below = np.minimum(np.floor(at).astype(np.int64), last - 1)
    left = np.take_along_axis(distorted, below, axis=1)
    right = np.take_along_axis(distorted, below + 1, axis=1)
    result: Floats = wrap(left + (at - below) * wrap(right - left))
    return np.where(at < 1, 0.0, result)


def smoothed(values: Floats, taps: Floats) -> Floats:
    """(b ...) values filtered along frames forwards and backwards by a short window, odd reflection at both ends.

    The taps are summed from the oldest frame to the newest: the order decides the last bit, and in silence the last bit decides
    whether a deviation is 0.
    """
    reach = 3 * (len(taps) - 1)
    start = 2 * values[:1] - values[reach:0:-1]
    end = 2 * values[-1:] - values[-2 : -reach - 2 : -1]
    x = np.concatenate([start, values, end])
    for _ in range(2):
        count = len(x) - len(taps) + 1
        if len(taps) > SHORT_LENGTH:
            sums = np.concatenate([np.zeros_like(x[:1]), np.cumsum(x, axis=0)])  # a long mean is not used where the last bit counts
            total = taps[0] * (sums[len(taps) :] - sums[:count])
        else:
            total = taps[-1] * x[:count]
            for i, tap in enumerate(taps[-2::-1], start=1):
                if tap != 0:
                    total += tap * x[i : i + count]
        x = total[::-1]
    outer = (len(x) - len(values)) // 2
    return np.ascontiguousarray(x[outer : outer + len(values)])


def running_median(values: Floats) -> Floats:
    """(b ...) median of nine frames; frames beyond the ends count as zeros.

    A network of exchanges (D. Knuth, "The Art of Computer Programming" 3, 5.3.4) that brings the middle of nine to its place.
    """
    reach = SHORT_LENGTH // 2
    padded = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1))
    p = [padded[i : i + len(values)].copy() for i in range(SHORT_LENGTH)]
    for i, j in ((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3), (5, 8), (4, 7), (3, 6), (1, 4),
                 (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)):  # fmt: skip
        p[i], p[j] = np.minimum(p[i], p[j]), np.maximum(p[i], p[j])
    return p[4]


def mean_vector(angle: Floats) -> tuple[Floats, Floats]:
    """Smoothed cosine and sine of angles (b ...)."""
    taps = np.full(MEAN_LENGTH, 1 / MEAN_LENGTH)
    return smoothed(np.cos(angle), taps), smoothed(np.sin(angle), taps)


def trend(angle: Floats) -> Floats:
    """Angles (b ...) as they go over some 17 frames: median and Hann window of nine, on cosine and sine."""
    taps = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SHORT_LENGTH) / (SHORT_LENGTH - 1))
    taps /= taps.sum()
    result: Floats = np.arctan2(smoothed(running_median(np.sin(angle)), taps), smoothed(running_median(np.cos(angle)), taps))
    return result


def deviation(angle: Floats) -> Floats:
    """Fisher's circular standard deviation of angles (b ...) around their trend, over nine frames both ways."""
    apart = angle - trend(angle)
    taps = np.full(SHORT_LENGTH, 1 / SHORT_LENGTH)
    length = np.hypot(smoothed(np.cos(apart), taps), smoothed(np.sin(apart), taps))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(length < 1, np.sqrt(-2 * np.log(length)), 0.0)


@lru_cache(maxsize=1)
def scale() -> tuple[Floats, Integers]:
    """The scale of numbers 1..512, linear to 8 and then along a curve to 25, and where its 25 groups begin (from 0)."""
    t = np.linspace(0, 1, 101)
    number = (1 - t) ** 2 * SCALE_KNEE + 2 * t * (1 - t) * MEAN_COUNT + t**2 * HALF
    value = (1 - t) ** 2 * SCALE_KNEE + 2 * t * (1 - t) * MEAN_COUNT + t**2 * MEAN_COUNT
    numbers = np.arange(1.0, HALF + 1)
    scaled = np.where(numbers <= SCALE_KNEE, numbers, np.interp(numbers, number, value))
    group = np.trunc(scaled + 0.5).astype(np.int64)
    return scaled, np.searchsorted(group, np.arange(1, MEAN_COUNT + 1))


@lru_cache(maxsize=256)
def groups(last: int) -> Floats:
    """(last, 25) how often each of the numbers 1..last is in each group, the last standing for all above it up to 512."""
    group = np.repeat(np.arange(MEAN_COUNT), np.diff([*scale()[1], HALF]))
    shares = np.zeros((last, MEAN_COUNT))
    np.add.at(shares, (np.minimum(np.arange(HALF), last - 1), group), 1.0)
    return shares


def grouped_mean(cosine: Floats, sine: Floats) -> Floats:
    """(b 25) direction of the mean of unit vectors (b n) along (cosine, sine) for the numbers 1..n, over the groups of the scale."""
    length = np.hypot(cosine, sine)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine, sine = np.where(length > 0, (cosine, sine) / length, 0.0)
    shares = groups(cosine.shape[1])
    result: Floats = np.arctan2(sine @ shares, cosine @ shares)
    return result


def deviation_cepstrum(spread: Floats) -> Floats:
    """(b 13) mel cepstrum of deviations (b, 513); zeros count as 0.001."""
    spread = spread.copy()
    spread[:, 0] = spread[:, 1]
    spread[spread == 0] = LEAST_DEVIATION
    result: Floats = warped_cepstrum(spread, DEVIATION_COUNT)
    return result


def _kernel(taps: Floats) -> Floats:
    """A short window there and back again."""
    return np.convolve(taps, taps[::-1])


def weighted(vector: NDArray[Any], heard: Floats, kernel: Floats) -> NDArray[Any]:
    """(b h) mean of vectors over frames around each, weighted by the kernel and by whether a frame was heard; 0 where none was.

    What lies beyond the ends counts as not heard: nothing is reflected.
    """
    reach = len(kernel) // 2
    padded = np.pad(vector * heard[:, None], [(reach, reach), (0, 0)])
    weight = np.convolve(np.pad(heard, reach), kernel, mode="valid")
    total = np.zeros_like(vector)
    for i, tap in enumerate(kernel):
        if tap > 0:
            total += tap * padded[i : i + len(vector)]
    result: NDArray[Any] = total / np.where(weight > 1e-9, weight, np.inf)[:, None]
    return result


def mean_by_harmonic(distorted: Floats, heard: Floats) -> Floats:
    """(b 25) mean phase distortion in groups of harmonic numbers; distorted (b, h) from harmonic 0, the last standing for all above.

    0 where nothing was heard in the half second around.
    """
    mean = weighted(np.exp(1j * distorted), heard, _kernel(np.full(MEAN_LENGTH, 1 / MEAN_LENGTH))).astype(np.complex128)
    return grouped_mean(mean.real[:, 1:], mean.imag[:, 1:])


def deviation_by_harmonic(distorted: Floats, heard: Floats, pitch: Floats, rows: slice) -> Floats:
    """(rows 13) mel cepstrum of the deviation of phase distortion around its trend; below the second harmonic its value is held."""
    unit = np.exp(1j * distorted) * heard[:, None]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SHORT_LENGTH) / (SHORT_LENGTH - 1))
    steady = running_median(unit.real) + 1j * running_median(unit.imag)
    way = weighted(steady, heard, _kernel(hann))
    apart = unit * np.exp(-1j * np.angle(way))
    length = np.abs(weighted(apart, heard, _kernel(np.full(SHORT_LENGTH, 1 / SHORT_LENGTH))))[rows]
    with np.errstate(divide="ignore"):
        spread = np.where((length > 0) & (length < 1), np.sqrt(-2 * np.log(np.clip(length, 1e-300, 1))), 0.0)
    spread[:, :2] = spread[:, 2:3]
    last = spread.shape[1] - 1
    at = np.minimum(np.arange(HALF + 1) * (RATE / SIZE) / pitch[rows, None], last)
    below = np.minimum(np.floor(at).astype(np.int64), last - 1)
    left = np.take_along_axis(spread, below, axis=1)
    hertz = left + (at - below) * (np.take_along_axis(spread, below + 1, axis=1) - left)
    result: Floats = warped_cepstrum(np.maximum(hertz, LEAST_DEVIATION), DEVIATION_COUNT)
    return result
