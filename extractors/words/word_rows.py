"""The words stream as all its providers fill it: one row per word, its probability, and who said it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emofuse.pipeline.timed import Provenance, TimedSequence

COLUMNS: tuple[str, ...] = ("probability",)
LABELS: tuple[str, ...] = ("word", "speaker")


@dataclass(frozen=True)
class WordRow:
    """One word: seconds on the clip's clock, text as spoken, probability 0..1 (NaN: the provider has none), speaker ("": unknown)."""

    start: float
    end: float
    word: str
    probability: float = math.nan
    speaker: str = ""


def words_stream(rows: Sequence[WordRow], provenance: Provenance, reason: str) -> TimedSequence:
    """Rows in order of time (stable: two words that start together keep their order); `reason` is used where there is none."""
    ordered = sorted(rows, key=lambda row: row.start)
    return TimedSequence(
        name="words",
        columns=COLUMNS,
        values=np.array([[row.probability] for row in ordered], np.float32).reshape(len(ordered), 1),
        start=np.array([row.start for row in ordered], np.float64),
        end=np.array([max(row.start, row.end) for row in ordered], np.float64),
        provenance=provenance,
        labels={"word": tuple(row.word for row in ordered), "speaker": tuple(row.speaker for row in ordered)},
        reason="" if ordered else reason,
    )
