"""What the face providers share: their rows as one stream, with the frames that showed no face told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emofuse.pipeline.spool import Spool
from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence


def boxes_in_size(boxes: Floats32, size: tuple[int, ...], first: tuple[int, ...]) -> Floats32:
    """Boxes (n 4: x y width height) in pixels of a picture of `size` (height, width), in those of the clip's first picture.

    A clip may change its size in mid-course (recordings of video calls do); players then stretch every picture to one size, and a stream
    of boxes has one frame of reference.
    """
    down, across = first[0] / size[0], first[1] / size[1]
    return np.asarray(boxes * np.array([across, down, across, down], np.float32), np.float32)


class FaceRows:
    """The rows of a clip as they come, frame by frame."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        self._values = Spool((len(columns),))
        self._times = Spool((2,), np.float64)

    def add(self, rows: Floats32, times: Sequence[tuple[float, float]]) -> None:
        """Rows (n, columns), and each one's (start, end) in seconds."""
        self._values.add(rows)
        self._times.add(np.asarray(times, np.float64))

    def stream(self, provenance: Provenance, seen: int, with_face: int) -> TimedSequence:
        """The face stream; empty, with the reason, where there is no row.

        seen, with_face  frames read, and those of them with a face
        """
        if not self._values.rows:
            return TimedSequence.empty("face", self._columns, provenance, f"no face was found in any of {seen} frames")
        times = self._times.array()
        return TimedSequence(
            name="face",
            columns=self._columns,
            values=self._values.array(),
            start=np.array(times[:, 0]),
            end=np.array(times[:, 1]),
            provenance=provenance,
            reason="" if with_face == seen else f"no face was found in {seen - with_face} of {seen} frames",
        )
