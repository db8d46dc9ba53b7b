"""All 74 features as the program COVAREP computes them (under Octave), oddities included: for models trained on its files.

Each oddity is a shift or a rule that the methods in the other files take as an argument; here are the values that the program has. The
whole signal is worked on at once, because several of its rules look at all of it. Positions count samples from 1, as it does.
"""

from __future__ import annotations

import numpy as np

from emofuse.pipeline.columns import COVAREP

from . import envelope, gci, inverse_filtering, phase_distortion, pitch, polarity, rd, voice_quality, wavelets
from .framing import Floats, Integers, Mask, round_half_away
from .harmonics import Harmonics, half_window, harmonics, highest_harmonic, spectra
from .linear_prediction import residuals

RATE = 16000
GRID_START, HOP = 80, 160
FRAME = pitch.Framing(length=1598, bin_offset=-1)  # 100 ms less two samples; a candidate of f Hz reads the bin of f - 1
FRAME_CENTRE = 800
SLOPE_FRAME = 640
FRAMES_AT_ONCE = 100
CEPSTRA = 25
COLUMNS_AT_ONCE = 32  # of the phase distortion: its filters run along time, and so much stays in the processor's cache
# both halves of a 16000-point spectrum, as far beyond the middle as can matter; harmonic k is looked for 1 Hz low
HARMONIC_SEARCH = voice_quality.HarmonicSearch(size=16000, offset=-1, upto=9000, least=5, dtype=np.float64)
WIDEST_PITCH, LOWEST_PITCH = 500, 20  # Hz: pulses outside have no voice quality
RETIME = 0.005  # seconds of the intermediate grid of the phase distortion
FFT_TRUST = 1e-7  # wavelet maxima below this share of the largest are computed again by plain sums


