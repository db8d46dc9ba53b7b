"""Streams as Parquet: start, end, text columns, numeric columns; the stream's name, reason and provenance in the file's metadata.

Nothing of a stream is lost. `write_stream` and `read_stream` are for one stream; the format `parquet` is a folder of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import FormatError, StreamError
from ..spool import Spool
from ..timed import Provenance, TimedSequence
from . import arrow
from .session import Session

METADATA_KEY = b"emofuse.stream"
GROUP = 1 << 20
"""Bytes in a row group: half a minute of COVAREP's columns. A file is written and read a group at a time."""


def write_parquet(sessions: Sequence[Session], folder: Path) -> None:
    """One session: STREAM.parquet in the folder."""
    (session,) = sessions
    folder.mkdir(parents=True, exist_ok=True)
    for name, stream in session.streams.items():
        if "/" in name or "\0" in name:
            raise FormatError(f"{folder}: expected a tier whose name can be a file's, got {name!r}")
        write_stream(stream, folder / f"{name}.parquet")


def read_parquet(path: Path) -> tuple[Session, ...]:
    """A folder of streams, or one of them."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise FormatError(f"{path}: expected files named STREAM.parquet, found none")
    streams = {stream.name: stream for stream in map(read_stream, files)}
    return (Session(path.stem, streams),)


def write_stream(stream: TimedSequence, path: Path) -> None:
    """One file; NaN (not measured) is written as null."""
    facts = {"name": stream.name, "reason": stream.reason, "labels": list(stream.labels), "provenance": stream.provenance.to_json()}
    types = [("start", pa.float64()), ("end", pa.float64()), *((label, pa.string()) for label in stream.labels)]
    schema = pa.schema([*types, *((c, pa.float32()) for c in stream.columns)], {METADATA_KEY: json.dumps(facts).encode()})
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        rows = max(1, GROUP // (16 + 4 * len(stream.columns)))
        for first in range(0, max(1, len(stream)), rows):
            file.write_table(_group(stream, slice(first, min(first + rows, len(stream))), schema))
            stream.release()


def _group(stream: TimedSequence, rows: slice, schema: pa.Schema) -> pa.Table:
    arrays = [arrow.numbers(stream.start[rows]), arrow.numbers(stream.end[rows])]
    arrays += [arrow.texts(texts[rows]) for texts in stream.labels.values()]
    values = np.array(stream.values[rows])
    arrays += [arrow.measured(column) for column in values.T]
    return pa.Table.from_arrays(arrays, schema=schema)


def read_stream(path: Path) -> TimedSequence:
    """A stream that `write_stream` wrote; raises `StreamError` naming the file where it is something else."""
    try:
        with pq.ParquetFile(path) as file:
            metadata = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
            if metadata is None:
                raise StreamError(f"{path}: expected a stream written by emofuse, but its metadata lack {METADATA_KEY.decode()}")
            try:
                return _stream(file, json.loads(metadata))
            except pa.ArrowException:
                raise
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise StreamError(
                    f"{path}: expected a stream written by emofuse, but its metadata do not fit its columns ({error!r})"
                ) from None
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise StreamError(f"{path}: expected a Parquet file, but it cannot be read as one ({' '.join(str(error).split())})") from None


def _stream(file: pq.ParquetFile, facts: dict[str, Any]) -> TimedSequence:
    names = file.schema_arrow.names
    labels: dict[str, list[str]] = {label: [] for label in facts["labels"]}
    columns = tuple(c for c in names if c not in ("start", "end", *labels))
    values = Spool((len(columns),))
    times: dict[str, list[Any]] = {"start": [], "end": []}
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        for label, texts in labels.items():
            texts += table.column(label).to_pylist()
        rows = np.zeros((table.num_rows, len(columns)), np.float32)
        for j, column in enumerate(columns):
            rows[:, j] = arrow.values_of(table.column(column))
        values.add(rows)
        for name, arrays in times.items():
            arrays.append(arrow.values_of(table.column(name)))
    start, end = (np.concatenate([np.zeros(0), *arrays]) for arrays in times.values())
    return TimedSequence(
        name=facts["name"],
        columns=columns,
        values=values.array(),
        start=start,
        end=end,
        provenance=Provenance.from_json(facts["provenance"]),
        labels={label: tuple(texts) for label, texts in labels.items()},
        reason=facts["reason"],
    )
