"""A session as annotation tiers, which is what Praat and ELAN hold: named rows of (start, end, text) that do not overlap.

Tiers: `words` (or `SPEAKER - words`, as the Montreal Forced Aligner names them) with `word probability` beside; `utterances` with
`emotion`, `probabilities` ("anger=0.1 ..."), `sentiment`, `confidence`, `face_id`, `flags` and `speaker` on the same spans; one tier an
action unit with the stretches in which it is active, their peak as text; then tiers that came from elsewhere. Numbers have three
significant digits. What overlaps within a tier goes to `NAME (overlap 2)`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..streams import EMOTIONS
from ..timed import Provenance, TimedSequence
from .session import TIER, UTTERANCE_COLUMNS, UTTERANCES, Session, tier

ACTIVE = 0.5
"""An action unit is active from this activation on."""
PAUSE = 0.1
"""Seconds: shorter breaks do not end an activation."""
SHORTEST = 0.001
"""Seconds: neither Praat nor ELAN holds an interval without length."""

_AU = re.compile(r"AU\d\d")
_OVERLAP = re.compile(r" \(overlap \d+\)$")
_NUMBERS = ("sentiment", "confidence", "face_id")
_TEXTS = {"text": "utterances", "emotion": "emotion", "flags": "flags", "speaker": "speaker"}
"""Text column of the utterances -> its tier."""
_OF_UTTERANCES = ("utterances", "emotion", "probabilities", "sentiment", "confidence", "face_id", "flags", "speaker")

Row = tuple[float, float, str]


@dataclass(frozen=True)
class Tier:
    """Rows (start, end, text) in order of time; start = end marks a point.

    parent      name of the tier that this one depends on, "" for none
    relation    how it does, as ELAN says it: Symbolic_Subdivision, Symbolic_Association, Time_Subdivision, Included_In; "" for none
    kind        name of its linguistic type;  speaker: who is annotated (ELAN's participant); "" where the file does not say
    shared      for each row the span that it shares evenly with others, where the file gives none to it alone; () where all have theirs
    """

    name: str
    rows: tuple[Row, ...]
    parent: str = ""
    relation: str = ""
    kind: str = ""
    speaker: str = ""
    shared: tuple[tuple[float, float], ...] = ()


def one_line(text: str) -> str:
    """Text that every annotation file can hold: no control characters, no line breaks, single spaces."""
    kept = "".join(c if unicodedata.category(c) not in ("Cc", "Cs") and c not in "\ufffe\uffff" else " " for c in text)
    return " ".join(kept.split())


def tiers_of(session: Session) -> tuple[Tier, ...]:
    """What of a session is annotation, without overlaps, empty texts left out; the frame-by-frame measurements are not."""
    rows_by_tier: dict[str, list[Row]] = {}
    _words(session.filled("words"), rows_by_tier)
    _utterances(session.filled(UTTERANCES), rows_by_tier)
    _activations(session.filled("face"), rows_by_tier)
    for name, stream in session.tiers.items():
        rows_by_tier.setdefault(name, []).extend(_rows(stream, stream.labels[TIER]))
    return tuple(part for name, rows in rows_by_tier.items() for part in apart(name, rows))


def apart(name: str, rows: Iterable[Row]) -> list[Tier]:
    """Tiers in which nothing overlaps: a row goes to the first that is free when it starts."""
    parts: list[list[Row]] = []
    for start, end, text in sorted(rows, key=lambda row: row[:2]):
        text = one_line(text)
        if not text:
            continue
        row = (max(0.0, start), max(end, max(0.0, start) + SHORTEST), text)
        free = next((part for part in parts if part[-1][1] <= row[0]), None)
        if free is None:
            parts.append([row])
        else:
            free.append(row)
    return [Tier(name if k == 0 else f"{name} (overlap {k + 1})", tuple(part)) for k, part in enumerate(parts)]


def session_of_tiers(tiers: Sequence[Tier], name: str, provenance: Provenance, *, length: float = 0.0, media: str = "") -> Session:
    """Tiers that `tiers_of` made give words and utterances again; every other tier stays one. Points get no length."""
    rows_by_tier: dict[str, list[Row]] = {}
    for kept in tiers:
        rows_by_tier.setdefault(_OVERLAP.sub("", kept.name), []).extend(row for row in kept.rows if row[2])
    streams: dict[str, TimedSequence] = {}
    words, probabilities = _take(rows_by_tier, ("words", "word")), _take(rows_by_tier, ("word probability",))
    if words:
        streams["words"] = _word_stream(words, probabilities, provenance)
    if "utterances" in rows_by_tier or "emotion" in rows_by_tier:
        texts_by_kind = {key: {row[:2]: row[2] for row in rows_by_tier.pop(key)} for key in _OF_UTTERANCES if key in rows_by_tier}
        streams[UTTERANCES] = _utterance_stream(texts_by_kind, provenance)
    streams |= {key: tier(key, rows, provenance) for key, rows in rows_by_tier.items() if key not in streams}
    return Session(name, streams, length, media)


def _rows(stream: TimedSequence, texts: Iterable[str]) -> list[Row]:
    return [(float(a), float(b), text) for a, b, text in zip(stream.start, stream.end, texts, strict=True)]


def _number(value: float) -> str:
    """Three significant digits, which an annotation can show; whole numbers without a point; nothing where there is no number."""
    if math.isnan(value):
        return ""
    if value == round(value):
        return str(round(value))
    return str(np.format_float_positional(np.float32(value), precision=3, fractional=False, unique=True, trim="-"))


def _words(words: TimedSequence | None, rows_by_tier: dict[str, list[Row]]) -> None:
    if words is None:
        return
    speakers = words.labels.get("speaker", ("",) * len(words))
    sure = words.column("probability") if "probability" in words.columns else np.full(len(words), np.nan, np.float32)
    for name, texts in (("words", words.labels["word"]), ("word probability", tuple(_number(float(p)) for p in sure))):
        for speaker, row in zip(speakers, _rows(words, texts), strict=True):
            rows_by_tier.setdefault(f"{one_line(speaker)} - {name}" if speaker else name, []).append(row)


def _utterances(utterances: TimedSequence | None, rows_by_tier: dict[str, list[Row]]) -> None:
    if utterances is None:
        return
    texts: dict[str, list[str]] = {"utterances": list(utterances.labels.get("text", ()))}
    texts |= {key: list(utterances.labels[key]) for key in ("emotion", "flags", "speaker") if key in utterances.labels}
    if set(EMOTIONS) <= set(utterances.columns):
        numbers = utterances.select(EMOTIONS).values
        texts["probabilities"] = [
            "" if np.isnan(row).all() else " ".join(f"{e}={_number(float(p))}" for e, p in zip(EMOTIONS, row, strict=True))
            for row in numbers
        ]
    for key in _NUMBERS:
        if key in utterances.columns:
            texts[key] = [_number(float(v)) for v in utterances.column(key)]
    for key in _OF_UTTERANCES:
        if texts.get(key):
            rows_by_tier.setdefault(key, []).extend(_rows(utterances, texts[key]))


def _activations(face: TimedSequence | None, rows_by_tier: dict[str, list[Row]]) -> None:
    if face is None:
        return
    identity = face.column("face_id") if "face_id" in face.columns else np.zeros(len(face), np.float32)
    several = len(np.unique(identity)) > 1
    for number in np.unique(identity):
        of_person = face.rows(np.flatnonzero(identity == number))
        for column in [c for c in face.columns if _AU.fullmatch(c)]:
            if rows := active(of_person, column):
                rows_by_tier.setdefault(f"face {number:g} - {column}" if several else column, []).extend(rows)


def active(face: TimedSequence, column: str) -> list[Row]:
    """Stretches of one face in which a column is at least `ACTIVE`, breaks shorter than `PAUSE` joined; the text is the peak."""
    values = face.column(column)
    rows: list[tuple[float, float, float]] = []
    for i in np.flatnonzero(values >= ACTIVE):
        start, end, value = float(face.start[i]), float(face.end[i]), float(values[i])
        if rows and start - rows[-1][1] < PAUSE:
            rows[-1] = (rows[-1][0], max(rows[-1][1], end), max(rows[-1][2], value))
        else:
            rows.append((start, end, value))
    return [(start, end, f"{peak:.2f}") for start, end, peak in rows]


def _take(rows_by_tier: dict[str, list[Row]], kinds: tuple[str, ...]) -> dict[str, list[Row]]:
    """Tiers named like KIND or "SPEAKER - KIND", taken out: speaker -> rows."""
    taken: dict[str, list[Row]] = {}
    for name in list(rows_by_tier):
        speaker, _, kind = name.rpartition(" - ")
        if kind.lower() in kinds:
            taken.setdefault(speaker, []).extend(rows_by_tier.pop(name))
    return taken


def _word_stream(words: Mapping[str, list[Row]], probabilities: Mapping[str, list[Row]], provenance: Provenance) -> TimedSequence:
    sure = {(speaker, *row[:2]): _value(row[2]) for speaker, rows in probabilities.items() for row in rows}
    rows = sorted(((row, speaker) for speaker, of_speaker in words.items() for row in of_speaker), key=lambda pair: pair[0][0])
    return TimedSequence(
        name="words",
        columns=("probability",),
        values=np.array([[sure.get((speaker, *row[:2]), math.nan)] for row, speaker in rows], np.float32).reshape(-1, 1),
        start=np.array([row[0] for row, _ in rows], np.float64),
        end=np.array([row[1] for row, _ in rows], np.float64),
        provenance=provenance,
        labels={"word": tuple(row[2] for row, _ in rows), "speaker": tuple(speaker for _, speaker in rows)},
        reason="" if rows else "the tier is empty",
    )


def _utterance_stream(texts_by_kind: Mapping[str, Mapping[tuple[float, float], str]], provenance: Provenance) -> TimedSequence:
    spans = sorted({span for texts in texts_by_kind.values() for span in texts})

    def text(key: str, span: tuple[float, float]) -> str:
        return texts_by_kind.get(key, {}).get(span, "")

    values = []
    for span in spans:
        given = dict(part.split("=", 1) for part in text("probabilities", span).split() if "=" in part)
        values.append([_value(given.get(e, "")) for e in EMOTIONS] + [_value(text(key, span)) for key in _NUMBERS])
    return TimedSequence(
        name=UTTERANCES,
        columns=UTTERANCE_COLUMNS,
        values=np.array(values, np.float32).reshape(-1, len(UTTERANCE_COLUMNS)),
        start=np.array([a for a, _ in spans], np.float64),
        end=np.array([b for _, b in spans], np.float64),
        provenance=provenance,
        labels={key: tuple(text(tier, span) for span in spans) for key, tier in _TEXTS.items()},
        reason="" if spans else "the tiers are empty",
    )


def _value(text: str) -> float:
    """The number that a text is; NaN where it is none (or infinite, which no stream holds)."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
