"""Arrow arrays from buffers, against `pyarrow.array`; and that writing and reading streams and tables does not import pandas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from emofuse.pipeline.formats import arrow


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, 8, 9, 100])
def test_floats_are_pyarrows(dtype: Any, count: int) -> None:
    values = np.random.default_rng(count).normal(size=(count, 3)).astype(dtype)
    values[::3, 1] = np.nan
    for column in values.T:  # not contiguous
        assert arrow.measured(column).equals(pa.array(column, mask=np.isnan(column)))
        arrow.measured(column).validate(full=True)
    assert np.array_equal(arrow.numbers(values[:, 1]).to_numpy(), values[:, 1], equal_nan=True)
    assert arrow.numbers(np.arange(count, dtype=np.int32)).equals(pa.array(np.arange(count, dtype=np.int32)))


def test_numbers_are_read_back_wherever_their_chunks_begin() -> None:
    values = np.arange(40, dtype=np.float64)
    values[::7] = np.nan
    column = pa.chunked_array([arrow.measured(values[:25]).slice(5), arrow.measured(values[25:]), pa.nulls(3, pa.float64())])
    assert np.array_equal(arrow.values_of(column), np.concatenate([values[5:], [np.nan] * 3]), equal_nan=True)
    assert arrow.values_of(pa.chunked_array([], pa.float32())).dtype == np.float32
    with pytest.raises(TypeError, match="expected a column of numbers, got string"):
        arrow.values_of(pa.chunked_array([["a"]]))
    with pytest.raises(TypeError, match="int64 with 1 null"):
        arrow.values_of(pa.chunked_array([[1, None]]))


@pytest.mark.parametrize("values", [[], [""], ["a", None, "ü", "", "東京"], [None], ["x"] * 9])
def test_texts_are_pyarrows(values: list[str | None]) -> None:
    arrow.texts(values).validate(full=True)
    assert arrow.texts(values).equals(pa.array(values, pa.string()))


def test_what_is_no_text_or_number_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a text, got 3"):
        arrow.texts(["a", 3])  # type: ignore[list-item]
    with pytest.raises(UnicodeEncodeError):
        arrow.texts(["\udce9"])
    schema = pa.schema([("n", pa.int64()), ("x", pa.float64())])
    for row in ({"n": "1"}, {"n": 1.5}, {"n": True}, {"x": "nan"}):
        with pytest.raises(TypeError, match="expected a number"):
            arrow.table([row], schema)


def test_a_table_is_pyarrows() -> None:
    schema = pa.schema([("t", pa.string()), ("n", pa.int64()), ("x", pa.float64())])
    rows: list[dict[str, Any]] = [{"t": "a", "n": 1, "x": 0.5}, {"t": None, "n": None, "x": 2}, {"x": float("nan")}, {"n": 1 << 60}]
    made = arrow.table(rows, schema)
    assert made.schema == schema
    expected = pa.Table.from_pylist(rows, schema=schema)
    assert made.slice(0, 2).equals(expected.slice(0, 2)) and made.column("n").equals(expected.column("n"))
    assert arrow.table([], schema).num_rows == 0


def test_streams_and_tables_need_no_pandas(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import numpy as np
from emofuse.pipeline.formats.parquet import read_stream, write_stream
from emofuse.pipeline.formats.spreadsheet import read_table, write_table
from emofuse.pipeline.batch.manifest import write_manifest
from emofuse.pipeline.batch.combined import write_combined
from emofuse.pipeline.batch.remote import open_store
from emofuse.pipeline.batch.task import Record
from emofuse.pipeline.timed import Provenance, TimedSequence
folder = Path(sys.argv[1])
values, made_by = np.array([[1, np.nan]], np.float32), Provenance("t", "1")
stream = TimedSequence("text", ("a", "b"), values, np.zeros(1), np.ones(1), made_by, {"word": ("ü",)})
write_stream(stream, folder / "text.parquet")
write_table(stream, folder / "text.csv")
for back in (read_stream(folder / "text.parquet"), read_table(folder / "text.csv")):
    assert back.labels == stream.labels and np.array_equal(back.values, stream.values, equal_nan=True)
store, records = open_store(str(folder / "out")), [Record("0" * 16, "/a.mp4", "a", "waiting")]
write_manifest(store, records)
write_combined(store, records)
print("pandas" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "False"
