"""What the face providers share: their rows as one stream, with the frames that showed no face told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence


def face_stream(
    columns: tuple[str, ...],
    rows: Sequence[Floats32],
    times: Sequence[tuple[float, float]],
    provenance: Provenance,
    seen: int,
    with_face: int,
) -> TimedSequence:
    """The face stream from blocks of rows (n f) and each row's (start, end) in seconds; empty, with the reason, where there is no row.

    seen, with_face  frames read, and those of them with a face
    """
    if not rows:
        return TimedSequence.empty("face", columns, provenance, f"no face was found in any of {seen} frames")
    return TimedSequence(
        name="face",
        columns=columns,
        values=np.concatenate(rows),
        start=np.array([start for start, _ in times]),
        end=np.array([end for _, end in times]),
        provenance=provenance,
        reason="" if with_face == seen else f"no face was found in {seen - with_face} of {seen} frames",
    )
