"""Whose face an utterance is read from: the chooser's word, the largest face without one, the face asked for; and what is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.quality import quality
from emofuse.pipeline.results import FaceChoice
from emofuse.pipeline.speaker_face import FaceSelector, active_rows, voiced_spans
from emofuse.pipeline.timed import Provenance, Span, TimedSequence
from emofuse.pipeline.utterances import utterance

BY = Provenance("test", "1")
SPAN = Span(0.0, 1.0)


def faces(sizes: dict[int, float], n: int = 20) -> TimedSequence:
    """n frames of 0.05 s, each face of this size in all of them."""
    rows = [(i * 0.05, identity, size) for i in range(n) for identity, size in sizes.items()]
    start = np.array([t for t, _, _ in rows])
    values = np.array([[identity, size, size] for _, identity, size in rows], np.float32)
    return TimedSequence("face", ("face_id", "FaceRectWidth", "FaceRectHeight"), values, start, start + 0.05, BY)


def seconds(first: int, last: int, step: float = 0.1) -> NDArray[np.float64]:
    return np.asarray(np.arange(first, last) * step, np.float64)


class Says:
    """A chooser that always says the same, and remembers what it was asked."""

    def __init__(self, answer: tuple[int, float] | None) -> None:
        self.answer, self.asked = answer, 0

    def __call__(self, face: TimedSequence, voiced: Sequence[Span], within: Span) -> tuple[int, float] | None:
        assert len(np.unique(face.column("face_id"))) > 1 and within == SPAN
        self.asked += 1
        return self.answer


def test_the_chooser_s_face_is_read_and_its_confidence_kept() -> None:
    stream = faces({0: 90, 1: 40})
    piece = utterance(SPAN, {"face": stream}, FaceSelector(Says((1, 0.8))))
    assert piece.face == FaceChoice(1, "lips", 0.8, (0, 1))
    assert set(piece.streams["face"].column("face_id")) == {1}
    assert len(stream) == 40, "all faces stay in the stream"
    assert quality(piece, {"face": stream}).flags == ("no_text", "no_voice", "several_faces")


def test_an_unsure_choice_is_flagged_with_its_reason() -> None:
    stream = faces({0: 90, 1: 40})
    facts = quality(utterance(SPAN, {"face": stream}, FaceSelector(Says((1, 0.3)))), {"face": stream})
    assert "unsure_face" in facts.flags
    assert facts.reasons["face"] == "which of 2 faces speaks is unsure (confidence 0.30)"


@pytest.mark.parametrize("answer", [None, (1, 0.0)])
def test_where_lips_tell_nothing_the_largest_face_is_read(answer: tuple[int, float] | None) -> None:
    stream = faces({0: 40, 1: 30, 2: 90})
    piece = utterance(SPAN, {"face": stream}, FaceSelector(Says(answer)))
    assert piece.face == FaceChoice(2, "size", None if answer is None else 0.0, (0, 1, 2))
    assert set(piece.streams["face"].column("face_id")) == {2}


def test_with_one_face_nobody_is_asked() -> None:
    says = Says((1, 0.8))
    piece = utterance(SPAN, {"face": faces({0: 40})}, FaceSelector(says))
    assert piece.face == FaceChoice(0, "only", None, (0,))
    assert says.asked == 0 and len(piece.streams["face"]) == 20
    without = TimedSequence("face", ("AU12",), np.ones((3, 1), np.float32), seconds(0, 3), seconds(1, 4), BY)
    assert len(utterance(SPAN, {"face": without}).streams["face"]) == 3, "a stream that numbers no faces is read whole"


def test_a_face_asked_for_is_read_and_no_other() -> None:
    stream = faces({0: 90, 1: 40}, n=10)
    says = Says((0, 0.9))
    whose = FaceSelector.of({"face": stream}, says, 1)
    piece = utterance(SPAN, {"face": stream}, whose)
    assert piece.face == FaceChoice(1, "request", None, (0, 1)) and says.asked == 0
    assert set(piece.streams["face"].column("face_id")) == {1}
    later = utterance(Span(0.5, 1.0), {"face": stream}, whose)
    assert later.face is None and "face 1 is not seen between 0.50 and 1.00 s" in later.streams["face"].reason


def test_a_face_that_does_not_exist_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"^face 7: expected one of the clip's faces \(0, 1\)$"):
        FaceSelector.of({"face": faces({0: 90, 1: 40})}, None, 7)
    with pytest.raises(UsageError, match="it has none"):
        FaceSelector.of({}, None, 0)


def test_voice_is_where_words_are_else_where_it_is_loud() -> None:
    times = np.array([[0.0, 0.4], [0.5, 1.0], [2.0, 2.5]])
    words = TimedSequence("words", ("probability",), np.ones((3, 1), np.float32), times[:, 0], times[:, 1], BY)
    start = seconds(0, 300, 0.01)
    loud = np.where((start >= 1.0) & (start < 2.0), 0.3, 0.001).astype(np.float32)
    voice = TimedSequence("voice", ("rms",), loud[:, None], start, seconds(1, 301, 0.01), BY)
    assert voiced_spans({"words": words, "voice": voice}) == (Span(0.0, 1.0), Span(2.0, 2.5))
    (span,) = voiced_spans({"voice": voice})
    assert (span.start, span.end) == pytest.approx((1.0, 2.0))
    assert voiced_spans({}) == ()


def test_a_voice_without_loudness_is_active_where_it_is_voiced() -> None:
    start = np.arange(4, dtype=np.float64)
    values = np.array([[0.0], [0.5], [0.51], [np.nan]], np.float32)
    voice = TimedSequence("voice", ("VUV",), values, start, start + 1, Provenance("test", "1"))
    assert active_rows(voice).tolist() == [2]
    assert active_rows(replace(voice, columns=("F0",))).tolist() == []
