"""Streams that other programs made, on the clip's clock: `--face openface.csv`, `--voice x.csd`, and what cannot be this clip's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from click.testing import CliRunner

from emofuse.assembly import Assembly
from emofuse.cli.main import main
from emofuse.conversion import load
from emofuse.extractors.stream_file import StreamFile
from emofuse.extractors.words.transcripts import read_transcript
from emofuse.options import Options
from emofuse.pipeline.errors import FormatError, StreamError, UsageError
from emofuse.pipeline.formats.csd import read_csd, write_csd
from emofuse.pipeline.formats.labels import Labels
from emofuse.pipeline.formats.parquet import read_stream
from emofuse.pipeline.formats.registry import FORMATS, WRITABLE
from emofuse.pipeline.formats.session import Session
from emofuse.pipeline.media import ClipInfo, Frame, Samples, VideoInfo

FRAMES = np.array([0.48, 0.52, 0.57, 0.60, 0.64])
"""A clip that starts late and has an uneven frame rate."""


class Clip:
    """Five frames; the pictures are not looked at."""

    info = ClipInfo("/somewhere/talk.mp4", "mov", 0.68, VideoInfo("h264", 8, 8, 0, 25.0), None)

    def frames(self) -> Iterator[Frame]:
        for start, end in zip(FRAMES, [*FRAMES[1:], 0.68], strict=True):
            yield Frame(start, end, np.zeros((8, 8, 3), np.uint8))

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        yield from ()


def openface(path: Path, frames: tuple[int, ...] = (1, 2, 4), extra: str = "") -> Path:
    """As OpenFace 2.2 writes it: a space after each comma, a row for frames without a face, timestamps from the first frame."""
    lines = ["frame, face_id, timestamp, confidence, success, gaze_0_x, pose_Rx, pose_Ry, pose_Rz, AU12_r, AU45_r, AU12_c" + extra]
    lines += [f"{n}, 0, {(n - 1) / 25:.3f}, 0.98, 1, 0.25, 0.1, 0, 0, {n}, 5, 1" for n in frames]
    lines.insert(3, "3, 0, 0.080, 0.1, 0, 0, 0, 0, 0, 0, 0, 0")
    path.write_text("\n".join(lines) + "\n")
    return path


def read(extractor: StreamFile) -> Any:
    return extractor(Clip(), {})


def test_openface_s_frames_get_the_clip_s_times(tmp_path: Path) -> None:
    reader = StreamFile("face", openface(tmp_path / "talk.csv"))
    assert reader.media == {"video"}
    face = read(reader)
    assert face.start.tolist() == [0.48, 0.52, 0.60] and face.end.tolist() == [0.52, 0.57, 0.64]
    np.testing.assert_allclose(face.column("AU12"), [0.2, 0.4, 0.8])
    np.testing.assert_array_equal(face.column("AU43"), [1, 1, 1])
    np.testing.assert_array_equal(face.column("gaze_0_x"), [0.25] * 3)
    np.testing.assert_allclose(face.column("Pitch"), 0.1)
    notes = face.provenance.notes
    assert notes["rows_without_a_face"] == 1 and notes["frames_in_clip"] == 5
    assert "not their meaning" in notes["scale"]
    # By its own clock the fourth frame is 0.12 s after the first; in the clip it is, too: 0.60. The worst is none of these three.
    assert notes["seconds_off_its_own_timestamps"] == pytest.approx(0.0, abs=1e-6)


def test_a_table_of_another_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StreamError, match=r"has a frame 9, but talk\.mp4 has 5 frames"):
        read(StreamFile("face", openface(tmp_path / "talk.csv", frames=(1, 2, 9))))
    beyond = read(StreamFile("face", openface(tmp_path / "talk.csv", frames=(1, 2, 6))))
    assert len(beyond) == 2 and beyond.provenance.notes["frames_beyond_the_clip"] == 1


def test_what_the_model_reads_and_the_file_lacks_is_not_measured_and_said(tmp_path: Path) -> None:
    path = openface(tmp_path / "talk.csv")
    face = read(StreamFile("face", path, wanted=("AU12", "AU24", "happiness")))
    assert np.isnan(face.select(("AU24", "happiness")).values).all() and not np.isnan(face.column("AU12")).any()
    assert face.reason == "talk.csv lacks AU24, happiness, which the model reads: taken as not measured"
    assert face.provenance.notes["not_in_file"] == ["AU24", "happiness"]
    with pytest.raises(StreamError, match=r"has none of the columns that the model reads of face: AU24, happiness; it has frame"):
        read(StreamFile("face", path, wanted=("AU24", "happiness")))


def test_a_fex_without_times_gets_the_clip_s_and_faces_get_numbers(tmp_path: Path) -> None:
    (tmp_path / "talk.csv").write_text(
        "frame,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,AU12,Happy,Identity,input\n"
        "0,0,0,10,10,0.9,0.5,0.7,Person_0,a.mp4\n0,50,0,10,10,0.9,0.1,0.2,Person_1,a.mp4\n"
        "1,51,0,10,10,0.9,0.1,0.2,Person_1,a.mp4\n1,1,0,10,10,0.9,0.5,0.7,Person_0,a.mp4\n2,,,,,,,,,a.mp4\n"
    )
    face = read(StreamFile("face", tmp_path / "talk.csv"))
    assert face.start.tolist() == [0.48, 0.48, 0.52, 0.52]
    assert face.column("face_id").tolist() == [0, 1, 1, 0], "numbers follow the boxes, not the order"
    np.testing.assert_allclose(face.column("happiness"), [0.7, 0.2, 0.2, 0.7])
    assert face.provenance.notes["left_out"] == ["Identity", "input"]


def csd(path: Path, videos: tuple[str, ...], width: int = 74) -> Path:
    with h5py.File(path, "w") as file:
        for k, video in enumerate(videos):
            file[f"COVAREP/data/{video}/features"] = np.full((3, width), k, np.float32)
            file[f"COVAREP/data/{video}/intervals"] = np.array([[0, 0.01], [0.01, 0.02], [0.02, 0.03]])
    return path


def test_a_csd_gives_the_video_that_is_named_like_the_clip(tmp_path: Path) -> None:
    voice = read(StreamFile("voice", csd(tmp_path / "COVAREP.csd", ("other", "talk"))))
    assert voice.columns[:2] == ("F0", "VUV") and (voice.values == 1).all()
    assert "COVAREP's" in voice.provenance.notes["columns"]
    assert read(StreamFile("voice", csd(tmp_path / "one.csd", ("odd",), 2))).columns == ("COVAREP_0", "COVAREP_1")
    with pytest.raises(StreamError, match="expected a video named talk, like the clip; there are a, b"):
        read(StreamFile("voice", csd(tmp_path / "two.csd", ("a", "b"))))


def test_paths_name_files_and_folders_of_them(tmp_path: Path) -> None:
    chosen: Mapping[str, Any] = Assembly(
        Options(words="none", face=str(tmp_path / "x.csv"), voice=str(tmp_path / "x.csd"), offline=True)
    ).choices
    assert {s: chosen[s].name for s in ("face", "voice")} == {"face": "file", "voice": "file"}
    openface(tmp_path / "talk.csv")
    by_folder = Assembly(Options(words="none", face=str(tmp_path), voice="none", offline=True))
    (reader,) = by_folder.extractors(Path("/somewhere/talk.mp4"), for_model=False)
    assert reader.name == "file" and reader.stream == "face"
    with pytest.raises(UsageError, match="expected one file named walk"):
        by_folder.extractors(Path("/somewhere/walk.mp4"), for_model=False)
    with pytest.raises(FormatError, match="no such file"):
        StreamFile("face", tmp_path / "nowhere.csv")


def run(*arguments: str | Path) -> Any:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_face_table_goes_through_the_command_line_and_comes_out_in_other_formats(tmp_path: Path, samples: Path) -> None:
    """The late sample begins at 8.6 s: OpenFace's first frame, which it calls 0.0 s, is there."""
    table = openface(tmp_path / "late.csv")
    options = ("--words", "none", "--text", "none", "--voice", "whisper", "--face", table, "--offline")
    result = run("analyze", samples / "late.mkv", *options, "--formats", "openface,eaf,csd", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "out/late"
    face = read_stream(folder / "streams/face.parquet")
    truth = json.loads((samples / "truth.json").read_text())["clips"]["late.mkv"]["frames"]
    np.testing.assert_allclose(face.start, [truth[0], truth[1], truth[3]], atol=2e-3)
    (again,) = load(folder / "late.openface.csv")
    np.testing.assert_allclose(again.streams["face"].start, face.start)
    assert json.loads((folder / "analysis.json").read_text())["formats"] == {"openface": None, "eaf": None, "csd": None}
    assert {p.name for p in (folder / "csd").iterdir()} == {"face.csd", "voice.csd", "utterances.csd"}
    collected = run("convert", tmp_path / "out", tmp_path / "elan", "--to", "eaf")
    assert collected.output.strip() == str(tmp_path / "elan/late.eaf") and (tmp_path / "elan/late.eaf").is_file()


def test_convert_says_what_it_cannot_do_in_one_line(tmp_path: Path, golden: Path) -> None:
    def line(*arguments: str | Path) -> tuple[int, str]:
        result = run("convert", *arguments)
        (only,) = result.stderr.strip().splitlines()
        return result.exit_code, only

    fex = tmp_path / "x.fex.csv"
    fex.write_text("frame,FaceRectX,AU12\n0,1,0.5\n1,2,0.25\n")
    assert line(fex, tmp_path / "x.csd") == (
        2,
        f"emofuse: {tmp_path}/x.csd: the name does not say a format; say --to {', '.join(WRITABLE)}",
    )
    code, said = line(fex, tmp_path / "x.openface.csv")
    assert code == 1 and said.endswith("say the clip's frame rate (--fps)")
    assert run("convert", fex, tmp_path / "x.openface.csv", "--fps", "25").exit_code == 0
    (back,) = load(tmp_path / "x.openface.csv")
    assert back.streams["face"].start.tolist() == [0.0, 0.04]
    assert line(golden / "rttm/a clip.rttm", tmp_path / "x.wav")[0] == 2
    assert line(tmp_path / "nowhere.eaf", tmp_path / "x.srt") == (1, f"emofuse: {tmp_path}/nowhere.eaf: no such file or folder")
    assert line(golden / "rttm/a clip.rttm", tmp_path / "x.openface.csv")[0] == 1
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")], "nothing half-written is left"


def test_many_clips_become_one_csd_and_labels_say_split_and_sentiment(tmp_path: Path, made: Any) -> None:
    one, other = made.session(), replace(made.session(), name="b")
    (tmp_path / "labels.csv").write_text("clip,start,end,sentiment,split,speaker\nb,0.2,0.8,-1.5,train,x\n")
    labelled = Labels.read(tmp_path / "labels.csv").onto(other)
    assert labelled.streams["utterances"].labels == {"text": ('"so" =1+1',), "split": ("train",)}
    write_csd((one, other), tmp_path / "csd")
    assert [s.name for s in read_csd(tmp_path / "csd")] == ["a clip", "b"]
    with pytest.raises(FormatError, match="different names"):
        write_csd((one, one), tmp_path / "csd")


@pytest.mark.parametrize("form", ["srt", "vtt", "textgrid", "eaf", "csv"])
def test_what_we_write_is_a_transcript_that_we_read(form: str, made: Any, tmp_path: Path) -> None:
    """Words and their times from an annotation file; the emotion in brackets above a subtitle is no word."""
    words = made.words()
    labels = {"word": ("so", "well,", "yes", "no"), "speaker": ("", "", "", "Bob")}
    streams = {"words": replace(words, labels=labels, end=np.array([0.5, 0.7, 1.0, 1.5])), "utterances": made.utterances()}
    target = tmp_path / FORMATS[form].output.format(name="s")
    writer = FORMATS[form].write
    assert writer is not None
    writer((Session("s", streams, 2.0),), target)
    cues = read_transcript(target / "words.csv" if form == "csv" else target).cues
    assert [word for cue in sorted(cues, key=lambda cue: cue.start or 0) for word in cue.words] == list(labels["word"])
    if form != "srt":
        assert sorted((cue.start, cue.end, cue.speaker) for cue in cues) == [
            (0.25, 0.5, ""),
            (0.5, 0.7, ""),
            (0.7, 1.0, ""),
            (1.25, 1.5, "Bob"),
        ]
