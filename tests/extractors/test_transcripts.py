"""Transcript files: every form gives the words and times that stand in it, and a bad file is one line with its place."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.extractors.words.cues import words_of
from emofuse.extractors.words.transcript_words import TranscriptWords
from emofuse.extractors.words.transcripts import Transcript, read_transcript
from emofuse.pipeline.errors import TranscriptError
from emofuse.pipeline.media import SAMPLE_RATE, Samples


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(transcript: Transcript) -> list[tuple[tuple[str, ...], float | None, float | None, str]]:
    return [(cue.words, cue.start, cue.end, cue.speaker) for cue in transcript.cues]


SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Hello</i> there, [door closes]
friend.

2
01:02:03,004 --> 01:02:04,5
- ANNA LEE: It's 5 o'clock.

3
00:00:09,000 --> 00:00:10,000
(laughs)
♪
"""


def test_srt_gives_cues_without_markup_and_with_speakers(tmp_path: Path) -> None:
    assert rows(read_transcript(written(tmp_path, "a.srt", SRT))) == [
        (("Hello", "there,", "friend."), 1.0, 2.5, ""),
        (("It's", "5", "o'clock."), 3723.004, 3724.5, "ANNA LEE"),
    ]


def test_srt_is_read_as_players_read_it(tmp_path: Path) -> None:
    # No numbers, dots for commas, a blank line within a cue, Windows line ends, no line end at the end of the file.
    text = "0:00:01.000-->0:00:02.000\r\nOne\r\n\r\ntwo\r\n\r\n0:00:03,000 --> 0:00:04,000 X1:0 Y1:9\r\n1984"
    assert rows(read_transcript(written(tmp_path, "a.srt", text))) == [(("One", "two"), 1.0, 2.0, ""), (("1984",), 3.0, 4.0, "")]


VTT = """WEBVTT - a talk
Kind: captions

STYLE
::cue { color: red }

NOTE two lines
--of note

intro
00:01.000 --> 00:02.000 align:start position:0%
<v.loud Roger Bingham>Fish &amp; chips</v>

100:00:03.000 --> 100:00:04.000
<c.yellow>Later</c>
"""


def test_vtt_gives_voices_and_entities(tmp_path: Path) -> None:
    assert rows(read_transcript(written(tmp_path, "a.vtt", VTT))) == [
        (("Fish", "&", "chips"), 1.0, 2.0, "Roger Bingham"),
        (("Later",), 360003.0, 360004.0, ""),
    ]


def test_rolling_captions_give_each_word_once_at_its_own_time(tmp_path: Path) -> None:
    text = (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n \nso<00:00:01.400><c> what</c>\n\n"
        "00:00:02.000 --> 00:00:02.010\nso what\n \n\n"
        "00:00:02.010 --> 00:00:04.000\nso what\nis<00:00:02.500><c> it</c>\n"
    )
    assert rows(read_transcript(written(tmp_path, "a.vtt", text))) == [
        (("so",), 1.0, 1.4, ""),
        (("what",), 1.4, 2.0, ""),
        (("is",), 2.01, 2.5, ""),
        (("it",), 2.5, 4.0, ""),
    ]


OPENAI = {"text": " It cost $5.", "segments": [{"start": 0.0, "end": 2.0, "text": " It cost $5.", "words": [
    {"word": " It", "start": 0.1, "end": 0.4, "probability": 0.9},
    {"word": " cost", "start": 0.4, "end": 0.9, "probability": 0.8},
    {"word": " $5.", "start": 0.9, "end": 1.7, "probability": 0.7},
]}]}  # fmt: skip
WHISPERX = {"segments": [{"start": 0.0, "end": 2.0, "text": "It cost $5.", "speaker": "SPEAKER_00", "words": [
    {"word": "It", "start": 0.1, "end": 0.4, "score": 0.9, "speaker": "SPEAKER_00"},
    {"word": "cost", "start": 0.4, "end": 0.9, "score": 0.8},
    {"word": "$5."},
]}], "word_segments": []}  # fmt: skip


