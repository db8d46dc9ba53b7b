"""Utterances as tensors: each stream padded to its longest, with a mask of what is present and each row's time in seconds.

Letters: b utterances, n rows (padded), f columns. A stream keeps its own rate and its own n. `present` is True where a row is real;
what stands in absent rows is never read. Padding may stand on either side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.timed import Floats32, TimedSequence


@dataclass(frozen=True, eq=False)
class Batch:
    """One stream of several utterances.

    values   (b n f) float, standardised
    times    (b n) float64 seconds on the clip's clock: the middle of each row
    present  (b n) bool, True = a real row

    n is at least 1: where no utterance has a row, one absent row stands there. Raises `StreamError` if the shapes disagree.
    """

    values: Tensor
    times: Tensor
    present: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape[:2])
        if self.values.dim() != 3 or tuple(self.times.shape) != shape or tuple(self.present.shape) != shape or shape[1] == 0:
            shapes = f"{tuple(self.values.shape)}, {tuple(self.times.shape)} and {tuple(self.present.shape)}"
            raise StreamError(f"batch: expected values (b, n, f), times (b, n) and present (b, n) with n >= 1, got {shapes}")
        if self.present.dtype != torch.bool:
            raise StreamError(f"batch: expected present as bool, got {self.present.dtype}")

    def to(self, device: torch.device | str) -> Batch:
        return Batch(self.values.to(device), self.times.to(device), self.present.to(device))

    @classmethod
    def of(
        cls,
        sequences: Sequence[TimedSequence],
        scaling: Scaling | None = None,
        side: Literal["right", "left"] = "right",
    ) -> Batch:
        """Pads one stream of several utterances to the longest. `scaling` standardises the columns; NaN (not measured) becomes 0, which
        after standardisation is the training mean. Raises `StreamError` where the utterances' columns differ."""
        columns = sequences[0].columns
        for sequence in sequences:
            if sequence.columns != columns:
                raise StreamError(
                    f"{sequence.name}: utterances of one batch must share columns, got {len(columns)} and {len(sequence.columns)}"
                )
        n = max(1, *(len(s) for s in sequences))
        values = np.zeros((len(sequences), n, len(columns)), np.float32)
        times = np.zeros((len(sequences), n), np.float64)
        present = np.zeros((len(sequences), n), bool)
        for b, sequence in enumerate(sequences):
            rows = slice(0, len(sequence)) if side == "right" else slice(n - len(sequence), n)
            scaled = scaling.apply(sequence.values) if scaling else sequence.values
            values[b, rows] = np.nan_to_num(scaled, nan=0.0)
            times[b, rows] = (sequence.start + sequence.end) / 2
            present[b, rows] = True
        return cls(torch.from_numpy(values), torch.from_numpy(times), torch.from_numpy(present))


@dataclass(frozen=True, eq=False)
class Scaling:
    """Per-column mean and standard deviation (f) of the training rows; values are cut at 5 deviations (a broken frame must not rule)."""

    mean: Floats32
    deviation: Floats32
    limit: float = 5.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", np.asarray(self.mean, np.float32))
        object.__setattr__(self, "deviation", np.asarray(self.deviation, np.float32))
        if self.mean.shape != self.deviation.shape or self.mean.ndim != 1:
            raise StreamError(f"scaling: expected mean and deviation (f), got {self.mean.shape} and {self.deviation.shape}")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.deviation).all() and (self.deviation > 0).all()):
            raise StreamError("scaling: expected finite means and positive deviations")

    @classmethod
    def fit(cls, rows: Floats32) -> Scaling:
        """From training rows (n f); NaN are left out; a constant column keeps a deviation of 1."""
        rows64 = rows.astype(np.float64)
        measured = ~np.isnan(rows64)
        count = np.maximum(measured.sum(0), 1)
        mean = np.where(measured, rows64, 0).sum(0) / count
        deviation = np.sqrt((np.where(measured, rows64 - mean, 0) ** 2).sum(0) / count)
        return cls(mean.astype(np.float32), np.where(deviation > 1e-6, deviation, 1).astype(np.float32))

    def apply(self, values: Floats32) -> Floats32:
        """(n f) -> (n f): less the mean, in deviations, cut at `limit`; NaN stays NaN."""
        scaled: Floats32 = np.clip((values - self.mean) / self.deviation, -self.limit, self.limit)
        return scaled


def origin(streams: Mapping[str, Batch]) -> Tensor:
    """(b 1) float64 seconds: the earliest present time of each utterance over all streams, 0 where nothing is present.

    Positions count from here, so shifting a whole utterance in time changes nothing.
    """
    earliest = torch.stack([s.times.masked_fill(~s.present, torch.inf).amin(1) for s in streams.values()]).amin(0)
    return torch.where(torch.isinf(earliest), torch.zeros_like(earliest), earliest)[:, None]


def same_size(streams: Mapping[str, Batch], wanted: Mapping[str, int]) -> None:
    """Raises `StreamError` unless exactly the wanted streams are there (name -> columns), all with the same number of utterances."""
    widths = {name: int(batch.values.shape[2]) for name, batch in streams.items()}
    if widths != dict(wanted):
        raise StreamError(f"batch: the model wants streams and columns {dict(wanted)}, got {widths}")
    sizes = {int(batch.values.shape[0]) for batch in streams.values()}
    if len(sizes) != 1:
        raise StreamError(f"batch: streams hold different numbers of utterances: {sorted(sizes)}")
