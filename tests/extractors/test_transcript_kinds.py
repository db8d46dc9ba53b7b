"""Transcripts as other programs write them: one bad cue costs itself, the words' tier is found, times are the clip's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.extractors.words.transcript_words import TranscriptWords
from emofuse.extractors.words.transcripts import Transcript, best_of, read_transcript
from emofuse.pipeline.clip import Clip, DecodeEnd, MediumEnd
from emofuse.pipeline.errors import FormatError, StreamError, TranscriptError
from emofuse.pipeline.formats.eaf import read_tiers
from emofuse.pipeline.formats.openface import read_openface
from emofuse.pipeline.formats.textgrid import read_textgrid
from emofuse.pipeline.formats.vtt import read_vtt
from emofuse.pipeline.media import AudioInfo, ClipInfo
from emofuse.pipeline.timed import Provenance, TimedSequence
from emofuse.pipeline.within_clip import within_clip


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def said(transcript: Transcript) -> list[tuple[str, float | None, float | None, str]]:
    return [(" ".join(cue.words), cue.start, cue.end, cue.speaker) for cue in transcript.cues]


def test_milliseconds_are_told_from_seconds(tmp_path: Path) -> None:
    table = "start\tend\ttext\n0\t1500\t Hello there\n1500\t2750\t friend\n"
    assert said(read_transcript(written(tmp_path, "a.tsv", table))) == [("Hello there", 0, 1.5, ""), ("friend", 1.5, 2.75, "")]
    cpp = 'start,end,text\n600,2000," I have news"\n'
    assert said(read_transcript(written(tmp_path, "b.csv", cpp))) == [("I have news", 0.6, 2.0, "")]
    seconds = "start,end,text\n0,3,Hello there\n3,9,a friend of mine\n"
    assert [cue.end for cue in read_transcript(written(tmp_path, "c.csv", seconds)).cues] == [3, 9]


BAD_CUES = [
    (
        "a.vtt",
        "WEBVTT\n\n00:01.000 --> 00:02.000\nyes\n\n00:05.000 --> 00:04.000\nno\n\n00:06,0 --> x\nno\n\n00:07.000 --> 00:08.000\nwell\n",
    ),
    (
        "a.srt",
        "1\n00:00:01,000 --> 00:00:02,000\nyes\n\n2\n00:00:05,000 --> 00:00:04,000\nno\n\n"
        "3\n0:7 --> 0:8\nno\n\n4\n0:0:7,0 --> 0:0:8,0\nwell\n",
    ),
    ("a.csv", "start,end,word\n1,2,yes\n5,4,no\n-3,nan,no\n7,8,well\n"),
    (
        "a.json",
        '{"segments": [{"start": 1, "end": 2, "text": "yes"}, {"start": 5, "end": 4, "text": "no"},'
        ' {"start": null, "end": 6, "text": "no"}, {"start": 7, "end": 8, "text": "well"}]}',
    ),
    (
        "b.json",
        '{"transcription": [{"offsets": {"from": 1000, "to": 2000}, "text": "yes"}, {"offsets": {"from": 5, "to": 4}, "text": "no"},'
        ' {"text": "no"}, {"offsets": {"from": 7000, "to": 8000}, "text": "well"}]}',
    ),
]


@pytest.mark.parametrize(("name", "content"), BAD_CUES, ids=[name for name, _ in BAD_CUES])
def test_a_bad_cue_costs_itself_and_is_said(tmp_path: Path, name: str, content: str) -> None:
    transcript = read_transcript(written(tmp_path, name, content))
    assert [(text, start) for text, start, _, _ in said(transcript)] == [("yes", 1), ("well", 7)]
    (remark,) = transcript.notes["remarks"]
    assert remark.startswith(f"{name}: 2 cues were left out; the first: ") and "\n" not in remark


def test_a_probability_out_of_range_costs_no_word(tmp_path: Path) -> None:
    words = [{"word": "a", "start": 0, "end": 1, "probability": p} for p in (1.0000001, 7, 0.5)]
    transcript = read_transcript(written(tmp_path, "a.json", json.dumps({"segments": [{"words": words}]})))
    np.testing.assert_array_equal([cue.probability(0) for cue in transcript.cues], [1.0, np.nan, 0.5])
    assert "2 impossible numbers" in transcript.notes["remarks"][0]


def test_half_a_character_in_json_costs_itself_alone(tmp_path: Path) -> None:
    text = '[{"start": 0, "end": 1, "text": "so \\udc00glad \\ud83d\\ude00 you", "speaker": "A"}]'
    (cue,) = read_transcript(written(tmp_path, "a.json", text)).cues
    assert cue.words == ("so", "glad 😀", "you")
    " ".join(cue.words).encode()


def test_words_beside_segments_keep_their_times(tmp_path: Path) -> None:
    words = [{"word": "so", "start": 0.1, "end": 0.4}, {"word": "glad", "start": 0.5, "end": 0.9}]
    for segments in ([], None, [{"start": 0, "end": 1, "text": "so glad"}]):
        path = written(tmp_path, "a.json", json.dumps({"text": "so glad", "segments": segments, "words": words}))
        assert said(read_transcript(path)) == [("so", 0.1, 0.4, ""), ("glad", 0.5, 0.9, "")]
    assert read_transcript(path).timed


def test_an_open_end_lasts_to_the_next_chunk_or_the_clips_end(tmp_path: Path, clip_of: Any) -> None:
    chunks = [{"text": "one two", "timestamp": [0.2, None]}, {"text": "three", "timestamp": [1.0, None]}]
    path = written(tmp_path, "a.json", json.dumps({"chunks": chunks}))
    transcript = read_transcript(path)
    assert transcript.cues[0].end == 1.0 and not transcript.cues[1].closed
    words = TranscriptWords(path)(clip_of(), {})
    assert np.isfinite(words.end).all() and words.labels["word"] == ("one", "two", "three")


@pytest.mark.parametrize("head", ['File type = "ooTextFile short"\n"TextGrid"\n', '"ooTextFile"\nObject class = "TextGrid 2"\n'])
def test_old_forms_of_textgrids_are_read(tmp_path: Path, head: str) -> None:
    grid = head + '\n0\n2\n<exists>\n1\n"IntervalTier"\n"word"\n0\n2\n2\n0\n1\n"hello"\n1\n2\n"sp"\n'
    assert said(read_transcript(written(tmp_path, "a.TextGrid", grid))) == [("hello", 0, 1, "")]


def test_both_readers_of_textgrids_take_latin_1(tmp_path: Path) -> None:
    grid = '"ooTextFile"\n"TextGrid"\n0\n2\n<exists>\n1\n"IntervalTier"\n"words"\n0\n2\n1\n0\n2\n"mañana señor, how are you today"\n'
    path = written(tmp_path, "a.TextGrid", grid.encode("latin-1"))
    assert read_transcript(path).cues[0].words[0] == "mañana"
    (session,) = read_textgrid(path)
    assert session.streams["words"].labels["word"][0].startswith("mañana señor")


def grid_of(*tiers: tuple[str, list[tuple[float, float, str]]]) -> str:
    parts = ['"ooTextFile"\n"TextGrid"\n0\n9\n<exists>\n' + str(len(tiers))]
    for name, rows in tiers:
        parts.append(f'"IntervalTier"\n"{name}"\n0\n9\n{len(rows)}')
        parts += [f'{a}\n{b}\n"{text}"' for a, b, text in rows]
    return "\n".join(parts) + "\n"


def eaf_of(tiers: str, types: str = "", slots: str = "", header: str = "") -> str:
    slots = slots or "".join(f'<TIME_SLOT TIME_SLOT_ID="t{k}" TIME_VALUE="{k * 1000}"/>' for k in range(6))
    return f"<ANNOTATION_DOCUMENT><HEADER>{header}</HEADER><TIME_ORDER>{slots}</TIME_ORDER>{tiers}{types}</ANNOTATION_DOCUMENT>"


def tier(name: str, *rows: str, parent: str = "", kind: str = "plain", speaker: str = "") -> str:
    attributes = f'TIER_ID="{name}" LINGUISTIC_TYPE_REF="{kind}"'
    attributes += (f' PARENT_REF="{parent}"' if parent else "") + (f' PARTICIPANT="{speaker}"' if speaker else "")
    return f"<TIER {attributes}>{''.join(f'<ANNOTATION>{row}</ANNOTATION>' for row in rows)}</TIER>"


def aligned(key: str, first: int, last: int, text: str) -> str:
    times = f'TIME_SLOT_REF1="t{first}" TIME_SLOT_REF2="t{last}"'
    value = f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>"
    return f'<ALIGNABLE_ANNOTATION ANNOTATION_ID="{key}" {times}>{value}</ALIGNABLE_ANNOTATION>'


def referring(key: str, to: str, text: str, after: str = "") -> str:
    order = f' PREVIOUS_ANNOTATION="{after}"' if after else ""
    value = f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>"
    return f'<REF_ANNOTATION ANNOTATION_ID="{key}" ANNOTATION_REF="{to}"{order}>{value}</REF_ANNOTATION>'


TYPES = (
    '<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="plain"/><LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="a" CONSTRAINTS="Symbolic_Association"/>'
    '<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="d" CONSTRAINTS="Symbolic_Subdivision"/>'
)


def test_the_words_tier_is_found_by_structure_whatever_its_name(tmp_path: Path) -> None:
    names = tier("K1", aligned("a1", 1, 3, "p.01"), aligned("a5", 3, 4, "p.02"))
    sentences = tier("K2", referring("a2", "a1", "so glad"), referring("a6", "a5", "oh yes"), parent="K1", kind="a")
    words = tier("K3", referring("a4", "a2", "glad", "a3"), referring("a3", "a2", "so"), referring("a7", "a6", "oh"),
                 referring("a8", "a6", "yes", "a7"), parent="K2", kind="d")  # fmt: skip
    other = tier("K4", referring("a9", "a2", "ADV ADJ"), parent="K2", kind="a")
    path = written(tmp_path, "a.eaf", eaf_of(names + sentences + words + other, TYPES))
    transcript = read_transcript(path)
    assert said(transcript) == [("so glad", 1, 3, ""), ("oh yes", 3, 4, "")] and transcript.notes["tiers"] == ["K3"]
    assert "not 'K1', 'K2', 'K4'" in transcript.notes["remarks"][0]
    (divided,) = (t for t in read_tiers(path) if t.name == "K3")
    assert divided.rows == ((1, 2, "so"), (2, 3, "glad"), (3, 3.5, "oh"), (3.5, 4, "yes"))


@pytest.mark.parametrize("kind", ["default-lt", "default", "plain"])
def test_tiers_of_unknown_names_beside_the_words_are_nobodys_sentences(tmp_path: Path, kind: str) -> None:
    """As our own .eaf has them (action units of which ELAN's type for everything says nothing), and as annotators add them."""
    tiers = tier("words", aligned("a1", 0, 1, "so"), aligned("a2", 1, 2, "glad"), kind=kind)
    tiers += tier("AU12", aligned("u1", 0, 1, "0.54"), kind=kind) + tier("eyebrows", aligned("e1", 1, 2, "raised"), kind=kind)
    transcript = read_transcript(written(tmp_path, "a.eaf", eaf_of(tiers, TYPES)))
    assert said(transcript) == [("so", 0, 1, ""), ("glad", 1, 2, "")] and transcript.notes["tiers"] == ["words"]


def test_translations_gestures_and_sentences_without_words_are_told_apart(tmp_path: Path) -> None:
    tiers = tier("utt@Ann", aligned("a1", 0, 1, "so glad"), aligned("a2", 2, 3, "and &lt;then&gt; some"))
    tiers += tier("wd@Ann", referring("w1", "a1", "so"), referring("w2", "a1", "glad", "w1"), parent="utt@Ann", kind="d")
    tiers += tier("translation@Ann", referring("x1", "a1", "so froh"), parent="utt@Ann", kind="a")
    tiers += tier("utt@Ben", aligned("b1", 4, 5, "mhm")) + tier("Gesture-LH", aligned("g1", 0, 3, "beat"))
    transcript = read_transcript(written(tmp_path, "a.eaf", eaf_of(tiers, TYPES)))
    assert said(transcript) == [("so glad", 0, 1, "Ann"), ("and <then> some", 2, 3, "Ann"), ("mhm", 4, 5, "Ben")]


def test_participants_are_speakers_and_codes_are_not_words(tmp_path: Path) -> None:
    tiers = tier("CHI", aligned("a1", 0, 1, "ball"), speaker="CHI") + tier("FA1", aligned("b1", 1, 2, "a ball"), speaker="FA1")
    tiers += tier("vcm@CHI", referring("c1", "a1", "C"), parent="CHI", kind="a", speaker="CHI")
    assert said(read_transcript(written(tmp_path, "a.eaf", eaf_of(tiers, TYPES)))) == [("ball", 0, 1, "CHI"), ("a ball", 1, 2, "FA1")]


def test_an_unclear_file_is_refused_with_its_tiers_and_a_tier_can_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, "a.TextGrid", grid_of(("Anna", [(0, 1, "hello")]), ("mood", [(0, 9, "happy")])))
    with pytest.raises(TranscriptError, match=r"got 'Anna', 'mood'; --tier NAME chooses one"):
        read_transcript(path)
    assert said(read_transcript(path, "anna")) == [("hello", 0, 1, "")]
    assert {cue.speaker for cue in read_transcript(path, "Anna,mood").cues} == {"Anna", "mood"}
    with pytest.raises(TranscriptError, match=r"expected a tier named nobody \(--tier\), got 'Anna', 'mood'"):
        read_transcript(path, "nobody")


