"""`Clip` keeps the container's clock: beeps and flashes of clips that these tests make, and of the shared clock clips."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np
import pytest

from emofuse.pipeline.clip import Clip, DecodeEnd, Limits, filled
from emofuse.pipeline.errors import ClipError, ClipLimit, DecodeCrashed, DecodeTimeout, NoStream, NotMedia
from emofuse.pipeline.media import SAMPLE_RATE, Frame, Samples

RATE = 48_000


def make_clip(
    path: Path,
    *,
    frame_times: list[float] | None = None,
    flash: float = 0.5,
    sounds: list[tuple[float, float]] | None = None,
    beep: float = 0.5,
    size: tuple[int, int] = (64, 48),
) -> Path:
    """A clip with frames at these seconds, bright from `flash` on, and sound in stretches (start, end), a tone from `beep` on."""
    with av.open(str(path), "w") as container:
        video = audio = None
        if frame_times is not None:
            video = container.add_stream("mpeg4", rate=25)
            video.width, video.height = size
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
        if sounds is not None:
            audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for time in frame_times or []:
            assert video is not None
            image = np.full((size[1], size[0], 3), 220 if time >= flash else 10, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        for start, end in sounds or []:
            assert audio is not None
            for block in range(round(start * RATE), round(end * RATE), 1200):
                n = min(1200, round(end * RATE) - block)
                t = (block + np.arange(n)) / RATE
                tone = np.where(t >= beep, 0.5 * np.sin(2 * np.pi * 1000 * (t - beep) + 0.5), 0.0)
                sound = av.AudioFrame.from_ndarray((tone * 32767).astype(np.int16)[None], format="s16", layout="mono")
                sound.sample_rate, sound.pts, sound.time_base = RATE, block, Fraction(1, RATE)
                container.mux(audio.encode(sound))
        if audio is not None:
            container.mux(audio.encode(None))
    return path


def beep_of(blocks: Iterable[Samples]) -> float:
    for block in blocks:
        loud = np.flatnonzero(np.abs(block.values) > 0.1)
        if len(loud):
            return block.start + float(loud[0]) / SAMPLE_RATE
    raise AssertionError("no beep")


def flash_of(frames: Iterable[Frame]) -> float:
    return next(f.start for f in frames if f.image.mean() > 100)


def test_frames_carry_the_containers_times_at_variable_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.2, 0.21, 0.5, 0.9]
    frames = list(Clip(make_clip(tmp_path / "vfr.mkv", frame_times=times)).frames())
    assert [f.start for f in frames] == pytest.approx(times, abs=1e-9)
    assert [f.end for f in frames[:-1]] == pytest.approx(times[1:], abs=1e-9)
    assert flash_of(frames) == pytest.approx(0.5)
    assert frames[0].image.shape == (48, 64, 3) and frames[0].image.dtype == np.uint8


def test_a_long_hole_between_frames_is_a_gap_not_a_long_frame(tmp_path: Path) -> None:
    frames = list(Clip(make_clip(tmp_path / "hole.mkv", frame_times=[0.0, 0.04, 5.0])).frames())
    assert frames[1].end < 0.2 and frames[2].start == pytest.approx(5.0)


def test_sound_that_starts_late_starts_late(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "late.mkv", frame_times=[0.0, 0.04], sounds=[(0.75, 2.0)], beep=1.25)
    blocks = list(Clip(path).samples())
    assert blocks[0].start == pytest.approx(0.75, abs=1e-3)
    assert beep_of(blocks) == pytest.approx(1.25, abs=1e-3)
    assert blocks[-1].end == pytest.approx(2.0, abs=2e-3)


def test_a_gap_in_the_sound_shifts_nothing_behind_it(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "gap.mkv", sounds=[(0.0, 0.5), (1.5, 2.5)], beep=2.0)
    blocks = list(Clip(path).samples())
    assert beep_of(blocks) == pytest.approx(2.0, abs=1e-3)
    assert not any(b.start < 1.4 and b.end > 0.6 for b in blocks), "the gap must hold no sound"
    assert sum(len(b.values) for b in blocks) == pytest.approx(1.5 * SAMPLE_RATE, abs=4)


def test_silence_is_filled_only_on_request_and_marked(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "gap.mkv", frame_times=[0.0, 0.04], sounds=[(0.25, 0.5), (1.5, 2.5)], beep=2.0)
    blocks = list(Clip(path).samples(fill_silence=True))
    position = 0.0
    for block in blocks:
        assert block.start == pytest.approx(position, abs=1e-6)
        position = block.end
    assert beep_of(blocks) == pytest.approx(2.0, abs=1e-3)
    silent = sum(len(b.values) for b in blocks if b.filled) / SAMPLE_RATE
    assert silent == pytest.approx(1.25, abs=5e-3)


def test_overlapping_blocks_are_given_once_when_filled() -> None:
    ramp = np.arange(1000, dtype=np.float32)
    blocks = list(filled(iter([Samples(0.0, ramp), Samples(500 / SAMPLE_RATE, ramp)])))
    assert sum(len(b.values) for b in blocks) == 1500


def test_resampling_keeps_a_tone_a_tone(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "tone.wav", sounds=[(0.0, 2.0)], beep=0.0)
    values = np.concatenate([b.values for b in Clip(path).samples()])
    t = np.arange(len(values)) / SAMPLE_RATE
    expected = 0.5 * np.sin(2 * np.pi * 1000 * t + 0.5)
    inner = slice(800, -800)
    assert np.abs(values[inner] - expected[inner]).max() < 2e-3


def test_rotation_metadata_stands_frames_upright(tmp_path: Path) -> None:
    source = tmp_path / "plain.mp4"
    with av.open(str(source), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        image = np.zeros((48, 64, 3), np.uint8)
        image[:24, :32] = 255  # bright in the upper left
        for _ in range(3):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
    turned = tmp_path / "turned.mp4"
    command = ffmpeg.input(str(source), display_rotation=90).output(str(turned), codec="copy").compile(cmd=imageio_ffmpeg.get_ffmpeg_exe())
    subprocess.run([*command, "-loglevel", "error"], check=True)
    frame = next(iter(Clip(turned).frames()))
    assert frame.image.shape == (64, 48, 3)
    # Turned 90 degrees counter-clockwise, the upper left goes to the lower left.
    assert frame.image[48, 12].mean() > 200 and frame.image[12, 12].mean() < 50
    info = Clip(turned).info.video
    assert info is not None and (info.rotation, info.width, info.height) == (90, 64, 48)


def test_one_pass_gives_both_media_and_its_end(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "both.mkv", frame_times=[0.0, 0.5, 1.0], sounds=[(0.0, 1.0)])
    items = list(Clip(path).decode(frames=True, samples=True))
    assert sum(isinstance(i, Frame) for i in items) == 3
    assert sum(isinstance(i, Samples) for i in items) >= 2
    assert isinstance(items[-1], DecodeEnd) and items[-1].broken_packets == 0


def test_many_frames_survive_the_ring_of_slots(tmp_path: Path) -> None:
    times = [i * 0.02 for i in range(100)]
    frames = list(Clip(make_clip(tmp_path / "many.mkv", frame_times=times, flash=1.0)).frames())
    assert len(frames) == 100
    assert flash_of(frames) == pytest.approx(1.0)
    assert all(f.image.mean() < 50 for f in frames if f.start < 0.98)


def test_info_tells_what_the_container_says(tmp_path: Path) -> None:
    info = Clip(make_clip(tmp_path / "a.mkv", frame_times=[0.0, 0.04], sounds=[(0, 1)])).info
    assert info.video is not None and (info.video.width, info.video.height) == (64, 48)
    assert info.audio is not None and info.audio.sample_rate == RATE
    assert info.duration == pytest.approx(1.0, abs=0.1)


def text_file(path: Path) -> Path:
    path.write_text("not a clip\n" * 100)
    return path


def playlist(path: Path) -> Path:
    path.write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    return path


def concat(path: Path) -> Path:
    path.write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("make", [text_file, playlist, concat, empty, folder, fifo])
@pytest.mark.parametrize("name", ["a clip.mp4", "-x.m3u8", "ü.txt"])
def test_what_is_no_media_file_is_refused_by_name(tmp_path: Path, make: Callable[[Path], Path], name: str) -> None:
    path = make(tmp_path / name)
    with pytest.raises(NotMedia, match=r"expected .*media file"):
        _ = Clip(path).info


@pytest.mark.parametrize("path", ["http://127.0.0.1:9/a.mp4", "concat:a.ts|b.ts", "/nowhere/a.mp4"])
def test_addresses_and_missing_files_are_refused(path: str) -> None:
    with pytest.raises(NotMedia, match="no such file"):
        list(Clip(path).frames())


def test_a_stream_that_is_not_there_is_named(tmp_path: Path) -> None:
    silent = make_clip(tmp_path / "silent.mkv", frame_times=[0.0, 0.04])
    with pytest.raises(NoStream, match="no audio stream"):
        list(Clip(silent).samples())
    blind = make_clip(tmp_path / "blind.wav", sounds=[(0, 0.1)])
    with pytest.raises(NoStream, match="no video stream"):
        list(Clip(blind).frames())


def test_limits_are_errors_of_this_clip(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", frame_times=[0.0, 1.0, 2.0], sounds=[(0, 2)])
    with pytest.raises(ClipLimit, match="64x48"):
        list(Clip(path, Limits(pixels=100)).frames())
    with pytest.raises(ClipLimit, match="s long"):
        list(Clip(path, Limits(seconds=1.0)).frames())
    with pytest.raises(ClipLimit, match="48000 Hz"):
        list(Clip(path, Limits(sample_rate=44_100)).samples())


def test_a_decoder_without_memory_fails_this_clip_only(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "big.mkv", frame_times=[0.0, 0.04], size=(1920, 1088))
    with pytest.raises((DecodeCrashed, ClipError)):
        list(Clip(path, Limits(memory=280 << 20)).frames())


def test_a_decoder_that_overruns_its_budget_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "long.mkv"
    noise = np.random.default_rng(0).integers(0, 255, (960, 1280, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:  # one picture, encoded once and shown 400 times: quick to make, seconds to decode
        video = container.add_stream("mjpeg", rate=25, width=1280, height=960, pix_fmt="yuvj420p")
        (packet,) = [*video.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")), *video.encode(None)]
        for i in range(400):
            copy = av.Packet(bytes(packet))
            copy.pts = copy.dts = i * 40
            copy.stream, copy.time_base, copy.is_keyframe = video, Fraction(1, 1000), True
            container.mux(copy)
    with pytest.raises(DecodeTimeout, match="budget"):
        list(Clip(path, Limits(cpu_base=1.0, cpu_factor=0.0)).frames())


def test_a_killed_decoder_is_an_error_not_a_short_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mkv", frame_times=[i * 0.04 for i in range(200)])
    started: list[Any] = []
    popen = subprocess.Popen

    def spy(*args: Any, **options: Any) -> Any:
        process = popen(*args, **options)
        started.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", spy)
    frames = Clip(path).frames()
    next(frames)
    started[-1].send_signal(signal.SIGSEGV)
    with pytest.raises(DecodeCrashed, match="died"):
        list(frames)


def test_a_truncated_clip_gives_what_is_whole(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", frame_times=[i * 0.04 for i in range(100)], flash=0.0)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames = list(Clip(cut).frames())
    assert 10 < len(frames) < 100
    assert [f.start for f in frames] == pytest.approx([i * 0.04 for i in range(len(frames))], abs=2e-3)


@pytest.mark.shared
def test_every_beep_and_flash_of_the_clock_clips_is_at_its_second(shared: Path) -> None:
    rows = list(csv.DictReader((shared / "clips/clock/truth.csv").read_text().splitlines()))
    assert len(rows) >= 17
    for row in rows:
        clip = Clip(shared / "clips/clock" / row["file"])
        tolerance = float(row["tolerance_s"])
        if row["audio_onset_s"]:
            assert beep_of(clip.samples()) == pytest.approx(float(row["audio_onset_s"]), abs=tolerance), row["file"]
        if row["video_onset_s"]:
            assert flash_of(clip.frames()) == pytest.approx(float(row["video_onset_s"]), abs=tolerance), row["file"]


def test_passes_over_one_medium_each_end_as_a_pass_over_both(samples: Path) -> None:
    def end(frames: bool, sound: bool) -> DecodeEnd:
        last = list(Clip(samples / "late.mkv").decode(frames=frames, samples=sound))[-1]
        assert isinstance(last, DecodeEnd)
        return last

    both, picture, sound = end(True, True), end(True, False), end(False, True)
    assert set(both.media) == {"video", "audio"} and picture.end != sound.end
    assert DecodeEnd({**picture.media, **sound.media}) == both
