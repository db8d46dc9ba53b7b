"""Turns of speakers: what they say of words, spans and utterances; by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from emofuse.pipeline.quality import quality
from emofuse.pipeline.results import FaceChoice
from emofuse.pipeline.speaker_face import FaceSelector
from emofuse.pipeline.timed import Provenance, Span, TimedSequence
from emofuse.pipeline.turns import (
    SPEAKERS,
    SpeakerFinder,
    Turn,
    changes,
    facts_of,
    named,
    names_speakers,
    speaker_facts,
    turn_stream,
    turns_of,
    turns_of_words,
)
from emofuse.pipeline.utterances import segment, utterance

BY = Provenance("made", "1")
TURNS = (Turn(0.0, 2.0, "A", "voice", 0.9), Turn(2.0, 5.0, "B", "lips", 0.8), Turn(4.5, 6.0, "A", "voice", 0.6))


def words(times: Sequence[tuple[float, float]], speakers: Sequence[str] = ()) -> TimedSequence:
    labels = {"word": tuple(f"w{k}" for k in range(len(times))), "speaker": tuple(speakers) or ("",) * len(times)}
    start, end = np.array(times, np.float64).reshape(-1, 2).T
    reason = "" if times else "nothing was said"
    return TimedSequence("words", ("probability",), np.ones((len(times), 1), np.float32), start, end, BY, labels, reason)


def faces(numbers: Sequence[int], seconds: float = 6.0) -> TimedSequence:
    """All of these faces in every tenth of a second."""
    start = np.repeat(np.arange(0, seconds, 0.1), len(numbers))
    values = np.tile(np.array(numbers, np.float32), round(seconds / 0.1)).reshape(-1, 1)
    return TimedSequence("face", ("face_id",), values, start, start + 0.1, BY)


def test_turns_come_back_from_their_stream_as_they_were() -> None:
    assert turns_of(turn_stream(TURNS[::-1], BY)) == [replace(t, confidence=pytest.approx(t.confidence)) for t in TURNS]
    nobody = turn_stream([], BY)
    assert len(nobody) == 0 and nobody.reason and turns_of(nobody) == [] and turns_of(None) == []
    file = turn_stream([Turn(1, 2, "Bo")], BY)
    assert np.isnan(file.values).all() and turns_of(file) == [Turn(1, 2, "Bo", "file", None)]


def test_what_is_known_of_each_speaker() -> None:
    a, b = facts_of(TURNS, {"B": [1, 3]})
    assert (a.name, a.seconds, a.turns, a.by, a.faces) == ("A", 3.5, 2, "voice", ())
    assert a.confidence == pytest.approx((2 * 0.9 + 1.5 * 0.6) / 3.5)
    assert (b.name, b.seconds, b.by, b.faces) == ("B", 3.0, "lips", (1, 3))
    assert speaker_facts({SPEAKERS: turn_stream(TURNS, BY, faces={"B": [1, 3]})}) == (a, b)
    assert speaker_facts({}) == () and speaker_facts({"words": words([(0, 1)])}) == ()
    (anna,) = speaker_facts({"words": words([(0, 1), (1, 2)], ["anna", "anna"])})
    assert (anna.name, anna.seconds, anna.by, anna.confidence) == ("anna", 2.0, "words", None)


def test_a_word_is_said_by_whose_turn_it_lies_in_longest() -> None:
    spoken = words([(0.1, 0.5), (1.9, 2.2), (4.6, 4.9), (5.5, 7.0), (9.0, 9.5)])
    assert named(spoken, TURNS).labels["speaker"] == ("A", "B", "B", "A", "A"), "in an overlap the first of two alike; else the nearest"
    assert named(spoken, TURNS).labels["word"] == spoken.labels["word"]
    assert named(spoken, []) is spoken and named(words([]), TURNS).labels["speaker"] == ()


def test_words_that_name_speakers_are_turns() -> None:
    spoken = words([(0, 0.4), (0.5, 1), (1.1, 2), (2.1, 3), (4, 5)], ["anna", "anna", "ben", "", "anna"])
    assert names_speakers(spoken) and not names_speakers(words([(0, 1)])) and not names_speakers(None)
    assert [(t.start, t.end, t.speaker) for t in turns_of_words(spoken)] == [(0, 1, "anna"), (1.1, 2, "ben"), (4, 5, "anna")]


def test_who_speaks_in_a_span() -> None:
    finder = SpeakerFinder({SPEAKERS: turn_stream(TURNS, BY)})

    def who(start: float, end: float) -> object:
        turn = finder.turn(Span(start, end))
        return None if turn is None else (turn.speaker, pytest.approx(turn.confidence, rel=1e-6))

    assert who(0, 2) == ("A", 0.9) and who(1, 4) == ("B", 0.8) and who(6, 7) is None
    assert who(0, 6) == ("A", (2 * 0.9 + 1.5 * 0.6) / 3.5), "over both of A's turns"
    assert SpeakerFinder({}).turn(Span(0, 1)) is None


def test_looking_a_turn_up_is_right_wherever_turns_overlap() -> None:
    random = np.random.default_rng(4)
    turns = [
        Turn(float(a), float(a + b), f"s{k % 3}")
        for k, (a, b) in enumerate(zip(random.uniform(0, 50, 60), random.uniform(0.1, 9, 60), strict=True))
    ]
    spoken = words(sorted((float(a), float(a) + 0.3) for a in random.uniform(0, 60, 80)))
    for start, end, speaker in zip(spoken.start, spoken.end, named(spoken, turns).labels["speaker"], strict=True):
        overlap = [max(0.0, min(end, t.end) - max(start, t.start)) for t in turns]
        if max(overlap) > 0:
            assert any(t.speaker == speaker and o == pytest.approx(max(overlap)) for t, o in zip(turns, overlap, strict=True))
        else:
            gap = [max(t.start - end, start - t.end) for t in turns]
            assert any(t.speaker == speaker and g == pytest.approx(min(gap)) for t, g in zip(turns, gap, strict=True))


def test_utterances_end_where_another_speaker_takes_over() -> None:
    turns = turn_stream([Turn(0, 2, "A"), Turn(2.1, 4, "B"), Turn(4.2, 6, "B"), Turn(9, 10, "A")], BY)
    cut = segment({SPEAKERS: turns}, 12.0)
    assert cut.by == "voice"
    assert [(round(s.start, 3), round(s.end, 3)) for s in cut.spans] == [(0, 2.05), (2.05, 6.2), (8.8, 10.2)]
    spoken = named(words([(0, 1), (1, 2), (2.1, 3), (5, 5.5), (9, 10)]), turns_of(turns))
    cut = segment({"words": spoken, SPEAKERS: turns}, 12.0)
    made = [utterance(span, {"words": spoken, SPEAKERS: turns}) for span in cut.spans]
    assert cut.by == "words" and [(u.text, u.speaker) for u in made] == [("w0 w1", "A"), ("w2", "B"), ("w3", "B"), ("w4", "A")]
    assert changes(turns_of(turns)) == [pytest.approx(2.05), 7.5]


def test_a_speaker_is_read_from_no_other_speaker_s_face() -> None:
    def stream(mine: Mapping[str, Sequence[int]]) -> dict[str, TimedSequence]:
        return {"face": faces([0, 1]), SPEAKERS: turn_stream([Turn(0, 3, "A", "lips", 0.9), Turn(3, 6, "B", "lips", 0.9)], BY, faces=mine)}

    def read(streams: Mapping[str, TimedSequence], span: Span) -> FaceChoice | None:
        return utterance(span, streams, FaceSelector.of(streams, None, None)).face

    both = stream({"A": [1], "B": [0]})
    first, second = read(both, Span(0, 3)), read(both, Span(3, 6))
    assert first is not None and (first.face_id, first.by, first.faces) == (1, "lips", (0, 1))
    assert second is not None and second.face_id == 0
    # B is never seen: the listeners' faces say nothing of B
    off_screen = {**stream({"A": [0, 1]})}
    heard = utterance(Span(3, 6), off_screen, FaceSelector.of(off_screen, None, None))
    assert heard.face is None and not len(heard.streams["face"])
    assert quality(heard, off_screen).reasons["face"] == "speaker B is not seen between 3.00 and 6.00 s"
    # nobody's lips told anything: the largest face is read, as ever
    nothing = read(stream({}), Span(3, 6))
    assert nothing is not None and nothing.by == "size"
    # a face that was asked for is read whoever speaks
    asked = utterance(Span(3, 6), both, FaceSelector.of(both, None, 1)).face
    assert asked is not None and (asked.face_id, asked.by) == (1, "request")


def test_an_unsure_speaker_is_flagged() -> None:
    def flags(confidence: float | None) -> tuple[str, ...]:
        streams = {SPEAKERS: turn_stream([Turn(0, 3, "A", "voice", confidence)], BY)}
        return quality(utterance(Span(0, 3), streams), streams).flags

    assert "unsure_speaker" in flags(0.6) and "unsure_speaker" not in flags(0.8) and "unsure_speaker" not in flags(None)