def test_praats_tiers_are_told_apart_by_name(tmp_path: Path) -> None:
    grid = grid_of(("A_words", [(0, 1, "so"), (1, 2, "glad")]), ("translation", [(0, 2, "so froh")]), ("gesture", [(0, 2, "beat")]))
    assert said(read_transcript(written(tmp_path, "a.TextGrid", grid))) == [("so", 0, 1, "A"), ("glad", 1, 2, "A")]


def test_the_time_origin_is_added(tmp_path: Path) -> None:
    media = '<MEDIA_DESCRIPTOR MEDIA_URL="" TIME_ORIGIN="2500"/>'
    path = written(tmp_path, "a.eaf", eaf_of(tier("words", aligned("a1", 1, 2, "hello")), header=media))
    assert said(read_transcript(path)) == [("hello", 3.5, 4.5, "")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY b "bbb">]><ANNOTATION_DOCUMENT>&b;</ANNOTATION_DOCUMENT>'
    with pytest.raises(FormatError, match="document type"):
        read_tiers(written(tmp_path, "a.eaf", text.encode(encoding)))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("Добрый день, дорогие друзья", "cp1251"), ("El niño comió en el jardín", "cp1252"), ("我们赢得了第一名，谢谢大家的支持", "gb18030"),
     ("これはテストです。ありがとう", "cp932"), ("Zażółć gęślą jaźń, proszę", "cp1250")],
)  # fmt: skip
def test_encodings_are_guessed_and_the_guess_is_said(tmp_path: Path, text: str, encoding: str) -> None:
    cue = f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n"
    transcript = read_transcript(written(tmp_path, "a.srt", cue.encode(encoding)))
    assert " ".join(transcript.cues[0].words) == text
    assert f"read as {encoding}, which is a guess" in transcript.notes["remarks"][0]


