"""Whose face an utterance is read from, where several are in view: the one that speaks, if its lips tell.

Who speaks is a question to a `FaceChooser`, handed in from above; without one, or where it has nothing to say, the face shown largest
is read. Where lips told who speaks (turns.py), a speaker is read from no other speaker's face. A face asked for by its number is read
wherever it is in view, and no other. All faces stay in the stream.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .ports import FaceChooser
from .results import FaceChoice
from .speech import SPEECH
from .timed import Span, TimedSequence
from .turns import speaker_facts

JOINED = 0.2
"""Seconds: shorter pauses between words or voiced rows count as voice; lips move through the closure of a consonant."""


@dataclass(frozen=True)
class FaceSelector:
    """How a face is picked: by whom, where there is voice, or by its number.

    chooser  says who speaks
    voiced   where there is voice in the clip
    face_id  read this face only
    faces_of speaker -> the faces whose lips move with that voice
    """

    chooser: FaceChooser | None = None
    voiced: Sequence[Span] = ()
    face_id: int | None = None
    faces_of: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, streams: Mapping[str, TimedSequence], chooser: FaceChooser | None, face_id: int | None) -> FaceSelector:
        """For a clip's streams; raises `UsageError` for a `face_id` that is in none of its frames."""
        if face_id is not None:
            face = streams.get("face")
            known = np.unique(face.column("face_id")).astype(int).tolist() if face is not None and "face_id" in face.columns else []
            if face_id not in known:
                raise UsageError(f"face {face_id}: expected one of the clip's faces ({', '.join(map(str, known)) or 'it has none'})")
        faces_of = {facts.name: facts.faces for facts in speaker_facts(streams)}
        return cls(chooser, voiced_spans(streams), face_id, faces_of)

    def rows(
        self, face: TimedSequence, index: NDArray[np.intp], span: Span, speaker: str = ""
    ) -> tuple[NDArray[np.intp], FaceChoice | None]:
        """Of the rows `index` (n), those (k) of the chosen face, and the choice (None where there is no face, or none of the speaker's)."""
        if not len(index) or "face_id" not in face.columns:
            return index, None
        identity = face.column("face_id", index).astype(int)
        faces = tuple(np.unique(identity).tolist())
        if self.face_id is not None:
            if self.face_id not in faces:
                return index[:0], None
            return np.asarray(index[identity == self.face_id], np.intp), FaceChoice(self.face_id, "request", None, faces)
        theirs = self._faces_of(speaker, faces)
        index = np.asarray(index[np.isin(identity, theirs)], np.intp)
        if not len(index):
            return index, None
        if len(faces) == 1:
            return index, FaceChoice(faces[0], "only", None, faces)
        by_lips = self.chooser(face.rows(index, "no face"), self._voiced_near(span), span) if self.chooser is not None else None
        if by_lips is not None and by_lips[1] > 0:
            choice = FaceChoice(by_lips[0], "lips", by_lips[1], faces)
        elif len(theirs) == 1:
            choice = FaceChoice(theirs[0], "lips", None, faces)  # they moved with this voice elsewhere
        else:
            choice = FaceChoice(largest_face(face, index), "size", None if by_lips is None else 0.0, faces)
        return np.asarray(index[face.column("face_id", index).astype(int) == choice.face_id], np.intp), choice

    def _faces_of(self, speaker: str, faces: tuple[int, ...]) -> list[int]:
        """Of the faces in view those that may be the speaker's: no other speaker's."""
        own = self.faces_of.get(speaker, ())
        others = {number for name, numbers in self.faces_of.items() if name != speaker for number in numbers}
        return [number for number in faces if number in own or not speaker or number not in others]

    def _voiced_near(self, span: Span) -> Sequence[Span]:
        """Where there is voice in a span; where there is none, voice elsewhere: it is not that the clip has no voice."""
        first = bisect_right(self.voiced, span.start, key=lambda s: s.end)
        last = bisect_left(self.voiced, span.end, key=lambda s: s.start)
        return self.voiced[first:last] or self.voiced[:1]


def largest_face(face: TimedSequence, index: NDArray[np.intp]) -> int:
    """Of the faces in the rows `index` (n), the one whose boxes cover the most area in total."""
    identity = face.column("face_id", index).astype(int)
    area = np.ones(len(index), np.float32)
    if {"FaceRectWidth", "FaceRectHeight"} <= set(face.columns):
        area = np.nan_to_num(face.column("FaceRectWidth", index) * face.column("FaceRectHeight", index))
    return int(max(np.unique(identity).tolist(), key=lambda one: float(area[identity == one].sum())))


def active_rows(voice: TimedSequence) -> NDArray[np.intp]:
    """Indices (k) of a voice stream's rows with voice in them: loud ones (well above the quietest tenth), else those called voiced."""
    if not len(voice):
        return np.zeros(0, np.intp)
    if "rms" in voice.columns:
        rms = np.nan_to_num(voice.column("rms"))
        return np.flatnonzero(rms > max(float(np.percentile(rms, 10)) * 3, float(rms.max()) * 0.05, 1e-3))
    if "VUV" in voice.columns:
        return np.flatnonzero(np.nan_to_num(voice.column("VUV")) > 0.5)
    return np.zeros(0, np.intp)


def voiced_spans(streams: Mapping[str, TimedSequence]) -> tuple[Span, ...]:
    """Where somebody speaks: the words, else the speech that was heard, else the active rows of the voice; over short pauses."""
    words, speech, voice = streams.get("words"), streams.get(SPEECH), streams.get("voice")
    if words is not None and len(words):
        start, end = words.start, words.end
    elif speech is not None and len(speech):
        start, end = speech.start, speech.end
    elif voice is not None and len(voice):
        rows = active_rows(voice)
        start, end = voice.start[rows], voice.end[rows]
    else:
        return ()
    if not len(start):
        return ()
    latest = np.maximum.accumulate(end)
    first = np.flatnonzero(np.concatenate([[True], start[1:] - latest[:-1] >= JOINED])[: len(start)])
    last = np.append(first[1:], len(start)) - 1
    return tuple(Span(a, b) for a, b in zip(start[first].tolist(), latest[last].tolist(), strict=True))
