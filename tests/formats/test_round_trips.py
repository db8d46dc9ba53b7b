"""What goes out comes back: each format against its golden file, against the session it was made from, and against itself once more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from emofuse.conversion import load
from emofuse.pipeline.formats.openface_names import AU_NAMES
from emofuse.pipeline.formats.registry import FORMATS, WRITABLE
from emofuse.pipeline.formats.session import UTTERANCES, Session
from emofuse.pipeline.timed import TimedSequence

Same = Callable[..., None]
TEXT = ("csv", "srt", "vtt", "textgrid", "eaf", "rttm", "openface", "fex", "bids")
READABLE = tuple(name for name in WRITABLE if name != "bids")


def files(target: Path) -> dict[str, bytes]:
    """A file's bytes, or every file's in a folder; an EAF without the second in which it was made."""
    contents = {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()} if target.is_dir() else {}
    data = contents or {"": target.read_bytes()}
    if target.suffix == ".eaf":
        return {"": b"".join(part if not part.startswith(b'DATE="') else b"" for part in data[""].split(b" "))}
    return data


def place_of(name: str, folder: Path) -> Path:
    return folder / name / FORMATS[name].output.format(name="a clip")


def test_every_format_has_a_golden_file(golden: Path) -> None:
    assert sorted(p.name for p in golden.iterdir()) == sorted(WRITABLE)


@pytest.mark.parametrize("name", TEXT)
def test_a_text_format_is_written_as_it_always_was(name: str, made: ModuleType, golden: Path, tmp_path: Path) -> None:
    assert files(made.write(name, tmp_path)) == files(place_of(name, golden))


@pytest.mark.parametrize("name", READABLE)
def test_what_is_read_and_written_again_is_the_same_again(name: str, golden: Path, tmp_path: Path) -> None:
    """Whatever a format loses, it loses once."""
    first = load(place_of(name, golden), name)
    again = tmp_path / FORMATS[name].output.format(name="a clip")
    writer = FORMATS[name].write
    assert writer is not None
    if FORMATS[name].many:
        writer(first, again)
    else:
        writer(tuple(replace(s, name="a clip") for s in first), again)
    if name in ("openface", "fex"):  # the pose goes through angles and back
        pd.testing.assert_frame_equal(pd.read_csv(again), pd.read_csv(place_of(name, golden)), rtol=0, atol=1e-12)
    elif name in TEXT:
        assert files(again) == files(place_of(name, golden))
    second = load(again, name)
    assert [s.name.partition("_")[0] for s in second] == [s.name.partition("_")[0] for s in first]
    for one, other in zip(first, second, strict=True):
        for stream in one.streams:
            np.testing.assert_allclose(one.streams[stream].values, other.streams[stream].values, rtol=0, atol=1e-12)
            assert np.array_equal(one.streams[stream].start, other.streams[stream].start)


def the(name: str, golden: Path) -> Session:
    (session,) = load(place_of(name, golden), name)
    return session


@pytest.mark.parametrize("name", ["csv", "parquet", "csd"])
def test_tables_of_numbers_lose_nothing(name: str, session: Session, golden: Path, same: Same) -> None:
    read_back = the(name, golden)
    assert set(read_back.streams) == set(session.streams)
    for stream in session.streams:
        same(read_back.streams[stream], session.streams[stream])


@pytest.mark.parametrize("name", ["parquet", "csd"])
def test_and_remember_who_made_them(name: str, session: Session, golden: Path) -> None:
    face = the(name, golden).streams["face"]
    assert (face.provenance, face.reason) == (session.streams["face"].provenance, session.streams["face"].reason)


@pytest.mark.parametrize(("name", "times"), [("textgrid", 0.0), ("eaf", 1e-12)])
def test_annotation_files_hold_words_utterances_and_active_units(
    name: str, times: float, session: Session, golden: Path, same: Same
) -> None:
    read_back = the(name, golden)
    # Three significant digits of at most 1.25: half a unit of the third.
    same(read_back.streams["words"], session.streams["words"], times=times, values=5e-4)
    same(read_back.streams[UTTERANCES], session.streams[UTTERANCES], times=times, values=5e-3)
    # The first face's AU12 is 0.4 at 0.56 s, absent at 0.60 s, 0.8 at 0.64 s and 1.0 at 0.68 s: active from 0.64 s on.
    unit = read_back.streams["face 0 - AU12"]
    assert unit.labels["label"] == ("1.00",)
    np.testing.assert_allclose([unit.start[0], unit.end[0]], [0.64, 0.72], atol=1e-9)
    assert set(read_back.streams) == {"words", UTTERANCES, "face 0 - AU12"}, "AU24 and AU43 are never active"


def test_vtt_holds_the_beginnings_of_words_and_all_of_utterances(session: Session, golden: Path, same: Same) -> None:
    read_back, words = the("vtt", golden), session.streams["words"]
    same(read_back.streams[UTTERANCES], session.streams[UTTERANCES])
    back = read_back.streams["words"]
    assert back.labels == words.labels
    np.testing.assert_allclose(back.start, words.start, atol=1e-12)
    np.testing.assert_allclose(back.end, [0.5, 0.7, 1.0, 1.5], atol=1e-12)
    assert np.isnan(back.values).all(), "no place for probabilities"


def test_srt_holds_cues_and_their_emotion(golden: Path) -> None:
    utterances = the("srt", golden).streams[UTTERANCES]
    assert utterances.labels["text"] == ('"so" =1+1 naïve, 音 <b>', "item [1]:")
    assert utterances.labels["emotion"] == ("happiness", "")
    assert utterances.column("happiness").tolist()[0] == pytest.approx(0.33)
    assert utterances.start.tolist() == [0.25, 1.25]


def test_rttm_holds_who_speaks_when(golden: Path) -> None:
    speakers = the("rttm", golden).streams["speakers"]
    assert list(zip(speakers.start, speakers.end, speakers.labels["label"], strict=True)) == [(0.25, 1.0, ""), (1.25, 1.5, "Bob_B")]


def test_openface_holds_what_it_has_names_for(session: Session, golden: Path) -> None:
    read_back, face = the("openface", golden).streams["face"], session.streams["face"]
    kept = ("frame", "FaceScore", "Pitch", "Yaw", "Roll", "AU12", "AU43", "face_id")
    assert set(read_back.columns) == set(kept)
    np.testing.assert_allclose(read_back.select(kept).values, face.select(kept).values, rtol=0, atol=1e-12)
    units = ("AU12", "AU43")
    np.testing.assert_allclose(read_back.start, face.start, atol=0)
    np.testing.assert_allclose(read_back.end, face.end, atol=1e-9)
    assert set(units) <= set(AU_NAMES)


def test_fex_holds_the_whole_face(session: Session, golden: Path) -> None:
    read_back, face = the("fex", golden).streams["face"], session.streams["face"]
    assert set(read_back.columns) == set(face.columns)
    np.testing.assert_allclose(read_back.select(face.columns).values, face.values, rtol=0, atol=1e-7)
    assert np.array_equal(read_back.start, face.start) and np.array_equal(read_back.end, face.end)


def test_mmsa_holds_utterances_and_what_they_rest_on(session: Session, golden: Path) -> None:
    first, second = load(place_of("mmsa", golden), "mmsa")
    assert (first.name, second.name) == ("a clip_0", "a clip_1")
    assert first.streams[UTTERANCES].labels["text"] == ('"so" =1+1 naïve, 音 <b>',)
    assert first.streams[UTTERANCES].labels["split"] == ("test",), "no label says where it belongs"
    assert np.isnan(first.streams[UTTERANCES].column("label")).all(), "a model's answer is no label"
    np.testing.assert_array_equal(first.streams["text"].values, session.streams["text"].values[:3])
    voice = np.nan_to_num(session.streams["voice"].values)[5:]
    np.testing.assert_array_equal(first.streams["voice"].values, voice)
    # Of two faces it is the one that was read, in the five frames in which it is there.
    np.testing.assert_array_equal(first.streams["face"].values[:, -2:], [[1, 0], [1, 1], [1, 2], [1, 4], [1, 5]])
    assert len(second.streams["text"]) == 1 and len(second.streams["voice"]) == 0


@pytest.mark.parametrize("name", [n for n in WRITABLE if n not in ("mmsa", "rttm")])
def test_a_clip_in_which_nothing_was_found_goes_through(name: str, silent: Session, tmp_path: Path) -> None:
    target = tmp_path / FORMATS[name].output.format(name="silent")
    writer = FORMATS[name].write
    assert writer is not None
    writer((silent,), target)
    if name == "bids":
        assert (target / "dataset_description.json").is_file()
        return
    for read_back in load(target, name):
        assert all(len(stream) == 0 and stream.reason for stream in read_back.streams.values())


def test_odd_tiers_go_from_one_annotation_file_to_another(tmp_path: Path, made: ModuleType) -> None:
    labels = {"label": ("nod", "nod", "shake")}
    gestures = TimedSequence(
        "head gestures", (), np.zeros((3, 0), np.float32), np.array([0.1, 0.2, 0.5]), np.array([0.3, 0.4, 0.6]), made.BY, labels=labels
    )
    session = Session("s", {"head gestures": gestures}, 1.0)
    for form, other in (("textgrid", "eaf"), ("eaf", "csv"), ("csv", "parquet"), ("parquet", "csd"), ("csd", "textgrid")):
        target = tmp_path / FORMATS[form].output.format(name="s")
        writer, then = FORMATS[form].write, FORMATS[other].write
        assert writer is not None and then is not None
        writer((session,), target)
        (session,) = load(target, form)
        head_gestures = session.streams["head gestures"]
        assert head_gestures.labels["label"] == ("nod", "nod", "shake"), form
        np.testing.assert_allclose(head_gestures.end, [0.3, 0.4, 0.6], atol=1e-9)
        session = Session("s", session.streams, 1.0)


def test_times_and_numbers_of_subrip_are_read_as_players_read_them(tmp_path: Path) -> None:
    """No blank lines, no numbers, a period for the comma, cues out of order."""
    path = tmp_path / "x.srt"
    path.write_text("0:00:03.5 --> 00:00:04,000\nlater\n1\n00:00:01,000 --> 00:00:02,000\n[anger 0.75]\nfirst\n<i>line</i>\n")
    utterances = load(path)[0].streams[UTTERANCES]
    assert utterances.start.tolist() == [1.0, 3.5] and utterances.end.tolist() == [2.0, 4.0]
    assert utterances.labels["text"] == ("first <i>line</i>", "later") and utterances.labels["emotion"] == ("anger", "")
