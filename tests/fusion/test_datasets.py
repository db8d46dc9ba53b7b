"""Each form of data, made small by another library (pickle, h5py, the csv module), read back; and what is refused."""

from __future__ import annotations

import csv
import os
import pickle
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from emofuse.fusion.datasets import FORMATS
from emofuse.fusion.datasets.examples import Source
from emofuse.fusion.datasets.unpickling import read_arrays, unpickled
from emofuse.pipeline.errors import DatasetError
from emofuse.pipeline.formats.parquet import write_stream
from emofuse.pipeline.timed import Provenance, TimedSequence

ALL = {"text": "", "voice": "", "face": ""}


def pickled(content: object, path: Path, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_what_pickle_writes_is_read_back(tmp_path: Path, protocol: int) -> None:
    random = np.random.default_rng(1)
    numbers = random.normal(size=(2, 3, 4))
    content = {
        "train": {
            "double": numbers,
            "single": numbers.astype(np.float32),
            "fortran": np.asfortranarray(numbers[0]),
            "big": numbers[0].astype(">f8"),
            "counts": np.arange(5),
            "text": np.array(["a", "ü"]),
            "bytes": np.array([b"one", b"two"]),
            "objects": np.array([["x", 1], ["y", 2]], object),
            "names": ["p", "q"],
            "long": 2**80,
            "scalar": np.float32(1.5),
            "nested": (True, None, {1, 2}, [b"raw", 3.5]),
        }
    }
    path = pickled(content, tmp_path / "data.pkl", protocol)
    arrays = read_arrays(path)
    train = content["train"]
    for key in ("double", "single", "fortran", "big", "counts", "text"):
        np.testing.assert_array_equal(arrays[f"train/{key}"], train[key])
        assert arrays[f"train/{key}"].dtype == np.asarray(train[key]).dtype
    assert arrays["train/bytes"].tolist() == ["one", "two"]
    assert arrays["train/objects"].tolist() == [["x", "1"], ["y", "2"]]
    assert arrays["train/names"].tolist() == ["p", "q"]
    whole = unpickled(path)["train"]
    assert whole["long"] == 2**80
    assert whole["scalar"] == 1.5
    assert whole["nested"][0] is True and whole["nested"][3] == [b"raw", 3.5]


class Attack:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_a_function_is_refused_by_name_and_nothing_runs(tmp_path: Path, protocol: int) -> None:
    path = pickled({"train": {"text": Attack(tmp_path / "owned")}}, tmp_path / "attack.pkl", protocol)
    with pytest.raises(DatasetError, match=r"attack\.pkl: refused: .*(posix|nt)\.mkdir"):
        read_arrays(path)
    assert not (tmp_path / "owned").exists()


def test_a_broken_pickle_is_one_line(tmp_path: Path) -> None:
    path = pickled({"a": np.zeros(100)}, tmp_path / "half.pkl")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"half\.pkl: not a pickle") as caught:
        read_arrays(path)
    assert "\n" not in str(caught.value)


