"""The field's pickles of CMU-MOSI, CMU-MOSEI and IEMOCAP: MulT's (yaohungt) and MMSA's (thuiar).

Letters: n utterances, t padded rows, f columns. `audio` is our stream voice, `vision` our face. No file holds times; they are made up so
that rows keep their order and streams their extent: word-aligned files get 0.35 s a row; in unaligned ones the rows of each stream are
spread evenly over a duration common to all, the longest stream's at 15 rows per second.

MulT: dict split -> text, audio, vision (n t f), labels (n 1 1), or (n 4 2) in IEMOCAP (one-hot; neutral, happy, sad, angry), id.
Padding stands on the left, as rows of zeros; a row of zeros after the first real one is data. Audio holds -inf.
MMSA: dict split -> text (n t f), text_bert (n 3 t; its second row is the mask), audio, vision, audio_lengths, vision_lengths (unaligned
files), regression_labels (n), id "video$_$clip". Padding stands on the right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import DatasetError
from emofuse.pipeline.timed import Provenance, TimedSequence

from .examples import SPLITS, Dataset, Example, Source, sequence
from .unpickling import read_arrays

OWN_NAMES = {"text": "text", "voice": "audio", "face": "vision"}
IEMOCAP = ("neutral", "happiness", "sadness", "anger")
WORD_SECONDS = 0.35
ROWS_PER_SECOND = 15.0

Arrays = Mapping[str, NDArray[Any]]
Rows = NDArray[np.bool_]


def read_mult(source: Source) -> Dataset:
    """Raises `DatasetError` naming a missing key or a wrong dimension."""
    arrays = read_arrays(source.path)
    names = {stream: given or OWN_NAMES.get(stream, stream) for stream, given in source.streams.items()}
    notes: dict[str, int | str] = {}
    examples: list[Example] = []
    for split in SPLITS:
        values = {stream: _features(arrays, f"{split}/{name}", source.path) for stream, name in names.items()}
        labels = _key(arrays, f"{split}/labels", source.path)
        if labels.ndim != 3 or labels.shape[1:] not in ((1, 1), (len(IEMOCAP), 2)):
            raise DatasetError(f"{source.path}: expected {split}/labels (n, 1, 1) or (n, 4, 2), got {labels.shape}")
        aligned = len({v.shape[1] for v in values.values()}) == 1
        real = {stream: _after_first(v) for stream, v in values.items()}
        if aligned and real:  # one first row for all, or the streams' words would shift against each other
            together: Rows = np.logical_or.reduce(list(real.values()))
            real = {stream: together for stream in names}
        given = arrays.get(f"{split}/id")
        for i in range(len(labels)):
            parts = [] if given is None else [str(part) for part in np.atleast_1d(given[i])]
            streams = _streams(values, real, i, aligned, source.path, notes)
            examples.append(Example("_".join(parts) or f"{split}_{i}", streams, _mult_labels(labels[i]), split, parts[0] if parts else ""))
    return Dataset(source.path.name, tuple(examples), notes | {"times": "made up: the file has none"})


def read_mmsa(source: Source) -> Dataset:
    """Raises `DatasetError` naming a missing key or a wrong dimension."""
    arrays = read_arrays(source.path)
    names = {stream: given or OWN_NAMES.get(stream, stream) for stream, given in source.streams.items()}
    notes: dict[str, int | str] = {}
    examples: list[Example] = []
    for split in SPLITS:
        values = {stream: _features(arrays, f"{split}/{name}", source.path) for stream, name in names.items()}
        labels = _key(arrays, f"{split}/regression_labels", source.path)
        ids = _key(arrays, f"{split}/id", source.path)
        aligned = len({v.shape[1] for v in values.values()}) == 1
        real: dict[str, Rows] = {}
        for stream, name in names.items():
            t = values[stream].shape[1]
            lengths, mask = arrays.get(f"{split}/{name}_lengths"), arrays.get(f"{split}/text_bert")
            if (name == "text" or aligned) and mask is not None:
                real[stream] = mask[:, 1, :] > 0
            elif lengths is not None:
                real[stream] = np.arange(t) < lengths[:, None]
            else:
                real[stream] = _after_first(values[stream][:, ::-1])[:, ::-1]
        texts = arrays.get(f"{split}/raw_text")
        for i in range(len(labels)):
            streams = _streams(values, real, i, aligned, source.path, notes)
            label = {"sentiment": float(labels[i])}
            spoken = "" if texts is None else str(texts[i])
            examples.append(Example(str(ids[i]).replace("$_$", "_"), streams, label, split, str(ids[i]).partition("$_$")[0], spoken))
    return Dataset(source.path.name, tuple(examples), notes | {"times": "made up: the file has none"})


def _key(arrays: Arrays, key: str, path: Path) -> NDArray[Any]:
    if key not in arrays:
        raise DatasetError(f"{path}: expected the key {key}; there are {', '.join(sorted(arrays)) or 'none'}")
    return arrays[key]


def _features(arrays: Arrays, key: str, path: Path) -> NDArray[Any]:
    features = _key(arrays, key, path)
    if features.ndim != 3 or features.dtype.kind not in "fiu":
        raise DatasetError(f"{path}: expected {key} as numbers (n, t, f), got {features.dtype} {features.shape}")
    return features


def _after_first(values: NDArray[Any]) -> Rows:
    """(n t f) -> (n t): True from the first row that is not all zero."""
    return np.logical_or.accumulate((values != 0).any(2), axis=1)


def _mult_labels(labels: NDArray[Any]) -> dict[str, float | str]:
    if labels.shape == (1, 1):
        return {"sentiment": float(labels[0, 0])}
    return {name: float(scores.argmax()) for name, scores in zip(IEMOCAP, labels, strict=True)}


def _streams(
    values: Arrays, real: Mapping[str, Rows], i: int, aligned: bool, path: Path, notes: dict[str, int | str]
) -> dict[str, TimedSequence]:
    made = Provenance(path.name, "1", notes={"times": "made up"})
    rows = {stream: v[i][real[stream][i]] for stream, v in values.items()}
    longest = max(map(len, rows.values()))
    seconds = longest * WORD_SECONDS if aligned else longest / ROWS_PER_SECOND
    streams = {}
    for stream, stream_rows in rows.items():
        step = seconds / max(1, len(stream_rows))
        start = np.arange(len(stream_rows), dtype=np.float64) * step
        streams[stream], broken = sequence(stream, stream_rows, start, start + step, made)
        if broken:
            key = f"{stream}: values that were not finite"
            notes[key] = int(notes.get(key, 0)) + broken
    return streams
