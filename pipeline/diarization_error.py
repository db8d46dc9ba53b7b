"""How wrong an account of who speaks when is: the diarization error rate (DER) of NIST's Rich Transcription evaluations.

    DER = (missed + false alarm + confusion) / seconds of speech in the reference

Where two speak at once, each counts (so DER can be above 1). Speakers of reference and hypothesis are matched one to one so that they
agree longest (NIST RT-09 evaluation plan, section 6; pyannote.metrics computes the same). Nothing is sampled: time is cut where a turn of
either begins or ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from .errors import MetricError
from .turns import Turn


@dataclass(frozen=True)
class DiarizationError:
    """Seconds of each kind of error, and of speech in the reference."""

    missed: float
    false_alarm: float
    confusion: float
    speech: float

    @property
    def rate(self) -> float:
        """DER, 0 and up."""
        return (self.missed + self.false_alarm + self.confusion) / self.speech

    def __add__(self, other: DiarizationError) -> DiarizationError:
        """Both recordings together: seconds add up, so that long recordings weigh more."""
        return DiarizationError(
            self.missed + other.missed,
            self.false_alarm + other.false_alarm,
            self.confusion + other.confusion,
            self.speech + other.speech,
        )


def diarization_error(reference: Sequence[Turn], hypothesis: Sequence[Turn], *, collar: float = 0.0) -> DiarizationError:
    """The errors of `hypothesis`; `collar` seconds on either side of each border of a reference turn do not count.

    A speaker's own overlapping turns count once. Raises `MetricError` for a reference without speech outside of the collars.
    """
    borders = np.unique([t for turn in (*reference, *hypothesis) for t in (turn.start, turn.end)])
    edges = np.unique([t for turn in reference for t in (turn.start, turn.end)])
    if collar > 0:
        borders = np.unique(np.concatenate([borders, edges - collar, edges + collar]))
    middle, length = (borders[:-1] + borders[1:]) / 2, np.diff(borders)
    if collar > 0 and len(edges) and len(middle):
        nearest = np.abs(middle[:, None] - edges).min(1)
        length = np.where(nearest < collar, 0.0, length)
    true, guessed = _speaking(reference, middle), _speaking(hypothesis, middle)  # (speakers, pieces)
    speech = float((true.sum(0) * length).sum())
    if speech <= 0:
        raise MetricError(
            f"diarization error: expected a reference with speech, got {len(reference)} turns and none outside of the collars"
        )
    together = (true * length) @ guessed.T  # seconds in which both speak, (reference, hypothesis)
    pairs = linear_sum_assignment(together, maximize=True)
    agreed = float(together[pairs].sum())
    count, guesses = true.sum(0), guessed.sum(0)
    missed = float((np.maximum(count - guesses, 0) * length).sum())
    false_alarm = float((np.maximum(guesses - count, 0) * length).sum())
    confusion = float((np.minimum(count, guesses) * length).sum()) - agreed
    return DiarizationError(missed, false_alarm, max(0.0, confusion), speech)


def _speaking(
    turns: Sequence[Turn], middle: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int, int], np.dtype[np.int_]]:
    """(speakers, pieces) 1 where a speaker speaks in a piece."""
    names = sorted({turn.speaker for turn in turns})
    speaking = np.zeros((len(names), len(middle)), int)
    for turn in turns:
        speaking[names.index(turn.speaker), (middle > turn.start) & (middle < turn.end)] = 1
    return speaking