def features(samples: Floats) -> Floats:
    """(rows, 74) of samples (n) at 16 kHz, -1..1; row j stands for position 80 + 160 j. -inf occurs in peakSlope, as there.

    Where the program gives nothing at all (no voiced frame, fewer than two closures, under 73 harmonic frames), the columns that
    cannot be had are 0 and the others are as they would be.
    """
    count = max(0, (len(samples) - GRID_START) // HOP + 1)
    grid = GRID_START + HOP * np.arange(count)
    rows = np.zeros((count, len(COVAREP)))
    if count == 0:
        return rows
    twelve, eighteen = residuals(samples, (12, 18))
    (aside,) = residuals(samples, (18,), filters_from=polarity.without_voice_bar(samples))
    sign = np.sign(polarity.skewness(np.nan_to_num(eighteen)) - polarity.skewness(np.nan_to_num(aside))) or 1.0
    x, twelve, eighteen = sign * samples, sign * twelve, sign * eighteen
    with np.errstate(invalid="ignore", divide="ignore"):
        largest = np.nanmax(np.abs(eighteen)) if not np.isnan(eighteen).all() else 1.0
        eighteen = eighteen / largest if largest > 0 else eighteen

    rows[:, 7] = at_grid(grid, *peak_slope(x))
    track = pitch.track(twelve, frame_starts(len(x)), FRAME)
    knots = FRAME_CENTRE + HOP * np.arange(len(track.f0))
    rows[:, 0] = at_grid(grid, knots, track.f0)
    rows[:, 1] = at_grid(grid, knots, track.voiced.astype(np.float64)) >= 0.5

    closure = closures(x, eighteen, track)
    if len(closure) >= 2:
        quality = glottal(x, closure)
        for column, values in zip((2, 3, 4, 5), quality, strict=True):
            rows[:, column] = at_grid(grid, closure + 1, values)
        rows[:, 6] = at_grid(grid, closure, dispersion(eighteen, closure))
    harmonic_columns(rows, grid, x, track)
    rows[np.isnan(rows)] = 0
    return rows


def at_grid(grid: Integers, knots: Floats | Integers, values: Floats) -> Floats:
    """(rows) values linearly between knots; NaN outside them, and where an infinity and a number meet, as the rule has it."""
    if len(knots) == 0:
        return np.full(len(grid), np.nan)
    if len(knots) == 1:
        return np.where(grid == knots[0], values[0], np.nan)
    at = np.clip(np.searchsorted(knots, grid, side="right") - 1, 0, len(knots) - 2)
    share = (grid - knots[at]) / (knots[at + 1] - knots[at])
    with np.errstate(invalid="ignore"):
        result = values[at] + (values[at + 1] - values[at]) * share
    return np.where((grid < knots[0]) | (grid > knots[-1]), np.nan, result)


def frame_starts(total: int) -> Integers:
    """(b) first samples of the pitch frames of a signal of `total` samples."""
    count = max(0, (total - (FRAME_CENTRE - 1) - FRAME_CENTRE) // HOP + 1)
    return HOP * np.arange(count)


def closures(x: Floats, residual: Floats, track: pitch.PitchTrack) -> Integers:
    """(k) sample numbers of the closures in voiced parts of x and its residual (n); the voicing is read one sample early."""
    if not np.isfinite(track.median):
        return np.zeros(0, np.int64)
    clean = np.nan_to_num(residual)
    minima, maxima = gci.cycles(gci.mean_based_signal(x, int(round_half_away(RATE / track.median))))
    if len(minima) == 0:
        return np.zeros(0, np.int64)
    at_closures = gci.closures(clean, minima, maxima, gci.closure_position(clean, minima, maxima))
    at_closures = at_closures[at_closures >= 1]
    knots = FRAME_CENTRE + HOP * np.arange(len(track.voiced))
    voicing = np.nan_to_num(at_grid(at_closures, knots, track.voiced.astype(np.float64)))
    return np.unique(at_closures[voicing >= 0.5])


def glottal(x: Floats, closure: Integers) -> tuple[Floats, Floats, Floats, Floats]:
    """(g) NAQ, QOQ, H1H2 and PSP at closures (g), samples of the signal (n). The inverse filter's frames are centred one sample early,
    gaps count as periods."""
    period = np.diff(closure, prepend=2 * closure[0] - closure[1])
    waves = inverse_filtering.glottal_flow(x, closure - 1, period)
    flow, derivative = waves.flow, waves.derivative
    usable = np.flatnonzero((RATE / period > LOWEST_PITCH) & (RATE / period < WIDEST_PITCH))
    start = closure - period
    start[0] = 0
    naq, qoq, h1h2, psp = (np.zeros(len(closure)) for _ in range(4))
    naq[usable], qoq[usable] = voice_quality.pulse_shape(flow, derivative, start[usable], closure[usable], between_samples=False)
    if len(usable) and usable[0] == 0:  # the first pulse reaches back to the file's start, but is measured in the next one's period
        naq[0] *= closure[0] / period[0]
        qoq[0] *= closure[0] / period[0]
    first, second = voice_quality.harmonic_levels(derivative, closure[usable], period[usable], HARMONIC_SEARCH)
    h1h2[usable] = np.nan_to_num(first - second)
    later = usable[usable > 0]
    psp[later] = voice_quality.parabolic_spectral_parameter(flow, start[later], closure[later])
    return naq, qoq, h1h2, psp


def dispersion(residual: Floats, closure: Integers) -> Floats:
    """(g) MDQ at closures (g) of a residual (n): maxima of a wavelet whose centre is negative, counted one sample off; 0 near the file's
    ends."""
    period = np.diff(closure, prepend=2 * closure[0] - closure[1])
    near = round_half_away(0.2 * period)
    unknown = np.isnan(residual)
    clean = np.nan_to_num(residual)
    spread = np.zeros(len(closure))
    inside = np.flatnonzero((closure + 1 - period > 0) & (closure + 1 + period <= len(residual)))
    for scale in wavelets.DISPERSION_SCALES:
        y = wavelets.transform(clean, scale, wavelets.whole_reach(scale))
        if unknown.any():
            y[wavelets.smeared(unknown, wavelets.LONGEST_REACH)] = np.nan
        where = wavelets.first_maximum(y, closure[inside] - near[inside], 2 * near[inside] + 1) + 1
        spread[inside] += np.abs(near[inside] - where)
    return spread / len(wavelets.DISPERSION_SCALES) / period


def peak_slope(x: Floats) -> tuple[Integers, Floats]:
    """(k) sample numbers and (k) values of peakSlope in x (n); -inf where the finest scales see nothing but digital silence."""
    count = max(0, (len(x) - SLOPE_FRAME) // HOP + 1)
    level = np.empty((count, len(wavelets.SLOPE_SCALES)))
    silent = x == 0
    for i, scale in enumerate(wavelets.SLOPE_SCALES):
        y = np.abs(wavelets.transform(x, scale, wavelets.whole_reach(scale)))
        if silent.any():
            plain_sums_in_silence(y, x, silent, scale)
        hops = y[: len(y) // HOP * HOP].reshape(-1, HOP).max(axis=1)
        largest = np.lib.stride_tricks.sliding_window_view(hops, SLOPE_FRAME // HOP).max(axis=1) if count else hops[:0]
        with np.errstate(divide="ignore"):
            level[:, i] = np.log10(largest[:count])
    return FRAME_CENTRE - SLOPE_FRAME + HOP + HOP * np.arange(count), np.nan_to_num(
        wavelets.slope_over_scales(level), nan=0.0, neginf=-np.inf, posinf=np.inf
    )


def plain_sums_in_silence(y: Floats, x: Floats, silent: Mask, scale: int) -> None:
    """Replace, in place, magnitudes y (n) that a Fourier convolution cannot tell from rounding by plain sums; x (n), silent (n)."""
    reach = wavelets.whole_reach(scale)
    taps = wavelets.wavelet(scale, reach)
    doubtful = y < FFT_TRUST * max(float(y.max(initial=0.0)), 1e-300)
    y[doubtful] = 0.0
    if not doubtful.any():
        return
    doubtful &= wavelets.smeared(~silent, reach)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], doubtful.astype(np.int8), [0]])))
    padded = np.pad(x, reach)
    for first, stop in edges.reshape(-1, 2):
        y[first:stop] = np.abs(np.convolve(padded[first : stop + 2 * reach], taps, mode="valid"))


