"""Whether an utterance is like those that a model learned from: the distance of its mean row from theirs.

A model answers what it has never heard as surely as what it knows. So a checkpoint keeps, for each stream, where the mean rows of its
training utterances lay, and how far from there 99 of 100 validation utterances were: what lies farther is called unlike them.
Letters: n rows, c columns, u utterances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import CheckpointError
from emofuse.pipeline.timed import Floats32, Floats64

WITHIN = 0.99
"""Share of the validation utterances that count as like the training's."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """One stream's training utterances, as standardised mean rows.

    mean, deviation  (c) of the utterances' mean rows, column by column
    limit            the distance that 99 of 100 validation utterances stay below
    """

    mean: Floats32
    deviation: Floats32
    limit: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", np.asarray(self.mean, np.float32))
        object.__setattr__(self, "deviation", np.asarray(self.deviation, np.float32))
        if self.mean.shape != self.deviation.shape or self.mean.ndim != 1:
            raise CheckpointError(f"likeness: expected mean and deviation (c), got {self.mean.shape} and {self.deviation.shape}")
        if not (np.isfinite(self.mean).all() and (self.deviation > 0).all() and np.isfinite(self.limit) and self.limit > 0):
            raise CheckpointError("likeness: expected finite means, positive deviations and a positive limit")

    @classmethod
    def fit(cls, training: Sequence[Floats32], validation: Sequence[Floats32]) -> Likeness:
        """From the standardised rows (n c) of utterances of the training and of validation; NaN is not measured."""
        means = np.stack([mean_row(rows) for rows in training])
        with np.errstate(invalid="ignore"):
            mean, deviation = np.nanmean(means, axis=0), np.maximum(np.nanstd(means, axis=0), 1e-3)
        whole = cls(np.nan_to_num(mean).astype(np.float32), np.nan_to_num(deviation, nan=1.0).astype(np.float32), 1.0)
        return cls(whole.mean, whole.deviation, round(float(np.quantile([whole.distance(rows) for rows in validation], WITHIN)), 4))

    def distance(self, rows: Floats32) -> float:
        """Of standardised rows (n c): root mean square of the mean row's deviations, measured columns only; 0 where there is none."""
        off = (mean_row(rows) - self.mean) / self.deviation
        measured = off[np.isfinite(off)]
        return float(np.sqrt((measured**2).mean())) if len(measured) else 0.0

    def unlike(self, rows: Floats32) -> float:
        """The distance in units of the limit: above 1 the utterance, standardised rows (n c), is unlike the training's."""
        return self.distance(rows) / self.limit


def mean_row(rows: NDArray[np.floating]) -> Floats64:
    """(n c) -> (c), NaN left out; NaN where a column is not measured."""
    measured = np.isfinite(rows)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(measured, rows, 0.0).sum(0, dtype=np.float64) / np.where(measured.any(0), measured.sum(0), np.nan))