def test_a_text_that_claims_two_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "claims.pkl"
    path.write_bytes(b"\x80\x02X\xff\xff\xff\x7fabc")
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=r"claims\.pkl: not a pickle .* expected 2147483647 bytes .* only 3 remain"):
            unpickled(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def mult(n: int = 2, rows: tuple[int, int, int] = (3, 6, 4)) -> dict[str, Any]:
    random = np.random.default_rng(3)
    split: dict[str, Any] = {}
    for key, t, f in zip(("text", "audio", "vision"), rows, (5, 2, 3), strict=True):
        values = random.normal(size=(n, t, f))
        values[0, : t // 2] = 0
        split[key] = values
    split["audio"][1, 2, 1] = -np.inf
    split["vision"][1, 0, 0] = np.nan
    split["labels"] = np.array([[[-1.5]], [[2.0]]])[:n]
    split["id"] = np.array([[b"video_a", b"0", b"1"], [b"video_b", b"1", b"2"]], object)[:n]
    return {name: split for name in ("train", "valid", "test")}


def test_mult_padding_is_cut_and_infinities_are_counted(tmp_path: Path) -> None:
    content = mult()
    dataset = FORMATS["mult"](Source(pickled(content, tmp_path / "mosi.pkl"), ALL))
    assert len(dataset.examples) == 6
    first, second = dataset.examples[:2]
    assert {s: len(v) for s, v in first.streams.items()} == {"text": 2, "voice": 3, "face": 2}
    np.testing.assert_array_equal(first.streams["text"].values, content["train"]["text"][0, 1:].astype(np.float32))
    assert np.isnan(second.streams["voice"].values[2, 1])
    assert dataset.notes["voice: values that were not finite"] == 3  # one in each split
    assert dataset.notes["face: values that were not finite"] == 3
    assert (first.labels, first.split, first.speaker) == ({"sentiment": -1.5}, "train", "video_a")
    assert first.streams["text"].span == first.streams["voice"].span  # unaligned: spread over one duration


def test_mult_aligned_streams_are_cut_at_one_row(tmp_path: Path) -> None:
    content = mult(rows=(4, 4, 4))
    content["train"]["audio"][0, :3] = 0  # the voice's first real row comes later than the words'
    example = FORMATS["mult"](Source(pickled(content, tmp_path / "aligned.pkl"), ALL)).examples[0]
    assert {len(v) for v in example.streams.values()} == {2}
    np.testing.assert_array_equal(example.streams["voice"].start, example.streams["text"].start)


def test_iemocap_answers_are_four_questions(tmp_path: Path) -> None:
    content = mult()
    content["train"]["labels"] = np.eye(2)[[[0, 1, 0, 0], [1, 0, 0, 1]]]
    dataset = FORMATS["mult"](Source(pickled(content, tmp_path / "iemocap.pkl"), ALL))
    assert dataset.examples[0].labels == {"neutral": 0, "happiness": 1, "sadness": 0, "anger": 0}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d["valid"].pop("vision"), "expected the key valid/vision"),
        (lambda d: d["train"].update(audio=np.zeros((2, 6))), r"train/audio as numbers \(n, t, f\), got float64 \(2, 6\)"),
        (lambda d: d["train"].update(labels=np.zeros((2, 3))), r"train/labels \(n, 1, 1\) or \(n, 4, 2\), got \(2, 3\)"),
    ],
)
def test_a_mult_pickle_that_lacks_something_is_named(tmp_path: Path, change: Any, match: str) -> None:
    content = {split: dict(entries) for split, entries in mult().items()}
    change(content)
    with pytest.raises(DatasetError, match=match):
        FORMATS["mult"](Source(pickled(content, tmp_path / "data.pkl"), ALL))


def test_mmsa_lengths_and_masks_are_obeyed(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]])
    split = {
        "text": random.normal(size=(2, 4, 6)),
        "text_bert": np.stack([mask, mask, mask], 1),
        "audio": random.normal(size=(2, 7, 3)),
        "vision": random.normal(size=(2, 5, 2)),
        "audio_lengths": [3, 7],
        "vision_lengths": [5, 1],
        "regression_labels": np.array([0.6, -1.0]),
        "id": ["abc$_$0", "abc$_$12"],
        "raw_text": ["one", "two"],
    }
    dataset = FORMATS["mmsa"](Source(pickled({s: split for s in ("train", "valid", "test")}, tmp_path / "unaligned_50.pkl"), ALL))
    assert [{s: len(v) for s, v in e.streams.items()} for e in dataset.examples[:2]] == [
        {"text": 2, "voice": 3, "face": 5},
        {"text": 4, "voice": 7, "face": 1},
    ]
    assert (dataset.examples[1].name, dataset.examples[1].speaker, dataset.examples[1].labels) == ("abc_12", "abc", {"sentiment": -1.0})


def csd(path: Path, entries: Mapping[str, tuple[Any, Any]]) -> None:
    with h5py.File(path, "w") as file:
        for key, (features, intervals) in entries.items():
            file[f"{path.stem}/data/{key}/features"] = np.asarray(features, np.float32)
            file[f"{path.stem}/data/{key}/intervals"] = np.asarray(intervals, np.float64)
        file.create_group(f"{path.stem}/metadata")


def test_csd_rows_fall_into_their_utterances(tmp_path: Path) -> None:
    csd(tmp_path / "labels.csd", {"v1": ([[1.0], [-2.0]], [[0, 1], [1, 3]]), "v2": ([[0.5]], [[0, 1]])})
    csd(tmp_path / "words.csd", {"v1": ([[1, 2], [3, -np.inf], [5, 6]], [[2, 2.5], [0, 0.4], [1, 1.5]])})  # not in order of time
    (tmp_path / "splits.csv").write_text("video,split\nv1,train\nv2,test\n")
    dataset = FORMATS["csd"](Source(tmp_path, {"text": "words"}, "labels"))
    assert [e.name for e in dataset.examples] == ["v1_0", "v1_1", "v2_0"]
    assert [e.split for e in dataset.examples] == ["train", "train", "test"]
    np.testing.assert_array_equal(dataset.examples[0].streams["text"].values, [[3, np.nan]])
    np.testing.assert_array_equal(dataset.examples[1].streams["text"].values, [[5, 6], [1, 2]])
    assert "text" not in dataset.examples[2].streams
    assert dataset.notes == {"text: values that were not finite": 1, "text: videos without it": 1}


