"""What is usual for a person, so that a model can read how far a moment departs from it.

One person's calm voice is another's sad one, and a face at rest may frown. A `Tally` sums up a person's utterances of one stream, column
by column; its `usual` is their mean and spread, and how far they may be trusted: n utterances are believed n / (n + 2), and what a
model learned of everybody the rest. `deviation` moves rows by that share of the person's difference from everybody. Nobody is
recognised here: who is one person, and which utterances count, the caller says.

An utterance's own rows never count towards its own baseline (`without`). Letters: n rows, c columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .errors import StreamError
from .timed import Floats32, Floats64, TimedSequence

SHRINKAGE = 2.0
"""Utterances that weigh as much as what the model knows of everybody."""
WHOLE_SECONDS = 1.0
"""An utterance in which a column was measured for less counts as that share of an utterance."""


@dataclass(frozen=True, eq=False)
class Usual:
    """What is usual for a person in one stream.

    share   (c) 0..1: how far it is believed; 0 where nothing was measured
    mean    (c) of the utterances' means; NaN where nothing was measured
    spread  (c) standard deviation of the rows, each utterance counting the same; NaN where nothing was measured
    """

    columns: tuple[str, ...]
    share: Floats64
    mean: Floats64
    spread: Floats64


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums over a person's utterances of one stream, from which utterances can be taken away again.

    utterances  (c) how many measured the column; short ones count in part
    total       (c) sum of their means, weighted so
    squares     (c) sum of their mean squares, weighted so
    seconds     of all rows
    """

    columns: tuple[str, ...]
    utterances: Floats64
    total: Floats64
    squares: Floats64
    seconds: float = 0.0

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.utterances, self.total, self.squares)}
        if shapes != {(len(self.columns),)}:
            raise StreamError(f"baseline: expected one number for each of {len(self.columns)} columns, got {sorted(shapes)}")

    @classmethod
    def nothing(cls, columns: Sequence[str]) -> Tally:
        none = np.zeros(len(columns))
        return cls(tuple(columns), none, none, none)

    @classmethod
    def of(cls, utterance: TimedSequence) -> Tally:
        """One utterance's rows (n c): NaN, and columns without a measured row, do not count."""
        values = utterance.values.astype(np.float64)
        measured = np.isfinite(values)
        width = (utterance.end - utterance.start)[:, None]
        heard = (measured * width).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(measured, values * width, 0).sum(0) / heard
            square = np.where(measured, values**2 * width, 0).sum(0) / heard
        weight = np.minimum(heard / WHOLE_SECONDS, 1.0)
        known = heard > 0
        return cls(
            utterance.columns,
            np.where(known, weight, 0.0),
            np.where(known, np.nan_to_num(mean) * weight, 0.0),
            np.where(known, np.nan_to_num(square) * weight, 0.0),
            float(width.sum()),
        )

    @classmethod
    def all_of(cls, columns: Sequence[str], tallies: Iterable[Tally]) -> Tally:
        """All together; their order changes no more than the last digit."""
        total = cls.nothing(columns)
        for tally in tallies:
            total = total.along_with(tally)
        return total

    def along_with(self, other: Tally) -> Tally:
        """Both; raises `StreamError` where the columns differ."""
        self._like(other)
        return Tally(
            self.columns,
            self.utterances + other.utterances,
            self.total + other.total,
            self.squares + other.squares,
            self.seconds + other.seconds,
        )

    def without(self, other: Tally) -> Tally:
        """Less one that was counted; raises `StreamError` where the columns differ."""
        self._like(other)
        utterances = self.utterances - other.utterances
        left = utterances > 1e-9  # less is the rounding of a difference
        return Tally(
            self.columns,
            np.where(left, utterances, 0.0),
            np.where(left, self.total - other.total, 0.0),
            np.where(left, self.squares - other.squares, 0.0),
            max(0.0, self.seconds - other.seconds),
        )

    def usual(self) -> Usual:
        """Mean, spread and how far to believe them: n / (n + 2), column by column."""
        known = self.utterances > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(known, self.total / self.utterances, np.nan)
            spread = np.sqrt(np.maximum(np.where(known, self.squares / self.utterances, np.nan) - mean**2, 0.0))
        return Usual(self.columns, self.utterances / (self.utterances + SHRINKAGE), mean, spread)

    def _like(self, other: Tally) -> None:
        if self.columns != other.columns:
            raise StreamError(f"baseline: expected the columns {self.columns[:3]}..., got {other.columns[:3]}...")


def deviation(rows: TimedSequence, usual: Usual, everybody: NDArray[np.floating]) -> TimedSequence:
    """The rows moved by `share` of the person's difference from everybody (c), the training rows' mean: what a model standardises
    afterwards. With nothing known of the person they stay as they are; with much, the person's mean becomes everybody's. Raises
    `StreamError` where the columns differ."""
    if rows.columns != usual.columns or len(everybody) != len(usual.columns):
        raise StreamError(f"{rows.name}: a baseline of {len(usual.columns)} columns does not fit rows of {len(rows.columns)} columns")
    moved = np.where(usual.share > 0, usual.share * (np.nan_to_num(usual.mean) - everybody), 0.0)
    values: Floats32 = (rows.values - moved).astype(np.float32)
    return replace(rows, values=values)
