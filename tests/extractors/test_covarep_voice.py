"""The default provider against truths of our own making: voices synthesised from LF pulses, a chirp, a click, noise and silence."""

import importlib.util
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from scipy.signal import lfilter

from emofuse.extractors.provider import Request
from emofuse.extractors.voice.covarep import compat, corrected
from emofuse.extractors.voice.covarep import survey as covarep_survey
from emofuse.extractors.voice.covarep.arithmetic import NUMPY, Arithmetic, OnDevice
from emofuse.extractors.voice.covarep.sound import Sound
from emofuse.extractors.voice.covarep.survey import survey
from emofuse.extractors.voice.covarep.voice import CovarepCompatVoice, CovarepVoice
from emofuse.pipeline.columns import COVAREP, HMPDM
from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.media import Samples
from emofuse.pipeline.ports import Extractor
from emofuse.pipeline.timed import TimedSequence

RATE = 16000
GLOTTAL = ("NAQ", "QOQ", "H1H2", "PSP", "MDQ", "Rd", "Rd_conf")


def voices() -> Any:
    """benchmarks/covarep_truth.py: the synthesised voices, and the clip that they are heard as."""
    spec = importlib.util.spec_from_file_location("covarep_truth", Path(__file__).parents[2] / "benchmarks" / "covarep_truth.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["covarep_truth"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


VOICES = voices()
Heard, voice, vowel, middle, closures_of = (getattr(VOICES, name) for name in ("Heard", "heard", "vowel", "middle", "closures_of"))
SHAPES = (0.4, 0.7, 1.0, 1.4, 1.8, 2.2)


@pytest.fixture(scope="module", params=[100, 200])
def shapes(request) -> list[tuple[float, Any, TimedSequence]]:
    made = [(rd, vowel(request.param, rd)) for rd in SHAPES]
    return [(rd, one, voice(one.samples)) for rd, one in made]


def test_pulse_shape_follows_the_truth(shapes):
    measured = [middle(stream, "Rd") for _, _, stream in shapes]
    assert np.all(np.diff(measured) > 0)
    np.testing.assert_allclose(measured, SHAPES, atol=0.1)


def test_amplitude_quotient_follows_the_truth(shapes):
    measured = [middle(stream, "NAQ") for _, _, stream in shapes]
    assert np.all(np.diff(measured) > 0)
    np.testing.assert_allclose(measured, [one.naq for _, one, _ in shapes], atol=0.025)


def test_open_quotient_follows_the_truth(shapes):
    measured = [middle(stream, "QOQ") for _, _, stream in shapes]
    assert np.all(np.diff(measured) > 0)
    np.testing.assert_allclose(measured, [one.qoq for _, one, _ in shapes], atol=0.06)


def test_difference_of_first_harmonics_follows_the_truth(shapes):
    measured = [middle(stream, "H1H2") for _, _, stream in shapes]
    assert np.all(np.diff(measured) > 0)
    np.testing.assert_allclose(measured, [one.h1h2 for _, one, _ in shapes], atol=2.5)  # dB


def test_parabolic_parameter_grows_with_breathiness(shapes):
    assert np.all(np.diff([middle(stream, "PSP") for _, _, stream in shapes]) > 0)


def test_wavelet_maxima_spread_with_breathiness(shapes):
    measured = [middle(stream, "MDQ") for _, _, stream in shapes]
    assert np.corrcoef(np.argsort(np.argsort(measured)), SHAPES)[0, 1] > 0.8


def test_wavelet_maxima_slope_down_with_breathiness(shapes):
    assert np.all(np.diff([middle(stream, "peakSlope") for _, _, stream in shapes]) < 0)


def test_a_steady_vowel_is_voiced_throughout_at_its_pitch(shapes):
    for _, one, stream in shapes:
        assert stream.provenance.notes["polarity"] == 1
        assert stream.column("VUV").mean() > 0.97
        pitch = np.median(np.diff(one.closures)) ** -1
        assert np.abs(stream.column("F0")[10:-10] / pitch - 1).max() < 0.005


def test_phase_deviation_grows_with_noise():
    measured = [middle(voice(vowel(150, 1.0, noise=level).samples), "HMPDD_0") for level in (0.001, 0.01, 0.1, 0.3)]
    assert np.all(np.diff(measured) > 0.3)


@pytest.mark.parametrize("pitch", [90, 140, 220, 330])
@pytest.mark.parametrize("rd", [0.5, 1.0, 2.0])
def test_closures_are_found_within_a_quarter_of_a_millisecond(pitch, rd):
    one = vowel(pitch, rd)
    closures = closures_of(one.samples)
    inner = one.closures[(one.closures > 0.1) & (one.closures < 0.9)]
    error = np.abs(closures[:, None] - inner).min(axis=0)
    assert np.median(error) < 0.25e-3
    assert np.quantile(error, 0.95) < 0.3e-3
    assert abs(np.sum((closures > 0.1) & (closures < 0.9)) - len(inner)) <= 1


def test_pitch_follows_a_chirp_without_lag():
    seconds = 3.0
    rising = np.linspace(100, 300, int(seconds * RATE * VOICES.OVERSAMPLED))
    stream = voice(vowel(rising, 1.0, seconds).samples)
    truth = 100 + 200 * (stream.start + 0.005) / seconds
    apart = (stream.column("F0") - truth)[10:-10]
    assert np.abs(apart).max() < 0.5
    assert abs(np.median(apart)) < 0.1  # a lag of one row would be 0.67 Hz


def test_a_click_is_seen_at_its_time():
    values = np.zeros(RATE)
    values[8000] = 0.9  # at 0.5 s, where row 50 begins
    stream = voice(values, start=2.0)
    heard = stream.column("rms") > 0
    rows = np.flatnonzero(heard)
    assert stream.start[rows[0]] + 0.005 == pytest.approx(2.5, abs=0.0126)
    assert (stream.start[rows] + 0.005).mean() == pytest.approx(2.5, abs=0.0051)
    assert (stream.start[np.flatnonzero(stream.column("MCEP_0") > -16)] + 0.005).mean() == pytest.approx(2.5, abs=0.0051)
    assert not stream.column("VUV").any()


def test_rows_are_ten_milliseconds_from_the_start_of_the_sound():
    stream = voice(np.random.default_rng(0).standard_normal(1650) * 0.1, start=3.25)
    assert len(stream) == 10
    np.testing.assert_allclose(stream.start, 3.25 + 0.01 * np.arange(10), atol=1e-12)
    np.testing.assert_allclose(stream.end - stream.start, 0.01, atol=1e-12)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("colour", [0.0, 0.95])
def test_noise_is_not_voice(seed, colour):
    white = np.random.default_rng(seed).standard_normal(3 * RATE)
    values = 0.1 * np.asarray(lfilter([1 - colour], [1, -colour], white))
    stream = voice(values)
    assert stream.column("VUV").mean() < 0.005
    assert np.median(stream.column("voicing_probability")) < 0.35


SILENCES = {
    "digital": np.zeros(RATE),
    "offset": np.full(RATE, 0.4),
    "one step": np.where(np.arange(RATE) == 9000, 2.0**-15, 0),
}


@pytest.mark.parametrize("name", SILENCES)
def test_silence_has_no_voice_and_no_pitch(name):
    stream = voice(SILENCES[name])
    assert len(stream) == 100
    assert np.isfinite(stream.values).all()
    assert not stream.column("VUV").any()
    assert not stream.column("F0")[stream.column("rms") == 0].any()
    for column in GLOTTAL:
        assert not stream.column(column).any()


@pytest.mark.parametrize("length", [160, 161, 399, 401, 800, 1600, 5000])
def test_very_short_clips_are_finite(length):
    stream = voice(vowel(150, 1.0).samples[:length])
    assert len(stream) == length // 160
    assert np.isfinite(stream.values).all()


@pytest.mark.parametrize("provider", [CovarepVoice, CovarepCompatVoice])
def test_no_sound_is_an_empty_stream_that_says_why(provider):
    for length in (0, 1, 79):
        stream = provider()(Heard((0.0, np.zeros(length))), {})
        assert len(stream) == 0
        assert "10 ms" in stream.reason


def speech_with_pauses(seconds: float = 6.0) -> np.ndarray:
    """Vowels of moving pitch with pauses of noise and of digital silence."""
    count = int(seconds * RATE * VOICES.OVERSAMPLED)
    x = vowel(170 + 60 * np.sin(np.linspace(0, 20, count)), 1.1, seconds).samples
    time = np.arange(len(x)) / RATE
    x[(time % 1.5) > 1.1] *= 0.0
    x[(time > 3) & (time < 4)] += 0.003 * np.random.default_rng(2).standard_normal(((time > 3) & (time < 4)).sum())
    return x


@pytest.fixture(scope="module")
def paused() -> tuple[np.ndarray, TimedSequence]:
    values = speech_with_pauses()
    return values, voice(values)


def test_glottal_columns_are_given_only_where_there_is_voice(paused):
    _, stream = paused
    unvoiced = stream.column("VUV") == 0
    assert unvoiced.any() and not unvoiced.all()
    for column in GLOTTAL:
        assert not stream.column(column)[unvoiced].any()
        assert stream.column(column)[~unvoiced].any()
    assert set(np.unique(stream.column("VUV"))) == {0.0, 1.0}
    # the pause from 1.1 to 1.5 s is marked, never drawn through
    pause = (stream.start > 1.17) & (stream.start < 1.43)
    assert unvoiced[pause].all()


def test_the_blocks_of_sound_change_nothing(paused):
    values, stream = paused
    for block in (160, 1001, len(values)):
        other = CovarepVoice()(Heard((0.0, values), block=block), {})
        assert np.array_equal(stream.values, other.values)


def test_the_length_of_a_piece_changes_nothing(paused):
    values, stream = paused
    for seconds in (1, 3):
        # only the order of sums inside a float32 matrix product differs
        np.testing.assert_allclose(voice(values, block_seconds=seconds).values, stream.values, atol=2e-4)


def test_a_survey_in_pieces_is_the_survey(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs, lines and medians that go over the pieces' edges: the same bits, in two stretches and one without any voice."""
    draw = np.random.default_rng(8)
    f0 = np.repeat(draw.uniform(90, 250, (60, 1)), 20, axis=0) * draw.normal(1, 0.02, (1200, 6))
    strength = np.repeat(draw.random((120, 1)) ** 3, 10, axis=0) * draw.uniform(0.05, 0.3, (1200, 6))
    strength[900:] = 0
    candidates = np.stack([f0, strength], axis=1).astype(np.float32)
    surveys = []
    for size in (1 << 30, 48, 1000):
        monkeypatch.setattr(covarep_survey, "AT_ONCE", size)
        surveys.append(covarep_survey._decide(candidates, (500, 400, 300)))
    assert 0 < surveys[0][0].voiced.sum() < 500 and not surveys[0][2].voiced.any()
    for other in surveys[1:]:
        for one, two in zip(surveys[0], other, strict=True):
            for name in ("f0", "strength", "voiced", "continuous", "steady"):
                assert np.array_equal(getattr(one, name), getattr(two, name)), name


def features_on(values: np.ndarray, on: Arithmetic) -> np.ndarray:
    sound = Sound(Heard((0.0, values)).samples())
    return corrected.features(sound, survey(sound, 1000, on), 1000, on)[0]


def angles_apart(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    apart = np.abs(ours - theirs)
    means = [COVAREP.index(name) for name in HMPDM]
    apart[:, means] = np.abs(np.angle(np.exp(1j * (ours - theirs)[:, means].astype(np.float64))))
    return apart


def test_torch_computes_what_numpy_does(paused):
    values, stream = paused
    apart = angles_apart(features_on(values, OnDevice("cpu")), stream.values)
    assert np.quantile(apart, 0.999) < 1e-4
    assert apart.max() < 1e-3  # the angle of a mean that is nearly nothing


@pytest.mark.parametrize("values", [np.zeros(RATE), np.full(500, 0.4), vowel(150, 1.0).samples[:161], vowel(450, 1.0).samples[:4000]])
def test_torch_takes_silence_and_short_clips_too(values):
    plain, on_torch = features_on(values, NUMPY), features_on(values, OnDevice("cpu"))
    assert on_torch.shape == (len(values) // 160, 76) and on_torch.dtype == np.float32
    assert np.isfinite(on_torch).all()
    assert np.quantile(angles_apart(on_torch, plain), 0.99) < 1e-4


@pytest.mark.gpu
def test_a_graphics_processor_computes_what_the_processor_does(paused):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    values, stream = paused
    on_device = CovarepVoice(device="cuda")(Heard((0.0, values)), {})
    assert np.quantile(angles_apart(on_device.values, stream.values), 0.999) < 1e-4


def test_a_later_start_shifts_the_times_and_nothing_else(paused):
    values, stream = paused
    later = voice(values, start=7.125)
    assert np.array_equal(later.values, stream.values)
    np.testing.assert_allclose(later.start, stream.start + 7.125, atol=1e-12)


def test_upside_down_sound_gives_the_same_features(paused):
    values, stream = paused
    flipped = voice(-values)
    assert flipped.provenance.notes["polarity"] == -stream.provenance.notes["polarity"]
    assert np.array_equal(flipped.values, stream.values)


def test_loudness_changes_only_what_measures_it(paused):
    values, stream = paused
    quiet = voice(values * 0.5)
    loud = stream.column("rms") > 0.02
    np.testing.assert_allclose(quiet.column("rms"), stream.column("rms") / 2, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(
        (quiet.column("MCEP_0") - stream.column("MCEP_0"))[loud], -np.log(2), atol=0.05
    )  # the envelope stops within 2 dB
    for column in ("F0", "VUV", *GLOTTAL):
        np.testing.assert_allclose(quiet.column(column), stream.column(column), atol=2e-3, err_msg=column)


@pytest.mark.parametrize("provider", [CovarepVoice, CovarepCompatVoice])
def test_a_gap_has_no_rows_and_keeps_the_times_after_it(provider):
    values = vowel(150, 1.0, 2.0).samples
    stream = provider()(Heard((0.0, values[:16000]), (1.5, values[16000:])), {})
    middles = stream.start + 0.005
    assert not ((middles > 1.0) & (middles < 1.5)).any()
    assert (middles < 1.0).sum() == 100
    assert (middles > 1.5).sum() == 100
    assert stream.start[100] == pytest.approx(1.5)


def test_compatible_rows_survive_silence_in_the_middle():
    # a silent pitch frame has 1 Hz, so its analysis window is three seconds long
    values = vowel(150, 1.0, 4.0).samples
    values[30000:34000] = 0
    stream = CovarepCompatVoice()(Heard((0.0, values)), {})
    silent = (stream.start > 1.95) & (stream.start < 2.05)
    assert (stream.column("F0")[silent] == 1).all()
    assert np.isfinite(stream.select(COVAREP[:7] + COVAREP[8:]).values).all()


def test_compatible_rows_are_covareps_positions():
    values = vowel(150, 1.0, 1.5).samples
    stream = CovarepCompatVoice()(Heard((4.0, values)), {})
    assert stream.columns == COVAREP
    assert len(stream) == (len(values) - 80) // 160 + 1
    assert stream.start[0] == 4.0
    assert stream.column("VUV").mean() > 0.9


@pytest.mark.parametrize("provider", [CovarepVoice, CovarepCompatVoice])
def test_sound_that_is_not_a_number_is_refused_with_its_time(provider):
    values = np.zeros(RATE)
    values[4000] = np.nan
    with pytest.raises(StreamError, match=r"expected finite samples, got nan at 1\.250 s"):
        provider()(Heard((1.0, values)), {})


def test_every_column_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "covarep.md").read_text()
    families = {f"{name.split('_')[0]}_0.." if name.startswith(("MCEP", "HMPD")) else name for name in CovarepVoice.columns}
    assert [name for name in sorted(families) if f"`{name}" not in text] == []


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("provider, part", [(CovarepVoice, "spectra"), (CovarepCompatVoice, "harmonics")])
def test_matrix_products_stay_on_one_thread_and_give_the_others_back(provider, part, monkeypatch):
    seen: list[list[int]] = []
    module = corrected if provider is CovarepVoice else compat
    original = getattr(module, part)
    monkeypatch.setattr(module, part, lambda *given: seen.append(blas_threads()) or original(*given))
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        provider()(Heard((0.0, vowel(150, 1.0).samples)), {})
        assert blas_threads() == before
    assert seen and all(threads == [1] * len(before) for threads in seen)
    assert 2 in before


@pytest.mark.parametrize("provider", [CovarepVoice, CovarepCompatVoice])
def test_both_providers_are_extractors_of_the_voice_stream(provider):
    extractor: Extractor = provider()
    assert extractor.stream == "voice"
    assert extractor.media == {"audio"}
    assert extractor.needs == ()
    assert extractor.columns[:74] == COVAREP
    assert provider.status(Request()).usable


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(monkeypatch):
    monkeypatch.setattr("emofuse.extractors.voice.covarep.sound.IN_MEMORY", 1 << 20)
    values = speech_with_pauses(10.0).astype(np.float32)

    class Long(Heard):
        def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
            for i in range(int(self.pieces[0][0])):
                yield Samples(i * len(values) / RATE, values)

    def peak(tens: int) -> int:
        tracemalloc.start()
        rows = CovarepVoice()(Long((float(tens), values)), {})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - 4 * rows.values.nbytes  # the rows themselves and their copies are the result

    peak(2)  # tables are made once
    assert peak(9) < peak(3) + 2 * 2**20  # a minute of sound alone is 3.7 MiB
