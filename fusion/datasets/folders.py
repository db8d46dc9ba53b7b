"""Streams that `emofuse extract` wrote, and a labels CSV: FOLDER/labels.csv and FOLDER/CLIP/streams/STREAM.parquet.

The CSV's columns: clip, start, end (seconds; both empty = the whole clip), split (train, valid, test or empty), speaker, perhaps copy_of
(the name of the utterance that this is a changed copy of: only ever trained on), and any others are labels, numbers where they read as
numbers. An utterance's rows are those whose middle lies in [start, end).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from emofuse.pipeline.errors import DatasetError, FormatError, StreamError
from emofuse.pipeline.formats.labels import LABELS_FILE, LabelRow, label_rows
from emofuse.pipeline.formats.parquet import read_stream
from emofuse.pipeline.timed import TimedSequence

from .examples import SPLITS, Dataset, Example, Source

FACTS = ("clip", "start", "end", "split", "speaker")
COPY = "copy_of"


def read_streams(source: Source) -> Dataset:
    """Raises `DatasetError` naming the file, line and column."""
    path = source.path / (source.labels or LABELS_FILE)
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; expected a CSV with {', '.join(FACTS)} and labels")
    cache: dict[str, dict[str, TimedSequence]] = {}
    examples = []
    try:
        for row in label_rows(path, FACTS):
            if row.clip not in cache:
                cache = {row.clip: _clip(source.path / row.clip / "streams", source)}  # one at a time: a clip's utterances stand together
            examples.append(_example(row, cache[row.clip]))
    except FormatError as error:
        raise DatasetError(str(error)) from None
    return Dataset(source.path.name, tuple(examples), _unmeasured(examples))


def _clip(folder: Path, source: Source) -> dict[str, TimedSequence]:
    streams = {}
    for stream, given in source.streams.items():
        file = folder / f"{given or stream}.parquet"
        if not file.is_file():
            raise DatasetError(f"{file}: no such file; `emofuse extract` writes it (an empty stream is a file with its reason)")
        try:
            streams[stream] = read_stream(file)
        except StreamError as error:
            raise DatasetError(str(error)) from error
    return streams


def _example(row: LabelRow, streams: dict[str, TimedSequence]) -> Example:
    name = row.clip
    if row.span is not None:
        streams = {name: stream.rows(stream.inside(row.span)) for name, stream in streams.items()}
        name = f"{row.clip}@{row.span.start:g}-{row.span.end:g}"
    split = row.cells["split"]
    if split not in ("", *SPLITS):
        raise DatasetError(f"{row.where}: expected the split {', '.join(SPLITS)} or nothing, got {split!r}")
    labels = {key: label_of(text) for key, text in row.cells.items() if key not in (*FACTS, COPY) and text != ""}
    return Example(name, dict(streams), labels, split, row.cells["speaker"], copy_of=row.cells.get(COPY, ""))


def label_of(text: str) -> float | str:
    """A cell as a number where it reads as one, else as text."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _unmeasured(examples: list[Example]) -> dict[str, int | str]:
    counts: dict[str, int | str] = {}
    for example in examples:
        for stream, of_stream in example.streams.items():
            if missing := int(np.isnan(of_stream.values).sum()):
                key = f"{stream}: values not measured"
                counts[key] = int(counts.get(key, 0)) + missing
    return counts
