"""The sample clips are what their truth says, read through `Clip`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from emofuse.pipeline.clip import Clip
from emofuse.pipeline.errors import NoStream

NAMES = ("smile.mp4", "late.mkv", "no_audio.mp4", "voice_only.flac")


@pytest.fixture(scope="module")
def truth(samples: Path) -> dict[str, dict[str, Any]]:
    clips: dict[str, dict[str, Any]] = json.loads((samples / "truth.json").read_text())["clips"]
    return clips


def test_truth_names_every_clip_and_they_stay_small(samples: Path, truth: dict[str, Any]) -> None:
    assert tuple(truth) == NAMES
    assert sum(file.stat().st_size for file in samples.iterdir() if file.is_file()) <= 2_000_000


@pytest.mark.parametrize("name", NAMES)
def test_truth_belongs_to_these_bytes(samples: Path, truth: dict[str, Any], name: str) -> None:
    assert hashlib.sha256((samples / name).read_bytes()).hexdigest() == truth[name]["sha256"]


@pytest.mark.parametrize("name", ["smile.mp4", "late.mkv", "no_audio.mp4"])
def test_frames_stand_where_they_were_put(samples: Path, truth: dict[str, Any], name: str) -> None:
    starts = [frame.start for frame in Clip(samples / name).frames()]
    np.testing.assert_allclose(starts, truth[name]["frames"], atol=1e-9)


@pytest.mark.parametrize("name", ["smile.mp4", "late.mkv", "voice_only.flac"])
def test_sound_lies_in_its_spans(samples: Path, truth: dict[str, Any], name: str) -> None:
    spans: list[list[float]] = []
    for block in Clip(samples / name).samples():
        if spans and abs(block.start - spans[-1][1]) < 1e-3:
            spans[-1][1] = block.end
        else:
            spans.append([block.start, block.end])
    assert len(spans) == len(truth[name]["audio"])
    np.testing.assert_allclose(spans, truth[name]["audio"], atol=0.064)  # AAC's last block is filled up
    np.testing.assert_allclose([s for s, _ in spans], [s for s, _ in truth[name]["audio"]], atol=1e-3)


@pytest.mark.parametrize("name", ["smile.mp4", "late.mkv", "voice_only.flac"])
def test_words_are_louder_than_the_room(samples: Path, truth: dict[str, Any], name: str) -> None:
    blocks = list(Clip(samples / name).samples())
    sound = np.zeros(round(16000 * blocks[-1].end) + 1)
    for block in blocks:
        at = round(block.start * 16000)
        sound[at : at + len(block.values)] = block.values[: len(sound) - at]
    spoken = np.zeros(len(sound), bool)
    for word in truth[name]["words"]:
        here = slice(round(word["start"] * 16000), round(word["end"] * 16000))
        spoken[here] = True
        assert np.sqrt((sound[here] ** 2).mean()) > 0.01, word
    first = round(truth[name]["words"][0]["start"] * 16000)
    assert np.sqrt((sound[: first - 800] ** 2).mean()) < 0.002
    assert (sound[spoken] ** 2).mean() > 5 * (sound[~spoken] ** 2).mean()
    assert " ".join(word["word"] for word in truth[name]["words"]) == truth[name]["text"]


def test_a_detector_finds_the_face_and_only_the_face(samples: Path) -> None:
    cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"))
    for i, frame in enumerate(Clip(samples / "smile.mp4").frames()):
        if i % 10 == 0:
            boxes = cascade.detectMultiScale(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), 1.1, 4)
            assert len(boxes) == 1, frame.start


def test_the_mouth_moves_at_the_smiles_time(samples: Path, truth: dict[str, Any]) -> None:
    frames = list(Clip(samples / "no_audio.mp4").frames())
    smile = truth["no_audio.mp4"]["smile"]
    mouth = np.stack([frame.image[180:220, 110:210].astype(float) for frame in frames])
    change = np.abs(mouth - mouth[0]).mean(axis=(1, 2, 3))
    times = np.array([frame.start for frame in frames])
    full = (times >= smile["full_from"]) & (times <= smile["full_until"])
    still = (times < smile["start"]) | (times >= smile["end"])
    assert change[full].min() > 5 * max(change[still].max(), 0.2)


def test_clips_without_a_medium_say_so(samples: Path) -> None:
    with pytest.raises(NoStream):
        next(Clip(samples / "no_audio.mp4").samples())
    with pytest.raises(NoStream):
        next(Clip(samples / "voice_only.flac").frames())
