"""Voice features by librosa: against librosa itself on the whole signal, and what streaming must not change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emofuse.extractors.provider import Request
from emofuse.extractors.voice.librosa_voice import LibrosaVoice, pitch
from emofuse.extractors.voice.voice_rows import CHUNK_ROWS, chunks
from emofuse.pipeline.errors import NoStream
from emofuse.pipeline.media import AudioInfo, ClipInfo, Frame, Samples
from emofuse.pipeline.timed import Floats32, TimedSequence

RATE = 16000


class Sound:
    """A clip that is nothing but these blocks of sound."""

    info = ClipInfo("sound.flac", "flac", None, None, AudioInfo("flac", RATE, 1))

    def __init__(self, blocks: Sequence[Samples]) -> None:
        self.blocks = blocks

    def frames(self) -> Iterator[Frame]:
        raise NoStream("sound.flac: no video")

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        return iter(self.blocks)


def speech_like(seconds: float, seed: int = 3) -> Floats32:
    """Buzz of gliding pitch (110..190 Hz), broken by noise and by digital silence."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(150 + 40 * np.sin(2 * np.pi * 0.4 * t)) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
    sound = 0.2 * buzz * (np.sin(2 * np.pi * 1.3 * t) > -0.3) + 0.02 * random.standard_normal(len(t))
    sound[int(0.55 * RATE) : int(0.7 * RATE)] = 0
    return sound.astype(np.float32)


def cut(values: Floats32, sizes: Sequence[int], start: float = 0.0) -> list[Samples]:
    """The same sound in blocks of these sizes, over and over."""
    blocks, at, i = [], 0, 0
    while at < len(values):
        size = sizes[i % len(sizes)]
        blocks.append(Samples(start + at / RATE, values[at : at + size]))
        at, i = at + size, i + 1
    return blocks


def voice(blocks: Sequence[Samples]) -> TimedSequence:
    return LibrosaVoice()(Sound(blocks), {})


def test_equals_librosa_on_the_whole_signal() -> None:
    sound = speech_like(12.0)  # more than one chunk
    made = voice([Samples(0.0, sound)])
    rows = len(sound) // 160
    assert len(made) == rows > CHUNK_ROWS
    centred = np.pad(sound, (120, 400))[: 160 * (rows - 1) + 400]  # the first frame's middle is sample 80
    common = {"n_fft": 400, "hop_length": 160, "center": False}
    mel = librosa.feature.melspectrogram(y=centred, sr=RATE, n_mels=40, **common)
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=20)
    expected = {
        **{f"mfcc_{i}": row for i, row in enumerate(mfcc)},
        **{f"mfcc_delta_{i}": row for i, row in enumerate(librosa.feature.delta(mfcc, mode="nearest"))},
        "rms": librosa.feature.rms(y=centred, frame_length=400, hop_length=160, center=False)[0],
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(centred, frame_length=400, hop_length=160, center=False)[0],
        "spectral_centroid": librosa.feature.spectral_centroid(y=centred, sr=RATE, **common)[0],
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(y=centred, sr=RATE, **common)[0],
        "spectral_rolloff": librosa.feature.spectral_rolloff(y=centred, sr=RATE, **common)[0],
        "spectral_flatness": librosa.feature.spectral_flatness(y=centred, **common)[0],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(made.column(name), values, rtol=1e-4, atol=1e-4 * np.abs(values).max(), err_msg=name)
    wide = np.pad(sound, (432, 1024))[: 160 * (rows - 1) + 1024]
    f0 = librosa.yin(wide.astype(np.float64), sr=RATE, fmin=50, fmax=500, frame_length=1024, hop_length=160, center=False)
    voiced = np.isfinite(made.column("f0"))
    assert 0.5 < voiced.mean() < 0.95
    np.testing.assert_allclose(made.column("f0")[voiced], f0[voiced], rtol=1e-5)
    assert set(made.columns) == {*expected, "f0", "voiced_probability"}


def test_pitch_and_voicing_agree_with_pyin() -> None:
    sound = speech_like(3.0)
    f0, _ = pitch(sound)
    theirs, voiced, _ = librosa.pyin(sound.astype(np.float64), sr=RATE, fmin=50, fmax=500, frame_length=1024, hop_length=160, center=False)
    ours = np.isfinite(f0)
    assert (ours == voiced).mean() > 0.9
    both = ours & voiced
    assert (np.abs(f0[both] / theirs[both] - 1) < 0.02).mean() > 0.98


@pytest.mark.parametrize("hertz", [62.0, 118.5, 240.0, 430.0])
def test_a_tone_has_its_own_pitch(hertz: float) -> None:
    t = np.arange(RATE) / RATE
    made = voice([Samples(0.0, (0.3 * np.sin(2 * np.pi * hertz * t)).astype(np.float32))])
    inner = made.values[5:-5]
    np.testing.assert_allclose(inner[:, made.columns.index("f0")], hertz, rtol=0.015)  # YIN, librosa's too, is 1.3 % off at 62 Hz
    assert (made.column("voiced_probability")[5:-5] > 0.7).all()


def test_noise_is_unvoiced() -> None:
    noise = np.random.default_rng(1).standard_normal(2 * RATE).astype(np.float32) * 0.1
    assert np.isnan(voice([Samples(0.0, noise)]).column("f0")).mean() > 0.98


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(37, 9000), min_size=1, max_size=4))
def test_block_borders_change_nothing(sizes: list[int]) -> None:
    sound = SOUND
    whole = WHOLE
    pieces = voice(cut(sound, sizes, start=2.5))
    np.testing.assert_array_equal(pieces.values, whole.values)
    np.testing.assert_allclose(pieces.start, whole.start, atol=1e-9)


