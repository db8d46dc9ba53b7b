"""Pitch and voicing from the harmonics of the prediction residual (SRH).

Source: T. Drugman, A. Alwan, "Joint Robust Voicing Detection and Pitch Estimation Based on Residual Harmonics", Interspeech 2011,
equation 1. Letters: b frames, f candidates (1 Hz apart). Units: Hz.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import NUMPY, Arithmetic
from .framing import Floats, Integers, Mask, local_maxima, pieces, round_half_away, signal

LOWEST, HIGHEST = 50, 500
HARMONICS = 5
BINS = 16000  # one a Hz
THRESHOLD, THRESHOLD_WHERE_CLEAR = 0.07, 0.085
CLEAR = 0.05  # standard deviation of the sums above which the higher threshold holds
TRUSTED = 0.1  # sums above this narrow the range of the second pass
FRAMES_AT_ONCE = 100


@dataclass(frozen=True, eq=False)
class PitchTrack:
    """(b) pitch in Hz, its residual-harmonic sum, and whether the frame is voiced."""

    f0: Floats
    strength: Floats
    voiced: Mask
    median: float  # Hz, of the voiced frames; NaN without one
    threshold: float


@dataclass(frozen=True)
class Framing:
    """How a signal is cut for SRH: window length, and the bin (of 1 Hz) at which a candidate of f Hz is read: f + bin_offset."""

    length: int
    bin_offset: int
    dtype: type[Any] = np.float64


def harmonic_sums(residual: Floats, start: Integers, low: int, high: int, framing: Framing, on: Arithmetic = NUMPY) -> NDArray[Any]:
    """(b c) SRH of a residual (n) for the c candidates low..high Hz, of the frames that begin at the samples `start` (b); NaN for silent
    frames."""
    xp = on.xp
    window = signal.windows.get_window("blackman", framing.length, fftbins=False).astype(framing.dtype)
    windowed = pieces(residual.astype(framing.dtype, copy=False), start, framing.length) * window
    frames = on.put(windowed - windowed.mean(axis=1, keepdims=True))
    spectrum = on.rfft(frames, BINS)
    # Parseval: the energy of the bins below half the rate, of which only those that a harmonic can reach are looked at
    energy = (BINS * xp.einsum("bn,bn->b", frames, frames) + abs(spectrum[:, 0]) ** 2 - abs(spectrum[:, -1]) ** 2) / 2
    magnitude = abs(spectrum[:, : HARMONICS * high + max(framing.bin_offset, 0) + 1])
    sums = xp.zeros_like(magnitude[:, : high - low + 1])
    for k in range(1, HARMONICS + 1):
        first = k * low + framing.bin_offset
        sums += magnitude[:, first : k * high + framing.bin_offset + 1 : k]
    for k in range(1, HARMONICS):
        sums -= magnitude[:, on.put(round_half_away((k + 0.5) * np.arange(low, high + 1)) + framing.bin_offset)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return on.get(sums / xp.sqrt(energy)[:, None])


def strongest(residual: Floats, start: Integers, low: int, high: int, framing: Framing) -> tuple[Floats, Floats]:
    """(b) the candidate with the largest sum, and that sum; 1 Hz and 0 where no sum is positive (silence)."""
    f0, strength = np.ones(len(start)), np.zeros(len(start))
    for first in range(0, len(start), FRAMES_AT_ONCE):
        chunk = slice(first, first + FRAMES_AT_ONCE)
        sums = np.nan_to_num(harmonic_sums(residual, start[chunk], low, high, framing), nan=-1.0)
        best = sums.argmax(axis=1)
        value = np.take_along_axis(sums, best[:, None], axis=1)[:, 0].astype(np.float64)
        f0[chunk] = np.where(value > 0, low + best, 1)
        strength[chunk] = np.maximum(value, 0)
    return f0, strength


def highest_peaks(residual: Floats, start: Integers, framing: Framing, count: int, on: Arithmetic = NUMPY) -> tuple[Floats, Floats]:
    """(b count) pitch candidates over the whole range and their sums, highest first: local maxima only, refined by a parabola.

    0 Hz and 0 where there are fewer.
    """
    f0, strength = np.zeros((len(start), count)), np.zeros((len(start), count))
    for first in range(0, len(start), FRAMES_AT_ONCE):
        chunk = slice(first, first + FRAMES_AT_ONCE)
        # one candidate beyond either end, so that the ends can be peaks
        sums = np.nan_to_num(harmonic_sums(residual, start[chunk], LOWEST - 1, HIGHEST + 1, framing, on))
        peak = np.where(local_maxima(sums) & (sums > 0), sums, 0)
        best, height = np.zeros((len(sums), count), np.int64), np.zeros((len(sums), count))
        frame = np.arange(len(sums))
        for i in range(count):
            best[:, i] = peak.argmax(axis=1)
            height[:, i] = peak[frame, best[:, i]]
            peak[frame, best[:, i]] = 0
        at = np.clip(best, 1, sums.shape[1] - 2)
        before, top, after = (np.take_along_axis(sums, at + i, axis=1).astype(np.float64) for i in (-1, 0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.nan_to_num(0.5 * (before - after) / (before - 2 * top + after))
        f0[chunk] = np.where(height > 0, LOWEST - 1 + best + np.clip(shift, -0.5, 0.5), 0)
        strength[chunk] = height
    return f0, strength


def narrowed_range(f0: Floats, strength: Floats) -> tuple[int, int]:
    """Range in Hz of the second pass, from the frames' f0 (n) in Hz and SRH strength (n): an octave to either side of the median of the
    trusted frames, within 50..500 Hz."""
    return octaves_around(f0[strength > TRUSTED])


def octaves_around(trusted: Floats) -> tuple[int, int]:
    """Lowest and highest pitch in Hz, from the pitches (k) of the trusted frames alone."""
    low, high = LOWEST, HIGHEST
    if len(trusted):
        median = float(np.median(trusted))
        low = max(low, int(round_half_away(median / 2)))
        high = min(high, int(round_half_away(2 * median)))
    return low, high


def voicing_threshold(strength: Floats) -> float:
    """The SRH value above which a frame counts as voiced, from those of all frames (t)."""
    spread = float(np.std(strength, ddof=1)) if len(strength) > 1 else 0.0
    return THRESHOLD_WHERE_CLEAR if spread > CLEAR else THRESHOLD


def track(residual: Floats, start: Integers, framing: Framing) -> PitchTrack:
    """Both passes over the frames of residual (n) that begin at the samples `start` (t)."""
    f0, strength = strongest(residual, start, LOWEST, HIGHEST, framing)
    low, high = narrowed_range(f0, strength)
    # A maximum over the wide range that lies in the narrow one is the maximum of the narrow one too.
    again = np.flatnonzero((f0 < low) | (f0 > high))
    f0[again], strength[again] = strongest(residual, start[again], low, high, framing)
    return judged(f0, strength)


def judged(f0: Floats, strength: Floats) -> PitchTrack:
    """Voicing of a finished track: f0 (t) in Hz and SRH strength (t)."""
    threshold = voicing_threshold(strength)
    voiced = strength > threshold
    sure = voiced & (f0 > LOWEST) & (f0 < HIGHEST)
    median = float(np.median(f0[sure])) if sure.any() else float("nan")
    return PitchTrack(f0=f0, strength=strength, voiced=voiced, median=median, threshold=threshold)
