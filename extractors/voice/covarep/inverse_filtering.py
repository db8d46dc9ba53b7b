"""Glottal flow by iterative adaptive inverse filtering, one frame of two periods at each glottal closure (IAIF).

Source: P. Alku, "Glottal wave analysis with Pitch Synchronous Iterative Adaptive Inverse Filtering", Speech Comm. 11(2-3), 1992.
Letters: b frames, n samples. The flow's derivative is per sample (not multiplied by the rate).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from .framing import Floats, Integers, batches, fft, overlap_add, pieces
from .framing import signal as scipy_signal
from .linear_prediction import autocorrelation, inverse_filter, levinson

TRACT_ORDER = 20
GLOTTIS_ORDER = 8
LEAK = 0.99
RAMP = 21  # samples led in before a frame, so that filters start from rest without a step
HIGHPASS_TAPS = 301


@dataclass(frozen=True, eq=False)
class GlottalFlow:
    """(n) flow and its derivative; zero where no frame was."""

    flow: Floats
    derivative: Floats


@cache
def highpass() -> Floats:
    """Taps (n) of a linear-phase least-squares high-pass, 40..70 Hz at 16 kHz."""
    taps: Floats = scipy_signal.firls(HIGHPASS_TAPS, [0, 40, 70, 8000], [0, 0, 1, 1], fs=16000)
    return taps


def hann(length: Integers, longest: int) -> Floats:
    """(b, longest) symmetric Hann windows, each of its own length, zero after it."""
    n = np.arange(longest)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / np.maximum(length - 1, 1)[:, None])
    return np.where(n < length[:, None], window, 0.0)


def predictor(frames: Floats, order: int) -> Floats:
    """(b, order + 1) prediction error filters."""
    return levinson(autocorrelation(frames, order), (order,))[0]


def integrate(x: Floats) -> Floats:
    """(b n) -> (b n): leaky integration along time."""
    result: Floats = scipy_signal.lfilter([1.0], [1.0, -LEAK], x, axis=1)
    return result


def inverse_filter_frames(frames: Floats, length: Integers) -> tuple[Floats, Floats]:
    """Flow and derivative (b n) of frames that are each windowed already and zero beyond their length."""
    longest = frames.shape[1]
    inside = np.arange(longest) < length[:, None]
    size = fft.next_fast_len(longest + HIGHPASS_TAPS - 1, real=True)
    filtered = fft.irfft(fft.rfft(frames, size, axis=1) * fft.rfft(highpass(), size), size, axis=1)
    delay = HIGHPASS_TAPS // 2
    v = np.where(inside, filtered[:, delay : delay + longest], 0.0)
    led_in = np.concatenate([v[:, :1] * np.linspace(-1, 1, RAMP), v], axis=1)
    window = hann(length, longest)
    y = inverse_filter(predictor(window * v, 1), led_in)[:, RAMP:]
    y = inverse_filter(predictor(window * y, TRACT_ORDER), led_in)
    y = integrate(y)[:, RAMP:]
    y = integrate(inverse_filter(predictor(window * y, GLOTTIS_ORDER), led_in))[:, RAMP:]
    derivative = inverse_filter(predictor(window * y, TRACT_ORDER), led_in)
    flow = integrate(derivative)
    return np.where(inside, flow[:, RAMP:], 0.0), np.where(inside, derivative[:, RAMP:], 0.0)


def glottal_flow(signal: Floats, centre: Integers, period: Integers) -> GlottalFlow:
    """Flow of a whole signal (n) from frames of two periods, centred at the samples `centre`, overlap-added.

    Frames of 20 samples or fewer (after cutting to the signal) add nothing.
    """
    start = np.maximum(centre - period, 0)
    length = np.minimum(centre + period, len(signal) - 1) + 1 - start
    flow, derivative = np.zeros_like(signal), np.zeros_like(signal)
    for chunk in batches(length):
        chunk = chunk[length[chunk] > RAMP - 1]
        if len(chunk) == 0:
            continue
        longest = int(length[chunk].max())
        frames = pieces(signal, start[chunk], longest) * hann(length[chunk], longest)
        with np.errstate(invalid="ignore"):
            g, d = inverse_filter_frames(frames, length[chunk])
        first = int(start[chunk].min())
        stop = min(len(signal), int((start[chunk] + length[chunk]).max()))
        flow[first:stop] += overlap_add(np.nan_to_num(g), start[chunk] - first, length[chunk], stop - first)
        derivative[first:stop] += overlap_add(np.nan_to_num(d), start[chunk] - first, length[chunk], stop - first)
    return GlottalFlow(flow=flow, derivative=derivative)
