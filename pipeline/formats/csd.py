"""Computational sequences (.csd) of the CMU-MultimodalSDK: HDF5, one file per stream, in it every clip.

    ROOT/data/VIDEO/features   (t f) float32, NaN where not measured; words are (t 1) byte strings in UTF-8
    ROOT/data/VIDEO/intervals  (t 2) float64 seconds on the clip's clock
    ROOT/metadata/KEY          (1,) text, JSON: the SDK's thirteen keys

The SDK's metadata have no place for who made a stream, text columns beside the words, or why a stream is empty; a further key, `emofuse`,
holds them, and the SDK hands it on as it does every key. https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..timed import Floats64, Provenance, TimedSequence
from .optional import require
from .session import Session

METADATA = (
    *("root name", "computational sequence description", "dimension names", "computational sequence version", "alignment compatible"),
    *("dataset name", "dataset version", "creator", "contact", "featureset bib citation", "dataset bib citation", "md5", "uuid"),
)
OWN = "emofuse"
LEAST_ROOM = 1 << 20  # bytes that any data set may take
MOST_PACKED = 200  # bytes that one stored byte may become: gzip packs columns of zeros so


@dataclass(frozen=True, eq=False)
class ComputationalSequence:
    """One file: its root's name, metadata (values as the JSON says), and video -> features (t f) or (t) text, and intervals (t 2)."""

    root: str
    metadata: Mapping[str, Any]
    entries: Mapping[str, tuple[NDArray[Any], Floats64]]


def write_csd(sessions: Sequence[Session], folder: Path) -> None:
    """STREAM.csd in the folder for every stream that some session has; a session's key is its name."""
    keys = [_text(session.name).replace("/", "_") for session in sessions]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise FormatError(f"{folder}: expected clips of different names, because a .csd keys by name; twice: {', '.join(twice)}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted({name for session in sessions for name in session.streams}):
        if "/" in name or "\0" in name:
            raise FormatError(f"{folder}: expected a tier whose name can be a file's, got {name!r}")
        streams = {key: session.streams[name] for key, session in zip(keys, sessions, strict=True) if name in session.streams}
        write_sequence(name, streams, folder / f"{name}.csd")


def _text(name: str) -> str:
    """A name as HDF5 takes it: what is no valid text is shown with backslashes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def write_sequence(name: str, streams: Mapping[str, TimedSequence], path: Path) -> None:
    """One stream of several clips; raises `FormatError` where their columns differ."""
    h5py = require("h5py", "h5py", ".csd")
    first = _typical(streams)
    for key, stream in streams.items():
        if len(stream) and stream.columns != first.columns:
            difference = f"{len(stream.columns)} columns of {key} and {len(first.columns)} of another clip"
            raise FormatError(f"{path}: expected one set of columns for all clips, got the {difference}")
    text = text_of(first)
    with h5py.File(path, "w", track_order=True) as file:
        root = file.create_group(name)
        data = root.create_group("data")
        for key, stream in streams.items():
            entry = data.create_group(key)
            if text is not None:
                entry.create_dataset("features", data=np.array([[t.encode()] for t in stream.labels[text]], "S").reshape(-1, 1))
            else:
                features = entry.create_dataset("features", (len(stream), len(first.columns)), np.float32)
                for rows in stream.parts():
                    features[rows] = stream.values[rows]
            entry.create_dataset("intervals", data=np.stack([stream.start, stream.end], axis=1))
        metadata = root.create_group("metadata")
        for fact, value in _metadata(name, streams, text).items():
            metadata.create_dataset(fact, (1,), dtype=h5py.string_dtype())[0] = json.dumps(value)


def _typical(streams: Mapping[str, TimedSequence]) -> TimedSequence:
    """A stream that has rows, else the first."""
    return next((stream for stream in streams.values() if len(stream)), next(iter(streams.values())))


def text_of(stream: TimedSequence) -> str | None:
    """The text column that a stream is about: words in `words`, a tier's label; None for a stream of numbers."""
    return next((label for label in ("word", "label") if label in stream.labels and stream.name != "text"), None)


def _metadata(name: str, streams: Mapping[str, TimedSequence], text: str | None) -> dict[str, Any]:
    columns_of_stream = list(_typical(streams).columns)
    columns = [text] if text else columns_of_stream
    extra = {
        "stream": name,
        "provenance": {key: stream.provenance.to_json() for key, stream in streams.items()},
        "reasons": {key: stream.reason for key, stream in streams.items() if stream.reason},
        "labels": {key: {k: list(v) for k, v in stream.labels.items() if k != text} for key, stream in streams.items()},
        "numbers": {key: [[None if np.isnan(v) else float(v) for v in row] for row in s.values] for key, s in streams.items()}
        if text
        else {},
        "columns": columns_of_stream,
    }
    facts: dict[str, Any] = dict.fromkeys(METADATA, "")
    facts |= {
        "root name": name,
        "computational sequence description": f"the stream {name} of emofuse",
        "dimension names": columns,
        "computational sequence version": "1",
        "alignment compatible": True,
        "creator": "emofuse",
        "md5": None,
        # The same content has the same identifier.
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([name, columns, sorted(streams), [len(s) for s in streams.values()]]))),
        OWN: extra,
    }
    return facts


