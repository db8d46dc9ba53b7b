"""Clips of one's own with labels: a folder of clips and a labels.csv, or one folder of clips for each label.

    FOLDER/labels.csv and FOLDER/CLIP          CLIP is a file's name, with or without its ending, or a folder of `emofuse extract`
    FOLDER/LABEL/CLIP                          without a labels.csv: the folder's name is the label

labels.csv has the columns clip and one of emotion and label; perhaps start and end (seconds of an utterance), speaker, split, copy_of and
further labels, as in folders.py. Streams are extracted by `Source.extract`, or read where CLIP/streams holds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from emofuse.pipeline.errors import DatasetError, FormatError, StreamError
from emofuse.pipeline.formats.labels import LABELS_FILE, LabelRow, label_rows
from emofuse.pipeline.formats.parquet import read_stream
from emofuse.pipeline.timed import Span, TimedSequence

from .actors import MEDIA
from .examples import Dataset, Example, Source
from .folders import COPY, FACTS, label_of

LABELS = ("emotion", "label")
STREAMS = "streams"


@dataclass(frozen=True)
class Labelled:
    """A clip (a file, or a folder with streams), which part of it, and what is said of it."""

    name: str
    clip: Path
    labels: Mapping[str, float | str]
    span: Span | None = None
    speaker: str = ""
    split: str = ""
    copy_of: str = ""


def read_clips(source: Source) -> Dataset:
    """One example for each row (or clip), its label under `emotion`, its streams cut to the row's span, in the order of the table (or of
    names). Raises `DatasetError` naming the file and line."""
    table = source.path / (source.labels or LABELS_FILE)
    if not source.path.is_dir():
        raise DatasetError(f"{source.path}: expected a folder of clips with {LABELS_FILE}, or with a folder for each label")
    rows = list(_by_table(source.path, table) if table.is_file() else _by_folder(source.path))
    counts = Counter(row.name for row in rows)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise DatasetError(f"{table}: expected every clip (or clip, start and end) once, but {twice[0]} is there {counts[twice[0]]} times")
    examples = []
    for row in rows:
        streams = _streams(row.clip, source)
        if row.span is not None:
            streams = {name: stream.rows(stream.inside(row.span)) for name, stream in streams.items()}
        examples.append(Example(row.name, streams, row.labels, row.split, row.speaker, copy_of=row.copy_of))
    return Dataset(source.path.name, tuple(examples))


def _by_table(folder: Path, table: Path) -> Iterator[Labelled]:
    try:
        for row in label_rows(table, ("clip",)):
            column = next((column for column in LABELS if column in row.cells), "")
            if not column:
                raise DatasetError(f"{table}: line 1: expected a column {' or '.join(LABELS)}; there are {', '.join(row.cells)}")
            if not row.cells[column]:
                raise DatasetError(f"{row.where}: expected a label for {row.clip}, got none")
            others = {key: label_of(text) for key, text in row.cells.items() if key not in (*FACTS, COPY, *LABELS) and text}
            name = row.clip + (f"@{row.span.start:g}-{row.span.end:g}" if row.span is not None else "")
            facts = (row.cells.get(key, "") for key in ("speaker", "split", COPY))
            yield Labelled(name, _clip(folder, row), {**others, "emotion": row.cells[column]}, row.span, *facts)
    except FormatError as error:
        raise DatasetError(str(error)) from None


def _clip(folder: Path, row: LabelRow) -> Path:
    """The clip that a row names: a folder with streams, a file, or the only file of this stem."""
    exact = folder / row.clip
    if (exact / STREAMS).is_dir() or exact.is_file():
        return exact
    alike = sorted(p for p in exact.parent.glob("*") if p.stem == exact.name and p.suffix.lower() in MEDIA) if row.clip else []
    if len(alike) != 1:
        which = f"and there are {', '.join(p.name for p in alike)}" if alike else "and there is no such file"
        raise DatasetError(f"{row.where}: expected the name of a clip in {folder}, got {row.clip!r}, {which}")
    return alike[0]


def _by_folder(folder: Path) -> Iterator[Labelled]:
    labelled = [
        Labelled(f"{label.name}/{clip.name}", clip, {"emotion": label.name})
        for label in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        for clip in sorted(label.iterdir())
        if clip.suffix.lower() in MEDIA or (clip / STREAMS).is_dir()
    ]
    if not labelled:
        raise DatasetError(f"{folder}: expected {LABELS_FILE} (clip,emotion), or a folder of clips for each label, and there is neither")
    yield from labelled


def _streams(clip: Path, source: Source) -> dict[str, TimedSequence]:
    """Of a clip, those that the source asks for and that there are."""
    if (clip / STREAMS).is_dir():
        streams: Mapping[str, TimedSequence] = {}
        try:
            streams = {path.stem: read_stream(path) for path in sorted((clip / STREAMS).glob("*.parquet"))}
        except StreamError as error:
            raise DatasetError(str(error)) from error
    elif source.extract is None:
        raise DatasetError(f"{clip}: raw clips have no streams; hand in how to extract them")
    else:
        streams = source.extract(clip)
    return {ours: streams[given or ours] for ours, given in source.streams.items() if (given or ours) in streams}
