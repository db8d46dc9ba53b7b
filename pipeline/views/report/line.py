"""A stream's rows as a line that is drawn over time: broken where rows do not follow each other, averaged where they are too many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST = 60_000
"""Places of a line: ten minutes at 100 Hz. A longer one is averaged."""
AT_ONCE = 512

Read = Callable[[slice], NDArray[np.float64]]
"""Rows to their values (n k)."""


@dataclass(frozen=True, eq=False)
class Line:
    """Rows (n) as a line over time, with a place for NaN wherever rows do not follow each other, so that no line is drawn there.

    middle  (n) seconds;  gaps: (g) places among rows and gaps that are gaps
    """

    middle: NDArray[np.float64]
    gaps: NDArray[np.intp]

    @classmethod
    def of(cls, start: NDArray[np.float64], end: NDArray[np.float64]) -> Line:
        """From the rows' starts and ends (n) in seconds."""
        return cls.through((start + end) / 2)

    @classmethod
    def through(cls, middle: NDArray[np.float64]) -> Line:
        """From the rows' middles (n) in seconds."""
        step = float(np.median(np.diff(middle), overwrite_input=True)) if len(middle) > 1 else 0.0
        after = np.flatnonzero(np.diff(middle) > 2.5 * step + 1e-9) + 1
        return cls(middle, after + np.arange(len(after)))

    def __len__(self) -> int:
        return len(self.middle) + len(self.gaps)

    def at(self, first: int, last: int, read: Read, columns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times and values (last - first, columns) of these places; `read` is asked for the values of the rows there."""
        position = np.arange(first, last)
        before = np.searchsorted(self.gaps, position)
        row = position - before  # of a gap: the row that comes after it
        gap = np.zeros(len(position), bool)
        gap[self.gaps[(self.gaps >= first) & (self.gaps < last)] - first] = True
        time, values = self.middle[row], np.full((len(position), columns), np.nan)
        time[gap] = (self.middle[row[gap] - 1] + self.middle[row[gap]]) / 2
        rows = row[~gap]
        if len(rows):
            values[~gap] = read(slice(int(rows[0]), int(rows[-1]) + 1))
        return time, values

    def drawn(self, read: Read, columns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times (p) in seconds and values (p k), at most `LONGEST` places: neighbours averaged, NaN only where none of them was
        measured. Read a piece at a time."""
        if len(self) <= LONGEST:
            return self.at(0, len(self), read, columns)
        first = np.unique(np.linspace(0, len(self), LONGEST, endpoint=False).astype(np.intp))
        last = np.append(first[1:], len(self))
        times, tables = [], []
        for k in range(0, len(first), AT_ONCE):
            chunk = first[k : k + AT_ONCE]
            time, values = self.at(int(chunk[0]), int(last[k : k + AT_ONCE][-1]), read, columns)
            borders = chunk - chunk[0]
            counts = np.add.reduceat(~np.isnan(values), borders, axis=0)
            sums = np.add.reduceat(np.nan_to_num(values), borders, axis=0)
            times.append(time[borders])
            tables.append(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))
        return np.concatenate(times), np.concatenate(tables)


def with_gaps(
    start: NDArray[np.float64], end: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times (the rows' middles) and values (n k), with a row of NaN wherever rows do not follow each other."""
    line = Line.of(start, end)
    return line.at(0, len(line), lambda rows: values[rows], values.shape[1])
