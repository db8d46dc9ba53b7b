"""The sound of one clip, kept for a second look: in memory while short, in a file beyond a minute (spool.py).

A stretch is sound without a gap. Two things need a look at the whole clip (its polarity, its range of pitch) before the rest can be
measured, and a clip can be decoded once only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.media import SAMPLE_RATE, Samples
from emofuse.pipeline.spool import Spool, release

from .framing import Floats

GAP_SECONDS = 0.005  # half a row: below that, a jump in time is a container's rounding


@dataclass(frozen=True)
class Stretch:
    """Sound without a gap: seconds of its first sample, where it lies among all samples, how many there are."""

    start: float
    first: int
    length: int

    @property
    def end(self) -> float:
        return self.start + self.length / SAMPLE_RATE


class Sound:
    """All stretches of a clip and their samples."""

    def __init__(self, blocks: Iterable[Samples]) -> None:
        """Raises `StreamError` where a sample is not a finite number. Silence that was filled in counts as a gap."""
        self._heard = Spool()
        self.stretches: list[Stretch] = []
        for block in blocks:
            if not block.filled and len(block.values):
                self._add(block)
        self._samples = self._heard.array()

    def _add(self, block: Samples) -> None:
        values = np.ascontiguousarray(block.values, np.float32)
        if not np.isfinite(values).all():
            first = int(np.argmin(np.isfinite(values)))
            raise StreamError(f"voice: expected finite samples, got {values[first]} at {block.start + first / SAMPLE_RATE:.3f} s")
        last = self.stretches[-1] if self.stretches else Stretch(-np.inf, 0, 0)
        if abs(block.start - last.end) >= GAP_SECONDS:
            self.stretches.append(Stretch(block.start, last.first + last.length, len(values)))
        else:
            self.stretches[-1] = Stretch(last.start, last.first, last.length + len(values))
        self._heard.add(values)

    def read(self, stretch: Stretch, first: int, stop: int) -> Floats:
        """(stop - first) samples of a stretch, counted from its start; zeros where it has none."""
        result = np.zeros(stop - first)
        begin, end = max(first, 0), min(stop, stretch.length)
        if begin < end:
            result[begin - first : end - first] = self._samples[stretch.first + begin : stretch.first + end]
            release(self._samples)
        return result
