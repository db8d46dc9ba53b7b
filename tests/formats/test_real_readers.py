"""What we write opens in the programs it is for: the libraries of the formats, not our own readers."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import h5py  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import pytest
import webvtt  # type: ignore[import-untyped]
from praatio import textgrid  # type: ignore[import-untyped]
from pympi.Elan import Eaf  # type: ignore[import-untyped]

from emofuse.conversion import load
from emofuse.pipeline.formats.bids import write_bids
from emofuse.pipeline.formats.csd import METADATA
from emofuse.pipeline.formats.eaf import write_eaf
from emofuse.pipeline.formats.mmsa import write_mmsa
from emofuse.pipeline.formats.openface_names import HEADER
from emofuse.pipeline.formats.session import Session
from emofuse.pipeline.formats.textgrid import write_textgrid


def test_praat_s_tiers_cover_the_whole_clip(session: Session, tmp_path: Path) -> None:
    # praatio parts a file at the words "item [", so the word that is so called is renamed for it; Praat does not mind.
    words = session.streams["words"]
    labels = {**words.labels, "word": (*words.labels["word"][:3], "item")}
    write_textgrid(
        (
            replace(
                session, streams={**session.streams, "words": replace(words, labels=labels), "utterances": words.rows(np.zeros(0, np.intp))}
            ),
        ),
        tmp_path / "x.TextGrid",
    )
    grid: Any = textgrid.openTextgrid(str(tmp_path / "x.TextGrid"), includeEmptyIntervals=True, reportingMode="error")
    assert (grid.minTimestamp, grid.maxTimestamp) == (0, 2)
    assert grid.tierNames[:3] == ("words", "words (overlap 2)", "Bob B - words")
    for tier in grid.tiers:
        starts, ends = [e.start for e in tier.entries], [e.end for e in tier.entries]
        assert starts == [0, *ends[:-1]] and ends[-1] == 2, "gaps are intervals without text, as Praat wants them"
    said = [(e.start, e.end, e.label) for e in grid.getTier("words").entries if e.label]
    assert said == [(0.25, 0.5, '"so"'), (0.5, 0.75, "=1+1")]


def test_elan_s_annotations_are_in_milliseconds_and_its_clip_is_linked(session: Session, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    clip = tmp_path / "clips/a clip.mp4"
    clip.write_bytes(b"not opened")
    folder = tmp_path / "elan"
    folder.mkdir()
    linked = Session("a clip", session.streams, 2.0, media=str(clip), home=str(folder))
    write_eaf((linked,), folder / "a clip.eaf")
    eaf = Eaf(str(folder / "a clip.eaf"))
    assert eaf.get_annotation_data_for_tier("words") == [(250, 500, '"so"'), (500, 750, "=1+1")]
    assert eaf.get_annotation_data_for_tier("emotion") == [(250, 1000, "happiness")]
    (media,) = eaf.get_linked_files()
    assert media["MEDIA_URL"] == clip.as_uri() and media["MIME_TYPE"] == "video/mp4"
    assert media["RELATIVE_MEDIA_URL"] == "../clips/a clip.mp4"
    (read_back,) = load(folder / "a clip.eaf")
    assert read_back.media == str(clip.resolve())


def test_elan_s_own_tiers_are_read_where_only_some_times_are_known(tmp_path: Path) -> None:
    """A subdivision without times of its own, and a tier that only refers: as ELAN writes them, written by pympi."""
    eaf = Eaf()
    eaf.remove_tier("default")
    eaf.add_linguistic_type("refers", constraints="Symbolic_Association")
    eaf.add_tier("ref")
    eaf.add_annotation("ref", 1000, 4000, "one two three")
    eaf.add_tier("gloss", ling="refers", parent="ref")
    eaf.add_ref_annotation("gloss", "ref", 1500, "eins zwei drei")
    eaf.add_tier("words")
    first, last = eaf.generate_ts_id(1000), eaf.generate_ts_id(4000)
    inner = [eaf.generate_ts_id(), eaf.generate_ts_id()]
    for slot in inner:
        eaf.timeslots[slot] = None
    for a, b, word in zip([first, *inner], [*inner, last], ["one", "two", "three"], strict=True):
        eaf.tiers["words"][0][eaf.generate_annotation_id()] = (a, b, word, None)
    eaf.to_file(str(tmp_path / "own.eaf"))
    (session,) = load(tmp_path / "own.eaf")
    assert session.streams["words"].start.tolist() == [1, 2, 3] and session.streams["words"].end.tolist() == [2, 3, 4]
    gloss = session.streams["gloss"]
    assert (gloss.start[0], gloss.end[0], gloss.labels["label"]) == (1, 4, ("eins zwei drei",))


def test_subtitles_open_in_ffmpeg(golden: Path) -> None:
    for name in ("srt/a clip.srt", "vtt/a clip.vtt"):
        with av.open(str(golden / name)) as file:
            (stream,) = file.streams.subtitles
            packets = [p for p in file.demux(stream) if p.size]
            base = float(stream.time_base or 0)
            times = [float(t) * base for p in packets for t in (p.pts or 0, (p.pts or 0) + (p.duration or 0))]
        assert times == pytest.approx([0.25, 1.0, 1.25, 1.5])


def test_webvtt_readers_see_voices_and_plain_text(golden: Path) -> None:
    first, second = webvtt.read(str(golden / "vtt/a clip.vtt"))
    assert (first.start, first.end) == ("00:00:00.250", "00:00:01.000")
    assert second.voice == "Bob B" and second.text == "item\u00a0[1]:"


def test_a_csd_has_the_layout_of_the_cmu_sdk(golden: Path, session: Session) -> None:
    """Read as the SDK reads it: the first root, data and metadata; the metadata as JSON in arrays of one."""
    with h5py.File(golden / "csd/csd/voice.csd", "r") as opened:
        file: Any = opened
        (root,) = list(file)
        entry = file[root]["data"]["a clip"]
        np.testing.assert_array_equal(entry["features"][:], session.streams["voice"].values)
        intervals = np.stack([session.streams["voice"].start, session.streams["voice"].end], axis=1)
        np.testing.assert_array_equal(entry["intervals"][:], intervals)
        metadata = {key: json.loads(file[root]["metadata"][key][0]) for key in file[root]["metadata"]}
    assert set(METADATA) <= set(metadata)
    assert metadata["root name"] == root == "voice" and metadata["dimension names"] == ["f0", "rms"]
    with h5py.File(golden / "csd/csd/words.csd", "r") as opened:
        file = opened
        said = [row[0].decode() for row in file["words/data/a clip/features"][:]]
    assert said == ['"so"', "=1+1", "naïve, 音 <b>", "item [1]:"]


def test_a_csd_that_somebody_else_wrote_is_read(tmp_path: Path) -> None:
    """By the layout of the data sets, with h5py alone: rows out of order, an infinity, no names of dimensions."""
    with h5py.File(tmp_path / "COVAREP.csd", "w") as file:
        file["COVAREP/data/v1/features"] = np.array([[3, 4], [1, -np.inf]], np.float32)
        file["COVAREP/data/v1/intervals"] = np.array([[0.5, 1.0], [0.0, 0.5]])
        file.create_dataset("COVAREP/metadata/root name", (1,), h5py.string_dtype())[0] = json.dumps("COVAREP")
    (session,) = load(tmp_path / "COVAREP.csd")
    voice = session.streams["COVAREP"]
    assert (session.name, voice.columns, voice.start.tolist()) == ("v1", ("COVAREP_0", "COVAREP_1"), [0.0, 0.5])
    np.testing.assert_array_equal(voice.values, [[1, np.nan], [3, 4]])
    assert voice.provenance.notes == {"values_that_were_infinite": 1}


def test_mmsa_s_pickle_is_what_its_loader_expects(session: Session, tmp_path: Path) -> None:
    write_mmsa((session,), tmp_path / "x.pkl")
    splits = pickle.loads((tmp_path / "x.pkl").read_bytes())  # noqa: S301  # our own, a line above
    assert set(splits) == {"train", "valid", "test"} and len(splits["train"]["id"]) == 0
    test = splits["test"]
    assert test["id"] == ["a clip$_$0", "a clip$_$1"] and test["raw_text"][1] == "item [1]:"
    assert test["text"].shape == (2, 3, 2) and test["audio"].shape == (2, 5, 2) and test["vision"].shape == (2, 5, 14)
    assert test["audio"].dtype == np.float32 and not np.isnan(test["audio"]).any()
    assert test["audio_lengths"] == [5, 0] and test["vision_lengths"] == [5, 0]
    assert test["text_bert"][:, 1].tolist() == [[1, 1, 1], [1, 0, 0]] and (test["text_bert"][:, 0] == -1).all()
    assert np.isnan(test["regression_labels"]).all() and test["annotations"] == ["", ""]


def test_tables_open_in_pandas(golden: Path, session: Session) -> None:
    words = pd.read_csv(golden / "csv/csv/words.csv", keep_default_na=False)
    assert words["word"].tolist() == ['"so"', "'=1+1", "naïve, 音 <b>", "item [1]:"], "no spreadsheet runs the second"
    voice = pd.read_csv(golden / "csv/csv/voice.csv")
    np.testing.assert_array_equal(voice[["f0", "rms"]].to_numpy(np.float32), session.streams["voice"].values)
    fex = pd.read_csv(golden / "fex/a clip.fex.csv")
    assert set(fex["input"]) == {"a clip"} and str(fex["face_id"].dtype) == "int64"
    assert {"frame", "FaceRectX", "Pitch", "Roll", "Yaw", "X", "Y", "Z", "AU12", "happiness"} <= set(fex.columns)
    openface = pd.read_csv(golden / "openface/a clip.openface.csv")
    assert list(openface.columns) == list(HEADER), "readers ask for OpenFace's columns by name"
    assert openface["AU06_r"].isna().all() and openface["AU12_c"].isna().all() and openface["pose_Tx"].isna().all(), "empty, not zero"
    assert openface["frame"].min() == 1 and openface["AU12_r"].max() == 5 and openface["timestamp"].iloc[0] == 0.48
    speaks = pd.read_csv(golden / "rttm/a clip.rttm", sep=" ", header=None, keep_default_na=False)
    assert speaks[3].tolist() == [0.25, 1.25] and speaks[7].tolist() == ["unknown", "Bob_B"]


def test_bids_recordings_are_sampled_and_say_where_they_begin(golden: Path) -> None:
    beh = golden / "bids/bids/sub-aclip/beh"
    stem = "sub-aclip_task-speech_recording-voice_physio"
    facts = json.loads((beh / f"{stem}.json").read_text())
    assert facts["SamplingFrequency"] == 100 and facts["StartTime"] == 0.125
    with gzip.open(beh / f"{stem}.tsv.gz", "rt") as file:
        table = pd.read_csv(file, sep="\t", header=None, names=facts["Columns"], na_values="n/a")
    assert len(table) == 60, "0.6 s at 100 Hz, the gap filled"
    assert table["time"].notna().sum() == 10
    at = facts["StartTime"] + np.arange(60) / facts["SamplingFrequency"]
    np.testing.assert_allclose(table["time"].dropna(), at[table["time"].notna()], atol=1e-9)
    events = pd.read_csv(beh / "sub-aclip_task-speech_desc-words_events.tsv", sep="\t", na_values="n/a", keep_default_na=False)
    assert list(events.columns[:2]) == ["onset", "duration"] and events["onset"].tolist() == [0.25, 0.5, 0.7, 1.25]


def test_the_bids_validator_finds_no_error_and_no_column_undescribed(session: Session, silent: Session, tmp_path: Path) -> None:
    """The validator itself (schema and rules of BIDS), over two clips, one with two faces and one in which nothing was found."""
    program = Path(sys.executable).parent / "bids-validator-deno"
    validator = str(program) if program.is_file() else shutil.which("bids-validator-deno")
    if validator is None:
        pytest.skip("needs the BIDS validator: pip install bids-validator-deno")
    write_bids((session, silent), tmp_path / "bids")
    environment = {**os.environ, "PATH": f"{Path(validator).parent}{os.pathsep}{os.environ['PATH']}", "DENO_DIR": str(tmp_path / "deno")}
    command = [validator, "--format", "json", str(tmp_path / "bids")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == [], done.stderr[-500:]
    codes = {issue["code"] for issue in issues}
    assert not codes & {"TSV_ADDITIONAL_COLUMNS_UNDEFINED", "README_FILE_MISSING", "TSV_COLUMN_TYPE_REDEFINED"}, issues


@pytest.mark.filterwarnings("ignore")
def test_py_feat_reads_our_openface_table(golden: Path) -> None:
    from feat.utils.io import read_openface  # type: ignore[import-untyped]

    fex = read_openface(str(golden / "openface/a clip.openface.csv"))
    assert fex.aus.shape[1] == 35 and fex.aus["AU12_r"].max() == 5
    assert fex.aus["AU06_r"].isna().all(), "not measured"
    assert fex.poses.shape == (10, 6)


def test_ffmpeg_of_debian_reads_our_cues(golden: Path, tmp_path: Path) -> None:
    """ffmpeg 5 stops at the first STYLE block; so no file of ours has one."""
    text = (golden / "vtt/a clip.vtt").read_text(encoding="utf-8")
    assert "STYLE" not in text and "<c.happiness>" in text
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("needs Debian's ffmpeg: apt-get install ffmpeg")
    command = [program, "-v", "error", "-i", str(golden / "vtt/a clip.vtt"), str(tmp_path / "x.srt")]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "x.srt").read_text(encoding="utf-8").count("-->") == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_py_feat_reads_our_fex(golden: Path) -> None:
    from feat.utils.io import read_feat  # type: ignore[import-untyped]

    fex = read_feat(str(golden / "fex/a clip.fex.csv"))
    assert list(fex.aus.columns) == ["AU12", "AU24", "AU43"]
    assert fex.poses.shape == (10, 6) and fex.facebox.shape == (10, 5)
    assert set(fex.inputs) == {"a clip"}
