"""A folder of CMU-MultimodalSDK computational sequences (.csd): HDF5, `<root>/data/<video>/{features (t f), intervals (t 2) seconds}`.

A stream's `source` is a file's name without .csd; so is `labels`. Each interval of the label file is one utterance: its rows of a stream
are those whose middle lies in it. Word-aligned files key by `video[i]`, one utterance each. One label column is the sentiment; seven
are CMU-MOSEI's: sentiment, happy, sad, anger, surprise, disgust, fear. The official splits are not in these files: a file splits.csv
(video,split) beside them says, or the recipe splits by speaker, which here is the video.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emofuse.pipeline.errors import DatasetError, FormatError
from emofuse.pipeline.formats import delimited
from emofuse.pipeline.formats.csd import ComputationalSequence, column_names, read_sequence
from emofuse.pipeline.timed import Floats64, Provenance, Span, TimedSequence

from .examples import Dataset, Example, Source, sequence

LABELS = {
    1: ("sentiment",),
    7: ("sentiment", "happiness", "sadness", "anger", "surprise", "disgust", "fear"),
}


def read_csd(source: Source) -> Dataset:
    """Raises `DatasetError` naming a missing file, key or dimension; `StreamError` where rows break a stream's rules."""
    if not source.labels:
        raise DatasetError(f"{source.path}: expected data.labels in the recipe: the label file's name without .csd")
    labels = _numbers(_read(source.path, source.labels))
    notes: dict[str, int | str] = {}
    streams: dict[str, dict[str, TimedSequence]] = {}
    for stream, name in source.streams.items():
        if not name:
            raise DatasetError(f"{source.path}: expected streams.{stream}.source in the recipe: a file's name without .csd")
        streams[stream] = {}
        made, broken = Provenance(f"{name}.csd", "1"), 0
        file = _read(source.path, name)
        for key, (features, intervals) in _numbers(file).items():
            columns = column_names(file, features.shape[1], stream)
            order = np.argsort(intervals[:, 0], kind="stable")
            times = intervals[order]
            start, end = times[:, 0], np.maximum(times[:, 1], times[:, 0])
            streams[stream][key], count = sequence(stream, features[order], start, end, made, columns)
            broken += count
        if broken:
            notes[f"{stream}: values that were not finite"] = broken
    splits = _splits(source.path / "splits.csv")
    examples = []
    for key, (values, intervals) in labels.items():
        if values.shape[1] not in LABELS:
            raise DatasetError(f"{source.path}: {source.labels} has {values.shape[1]} label columns for {key}, expected 1 or 7")
        video = key.partition("[")[0]
        for i, (start, end) in enumerate(intervals):
            span = Span(float(start), float(end))
            cut = {
                stream: (stream_rows := all_of_them[key]).rows(stream_rows.inside(span))
                for stream, all_of_them in streams.items()
                if key in all_of_them
            }
            known = {name: float(v) for name, v in zip(LABELS[values.shape[1]], values[i], strict=True)}
            name = key if "[" in key else f"{key}_{i}"
            examples.append(Example(name, cut, known, splits.get(video, ""), video))
    for stream, all_of_them in streams.items():
        if missing := sum(key not in all_of_them for key in labels):
            notes[f"{stream}: videos without it"] = missing
    return Dataset(source.path.name, tuple(examples), notes)


def _numbers(file: ComputationalSequence) -> Mapping[str, tuple[Floats64, Floats64]]:
    """Video -> features (t f) and intervals (t 2)."""
    return {key: (np.asarray(features, np.float64), intervals) for key, (features, intervals) in file.entries.items()}


def _read(folder: Path, name: str) -> ComputationalSequence:
    """NAME.csd of a folder."""
    path = folder / f"{name}.csd"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.csd"))) or "no .csd file"
        raise DatasetError(f"{folder}: expected {name}.csd; there is {names}")
    try:
        return read_sequence(path)
    except FormatError as error:
        raise DatasetError(str(error)) from error
    except ValueError as error:
        raise DatasetError(f"{path}: expected numbers as features: {error}") from error


def _splits(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        with delimited.open_table(path) as file:
            return {row["video"]: row["split"] for _, row in delimited.named_rows(file, path, ("video", "split"))}
    except FormatError as error:
        raise DatasetError(str(error)) from None
