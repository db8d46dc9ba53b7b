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

from .arithmetic import NUMPY, Arithmetic
from .framing import Floats, Integers, round_half_away

RATE = 16000
STEPS = 200
OVERSHOOT = np.log(10 ** (2 / 20))  # 2 dB: how far the spectrum may still stand above its envelope
WIDENING = 1.2
FRAMES_AT_ONCE = 100
TINY = 1e-30


@lru_cache(maxsize=16)
def cosines(n: int, order: int, kind: str, on: Arithmetic) -> tuple[Any, Any]:
    """cos(pi q k / n) for even and for odd q up to `order`, over the lower half of the bins, k = 0..n/2: the upper half mirrors it."""
    k = np.arange(n // 2 + 1)
    q = np.arange(order + 1)
    turn = np.cos(np.pi * np.arange(2 * n) / n)
    table = turn[(k[:, None] * q) % (2 * n)].astype(kind)
    return on.put(np.ascontiguousarray(table[:, 0::2])), on.put(np.ascontiguousarray(table[:, 1::2]))


def analyze(level: Any, order: int, kind: str, on: Arithmetic = NUMPY) -> Any:
    """(b, order + 1) the first cepstral coefficients of (b, n + 1) even spectra: the inverse DFT of length 2 n."""
    n = level.shape[1] - 1
    even, odd = cosines(n, order, kind, on)
    upper = on.xp.flip(level[:, n // 2 :], (1,))
    lower = level[:, : n // 2 + 1]
    result = on.xp.empty_like(level[:, : order + 1])
    for folded, table, parity in ((lower + upper, even, 0), (lower - upper, odd, 1)):
        folded[:, 0] /= 2  # the ends count once, and the middle is in both halves
        folded[:, -1] /= 2
        result[:, parity::2] = folded @ table
    result /= n
    return result


def synthesise(coefficients: Any, n: int, kind: str, on: Arithmetic = NUMPY) -> Any:
    """(b, n + 1) cosine series of (b, q) coefficients at the bins 0..n."""
    even, odd = cosines(n, coefficients.shape[1] - 1, kind, on)
    from_even, from_odd = coefficients[:, 0::2] @ even.T, coefficients[:, 1::2] @ odd.T
    upper = on.xp.flip((from_even - from_odd)[:, :-1], (1,))
    return on.xp.concatenate((from_even + from_odd, upper), axis=1)


def true_envelope(level: NDArray[Any], order: Integers, *, between_steps: bool, on: Arithmetic = NUMPY) -> NDArray[Any]:
    """(b, n + 1) smooth envelopes that pass through the peaks of (b, n + 1) log spectra, each of its own cepstral order.

    The cepstrum is smoothed by a Hamming half-window, the spectrum raised to the envelope so far, and so on until it nowhere stands
    more than 2 dB above (one side only), or 200 times. `between_steps` goes back from the last step to where it is just 2 dB: without, a
    difference in the last bit can be one of a whole step. Rows that are not finite come back as NaN.
    """
    n = level.shape[1] - 1
    result = np.full_like(level, np.nan)
    reach = np.minimum(round_half_away(WIDENING * order), n - 1)
    finite = np.asarray(np.isfinite(level).all(axis=1), np.bool_)
    in_order = np.argsort(reach, kind="stable")
    in_order = in_order[finite[in_order]]
    for first in range(0, len(in_order), FRAMES_AT_ONCE):
        chunk = in_order[first : first + FRAMES_AT_ONCE]
        result[chunk] = _envelopes(level[chunk], reach[chunk], between_steps, on)
    return result


def _envelopes(spectra: NDArray[Any], reach: Integers, between_steps: bool, on: Arithmetic) -> NDArray[Any]:
    xp, kind = on.xp, spectra.dtype
    n, highest = spectra.shape[1] - 1, int(reach.max())
    q = np.arange(highest + 1)
    inside = q <= reach[:, None]
    window = on.put(np.where(inside, 0.54 + 0.46 * np.cos(np.pi * q / np.maximum(reach, 1)[:, None]), 0).astype(kind))
    doubled = on.put((np.where(q == 0, 1, 2) * inside).astype(kind))
    alternating = np.where(np.arange(n + 1) % 2 == 0, 1, -1) / n
    alternating[[0, -1]] /= 2
    nyquist = on.put(alternating.astype(kind))
    level = on.put(spectra)
    target = level
    smooth = xp.zeros_like(window)
    overshoot = xp.full_like(level[:, 0], np.inf)
    final = xp.zeros_like(window)
    active = xp.arange(len(level), device=level.device)
    for _ in range(STEPS):
        series = analyze(target, highest, kind.str, on) * doubled
        # Parseval: what the coefficients beyond the order hold, without computing them. The sum of the squares over all 2 n bins, divided
        # by 2 n, is c_0^2 + 2 sum c_q^2 + c_n^2; the mean, c_0, is taken away first, being large.
        rest = target - series[:, :1]
        total = xp.einsum("bk,bk->b", rest, rest) / n - (rest[:, 0] ** 2 + rest[:, -1] ** 2) / (2 * n)
        kept = xp.einsum("bq,bq->b", series[:, 1:], series[:, 1:])
        outer = 2 * (total - (rest @ nyquist) ** 2) - kept
        inner = xp.sqrt(kept + series[:, 0] ** 2)
        gain = xp.where(inner > 0, (inner + xp.sqrt(xp.clip(outer, 0, None))) / xp.clip(inner, TINY, None), xp.ones_like(inner))
        before, smooth = smooth, smooth + gain[:, None] * window * (series - smooth)
        envelope = synthesise(smooth, n, kind.str, on)
        previous, overshoot = overshoot, xp.amax(level - envelope, 1)
        done = overshoot <= OVERSHOOT
        if bool(done.any()):
            last = smooth[done]
            if between_steps:
                with np.errstate(invalid="ignore"):
                    share = (previous[done] - OVERSHOOT) / (previous[done] - overshoot[done])
                share = xp.where(xp.isfinite(share), share, xp.ones_like(share))[:, None]  # done at once
                last = before[done] + share * (last - before[done])
            final[active[done]] = last
            more = ~done
            active = active[more]
            if len(active) == 0:
                break
            level, target, envelope, overshoot = level[more], target[more], envelope[more], overshoot[more]
            window, doubled, smooth = window[more], doubled[more], smooth[more]
        target = xp.maximum(target, envelope)
    if len(active):
        final[active] = smooth
    return on.get(synthesise(final, n, kind.str, on))


def smoothed_ends(level: NDArray[Any], order: Integers, *, between_steps: bool, on: Arithmetic = NUMPY) -> NDArray[Any]:
    """The (b, n + 1) log spectra with their first and last bins replaced by a smoother envelope, of half the order."""
    n = level.shape[1] - 1
    reach = np.minimum(round_half_away(WIDENING * order), n - 1)
    smooth = true_envelope(level, round_half_away(reach / 2), between_steps=between_steps, on=on)
    width = round_half_away(0.25 * 2 * n / reach)[:, None]
    k = np.arange(n + 1)
    return np.where((k < width) | (k >= n + 2 - width), smooth, level)


def mel(hertz: Floats) -> Floats:
    """Mel of frequencies (n) in Hz: 1000 at 1000 Hz."""
    result: Floats = 1000 / np.log(1 + 1000 / 700) * np.log(1 + hertz / 700)
    return result


@lru_cache(maxsize=8)
def warping(n: int) -> tuple[Integers, Floats]:
    """For each of the bins 0..n of a mel axis (n + 1): the linear-frequency bin below it, and the share of the next one."""
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
        warped = np.log(lower + share * (magnitude[:, below + 1] - lower))
        cepstrum: NDArray[Any] = analyze(warped, count - 1, warped.dtype.str)
    cepstrum[:, 1:] *= 2
    return cepstrum


def envelope_order(pitch: Floats) -> Integers:
    """(b) half the number of harmonics below the rate: the highest order that harmonics of this pitch (Hz) can support."""
    return round_half_away(0.5 * RATE / pitch)