def harmonic_columns(rows: Floats, grid: Integers, x: Floats, track: pitch.PitchTrack) -> None:
    """Fill Rd, Rd_conf, MCEP, HMPDM and HMPDD of rows (t 74), whose samples are grid (t), from frames of x (n) one sample late; frames
    that the file cannot hold are dropped."""
    centre = FRAME_CENTRE + HOP * np.arange(len(track.f0))
    half = half_window(track.f0)
    kept = np.flatnonzero((centre - half >= 0) & (centre + half < len(x)))
    if len(kept) == 0:
        return
    centre, f0 = centre[kept], track.f0[kept]
    shape, fit = np.empty(len(kept)), np.empty(len(kept))
    cepstra = np.empty((len(kept), CEPSTRA))
    hertz = np.empty((len(kept), phase_distortion.HALF + 1))
    # Silent frames have 1 Hz and 8000 harmonics: they go by themselves and by few.
    for group, at_once in ((f0 >= pitch.LOWEST, 10_000), (f0 < pitch.LOWEST, 50)):
        index = np.flatnonzero(group)
        for first in range(0, len(index), at_once):
            rows_here = index[first : first + at_once]
            results = harmonic_features(x, centre[rows_here], f0[rows_here])
            shape[rows_here], fit[rows_here], cepstra[rows_here], hertz[rows_here] = results
    rows[:, 8] = at_grid(grid, centre, shape)
    rows[:, 9] = at_grid(grid, centre, fit)
    total = len(kept)
    if total > 1:
        stretched = round_half_away(1 + (len(x) - 1) * np.arange(total) / (total - 1))
        for i in range(CEPSTRA):
            rows[:, 11 + i] = at_grid(grid, stretched, cepstra[:, i])
    if total >= 3 * (phase_distortion.MEAN_LENGTH - 1) + 1:
        cosine, sine, spread = np.empty_like(hertz), np.empty_like(hertz), np.empty_like(hertz)
        for first in range(0, hertz.shape[1], COLUMNS_AT_ONCE):
            chunk = slice(first, first + COLUMNS_AT_ONCE)
            cosine[:, chunk], sine[:, chunk] = phase_distortion.mean_vector(hertz[:, chunk])
            spread[:, chunk] = phase_distortion.deviation(hertz[:, chunk])
        mean = phase_distortion.grouped_mean(cosine[:, :-1], sine[:, :-1])
        spread = phase_distortion.deviation_cepstrum(spread)
        seconds = centre / RATE
        rows[:, 36:61] = retimed(np.unwrap(mean, axis=0), seconds, grid, angles=True)
        rows[:, 61:74] = retimed(spread, seconds, grid, angles=False)


