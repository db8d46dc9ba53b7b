"""A film made of a clip keeps the clip's clock, whatever the container did with it; and what browsers play is left as it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from emofuse.pipeline.clip import Clip
from emofuse.pipeline.media import AudioInfo, ClipInfo, VideoInfo
from emofuse.pipeline.views.transcode import Picture, fitted, playable, transcode


def frame_times(clip: Clip) -> list[float]:
    return [frame.start for frame in clip.frames()]


def bright(clip: Clip) -> float:
    """Seconds of the first frame that is bright."""
    return next(frame.start for frame in clip.frames() if frame.image.mean() > 60)


def loud(clip: Clip) -> float:
    for block in clip.samples():
        samples = np.flatnonzero(np.abs(block.values) > 0.1)
        if len(samples):
            return block.start + int(samples[0]) / 16000
    raise AssertionError("nothing is loud")


def test_every_frame_stays_at_its_time(samples: Path, tmp_path: Path) -> None:
    truth = json.loads((samples / "truth.json").read_text())["clips"]["late.mkv"]["frames"]
    clip = Clip(samples / "late.mkv")
    transcode(clip, tmp_path / "film.mp4", size=fitted(clip.info))
    made = Clip(tmp_path / "film.mp4")
    assert made.info.video is not None and made.info.video.codec == "h264" and made.info.audio is not None
    assert playable(made.info, ".mp4")
    times = frame_times(made)
    if truth[0] > 0:
        assert times.pop(0) == 0, "black, until the first frame"
    assert times == pytest.approx(truth, abs=2e-3)


@pytest.mark.shared
def test_flash_and_beep_stay_where_they_are(shared: Path, tmp_path: Path) -> None:
    kinds = ("late_video.mkv", "start_time.ts", "vfr.mkv", "no_video.m4a")
    with (shared / "clips/clock/truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["file"] not in kinds:
            continue
        clip = Clip(shared / "clips/clock" / row["file"])
        path = tmp_path / (row["file"] + (".mp4" if clip.info.video else ".m4a"))
        transcode(clip, path, size=fitted(clip.info))
        made = Clip(path)
        tolerance = float(row["tolerance_s"])
        if row["video_onset_s"]:
            assert bright(made) == pytest.approx(bright(clip), abs=1e-4), row["file"]
            shown = [t for t in frame_times(made) if t > 0]
            assert shown == pytest.approx([t for t in frame_times(clip) if t > 0], abs=1e-4), row["file"]
        if row["audio_onset_s"]:
            # AAC spreads a sudden sound over part of its 64 ms frame of 1024 samples; its onset stays within 2 ms here.
            assert loud(made) == pytest.approx(float(row["audio_onset_s"]), abs=tolerance + 2e-3), row["file"]


def test_what_is_drawn_is_in_the_frame_of_its_time(samples: Path, tmp_path: Path) -> None:
    clip = Clip(samples / "no_audio.mp4")

    def flash(picture: Picture, seconds: float) -> Picture:
        return np.full_like(picture, 255 if 0.59 < seconds < 0.61 else 0)

    transcode(clip, tmp_path / "film.mp4", size=fitted(clip.info), draw=flash)
    white = [frame.start for frame in Clip(tmp_path / "film.mp4").frames() if frame.image.mean() > 128]
    assert white == pytest.approx([t for t in frame_times(clip) if 0.59 < t < 0.61], abs=1e-4) and len(white) == 1


def test_a_size_has_even_sides_and_its_shorter_one_within_bounds() -> None:
    def info(width: int, height: int, rotation: int = 0) -> ClipInfo:
        return ClipInfo("x", "mp4", 1.0, VideoInfo("h264", width, height, rotation, 25.0, "yuv420p"), None)

    assert fitted(info(1920, 1080)) == (854, 480)
    assert fitted(info(1920, 1080, 90)) == (480, 854)
    assert fitted(info(321, 241)) == (320, 240)
    assert fitted(info(128, 96), least=480, most=720) == (640, 480)
    assert fitted(ClipInfo("x", "wav", 1.0, None, AudioInfo("pcm_s16le", 16000, 1))) is None


@pytest.mark.parametrize(
    ("suffix", "video", "audio", "played"),
    [
        (".mp4", ("h264", "yuv420p"), "aac", True),
        (".MP4", ("h264", "yuv420p"), None, True),
        (".mp4", ("h264", "yuv422p10le"), "aac", False),
        (".mp4", ("hevc", "yuv420p"), "aac", False),
        (".mkv", ("h264", "yuv420p"), "aac", False),
        (".mov", ("h264", "yuv420p"), "pcm_s16le", False),
        (".webm", ("vp9", "yuv420p"), "opus", True),
        (".flv", ("vp6f", "yuv420p"), "mp3", False),
        (".flac", None, "flac", True),
        (".wav", None, "pcm_s24le", False),
    ],
)
def test_only_what_every_browser_plays_is_left_as_it_is(
    suffix: str, video: tuple[str, str] | None, audio: str | None, played: bool
) -> None:
    picture = None if video is None else VideoInfo(video[0], 64, 64, 0, 25.0, video[1])
    sound = None if audio is None else AudioInfo(audio, 16000, 1)
    assert playable(ClipInfo("x", "", 1.0, picture, sound), suffix) is played
