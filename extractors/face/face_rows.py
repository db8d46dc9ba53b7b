"""What the face providers share: their rows as one stream, with the frames that showed no face told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from emofuse.pipeline.media import Frame
from emofuse.pipeline.spool import Spool
from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence

from .face_ids import FaceIds
from .scene_cuts import is_cut, thumbnail


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


def stream_of_frames(read: Iterable[tuple[Frame, Floats32]], columns: tuple[str, ...], provenance: Provenance) -> TimedSequence:
    """The face stream of a provider that reads each frame by itself. Holds no frame but the last.

    read  each frame in order with the rows (n f) of its faces: the box (x y width height) first, `face_id` and `frame` last, both still 0
    """
    faces, rows_so_far = FaceIds(), FaceRows(columns)
    cuts: list[float] = []
    seen = with_face = 0
    first_size: tuple[int, ...] | None = None
    before: Floats32 | None = None
    for frame, rows in read:
        now = thumbnail(frame.image)
        if before is not None and is_cut(before, now):
            faces.scene_ended()
            cuts.append(frame.start)
        before = now
        first_size = first_size or frame.image.shape[:2]
        if len(rows):
            rows[:, :4] = boxes_in_size(rows[:, :4], frame.image.shape[:2], first_size)
            rows[:, -2] = faces.of(rows[:, :4], frame.start)
            rows[:, -1] = seen
            rows_so_far.add(rows, [(frame.start, frame.end)] * len(rows))
            with_face += 1
        seen += 1
    notes = {"frames": seen, "frames_with_face": with_face, "faces": faces.count, "cuts": cuts}
    return rows_so_far.stream(replace(provenance, notes=notes), seen, with_face)