def test_whispers_files_side_by_side_are_one_transcript(tmp_path: Path) -> None:
    files = [written(tmp_path, f"clip.{suffix}", "x") for suffix in ("srt", "txt", "vtt", "tsv", "json")]
    assert best_of(files, tmp_path, "clip").suffix == ".json" and best_of(files[:3], tmp_path, "clip").suffix == ".vtt"
    with pytest.raises(TranscriptError, match="found 2"):
        best_of([*files[:1], written(tmp_path, "clip.TextGrid", "x")], tmp_path, "clip")


def test_only_regular_files_inside_their_folder_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    outside = written(tmp_path, "secret.txt", "secret")
    (folder / "clip.txt").symlink_to(outside)
    with pytest.raises(TranscriptError, match="a link to a file outside"):
        best_of([folder / "clip.txt"], folder, "clip")
    os.mkfifo(folder / "pipe.txt")
    (folder / "folder.eaf").mkdir()
    for path in (folder / "pipe.txt", folder / "null.txt", folder / "folder.eaf"):
        if path.name == "null.txt":
            path.symlink_to("/dev/zero")
        with pytest.raises(TranscriptError, match="expected a regular file"):
            read_transcript(path)


class Known(Clip):
    """A clip of which only its end is known, by the container and by decoding."""

    def __init__(self, duration: float | None, decoded: float) -> None:
        super().__init__("clip.wav", info=ClipInfo("clip.wav", "wav", duration, None, AudioInfo("pcm", 16000, 1)))
        self.decoded = decoded

    def decode(self, *, frames: bool, samples: bool) -> Any:
        yield DecodeEnd({"audio": MediumEnd(self.decoded, 0)})