def read_csd(path: Path) -> tuple[Session, ...]:
    """A .csd file, or a folder of them: one session a video (of word-aligned files, one an entry `video[i]`)."""
    files = sorted(path.glob("*.csd")) if path.is_dir() else [path]
    if not files:
        raise FormatError(f"{path}: expected files named STREAM.csd, found none")
    streams: dict[str, dict[str, TimedSequence]] = {}
    for file in files:
        sequence = read_sequence(file)
        for key in sequence.entries:
            stream = stream_of(sequence, key, file)
            streams.setdefault(key, {})[stream.name] = stream
    return tuple(Session(key, of_clip) for key, of_clip in streams.items())


def read_sequence(path: Path, pick: Callable[[Sequence[str]], Sequence[str]] | None = None) -> ComputationalSequence:
    """A whole file, or those of its videos that `pick` takes (the data sets' files are larger than memory). Raises `FormatError` naming
    the file, and the key that is missing or has the wrong shape."""
    h5py = require("h5py", "h5py", ".csd")
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as opened:
            file: Any = opened
            inner = Contained(h5py, path)
            roots = [root for root in file if (group := inner.group(file, root)) is not None and "data" in group]
            if len(roots) != 1:
                raise FormatError(f"{path}: expected one root with the key data, got {list(file)[:20]}")
            root = inner.group(file, roots[0])
            data = inner.group(root, "data")
            if data is None:
                raise FormatError(f"{path}: expected {roots[0]}/data to be a group")
            entries = {}
            for key in data if pick is None else pick(list(data)):
                entry = inner.group(data, key)
                for wanted in ("features", "intervals"):
                    if entry is None or wanted not in entry:
                        known = "no group" if entry is None else list(entry)[:20]
                        raise FormatError(f"{path}: expected the key {roots[0]}/data/{key}/{wanted}; there are {known}")
                features, intervals = inner.array(entry, "features"), np.asarray(inner.array(entry, "intervals"), np.float64)
                if features.ndim != 2 or intervals.shape != (len(features), 2):
                    got = f"{features.shape} and {intervals.shape}"
                    raise FormatError(f"{path}: {key}: expected features (t, f) and intervals (t, 2), got {got}")
                entries[key] = (features, intervals)
            return ComputationalSequence(roots[0], _facts(inner, root), entries)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read as a .csd: {str(error).splitlines()[0] if str(error) else error!r}") from error


@dataclass
class Contained:
    """Reads groups and data of one HDF5 file, and nothing that lies elsewhere or that the file does not hold.

    HDF5 can name other files as storage, as links and as sources of virtual data: whoever reads results of a stranger's file would find
    his own files in them. And a few kilobytes can claim terabytes of one fill value. Both are refused by a `FormatError`, before anything
    is read or allocated.
    """

    h5py: Any
    path: Path
    held: int = 0

    def group(self, parent: Any, name: str) -> Any:
        """The group of this name; None for anything else that lies in the file."""
        member = parent[name] if self._own(parent, name) else None
        return member if isinstance(member, self.h5py.Group) else None

    def array(self, parent: Any, name: str) -> NDArray[Any]:
        """The data set of this name, of any shape; raises `FormatError` if it claims more than the file's bytes can be unpacked to."""
        member: Any = parent[name] if self._own(parent, name) else None
        if member is None or not isinstance(member, self.h5py.Dataset):
            raise FormatError(f"{self.path}: expected {parent.name}/{name} to be a data set")
        if member.external or member.is_virtual:
            raise FormatError(f"{self.path}: refused: {member.name} keeps its values in another file")
        size = int(np.prod(member.shape, dtype=object)) * member.dtype.itemsize
        stored = int(member.id.get_storage_size())
        self.held += size
        most = LEAST_ROOM + MOST_PACKED * self.path.stat().st_size
        if size > LEAST_ROOM + MOST_PACKED * stored or self.held > most:
            raise FormatError(
                f"{self.path}: refused: {member.name} claims {size} bytes {member.shape}, but {stored} bytes are stored for it"
            )
        return np.asarray(member)

    def _own(self, parent: Any, name: str) -> bool:
        link = parent.get(name, getlink=True)
        if not isinstance(link, self.h5py.HardLink):
            raise FormatError(f"{self.path}: refused: {parent.name}/{name} is a link, and what it leads to is not read")
        return True