def test_whisper_words_keep_their_times_and_probabilities(tmp_path: Path) -> None:
    transcript = read_transcript(written(tmp_path, "a.json", json.dumps(OPENAI)))
    assert transcript.timed
    assert rows(transcript) == [(("It",), 0.1, 0.4, ""), (("cost",), 0.4, 0.9, ""), (("$5.",), 0.9, 1.7, "")]
    assert [cue.probability(0) for cue in transcript.cues] == [0.9, 0.8, 0.7]
    # faster-whisper, dumped: the same words in a bare list of segments.
    assert rows(read_transcript(written(tmp_path, "b.json", json.dumps(OPENAI["segments"])))) == rows(transcript)


def test_words_that_whisperx_left_without_times_get_the_room_that_is_free(tmp_path: Path, clip_of: Any) -> None:
    path = written(tmp_path, "a.json", json.dumps(WHISPERX))
    words = TranscriptWords(path)(clip_of(), {})
    assert words.labels["word"] == ("It", "cost", "$5.") and set(words.labels["speaker"]) == {"SPEAKER_00"}
    np.testing.assert_allclose(words.start, [0.1, 0.4, 0.9])
    np.testing.assert_allclose(words.end, [0.4, 0.9, 2.0])
    assert math.isnan(words.column("probability")[2]) and words.column("probability")[1] == pytest.approx(0.8)
    assert words.provenance.notes["times"] == {"given": 0, "aligned": 0, "spread": 3}


def test_other_whispers_are_read_too(tmp_path: Path) -> None:
    cpp = {"transcription": [{"offsets": {"from": 500, "to": 1500}, "text": " so it is"}]}
    assert rows(read_transcript(written(tmp_path, "a.json", json.dumps(cpp)))) == [(("so", "it", "is"), 0.5, 1.5, "")]
    hub = {"text": "so", "chunks": [{"text": " so", "timestamp": [0.5, 1.5]}]}
    assert rows(read_transcript(written(tmp_path, "b.json", json.dumps(hub)))) == [(("so",), 0.5, 1.5, "")]


LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 3
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "Ann - words"
        xmin = 0
        xmax = 3
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "sp"
        intervals [2]:
            xmin = 0.5
            xmax = 1.25
            text = "the ""Émile"""
        intervals [3]:
            xmin = 1.25
            xmax = 3
            text = ""
    item [2]:
        class = "IntervalTier"
        name = "Ann - phones"
        xmin = 0
        xmax = 3
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 3
            text = "DH"
    item [3]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 3
        points: size = 1
        points [1]:
            number = 1.5
            mark = "ding"
