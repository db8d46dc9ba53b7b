"""Tables of text: CSV, and the same with semicolons or tabs. Every CSV file of emofuse is taken apart here; what its columns mean is for
its format."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from ..errors import FormatError


def rows(lines: Iterable[str], path: Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Every row with a cell in it, and its number in the file, from 1; raises `FormatError` naming the line that is no CSV."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise FormatError(f"{path}: line {reader.line_num}: expected CSV, {error}") from None
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: expected a table in UTF-8, but it cannot be read: {error}") from None


def open_table(path: Path) -> TextIO:
    """A CSV file in UTF-8, for `rows` or `named_rows`; raises `FormatError`."""
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise FormatError(f"{path}: expected a table in UTF-8, but it cannot be read: {error.strerror or error}") from None


def named_rows(lines: Iterable[str], path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Every row as column -> cell, and its number. Raises `FormatError` for a missing column and naming the line of a row that has more or
    fewer cells than the header."""
    table = rows(lines, path)
    _, header = next(table, (1, []))
    if missing := [column for column in columns if column not in header]:
        raise FormatError(f"{path}: line 1: expected the columns {', '.join(columns)}; missing: {', '.join(missing)}")
    for line, row in table:
        if len(row) != len(header):
            raise FormatError(f"{path}: line {line}: expected {len(header)} cells, got {len(row)}")
        yield line, dict(zip(header, row, strict=True))
