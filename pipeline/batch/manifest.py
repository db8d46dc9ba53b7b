"""manifest.parquet (for machines) and manifest.csv (for people): one row per clip, made from the records.

Why Parquet over records and not SQLite: a record a clip is written by whoever did the clip, in one rename, and so works on a mounted or
remote folder, for several shards at once, where a database's file locks do not; the same rows are the same bytes, and pandas reads them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..formats import arrow
from ..formats.tables import safe_text
from .store import Store
from .task import Record

STAGES = ("hash", "extract", "baseline", "fusion", "write")
# These differ from run to run, all other columns do not.
TIMINGS = ("attempts", *(f"seconds_{stage}" for stage in STAGES), "seconds", "peak_memory")

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("output", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("refused", pa.string()),
        ("remarks", pa.string()),
        ("flags", pa.string()),
        ("length", pa.float64()),
        ("utterances", pa.int64()),
        ("emotion", pa.string()),
        ("probability", pa.float64()),
        ("person", pa.string()),
        ("attempts", pa.int64()),
        *((f"seconds_{stage}", pa.float64()) for stage in STAGES),
        ("seconds", pa.float64()),
        ("peak_memory", pa.int64()),
        ("path", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("key", pa.string()),
        ("emofuse", pa.string()),
        ("id", pa.string()),
    ]
)


def row_of(record: Record) -> dict[str, Any]:
    """A record as a row; a name that is no valid text is shown with backslashes."""
    path = _text(record.path)
    return {
        "name": path.rsplit("/", 1)[-1],
        "output": _text(record.output) if record.state == "done" else None,
        "state": record.state,
        "reason": record.reason,
        "message": None if record.message is None else _text(record.message),
        "refused": _text("; ".join(f"{name}: {why}" for name, why in record.refused.items())) or None,
        "remarks": _text("; ".join(record.remarks)) or None,
        "flags": _text(flag_counts(record)) or None,
        "length": record.length,
        "utterances": record.utterances,
        "emotion": record.emotion,
        "probability": record.probability,
        "person": None if record.person is None else _text(record.person),
        "attempts": record.attempts,
        **{f"seconds_{stage}": record.seconds.get(stage, 0.0) for stage in STAGES},
        "seconds": round(sum(record.seconds.values()), 4),
        "peak_memory": record.peak_memory,
        "path": path,
        "bytes": record.bytes,
        "sha256": record.sha256,
        "key": record.key,
        "emofuse": record.emofuse,
        "id": record.id,
    }


def flag_counts(record: Record) -> str:
    """As "no_face 2, short 1": flags, and how many utterances have each."""
    return ", ".join(f"{flag} {count}" for flag, count in record.flags.items())


def write_manifest(store: Store, records: Sequence[Record]) -> None:
    """Both files, in order of path."""
    rows = [row_of(record) for record in sorted(records, key=lambda record: record.path)]
    binary = io.BytesIO()
    pq.write_table(arrow.table(rows, SCHEMA), binary, compression="zstd")
    store.write("manifest.parquet", binary.getvalue())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCHEMA.names)
    writer.writerows([["" if value is None else _cell(value) for value in row.values()] for row in rows])
    store.write("manifest.csv", text.getvalue().encode("utf-8"))


def _cell(value: Any) -> str:
    return safe_text(value) if isinstance(value, str) else str(value)


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