def _facts(inner: Contained, root: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    metadata = inner.group(root, "metadata") if "metadata" in root else None
    for key in metadata if metadata is not None else ():
        raw = inner.array(metadata, key).reshape(-1)
        text = raw[0].decode("utf-8", "replace") if len(raw) and isinstance(raw[0], bytes) else str(raw[0]) if len(raw) else ""
        try:
            facts[key] = json.loads(text)
        except (ValueError, RecursionError):
            facts[key] = text
    return facts


def column_names(sequence: ComputationalSequence, count: int, stream: str) -> tuple[str, ...]:
    """Names of a file's columns: its dimension names where there are as many as columns, else STREAM_0, STREAM_1 .., whoever reads it."""
    names = sequence.metadata.get("dimension names")
    if isinstance(names, list) and len(names) == count and len(set(map(str, names))) == count:
        return tuple(map(str, names))
    return tuple(f"{stream}_{j}" for j in range(count))


def stream_of(sequence: ComputationalSequence, key: str, path: Path, name: str = "") -> TimedSequence:
    """One video's rows, in order of time. Names of columns are the file's dimension names where there are as many as dimensions, else
    NAME_0, NAME_1 ..; values that are not finite are not measured (the data sets' COVAREP holds -inf), and are counted in the notes."""
    features, intervals = sequence.entries[key]
    given = sequence.metadata.get(OWN)
    extra: dict[str, Any] = given if isinstance(given, dict) else {}
    name = name or str(extra.get("stream") or sequence.root)
    if not np.isfinite(intervals).all():
        raise FormatError(f"{path}: {key}: expected finite seconds as intervals")
    order = np.argsort(intervals[:, 0], kind="stable")
    start, end = intervals[order, 0], np.maximum(intervals[order, 0], intervals[order, 1])
    notes: dict[str, Any] = {}
    labels: dict[str, tuple[str, ...]] = {}
    features = features[order]
    names = sequence.metadata.get("dimension names")
    if features.dtype.kind in "SUO":
        if features.shape[1] != 1:
            raise FormatError(f"{path}: {key}: expected text in one column, got {features.shape[1]}")
        text = names[0] if isinstance(names, list) and names in (["word"], ["label"]) else "word"
        labels[text] = tuple(t.decode("utf-8", "replace") if isinstance(t, bytes) else str(t) for t in features[:, 0])
        values, columns = _beside(extra, key, order)
    else:
        with np.errstate(over="ignore"):
            values = features.astype(np.float32)
        broken = np.isinf(values)
        values[broken] = np.nan
        if broken.any():
            notes["values_that_were_infinite"] = int(broken.sum())
        columns = column_names(sequence, values.shape[1], name)
    try:
        for label, texts in extra.get("labels", {}).get(key, {}).items():
            if len(texts) == len(order):
                labels[label] = tuple(str(texts[i]) for i in order)
        made = extra.get("provenance", {}).get(key)
        by = Provenance.from_json(made) if made else Provenance(f"{path.name}", "1", notes=notes)
        reason = str(extra.get("reasons", {}).get(key, "")) or ("" if len(start) else "no rows in the file")
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise FormatError(f"{path}: expected the metadata `emofuse` as emofuse writes them ({error!r})") from None
    return TimedSequence(name, columns, values, start, end, by, labels=labels, reason=reason)


def _beside(extra: Mapping[str, Any], key: str, order: NDArray[np.intp]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Numbers beside texts (a word's probability), where the file is ours."""
    rows, columns = extra.get("numbers", {}).get(key, []), tuple(extra.get("columns", ()))
    if len(rows) != len(order) or any(len(row) != len(columns) for row in rows):
        return np.zeros((len(order), 0), np.float32), ()
    values = np.array([[np.nan if v is None else v for v in row] for row in rows], np.float32).reshape(len(order), len(columns))
    return values[order], columns