def harmonic_features(x: Floats, centre: Integers, f0: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """(b) Rd, (b) Rd_conf, (b 25) MCEP and (b 513) phase distortion of harmonic frames."""
    most = int(highest_harmonic(f0).max())
    cepstra = np.empty((len(f0), CEPSTRA))
    hertz = np.empty((len(f0), phase_distortion.HALF + 1))
    spacing = np.empty(len(f0))
    amplitude, phase = np.empty((len(f0), most + 1)), np.empty((len(f0), most + 1))
    for first in range(0, len(f0), FRAMES_AT_ONCE):
        chunk = slice(first, first + FRAMES_AT_ONCE)
        of_chunk = harmonics(spectra(x, centre[chunk], f0[chunk]), f0[chunk], most)
        spacing[chunk], amplitude[chunk], phase[chunk] = of_chunk.spacing, of_chunk.amplitude, of_chunk.phase
        cepstra[chunk] = mel_cepstrum(of_chunk)
        distorted = phase_distortion.distortion(phase_distortion.without_vocal_tract(of_chunk), of_chunk.count, most + 1)
        hertz[chunk] = phase_distortion.on_hertz(distorted, f0[chunk])
    shape, fit = pulse_shape(amplitude, phase, highest_harmonic(f0), spacing)
    return shape, fit, cepstra, hertz


def pulse_shape(amplitude: Floats, phase: Floats, count: Integers, spacing: Floats) -> tuple[Floats, Floats]:
    """(b) Rd and Rd_conf of harmonics (b h), amplitudes linear and phases in radians; `count` (b) harmonics, `spacing` (b) Hz.

    The model's phase is added where it should be taken away; a silent frame ends where the search ends, with NaN.
    """
    last = np.minimum(count, np.floor(RATE / 2 / spacing).astype(np.int64))
    best, misfit = rd.descend(rd.phase_misfit(amplitude, phase, last, sign=1))
    return best, rd.confidence(misfit)


def mel_cepstrum(harmonics: Harmonics) -> Floats:
    """(b 25) MCEP; NaN for silent frames."""
    with np.errstate(divide="ignore"):
        level = np.log(harmonics.magnitude).astype(np.float32)  # half the time; moves MCEP by less than 1e-4
    order = envelope.envelope_order(harmonics.pitch)
    ends = envelope.smoothed_ends(level, order, between_steps=False)
    smooth = envelope.true_envelope(ends, order, between_steps=False)
    result: Floats = envelope.warped_cepstrum(np.exp(smooth), CEPSTRA).astype(np.float64)
    return result


def retimed(values: Floats, seconds: Floats, grid: Integers, angles: bool) -> Floats:
    """(rows ...) values first brought to steps of 5 ms and from there to the grid, linearly both times; 0 outside."""
    first, last = int(np.ceil(seconds[0] / RETIME - 1e-9)), int(np.floor(seconds[-1] / RETIME + 1e-9))
    between = RETIME * np.arange(first, last + 1)
    result = np.zeros((len(grid), values.shape[1]))
    at = (grid - 1) / RATE
    for i in range(values.shape[1]):
        steps = np.interp(between, seconds, values[:, i])
        if angles:
            steps = np.unwrap(np.angle(np.exp(1j * steps)))
        column = np.interp(at, between, steps, left=0.0, right=0.0)
        result[:, i] = np.angle(np.exp(1j * column)) if angles else column
    return result
