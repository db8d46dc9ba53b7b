"""Extractors share one decoding pass, wait for what they need, and say why where there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np
import pytest

from emofuse.pipeline.clip import Clip
from emofuse.pipeline.errors import DecodeCrashed, StreamError
from emofuse.pipeline.extraction import extract
from emofuse.pipeline.media import Media, Medium
from emofuse.pipeline.timed import Provenance, TimedSequence

Read = Callable[[Media, Mapping[str, TimedSequence]], list[tuple[float, float, float]]]


@dataclass(frozen=True)
class Toy:
    """An extractor whose rows (start, end, value) come from a function."""

    stream: str
    media: frozenset[Medium]
    read: Read
    needs: tuple[str, ...] = ()
    name: str = "toy"
    columns: tuple[str, ...] = ("value",)

    @property
    def provenance(self) -> Provenance:
        return Provenance(self.name, "1")

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        rows = np.array(self.read(clip, upstream)).reshape(-1, 3)
        return TimedSequence(
            self.stream, self.columns, rows[:, 2:], rows[:, 0], rows[:, 1], self.provenance, reason="" if len(rows) else "none"
        )


def brightness(clip: Media, _: Mapping[str, TimedSequence]) -> list[tuple[float, float, float]]:
    return [(f.start, f.end, float(f.image.mean())) for f in clip.frames()]


def loudness(clip: Media, _: Mapping[str, TimedSequence]) -> list[tuple[float, float, float]]:
    return [(s.start, s.end, float(np.abs(s.values).max())) for s in clip.samples()]


def doubled(_: Media, upstream: Mapping[str, TimedSequence]) -> list[tuple[float, float, float]]:
    voice = upstream["voice"]
    return [(float(a), float(b), 2 * float(v)) for a, b, v in zip(voice.start, voice.end, voice.values[:, 0], strict=True)]


VIDEO: frozenset[Medium] = frozenset({"video"})
AUDIO: frozenset[Medium] = frozenset({"audio"})
FACE = Toy("face", VIDEO, brightness)
VOICE = Toy("voice", AUDIO, loudness)
TEXT = Toy("text", frozenset(), doubled, needs=("voice",))


@pytest.fixture(scope="module")
def clip_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "both.mkv"
    video = ffmpeg.input("testsrc=size=64x48:rate=25:duration=3", f="lavfi")
    sound = ffmpeg.input("sine=frequency=440:sample_rate=48000:duration=3", f="lavfi")
    output = ffmpeg.output(video, sound, str(path), vcodec="mpeg4", acodec="pcm_s16le")
    output.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)
    return path


def count_passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    passes: list[tuple[bool, bool]] = []
    decode = Clip.decode

    def counted(self: Clip, *, frames: bool, samples: bool):  # type: ignore[no-untyped-def]
        passes.append((frames, samples))
        return decode(self, frames=frames, samples=samples)

    monkeypatch.setattr(Clip, "decode", counted)
    return passes


def test_all_extractors_share_one_decoding_pass_and_see_what_each_would_alone(clip_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {e.stream: e(Clip(clip_path), {}) for e in (FACE, VOICE)}
    passes = count_passes(monkeypatch)
    together = extract(Clip(clip_path), [TEXT, FACE, VOICE])
    assert passes == [(True, True)]
    for name, stream in alone.items():
        assert np.array_equal(together.streams[name].values, stream.values)
        assert np.array_equal(together.streams[name].start, stream.start)
    assert len(together.streams["face"]) == 75
    assert np.allclose(together.streams["text"].values, 2 * alone["voice"].values)


def test_only_the_media_that_are_read_are_decoded(clip_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = count_passes(monkeypatch)
    extract(Clip(clip_path), [VOICE])
    assert passes == [(False, True)]


def test_a_second_reading_gets_a_pass_of_its_own(clip_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = count_passes(monkeypatch)
    twice = Toy("voice", AUDIO, lambda clip, up: loudness(clip, up) and loudness(clip, up))
    assert len(extract(Clip(clip_path), [twice]).streams["voice"])
    assert passes == [(False, True), (False, True)]


def test_an_extractor_that_stops_early_holds_nobody_up(clip_path: Path) -> None:
    def first_frame(clip: Media, _: Mapping[str, TimedSequence]) -> list[tuple[float, float, float]]:
        frame = next(iter(clip.frames()))
        return [(frame.start, frame.end, 1.0)]

    streams = extract(Clip(clip_path), [Toy("face", VIDEO, first_frame), VOICE]).streams
    assert len(streams["face"]) == 1 and streams["voice"].span.end == pytest.approx(3.0, abs=0.01)


def test_an_extractors_error_comes_out_and_nothing_hangs(clip_path: Path) -> None:
    def fail(clip: Media, _: Mapping[str, TimedSequence]) -> list[tuple[float, float, float]]:
        next(iter(clip.samples()))
        raise StreamError("broken on purpose")

    with pytest.raises(StreamError, match="on purpose"):
        extract(Clip(clip_path), [FACE, Toy("voice", AUDIO, fail), TEXT])


def test_an_error_of_the_clip_reaches_every_reader(clip_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Clip, *, frames: bool, samples: bool):  # type: ignore[no-untyped-def]
        raise DecodeCrashed("the codec fell over")
        yield

    monkeypatch.setattr(Clip, "decode", broken)
    with pytest.raises(DecodeCrashed, match="fell over"):
        extract(Clip(clip_path), [FACE, VOICE])


def test_a_medium_that_is_not_there_is_a_reason(tmp_path: Path, clip_path: Path) -> None:
    silent = tmp_path / "silent.mkv"
    ffmpeg.input(str(clip_path)).output(str(silent), an=None, vcodec="copy").run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)
    streams = extract(Clip(silent), [FACE, VOICE]).streams
    assert len(streams["voice"]) == 0 and streams["voice"].reason == "the clip has no audio stream"
    assert len(streams["face"]) == 75


def test_needs_that_nobody_meets_are_named(clip_path: Path) -> None:
    with pytest.raises(StreamError, match="text by toy needs the stream voice"):
        extract(Clip(clip_path), [TEXT])
    with pytest.raises(StreamError, match="two extractors for one stream"):
        extract(Clip(clip_path), [VOICE, VOICE])
