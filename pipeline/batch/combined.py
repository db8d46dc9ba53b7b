"""emotions.parquet and emotions.csv: the utterances of all clips in one table, a few clips in memory at a time."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..formats import arrow
from ..formats.tables import common_flags, safe_text
from ..streams import EMOTIONS
from .store import Store
from .task import Record

GROUP = 512  # clips a row group

SCHEMA = pa.schema(
    [
        ("clip", pa.string()),
        ("output", pa.string()),
        ("utterance", pa.int64()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("text", pa.string()),
        ("emotion", pa.string()),
        *((emotion, pa.float64()) for emotion in EMOTIONS),
        ("sentiment", pa.float64()),
        ("confidence", pa.float64()),
        ("flags", pa.string()),
        ("speaker", pa.string()),
    ]
)


def write_combined(store: Store, records: Sequence[Record]) -> list[tuple[Record, str]]:
    """From each finished clip's analysis.json, in order of path; a row of the clip as a whole has no utterance number.

    Returns the records whose analysis.json cannot be read, each with the reason: their rows are left out.
    """
    folder = Path(tempfile.mkdtemp(dir=store.scratch()))
    done = sorted((record for record in records if record.state == "done"), key=lambda record: record.path)
    broken: list[tuple[Record, str]] = []
    with (
        pq.ParquetWriter(folder / "parquet", SCHEMA, compression="zstd") as parquet,
        (folder / "csv").open("w", encoding="utf-8", newline="") as text,
    ):
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(SCHEMA.names)
        for first in range(0, len(done), GROUP):
            rows = [row for record in done[first : first + GROUP] for row in _sound_rows(store, record, broken)]
            parquet.write_table(arrow.table(rows, SCHEMA))
            writer.writerows([[_cell(value) for value in row.values()] for row in rows])
    store.put("emotions.parquet", folder / "parquet")
    store.put("emotions.csv", folder / "csv")
    folder.rmdir()
    return broken


def _sound_rows(store: Store, record: Record, broken: list[tuple[Record, str]]) -> list[dict[str, Any]]:
    try:
        rows = _rows(store, record)
        arrow.table(rows, SCHEMA)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, pa.ArrowException) as error:
        broken.append((record, f"expected the analysis.json that emofuse writes, got something else ({error!r})"[:300]))
        return []
    return rows


def _rows(store: Store, record: Record) -> list[dict[str, Any]]:
    data = store.read(f"{record.output}/analysis.json")
    if data is None:
        return []  # somebody took the folder away; the next run makes it again
    document = json.loads(data)
    name = {"clip": _text(document["clip"]["name"]), "output": _text(record.output)}
    utterances = document["utterances"]
    text = " ".join(u["text"] for u in utterances if u["text"])
    flags = common_flags([u["flags"] for u in utterances])
    whole = {**document["summary"], "start": 0.0, "end": document["clip"]["length"], "text": text, "index": None, "flags": flags}
    return [{**name, **_row(utterance)} for utterance in (*utterances, whole)]


def _row(utterance: dict[str, Any]) -> dict[str, Any]:
    probabilities = utterance["probabilities"] or {}
    return {
        "utterance": utterance["index"],
        "start": utterance["start"],
        "end": utterance["end"],
        "text": utterance["text"],
        "emotion": utterance["emotion"],
        **{emotion: probabilities.get(emotion) for emotion in EMOTIONS},
        "sentiment": utterance["sentiment"],
        "confidence": utterance["confidence"],
        "flags": " ".join(utterance["flags"]),
        "speaker": utterance.get("speaker"),
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return safe_text(value) if isinstance(value, str) else f"{value:.6f}" if isinstance(value, float) else str(value)


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
