"""The same 74 features with the program's faults corrected, for one piece of a stretch at a time; docs/covarep.md lists the corrections.

Row r stands for the 10 ms around the sample 80 + 160 r, and every method is centred there or interpolated to there from closures on
either side. A piece sees 0.64 s of sound beyond its own rows, more than any method reaches, so its length changes nothing; beyond the
ends of a stretch 0.2 s of silence do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.columns import COVAREP
from emofuse.pipeline.spool import Spool
from emofuse.pipeline.timed import Floats32, Floats64

from . import envelope, gci, inverse_filtering, phase_distortion, pitch, rd, voice_quality, wavelets
from .arithmetic import NUMPY, Arithmetic
from .framing import Floats, Integers, Mask, round_half_away
from .harmonics import harmonics, highest_harmonic, spectra
from .linear_prediction import residuals
from .sound import Sound, Stretch
from .survey import CENTRE, HOP, Survey, Track, rows_of

RATE = 16000
MARGIN_ROWS, ROWS_OF_SILENCE = 64, 20
QUALITY = ("rms", "voicing_probability")
LONGEST_PERIOD, SHORTEST_PERIOD = RATE // pitch.LOWEST, RATE // pitch.HIGHEST
CLOSURE_REACH = 4 * LONGEST_PERIOD  # a row takes from a closure a period away, which takes from the flow of three periods around it
CLASSES_PER_OCTAVE = 2  # lengths of window for the mean-based signal
CYCLES_NEAR, SECONDS_NEAR = 12, 0.3  # to either side, over which a closure's place in its cycle is the median
HARMONIC_SEARCH = voice_quality.HarmonicSearch(size=4096, offset=0, upto=2500, least=3, dtype=np.float32)
WAVELET_REACH = 6  # scales: beyond, the Gaussian is under 2e-8
SLOPE_HALF = 320
QUIETEST = 2.0**-16  # half a step of 16 bits: what a wavelet maximum counts at least
QUIETEST_SPECTRUM = 1e-7  # -140 dB: below the rounding of 16 bits in any one bin
RMS_HALF = 200
SMOOTHING_ROWS = 60  # how far the phase distortion's smoothing reaches
# The probability of voicing is a half at this residual-harmonic sum, and its odds go up by a factor e with this much more of it: fitted to
# pYIN's decisions on 36 RAVDESS clips.
VOICING_HALF, VOICING_STEP = 0.075, 0.019
FRAMES_AT_ONCE = 100


@dataclass(frozen=True, eq=False)
class Closures:
    """Glottal closures (g): sample, and the period that ends there (or, for the first of a run, begins there)."""

    sample: Integers
    period: Integers


def block(sound: Sound, stretch: Stretch, survey: Survey, track: Track, first: int, last: int, on: Arithmetic = NUMPY) -> Floats:
    """(last - first, 76) rows first..last of a stretch: the 74 columns, rms and voicing_probability. All finite."""
    begin, end = max(first - MARGIN_ROWS, -ROWS_OF_SILENCE), min(last + MARGIN_ROWS, len(track.f0) + ROWS_OF_SILENCE)
    x = survey.polarity * sound.read(stretch, HOP * begin, HOP * end)
    near = _rows_around(track, begin, end)
    centre = CENTRE + HOP * np.arange(first - begin, last - begin)
    rows = np.zeros((last - first, len(COVAREP) + len(QUALITY)))
    rms = np.sqrt(_window_sums(x**2, centre - RMS_HALF, centre + RMS_HALF) / (2 * RMS_HALF))
    silent = rms == 0
    rows[:, 74], rows[:, 75] = rms, np.where(silent, 0.0, voicing_probability(track.strength[first:last]))
    rows[:, 0] = np.where(silent, 0.0, track.f0[first:last])

    voiced = track.voiced[first:last] & ~silent
    glottal, present = glottal_rows(x, near, centre)
    voiced &= present
    rows[:, 1] = voiced
    rows[voiced, 2:7] = glottal[voiced]
    rows[:, 7] = peak_slope(x.astype(np.float32), centre)
    _harmonic_rows(rows, x, begin, track, first, last, voiced, on)
    return rows


def voicing_probability(strength: Floats) -> Floats:
    """(r) a logistic curve of the residual-harmonic sum; 0 where there is no sound at all."""
    probability: Floats = 1 / (1 + np.exp(-(strength - VOICING_HALF) / VOICING_STEP))
    probability[strength <= 0] = 0
    return probability


def _rows_around(track: Track, first: int, last: int) -> Track:
    """The rows first..last of a track; unvoiced, at the nearest row's pitch, where the stretch has none."""
    index = np.arange(first, last)
    inside = (index >= 0) & (index < len(track.f0))
    index = np.clip(index, 0, len(track.f0) - 1)
    return Track(
        f0=np.where(inside, track.f0[index], 0.0),
        strength=np.where(inside, track.strength[index], 0.0),
        voiced=inside & track.voiced[index],
        continuous=track.continuous[index],
        steady=track.steady[index],
    )


