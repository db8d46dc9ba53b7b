"""Which of several faces is speaking: lips that move while there is voice, and rest while there is none.

A pure function over any provider's face stream with AU25 (lips apart), AU26 (jaw drop) and `face_id`. It is a rule, not a trained
model: a face that chews through the pauses scores little, an off-screen voice over a still face gets a confidence near zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.timed import Floats64, Span, TimedSequence

LIPS = ("AU25", "AU26")
STILL = 0.4
"""Lip movement, in activations per second, of a mouth that says nothing: the noise of the measurement."""
LONGEST_STEP = 0.25
"""Seconds between two rows of a face over which a change still counts as movement."""


@dataclass(frozen=True)
class SpeakingFace:
    """The face chosen, and how sure that is.

    face_id     the face with the highest score; where no lips follow the voice, the one seen longest (then the largest)
    confidence  0..1: best / (best + second + STILL): near 1 for one clear speaker, at most 1/2 for two alike, 0 for none
    scores      face -> movement with voice minus movement without, per second, times the share of the voice in which it was seen
    """

    face_id: int
    confidence: float
    scores: Mapping[int, float]


def _voiced(middle: Floats64, voiced: Sequence[Span]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    inside = np.zeros(len(middle), bool)
    for span in voiced:
        inside |= (middle >= span.start) & (middle < span.end)
    return inside


def speaking_face(face: TimedSequence, voiced: Sequence[Span], within: Span | None = None) -> SpeakingFace | None:
    """The speaking face in `within` (the whole stream if None), given where there is voice; None where there is no face at all.

    Raises `StreamError` if the stream lacks AU25, AU26 or face_id.
    """
    if within is not None:
        face = face.rows(face.inside(within), "no face here")
    if not len(face):
        return None
    columns = face.select((*LIPS, "face_id", "FaceRectWidth"))
    ids = columns.values[:, 2].astype(int)
    if not np.isfinite(columns.values[:, 2]).all():
        raise StreamError("face: expected a face_id in every row, got NaN")
    spans = [Span(max(s.start, within.start), min(s.end, within.end)) for s in voiced if s.overlap(within) > 0] if within else voiced
    voice = sum(s.duration for s in spans)
    scores: dict[int, float] = {}
    for identity in np.unique(ids).tolist():
        mine = np.flatnonzero(ids == identity)
        middle = (face.start[mine] + face.end[mine]) / 2
        step = np.diff(middle)
        moved = np.abs(np.diff(columns.values[mine, :2].astype(np.float64), axis=0)).sum(1)
        usable = (step > 0) & (step <= LONGEST_STEP) & np.isfinite(moved)
        with_voice = _voiced((middle[:-1] + middle[1:]) / 2, spans)

        def rate(these: np.ndarray[tuple[int], np.dtype[np.bool_]], moved: Floats64 = moved, step: Floats64 = step) -> float:
            return float(moved[these].sum() / step[these].sum()) if these.any() else 0.0

        seen = float(step[usable & with_voice].sum()) / voice if voice > 0 else 0.0
        scores[identity] = max(0.0, rate(usable & with_voice) - rate(usable & ~with_voice)) * min(1.0, seen)
    if max(scores.values()) == 0:
        longest = max(scores, key=lambda i: ((ids == i).sum(), np.nanmedian(columns.values[ids == i, 3])))
        return SpeakingFace(int(longest), 0.0, scores)
    ranked = sorted(scores, key=lambda i: -scores[i])
    best = scores[ranked[0]]
    second = scores[ranked[1]] if len(ranked) > 1 else 0.0
    return SpeakingFace(int(ranked[0]), best / (best + second + STILL), scores)


def who_speaks(face: TimedSequence, voiced: Sequence[Span], within: Span) -> tuple[int, float] | None:
    """`speaking_face` as the pipeline asks for it: face_id and confidence; None for a stream whose lips or faces are not measured."""
    if not {*LIPS, "face_id", "FaceRectWidth"} <= set(face.columns) or not voiced:
        return None
    chosen = speaking_face(face, voiced, within)
    return None if chosen is None else (chosen.face_id, chosen.confidence)
