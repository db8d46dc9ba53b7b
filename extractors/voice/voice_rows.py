"""The 100 Hz clock of the librosa-style voice streams, and the names of their columns.

A stretch is sound without a gap. Its row r covers the 10 ms [start + 0.01 r, start + 0.01 (r + 1)) and looks at the frame around
its middle, sample 80 + 160 r; outside the stretch there is silence (zeros), as in librosa's own padding. Less than 10 ms left over at
the end make no row. Stretches are cut into `Chunk`s of a fixed number of rows, counted from the stretch's start, so the blocks in
which the sound arrives cannot change a number, and only a few seconds of sound are ever held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emofuse.pipeline.media import SAMPLE_RATE, Samples
from emofuse.pipeline.spool import Spool
from emofuse.pipeline.timed import Floats32, Floats64, Provenance, TimedSequence

HOP = 160
ROW_SECONDS = HOP / SAMPLE_RATE
SPECTRAL_FRAME = 400  # 25 ms
PITCH_FRAME = 1024  # 64 ms: more than three periods of the lowest pitch
PITCH_LOWEST, PITCH_HIGHEST = 50.0, 500.0  # Hz, COVAREP's range
VOICED = 0.6  # pitch is given where voiced_probability reaches this
MFCC, MEL_BANDS, DELTA_FRAMES = 20, 40, 9
LOG_FLOOR = 1e-10
ROLLOFF = 0.85
CHUNK_ROWS = 1000

CONTEXT_ROWS = DELTA_FRAMES // 2
REACH = PITCH_FRAME // 2
SPECTRAL_OFFSET = (PITCH_FRAME - SPECTRAL_FRAME) // 2
GAP_SECONDS = ROW_SECONDS / 2

COLUMNS: tuple[str, ...] = (
    *(f"mfcc_{i}" for i in range(MFCC)),
    *(f"mfcc_delta_{i}" for i in range(MFCC)),
    "rms",
    "zero_crossing_rate",
    "spectral_centroid",
    "spectral_bandwidth",
    "spectral_rolloff",
    "spectral_flatness",
    "f0",
    "voiced_probability",
)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some rows of a stretch and the sound that they look at.

    start          seconds of the first kept row's start
    values         (160 (rows - 1) + 1024) float32: the 1024-sample pitch frames of all rows, context rows included
    before, after  context rows at either end, needed for deltas and to be dropped (0 at a stretch's own ends)
    """

    start: float
    values: Floats32
    before: int
    after: int

    @property
    def rows(self) -> int:
        return (len(self.values) - PITCH_FRAME) // HOP + 1

    @property
    def kept(self) -> slice:
        return slice(self.before, self.rows - self.after)


class _Stretch:
    """The tail of a stretch: holds only the samples that rows still to come can see."""

    def __init__(self, start: float, chunk_rows: int) -> None:
        self.start = start
        self.chunk_rows = chunk_rows
        self.done = 0  # rows handed out
        self.held = np.zeros(REACH - HOP // 2, np.float32)  # the silence before the stretch
        self.held_from = HOP // 2 - REACH  # sample of the stretch at which `held` begins
        self.samples = 0

    @property
    def end(self) -> float:
        return self.start + self.samples / SAMPLE_RATE

    def add(self, values: Floats32) -> Iterator[Chunk]:
        self.held = np.concatenate([self.held, values])
        self.samples += len(values)
        while self.samples >= _frame_end(self.done + self.chunk_rows + CONTEXT_ROWS - 1):
            yield self._chunk(self.done + self.chunk_rows, CONTEXT_ROWS)

    def finish(self) -> Iterator[Chunk]:
        total = self.samples // HOP
        self.held = np.concatenate([self.held, np.zeros(PITCH_FRAME, np.float32)])
        while self.done < total:
            until = min(self.done + self.chunk_rows, total)
            yield self._chunk(until, min(CONTEXT_ROWS, total - until))

    def _chunk(self, until: int, after: int) -> Chunk:
        before = min(CONTEXT_ROWS, self.done)
        first = _frame_end(self.done - before) - PITCH_FRAME
        last = _frame_end(until + after - 1)
        chunk = Chunk(
            start=self.start + self.done * ROW_SECONDS,
            values=self.held[first - self.held_from : last - self.held_from],
            before=before,
            after=after,
        )
        self.done = until
        keep_from = max(self.held_from, _frame_end(until - CONTEXT_ROWS) - PITCH_FRAME)
        self.held = self.held[keep_from - self.held_from :].copy()
        self.held_from = keep_from
        return chunk


def _frame_end(row: int) -> int:
    """Sample of the stretch at which the pitch frame of a row ends."""
    return HOP // 2 + HOP * row + REACH


def chunks(blocks: Iterator[Samples], chunk_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Chunks of every stretch, in order of time. A block starts a new stretch where it lies half a row or more off the last one's
    end, so a row's time is never wrong by more; below that it is a container's rounding."""
    stretch: _Stretch | None = None
    for block in blocks:
        if stretch is not None and abs(block.start - stretch.end) >= GAP_SECONDS:
            yield from stretch.finish()
            stretch = None
        if stretch is None:
            stretch = _Stretch(block.start, chunk_rows)
        yield from stretch.add(block.values)
    if stretch is not None:
        yield from stretch.finish()


class VoiceRows:
    """The rows of a clip as they come, piece by piece."""

    def __init__(self) -> None:
        self._values = Spool((len(COLUMNS),))
        self._pieces: list[tuple[float, int]] = []  # start, rows

    def add(self, start: float, values: Floats32) -> None:
        """Append a piece, values (n f) for COLUMNS, whose first row starts at `start` seconds and the others follow without a gap."""
        self._values.add(values)
        self._pieces.append((start, len(values)))

    def stream(self, provenance: Provenance) -> TimedSequence:
        if not self._pieces:
            return TimedSequence.empty("voice", COLUMNS, provenance, f"the clip has less than {ROW_SECONDS * 1000:.0f} ms of sound")
        start: Floats64 = np.concatenate([first + ROW_SECONDS * np.arange(rows, dtype=np.float64) for first, rows in self._pieces])
        return TimedSequence(
            name="voice",
            columns=COLUMNS,
            values=self._values.array(),
            start=start,
            end=start + ROW_SECONDS,
            provenance=provenance,
        )


def options() -> dict[str, float]:
    """What the numbers depend on, for the provenance."""
    return {
        "hop": HOP,
        "spectral_frame": SPECTRAL_FRAME,
        "pitch_frame": PITCH_FRAME,
        "pitch_lowest": PITCH_LOWEST,
        "pitch_highest": PITCH_HIGHEST,
        "voiced": VOICED,
        "mel_bands": MEL_BANDS,
        "delta_frames": DELTA_FRAMES,
        "rolloff": ROLLOFF,
    }
