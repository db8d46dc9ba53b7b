"""labels.csv: what people said of utterances, beside a folder of results. Columns: clip, start, end (seconds; both empty: the whole
clip), sentiment, split (train, valid, test or empty); others are left alone. The same file that training reads (docs/training.md)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, StreamError
from ..timed import Provenance, Span, TimedSequence
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
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                for line, row in _lines(file, path):
                    rows.setdefault(row["clip"], []).append(_labelled(row, f"{path}: line {line}"))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise FormatError(f"{path}: expected a table of labels in UTF-8, but it cannot be read: {error}") from None
        return cls({clip: tuple(found) for clip, found in rows.items()})

    def onto(self, session: Session) -> Session:
        """The same clip with the labelled utterances in place of those that were cut; their text is what was said in them."""
        found = self.rows.get(session.name)
        if not found:
            return session
        spans = sorted(((r.span or Span(0.0, session.length), r) for r in found), key=lambda pair: pair[0])
        words = session.streams.get("words")
        said = [" ".join(words.labels["word"][i] for i in words.inside(span)) if words is not None else "" for span, _ in spans]
        labelled = TimedSequence(
            name=UTTERANCES,
            columns=("label",),
            values=np.array([[r.sentiment] for _, r in spans], np.float32),
            start=np.array([span.start for span, _ in spans]),
            end=np.array([span.end for span, _ in spans]),
            provenance=Provenance(LABELS_FILE, "1"),
            labels={"text": tuple(said), "split": tuple(r.split for _, r in spans)},
        )
        return replace(session, streams={**session.streams, UTTERANCES: labelled})


def _lines(file: Any, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(file)
    missing = [name for name in ("clip", "start", "end") if name not in (reader.fieldnames or ())]
    if missing:
        raise FormatError(f"{path}: line 1: expected the columns clip, start, end, sentiment, split; missing: {', '.join(missing)}")
    for row in reader:
        yield reader.line_num, {key: value or "" for key, value in row.items() if key is not None}


def _labelled(row: Mapping[str, str], where: str) -> Labelled:
    try:
        span = Span(float(row["start"]), float(row["end"])) if row["start"] or row["end"] else None
        sentiment = float(row.get("sentiment") or "nan")
    except (ValueError, StreamError) as error:
        raise FormatError(f"{where}: expected start and end in seconds and a number as sentiment ({error})") from None
    return Labelled(row["clip"], span, sentiment, row.get("split", ""))
