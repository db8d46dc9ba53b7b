"""Stages that are done, by key: probes (what a clip is, how its decoding ended), streams, answers (what a model said of them)."""

from __future__ import annotations

import io
import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..attention_maps import read_maps, write_maps
from ..clip import MediumEnd
from ..errors import EmofuseError, StreamError
from ..exports.parquet import read_stream, write_stream
from ..ports import Analysis, AttentionRow, ClipInfo
from ..timed import TimedSequence
from .codec import decode, encode
from .store import HIDDEN, Store, to_bytes

ANSWER_KEY = b"emofuse.answer"
MAPS_KEY = b"emofuse.maps"


class Cache:
    """Reads and writes finished stages. What cannot be read counts as not there; what is written twice is the same."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def info(self, key: str) -> ClipInfo | None:
        document = self._json(_place("probes", key, "json"))
        return None if document is None else decode(ClipInfo, document)

    def keep_info(self, key: str, info: ClipInfo) -> None:
        # The path is not part of the content: two copies of a clip are one entry.
        self._store.write(_place("probes", key, "json"), to_bytes(encode(replace(info, path=""))))

    def end(self, key: str) -> MediumEnd | None:
        document = self._json(_place("probes", key, "json"))
        return None if document is None else decode(MediumEnd, document)

    def keep_end(self, key: str, end: MediumEnd) -> None:
        self._store.write(_place("probes", key, "json"), to_bytes(asdict(end)))

    def stream(self, key: str) -> TimedSequence | None:
        with self._store.fetched(_place("streams", key, "parquet")) as path:
            if path is None:
                return None
            try:
                return read_stream(path)
            except (StreamError, ValueError, KeyError):
                return None

    def keep_stream(self, key: str, stream: TimedSequence) -> None:
        path = self._temporary()
        write_stream(stream, path)
        self._store.put(_place("streams", key, "parquet"), path)

    def answer(self, key: str, streams: dict[str, TimedSequence], info: ClipInfo) -> Analysis | None:
        """What a model said, over these streams and of this clip."""
        with self._store.fetched(_place("answers", key, "parquet")) as path:
            if path is None:
                return None
            try:
                return _read_answer(path, streams, info)
            except (pa.ArrowException, EmofuseError, OSError, ValueError, KeyError, TypeError):
                return None

    def keep_answer(self, key: str, analysis: Analysis) -> None:
        path = self._temporary()
        _write_answer(analysis, path)
        self._store.put(_place("answers", key, "parquet"), path)

    def _temporary(self) -> Path:
        handle, name = tempfile.mkstemp(dir=self._store.scratch())
        os.close(handle)
        return Path(name)

    def _json(self, name: str) -> Any:
        data = self._store.read(name)
        try:
            return None if data is None else json.loads(data)
        except ValueError:
            return None


def _place(kind: str, key: str, suffix: str) -> str:
    return f"{HIDDEN}/{kind}/{key[:2]}/{key}.{suffix}"


def _write_answer(analysis: Analysis, path: Path) -> None:
    """The attention rows as a table; all the rest as JSON in its metadata. Streams are kept apart, the clip's place is not kept."""
    rows = analysis.attention
    names = list(dict.fromkeys(name for row in rows for name in row.shares))
    table = pa.table(
        {
            "utterance": pa.array([r.utterance for r in rows], pa.int64()),
            "stream": pa.array([r.stream for r in rows], pa.string()).dictionary_encode(),
            "index": pa.array([r.index for r in rows], pa.int64()),
            "start": pa.array([r.start for r in rows], pa.float64()),
            "end": pa.array([r.end for r in rows], pa.float64()),
            "label": pa.array([r.label for r in rows], pa.string()),
            "overall": pa.array([r.overall for r in rows], pa.float64()),
            # A name that a row does not have at all is told from one that has no value.
            "has": pa.array([sum(1 << i for i, n in enumerate(names) if n in r.shares) for r in rows], pa.int64()),
            **{f"share {n}": pa.array([r.shares.get(n) for r in rows], pa.float64()) for n in names},
        }
    )
    bare = tuple(replace(u, prediction=u.prediction and replace(u.prediction, attention=())) for u in analysis.utterances)
    rest = encode(replace(analysis, streams={}, attention=(), utterances=bare, info=replace(analysis.info, path="")))
    maps = io.BytesIO()
    write_maps({u.index: u.prediction.attention for u in analysis.utterances if u.prediction is not None}, maps)
    metadata = {ANSWER_KEY: json.dumps({"analysis": rest, "shares": names}).encode(), MAPS_KEY: maps.getvalue()}
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")


def _read_answer(path: Path, streams: dict[str, TimedSequence], info: ClipInfo) -> Analysis:
    table = pq.read_table(path)
    document = json.loads(table.schema.metadata[ANSWER_KEY])
    names: list[str] = document["shares"]
    columns = [table.column(c).to_pylist() for c in ("utterance", "stream", "index", "start", "end", "label", "overall", "has")]
    shares = [table.column(f"share {n}").to_pylist() for n in names]
    rows = tuple(
        AttentionRow(
            utterance=utterance,
            stream=stream,
            index=index,
            start=start,
            end=end,
            label=label,
            shares={n: shares[i][k] for i, n in enumerate(names) if has >> i & 1},
            overall=overall,
        )
        for k, (utterance, stream, index, start, end, label, overall, has) in enumerate(zip(*columns, strict=True))
    )
    found = decode(Analysis, document["analysis"])
    maps = read_maps(io.BytesIO(table.schema.metadata[MAPS_KEY]))
    whole = tuple(replace(u, prediction=u.prediction and replace(u.prediction, attention=maps.get(u.index, ()))) for u in found.utterances)
    return replace(found, streams=streams, attention=rows, utterances=whole, info=info)
