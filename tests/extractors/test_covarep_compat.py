"""Parity of the compatible provider with COVAREP itself, run under Octave: end to end, and array by array on the way."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.extractors.voice.covarep import compat, envelope, gci, inverse_filtering, phase_distortion, pitch
from emofuse.extractors.voice.covarep.harmonics import harmonics, spectra
from emofuse.extractors.voice.covarep.linear_prediction import residuals
from emofuse.pipeline.columns import COVAREP, HMPDD, HMPDM, MCEP

CLIPS = ("jfk", "ravdess_03-01-03-02-01-02-12", "ravdess_03-01-04-01-02-01-08", "ravdess_03-01-05-02-01-01-03")
FIRST_HMPDM = 10  # HMPDM_0..7 are 0 in every reference, 8 and 9 nearly so


@pytest.fixture(scope="module", params=CLIPS)
def pair(request, shared: Path):
    """Ours and COVAREP's (rows, 74) of one clip."""
    with np.load(shared / "reference" / "covarep" / f"{request.param}.npz") as reference:
        theirs = reference["features"].astype(np.float64)
        assert tuple(reference["names"]) == COVAREP
        ours = compat.features(reference["samples"] / 32768.0)
    assert ours.shape == theirs.shape
    return ours, theirs


def columns(pair, names, rows: Any = slice(None)):
    for name in names:
        i = COVAREP.index(name)
        yield name, pair[0][rows, i], pair[1][rows, i]


@pytest.mark.shared
def test_pitch_and_voicing_are_exactly_covareps(pair):
    for _, ours, theirs in columns(pair, ("F0", "VUV")):
        assert np.array_equal(ours.astype(np.float32), theirs.astype(np.float32))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["NAQ", "QOQ", "H1H2", "PSP", "MDQ"])
def test_glottal_columns_equal_covareps(pair, name):
    ((_, ours, theirs),) = columns(pair, (name,))
    # the references are float32; COVAREP's filter designs differ from scipy's in the sixth digit
    np.testing.assert_allclose(ours, theirs, atol=2e-6, rtol=1e-5)


@pytest.mark.shared
def test_peak_slope_equals_covareps_and_so_do_its_infinities(pair):
    ((_, ours, theirs),) = columns(pair, ("peakSlope",))
    assert np.array_equal(np.isinf(ours), np.isinf(theirs))
    finite = np.isfinite(theirs)
    np.testing.assert_allclose(ours[finite], theirs[finite], atol=2e-6)


@pytest.mark.shared
def test_pulse_shape_equals_covareps_to_the_searchs_tolerance(pair):
    ((_, ours, theirs),) = columns(pair, ("Rd",))
    # the search stops within 0.01; the path to it is the same
    np.testing.assert_allclose(ours, theirs, atol=5e-3)
    ((_, ours, theirs),) = columns(pair, ("Rd_conf",))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.shared
def test_creak_is_zero_as_under_octave(pair):
    ((_, ours, theirs),) = columns(pair, ("creak",))
    assert not ours.any() and not theirs.any()


@pytest.mark.shared
def test_cepstra_equal_covareps(pair):
    for name, ours, theirs in columns(pair, MCEP):
        # float32; where an envelope lies within rounding of the 2 dB at which it is done, it takes one step more or less
        apart = np.abs(ours - theirs)
        assert np.quantile(apart, 0.99) < 1e-3, name
        assert apart.max() < 0.03, name
        assert np.corrcoef(ours, theirs)[0, 1] > 0.99999, name


@pytest.mark.shared
def test_phase_distortion_means_equal_covareps_but_for_the_random_column(pair):
    for name, ours, theirs in columns(pair, HMPDM[:FIRST_HMPDM]):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=name)
    for name, ours, theirs in columns(pair, HMPDM[FIRST_HMPDM:24]):
        assert np.abs(np.angle(np.exp(1j * (ours - theirs)))).max() < 1e-5, name
    # COVAREP fills HMPDM_24 with random numbers above the last harmonic; ours holds the last value
    ((_, ours, theirs),) = columns(pair, HMPDM[24:])
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95


@pytest.mark.shared
def test_phase_distortion_deviations_follow_covareps(pair):
    valid = np.flatnonzero(pair[1][:, COVAREP.index("HMPDD_0")])
    # the first and the last row are rounding noise in the program itself
    for name, ours, theirs in columns(pair, HMPDD, valid[1:-1]):
        assert np.corrcoef(ours, theirs)[0, 1] > 0.995, name


@pytest.fixture(scope="module", params=["jfk_first3s", "ravdess_03-01-05-02-01-01-03"])
def steps(request, shared: Path):
    """Every array that COVAREP made on its way, and the signal in its polarity."""
    with np.load(shared / "reference" / "covarep_intermediate" / f"{request.param}.npz") as reference:
        arrays = {name: reference[name] for name in reference.files}
    arrays["x"] = arrays["samples"] / 32768.0 * arrays["polarity"]
    return arrays