'''
SHORT = '"ooTextFile"\n"TextGrid"\n0\n2\n<exists>\n1\n"IntervalTier"\n"words"\n0\n2\n2\n0\n1\n"one" ! a comment "two"\n1\n2e0\n"2"\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-bom"])
def test_textgrids_are_read_in_every_encoding_that_praat_writes(tmp_path: Path, encoding: str) -> None:
    data = b"\xfe\xff" + LONG.encode("utf-16-be") if encoding == "utf-16-be-bom" else LONG.encode(encoding)
    assert rows(read_transcript(written(tmp_path, "a.TextGrid", data))) == [(("the", '"Émile"'), 0.5, 1.25, "Ann")]


def test_short_textgrids_are_read(tmp_path: Path) -> None:
    assert rows(read_transcript(written(tmp_path, "a.textgrid", SHORT))) == [(("one",), 0.0, 1.0, ""), (("2",), 1.0, 2.0, "")]


def test_csv_columns_are_found_by_name(tmp_path: Path) -> None:
    text = "speaker;word;start;end;confidence\nAnn;Hello;0,5;1,0;0,9\n;;;;\nBen;you there;1.0;2.0;\n"
    transcript = read_transcript(written(tmp_path, "a.csv", text))
    assert rows(transcript) == [(("Hello",), 0.5, 1.0, "Ann"), (("you", "there"), 1.0, 2.0, "Ben")]
    assert transcript.cues[0].probability(0) == 0.9 and math.isnan(transcript.cues[1].probability(1))
    assert rows(read_transcript(written(tmp_path, "b.tsv", "start\tend\tword\n0\t1\ta,b\n"))) == [(("a,b",), 0.0, 1.0, "")]


def test_plain_text_has_words_and_no_times(tmp_path: Path) -> None:
    assert rows(read_transcript(written(tmp_path, "a.txt", "And so — my\nfellow [applause] Americans!\n"))) == [
        (("And", "so —", "my", "fellow", "Americans!"), None, None, "")
    ]
    assert words_of("— $5 ... & 日本") == ("— $5 ...", "&", "日本")


def test_old_windows_text_is_read_and_noted(tmp_path: Path) -> None:
    transcript = read_transcript(written(tmp_path, "a.txt", "don’t café".encode("cp1252")))
    assert transcript.cues[0].words == ("don’t", "café")
    assert "cp1252" in transcript.notes["encoding"]
    assert read_transcript(written(tmp_path, "b.txt", "don’t café")).notes == {}


BAD = [
    ("a.srt", "1\n00:00:01,000 --> 00:00:02\nHi\n", "line 2: expected 00:00:01,000"),
    ("a.srt", "1\n00:00:03,000 --> 00:00:02,000\nHi\n", "line 2: expected 0 <= start <= end, got 3 and 2"),
    ("a.srt", "nothing here\n", r"line 1: expected SubRip \(SRT\) times"),
    ("a.vtt", "1\n00:01.000 --> 00:02.000\nHi\n", "line 1: expected WEBVTT"),
    ("a.vtt", "WEBVTT\n\n00:01,000 --> 00:02,000\nHi\n", "line 3: expected 00:01.000"),
    ("a.json", '{"segments": [\n {"start": 0,}\n]}', "line 2: expected JSON"),
    ("a.json", '{"text": "hi"}', "expected Whisper's JSON"),
    ("a.json", '{"segments": [{"start": "x", "end": 1, "text": "hi"}]}', r"segments\[0\]: expected start and end"),
    ("a.json", '{"segments": [{"words": [{"word": "a", "start": 1, "end": 0}]}]}', r"segments\[0\].words\[0\]: expected 0 <= start"),
    ("a.json", '{"segments": [{"start": 1' + "0" * 999 + ', "end": 1, "text": "hi"}]}', "expected start and end in seconds"),
    ("a.TextGrid", LONG.replace("size = 3\n        intervals [1]", "size = 1e999\n        intervals [1]"), "number of intervals, got inf"),
    ("a.json", "[" * 100000, "line 1: expected"),
    ("a.TextGrid", LONG.replace("xmax = 1.25", "xmax = abc"), "line 22: expected an interval's end, got 'the "),
    ("a.TextGrid", LONG[:300], "expected .*, got the end of the file"),
    ("a.TextGrid", SHORT.replace('"words"', '"phones"'), "expected an interval tier with words, got 'phones'"),
    ("a.csv", "a,b\n1,2\n", "line 1: expected columns start,end,word"),
    ("a.csv", "start,end,word\nx,2,b\n", "line 2: expected a number as start, got 'x'"),
    ("a.csv", "start,end,word\n0,nan,a\n", "line 2: expected a finite end"),
    ("a.csv", 'start,end,word\n0,1,"a\n', "expected CSV"),
    ("a.txt", " \n", "expected words"),
    ("a.txt", b"\x00\x01\x02", "expected text, got binary"),
    ("a.txt", b"ok\nbad " + bytes(range(128, 256)), "line 2: expected UTF-8 or another encoding"),
    ("a.txt", b"\xef\xbb\xbfok\n\xff", "line 2: expected utf-8-sig"),
    ("a.doc", "hello", "expected a transcript named"),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD, ids=[f"{name}-{k}" for k, (name, _, _) in enumerate(BAD)])
def test_a_bad_file_is_one_line_with_its_place(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(TranscriptError, match=message) as caught:
        read_transcript(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_a_transcript_error(tmp_path: Path) -> None:
    with pytest.raises(TranscriptError, match=r"cannot be read: No such file"):
        TranscriptWords(tmp_path / "none.srt")


def test_a_file_that_times_every_word_needs_no_sound(tmp_path: Path, clip_of: Any) -> None:
    path = written(tmp_path, "a.csv", "start,end,word,probability,speaker\n1,2,b,0.5,Ann\n0,1.5,a,,\n")
    extractor = TranscriptWords(path)
    assert extractor.media == frozenset()
    words = extractor(clip_of(), {})
    assert words.labels == {"word": ("a", "b"), "speaker": ("", "Ann")}
    np.testing.assert_array_equal(words.start, [0.0, 1.0])
    assert len(words.provenance.options["file_sha256"]) == 64 and words.provenance.weights == {}


def test_without_sound_words_share_their_cue_by_length(tmp_path: Path, clip_of: Any) -> None:
    words = TranscriptWords(written(tmp_path, "a.srt", "00:00:01,000 --> 00:00:02,000\nI, am here!\n"))(clip_of(), {})
    np.testing.assert_allclose(words.start, [1, 1 + 1 / 7, 1 + 3 / 7])
    np.testing.assert_allclose(words.end, [1 + 1 / 7, 1 + 3 / 7, 2])
    assert words.provenance.notes["times"] == {"given": 0, "aligned": 0, "spread": 3}
    assert "no audio" in words.provenance.notes["not_aligned"] and "in proportion" in words.provenance.notes["spread"]


def test_a_text_without_times_needs_sound(tmp_path: Path, clip_of: Any) -> None:
    with pytest.raises(TranscriptError, match=r"a.txt: expected a clip with sound"):
        TranscriptWords(written(tmp_path, "a.txt", "hello"))(clip_of(), {})


def test_cues_are_aligned_within_their_span(tmp_path: Path, say: Any, clip_of: Any) -> None:
    first, second = say("ask not what your country can do for you"), say("nobody has ever seen her")
    begin = 10.0 + len(first.values) / SAMPLE_RATE
    finish = begin + len(second.values) / SAMPLE_RATE
    first_cue = f"00:00:10,000 --> {stamp(begin)}\nAsk not what your country can do for you!\n\n"
    srt = first_cue + f"{stamp(begin)} --> {stamp(finish)}\nbanana\nsplit zebra\n"
    clip = clip_of(Samples(10.0, first.values), Samples(begin, second.values))
    words = TranscriptWords(written(tmp_path, "a.srt", srt))(clip, {})
    truth = np.array(first.words([3, 3, 3, 3, 6, 3, 2, 3, 2])) + 10.0
    assert np.abs(words.start[:9] - truth[:, 0]).max() < 0.06
    assert words.labels["word"][8:] == ("you!", "banana", "split", "zebra")
    # The second cue's words are not what is said there: spread, and said so.
    assert words.provenance.notes["times"] == {"given": 0, "aligned": 9, "spread": 3}
    assert words.provenance.options["aligner"].startswith("pocketsphinx")


@pytest.mark.parametrize("voice", ["awb", "kal16", "rms"])
def test_noise_in_a_pause_of_a_cue_takes_no_word(tmp_path: Path, say: Any, clip_of: Any, voice: str) -> None:
    """One cue over two sentences and 5 s of noise between them: the words keep the distance from their sentence that they have alone."""
    first, second = say("I am so happy to see you today.", voice).values, say("This is a wonderful morning.", voice).values
    noise = (0.01 * np.random.default_rng(0).normal(size=5 * SAMPLE_RATE)).astype(np.float32)
    starts = []
    for pause in (noise[: SAMPLE_RATE // 20], noise):
        sound = np.concatenate([first, pause, second])
        cue = f"00:00:00,000 --> {stamp(len(sound) / SAMPLE_RATE)}\nI am so happy to see you today. This is a wonderful morning.\n"
        words = TranscriptWords(written(tmp_path, f"{len(pause)}.srt", cue))(clip_of(Samples(0.0, sound)), {})
        assert words.provenance.notes["times"]["aligned"] == 13
        starts.append(words.start - np.where(np.arange(13) < 8, 0.0, len(pause) / SAMPLE_RATE))
    assert np.abs(starts[1] - starts[0])[np.arange(13) != 8].max() < 0.1, "the word after the pause is free to begin within it"


def stamp(seconds: float) -> str:
    thousandths = round(seconds * 1000)
    return f"00:00:{thousandths // 1000:02d},{thousandths % 1000:03d}"
