"""Arrow arrays of numbers and texts, from and to their buffers.

`pyarrow.array` and `to_numpy` would do, but they import pandas to ask whether they were given something of its, and that import takes a
third of a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_KINDS: Mapping[pa.DataType, tuple[type, ...]] = {pa.int64(): (int, np.integer), pa.float64(): (int, float, np.integer, np.floating)}
"""Python's types of the cells of a column of numbers."""
_DTYPES: Mapping[pa.DataType, np.dtype[Any]] = {
    pa.from_numpy_dtype(kind): np.dtype(kind) for kind in (np.float32, np.float64, np.int32, np.int64)
}


def numbers(values: NDArray[Any]) -> pa.Array:
    """(n) integers or floats as they are; NaN stays NaN."""
    return _array(values, None)


def measured(values: NDArray[Any]) -> pa.Array:
    """(n) floats; NaN (not measured) becomes null."""
    known = ~np.isnan(values)
    return _array(values, None if known.all() else known)


def texts(values: Sequence[str | None]) -> pa.Array:
    """Texts; None becomes null. Raises `TypeError` for anything else, and `UnicodeEncodeError` for what is no text."""
    encoded = [b"" if value is None else _bytes(value) for value in values]
    ends = np.cumsum([0, *map(len, encoded)])
    if ends[-1] >= 1 << 31:
        raise ValueError(f"expected less than 2 GiB of texts in a group of rows, got {ends[-1]} bytes")
    known = np.array([value is not None for value in values], np.bool_)
    buffers = [_validity(None if known.all() else known), pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of strings, int64 and float64; None, and a cell that is not there, become null. Raises `TypeError` for a cell of
    another type."""
    columns = []
    for field in schema:
        cells = [row.get(field.name) for row in rows]
        columns.append(texts(cells) if field.type == pa.string() else _cells(cells, field))
    return pa.Table.from_arrays(columns, schema=schema)


def values_of(column: pa.ChunkedArray) -> NDArray[Any]:
    """(n) the numbers of a column of floats or integers, in its own type; null becomes NaN. Raises `TypeError` for a column of another
    type, and for integers with null."""
    dtype = _DTYPES.get(column.type)
    if dtype is None or (column.null_count and dtype.kind != "f"):
        raise TypeError(f"expected a column of numbers, got {column.type} with {column.null_count} null")
    values = [np.zeros(0, dtype)]
    for chunk in column.chunks:
        known, data = chunk.buffers()
        part = np.frombuffer(data, dtype, len(chunk), chunk.offset * dtype.itemsize)
        if chunk.null_count:
            bits = np.unpackbits(np.frombuffer(known, np.uint8), count=chunk.offset + len(chunk), bitorder="little")[chunk.offset :]
            part = np.where(bits.astype(np.bool_), part, np.array(np.nan, dtype))
        values.append(part)
    return np.concatenate(values)


def _cells(cells: Sequence[Any], field: pa.Field) -> pa.Array:
    kinds = _KINDS[field.type]
    for cell in cells:
        if cell is not None and (not isinstance(cell, kinds) or isinstance(cell, bool)):
            raise TypeError(f"{field.name}: expected a number ({field.type}), got {cell!r}")
    known = np.array([cell is not None for cell in cells], np.bool_)
    return _array(np.array([0 if cell is None else cell for cell in cells], _DTYPES[field.type]), None if known.all() else known)


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r}")
    return value.encode()


def _array(values: NDArray[Any], known: NDArray[np.bool_] | None) -> pa.Array:
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [_validity(known), pa.py_buffer(values)])


def _validity(known: NDArray[np.bool_] | None) -> pa.Buffer | None:
    return None if known is None else pa.py_buffer(np.packbits(known, bitorder="little"))
