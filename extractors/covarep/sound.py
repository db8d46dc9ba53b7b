"""The sound of one clip, kept for a second look: in memory while short, in a nameless temporary file beyond some minutes.

A stretch is sound without a gap. Two things need a look at the whole clip (its polarity, its range of pitch) before the rest can be
measured, and a clip can be decoded once only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile

import numpy as np

from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.ports import SAMPLE_RATE, Samples

from .framing import Floats

IN_MEMORY = 32 << 20  # bytes: some nine minutes
GAP_SECONDS = 0.005  # half a row: below that, a jump in time is a container's rounding
BYTES = 4


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
    """All stretches of a clip and their samples. Close it (or use `with`) to give the file back."""

    def __init__(self, blocks: Iterable[Samples]) -> None:
        """Raises `StreamError` where a sample is not a finite number. Silence that was filled in counts as a gap."""
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  (closed with this object)
        self.stretches: list[Stretch] = []
        try:
            for block in blocks:
                if not block.filled and len(block.values):
                    self._add(block)
        except BaseException:
            self.close()
            raise

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
        self._file.write(values.tobytes())

    def read(self, stretch: Stretch, first: int, stop: int) -> Floats:
        """(stop - first) samples of a stretch, counted from its start; zeros where it has none."""
        result = np.zeros(stop - first)
        begin, end = max(first, 0), min(stop, stretch.length)
        if begin < end:
            self._file.seek((stretch.first + begin) * BYTES)
            result[begin - first : end - first] = np.frombuffer(self._file.read((end - begin) * BYTES), np.float32)
        return result

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Sound:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
