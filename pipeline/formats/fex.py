"""py-feat's Fex CSV (https://py-feat.org, version 2.1), read and written.

A face stream has py-feat's own names already; what differs is the pose (head_pose.py), the expressions' names in Detectorv2's tables
(Anger, Happy, ..), and the clock: a Fex has frame numbers and, at best, times to the second. What we write has two columns more, `start`
and `end` in seconds on the clip's clock, which py-feat carries along; a table without them needs the clip, or its frame rate. `X`, `Y`,
`Z`, the head's place, are written empty where they are not known, because py-feat's `poses` asks for them; `input` is the clip's path,
which `Fex.inputs` asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import FACE_BOX, FACE_SCORE, HEAD_POSE
from ..errors import FormatError
from ..head_pose import from_pyfeat, to_pyfeat
from ..timed import Floats64
from .face_table import FaceTable, frame_numbers, numbers, others, read_frame, whole, write_frame
from .openface import counted
from .session import Session
from .tables import safe_text

PLACE = ("X", "Y", "Z")
INPUT = "input"
THEIR_EMOTIONS = {
    "Anger": "anger",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happy": "happiness",
    "Sad": "sadness",
    "Surprise": "surprise",
    "Neutral": "neutral",
}


def read_fex(path: Path) -> FaceTable:
    """Rows with a face. Raises `FormatError` naming the line and column."""
    table = read_frame(path, "Fex")
    frames = frame_numbers(table, 0, path)
    box = [c for c in (*FACE_BOX, FACE_SCORE) if c in table.columns]
    columns: dict[str, Floats64] = {c: numbers(table, c, path) for c in box}
    columns["frame"] = frames.astype(np.float64)
    if set(HEAD_POSE) <= set(table.columns):
        pose = from_pyfeat(np.stack([numbers(table, c, path) for c in HEAD_POSE], axis=1))
        columns |= {name: pose[:, k] for k, name in enumerate(HEAD_POSE)}
    timed = {"start", "end"} <= set(table.columns)
    kept, left = others(table, ("frame", "start", "end", *box, *HEAD_POSE), path)
    columns |= {THEIR_EMOTIONS.get(name, name): values for name, values in kept.items()}
    # py-feat has a row for a frame without a face, too: nothing is measured in it.
    measured = np.stack([v for name, v in columns.items() if name != "frame"], axis=1) if len(columns) > 1 else np.zeros((len(table), 0))
    seen = np.flatnonzero(np.isfinite(columns["FaceRectX"]) if "FaceRectX" in columns else np.isfinite(measured).any(axis=1))
    times = np.stack([numbers(table, c, path) for c in ("start", "end")], axis=1)[seen] if timed else None
    if times is not None and not (np.isfinite(times).all() and (times[:, 1] >= times[:, 0]).all()):
        raise FormatError(f"{path}: expected start <= end in seconds in every row")
    notes: dict[str, Any] = {"clock": "the clip's own, as emofuse wrote it"} if timed else {}
    if len(seen) < len(table):
        notes["rows_without_a_face"] = len(table) - len(seen)
    if left:
        notes["left_out"] = left
    values = np.stack([columns[c] for c in columns], axis=1).astype(np.float32)
    return FaceTable("Fex", frames[seen], times, tuple(columns), values[seen], notes)


def write_fex(sessions: Sequence[Session], path: Path) -> None:
    """The face stream of one session; raises `FormatError` where it has none."""
    (session,) = sessions
    face = session.streams.get("face")
    if face is None:
        raise FormatError(
            f"{session.name}: expected a face stream to write as py-feat's table, found {', '.join(session.streams) or 'none'}"
        )
    columns: dict[str, NDArray[Any]] = {"frame": counted(face)}
    columns |= {c: face.column(c) for c in face.columns if c.startswith("Face")}
    if set(HEAD_POSE) <= set(face.columns):
        pose = to_pyfeat(face.select(HEAD_POSE).values.astype(np.float64))
        # In double precision, so that turning back gives the same single-precision angles.
        columns |= {name: pose[:, k] for k, name in enumerate(HEAD_POSE)}
        columns |= {c: np.full(len(face), np.nan) for c in PLACE if c not in face.columns}
    columns |= {c: whole(face.column(c)) for c in face.columns if c not in columns}
    source = np.array([safe_text(session.media or session.name)] * len(face), np.str_)
    write_frame({**columns, INPUT: source, "start": face.start, "end": face.end}, path)