def _window_sums(values: Floats, start: Integers, stop: Integers) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    result: Floats = np.maximum(sums[stop] - sums[start], 0.0)
    return result


def glottal_rows(x: Floats, near: Track, centre: Integers) -> tuple[Floats, Mask]:
    """(r 5) NAQ, QOQ, H1H2, PSP and MDQ at the samples `centre`, and which rows have closures beside them."""
    (residual_18,) = (np.nan_to_num(r) for r in residuals(x, (18,), centred=True))
    closure = closures(x, residual_18, near)
    values = np.zeros((len(centre), 5))
    near_enough = (closure.sample > centre[0] - CLOSURE_REACH) & (closure.sample < centre[-1] + CLOSURE_REACH)
    closure = Closures(closure.sample[near_enough], closure.period[near_enough])
    if len(closure.sample) == 0:
        return values, np.zeros(len(centre), np.bool_)
    waves = inverse_filtering.glottal_flow(x, closure.sample, closure.period)
    start = closure.sample - closure.period
    naq, qoq = voice_quality.pulse_shape(waves.flow, waves.derivative, start, closure.sample, between_samples=True)
    first, second = voice_quality.harmonic_levels(waves.derivative, closure.sample, closure.period, HARMONIC_SEARCH)
    psp = voice_quality.parabolic_spectral_parameter(waves.flow, start, closure.sample)
    present = np.ones(len(centre), np.bool_)
    for i, value in enumerate((naq, qoq, first - second, psp, dispersion(residual_18, closure))):
        known = np.isfinite(value)
        values[:, i], between = between_closures(centre, closure.sample[known], value[known])
        present &= between
    return values, present


def between_closures(centre: Integers, sample: Integers, value: Floats) -> tuple[Floats, Mask]:
    """(r) values in a straight line between neighbouring closures, or of the nearest one; none where it is over 20 ms away."""
    if len(sample) == 0:
        return np.zeros(len(centre)), np.zeros(len(centre), np.bool_)
    after = np.clip(np.searchsorted(sample, centre), 0, len(sample) - 1)
    before = np.maximum(np.where(sample[after] > centre, after - 1, after), 0)
    apart = sample[after] - sample[before]
    share = np.where(apart > 0, (centre - sample[before]) / np.maximum(apart, 1), 0.0)
    nearest = np.where(np.abs(sample[after] - centre) < np.abs(centre - sample[before]), after, before)
    joined = (apart <= LONGEST_PERIOD) & (share >= 0) & (share <= 1)
    result = np.where(joined, value[before] + share * (value[after] - value[before]), value[nearest])
    return result, np.abs(sample[nearest] - centre) <= LONGEST_PERIOD


