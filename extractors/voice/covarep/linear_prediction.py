"""Linear prediction by the autocorrelation method, and the residual of a whole signal.

Source: J. Makhoul, "Linear prediction: a tutorial review", Proc. IEEE 63(4), 1975. Letters: b frames, n samples, p order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .framing import Floats, pieces
from .framing import signal as scipy_signal

HOP = 80  # 5 ms
LENGTH = 401  # 25 ms and one sample
FRAMES_AT_ONCE = 256  # a batch stays in the processor's cache
SAMPLES_AT_ONCE = 16


def autocorrelation(frames: Floats, order: int) -> Floats:
    """(b, order + 1) biased autocorrelation of (b n) frames, not divided by n."""
    n = frames.shape[1]
    result = np.zeros((len(frames), order + 1))
    for lag in range(min(order + 1, n)):
        np.einsum("bn,bn->b", frames[:, : n - lag], frames[:, lag:], out=result[:, lag])
    return result


def levinson(correlation: Floats, orders: Sequence[int]) -> list[Floats]:
    """Prediction error filters [1, a1 .. ap] (b, p + 1), one array an order (ascending), by the Levinson-Durbin recursion.

    An all-zero frame has no filter: its coefficients are NaN.
    """
    highest = max(orders)
    r = np.ascontiguousarray(correlation.T)  # (p b): every step is on many frames side by side
    a = np.zeros((highest + 1, len(correlation)))
    a[0] = 1.0
    error = r[0].copy()
    results = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for i in range(1, highest + 1):
            reflection = -np.einsum("kb,kb->b", a[:i], r[i:0:-1]) / error
            a[1 : i + 1] += reflection * a[i - 1 :: -1]
            error *= 1 - reflection**2
            if i in orders:
                results.append(np.ascontiguousarray(a[: i + 1].T))
    return results


def inverse_filter(coefficients: Floats, frames: Floats) -> Floats:
    """(b n) frames through their own filters (b, p + 1), from rest.

    Sixteen samples at a time, as the product of what they depend on with a band matrix of the frame's taps: half the time of sums of taps.
    """
    count, n = frames.shape
    taps = coefficients.shape[1]
    reach = SAMPLES_AT_ONCE + taps - 1
    blocks = -(-n // SAMPLES_AT_ONCE)
    past = np.zeros((count, blocks * SAMPLES_AT_ONCE + taps - 1))
    past[:, taps - 1 : taps - 1 + n] = frames
    band = np.zeros((count, reach, SAMPLES_AT_ONCE))
    for i in range(SAMPLES_AT_ONCE):
        band[:, i : i + taps, i] = coefficients[:, ::-1]
    windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(past, reach, axis=1)[:, ::SAMPLES_AT_ONCE])
    result: Floats = np.matmul(windows, band).reshape(count, -1)[:, :n]
    return result


def residuals(signal: Floats, orders: Sequence[int], filters_from: Floats | None = None, *, centred: bool = False) -> list[Floats]:
    """Residual of a signal (n) for each order: Hann frames of 401 samples every 80, equal energy in and out, overlap-added.

    The filters are estimated on `filters_from` (default: the signal itself). All-zero frames give NaN in their 401 samples;
    samples that no frame covers are 0. Not normalised. `centred` takes each frame's mean away first: a constant offset would
    otherwise come out as pulses at the frames' own rate, 200 Hz.
    """
    total = len(signal)
    count = max(0, -(-(total - LENGTH) // HOP))
    blocks = -(-LENGTH // HOP)  # a frame spans so many hops
    results = [np.zeros((count + blocks) * HOP) for _ in orders]
    window = scipy_signal.get_window("hann", LENGTH, fftbins=False)
    for first in range(0, count, FRAMES_AT_ONCE):
        start = HOP * np.arange(first, min(count, first + FRAMES_AT_ONCE))
        frames = pieces(signal, start, LENGTH)
        if centred:
            frames = frames - (frames @ window)[:, None] / window.sum()
        frames = frames * window
        shape = frames if filters_from is None else pieces(filters_from, start, LENGTH) * window
        filters = levinson(autocorrelation(shape, max(orders)), orders)
        energy = np.einsum("bn,bn->b", frames, frames)
        for result, a in zip(results, filters, strict=True):
            e = inverse_filter(a, frames)
            with np.errstate(divide="ignore", invalid="ignore"):
                e *= np.sqrt(energy / np.einsum("bn,bn->b", e, e))[:, None]
            hops = result.reshape(-1, HOP)
            for j in range(blocks):
                part = e[:, j * HOP : (j + 1) * HOP]
                hops[first + j : first + j + len(e), : part.shape[1]] += part
    return [result[:total] if len(result) >= total else np.pad(result, (0, total - len(result))) for result in results]
