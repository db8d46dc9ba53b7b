"""OpenFace 2's CSV (https://github.com/TadasBaltrusaitis/OpenFace/wiki/Output-Format), read and written. Names and units are in
openface_names.py; this is the file.

OpenFace writes a row for every frame: those with success 0 have no face, and are no rows of ours. Its timestamp counts from the first
frame; ours is the clip's clock. Intensities 0..5 divided by 5 have the range of our activations, not their meaning, and the stream's
notes say so. Columns that are no names of ours (gaze_*, AU01_c, x_*, p_*) are kept as they are, and written again. The whole header of
OpenFace is written, because its readers ask for columns by name: what was not measured is an empty cell, and is no column when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..timed import Floats64, TimedSequence
from .face_table import FaceTable, frame_numbers, numbers, others, read_frame, whole, write_frame
from .openface_names import AU_NAMES, HEAD, HEADER, INTENSITY, POSE, POSE_NAMES, our_angles, to_openface
from .session import Session

# What a face stream of ours may have that OpenFace has no column for.
WITHOUT_PLACE = re.compile(r"FaceRect\w+|AU\d\d|anger|disgust|fear|happiness|sadness|surprise|neutral")


def read_openface(path: Path) -> FaceTable:
    """Rows with a face. Raises `FormatError` naming the line and column."""
    table = read_frame(path, "OpenFace")
    frames = frame_numbers(table, 1, path)
    seen = numbers(table, "success", path) != 0 if "success" in table.columns else np.ones(len(table), bool)
    columns: dict[str, Floats64] = {"frame": frames.astype(np.float64)}
    if "confidence" in table.columns:
        columns["FaceScore"] = numbers(table, "confidence", path)
    if set(POSE_NAMES) <= set(table.columns) and table[list(POSE_NAMES)].notna().any(axis=None):
        pose = our_angles(np.stack([numbers(table, c, path) for c in POSE_NAMES], axis=1))
        columns |= {name: pose[:, k] for k, name in enumerate(POSE)}
    for column, openface_column in AU_NAMES.items():
        if openface_column in table.columns and table[openface_column].notna().any():
            columns[column] = numbers(table, openface_column, path) / INTENSITY
    done = ("frame", "timestamp", "success", "confidence", *POSE_NAMES, *AU_NAMES.values())
    kept, left = others(table, done, path)
    columns |= kept
    times = _times(frames, numbers(table, "timestamp", path)) if "timestamp" in table.columns else None
    if times is not None and not np.isfinite(times).all():
        raise FormatError(f"{path}: line {np.flatnonzero(~np.isfinite(times[:, 0]))[0] + 2}: expected a timestamp in seconds")
    notes: dict[str, Any] = {"scale": "AU intensities 0..5 divided by 5: the range of our activations, not their meaning"}
    if not seen.all():
        notes["rows_without_a_face"] = int((~seen).sum())
    if left:
        notes["left_out"] = left
    values = np.stack([columns[c] for c in columns], axis=1).astype(np.float32)
    rows = np.flatnonzero(seen)
    return FaceTable("OpenFace", frames[rows], None if times is None else times[rows], tuple(columns), values[rows], notes)


def _times(frames: NDArray[np.int64], timestamps: Floats64) -> Floats64:
    """(n 2): a frame ends where the next begins; before a gap and at the end it lasts as long as most do."""
    numbers_, first = np.unique(frames, return_index=True)
    start = timestamps[first]
    step = np.diff(start) / np.diff(numbers_) if len(start) > 1 else np.zeros(0)
    usual = float(np.median(step)) if len(step) else 0.0
    lasts = np.append(np.where(np.diff(numbers_) == 1, np.diff(start), usual), usual)
    end = start + np.maximum(lasts, 0.0)
    return np.stack([timestamps, end[np.searchsorted(numbers_, frames)]], axis=1) if len(frames) else np.zeros((0, 2))


def write_openface(sessions: Sequence[Session], path: Path) -> None:
    """The face stream of one session; raises `FormatError` where it has none."""
    (session,) = sessions
    face = session.streams.get("face")
    if face is None:
        raise FormatError(
            f"{session.name}: expected a face stream to write as OpenFace's table, found {', '.join(session.streams) or 'none'}"
        )
    write_frame(table_of(face), path)


def table_of(face: TimedSequence) -> dict[str, NDArray[Any]]:
    """All of OpenFace's columns (n) in its order, NaN where not measured, then others that came with the stream."""
    if "frame" not in face.columns:
        face = face.with_columns(("frame",), counted(face).astype(np.float32)[:, None])
    table = to_openface(face)
    columns: dict[str, NDArray[Any]] = {name: table.values[:, k] for k, name in enumerate(table.columns)}
    for name in ("frame", "face_id", "success"):
        columns[name] = whole(columns[name])
    columns["confidence"] = columns["confidence"].astype(np.float32)
    known = {*HEAD, *POSE, "FaceScore"}
    rest = [c for c in face.columns if c not in known and c not in columns and not WITHOUT_PLACE.fullmatch(c)]
    columns |= {c: whole(face.column(c)) for c in rest}
    nothing = np.full(len(face), np.nan, np.float32)
    return {c: columns.get(c, nothing) for c in HEADER} | {c: columns[c] for c in rest if c not in HEADER}


def counted(face: TimedSequence) -> NDArray[np.int64]:
    """(n) frame numbers from 0: the stream's own where it has them, else its different starts, counted."""
    if "frame" in face.columns and not np.isnan(face.column("frame")).any():
        return face.column("frame").astype(np.int64)
    return np.unique(face.start, return_inverse=True)[1].astype(np.int64)
