"""Tables of faces by other programs, one row per frame and face: what OpenFace's and py-feat's CSV have in common.

Such a table counts frames; it does not know the clip's clock. `FaceTable` keeps the frame numbers, so that the times can be those of the
clip's own frames where the clip is at hand (extractors/stream_file.py), and the table's own times where it is not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..timed import Floats32, Floats64, Provenance, TimedSequence

if TYPE_CHECKING:
    import pandas

MOST_BYTES = 2 * 2**30
OPENFACE, FEX, OURS = "openface", "fex", "csv"


@dataclass(frozen=True, eq=False)
class FaceTable:
    """Faces by frame, in order of frame and face.

    form      "OpenFace" or "Fex"
    frames    (n) frame numbers, the clip's first frame being 0
    times     (n 2) start and end by the table itself, None where it has none
    columns, values  as in a face stream; `frame` is among them
    notes     what was done on reading: columns that are left out, rows without a face
    """

    format: str
    frames: NDArray[np.int64]
    times: Floats64 | None
    columns: tuple[str, ...]
    values: Floats32
    notes: Mapping[str, Any] = field(default_factory=dict)

    def stream(self, path: Path, fps: float | None = None) -> TimedSequence:
        """The face stream at the table's own times, or at FRAME / fps where that is asked for. Raises `FormatError` without either."""
        notes = dict(self.notes)
        if fps is not None:
            times = np.stack([self.frames / fps, (self.frames + 1) / fps], axis=1)
            notes["clock"] = f"frame / {fps:g}: 0 is the first frame, wherever that lies in the clip"
        elif self.times is not None:
            times = self.times
            notes.setdefault("clock", "the table's own: 0 is where its program put it, for OpenFace the first frame")
        else:
            raise FormatError(f"{path}: a {self.format} table has frame numbers and no times; say the clip's frame rate (--fps)")
        return self.placed(times, path, notes)

    def placed(self, times: Floats64, path: Path, notes: Mapping[str, Any]) -> TimedSequence:
        """The face stream with these starts and ends (n 2)."""
        order = np.lexsort((np.arange(len(times)), times[:, 0])) if len(times) else np.zeros(0, np.intp)
        by = Provenance(self.format, "1", options={"file": path.name}, notes=notes)
        if not len(order):
            return TimedSequence.empty("face", self.columns, by, f"{path.name} has no row with a face")
        return TimedSequence("face", self.columns, self.values[order], times[order, 0], times[order, 1], by)


def kind_of(path: Path) -> str:
    """Whether a CSV is OpenFace's, py-feat's or a table of ours, by its header; raises `FormatError` naming what it has."""
    header = _header(path)
    if {"confidence", "success"} <= set(header) or any(re.fullmatch(r"AU\d\d_[rc]", name) for name in header):
        return OPENFACE
    if header[:2] == ["start", "end"]:
        return OURS
    if "FaceRectX" in header or (any(re.fullmatch(r"AU\d\d", name) for name in header) and "frame" in header):
        return FEX
    raise FormatError(
        f"{path}: line 1: expected the columns of OpenFace (frame, timestamp, confidence, success, AU01_r ..), of py-feat "
        f"(frame, FaceRectX, AU01 ..) or of emofuse (start, end, ..), got {', '.join(header)[:80]}"
    )


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline(1 << 20)
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: expected a CSV in UTF-8, but it cannot be read: {error}") from None
    return [name.strip().strip('"') for name in line.rstrip("\r\n").split(",")]


def read_frame(path: Path, format_name: str) -> pandas.DataFrame:
    """The whole CSV, spaces around the names taken off (OpenFace writes ", "); raises `FormatError`."""
    import pandas

    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise FormatError(f"{path}: expected a {format_name} table of at most {MOST_BYTES} bytes, got {size}")
        table = pandas.read_csv(
            path,
            skipinitialspace=True,
            encoding="utf-8-sig",
            na_values=["-nan(ind)", "-nan"],
            low_memory=False,
        )
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # pandas' errors of parsing, and of decoding
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(f"{path}: expected a {format_name} table (CSV in UTF-8), but it cannot be read as one: {first[:200]}") from None
    table.columns = [str(name).strip() for name in table.columns]
    if len(set(table.columns)) != len(table.columns):
        twice = sorted({c for c in table.columns if list(table.columns).count(c) > 1})
        raise FormatError(f"{path}: line 1: columns named twice: {', '.join(twice)[:200]}")
    return table


def numbers(table: pandas.DataFrame, column: str, path: Path) -> Floats64:
    """(n) one column's numbers, NaN where empty or infinite; raises `FormatError` naming the line of what is none."""
    import pandas

    cells = table[column]
    try:
        values = np.array(pandas.to_numeric(cells, errors="coerce"), np.float64)
    except OverflowError:  # whole numbers of hundreds of digits stay Python's own
        values = np.array([_float(cell) for cell in cells], np.float64)
    wrong = np.flatnonzero(np.isnan(values) & np.asarray(cells.notna()))
    if len(wrong):
        raise FormatError(f"{path}: line {wrong[0] + 2}: expected a number as {column}, got {str(cells.iloc[wrong[0]])[:40]!r}")
    values[~np.isfinite(values) | (np.abs(values) > np.finfo(np.float32).max)] = np.nan
    return values


def _float(cell: Any) -> float:
    """The number that a cell is: infinite where it is too large, NaN where it is none."""
    try:
        return float(cell)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return math.nan


def others(table: pandas.DataFrame, done: Sequence[str], path: Path) -> tuple[dict[str, Floats64], list[str]]:
    """Every other column that holds numbers (n), under its own name, and the names of those that hold texts. Empty columns are neither."""
    import pandas

    kept: dict[str, Floats64] = {}
    left: list[str] = []
    for column in [c for c in table.columns if c not in done]:
        if not len(table) or not table[column].notna().any():
            continue
        if pandas.api.types.is_numeric_dtype(table[column]):
            kept[column] = numbers(table, column, path)
        else:
            left.append(column)
    return kept, left


def frame_numbers(table: pandas.DataFrame, first: int, path: Path) -> NDArray[np.int64]:
    """(n) the column `frame`, counted from 0; raises `FormatError` where one is no whole number, or comes before the first."""
    if "frame" not in table.columns:
        raise FormatError(f"{path}: line 1: expected a column frame, got {', '.join(table.columns)[:80]}")
    counted = numbers(table, "frame", path) - first
    wrong = np.flatnonzero(~(counted >= 0) | (counted != np.floor(counted)) | (counted > 2**40))
    if len(wrong):
        raise FormatError(
            f"{path}: line {wrong[0] + 2}: expected a frame number from {first} on, got {str(table['frame'].iloc[wrong[0]])[:40]}"
        )
    return counted.astype(np.int64)


def write_frame(columns: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Columns (n) of one length as a CSV; NaN is an empty cell, numbers are as short as they can be and still read back equal.

    Texts (dtype U) are quoted.
    """
    import pyarrow as pa
    import pyarrow.csv as pacsv

    arrays = {name: pa.array(v, mask=np.isnan(v)) if v.dtype.kind == "f" else pa.array(v.tolist()) for name, v in columns.items()}
    with path.open("wb") as file:
        pacsv.write_csv(pa.table(arrays), file, pacsv.WriteOptions(quoting_style="needed", quoting_header="none"))


def whole(values: Floats32 | Floats64) -> NDArray[Any]:
    """(n) numbers as integers if all are whole, so that 3 is written and not 3.0; else as they are."""
    if np.isfinite(values).all() and np.array_equal(values, np.floor(values)):
        return values.astype(np.int64)
    return values
