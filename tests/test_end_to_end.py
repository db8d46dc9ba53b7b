"""The main job on clips of our own making, whose words, smile, frames and gaps are known: offline, as a new user would run it."""

from __future__ import annotations

import csv
import json
import socket
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import emofuse
from emofuse.cli.main import main
from emofuse.pipeline.formats.parquet import read_stream
from emofuse.pipeline.streams import EMOTIONS

FRAME = 0.04
WARNINGS = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
pytestmark = WARNINGS


@pytest.fixture(scope="module")
def truth(samples: Path) -> dict[str, Any]:
    clips: dict[str, Any] = json.loads((samples / "truth.json").read_text())["clips"]
    return clips


@pytest.fixture(scope="module")
def results(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sample clips through `emofuse analyze`, every socket to elsewhere forbidden. Named one by one: a folder goes to workers."""
    out = tmp_path_factory.mktemp("results")
    clips = [samples / name for name in ("smile.mp4", "late.mkv", "no_audio.mp4", "voice_only.flac")]

    def refuse(self: socket.socket, address: Any, *_: Any) -> None:
        raise AssertionError(f"a socket was opened to {address} although --offline was given")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        result = CliRunner().invoke(main, ["analyze", *map(str, clips), "--offline", "--out", str(out)])
    assert result.exit_code == 0, result.output
    for name in ("smile.mp4", "late.mkv", "no_audio.mp4", "voice_only.flac"):
        assert name in result.stdout
    return out


def table(results: Path, clip: str, name: str) -> pd.DataFrame:
    return pd.read_csv(results / clip / name)


def same_word(recognised: str, true: str) -> bool:
    return recognised.lower().strip(".,!?'\"") == true.lower().strip(".,!?'\"")


@pytest.mark.parametrize("clip", ["smile.mp4", "late.mkv", "voice_only.flac"])
def test_words_are_found_at_their_times(results: Path, truth: dict[str, Any], clip: str) -> None:
    words = read_stream(results / Path(clip).stem / "streams/words.parquet")
    errors = []
    for word in truth[clip]["words"]:
        near = [
            i for i in range(len(words)) if same_word(words.labels["word"][i], word["word"]) and abs(words.start[i] - word["start"]) < 0.5
        ]
        if near:
            errors += [min(abs(words.start[i] - word["start"]) for i in near)]
    assert len(errors) >= 0.7 * len(truth[clip]["words"]), "most words are found"
    assert np.median(errors) <= FRAME, "and found where they are, to a video frame"


@pytest.mark.parametrize("clip", ["smile.mp4", "late.mkv", "no_audio.mp4"])
def test_every_frame_is_a_row_at_its_time(results: Path, truth: dict[str, Any], clip: str) -> None:
    face = read_stream(results / Path(clip).stem / "streams/face.parquet")
    starts = np.array(truth[clip]["frames"])
    assert len(face) >= 0.95 * len(starts), "the face is seen nearly everywhere"
    assert np.abs(face.start[:, None] - starts[None]).min(axis=1).max() < 2e-3


def test_the_smile_is_found_at_its_time(results: Path, truth: dict[str, Any]) -> None:
    face = read_stream(results / "smile/streams/face.parquet")
    smile = truth["smile.mp4"]["smile"]
    lips = face.column("AU12")
    inside = (face.start >= smile["full_from"]) & (face.end <= smile["full_until"])
    outside = (face.end <= smile["start"]) | (face.start >= smile["end"])
    threshold = (np.median(lips[inside]) + np.median(lips[outside])) / 2
    smiling = face.start[lips > threshold]
    assert np.median(lips[inside]) > np.median(lips[outside]) + 0.2
    assert smile["start"] - FRAME <= smiling.min() <= smile["full_from"] + FRAME
    assert smile["full_until"] - FRAME <= smiling.max() <= smile["end"] + FRAME


def test_emotions_csv_answers_for_every_utterance(results: Path) -> None:
    for clip in ("smile", "late", "voice_only"):
        emotions = table(results, clip, "emotions.csv")
        assert emotions["utterance"].iloc[-1] == "clip"
        assert np.allclose(emotions[list(EMOTIONS)].sum(axis=1), 1, atol=1e-4)
        assert emotions["confidence"].between(0, 1).all()
        assert (emotions["end"] > emotions["start"]).all()


def test_attention_csv_shares_sum_to_one(results: Path) -> None:
    with (results / "smile/attention.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sums: dict[tuple[str, str, str], float] = defaultdict(float)
    for row in rows:
        for column in ("from_text", "from_face", "from_voice", "overall"):
            if row[column]:
                sums[row["utterance"], row["stream"], column] += float(row[column])
    assert {key[1] for key in sums if key[2] == "overall"} == {"text", "face", "voice"}
    assert all(total == pytest.approx(1.0, abs=1e-5) for total in sums.values())
    for stream in ("text", "face", "voice"):
        listed = sum(row["stream"] == stream for row in rows)
        assert listed == len(read_stream(results / f"smile/streams/{stream}.parquet")), "one row an element"


def test_a_clip_without_sound_says_so_and_makes_nothing_up(results: Path) -> None:
    document = json.loads((results / "no_audio/analysis.json").read_text())
    assert document["reasons"]["voice"] == document["reasons"]["words"] == "the clip has no audio stream"
    assert not (results / "no_audio/transcript.srt").read_text()
    voice = read_stream(results / "no_audio/streams/voice.parquet")
    assert len(voice) == 0


def test_a_voice_without_a_picture_is_a_clip_too(results: Path) -> None:
    document = json.loads((results / "voice_only/analysis.json").read_text())
    assert document["reasons"]["face"] == "the clip has no video stream"
    assert all("no_face" in u["flags"] for u in document["utterances"])
    attention = table(results, "voice_only", "attention.csv")
    attended = attention.dropna(subset=["overall"])  # rows outside utterances have none
    assert attention["from_face"].isna().all() and set(attended["stream"]) == {"text", "voice"}


def test_a_gap_in_the_sound_stays_a_gap(results: Path, truth: dict[str, Any]) -> None:
    stretches = truth["late.mkv"]["audio"]
    voice = read_stream(results / "late/streams/voice.parquet")
    assert voice.start[0] == pytest.approx(stretches[0][0], abs=0.03)
    for start, end in stretches:
        assert ((voice.start >= start - 0.03) & (voice.end <= end + 0.03)).any()
    middle = (voice.start + voice.end) / 2
    inside = np.any([(middle >= a - 0.03) & (middle <= b + 0.03) for a, b in stretches], axis=0)
    assert inside.all(), "no voice where there is no sound"


def test_every_clip_has_a_page(results: Path) -> None:
    for clip in ("smile", "late", "no_audio", "voice_only"):
        page = (results / clip / "report.html").read_text(encoding="utf-8")
        assert f"<title>{clip}." in page and len(page) < 3e6
        # Browsers play mp4 and flac themselves; of the Matroska file a film is made.
        assert (results / clip / "clip.mp4").exists() == (clip == "late")
        assert (results / clip / "thumbnail.jpg").exists() == (clip != "voice_only")


def test_every_stream_says_who_made_it(results: Path) -> None:
    streams = json.loads((results / "smile/analysis.json").read_text())["streams"]
    for stream in streams.values():
        assert stream["provenance"]["extractor"] and stream["provenance"]["version"]
    assert streams["text"]["provenance"]["weights_sha256"]["model.safetensors"].startswith("53aa5117")


def test_python_gives_the_same_as_the_command_line(results: Path, samples: Path) -> None:
    analysis = emofuse.analyze(samples / "voice_only.flac", offline=True, maps="all")
    emotions = table(results, "voice_only", "emotions.csv")
    assert analysis.summary is not None
    probabilities = [analysis.summary.probabilities[e] for e in EMOTIONS]
    assert np.allclose(probabilities, emotions[list(EMOTIONS)].iloc[-1].astype(float), atol=1e-5)
    prediction = analysis.utterances[0].prediction
    assert prediction is not None and prediction.attention
    for attention in prediction.attention:
        assert attention.weights.sum(-1) == pytest.approx(1.0, abs=1e-5)