def test_chunk_borders_change_nothing() -> None:
    sound = speech_like(23.0)
    extractor = LibrosaVoice()
    made = voice([Samples(0.0, sound)])
    (one,) = chunks(iter([Samples(0.0, sound)]), chunk_rows=10_000)
    np.testing.assert_allclose(made.values, extractor._features(one.values)[one.kept], rtol=1e-5, atol=1e-5)


def test_a_click_lies_in_the_row_of_its_time() -> None:
    sound = np.zeros(2 * RATE, np.float32)
    at = 1.2345
    sound[round(at * RATE)] = 0.9
    made = voice([Samples(3.0, sound)])
    loud = made.column("rms") > 0.01
    seen = made.start[loud].min(), made.end[loud].max()
    assert seen[0] < 3.0 + at < seen[1]
    assert abs((seen[0] + seen[1]) / 2 - (3.0 + at)) <= 0.005  # symmetric about the click, half a row at most
    assert made.start[0] == 3.0 and made.end[0] == pytest.approx(3.01)


def test_a_gap_has_no_rows_and_shifts_nothing() -> None:
    first, second = speech_like(1.0), speech_like(0.8, seed=5)
    made = voice([*cut(first, [1024], 0.25), *cut(second, [1024], 4.0)])
    assert len(made) == 100 + 80
    assert made.start[99] == pytest.approx(1.24) and made.start[100] == 4.0
    np.testing.assert_array_equal(made.values[100:], voice([Samples(0.0, second)]).values)


def test_a_containers_rounding_is_no_gap_but_a_drift_is_followed() -> None:
    sound = speech_like(2.0)
    jittered = [Samples(round(b.start, 3), b.values) for b in cut(sound, [1024])]
    np.testing.assert_array_equal(voice(jittered).values, voice([Samples(0.0, sound)]).values)
    late = [Samples(b.start + 0.0004 * i, b.values) for i, b in enumerate(cut(sound, [1600]))]  # 7.6 ms by the end
    assert abs(voice(late).end[-1] - late[-1].end) < 0.005


def test_digital_silence_is_finite() -> None:
    made = voice([Samples(0.0, np.zeros(RATE, np.float32))])
    others = [c for c in made.columns if c != "f0"]
    assert np.isfinite(made.select(others).values).all()
    assert np.isnan(made.column("f0")).all()
    assert (made.column("voiced_probability") == 0).all()


def test_too_little_sound_is_an_empty_stream_that_says_so() -> None:
    made = voice([Samples(0.0, np.zeros(150, np.float32))])
    assert len(made) == 0 and "10 ms" in made.reason


def test_a_short_stretch_has_its_rows() -> None:
    assert len(voice([Samples(0.0, speech_like(0.035))])) == 3


def test_only_a_few_seconds_of_sound_are_held() -> None:
    drawn = 0

    def blocks() -> Iterator[Samples]:
        nonlocal drawn
        for i in range(600):
            drawn += 1
            yield Samples(i / 10, np.zeros(1600, np.float32))

    for n, chunk in enumerate(chunks(blocks()), start=1):
        assert drawn <= min(600, 101 * n)
        assert len(chunk.values) <= 160 * (CHUNK_ROWS + 8) + 1024


def test_without_audio_the_clips_own_error_comes_through() -> None:
    class Silent(Sound):
        def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
            raise NoStream("mute.mp4: no audio")

    with pytest.raises(NoStream, match="no audio"):
        LibrosaVoice()(Silent([]), {})


def test_status_and_provenance_say_who_made_it() -> None:
    assert LibrosaVoice.status(Request()).usable
    made = voice([Samples(0.0, speech_like(0.1))])
    assert made.provenance.extractor == "librosa" and made.provenance.version.startswith("0.")
    assert made.provenance.options["voiced"] == 0.6


SOUND = speech_like(11.0)
WHOLE = voice([Samples(2.5, SOUND)])
