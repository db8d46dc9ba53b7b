"""The true envelope of a harmonic spectrum, and its mel cepstrum (MCEP).

Sources: A. Roebel, X. Rodet, "Efficient spectral envelope estimation and its application to pitch shifting and envelope preservation",
DAFx 2005; F. Villavicencio, A. Roebel, X. Rodet, ICASSP 2006 (the order); S. Imai, Y. Abe, 1979. Letters: b frames, k bins 0..n, q
quefrencies. Levels are natural logarithms of magnitudes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .framing import Floats, Integers, round_half_away

RATE = 16000
STEPS = 200
OVERSHOOT = np.log(10 ** (2 / 20))  # 2 dB: how far the spectrum may still stand above its envelope
WIDENING = 1.2
FRAMES_AT_ONCE = 100


@lru_cache(maxsize=8)
def cosines(n: int, order: int, kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """cos(pi q k / n) for even and for odd q up to `order`, over the lower half of the bins, k = 0..n/2: the upper half mirrors it."""
    k = np.arange(n // 2 + 1)
    q = np.arange(order + 1)
    turn = np.cos(np.pi * np.arange(2 * n) / n)
    table = turn[(k[:, None] * q) % (2 * n)].astype(kind)
    return np.ascontiguousarray(table[:, 0::2]), np.ascontiguousarray(table[:, 1::2])


def analyse(level: NDArray[Any], order: int) -> NDArray[Any]:
    """(b, order + 1) the first cepstral coefficients of (b, n + 1) even spectra: the inverse DFT of length 2 n."""
    n = level.shape[1] - 1
    even, odd = cosines(n, order, level.dtype.str)
    upper = level[:, : n // 2 - 1 : -1]  # k = n .. n/2
    lower = level[:, : n // 2 + 1]
    result = np.empty((len(level), order + 1), level.dtype)
    for folded, table, into in ((lower + upper, even, result[:, 0::2]), (lower - upper, odd, result[:, 1::2])):
        folded[:, 0] /= 2  # the ends count once, and the middle is in both halves
        folded[:, -1] /= 2
        into[:] = folded @ table
    result /= n
    return result


def synthesise(coefficients: NDArray[Any], n: int) -> NDArray[Any]:
    """(b, n + 1) cosine series of (b, q) coefficients at the bins 0..n."""
    even, odd = cosines(n, coefficients.shape[1] - 1, coefficients.dtype.str)
    from_even, from_odd = coefficients[:, 0::2] @ even.T, coefficients[:, 1::2] @ odd.T
    result = np.empty((len(coefficients), n + 1), coefficients.dtype)
    np.add(from_even, from_odd, out=result[:, : n // 2 + 1])
    np.subtract(from_even, from_odd, out=result[:, : n // 2 - 1 : -1])
    return result


def true_envelope(level: NDArray[Any], order: Integers) -> NDArray[Any]:
    """(b, n + 1) smooth envelopes that pass through the peaks of (b, n + 1) log spectra, each of its own cepstral order.

    The cepstrum is smoothed by a Hamming half-window, the spectrum raised to the envelope so far, and so on until it nowhere stands
    more than 2 dB above (one side only), or 200 times. Rows that are not finite come back as NaN.
    """
    n = level.shape[1] - 1
    result = np.full_like(level, np.nan)
    reach = np.minimum(round_half_away(WIDENING * order), n - 1)
    finite = np.asarray(np.isfinite(level).all(axis=1), np.bool_)
    in_order = np.argsort(reach, kind="stable")
    in_order = in_order[finite[in_order]]
    for first in range(0, len(in_order), FRAMES_AT_ONCE):
        some = in_order[first : first + FRAMES_AT_ONCE]
        result[some] = _envelopes(level[some], reach[some])
    return result


def _envelopes(level: NDArray[Any], reach: Integers) -> NDArray[Any]:
    n, highest = level.shape[1] - 1, int(reach.max())
    q = np.arange(highest + 1)
    kind = level.dtype
    inside = q <= reach[:, None]
    window = np.where(inside, 0.54 + 0.46 * np.cos(np.pi * q / np.maximum(reach, 1)[:, None]), 0).astype(kind)
    doubled = np.where(q == 0, 1, 2) * inside.astype(kind)
    result = np.empty_like(level)
    active = np.arange(len(level))
    target = level
    smooth = np.zeros((len(level), highest + 1), kind)
    scratch = np.empty_like(level)
    nyquist = np.where(np.arange(n + 1) % 2 == 0, 1, -1).astype(kind) / n
    nyquist[0] /= 2
    nyquist[-1] /= 2
    for _ in range(STEPS):
        cepstrum = analyse(target, highest)
        series = cepstrum * doubled
        # Parseval: what the coefficients beyond the order hold, without computing them
        total = np.einsum("bk,bk->b", target, target).astype(np.float64) / n
        total -= (target[:, 0].astype(np.float64) ** 2 + target[:, -1].astype(np.float64) ** 2) / (2 * n)
        kept = np.einsum("bq,bq->b", series, series, dtype=np.float64)
        last = (target @ nyquist).astype(np.float64)
        # sum over all 2n bins / 2n = c0^2 + 2 sum c_q^2 + c_n^2
        outer = 2 * (total - series[:, 0].astype(np.float64) ** 2 - last**2) - (kept - series[:, 0].astype(np.float64) ** 2)
        inner = np.sqrt(kept)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = np.where(inner > 0, (inner + np.sqrt(np.maximum(outer, 0))) / inner, 1.0)
        smooth = smooth + gain[:, None].astype(kind) * window * (series - smooth)
        envelope = synthesise(smooth, n)
        done = np.subtract(level, envelope, out=scratch[: len(level)]).max(axis=1) <= OVERSHOOT
        if done.any():
            result[active[done]] = envelope[done]
            more = ~done
            active = active[more]
            if len(active) == 0:
                return result
            level, target, envelope = level[more], target[more], envelope[more]
            window, doubled, smooth = window[more], doubled[more], smooth[more]
        target = np.maximum(target, envelope, out=envelope)  # the envelope itself is not wanted any more
    result[active] = synthesise(smooth, n)
    return result


def smoothed_ends(level: NDArray[Any], order: Integers) -> NDArray[Any]:
    """The (b, n + 1) log spectra with their first and last bins replaced by a smoother envelope, of half the order."""
    n = level.shape[1] - 1
    reach = np.minimum(round_half_away(WIDENING * order), n - 1)
    smooth = true_envelope(level, round_half_away(reach / 2))
    width = round_half_away(0.25 * 2 * n / reach)[:, None]
    k = np.arange(n + 1)
    return np.where((k < width) | (k >= n + 2 - width), smooth, level)


def mel(hertz: Floats) -> Floats:
    """Mel of frequencies: 1000 at 1000 Hz."""
    result: Floats = 1000 / np.log(1 + 1000 / 700) * np.log(1 + hertz / 700)
    return result


@lru_cache(maxsize=8)
def warping(n: int) -> tuple[Integers, Floats]:
    """For each of the bins 0..n of a mel axis: the linear-frequency bin below it, and the share of the next one."""
    hertz = np.arange(n + 1, dtype=np.float64) * (RATE / 2 / n)
    warped = RATE / 2 * mel(hertz) / mel(hertz[-1:])
    below = np.clip(np.searchsorted(warped, hertz, side="right") - 1, 0, n - 1)
    share = (hertz - warped[below]) / (warped[below + 1] - warped[below])
    return below, np.clip(share, 0.0, 1.0)


def warped_cepstrum(magnitude: NDArray[Any], count: int) -> NDArray[Any]:
    """(b, count) mel cepstrum of (b, n + 1) magnitudes: c_0, then doubled coefficients (a cosine series), natural logarithm."""
    below, share = warping(magnitude.shape[1] - 1)
    share = share.astype(magnitude.dtype)
    lower = magnitude[:, below]
    with np.errstate(divide="ignore", invalid="ignore"):
        cepstrum = analyse(np.log(lower + share * (magnitude[:, below + 1] - lower)), count - 1)
    cepstrum[:, 1:] *= 2
    return cepstrum


def envelope_order(pitch: Floats) -> Integers:
    """(b) half the number of harmonics below the rate: the highest order that harmonics of this pitch (Hz) can support."""
    return round_half_away(0.5 * RATE / pitch)
