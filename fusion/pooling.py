"""Rows in groups: what preparations are made of.

Letters: n rows of a stream, m groups, f or k columns. NaN is "not measured" and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.timed import Floats64, TimedSequence

Floats = NDArray[np.floating[Any]]
Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Prepared:
    """rows: what the model reads (m rows); member (n): into which of them each row of the stream went; count (m): how many each took."""

    rows: TimedSequence
    member: Index
    count: Index


class Preparation(Protocol):
    """How a model's rows are made of a stream's: `made` names their columns, given the columns read, and `prepare` makes them."""

    def made(self, read: Sequence[str]) -> tuple[str, ...]: ...
    def prepare(self, stream: TimedSequence) -> Prepared: ...


@dataclass(frozen=True)
class AsItIs:
    """Every row, every column."""

    def made(self, read: Sequence[str]) -> tuple[str, ...]:
        return tuple(read)

    def prepare(self, stream: TimedSequence) -> Prepared:
        n = len(stream)
        return Prepared(stream, np.arange(n), np.ones(n, np.intp))


@dataclass(frozen=True, eq=False)
class Pools:
    """Rows in groups, in order: first (m) row of each group; member (n); count (m)."""

    first: Index
    member: Index
    count: Index

    @classmethod
    def of(cls, middle: Floats64, step: float) -> Pools:
        """Groups of about `step` seconds of rows whose middles (n) are in seconds; the groups are equally long.

        A short one at the end would give its few rows the attention of a whole group. A group without a row does not exist.
        """
        if not len(middle):
            nothing = np.zeros(0, np.intp)
            return cls(nothing, nothing, nothing)
        length = middle[-1] - middle[0] + (float(np.median(np.diff(middle))) if len(middle) > 1 else 0.0)
        width = length / max(1, int(length / step + 0.5 + 1e-6)) or step  # the hair: a clock's rounding must not add a group
        slot = np.floor((middle - middle[0]) / width + 1e-6).astype(np.intp)
        new = np.concatenate([[True], np.diff(slot) != 0])
        first = np.flatnonzero(new)
        member = np.cumsum(new) - 1
        return cls(first, member, np.diff(np.concatenate([first, [len(middle)]])))

    def mean(self, values: Floats, use: NDArray[np.bool_] | None = None) -> Floats64:
        """(n f) -> (m f): the mean of each group's finite values, of the rows in `use` (n); NaN where there is none."""
        known = np.isfinite(values) if use is None else np.isfinite(values) & use[:, None]
        total = np.add.reduceat(np.where(known, values, 0).astype(np.float64), self.first, axis=0)
        number = np.add.reduceat(known.astype(np.float64), self.first, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(number > 0, total / number, np.nan)


def repeated(values: Floats, rows: int) -> Floats64:
    """(k) the same in every row: (rows k)."""
    return np.broadcast_to(np.asarray(values, np.float64), (rows, len(values)))


def change(rows: Floats64) -> Floats64:
    """(m k) half the difference of the next and the last row; at the ends of what is there."""
    return np.gradient(rows, axis=0) if len(rows) > 1 else np.zeros_like(rows)


def quantiles(values: Floats, shares: Sequence[float]) -> Floats64:
    """(n k) -> (len(shares) k), NaN left out; NaN where nothing is measured."""
    quantiles = np.full((len(shares), values.shape[1]), np.nan)
    measured = np.isfinite(values).any(0)
    if np.isfinite(values).all() and len(values):
        quantiles[:] = np.quantile(values, shares, axis=0)  # the same numbers as below, all columns at once
    elif measured.any():
        quantiles[:, measured] = np.nanquantile(values[:, measured], shares, axis=0)
    return quantiles


def nan_mean(values: Floats64) -> Floats64:
    """(n k) -> (k); NaN where nothing is measured."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan))


def nan_deviation(values: Floats64) -> Floats64:
    """(n k) -> (k): standard deviation of what is measured; NaN where nothing is."""
    return np.asarray(np.sqrt(nan_mean((values - nan_mean(values)) ** 2)))


def bridged(values: Floats64) -> Floats64:
    """(m) with straight lines over what is not measured; zeros where nothing is."""
    known = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(len(values)), known, values[known]) if len(known) else np.zeros(len(values))


def bridged_columns(values: Floats64) -> Floats64:
    """(m k) -> (m k): each column bridged."""
    return np.stack([bridged(column) for column in values.T], axis=1)


def pooled(stream: TimedSequence, columns: tuple[str, ...], values: Floats64, pools: Pools) -> Prepared:
    """Pooled values (m f) as rows on the stream's clock: each spans its members."""
    last = pools.first + pools.count - 1
    rows = TimedSequence(
        name=stream.name,
        columns=columns,
        values=values.astype(np.float32),
        start=stream.start[pools.first],
        end=np.maximum(stream.end[last], stream.start[pools.first]),
        provenance=stream.provenance,
        reason=stream.reason,
    )
    return Prepared(rows, pools.member, pools.count)
