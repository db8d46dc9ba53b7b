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
from ..timed import Provenance, TimedSequence
from .session import Session

METADATA_KEY = b"emofuse.stream"


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
    arrays: dict[str, pa.Array] = {"start": pa.array(stream.start), "end": pa.array(stream.end)}
    for label, texts in stream.labels.items():
        arrays[label] = pa.array(texts, pa.string())
    for j, column in enumerate(stream.columns):
        values = stream.values[:, j]
        arrays[column] = pa.array(values, pa.float32(), mask=np.isnan(values))
    facts = {"name": stream.name, "reason": stream.reason, "labels": list(stream.labels), "provenance": stream.provenance.to_json()}
    table = pa.table(arrays).replace_schema_metadata({METADATA_KEY: json.dumps(facts).encode()})
    pq.write_table(table, path, compression="zstd")


def read_stream(path: Path) -> TimedSequence:
    """A stream that `write_stream` wrote; raises `StreamError` naming the file where it is something else."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise StreamError(f"{path}: expected a Parquet file, but it cannot be read as one ({' '.join(str(error).split())})") from None
    metadata = (table.schema.metadata or {}).get(METADATA_KEY)
    if metadata is None:
        raise StreamError(f"{path}: expected a stream written by emofuse, but its metadata lack {METADATA_KEY.decode()}")
    try:
        return _stream(table, json.loads(metadata))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StreamError(f"{path}: expected a stream written by emofuse, but its metadata do not fit its columns ({error!r})") from None


def _stream(table: pa.Table, facts: dict[str, Any]) -> TimedSequence:
    labels = {label: tuple(table.column(label).to_pylist()) for label in facts["labels"]}
    columns = tuple(c for c in table.column_names if c not in ("start", "end", *labels))
    values = np.zeros((table.num_rows, len(columns)), np.float32)
    for j, column in enumerate(columns):
        values[:, j] = table.column(column).to_numpy(zero_copy_only=False)
    return TimedSequence(
        name=facts["name"],
        columns=columns,
        values=values,
        start=table.column("start").to_numpy(zero_copy_only=False),
        end=table.column("end").to_numpy(zero_copy_only=False),
        provenance=Provenance.from_json(facts["provenance"]),
        labels=labels,
        reason=facts["reason"],
    )
