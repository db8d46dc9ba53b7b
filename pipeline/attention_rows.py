"""The attention timeline of a clip, as columns: what each word, video frame and voice frame was paid, by whom.

It is read as a sequence of `AttentionRow`s, one for each row of the streams text, face and voice, in this order; a row is made when it is
asked for. An hour has half a million of them, so the columns of a long clip lie in a file (spool.py). NaN is None: no such share there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from .errors import StreamError
from .spool import on_disk, release
from .streams import MODALITIES
from .timed import Floats64, TimedSequence

AT_ONCE = 2048  # rows that are made together
OUTSIDE = -1  # the utterance of a row that lies in none


@dataclass(frozen=True, eq=False)
class AttentionRow:
    """One element (a word, a video frame, a voice frame) and the shares of attention paid to it within its utterance.

    `shares[x]` is what stream x's rows, as targets, pay to this element: mean over heads and targets of the last crossmodal layer;
    over one utterance, source and x it sums to 1 (attention over joined streams is renormalised within the source). A model that
    looks in hops has shares hop_1, hop_2, ... instead. `overall` is the mean of the shares. None: no such stream there.
    `influence` is how much the log odds of the utterance's answer fall when the part that the element lies in is taken away
    (attention/influence.py); None: not computed.
    """

    utterance: int | None
    stream: str
    index: int
    start: float
    end: float
    label: str
    shares: Mapping[str, float | None]
    overall: float | None
    influence: float | None = None


@dataclass(frozen=True, eq=False)
class StreamAttention:
    """Attention received by each row (n) of one stream.

    stream     the stream itself: its times and labels are the rows'
    utterance  (n) int32 number of the utterance that a row lies in, OUTSIDE where it lies in none
    overall    (n) the mean of the shares;  shares: x -> (n) what x pays; those that no row has are not there
    influence  (n) change in log odds of the utterance's answer, NaN where it was not computed
    """

    stream: TimedSequence
    utterance: NDArray[np.int32]
    overall: Floats64
    influence: Floats64
    shares: dict[str, Floats64] = field(default_factory=dict)

    @classmethod
    def empty(cls, stream: TimedSequence) -> StreamAttention:
        n = (len(stream),)
        return cls(stream, on_disk(n, np.int32, OUTSIDE), on_disk(n, np.float64, np.nan), on_disk(n, np.float64, np.nan))

    def record(
        self, utterance: int, rows: NDArray[np.intp] | int, shares: Mapping[str, Floats64 | float], overall: Floats64 | float | None
    ) -> None:
        """Store what one utterance says of the rows `rows` (k indices, or one): its shares 0..1 by name and overall, (k) each or one
        number."""
        self.utterance[rows] = utterance
        if overall is not None:
            self.overall[rows] = overall
        for name, share in shares.items():
            self.column(name)[rows] = share

    def column(self, name: str) -> Floats64:
        """(n) a share to be written to, NaN at first."""
        if name not in self.shares:
            self.shares[name] = on_disk((len(self.stream),), np.float64, np.nan)
        return self.shares[name]

    def release(self) -> None:
        release(self.utterance)
        for column in (self.overall, self.influence, *self.shares.values()):
            release(column)

    def share(self, name: str) -> Floats64:
        """(n) one share, or "overall"; NaN everywhere where there is none."""
        if name == "overall":
            return self.overall
        return self.shares[name] if name in self.shares else np.full(len(self.stream), np.nan)

    def names(self) -> list[str]:
        """Shares that some row has, in the order in which people read them: modalities, then hops."""
        hops = sorted((x for x in self.shares if x not in MODALITIES), key=lambda x: (len(x), x))
        return [*(m for m in MODALITIES if m in self.shares), *hops]

    def rows(self, first: int, last: int) -> Iterator[AttentionRow]:
        part = slice(first, last)
        columns = {name: self.shares[name][part].tolist() for name in self.names()}
        labels = labels_of(self.stream, part)
        times = self.stream.start[part].tolist(), self.stream.end[part].tolist()
        inside, whole, influence = self.utterance[part].tolist(), self.overall[part].tolist(), self.influence[part].tolist()
        hops = [name for name in columns if name not in MODALITIES]
        for k, (start, end, utterance, overall) in enumerate(zip(*times, inside, whole, strict=True)):
            shares = {m: number(columns[m][k]) if m in columns else None for m in MODALITIES}
            for hop in hops:
                if (share := number(columns[hop][k])) is not None:
                    shares[hop] = share
            yield AttentionRow(
                utterance=None if utterance == OUTSIDE else utterance,
                stream=self.stream.name,
                index=first + k,
                start=start,
                end=end,
                label=labels[k],
                shares=shares,
                overall=number(overall),
                influence=number(influence[k]),
            )


class AttentionRows(Sequence[AttentionRow]):
    """The whole timeline, one `StreamAttention` a modality that the clip has; `of` gathers it from loose rows."""

    def __init__(self, paid: Sequence[StreamAttention]) -> None:
        self.streams = {paid.stream.name: paid for paid in sorted(paid, key=lambda paid: MODALITIES.index(paid.stream.name))}

    @classmethod
    def of(cls, rows: Iterable[AttentionRow], streams: Mapping[str, TimedSequence]) -> AttentionRows:
        """Raises `StreamError` for a row of a stream that is not there, or beyond its end."""
        if isinstance(rows, AttentionRows):
            return rows
        made = cls.empty(streams)
        for row in rows:
            paid = made.streams.get(row.stream)
            if paid is None or not 0 <= row.index < len(paid.stream):
                raise StreamError(f"attention: expected a row of {', '.join(made.streams) or 'no stream'}, got {row.stream} {row.index}")
            shares = {name: share for name, share in row.shares.items() if share is not None}
            paid.record(OUTSIDE if row.utterance is None else row.utterance, row.index, shares, row.overall)
            paid.influence[row.index] = np.nan if row.influence is None else row.influence
        return made

    @classmethod
    def empty(cls, streams: Mapping[str, TimedSequence]) -> AttentionRows:
        """No attention to any row of these streams."""
        return cls([StreamAttention.empty(streams[name]) for name in MODALITIES if name in streams])

    def release(self) -> None:
        """Give back the memory of columns that lie in a file."""
        for attended in self.streams.values():
            attended.release()

    def __len__(self) -> int:
        return sum(len(attended.stream) for attended in self.streams.values())

    def __iter__(self) -> Iterator[AttentionRow]:
        for attended in self.streams.values():
            for first in range(0, len(attended.stream), AT_ONCE):
                yield from attended.rows(first, min(first + AT_ONCE, len(attended.stream)))
                attended.release()
                attended.stream.release()

    @overload
    def __getitem__(self, index: int) -> AttentionRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[AttentionRow]: ...
    def __getitem__(self, index: int | slice) -> AttentionRow | list[AttentionRow]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        for attended in self.streams.values():
            if 0 <= at < len(attended.stream):
                return next(attended.rows(at, at + 1))
            at -= len(attended.stream)
        raise IndexError(f"attention row {index} of {len(self)}")


def number(value: float) -> float | None:
    return None if value != value else value


def labels_of(stream: TimedSequence, rows: slice) -> Sequence[str]:
    """Each word's text, each face's number; nothing for voice."""
    if "word" in stream.labels:
        return stream.labels["word"][rows]
    if stream.name == "face" and "face_id" in stream.columns:
        return [f"face {number:.0f}" for number in stream.column("face_id", np.arange(rows.start, rows.stop))]
    return [""] * (rows.stop - rows.start)
