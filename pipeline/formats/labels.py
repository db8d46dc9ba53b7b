"""labels.csv: what people said of utterances, beside a folder of results. Columns: clip, start, end (seconds; both empty: the whole
clip), sentiment, split (train, valid, test or empty); others are left alone. The same file that training reads (docs/training.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import FormatError, StreamError
from ..timed import Provenance, Span, TimedSequence
from . import delimited
from .session import UTTERANCES, Session

LABELS_FILE = "labels.csv"


@dataclass(frozen=True)
class Labelled:
    """One row of a labels.csv: an utterance of a clip, its labelled sentiment (NaN: none) and its split ("": not said)."""

    clip: str
    span: Span | None
    sentiment: float
    split: str


@dataclass(frozen=True)
class Labels:
    """The rows of a labels.csv (docs/training.md), by clip."""

    rows: Mapping[str, tuple[Labelled, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Labels:
        """Raises `FormatError` naming the line."""
        rows: dict[str, list[Labelled]] = {}
        for row in label_rows(path, ("clip", "start", "end")):
            rows.setdefault(row.clip, []).append(_labelled(row))
        return cls({clip: tuple(labelled) for clip, labelled in rows.items()})

    def onto(self, session: Session) -> Session:
        """The same clip with the labelled utterances in place of those that were cut; their text is what was said in them."""
        labelled_rows = self.rows.get(session.name)
        if not labelled_rows:
            return session
        spans = sorted(((r.span or Span(0.0, session.length), r) for r in labelled_rows), key=lambda pair: pair[0])
        words = session.streams.get("words")
        spoken = [" ".join(words.labels["word"][i] for i in words.inside(span)) if words is not None else "" for span, _ in spans]
        labelled = TimedSequence(
            name=UTTERANCES,
            columns=("label",),
            values=np.array([[r.sentiment] for _, r in spans], np.float32),
            start=np.array([span.start for span, _ in spans]),
            end=np.array([span.end for span, _ in spans]),
            provenance=Provenance(LABELS_FILE, "1"),
            labels={"text": tuple(spoken), "split": tuple(r.split for _, r in spans)},
        )
        return replace(session, streams={**session.streams, UTTERANCES: labelled})


@dataclass(frozen=True)
class LabelRow:
    """One row of a labels.csv, its numbers not yet read: `where` names its file and line, `span` is None for the whole clip."""

    where: str
    clip: str
    span: Span | None
    cells: Mapping[str, str]


def label_rows(path: Path, columns: Sequence[str]) -> Iterator[LabelRow]:
    """The rows of a labels.csv that has at least these columns; without start and end, every row is a whole clip. Raises `FormatError`
    naming the line."""
    with delimited.open_table(path) as file:
        for line, cells in delimited.named_rows(file, path, columns):
            where, start, end = f"{path}: line {line}", cells.get("start", ""), cells.get("end", "")
            try:
                span = Span(float(start), float(end)) if start or end else None
            except (ValueError, StreamError):
                raise FormatError(f"{where}: expected start <= end in seconds, got {start!r} and {end!r}") from None
            yield LabelRow(where, cells["clip"], span, cells)


def _labelled(row: LabelRow) -> Labelled:
    text = row.cells.get("sentiment") or "nan"
    try:
        return Labelled(row.clip, row.span, float(text), row.cells.get("split", ""))
    except ValueError:
        raise FormatError(f"{row.where}: expected a number as sentiment, got {text!r}") from None
