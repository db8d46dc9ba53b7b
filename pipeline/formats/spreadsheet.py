"""CSV: a folder with one plain UTF-8 table a stream, for pandas, R and spreadsheets.

`start` and `end` in seconds, text columns, numeric columns, under the stream's own names; an empty cell is "not measured". Numbers are
written as short as they can be without being other numbers. A text that a spreadsheet would take for a formula gets an apostrophe, which
reading takes off. What a stream is empty for, and who made it, has no place in CSV: it is in analysis.json and in the Parquet files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from ..errors import FormatError
from ..timed import Floats64, Provenance, TimedSequence
from . import arrow, delimited
from .session import UTTERANCES, Session
from .tables import safe_text, unsafe_text

TEXT_COLUMNS = frozenset({"word", "speaker", "text", "emotion", "flags", "label", "split"})


def write_csv(sessions: Sequence[Session], folder: Path) -> None:
    """One session: STREAM.csv in the folder."""
    (session,) = sessions
    folder.mkdir(parents=True, exist_ok=True)
    for name, stream in session.streams.items():
        if "/" in name or "\0" in name:
            raise FormatError(f"{folder}: expected a tier whose name can be a file's, got {name!r}")
        write_table(stream, folder / f"{name}.csv")


def write_table(stream: TimedSequence, path: Path) -> None:
    texts = [(safe_text(label), pa.string()) for label in stream.labels]
    schema = pa.schema([("start", pa.float64()), ("end", pa.float64()), *texts, *((safe_text(c), pa.float32()) for c in stream.columns)])
    with path.open("wb") as file, pacsv.CSVWriter(file, schema, write_options=pacsv.WriteOptions(quoting_style="needed")) as table:
        for rows in stream.parts():
            arrays = [arrow.numbers(stream.start[rows]), arrow.numbers(stream.end[rows])]
            arrays += [arrow.texts([safe_text(text) for text in label[rows]]) for label in stream.labels.values()]
            arrays += [arrow.measured(column) for column in np.array(stream.values[rows]).T]
            table.write_table(pa.Table.from_arrays(arrays, schema=schema))


def read_csv(path: Path) -> tuple[Session, ...]:
    """A folder of tables that `write_csv` wrote, or one of them (its stream is named like the file)."""
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise FormatError(f"{path}: expected tables named STREAM.csv, found none")
    return (Session(path.stem, {file.stem: read_table(file) for file in files}),)


def read_table(path: Path, name: str = "") -> TimedSequence:
    """One stream; columns whose cells are numbers are numeric. Raises `FormatError` naming the line."""
    with delimited.open_table(path) as file:
        table = delimited.rows(file, path)
        header = [unsafe_text(cell) for cell in next(table, (1, []))[1]]
        rows = list(table)
    if header[:2] != ["start", "end"]:
        raise FormatError(f"{path}: line 1: expected the columns start,end,..., got {','.join(header)[:80]!r}")
    for line, row in rows:
        if len(row) != len(header):
            raise FormatError(f"{path}: line {line}: expected {len(header)} cells, got {len(row)}")
    lines = [line for line, _ in rows]
    cells = {column: [row[j] for _, row in rows] for j, column in enumerate(header)}
    labels = {c: tuple(unsafe_text(text) for text in cells[c]) for c in header[2:] if _is_text(c, cells[c], path.stem)}
    numeric = tuple(c for c in header[2:] if c not in labels)
    values = np.full((len(rows), len(numeric)), np.nan, np.float32)
    for j, column in enumerate(numeric):
        values[:, j] = _floats(cells[column], column, lines, path)
    start, end = (_floats(cells[c], c, lines, path) for c in ("start", "end"))
    if np.isnan(start).any() or np.isnan(end).any():
        raise FormatError(f"{path}: expected a start and an end in every row")
    by = Provenance("CSV", "1", options={"file": path.name})
    reason = "" if rows else f"{path.name} has no rows"
    return TimedSequence(name or path.stem, numeric, values, start, end, by, labels=labels, reason=reason)


def _is_text(column: str, cells: list[str], stem: str) -> bool:
    if column in TEXT_COLUMNS:
        # In the utterances `label` is a number: the labelled sentiment.
        return not (column == "label" and stem == UTTERANCES)
    return _parsed(cells) is None


def _parsed(cells: list[str]) -> Floats64 | None:
    """(n) the numbers that all cells are, NaN for empty ones; None where a cell is no number."""
    try:
        return np.array([cell or "nan" for cell in cells], np.str_).astype(np.float64) if cells else np.zeros(0)
    except ValueError:
        return None


def _floats(cells: list[str], column: str, lines: list[int], path: Path) -> Floats64:
    """(n) one column's numbers; raises `FormatError` naming the line of the first that is none, or infinite."""
    values = _parsed(cells)
    with np.errstate(over="ignore"):
        if values is not None and not np.isinf(values.astype(np.float32)).any():
            return values
    for line, cell in zip(lines, cells, strict=True):
        value = _parsed([cell])
        with np.errstate(over="ignore"):
            if value is None or np.isinf(value.astype(np.float32)[0]):
                raise FormatError(f"{path}: line {line}: expected a finite number as {column}, got {cell[:40]!r}")
    raise AssertionError("some cell is wrong")
