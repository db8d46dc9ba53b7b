"""The 50 Hz clock of the Whisper voice, and a clip's sound in overlapping pieces for a network that sees a piece as a whole.

A stretch is sound without a gap. Its row r covers [start + 0.02 r, start + 0.02 (r + 1)) seconds; less than 20 ms left over at the end
make no row. Of each piece `KEPT_ROWS` rows are kept; `OVERLAP_ROWS` on either side are only seen. Pieces are short because Whisper's rows
carry their distance from the piece's start: in a long recording they must look as they did in the utterances that models are trained on.
Pieces are counted from the stretch's start, so the blocks in which the sound arrives cannot change a number, and only about 7 s of sound
are ever held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.media import SAMPLE_RATE, Samples
from emofuse.pipeline.timed import Floats32

ROW = 320
ROW_SECONDS = ROW / SAMPLE_RATE
KEPT_ROWS = 200
OVERLAP_ROWS = 50
GAP_SECONDS = ROW_SECONDS / 2


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a stretch, and the sound that the network sees for them.

    start   seconds of the first kept row's start
    values  (320 n) float32: the sound of all n rows
    kept    which of the n rows are to be kept
    last    whether the stretch ends with this piece
    """

    start: float
    values: Floats32
    kept: slice
    last: bool

    @property
    def rows(self) -> int:
        """Rows to be kept."""
        return int(self.kept.stop - self.kept.start)


class _Stretch:
    """The part of a stretch that rows still to come can see."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._done = 0  # rows handed out
        self._held = np.zeros(0, np.float32)
        self._first = 0  # row of the stretch at which `_held` begins
        self._samples = 0

    @property
    def end(self) -> float:
        return self._start + self._samples / SAMPLE_RATE

    def add(self, values: Floats32) -> Iterator[Piece]:
        self._held = np.concatenate([self._held, values])
        self._samples += len(values)
        # What is left behind a piece is never shorter than its own overlap twice: the end of a clip is not read from a second of sound.
        while self._samples // ROW - self._done >= KEPT_ROWS + 2 * OVERLAP_ROWS:
            yield self._piece(self._done + KEPT_ROWS, OVERLAP_ROWS, last=False)

    def finish(self) -> Iterator[Piece]:
        total = self._samples // ROW
        if self._done < total:
            yield self._piece(total, 0, last=True)

    def _piece(self, until: int, after: int, *, last: bool) -> Piece:
        begin = self._first
        values = self._held[: (until + after - begin) * ROW]
        piece = Piece(self._start + self._done * ROW_SECONDS, values, slice(self._done - begin, until - begin), last)
        self._done = until
        self._first = max(0, until - OVERLAP_ROWS)
        self._held = self._held[(self._first - begin) * ROW :].copy()
        return piece


def pieces(blocks: Iterator[Samples]) -> Iterator[Piece]:
    """The pieces of every stretch, in order of time. A block that lies half a row or more off the last one's end, or silence that was
    filled in, is a gap. Raises `StreamError` where a sample is not a finite number."""
    stretch: _Stretch | None = None
    for block in blocks:
        if stretch is not None and (block.filled or abs(block.start - stretch.end) >= GAP_SECONDS):
            yield from stretch.finish()
            stretch = None
        if block.filled or not len(block.values):
            continue
        if not np.isfinite(block.values).all():
            first = int(np.argmin(np.isfinite(block.values)))
            seconds = block.start + first / SAMPLE_RATE
            raise StreamError(f"voice: expected finite samples, got {block.values[first]} at {seconds:.3f} s")
        if stretch is None:
            stretch = _Stretch(block.start)
        yield from stretch.add(np.asarray(block.values, np.float32))
    if stretch is not None:
        yield from stretch.finish()
