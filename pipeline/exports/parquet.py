"""Streams as Parquet: start, end, text columns, numeric columns; the stream's name, reason and provenance in the file's metadata."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import StreamError
from ..timed import Provenance, TimedSequence

METADATA_KEY = b"emofuse.stream"


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
        raise StreamError(f"{path}: expected a Parquet file, but it cannot be read as one ({error})") from None
    metadata = (table.schema.metadata or {}).get(METADATA_KEY)
    if metadata is None:
        raise StreamError(f"{path}: expected a stream written by emofuse, but its metadata lack {METADATA_KEY.decode()}")
    facts = json.loads(metadata)
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
