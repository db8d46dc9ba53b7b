"""Harmonic amplitudes and phases of frames of three periods, from the peaks of their spectra.

Sources: R. McAulay, T. Quatieri, IEEE TASSP 34(4), 1986; G. Degottex, Y. Stylianou, IEEE TASLP 21(10), 2013. Letters: b frames,
h harmonics, k bins 0..2048 of a 4096-point spectrum at 16 kHz. A sinusoid of amplitude a has a spectral magnitude of a / 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .framing import Floats, Integers, Mask, fft, local_maxima, pieces, round_half_away, wrap

RATE = 16000
SIZE = 4096
HALF = SIZE // 2
PERIODS = 3


@dataclass(frozen=True, eq=False)
class Harmonics:
    """Harmonics of (b) frames; column h of the arrays is harmonic h, column 0 the mean (DC).

    pitch      (b) Hz, as given;  spacing (b) Hz, the median distance of the peaks found
    count      (b) highest harmonic below 8 kHz
    amplitude  (b h) half the sinusoid's amplitude;  phase (b h) rad at the frame's centre; 0 above `count`
    from_peak  (b h) whether a spectral peak was there
    magnitude  (b, 2049) of the spectrum
    """

    pitch: Floats
    spacing: Floats
    count: Integers
    amplitude: Floats
    phase: Floats
    from_peak: Mask
    magnitude: NDArray[Any]


def half_window(pitch: Floats) -> Integers:
    """(b) samples to either side of the centre of a window of three periods."""
    return round_half_away(PERIODS * RATE / pitch / 2)


def highest_harmonic(pitch: Floats) -> Integers:
    """(b) number of the highest harmonic below 8 kHz."""
    return round_half_away((RATE / 2 - pitch / 2) / pitch)


def spectra(signal: Floats, centre: Integers, pitch: Floats, dtype: type[Any] = np.float64) -> NDArray[Any]:
    """(b, 2049) complex spectra of Blackman windows of three periods, phase referred to the centre; the window sums to 1.

    Only the first 4096 samples of a longer window are seen; frames of so low a pitch must come with others of the same pitch.
    """
    half = half_window(pitch)
    reach = int(half.max())
    n = np.arange(-reach, reach + 1)[:SIZE]
    angle = np.cos(np.pi * n.astype(dtype) / half.astype(dtype)[:, None])
    # 0.08 cos(2 a) = 0.16 cos(a)^2 - 0.08; the window sums to 0.84 half
    window = (0.34 + (0.5 + 0.16 * angle) * angle) / (0.84 * half.astype(dtype)[:, None])
    window[np.abs(n) > half[:, None]] = 0
    frames = np.zeros((len(half), SIZE), dtype)
    frames[:, n % SIZE] = pieces(signal, centre - reach, len(n)) * window  # the centre in front, what is before it at the end
    spectrum: NDArray[Any] = fft.rfft(frames, axis=1)
    return spectrum


def harmonics(spectrum: NDArray[Any], pitch: Floats, most: int) -> Harmonics:
    """Harmonics 0..most of (b, 2049) spectra whose phases are referred to the frames' centres."""
    count = highest_harmonic(pitch)
    magnitude = np.abs(spectrum)
    with np.errstate(divide="ignore"):
        level = np.log(magnitude)
    row, column = np.nonzero(local_maxima(level))
    below, top, above = (level[row, column + i].astype(np.float64) for i in (-1, 0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = 0.5 * (below - above) / (below - 2 * top + above)
    shift = np.nan_to_num(shift, nan=0.0)
    position = column + shift
    with np.errstate(invalid="ignore"):
        height = np.where(shift == 0, top, top - 0.25 * (below - above) * shift)

    harmonic = np.arange(most + 1)
    bins = SIZE * harmonic * pitch[:, None] / RATE
    frame = np.arange(len(pitch))[:, None]
    nearest_bin = np.minimum(round_half_away(bins), HALF)
    at_bin = bins.copy()
    at_bin[:, 1:] = np.where(harmonic[1:] <= count[:, None], at_bin[:, 1:], 0)
    amplitude = magnitude[frame, nearest_bin].astype(np.float64)
    from_peak = np.zeros(bins.shape, np.bool_)
    if len(position):
        stride = 2.0 * SIZE
        key = row * stride + position
        wanted = frame * stride + bins
        after = np.clip(np.searchsorted(key, wanted), 0, len(key) - 1)
        before = np.maximum(after - 1, 0)
        peak = np.where(np.abs(key[after] - wanted) < np.abs(key[before] - wanted), after, before)
        from_peak = np.abs(key[peak] - wanted) < (SIZE * pitch / RATE / 2)[:, None]
        from_peak[:, 0] = False
        at_bin = np.where(from_peak, position[peak], at_bin)
        amplitude = np.where(from_peak, np.exp(height[peak]), amplitude)

    phase = _phase_at(spectrum, at_bin)
    beyond = harmonic > count[:, None]
    amplitude[beyond], phase[beyond], from_peak[beyond] = 0.0, 0.0, False
    amplitude[:, 0], phase[:, 0] = magnitude[:, 0], np.angle(spectrum[:, 0])
    steps = np.where(beyond[:, 1:], np.nan, np.diff(np.where(harmonic == 0, 0, at_bin), axis=1))
    spacing = _median_of(steps, count) * RATE / SIZE
    return Harmonics(pitch=pitch, spacing=spacing, count=count, amplitude=amplitude, phase=phase, from_peak=from_peak, magnitude=magnitude)


def _phase_at(spectrum: NDArray[Any], at_bin: Floats) -> Floats:
    """Phase (b h) at fractional bins: linear between the two neighbours, the shorter way round."""
    lower = np.clip(np.floor(at_bin).astype(np.int64), 0, HALF - 1)
    frame = np.arange(len(spectrum))[:, None]
    left = np.angle(spectrum[frame, lower]).astype(np.float64)
    right = np.angle(spectrum[frame, lower + 1]).astype(np.float64)
    result: Floats = wrap(left + (at_bin - lower) * wrap(right - left))
    return result


def _median_of(values: Floats, count: Integers) -> Floats:
    """(b) medians of rows whose first `count` values are numbers and whose others are NaN."""
    ordered = np.sort(values, axis=1)  # NaN last
    frame = np.arange(len(values))
    return (ordered[frame, (count - 1) // 2] + ordered[frame, count // 2]) / 2
