"""What the faces in view say of who speaks in a stretch of speech: the one whose lips move with the voice (face/speaking.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from emofuse.pipeline.timed import Span, TimedSequence

from ..face.speaking import who_speaks

SURE = 0.5
"""Confidence from which lips decide where several faces are in view."""
SURE_ALONE = 0.7
"""The same for the only face in view: whoever is not in view may speak while it chews or smiles."""
SHORTEST = 1.0
"""Seconds of speech, of all stretches, below which a face is not a speaker's."""


@dataclass(frozen=True)
class Lips:
    """What lips say.

    chosen  for each stretch the face that speaks and how sure that is, None where lips do not tell
    apart   pairs of faces that are in view at the same time: two people
    """

    chosen: tuple[tuple[int, float] | None, ...]
    apart: frozenset[tuple[int, int]]

    @property
    def stretches(self) -> dict[int, list[int]]:
        """Face -> indices of its stretches."""
        of_face: dict[int, list[int]] = {}
        for k, choice in enumerate(self.chosen):
            if choice is not None:
                of_face.setdefault(choice[0], []).append(k)
        return of_face


def read_lips(face: TimedSequence | None, stretches: Sequence[Span]) -> Lips:
    """Whose lips move in each stretch; nobody's where the clip has no faces, or its provider does not measure lips."""
    if face is None or not len(face) or "face_id" not in face.columns:
        return Lips((None,) * len(stretches), frozenset())
    chosen: list[tuple[int, float] | None] = []
    apart: set[tuple[int, int]] = set()
    for span in stretches:
        index = face.inside(span)
        faces = np.unique(face.column("face_id", index)).astype(int).tolist() if len(index) else []
        choice = who_speaks(face.rows(index, "no face"), [span], span) if faces else None
        needed = SURE if len(faces) > 1 else SURE_ALONE
        chosen.append(choice if choice is not None and choice[1] >= needed else None)
        apart |= {pair for pair in combinations(faces, 2) if _at_once(face, index, *pair)}
    seconds: dict[int, float] = {}
    for choice, span in zip(chosen, stretches, strict=True):
        if choice is not None:
            seconds[choice[0]] = seconds.get(choice[0], 0.0) + span.duration
    kept = tuple(choice if choice is not None and seconds[choice[0]] >= SHORTEST else None for choice in chosen)
    return Lips(kept, frozenset(apart))


def _at_once(face: TimedSequence, index: np.ndarray[tuple[int], np.dtype[np.intp]], one: int, other: int) -> bool:
    """Whether two faces are in one frame."""
    numbers, start = face.column("face_id", index), face.start[index]
    return bool(len(np.intersect1d(start[numbers == one], start[numbers == other])))
