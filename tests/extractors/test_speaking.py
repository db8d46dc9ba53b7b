"""The speaking face on made-up streams whose speaker is known."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.extractors.face.speaking import speaking_face, who_speaks
from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.speaker_face import FaceSelector
from emofuse.pipeline.timed import Provenance, Span, TimedSequence
from emofuse.pipeline.utterances import utterance

COLUMNS = ("FaceRectWidth", "AU25", "AU26", "face_id")
RATE = 25.0
TALK = [Span(1.0, 3.0), Span(5.0, 7.0)]


def lips(moving: list[Span], seconds: float = 8.0, amount: float = 0.3, noise: float = 0.003, seed: int = 0) -> np.ndarray:
    """(n 2) AU25, AU26: 4 openings a second inside `moving`, measurement noise elsewhere."""
    t = (np.arange(int(seconds * RATE)) + 0.5) / RATE
    inside = np.any([(t >= s.start) & (t < s.end) for s in moving], axis=0) if moving else np.zeros(len(t), bool)
    opening = amount * inside * (1 + np.sin(2 * np.pi * 4 * t)) / 2
    return np.stack([opening, opening * 0.7], 1) + np.random.default_rng(seed).normal(0, noise, (len(t), 2))


def stream(*faces: np.ndarray, widths: tuple[float, ...] = (80, 80, 80)) -> TimedSequence:
    rows = []
    for face_id, values in enumerate(faces):
        for i, (au25, au26) in enumerate(values):
            if np.isfinite(au25):
                rows.append((i / RATE, (i + 1) / RATE, widths[face_id], au25, au26, face_id))
    table = np.array(sorted(rows), float).reshape(-1, 6)
    start, end = table[:, 0].copy(), table[:, 1].copy()
    reason = "" if len(table) else "nobody"
    return TimedSequence("face", COLUMNS, table[:, 2:].astype(np.float32), start, end, Provenance("made up", "0"), reason=reason)


@pytest.mark.parametrize("speaker", [0, 1])
def test_the_face_whose_lips_follow_the_voice_speaks(speaker: int) -> None:
    faces = [lips([], seed=1), lips([], seed=2)]
    faces[speaker] = lips(TALK)
    chosen = speaking_face(stream(*faces, widths=(200, 60, 80)), TALK)
    assert chosen is not None
    assert chosen.face_id == speaker
    assert chosen.confidence > 0.7


def test_chewing_through_the_pauses_is_not_speaking() -> None:
    chewing = lips([Span(0.0, 8.0)], amount=0.5)
    chosen = speaking_face(stream(chewing, lips(TALK, amount=0.25)), TALK)
    assert chosen is not None
    assert chosen.face_id == 1


def test_a_voice_over_still_faces_has_no_confident_speaker() -> None:
    chosen = speaking_face(stream(lips([], seed=1), lips([], seed=2)), TALK)
    assert chosen is not None
    assert chosen.confidence < 0.1


def test_two_alike_share_the_confidence() -> None:
    chosen = speaking_face(stream(lips(TALK, seed=1), lips(TALK, seed=2)), TALK)
    assert chosen is not None
    assert 0.35 < chosen.confidence <= 0.5


def test_the_window_decides_between_speakers_who_take_turns() -> None:
    both = stream(lips(TALK[:1]), lips(TALK[1:], seed=2))
    first, second = (speaking_face(both, TALK, Span(a, b)) for a, b in ((0.0, 4.0), (4.0, 8.0)))
    assert first is not None and second is not None
    assert (first.face_id, second.face_id) == (0, 1)


def test_being_seen_for_a_moment_of_the_speech_counts_for_a_moment() -> None:
    glimpse = lips(TALK, amount=0.6)
    glimpse[30:] = np.nan
    chosen = speaking_face(stream(glimpse, lips(TALK)), TALK)
    assert chosen is not None
    assert chosen.face_id == 1


def test_without_voice_the_longest_seen_face_stands_in_without_confidence() -> None:
    brief = lips(TALK)
    brief[50:] = np.nan
    chosen = speaking_face(stream(brief, lips([])), [])
    assert chosen is not None
    assert (chosen.face_id, chosen.confidence) == (1, 0.0)


def test_no_face_gives_none_and_a_missing_column_says_so() -> None:
    assert speaking_face(stream(), TALK) is None
    with pytest.raises(StreamError, match="AU26"):
        speaking_face(stream(lips(TALK)).select(("FaceRectWidth", "AU25", "face_id")), TALK)


def test_fusion_reads_whoever_speaks_in_each_utterance() -> None:
    """Two people take turns, the listener is always shown larger: what an utterance is read from follows the speaker."""
    first, second = lips(TALK[:1], seed=1), lips(TALK[1:], seed=2)
    both = stream(first, second, widths=(60, 120, 0))
    whose = FaceSelector(who_speaks, TALK)
    for span, speaker in ((Span(0.5, 3.5), 0), (Span(4.5, 7.5), 1)):
        piece = utterance(span, {"face": both}, whose)
        assert piece.face is not None and (piece.face.face_id, piece.face.by, piece.face.faces) == (speaker, "lips", (0, 1))
        assert piece.face.confidence is not None and piece.face.confidence > 0.7
        assert set(piece.streams["face"].column("face_id")) == {speaker}
    still = utterance(Span(3.2, 4.8), {"face": both}, whose)
    assert still.face is not None and (still.face.by, still.face.confidence) == ("size", 0.0), "nobody speaks"


def test_nothing_is_said_of_a_stream_without_lips() -> None:
    both = stream(lips(TALK), lips([]))
    assert who_speaks(both.select(("face_id", "FaceRectWidth", "AU26")), TALK, Span(0.0, 8.0)) is None
    assert who_speaks(both, [], Span(0.0, 8.0)) is None
