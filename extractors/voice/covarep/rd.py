"""The shape of the glottal pulse as one number, Rd, from the phases of the harmonics (MSPD2), and the LF model behind it.

Sources: G. Degottex, A. Roebel, X. Rodet, "Phase minimization for glottal model estimation", IEEE TASLP 19(5), 2011; confidence: G.
Degottex, PhD thesis, UPMC-Ircam 2010, equation 5.9. LF model: G. Fant, J. Liljencrants, Q. Lin, STL-QPSR 4, 1985; G. Fant, STL-QPSR
2-3, 1995 (Rd); its spectrum: B. Doval, C. d'Alessandro, N. Henrich, Acta Acustica 92, 2006. Time in periods; harmonics h; frames b.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .framing import Floats, Integers, wrap

LOWEST, HIGHEST = 0.3, 2.5
STEP = 0.0005
USED = 8  # harmonics whose phases are compared
MOST = 161  # harmonics of 50 Hz below 8 kHz, and one
# A parabola whose lowest point was no better is drawn again, and ends on the border that this point has become: rounding would decide
# whether that is inside. In the references it is.
ON_BORDER = 1 + 1e-9


@dataclass(frozen=True, eq=False)
class LFShape:
    """The LF pulse of each Rd, in periods: peak of flow, closure, return time, growth, decay of the return."""

    peak: Floats
    closure: Floats
    back: Floats
    growth: Floats
    decay: Floats


def lf_shape(rd: Floats) -> LFShape:
    """LF parameters from Rd (n) (Fant 1995); growth and decay are solved by bisection for zero net flow and a continuous return."""
    rd = np.atleast_1d(np.asarray(rd, np.float64))
    ra = (-1 + 4.8 * rd) / 100
    rk = (22.4 + 11.8 * rd) / 100
    rg = rk / (4 * (0.11 * rd / (0.5 + 1.2 * rk) - ra))
    peak = 1 / (2 * rg)
    closure = peak * (1 + rk)
    d = 1 - closure
    decay = _root(lambda e: 1 - np.exp(-e * d) - e * ra, 1e-6 + 0 * rd, 1 / ra)
    w = np.pi / peak
    back = -(1 / (decay * ra)) * ((1 - np.exp(-decay * d)) / decay - d * np.exp(-decay * d))
    sine, cosine = np.sin(w * closure), np.cos(w * closure)

    def net_flow(a: Floats) -> Floats:
        opening: Floats = -(a * sine - w * cosine + w * np.exp(-a * closure)) / (sine * (a**2 + w**2)) + back
        return opening

    growth = _root(net_flow, 0 * rd, 100 + 0 * rd)
    return LFShape(peak=peak, closure=closure, back=ra, growth=growth, decay=decay)


def _root(function: Any, low: Floats, high: Floats) -> Floats:
    """Where `function` is zero between low and high, by bisection, for all elements at once."""
    low, high = low.copy(), high.copy()
    sign = np.sign(function(low))
    for _ in range(80):
        middle = (low + high) / 2
        same = np.sign(function(middle)) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return (low + high) / 2


def lf_spectrum(shape: LFShape, harmonic: Floats) -> NDArray[np.complex128]:
    """(rd, h) Fourier transform at multiples of the pitch of the LF derivative: excitation 1, time in periods, from its opening."""
    tp, te, ta, a, e = (v[:, None] for v in (shape.peak, shape.closure, shape.back, shape.growth, shape.decay))
    jw = 2j * np.pi * harmonic
    wg = np.pi / tp
    s = a - jw
    d = 1 - te
    # E0 = -exp(-a te) / sin(wg te), kept inside the bracket so that nothing overflows
    opening = -(wg * np.exp(-a * te) + np.exp(-jw * te) * (s * np.sin(wg * te) - wg * np.cos(wg * te))) / np.sin(wg * te) / (s**2 + wg**2)
    back = np.exp(-jw * te) * (e * (1 - e * ta) * (1 - np.exp(-jw * d)) - jw * e * ta) / (jw * e * ta * (e + jw))
    result: NDArray[np.complex128] = opening + back
    return result


@lru_cache(maxsize=1)
def lf_table() -> tuple[Floats, Floats]:
    """Log magnitude (rd, h) and phase (rd, h), continuous over Rd, of harmonics 0..160 on the grid of Rd; harmonic 0 is not filled."""
    grid = np.linspace(LOWEST, HIGHEST, round((HIGHEST - LOWEST) / STEP) + 1)
    spectrum = lf_spectrum(lf_shape(grid), np.arange(1.0, MOST))
    level, phase = np.zeros((len(grid), MOST)), np.zeros((len(grid), MOST))
    level[:, 1:] = np.log(np.abs(spectrum))
    phase[:, 1:] = np.unwrap(np.angle(spectrum), axis=0)
    return level, phase


@lru_cache(maxsize=256)
def minimum_phase(count: int) -> Floats:
    """(9, count + 1) matrix from log magnitudes of harmonics 0..count to the minimum phase of harmonics 0..8.

    It folds the real cepstrum at the length 2 count: the short length is part of the method.
    """
    k, j = np.arange(USED + 1)[:, None], np.arange(count + 1)
    share = np.where((j == 0) | (j == count), 1.0, 2.0)
    # -(2 / 2 count) sum over n of sin(pi n k / count) cos(pi n j / count), n = 1..count - 1, split into two sums of sines
    return -(_sum_of_sines(k + j, count) + _sum_of_sines(k - j, count)) * share / (2 * count)


def _sum_of_sines(m: Integers, count: int) -> Floats:
    """Sum over n = 1..count - 1 of sin(pi n m / count): cot(pi m / (2 count)) for odd m, else 0."""
    odd = m % 2 == 1
    return np.where(odd, 1 / np.tan(np.pi * np.where(odd, m, 1) / (2 * count)), 0.0)


def _ends_repeated(level: Floats, count: int) -> Floats:
    """Log magnitudes of harmonics 0..count with the mean's set to the first harmonic's and the last one's to its neighbour's."""
    level = level[:, : count + 1].copy()
    level[:, 0], level[:, count] = level[:, 1], level[:, count - 1]
    return level


@lru_cache(maxsize=256)
def model_phase(count: int) -> tuple[Floats, Floats]:
    """(rd, 9) phase of the LF model's harmonics, and the minimum phase of their magnitudes, where `count` harmonics are known."""
    level, phase = lf_table()
    if count < MOST:
        return phase[:, : USED + 1], _ends_repeated(level, count) @ minimum_phase(count).T
    # Thousands of harmonics, of the 1 Hz that a silent frame is given: too many for the table, so a coarser grid and lines between.
    grid = np.linspace(LOWEST, HIGHEST, len(level))
    coarse = grid[:: (len(grid) - 1) // 200]
    least = np.empty((len(coarse), USED + 1))
    for i, shape in enumerate(coarse):
        spectrum = np.zeros((1, count + 1))
        spectrum[0, 1:] = np.log(np.abs(lf_spectrum(lf_shape(np.array([shape])), np.arange(1.0, count + 1))[0]))
        least[i] = (_ends_repeated(spectrum, count) @ minimum_phase(count).T)[0]
    return phase[:, : USED + 1], np.stack([np.interp(grid, coarse, least[:, k]) for k in range(USED + 1)], axis=1)


@dataclass(frozen=True, eq=False)
class PhaseMisfit:
    """How far the data's phases are from a pulse of shape Rd, for (b) frames: call it with one Rd a frame.

    own     (b 9) phase of the data without its minimum phase
    model   (b-groups rd 9) what the LF model adds;  group (b) which of them holds for a frame
    """

    measured: Floats
    model: Floats
    group: Integers

    def __call__(self, rd: Floats) -> Floats:
        """(b) mean squared second phase difference, rad^2."""
        at = (rd - LOWEST) / STEP
        lower = np.clip(np.floor(at).astype(np.int64), 0, self.model.shape[1] - 2)
        share = (at - lower)[:, None]
        model = (1 - share) * self.model[self.group, lower] + share * self.model[self.group, lower + 1]
        return squared_distortion(self.measured + model)

    def everywhere(self) -> Floats:
        """(b rd) the misfit on the whole grid."""
        result = np.empty((len(self.measured), self.model.shape[1]))
        for i in range(len(self.measured)):
            result[i] = squared_distortion(self.measured[i] + self.model[self.group[i]])
        return result


def squared_distortion(theta: Floats) -> Floats:
    """(...) mean over harmonics 2..8 of wrap(theta_h - theta_{h-1} - theta_1)^2."""
    difference = wrap(theta[..., 2:] - theta[..., 1:-1] - theta[..., 1:2])
    result: Floats = (difference**2).mean(axis=-1)
    return result


def phase_misfit(amplitude: Floats, phase: Floats, count: Integers, sign: int) -> PhaseMisfit:
    """The misfit of frames with these harmonics (b h), 0 being the mean. `sign` -1 takes the model's phase from the data's; +1 adds it.

    Needs at least 9 harmonics a frame (they have 15 or more below 8 kHz at 500 Hz). A zero amplitude makes a frame's misfit NaN.
    """
    measured = np.zeros((len(amplitude), USED + 1))
    measured[:, 1:] = phase[:, 1 : USED + 1]
    kinds, group = np.unique(count, return_inverse=True)
    model = np.empty((len(kinds), len(lf_table()[0]), USED + 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.log(amplitude)
        for i, kind in enumerate(kinds):
            rows = group == i
            measured[rows] -= _ends_repeated(level[rows], int(kind)) @ minimum_phase(int(kind)).T
            of_model, least = model_phase(int(kind))
            model[i] = sign * of_model + least
    return PhaseMisfit(measured=measured, model=model, group=group.astype(np.int64))


def descend(misfit: PhaseMisfit, tolerance: float = 0.01, steps: int = 32) -> tuple[Floats, Floats]:
    """(b) Rd and its misfit by Brent's bounded minimisation (golden section and parabolas), all frames side by side.

    The misfit has several minima, so the path decides which is found: this is the published algorithm, step by step, as in
    R. Brent, "Algorithms for Minimization without Derivatives", 1973, chapter 5, with an absolute tolerance.
    """
    count = len(misfit.measured)
    golden, tiny = 0.5 * (3.0 - np.sqrt(5.0)), np.sqrt(2.2e-16)
    a, b = np.full(count, LOWEST), np.full(count, HIGHEST)
    x = a + golden * (b - a)
    nfc, xf = x.copy(), x.copy()
    fulc = x.copy()
    rat, e = np.zeros(count), np.zeros(count)
    fx = misfit(x)
    fnfc, ffulc = fx.copy(), fx.copy()
    calls = 1
    while calls < steps:
        xm = 0.5 * (a + b)
        tol1 = tiny * np.abs(xf) + tolerance / 3.0
        tol2 = 2.0 * tol1
        going = np.abs(xf - xm) > tol2 - 0.5 * (b - a)
        if not going.any():
            break
        with np.errstate(invalid="ignore", divide="ignore"):
            r = (xf - nfc) * (fx - ffulc)
            q = (xf - fulc) * (fx - fnfc)
            p = (xf - fulc) * q - (xf - nfc) * r
            q = 2.0 * (q - r)
            p = np.where(q > 0.0, -p, p)
            q = np.abs(q)
            inside = (p > q * (a - xf) * ON_BORDER) & (p < q * (b - xf) * ON_BORDER)
            parabola = (np.abs(e) > tol1) & (np.abs(p) < np.abs(0.5 * q * e)) & inside
            step = p / q
        previous = np.where(np.abs(e) > tol1, rat, e)
        aside = np.where(xf >= xm, a - xf, b - xf)
        e_new = np.where(parabola, previous, aside)
        step = np.where(parabola, step, golden * aside)
        at = xf + step
        towards = np.sign(xm - xf) + (xm == xf)
        step = np.where(parabola & ((at - a < tol2) | (b - at < tol2)), tol1 * towards, step)
        direction = np.sign(step) + (step == 0)
        x = xf + direction * np.maximum(np.abs(step), tol1)
        fu = misfit(x)
        calls += 1
        better = fu <= fx
        a_new = np.where(better, np.where(x >= xf, xf, a), np.where(x < xf, x, a))
        b_new = np.where(better, np.where(x >= xf, b, xf), np.where(x < xf, b, x))
        second = ~better & ((fu <= fnfc) | (nfc == xf))
        third = ~better & ~second & ((fu <= ffulc) | (fulc == xf) | (fulc == nfc))
        fulc_new = np.where(better | second, nfc, np.where(third, x, fulc))
        ffulc_new = np.where(better | second, fnfc, np.where(third, fu, ffulc))
        nfc_new = np.where(better, xf, np.where(second, x, nfc))
        fnfc_new = np.where(better, fx, np.where(second, fu, fnfc))
        xf_new, fx_new = np.where(better, x, xf), np.where(better, fu, fx)
        for old, new in (
            (a, a_new), (b, b_new), (fulc, fulc_new), (ffulc, ffulc_new), (nfc, nfc_new), (fnfc, fnfc_new),
            (xf, xf_new), (fx, fx_new), (e, e_new), (rat, step),
        ):  # fmt: skip
            old[going] = new[going]
    return xf, fx


def confidence(misfit: Floats) -> Floats:
    """(b) mean squared phase misfits in radians -> (b): 1 where phases fit exactly, falling to 0 where they are opposite."""
    return 1 - np.sqrt(misfit) / np.pi


def lowest(misfit: PhaseMisfit, step: int = 20) -> tuple[Floats, Floats]:
    """(b) the Rd with the lowest misfit of all, and that misfit: every 20th point of the grid, then all points around the best."""
    best, value = np.empty(len(misfit.measured)), np.empty(len(misfit.measured))
    grid = misfit.model.shape[1]
    coarse = misfit.model[:, ::step]
    for first in range(0, len(misfit.measured), 100):
        chunk = slice(first, first + 100)
        measured, group = misfit.measured[chunk, None], misfit.group[chunk]
        near = step * squared_distortion(measured + coarse[group]).argmin(axis=1)
        index = np.clip(near[:, None] + np.arange(-step, step + 1), 0, grid - 1)
        fine = squared_distortion(measured + misfit.model[group[:, None], index])
        at = fine.argmin(axis=1)[:, None]
        best[chunk] = LOWEST + STEP * np.take_along_axis(index, at, axis=1)[:, 0]
        value[chunk] = np.take_along_axis(fine, at, axis=1)[:, 0]
    return best, value