def test_a_csd_folder_that_lacks_a_file_names_it(tmp_path: Path) -> None:
    csd(tmp_path / "labels.csd", {"v": ([[1.0]], [[0, 1]])})
    with pytest.raises(DatasetError, match=r"expected COVAREP\.csd; there is labels"):
        FORMATS["csd"](Source(tmp_path, {"voice": "COVAREP"}, "labels"))


def folder(at: Path, rows: list[list[object]], header: tuple[str, ...] = ("clip", "start", "end", "sentiment", "split", "speaker")) -> Path:
    (at / "a" / "streams").mkdir(parents=True)
    start = np.arange(4, dtype=np.float64) * 0.5
    stream = TimedSequence("text", ("x",), np.arange(4, dtype=np.float32)[:, None], start, start + 0.5, Provenance("test", "1"))
    write_stream(stream, at / "a" / "streams" / "text.parquet")
    with (at / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return at


def test_extracted_streams_are_cut_by_the_labels_csv(tmp_path: Path) -> None:
    at = folder(tmp_path, [["a", 0, 1, -1.5, "train", "s1"], ["a", 1, 2, "happy", "test", "s2"], ["a", "", "", 1, "", ""]])
    dataset = FORMATS["streams"](Source(at, {"text": ""}))
    assert [e.streams["text"].values[:, 0].tolist() for e in dataset.examples] == [[0, 1], [2, 3], [0, 1, 2, 3]]
    assert [e.labels["sentiment"] for e in dataset.examples] == [-1.5, "happy", 1]
    assert [(e.split, e.speaker) for e in dataset.examples] == [("train", "s1"), ("test", "s2"), ("", "")]


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([["b", 0, 1, 1, "train", "s"]], r"b.streams.text\.parquet: no such file"),
        ([["a", 2, 1, 1, "train", "s"]], "line 2: expected start <= end"),
        ([["a", 0, 1, 1, "dev", "s"]], "line 2: expected the split train, valid, test or nothing, got 'dev'"),
        ([], "no utterance found"),
    ],
)
def test_a_labels_csv_that_is_wrong_is_named_by_line(tmp_path: Path, rows: list[list[object]], match: str) -> None:
    with pytest.raises(DatasetError, match=match):
        FORMATS["streams"](Source(folder(tmp_path, rows), {"text": ""}))


def test_a_labels_csv_without_a_column_names_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="missing: split, speaker"):
        FORMATS["streams"](Source(folder(tmp_path, [], ("clip", "start", "end")), {"text": ""}))


def extracted(path: Path) -> dict[str, TimedSequence]:
    return {"voice": TimedSequence("voice", ("x",), np.ones((1, 1), np.float32), np.zeros(1), np.ones(1), Provenance("test", "1"))}


@pytest.mark.parametrize(
    ("form", "names", "emotions", "actors"),
    [
        ("ravdess", ["03-01-06-01-02-01-12.wav", "03-01-02-01-02-01-03.flac", "03-02-05-01-01-01-03.wav"], ["calm", "fear"], ["03", "12"]),
        ("cremad", ["1002_DFA_NEU_XX.flv", "1001_IEO_ANG_HI.flv"], ["anger", "neutral"], ["1001", "1002"]),
    ],
)
def test_acted_clips_say_emotion_and_actor_in_their_names(
    tmp_path: Path, form: str, names: list[str], emotions: list[str], actors: list[str]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    dataset = FORMATS[form](Source(tmp_path, {"voice": ""}, extract=extracted))
    assert [e.labels["emotion"] for e in dataset.examples] == emotions
    assert [e.speaker for e in dataset.examples] == actors


def test_an_unknown_emotion_in_a_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "1001_DFA_BOR_XX.flv").touch()
    with pytest.raises(DatasetError, match="unknown emotion BOR; CREMA-D has ANG"):
        FORMATS["cremad"](Source(tmp_path, {"voice": ""}, extract=extracted))


def test_a_labels_csv_may_name_copies(tmp_path: Path) -> None:
    (tmp_path / "a" / "streams").mkdir(parents=True)
    stream = TimedSequence("voice", ("x",), np.ones((2, 1), np.float32), np.array([0.0, 1.0]), np.array([1.0, 2.0]), Provenance("t", "1"))
    write_stream(stream, tmp_path / "a" / "streams" / "voice.parquet")
    (tmp_path / "labels.csv").write_text("clip,start,end,split,speaker,copy_of,emotion\na,,,train,s,,anger\na,0,1,train,s,a,anger\n")
    one, two = FORMATS["streams"](Source(tmp_path, {"voice": ""})).examples
    assert (one.copy_of, two.copy_of) == ("", "a")
    assert one.labels == two.labels == {"emotion": "anger"}
