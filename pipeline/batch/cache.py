"""Stages that are done, by key: probes (what a clip is, how its decoding ended), streams, baselines (sums over utterances of a clip or a
person), answers (what a model said of them)."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..attention.maps import read_maps, with_maps, write_maps
from ..attention_rows import AttentionRows, StreamAttention
from ..clip import MediumEnd
from ..codec import decode, encode
from ..errors import EmofuseError, OutputError, StreamError
from ..formats import arrow
from ..formats.parquet import read_stream, write_stream
from ..hashing import sha256_of
from ..media import ClipInfo
from ..person import PersonSums
from ..results import Analysis, AnalyzedUtterance, ClipFacts, Prediction
from ..timed import Provenance, TimedSequence
from .keys import key_of
from .store import HIDDEN, Store, to_bytes

ANSWER_KEY = b"emofuse.answer"
GROUP = 1 << 16
"""Rows of attention that are written and read together."""


class Cache:
    """Reads and writes finished stages. What cannot be read, or is not what was written, counts as not there.

    Beside every file lies its SHA-256 (NAME.sha256): a bit that a disk turned is noticed, and the stage is done again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def info(self, key: str) -> ClipInfo | None:
        document = self._json(_place("probes", key, "json"))
        return None if document is None else decode(ClipInfo, document)

    def keep_info(self, key: str, info: ClipInfo) -> None:
        # The path is not part of the content: two copies of a clip are one entry.
        self._keep_json(_place("probes", key, "json"), encode(replace(info, path="")))

    def end(self, key: str) -> MediumEnd | None:
        document = self._json(_place("probes", key, "json"))
        return None if document is None else decode(MediumEnd, document)

    def keep_end(self, key: str, end: MediumEnd) -> None:
        self._keep_json(_place("probes", key, "json"), encode(end))

    def stream(self, key: str) -> TimedSequence | None:
        with self._fetched(_place("streams", key, "parquet")) as path:
            if path is None:
                return None
            try:
                return read_stream(path)
            except (StreamError, ValueError, KeyError):
                return None

    def keep_stream(self, key: str, stream: TimedSequence) -> None:
        path = self._temporary()
        with _room():
            write_stream(stream, path)
        self._keep(_place("streams", key, "parquet"), path)

    def sums(self, key: str) -> PersonSums | None:
        """What was summed over the utterances of a clip, or of all of a person's clips."""
        document = self._json(_place("baselines", key, "json"))
        try:
            return None if document is None else decode(PersonSums, document)
        except (StreamError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep_sums(self, key: str, sums: PersonSums) -> None:
        self._keep_json(_place("baselines", key, "json"), encode(sums))

    def answer(self, key: str, streams: dict[str, TimedSequence], info: ClipInfo) -> Analysis | None:
        """What a model said, over these streams and of this clip."""
        with self._fetched(_place("answers", key, "parquet")) as path, self._fetched(_place("answers", key, "npz")) as maps:
            if path is None or maps is None:
                return None
            try:
                return _read_answer(path, maps, streams, info)
            except (pa.ArrowException, EmofuseError, OSError, ValueError, KeyError, TypeError):
                return None

    def keep_answer(self, key: str, analysis: Analysis) -> None:
        path = self._temporary()
        with _room(), path.open("wb") as file:
            write_maps({u.index: u.prediction.attention for u in analysis.utterances if u.prediction is not None}, file)
        self._keep(_place("answers", key, "npz"), path)
        path = self._temporary()
        with _room():
            _write_answer(analysis, path)
        self._keep(_place("answers", key, "parquet"), path)  # last: where it is, both are

    def _temporary(self) -> Path:
        with _room():
            handle, name = tempfile.mkstemp(dir=self._store.scratch())
            os.close(handle)
        return Path(name)

    def _keep(self, name: str, file: Path) -> None:
        self._store.write(f"{name}.sha256", sha256_of(file).encode("ascii"))
        self._store.put(name, file)  # last: where it is, its hash is

    @contextmanager
    def _fetched(self, name: str) -> Iterator[Path | None]:
        """The file, where its hash is the one that was written beside it."""
        digest = self._store.read(f"{name}.sha256")
        with self._store.fetched(name) as path:
            yield path if path is not None and digest == sha256_of(path).encode("ascii") else None

    def _keep_json(self, name: str, document: Any) -> None:
        self._store.write(name, to_bytes({"sha256": key_of(document), "value": document}))

    def _json(self, name: str) -> Any:
        data = self._store.read(name)
        try:
            whole = {} if data is None else json.loads(data)
            return whole["value"] if whole["sha256"] == key_of(whole["value"]) else None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


@contextmanager
def _room() -> Iterator[None]:
    """What goes wrong with files of our own is the disk's fault and no clip's."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"expected room for what is computed, got {error.strerror or error}") from None


@dataclass(frozen=True, eq=False)
class _Rest:
    """An `Analysis` without its streams, its attention, and what the container says."""

    model: Provenance
    utterances: tuple[AnalyzedUtterance, ...]
    summary: Prediction | None
    reasons: Mapping[str, str]
    facts: ClipFacts


def _place(kind: str, key: str, suffix: str) -> str:
    return f"{HIDDEN}/{kind}/{key[:2]}/{key}.{suffix}"


def _write_answer(analysis: Analysis, path: Path) -> None:
    """The attention as columns, a row group after the other; all the rest as JSON in the metadata. Streams and maps are kept apart, the
    clip's place is not kept."""
    attention = analysis.attention
    names = list(dict.fromkeys(name for paid in attention.streams.values() for name in paid.shares))
    bare = tuple(replace(u, prediction=u.prediction and replace(u.prediction, attention=())) for u in analysis.utterances)
    rest = encode(_Rest(analysis.model, bare, analysis.summary, analysis.reasons, analysis.facts))
    document = {"analysis": rest, "shares": {name: list(paid.shares) for name, paid in attention.streams.items()}}
    columns = [
        ("utterance", pa.int32()),
        ("overall", pa.float64()),
        ("influence", pa.float64()),
        *((f"share {n}", pa.float64()) for n in names),
    ]
    schema = pa.schema(columns, {ANSWER_KEY: json.dumps(document).encode()})
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for paid in attention.streams.values():
            for rows in _groups(paid):
                arrays = [arrow.numbers(paid.utterance[rows]), arrow.measured(paid.overall[rows]), arrow.measured(paid.influence[rows])]
                nothing = pa.nulls(rows.stop - rows.start, pa.float64())
                arrays += [arrow.measured(paid.shares[n][rows]) if n in paid.shares else nothing for n in names]
                file.write_table(pa.Table.from_arrays(arrays, schema=schema))
                paid.release()


def _groups(paid: StreamAttention) -> Iterator[slice]:
    n = len(paid.stream)
    return (slice(first, min(first + GROUP, n)) for first in range(0, n, GROUP))


def _read_answer(path: Path, maps: Path, streams: dict[str, TimedSequence], info: ClipInfo) -> Analysis:
    attention = AttentionRows.empty(streams)
    with pq.ParquetFile(path) as file:
        document = json.loads(file.schema_arrow.metadata[ANSWER_KEY])
        groups = iter(range(file.num_row_groups))
        for name, paid in attention.streams.items():
            into: dict[str, NDArray[Any]] = {"utterance": paid.utterance, "overall": paid.overall, "influence": paid.influence}
            into |= {f"share {share}": paid.column(share) for share in document["shares"][name]}
            for rows in _groups(paid):
                table = file.read_row_group(next(groups, -1))
                for column, values in into.items():
                    values[rows] = arrow.values_of(table.column(column))
                paid.release()
    rest = decode(_Rest, document["analysis"])
    utterances = tuple(with_maps(rest.utterances, read_maps(maps)))
    return Analysis(info, streams, rest.model, utterances, rest.summary, attention, rest.reasons, rest.facts)
