"""Streams that `emofuse extract` wrote, and a labels CSV: FOLDER/labels.csv and FOLDER/CLIP/streams/STREAM.parquet.

The CSV's columns: clip, start, end (seconds; both empty = the whole clip), split (train, valid, test or empty), speaker, perhaps copy_of
(the name of the utterance that this is a changed copy of: only ever trained on), and any others are labels, numbers where they read as
numbers. An utterance's rows are those whose middle lies in [start, end).
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from emofuse.pipeline.errors import DatasetError, StreamError
from emofuse.pipeline.formats.parquet import read_stream
from emofuse.pipeline.timed import Span, TimedSequence

from .examples import SPLITS, Dataset, Example, Source

FACTS = ("clip", "start", "end", "split", "speaker")
COPY = "copy_of"
LABELS_FILE = "labels.csv"


def read_streams(source: Source) -> Dataset:
    """Raises `DatasetError` naming the file, line and column."""
    path = source.path / (source.labels or LABELS_FILE)
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; expected a CSV with {', '.join(FACTS)} and labels")
    cache: dict[str, dict[str, TimedSequence]] = {}
    examples = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        header = rows.fieldnames or []
        if missing := [fact for fact in FACTS if fact not in header]:
            raise DatasetError(f"{path}: expected the columns {', '.join(FACTS)}; missing: {', '.join(missing)}")
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            if None in row or None in row.values():
                raise DatasetError(f"{where}: expected {len(header)} cells")
            clip = row["clip"]
            if clip not in cache:
                cache = {clip: _clip(source.path / clip / "streams", source)}  # one at a time: a clip's utterances stand together
            streams = dict(cache[clip])
            name = clip
            if row["start"] or row["end"]:
                span = _span(row["start"], row["end"], where)
                streams = {stream: found.rows(found.inside(span)) for stream, found in streams.items()}
                name = f"{clip}@{span.start:g}-{span.end:g}"
            if row["split"] not in ("", *SPLITS):
                raise DatasetError(f"{where}: expected the split {', '.join(SPLITS)} or nothing, got {row['split']!r}")
            labels = {key: _label(text) for key, text in row.items() if key not in (*FACTS, COPY) and text != ""}
            examples.append(Example(name, streams, labels, row["split"], row["speaker"], copy_of=row.get(COPY, "")))
    return Dataset(source.path.name, tuple(examples), _unmeasured(examples))


def _clip(folder: Path, source: Source) -> dict[str, TimedSequence]:
    found = {}
    for stream, given in source.streams.items():
        file = folder / f"{given or stream}.parquet"
        if not file.is_file():
            raise DatasetError(f"{file}: no such file; `emofuse extract` writes it (an empty stream is a file with its reason)")
        try:
            found[stream] = read_stream(file)
        except StreamError as error:
            raise DatasetError(str(error)) from error
    return found


def _span(start: str, end: str, where: str) -> Span:
    try:
        return Span(float(start), float(end))
    except (ValueError, StreamError):
        raise DatasetError(f"{where}: expected start <= end in seconds, got {start!r} and {end!r}") from None


def _label(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _unmeasured(examples: list[Example]) -> dict[str, int | str]:
    counts: dict[str, int | str] = {}
    for example in examples:
        for stream, found in example.streams.items():
            if missing := int(np.isnan(found.values).sum()):
                key = f"{stream}: values not measured"
                counts[key] = int(counts.get(key, 0)) + missing
    return counts
