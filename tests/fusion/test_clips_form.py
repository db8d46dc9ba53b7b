"""Clips of one's own: labels from a table or from the folders' names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from emofuse.fusion.datasets import FORMATS
from emofuse.fusion.datasets.examples import Dataset, Source
from emofuse.pipeline.errors import DatasetError
from emofuse.pipeline.formats.parquet import write_stream
from emofuse.pipeline.timed import Provenance, TimedSequence

STREAMS = {"text": "", "voice": ""}


def stream(name: str, seconds: int = 4) -> TimedSequence:
    start = np.arange(2 * seconds, dtype=np.float64) / 2
    return TimedSequence(name, (f"{name}_a",), np.arange(2 * seconds, dtype=np.float32)[:, None], start, start + 0.5, Provenance("t", "1"))


def extract(clip: Path) -> Mapping[str, TimedSequence]:
    """What a raw clip gives: no text, and something that nobody asked for."""
    assert clip.is_file(), clip
    return {"voice": stream("voice"), "speech": stream("speech")}


def read(folder: Path) -> Dataset:
    return FORMATS["clips"](Source(folder, STREAMS, extract=extract))


def make(folder: Path, labels: str | None, *clips: str) -> Path:
    for clip in clips:
        (folder / clip).parent.mkdir(parents=True, exist_ok=True)
        (folder / clip).touch()
    if labels is not None:
        (folder / "labels.csv").write_text(labels)
    return folder


def test_a_table_names_clips_with_or_without_their_ending(tmp_path: Path) -> None:
    table = "clip,emotion,speaker,loud\na.wav,anger,ann,1.5\nb,fear,bob,\nin/c.mp4,anger,ann,2\n"
    dataset = read(make(tmp_path, table, "a.wav", "b.mp4", "b.txt", "in/c.mp4"))
    assert [(e.name, e.labels, e.speaker) for e in dataset.examples] == [
        ("a.wav", {"emotion": "anger", "loud": 1.5}, "ann"),
        ("b", {"emotion": "fear"}, "bob"),
        ("in/c.mp4", {"emotion": "anger", "loud": 2.0}, "ann"),
    ]
    assert all(set(e.streams) == {"voice"} for e in dataset.examples), "what a clip has not is not made up"


def test_rows_with_times_are_utterances_of_one_clip(tmp_path: Path) -> None:
    first, second = read(make(tmp_path, "clip,label,start,end\na.wav,anger,0,1\na.wav,fear,1,4\n", "a.wav")).examples
    assert (first.name, second.name) == ("a.wav@0-1", "a.wav@1-4")
    assert first.streams["voice"].values.tolist() == [[0], [1]] and len(second.streams["voice"]) == 6


def test_folders_name_the_labels_where_there_is_no_table(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, None, "fear/x.wav", "anger/x.wav", "anger/notes.txt", ".hidden/y.wav"))
    assert [(e.name, e.labels["emotion"]) for e in dataset.examples] == [("anger/x.wav", "anger"), ("fear/x.wav", "fear")]


def test_streams_that_were_extracted_before_are_read(tmp_path: Path) -> None:
    (tmp_path / "a" / "streams").mkdir(parents=True)
    for name in ("text", "voice", "face"):
        write_stream(stream(name), tmp_path / "a" / "streams" / f"{name}.parquet")
    (one,) = read(make(tmp_path, "clip,emotion\na,anger\n")).examples
    assert set(one.streams) == {"text", "voice"}


@pytest.mark.parametrize(
    ("labels", "clips", "expected"),
    [
        ("clip,mood\na.wav,anger\n", ["a.wav"], "line 1: expected a column emotion or label; there are clip, mood"),
        ("clip,emotion\na.wav,\n", ["a.wav"], "line 2: expected a label for a.wav, got none"),
        ("clip,emotion\nb.wav,anger\n", ["a.wav"], "line 2: expected the name of a clip in .*, got 'b.wav', and there is no such file"),
        ("clip,emotion\na,anger\n", ["a.wav", "a.mp4"], "got 'a', and there are a.mp4, a.wav"),
        ("clip,emotion\na.wav,anger\na.wav,fear\n", ["a.wav"], "a.wav is there 2 times"),
        ("clip,emotion,start,end\na.wav,anger,2,1\n", ["a.wav"], "expected start <= end in seconds"),
        ("file,emotion\na.wav,anger\n", ["a.wav"], "missing: clip"),
        ("clip,emotion\n", ["a.wav"], "no utterance found"),
        (None, ["a.wav"], "expected labels.csv .*, or a folder of clips for each label, and there is neither"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(labels: str | None, clips: list[str], expected: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=expected) as refused:
        read(make(tmp_path, labels, *clips))
    assert "\n" not in str(refused.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected a folder of clips with labels\.csv"):
        read(tmp_path / "nowhere")
