"""What formats write and read: one clip's streams, its utterances among them as a stream of their own.

The `utterances` stream has a row per utterance: `text`, `emotion` (the most probable; empty without an answer), `flags` (separated by
spaces) and `speaker` (empty where nobody asked who speaks) as text; the seven probabilities, `sentiment` (-3..3) and `confidence`
(0..1) as numbers, NaN where there is no answer, and `face_id`, the face that was read, NaN where none was. Where a labels file goes
with it (labels.py), `label` is the labelled sentiment and `split` is train, valid or test. A stream of any other name with a text column
`label` is an annotation tier, as ELAN and Praat have them (`speakers`, whose `label` is who speaks, has numbers beside).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..results import Analysis
from ..streams import EMOTIONS
from ..timed import Provenance, TimedSequence
from .document import analysis_document

UTTERANCES = "utterances"
UTTERANCE_LABELS = ("text", "emotion", "flags", "speaker")
UTTERANCE_COLUMNS = (*EMOTIONS, "sentiment", "confidence", "face_id")
TIER = "label"


@dataclass(frozen=True, eq=False)
class Session:
    """One clip as formats see it.

    name     the clip's name without extension; what a file of it is called
    streams  words, text, face, voice, utterances and annotation tiers, by name
    length   seconds of the clip
    media    path of the clip, "" where it is not known
    home     folder that what is written will lie in, for links relative to it; "" where that is not known
    """

    name: str
    streams: Mapping[str, TimedSequence]
    length: float = 0.0
    media: str = ""
    home: str = ""

    def __post_init__(self) -> None:
        ends = [stream.span.end for stream in self.streams.values() if len(stream)]
        object.__setattr__(self, "length", max([self.length, *ends]))

    @property
    def tiers(self) -> dict[str, TimedSequence]:
        """Annotation tiers: streams with a text for each row."""
        return {name: s for name, s in self.streams.items() if TIER in s.labels}

    def filled(self, name: str) -> TimedSequence | None:
        """A stream that has rows; None where it is absent or empty."""
        stream = self.streams.get(name)
        return stream if stream is not None and len(stream) else None


def session_of(analysis: Analysis, name: str = "") -> Session:
    """What an analysis holds, as formats write it."""
    document = analysis_document(analysis, version="")
    return session_from(document, dict(analysis.streams), name)


def session_from(document: Mapping[str, Any], streams: dict[str, TimedSequence], name: str = "") -> Session:
    """From an analysis.json and the clip's streams."""
    clip = document["clip"]
    streams[UTTERANCES] = utterance_stream(document)
    return Session(name or Path(clip["name"]).stem, streams, float(clip.get("length", 0.0)), str(clip["path"]))


def utterance_stream(document: Mapping[str, Any]) -> TimedSequence:
    """The utterances of an analysis.json as a stream; empty, saying so, where no model was asked (`emofuse extract`)."""
    model = document.get("model")
    provenance = Provenance.from_json(model) if model else Provenance("none", "0")
    entries = document.get("utterances", ())
    if not entries:
        reason = "no utterance was found" if model else "no model was asked: these are streams alone"
        return TimedSequence.empty(UTTERANCES, UTTERANCE_COLUMNS, provenance, reason, UTTERANCE_LABELS)
    return TimedSequence(
        name=UTTERANCES,
        columns=UTTERANCE_COLUMNS,
        values=np.array([_numbers(u) for u in entries], np.float32),
        start=np.array([u["start"] for u in entries], np.float64),
        end=np.array([u["end"] for u in entries], np.float64),
        provenance=provenance,
        labels={
            "text": tuple(u["text"] for u in entries),
            "emotion": tuple(u["emotion"] or "" for u in entries),
            "flags": tuple(" ".join(u["flags"]) for u in entries),
            "speaker": tuple(u.get("speaker") or "" for u in entries),
        },
    )


def _numbers(utterance: Mapping[str, Any]) -> list[float]:
    probabilities = utterance["probabilities"] or {}
    face = utterance.get("face") or {}
    numbers = [probabilities.get(e) for e in EMOTIONS] + [utterance["sentiment"], utterance["confidence"], face.get("face_id")]
    return [math.nan if n is None else float(n) for n in numbers]


def tier(name: str, rows: Sequence[tuple[float, float, str]], provenance: Provenance) -> TimedSequence:
    """An annotation tier as a stream; rows in any order."""
    ordered = sorted(rows, key=lambda row: row[0])
    return TimedSequence(
        name=name,
        columns=(),
        values=np.zeros((len(ordered), 0), np.float32),
        start=np.array([row[0] for row in ordered], np.float64),
        end=np.array([row[1] for row in ordered], np.float64),
        provenance=provenance,
        labels={TIER: tuple(row[2] for row in ordered)},
        reason="" if ordered else "the tier is empty",
    )
