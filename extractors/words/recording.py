"""The sound of a clip held for recognition: 16-bit mono at 16 kHz, in pieces that know their second on the clip's clock.

Gaps stay gaps: a `Stretch` is handed to a recogniser as one run of samples, and gives back for any sample the second at which
it was heard, so that neither a late start nor a hole in the sound shifts a word. 16 bit holds what recognisers use at 32 kB a
second; an hour's 115 MB lie in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.media import SAMPLE_RATE, Samples
from emofuse.pipeline.spool import Spool, release
from emofuse.pipeline.timed import Span

Samples16 = NDArray[np.int16]

# Blocks that follow each other within half a millisecond are one run: containers round their time stamps.
CONTIGUOUS = 0.0005


def to_int16(values: NDArray[np.float32]) -> Samples16:
    """(n) float32 in -1..1 to (n) int16; louder samples are clipped, NaN becomes silence."""
    return (np.clip(np.nan_to_num(values), -1, 1) * 32767).astype(np.int16)


@dataclass(frozen=True, eq=False)
class Stretch:
    """One run of samples for a recogniser: values (n) int16, and where its pieces lie in time.

    offsets   index of each piece's first sample, ascending, the first being 0
    starts    second of that sample on the clip's clock
    """

    values: Samples16
    offsets: tuple[int, ...]
    starts: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """How much sound there is, without its gaps."""
        return len(self.values) / SAMPLE_RATE

    @property
    def span(self) -> Span:
        return Span(self.starts[0], self.end_of(len(self.values)))

    def start_of(self, sample: float) -> float:
        """The second at which this sample (an index from 0, may be fractional) begins."""
        sample = min(max(sample, 0), len(self.values))
        piece = int(np.searchsorted(self.offsets, sample, side="right")) - 1
        return self.starts[piece] + (sample - self.offsets[piece]) / SAMPLE_RATE

    def end_of(self, sample: float) -> float:
        """The second at which what lies before this sample ends: at a gap, the gap's beginning."""
        sample = min(max(sample, 0), len(self.values))
        piece = max(0, int(np.searchsorted(self.offsets, sample, side="left")) - 1)
        return self.starts[piece] + (sample - self.offsets[piece]) / SAMPLE_RATE

    def span_of(self, first: float, last: float) -> Span:
        """The time from sample `first` up to (not including) sample `last`."""
        start = self.start_of(first)
        return Span(start, max(start, self.end_of(last)))

    @property
    def pieces(self) -> list[tuple[float, Samples16]]:
        """The second of the first sample and the values (n) of each piece, in order of time."""
        ends = [*self.offsets[1:], len(self.values)]
        return [(start, self.values[a:b]) for start, a, b in zip(self.starts, self.offsets, ends, strict=True)]


def join(pieces: Sequence[tuple[float, Samples16]]) -> Stretch:
    """Pieces, each the second of its first sample and its values (n), in order of time, as one stretch; pieces that touch become one."""
    values = np.concatenate([values for _, values in pieces]) if pieces else np.zeros(0, np.int16)
    return Stretch(values, *_placed([(start, len(values)) for start, values in pieces]))


def together(stretches: Sequence[Stretch]) -> Stretch:
    """Stretches in order of time as one, without what lies between them."""
    return join([piece for stretch in stretches for piece in stretch.pieces])


def _placed(pieces: Sequence[tuple[float, int]]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Offsets and starts of a stretch made of pieces (second of the first sample, number of samples)."""
    offsets: list[int] = []
    starts: list[float] = []
    length = 0
    for start, count in pieces:
        if not starts or abs(starts[-1] + (length - offsets[-1]) / SAMPLE_RATE - start) > CONTIGUOUS:
            offsets.append(length)
            starts.append(start)
        length += count
    return (tuple(offsets), tuple(starts)) if starts else ((0,), (0.0,))


@dataclass(frozen=True, eq=False)
class Recording:
    """All sound of a clip: its runs (second of the first sample, int16 values), in order of time, apart from each other."""

    runs: tuple[Stretch, ...]

    @classmethod
    def of(cls, blocks: Iterable[Samples]) -> Recording:
        """Holds every block that was really heard (filled silence is left out), in a file where it is long."""
        sound = Spool(dtype=np.int16)
        runs: list[list[tuple[float, int]]] = []
        end = float("-inf")
        for block in blocks:
            if block.filled or not len(block.values):
                continue
            if not runs or abs(block.start - end) > CONTIGUOUS:
                runs.append([])
            sound.add(to_int16(block.values))
            runs[-1].append((block.start, len(block.values)))
            end = block.end
        values = sound.array()
        lengths = [sum(count for _, count in run) for run in runs]
        edges = np.cumsum([0, *lengths])
        return cls(tuple(Stretch(values[a:b], *_placed(run)) for run, a, b in zip(runs, edges, edges[1:], strict=False)))

    @property
    def seconds(self) -> float:
        return sum(run.seconds for run in self.runs)

    @property
    def gaps(self) -> list[list[float]]:
        """[start, end] of each hole between two runs, for a stream's notes."""
        return [[a.span.end, b.span.start] for a, b in pairwise(self.runs)]

    def blocks(self, seconds: float = 10.0) -> Iterator[Samples]:
        """The sound again as blocks of float samples, as a clip gives them."""
        step = round(seconds * SAMPLE_RATE)
        for run in self.runs:
            for first in range(0, len(run.values), step):
                values = run.values[first : first + step].astype(np.float32) / np.float32(32767)
                release(run.values)
                yield Samples(run.starts[0] + first / SAMPLE_RATE, values)

    def cut(self, span: Span) -> Stretch:
        """What was heard within the span, as one stretch (empty where nothing was)."""
        pieces = []
        for run in self.runs:
            origin = run.starts[0]
            first = max(0, round((span.start - origin) * SAMPLE_RATE))
            last = min(len(run.values), round((span.end - origin) * SAMPLE_RATE))
            if first < last:
                pieces.append((origin + first / SAMPLE_RATE, run.values[first:last]))
        return join(pieces)