def words_at(*spans: tuple[float, float]) -> TimedSequence:
    start, end = np.array(spans).T
    by = Provenance("transcript", "1", options={"file": "clip.srt"})
    return TimedSequence("words", (), np.zeros((len(spans), 0), np.float32), start, end, by, labels={"word": ("a",) * len(spans)})


def test_rows_after_the_clips_end_are_left_out_or_cut_and_counted() -> None:
    kept = within_clip(Known(4.0, 4.0), {"words": words_at((1, 2), (3, 9), (4.2, 4.4), (60, 61))}, None)["words"]
    assert kept.start.tolist() == [1, 3, 4.2] and kept.end.tolist() == [2, 4, 4.4]
    assert kept.provenance.notes["after_the_clips_end"] == {"left_out": 1, "cut": 1}
    assert "clip.srt: 1 rows of words lie after the clip's end at 4.0 s" in kept.provenance.notes["remarks"][0]
    with pytest.raises(StreamError, match=r"clip.srt: all 1 rows of words lie after the end of clip.wav at 4.0 s, the first at 600.0 s"):
        within_clip(Known(4.0, 4.0), {"words": words_at((600, 602))}, None)


def test_a_container_that_says_too_little_costs_no_row() -> None:
    for duration in (2.0, None):  # joined files say the length of their first part
        assert len(within_clip(Known(duration, 8.0), {"words": words_at((1, 2), (6, 7))}, None)["words"]) == 2


def test_huge_numbers_are_one_line(tmp_path: Path) -> None:
    hours = "9" * 5000
    path = written(tmp_path, "a.srt", f"1\n{hours}:00:00,000 --> {hours}:00:01,000\nhello\n")
    with pytest.raises(TranscriptError, match="line 2: expected 00:00:01,000"):
        read_transcript(path)
    head, cue = "WEBVTT\n\nNOTE emofuse utterance", "\n\n00:01.000 --> 00:02.000\na"
    huge = "1" + "0" * 400
    for note in (f'{{"start": {huge}, "end": 2}}', f'{{"start": 1, "end": 2, "anger": {huge}}}'):
        text = f"{head} {note}{cue}"
        with pytest.raises(FormatError, match=r"a\.vtt: expected"):
            read_vtt(written(tmp_path, "a.vtt", text))
    row = f"{'1' * 400},0.0,0.9,1,0.5"
    table = f"frame,timestamp,confidence,success,AU12_r\n1,0.0,0.9,1,0.5\n{row}\n"
    with pytest.raises(FormatError, match=r"line 3: expected a frame number"):
        read_openface(written(tmp_path, "a.csv", table))