@pytest.mark.shared
def test_residuals_equal_covareps(steps):
    for ours, name in zip(residuals(steps["x"], (12, 18)), ("residual12", "residual"), strict=True):
        np.testing.assert_allclose(ours / np.nanmax(np.abs(ours)), steps[name], atol=1e-6)


@pytest.mark.shared
def test_pitch_frames_equal_covareps(steps):
    (twelve,) = residuals(steps["x"], (12,))
    track = pitch.track(twelve, compat.frame_starts(len(steps["x"])), compat.FRAME)
    assert np.array_equal(track.f0, steps["srh_f0"])
    assert np.array_equal(track.voiced, steps["srh_vuv"])
    np.testing.assert_allclose(track.strength, steps["srh_val"], atol=1e-6)
    assert track.median == steps["f0_median"]


@pytest.mark.shared
def test_every_closure_is_where_covarep_has_it(steps):
    (twelve,) = residuals(steps["x"], (12,))
    residual = steps["residual"].astype(np.float64)
    mean_based = gci.mean_based_signal(steps["x"], round(16000 / float(steps["f0_median"])))
    np.testing.assert_allclose(mean_based, steps["mean_based_signal"], atol=1e-5)  # filter designs differ in the sixth digit
    clean = np.nan_to_num(residual)
    minima, maxima = gci.cycles(mean_based)
    assert np.array_equal(gci.closures(clean, minima, maxima, gci.closure_position(clean, minima, maxima)), steps["gci_all"])
    track = pitch.track(twelve, compat.frame_starts(len(steps["x"])), compat.FRAME)
    assert np.array_equal(compat.closures(steps["x"], residual, track), steps["gci"])


@pytest.mark.shared
def test_flow_equals_covareps(steps):
    closure = steps["gci"].astype(np.int64)
    waves = inverse_filtering.glottal_flow(steps["x"], closure - 1, np.diff(closure, prepend=2 * closure[0] - closure[1]))
    np.testing.assert_allclose(waves.flow, steps["iaif_flow"], atol=1e-5)
    np.testing.assert_allclose(waves.derivative, steps["iaif_derivative"], atol=1e-5)


@pytest.mark.shared
def test_harmonics_envelopes_and_pulse_shapes_equal_covareps(steps):
    f0 = steps["frame_f0"].astype(np.float64)
    spectrum = spectra(steps["x"], np.round(steps["frame_time"] * 16000).astype(np.int64), f0)
    ours = harmonics(spectrum, f0, steps["harm_amp"].shape[1] - 1)
    assert np.array_equal(ours.count + 1, steps["harm_count"])
    np.testing.assert_allclose(ours.spacing, steps["harm_f0"], atol=1e-4)
    known = ~np.isnan(steps["harm_amp"])
    np.testing.assert_allclose(ours.amplitude[known], steps["harm_amp"][known], atol=1e-6)
    turned = np.angle(np.exp(1j * (ours.phase[known] - steps["harm_phase"][known])))
    audible = steps["harm_amp"][known] > 0
    assert np.abs(turned[audible]).max() < 1e-4
    assert np.array_equal(envelope.envelope_order(f0), steps["te_order"])
    some = steps["env_frames"]
    np.testing.assert_allclose(ours.magnitude[some], steps["env_spec"], atol=1e-7)
    np.testing.assert_allclose(compat.mel_cepstrum(ours), steps["mcep"], atol=1e-3)
    shape, fit = compat.pulse_shape(ours.amplitude, ours.phase, ours.count, ours.spacing)
    np.testing.assert_allclose(shape, steps["rd"], atol=5e-3)
    np.testing.assert_allclose(fit, steps["rd_conf"], atol=2e-5)


@pytest.mark.shared
def test_phase_distortion_steps_equal_covareps(steps):
    hertz = steps["pd_hz"].astype(np.float64)  # holds COVAREP's random part, so what follows from it is comparable
    cosine, sine = phase_distortion.mean_vector(hertz)
    assert np.abs(np.angle(np.exp(1j * (np.arctan2(sine, cosine) - steps["pdm_hz"])))).max() < 1e-4
    scale, starts = phase_distortion.scale()
    np.testing.assert_allclose(scale, steps["log_scale"], rtol=1e-6)
    assert list(starts[8:]) == [8, 10, 13, 17, 22, 28, 36, 46, 58, 72, 89, 110, 135, 166, 207, 264, 358]
    inner = slice(20, -20)  # rounding noise at the ends, see the specification
    apart = np.abs(phase_distortion.deviation(hertz)[inner] - steps["pdd_hz"][inner])
    assert np.quantile(apart, 0.999) < 1e-3
    grouped = phase_distortion.grouped_mean(cosine[:, :-1], sine[:, :-1])
    assert np.abs(np.angle(np.exp(1j * (grouped - steps["pdm_coef"])))).max() < 1e-4
    np.testing.assert_allclose(phase_distortion.deviation_cepstrum(steps["pdd_hz"].astype(np.float64)), steps["pdd_coef"], atol=1e-4)