def closures(x: Floats, residual: Floats, near: Track) -> Closures:
    """Closures (g) in voiced rows of a signal and its residual (n): the window of the mean-based signal follows the pitch."""
    rows = len(near.steady)
    kind = np.round(CLASSES_PER_OCTAVE * np.log2(near.steady / pitch.LOWEST)).astype(np.int64)
    minima, maxima = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for octave_class in np.unique(kind[near.voiced]):
        smooth = gci.mean_based_signal(x, int(RATE / pitch.LOWEST / 2 ** (octave_class / CLASSES_PER_OCTAVE)))
        low, high = gci.cycles(smooth)
        row = np.minimum(low // HOP, rows - 1)
        wanted = (kind[row] == octave_class) & near.voiced[row] & (high - low <= LONGEST_PERIOD)
        minima.append(low[wanted])
        maxima.append(high[wanted])
    low, high = np.concatenate(minima), np.concatenate(maxima)
    order = np.argsort(low, kind="stable")
    low, high = low[order], high[order]
    if len(low) == 0:
        return Closures(np.zeros(0, np.int64), np.zeros(0, np.int64))
    sample = np.unique(gci.closures(residual, low, high, _place_in_cycle(residual, low, high)))
    sample = sample[near.voiced[np.minimum(sample // HOP, rows - 1)] & (residual[sample] > 0)]
    turns = np.interp(sample, CENTRE + HOP * np.arange(rows), np.cumsum(near.steady) * HOP / RATE)
    once = voice_quality.thinned(turns, residual[sample], np.zeros(len(sample), np.int64), np.array([0.5]))
    return _with_periods(sample[once])


def _place_in_cycle(residual: Floats, minima: Integers, maxima: Integers) -> Floats:
    """(k) where in each cycle closures lie: median, over the cycles around it, of where the residual is largest."""
    rise = maxima - minima
    strongest = gci.largest_in(residual, minima - rise, maxima)
    position = (strongest - minima) / rise
    index = np.arange(len(minima))[:, None] + np.arange(-CYCLES_NEAR, CYCLES_NEAR + 1)
    inside = (index >= 0) & (index < len(minima))
    index = np.clip(index, 0, len(minima) - 1)
    inside &= np.abs(minima[index] - minima[:, None]) <= SECONDS_NEAR * RATE
    result: Floats = np.nanmedian(np.where(inside, position[index], np.nan), axis=1)
    return result


def _with_periods(sample: Integers) -> Closures:
    """Each closure with the time since the one before, or, after a pause, until the next; without either it is none."""
    step = np.diff(sample)
    possible = (step <= LONGEST_PERIOD) & (step >= SHORTEST_PERIOD)
    before = np.concatenate([[False], possible])[: len(sample)]
    after = np.concatenate([possible, [False]])[: len(sample)]
    period = np.where(before, np.concatenate([[0], step])[: len(sample)], np.concatenate([step, [0]])[: len(sample)])
    keep = before | after
    return Closures(sample=sample[keep], period=period[keep].astype(np.int64))


def dispersion(residual: Floats, closure: Closures) -> Floats:
    """(g) MDQ: mean distance over scales from the closure to the largest maximum of the wavelet around it, in periods.

    The wavelet keeps the program's sign, negative at its centre: the maxima are those of its lobes, and they spread as a voice grows
    breathy. With the sign turned the maxima lie on the closures themselves and, on synthesised voices, draw together instead.
    """
    reach = round_half_away(0.2 * closure.period)
    spread = np.zeros(len(closure.sample))
    single = residual.astype(np.float32)
    for scale in wavelets.DISPERSION_SCALES:
        y = wavelets.transform(single, scale, WAVELET_REACH * scale)
        spread += np.abs(wavelets.first_maximum(y, closure.sample - reach, 2 * reach + 1) - reach)
    return spread / len(wavelets.DISPERSION_SCALES) / closure.period


def peak_slope(x: Floats32, centre: Integers) -> Floats:
    """(r) peakSlope of the 40 ms around each sample of `centre`; 0 in digital silence, where all scales are equally quiet."""
    level = np.empty((len(centre), len(wavelets.SLOPE_SCALES)))
    unit = HOP // 2
    first = (int(centre[0]) - SLOPE_HALF) // unit if len(centre) else 0
    count = 2 * len(centre) + 2 * SLOPE_HALF // unit - 2
    for i, scale in enumerate(wavelets.SLOPE_SCALES):
        y = np.abs(wavelets.transform(x, scale, WAVELET_REACH * scale))
        units = y[first * unit : (first + count) * unit].reshape(-1, unit).max(axis=1)
        largest = np.lib.stride_tricks.sliding_window_view(units, 2 * SLOPE_HALF // unit)[::2].max(axis=1)
        level[:, i] = np.log10(np.maximum(largest, QUIETEST))
    return wavelets.slope_over_scales(level)


def _harmonic_rows(rows: Floats, x: Floats, origin: int, track: Track, first: int, last: int, voiced: Mask, on: Arithmetic) -> None:
    """Fill Rd, Rd_conf, MCEP, HMPDM and HMPDD from samples (n) that begin at the row `origin`."""
    begin, end = max(0, first - SMOOTHING_ROWS), min(len(track.f0), last + SMOOTHING_ROWS)
    most = int(highest_harmonic(track.continuous[begin:end]).max())
    distorted = np.zeros((end - begin, most + 1))
    heard = np.zeros(end - begin)
    spacing = np.zeros(last - first)
    amplitude, phase = np.zeros((last - first, most + 1)), np.zeros((last - first, most + 1))
    # Batches are counted from the stretch's start: in float32 the last bit of a matrix product depends on what else is in it.
    for start in range(begin // FRAMES_AT_ONCE * FRAMES_AT_ONCE, end, FRAMES_AT_ONCE):
        index = np.arange(max(begin, start), min(end, start + FRAMES_AT_ONCE))
        f0 = track.continuous[index]
        of_block = harmonics(spectra(x, CENTRE + HOP * (index - origin), f0, np.float32), f0, most)
        distorted[index - begin] = phase_distortion.distortion(phase_distortion.without_vocal_tract(of_block), of_block.count, most)
        heard[index - begin] = of_block.amplitude.any(axis=1)
        inside = (index >= first) & (index < last)
        row = index[inside] - first
        spacing[row], amplitude[row], phase[row] = of_block.spacing[inside], of_block.amplitude[inside], of_block.phase[inside]
        if len(row):
            rows[row, 11:36] = mel_cepstrum(of_block.magnitude[inside], f0[inside], on)
    if voiced.any():
        count = highest_harmonic(track.continuous[first:last])
        rows[voiced, 8], rows[voiced, 9] = pulse_shape(amplitude[voiced], phase[voiced], count[voiced], spacing[voiced])
    inner = slice(first - begin, last - begin)
    rows[:, 36:61] = phase_distortion.mean_by_harmonic(distorted, heard)[inner]
    rows[:, 61:74] = phase_distortion.deviation_by_harmonic(distorted, heard, track.continuous[begin:end], inner)


def pulse_shape(amplitude: Floats, phase: Floats, count: Integers, spacing: Floats) -> tuple[Floats, Floats]:
    """(b) Rd and Rd_conf of harmonics (b h), amplitudes linear and phases in radians; `count` (b) harmonics, `spacing` (b) Hz.

    The LF model's phase is taken from the data's; the lowest misfit over all Rd.
    """
    heard = np.where(amplitude > 0, amplitude, QUIETEST_SPECTRUM)
    last = np.minimum(count, np.floor(RATE / 2 / spacing).astype(np.int64))
    best, misfit = rd.lowest(rd.phase_misfit(heard, phase, last, sign=-1))
    return best, rd.confidence(misfit)


def mel_cepstrum(magnitude: NDArray[Any], pitch_of: Floats, on: Arithmetic) -> Floats:
    """(r 25) MCEP of spectra (r, 2049)."""
    # windows are at most 961 samples long: 2048 points still sample their spectra twice over
    level = np.log(np.maximum(magnitude[:, ::2], np.float32(QUIETEST_SPECTRUM)))
    order = envelope.envelope_order(pitch_of)
    ends = envelope.smoothed_ends(level, order, between_steps=True, on=on)
    smooth = envelope.true_envelope(ends, order, between_steps=True, on=on)
    result: Floats = envelope.warped_cepstrum(np.exp(smooth), 25).astype(np.float64)
    return result


def features(sound: Sound, survey: Survey, block_rows: int, on: Arithmetic = NUMPY) -> tuple[Floats32, Floats64]:
    """(rows, 76) of all stretches, float32, and (rows) seconds at which each row starts."""
    values, seconds = Spool((len(COVAREP) + len(QUALITY),)), Spool(dtype=np.float64)
    for stretch, track in zip(sound.stretches, survey.tracks, strict=True):
        rows = rows_of(stretch)
        for first in range(0, rows, block_rows):
            last = min(rows, first + block_rows)
            values.add(block(sound, stretch, survey, track, first, last, on))
            seconds.add(stretch.start + HOP / RATE * np.arange(first, last))
            track.release()
    return values.array(), np.array(seconds.array())
