"""Time and what happens in it: `Span` and `TimedSequence`, the one type for every stream.

Conventions: times are float64 seconds on the clip's clock, 0 being the container's start (what a player shows as 0:00).
A row covers [start, end). Streams keep their own rates; irregular (words) and regular (frames) streams are one type.
What could not be measured has no row, or NaN in its column: zero is always a measured zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import StreamError
from .spool import Spool, parts, release, spooled

if TYPE_CHECKING:  # imported only when a table is asked for
    import pandas

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Span:
    """A piece of time, [start, end) in seconds. Raises `StreamError` if it is not finite or ends before it starts."""

    start: float
    end: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start <= self.end):
            raise StreamError(f"span: expected finite start <= end, got [{self.start}, {self.end})")

    @property
    def duration(self) -> float:
        return self.end - self.start

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    def overlap(self, other: Span) -> float:
        """Seconds that both spans cover (0 where they are apart)."""
        return max(0.0, min(self.end, other.end) - max(self.start, other.start))


@dataclass(frozen=True)
class Provenance:
    """Who made a stream: enough to make it again.

    `weights` maps a file's name to its SHA-256; `options` holds JSON values only; `notes` are facts about this run that a reader
    must know (spans of filled silence, a language guess).
    """

    extractor: str
    version: str
    weights: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "extractor": self.extractor,
            "version": self.version,
            "weights_sha256": dict(self.weights),
            "options": dict(self.options),
            "notes": dict(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Provenance:
        return cls(
            extractor=data["extractor"],
            version=data["version"],
            weights=data.get("weights_sha256", {}),
            options=data.get("options", {}),
            notes=data.get("notes", {}),
        )


@lru_cache(maxsize=256)
def places_of(columns: tuple[str, ...]) -> Mapping[str, int]:
    """Name -> place of each of these columns."""
    return {name: place for place, name in enumerate(columns)}


@dataclass(frozen=True, eq=False)
class TimedSequence:
    """One stream: rows in time, regular or not.

    name        the stream's name: words, text, face, voice
    columns     names of the numeric columns
    values      (n d) float32; NaN = not measured in this row
    start, end  (n) float64 seconds, start <= end, starts not decreasing
    provenance  who made it
    labels      text columns beside the numeric ones, each (n) strings (words: `word`, `speaker`)
    reason      why the stream is empty or has gaps ("" where there is nothing to say)

    Validated once, here; raises `StreamError` naming the stream and the offending number. Arrays are made read-only. An empty
    stream is legal and must carry its reason. The values of a long clip lie in a file (spool.py): what walks over all rows does so by
    `parts`, and asks for columns by `column`, so that they are never in memory together.
    """

    name: str
    columns: tuple[str, ...]
    values: Floats32
    start: Floats64
    end: Floats64
    provenance: Provenance
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reason: str = ""

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.float32)
        start = np.ascontiguousarray(self.start, dtype=np.float64)
        end = np.ascontiguousarray(self.end, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            raise StreamError(f"{self.name}: expected values (n, {len(self.columns)}) for its columns, got {values.shape}")
        n = len(values)
        if start.shape != (n,) or end.shape != (n,):
            raise StreamError(f"{self.name}: expected start and end ({n},), got {start.shape} and {end.shape}")
        if len(set(self.columns)) != len(self.columns):
            twice = sorted({c for c in self.columns if self.columns.count(c) > 1})
            raise StreamError(f"{self.name}: columns named twice: {', '.join(twice)}")
        if not (np.isfinite(start).all() and np.isfinite(end).all()):
            raise StreamError(f"{self.name}: start and end must be finite seconds")
        if n and (end < start).any():
            i = int(np.argmax(end < start))
            raise StreamError(f"{self.name}: row {i} ends at {end[i]} s before it starts at {start[i]} s")
        if n > 1 and (np.diff(start) < 0).any():
            i = int(np.argmax(np.diff(start) < 0))
            raise StreamError(f"{self.name}: row {i + 1} starts at {start[i + 1]} s, before row {i} at {start[i]} s")
        for part in parts(values):
            if (infinite := np.isinf(values[part])).any():
                i, j = (int(k) for k in np.argwhere(infinite)[0])
                raise StreamError(f"{self.name}: row {part.start + i}, column {self.columns[j]} is infinite")
        for label, texts in self.labels.items():
            if len(texts) != n:
                raise StreamError(f"{self.name}: expected {n} {label} labels, got {len(texts)}")
        if n == 0 and not self.reason:
            raise StreamError(f"{self.name}: an empty stream must say why")
        values, start, end = spooled(values), spooled(start), spooled(end)
        for array in (values, start, end):
            array.setflags(write=False)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "end", end)
        object.__setattr__(self, "labels", MappingProxyType({k: tuple(v) for k, v in self.labels.items()}))

    @classmethod
    def empty(cls, name: str, columns: Sequence[str], provenance: Provenance, reason: str, labels: Sequence[str] = ()) -> TimedSequence:
        """A stream without rows, and why."""
        nothing = np.zeros(0, np.float64)
        return cls(
            name=name,
            columns=tuple(columns),
            values=np.zeros((0, len(columns)), np.float32),
            start=nothing,
            end=nothing.copy(),
            provenance=provenance,
            labels={label: () for label in labels},
            reason=reason,
        )

    def __len__(self) -> int:
        return len(self.start)

    @property
    def span(self) -> Span:
        """From the first start to the last end; raises `StreamError` on an empty stream."""
        if not len(self):
            raise StreamError(f"{self.name}: an empty stream has no span ({self.reason})")
        return Span(float(self.start[0]), float(self.end.max()))

    def parts(self) -> Iterator[slice]:
        """Slices of rows that cover the stream, a few megabytes each; what was read of one is let go of when the next is asked for."""
        return parts(self.values)

    def release(self) -> None:
        """Give back the memory of values that were read from a file; they are read again when they are asked for."""
        for array in (self.values, self.start, self.end):
            release(array)

    def column(self, name: str, rows: NDArray[np.intp] | int | None = None) -> Floats32:
        """(n) values of one numeric column, or of these rows alone; raises `StreamError` naming what there is."""
        (j,) = self._places((name,))
        if rows is not None:
            return np.asarray(self.values[rows, j])
        values = np.empty(len(self), np.float32)
        for part in self.parts():
            values[part] = self.values[part, j]
        values.setflags(write=False)
        return values

    def select(self, columns: Sequence[str]) -> TimedSequence:
        """The same rows with these numeric columns, in this order; raises `StreamError` naming both lists."""
        places = self._places(columns)
        chosen = Spool((len(places),))
        for part in self.parts():
            chosen.add(self.values[part][:, places])
        return replace(self, columns=tuple(columns), values=chosen.array())

    def with_columns(self, columns: Sequence[str], values: Floats32) -> TimedSequence:
        """The same rows with these columns (n k) after their own."""
        joined = Spool((len(self.columns) + len(columns),))
        for part in self.parts():
            joined.add(np.concatenate([self.values[part], values[part]], axis=1))
        return replace(self, columns=(*self.columns, *columns), values=joined.array())

    def _places(self, columns: Sequence[str]) -> list[int]:
        places = places_of(self.columns)
        missing = [c for c in columns if c not in places]
        if missing:
            raise StreamError(
                f"{self.name}: columns {', '.join(missing)} wanted, but {self.provenance.extractor} has {', '.join(self.columns)}"
            )
        return [places[c] for c in columns]

    def rows(self, index: NDArray[np.intp], reason: str = "no rows here") -> TimedSequence:
        """The rows `index` (k), in order of time; `reason` is used if none is left and the stream has no reason of its own."""
        return replace(
            self,
            values=self.values[index],
            start=self.start[index],
            end=self.end[index],
            labels={k: tuple(v[i] for i in index) for k, v in self.labels.items()},
            reason=self.reason or (reason if len(index) == 0 else ""),
        )

    def inside(self, span: Span) -> NDArray[np.intp]:
        """Indices (k) of the rows whose middle lies in [span.start, span.end)."""
        # A row's middle lies between its start and its end: only rows that begin near the span can be inside.
        first = int(np.searchsorted(self.start, span.start - self._longest, "left"))
        last = int(np.searchsorted(self.start, span.end, "left"))
        middle = (self.start[first:last] + self.end[first:last]) / 2
        return first + np.flatnonzero((middle >= span.start) & (middle < span.end))

    @cached_property
    def _longest(self) -> float:
        """Seconds of the longest row, and a hair more for rounding."""
        return float((self.end - self.start).max()) * (1 + 1e-9) + 1e-6 if len(self) else 0.0

    def shifted(self, seconds: float) -> TimedSequence:
        """The same rows, later by so many seconds."""
        return replace(self, start=self.start + seconds, end=self.end + seconds)

    def to_pandas(self) -> pandas.DataFrame:
        """A table of its own: `start`, `end` (float64 seconds), the text columns, the numeric columns (float32; NaN = not measured).

        One row per row, in order, numbered from 0. `attrs` holds the stream's name, its reason and who made it.
        """
        import pandas

        texts = {label: list(values) for label, values in self.labels.items()}
        times = pandas.DataFrame({"start": self.start.copy(), "end": self.end.copy(), **texts})
        frame = times.join(pandas.DataFrame(self.values.copy(), columns=list(self.columns)))
        frame.attrs = {"name": self.name, "reason": self.reason, "provenance": self.provenance.to_json()}
        return frame
