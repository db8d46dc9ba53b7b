"""Utterances: turns by pauses, never too long, always in order, whatever the clip lacks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emofuse.pipeline.quality import quality
from emofuse.pipeline.speaker_face import largest_face
from emofuse.pipeline.timed import Provenance, Span, TimedSequence
from emofuse.pipeline.utterances import Segmentation, segment, utterance

BY = Provenance("test", "1")


def words(times: list[tuple[float, float]], probability: float = 1.0, speaker: str = "") -> TimedSequence:
    return TimedSequence(
        "words",
        ("probability",),
        np.full((len(times), 1), probability, np.float32),
        np.array([t[0] for t in times]),
        np.array([t[1] for t in times]),
        BY,
        labels={"word": tuple(f"w{i}" for i in range(len(times))), "speaker": (speaker,) * len(times)},
        reason="" if times else "no words",
    )


def voice(loud: list[tuple[float, float]], seconds: float) -> TimedSequence:
    start = np.arange(round(seconds * 100)) / 100
    rms = np.full(len(start), 0.001, np.float32)
    for a, b in loud:
        rms[(start >= a) & (start < b)] = 0.2
    return TimedSequence("voice", ("rms",), rms[:, None], start, start + 0.01, BY)


def test_a_pause_ends_a_turn() -> None:
    cut = segment({"words": words([(1.0, 1.4), (1.5, 2.0), (4.0, 4.5)])}, 10.0)
    assert cut.by == "words"
    assert np.allclose([(s.start, s.end) for s in cut.spans], [(0.8, 2.2), (3.8, 4.7)])


def test_a_new_speaker_is_a_new_turn() -> None:
    both = words([(0.0, 1.0), (1.1, 2.0)])
    both = TimedSequence("words", both.columns, both.values, both.start, both.end, BY, labels={"word": ("a", "b"), "speaker": ("x", "y")})
    assert len(segment({"words": both}, 2.0).spans) == 2


def test_a_long_turn_is_cut_at_its_widest_pause() -> None:
    times = [(i * 0.5, i * 0.5 + 0.45) for i in range(50)]
    times = [(a + (0.4 if i >= 26 else 0), b + (0.4 if i >= 26 else 0)) for i, (a, b) in enumerate(times)]
    spans = segment({"words": words(times)}, 30.0).spans
    assert len(spans) == 2
    assert spans[1].start == pytest.approx(13.4 - 0.2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.01, 20)), min_size=1, max_size=60))
def test_utterances_are_in_order_apart_and_never_too_long(steps: list[tuple[float, float]]) -> None:
    times, now = [], 0.0
    for pause, length in steps:
        times.append((now + pause, now + pause + length))
        now += pause + length
    spans = segment({"words": words(times)}, now).spans
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(spans))
    assert all(s.duration <= 15.0 + 0.4 + 1e-6 for s in spans)
    assert spans[0].start >= 0 and spans[-1].end <= now + 1e-9
    middles = [(a + b) / 2 for a, b in times]
    assert all(any(s.start <= m <= s.end for s in spans) for m in middles), "every word lies in an utterance"


def test_without_words_the_voice_cuts() -> None:
    cut = segment({"words": words([]), "voice": voice([(2.0, 4.0), (6.0, 7.0)], 10.0)}, 10.0)
    assert cut.by == "voice"
    assert np.allclose([(s.start, s.end) for s in cut.spans], [(1.8, 4.2), (5.8, 7.2)], atol=0.02)


def test_without_speech_there_are_windows() -> None:
    cut = segment({"voice": voice([], 25.0)}, 25.0)
    assert cut.by == "windows"
    assert [s.duration for s in cut.spans] == pytest.approx([25 / 3] * 3)
    assert segment({}, 4.0).spans == (Span(0.0, 4.0),)


def test_the_number_of_utterances_grows_linearly() -> None:
    times = [(i * 0.4, i * 0.4 + 0.39) for i in range(9000)]  # an hour without one pause
    spans = segment({"words": words(times)}, 3600.0).spans
    assert 240 <= len(spans) <= 600
    assert max(s.duration for s in spans) <= Segmentation().longest + 0.4


def face(rows: list[tuple[float, int, float]]) -> TimedSequence:
    values = np.array([[identity, size, size] for _, identity, size in rows], np.float32)
    start = np.array([t for t, _, _ in rows])
    return TimedSequence("face", ("face_id", "FaceRectWidth", "FaceRectHeight"), values, start, start + 0.04, BY)


def test_of_two_faces_the_one_shown_largest_is_read() -> None:
    stream = face([(0.0, 0, 50), (0.0, 1, 80), (0.04, 0, 50), (0.08, 0, 50)])
    assert largest_face(stream, np.arange(4)) == 0  # three times 50 x 50 is more than once 80 x 80
    piece = utterance(Span(0.0, 1.0), {"face": stream})
    assert piece.rows["face"].tolist() == [0, 2, 3] and len(piece.streams["face"]) == 3


def test_an_utterance_reads_its_rows_and_says_why_there_are_none() -> None:
    streams = {"words": words([(0.0, 0.5), (2.0, 2.5)], probability=0.2), "voice": voice([], 1.0)}
    piece = utterance(Span(1.5, 3.0), streams)
    assert piece.text == "w1"
    assert "no voice between 1.50 and 3.00 s" in piece.streams["voice"].reason
    facts = quality(piece, streams)
    assert set(facts.flags) == {"no_text", "no_face", "no_voice", "uncertain_words", "abstain"}
    assert facts.coverage["voice"] == 0.0


def test_words_of_a_recogniser_that_doubts_them_do_not_count_as_text() -> None:
    times = [(0.0, 0.5), (2.0, 2.5)]
    for probability, kept in ((0.45, 0), (0.65, 1), (float("nan"), 1)):
        said = words(times, probability=probability)
        text = TimedSequence("text", ("a",), np.ones((2, 1), np.float32), said.start, said.end, BY)
        piece = utterance(Span(1.5, 3.0), {"words": said, "text": text})
        assert piece.text == "w1" and len(piece.streams["text"]) == kept and len(piece.rows["text"]) == kept
        facts = quality(piece, {"words": said, "text": text})
        assert ("uncertain_words" in facts.flags) == ("no_text" in facts.flags) == (kept == 0)
        assert ("mean probability of 0.45" in facts.reasons.get("text", "")) == (kept == 0)


def test_it_abstains_only_where_every_stream_is_poor() -> None:
    def sound(share: float) -> TimedSequence:
        voiced = (np.arange(100) < 100 * share).astype(np.float32)[:, None]
        return TimedSequence("voice", ("VUV",), voiced, np.arange(100) / 100, np.arange(1, 101) / 100, BY)

    span = Span(0.0, 1.0)
    for share, faces, flags in (
        (0.05, 10, {"weak_voice", "sparse_face", "abstain"}),
        (0.3, 10, {"sparse_face"}),
        (0.05, 25, {"weak_voice"}),
    ):
        streams = {"voice": sound(share), "face": face([(i * 0.04, 0, 50) for i in range(faces)])}
        assert set(quality(utterance(span, streams), streams).flags) == flags | {"no_text"}


def test_silence_is_no_voice_and_says_so() -> None:
    whole = voice([(0.0, 1.0)], 3.0)
    rms = np.where(whole.start[:, None] < 1, whole.values, np.float32(5e-4))
    quiet = TimedSequence("voice", ("rms",), rms, whole.start, whole.end, BY)
    assert len(utterance(Span(0.0, 1.0), {"voice": quiet}).streams["voice"]) == 100
    silence = utterance(Span(1.5, 3.0), {"voice": quiet})
    assert len(silence.streams["voice"]) == 0 and len(silence.rows["voice"]) == 0
    assert "silence between 1.50 and 3.00 s" in quality(silence, {"voice": quiet}).reasons["voice"]


def test_coverage_is_the_share_of_seconds_seen() -> None:
    stream = face([(i * 0.04, 0, 50) for i in range(10)])
    facts = quality(utterance(Span(0.0, 1.0), {"face": stream}), {"face": stream})
    assert facts.coverage["face"] == pytest.approx(0.4)
    assert "sparse_face" in facts.flags
