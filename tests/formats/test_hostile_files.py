"""Whatever a file holds, reading it gives sessions or one clear line that names it."""

from __future__ import annotations

from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from emofuse.conversion import load
from emofuse.pipeline.errors import EmofuseError, FormatError
from emofuse.pipeline.formats.registry import FORMATS, format_of_input
from emofuse.pipeline.formats.vtt import write_vtt

FILES = {
    "textgrid": "textgrid/a clip.TextGrid",
    "eaf": "eaf/a clip.eaf",
    "srt": "srt/a clip.srt",
    "vtt": "vtt/a clip.vtt",
    "rttm": "rttm/a clip.rttm",
    "openface": "openface/a clip.openface.csv",
    "fex": "fex/a clip.fex.csv",
    "csv": "csv/csv/face.csv",
    "parquet": "parquet/streams/words.parquet",
    "csd": "csd/csd/words.csd",
}


def read_or_one_line(path: Path, name: str) -> None:
    try:
        load(path, name)
    except EmofuseError as error:
        assert "\n" not in str(error) and path.name in str(error), str(error)


@pytest.mark.parametrize("name", FILES)
def test_broken_files_are_read_or_refused_in_one_line(name: str, golden: Path, tmp_path: Path) -> None:
    whole = (golden / FILES[name]).read_bytes()
    random = np.random.default_rng(1)
    path = tmp_path / Path(FILES[name]).name
    for cut in np.linspace(0, len(whole) - 1, 15).astype(int):
        path.write_bytes(whole[:cut])
        read_or_one_line(path, name)
    for _ in range(25):
        broken = bytearray(whole)
        for place in random.integers(0, len(whole), 4):
            broken[place] = random.integers(0, 256)
        path.write_bytes(bytes(broken))
        read_or_one_line(path, name)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("x.eaf", '<!DOCTYPE a [<!ENTITY b "bbb">]><ANNOTATION_DOCUMENT>&b;</ANNOTATION_DOCUMENT>', "document type"),
        ("x.eaf", "no xml", "cannot be read as one"),
        ("x.TextGrid", 'File type = "ooTextFile"\nObject class = "TextGrid"\n0\n1e999\n', "line 4: expected the end, got inf"),
        ("x.vtt", "WEBVTT\n\n00:xx --> 1\nhello", "line 3: expected 00:01.000 --> 00:02.500, got '00:xx --> 1'"),
        ("x.vtt", 'WEBVTT\n\nNOTE emofuse utterance {"start": 1e999, "end": 2}\n\n00:01.000 --> 00:02.000\na', "note of emofuse"),
        ("x.srt", "hello there", "expected SubRip"),
        ("x.rttm", "SPEAKER a 1 0.5 nan <NA> <NA> bob <NA> <NA>", "line 1: expected finite times"),
        ("x.rttm", "hello", "line 1: expected RTTM"),
        ("x.csv", "a,b\n1,2", "expected the columns of OpenFace"),
        ("x.csv", "start,end,AU12\n0,1", "line 2: expected 3 cells, got 2"),
        ("x.csv", "start,end,AU12\n0,1,2\n1,2,1e99", "line 3: expected a finite number as AU12, got '1e99'"),
        ("x.csv", "start,end,AU12\n0,one,2", "line 2: expected a finite number as end, got 'one'"),
        ("x.csv", "start,end,AU12\n0,1,2\n,2,3", "expected a start and an end in every row"),
        ("x.csv", "frame, timestamp, confidence, success, AU12_r\n1, 0, 1, 1, five", "line 2: expected a number as AU12_r, got 'five'"),
        ("x.csv", "frame,timestamp,confidence,success\n0,0,1,1", "line 2: expected a frame number from 1 on"),
        ("x.csv", "frame,FaceRectX,AU12\n0,1,0.5", "--fps"),
        ("x.csd", "no hdf5", "cannot be read as a .csd"),
        ("x.pkl", "no pickle", "not a pickle"),
        ("x.xyz", "", "expected a file named"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(name: str, content: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(EmofuseError, match=match) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_csd_that_lacks_a_key_names_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.csd", "w") as file:
        file["x/data/v1/features"] = np.zeros((2, 1))
    with pytest.raises(FormatError, match="expected the key x/data/v1/intervals; there are \\['features'\\]"):
        load(tmp_path / "x.csd")


def test_a_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch, golden: Path, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "webvtt", None)
    with pytest.raises(FormatError, match="install it with: pip install webvtt-py"):
        write_vtt(load(golden / FILES["vtt"]), tmp_path / "x.vtt")


def test_files_are_known_by_what_is_in_them(golden: Path) -> None:
    for name, file in FILES.items():
        assert format_of_input(golden / file) == name
    for name in ("csv/csv", "parquet/streams", "csd/csd"):
        assert format_of_input(golden / name) == name.partition("/")[0]
    assert FORMATS["results"].write is None
