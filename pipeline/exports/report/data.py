"""What report.html shows of an analysis, as JSON values; long columns of numbers as base64 of little-endian arrays.

`{"f4": TEXT}` holds float32, `{"u1": TEXT, "shape": [...]}` uint8. Times are seconds on the clip's clock. NaN and 255 mean "not measured".
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...attention_maps import CELLS, small
from ...ports import EMOTIONS, MODALITIES, AnalysedUtterance, Analysis, Attention, AttentionRow
from ...timed import Floats32, TimedSequence
from ..document import analysis_document

LONGEST = 60_000
"""Rows of a curve: ten minutes at 100 Hz. Longer ones are averaged."""
MAP_BYTES = 6_000_000
"""Weights of all attention maps together, one byte each."""
WIDEST = 8_000
"""Columns of the action-unit picture."""

PITCH = ("F0", "f0", "F0final_sma", "pitch")
ENERGY = ("rms", "energy", "intensity", "loudness", "MCEP_0", "mcep_0")
PITCH_UNITS = "Hz"


def report_data(analysis: Analysis, *, version: str) -> dict[str, Any]:
    """Everything that the page's script reads."""
    document = analysis_document(analysis, version=version)
    return {
        "version": version,
        "clip": {**document["clip"], "cut_by": document["cut_by"]},
        "emotions": list(EMOTIONS),
        "utterances": document["utterances"],
        "summary": document["summary"],
        "reasons": document["reasons"],
        "model": document["model"],
        "streams": {name: _described(stream) for name, stream in document["streams"].items()},
        "words": words(analysis),
        "attention": {name: attention_curve(analysis.attention, name) for name in ("face", "voice")},
        "units": action_units(analysis),
        "voice": voice_curves(analysis.streams.get("voice")),
        "maps": {str(u.index): maps for u, maps in _maps(analysis)},
    }


def _described(stream: dict[str, Any]) -> dict[str, Any]:
    """A stream's document with its columns counted, where there are too many to read."""
    columns = stream["columns"]
    shown = columns if len(columns) <= 40 else [*columns[:8], f"and {len(columns) - 8} more"]
    return {**stream, "columns": shown}


def words(analysis: Analysis) -> dict[str, Any] | None:
    """Every word with its span, its utterance and the attention paid to it, relative to an even spread (1 = its even part)."""
    rows = [row for row in analysis.attention if row.stream == "text"]
    if rows:
        return {
            "start": [row.start for row in rows],
            "end": [row.end for row in rows],
            "text": [row.label for row in rows],
            "utterance": [row.utterance for row in rows],
            "by": {name: _plain(relative(rows, name)) for name in _paid_by(rows)},
        }
    stream = analysis.streams.get("words")
    if stream is None or not len(stream):
        return None
    spoken_in = [
        next((u.index for u in analysis.utterances if u.span.start <= middle < u.span.end), None)
        for middle in (stream.start + stream.end) / 2
    ]
    return {
        "start": stream.start.tolist(),
        "end": stream.end.tolist(),
        "text": list(stream.labels["word"]),
        "utterance": spoken_in,
        "by": {},
    }


def _paid_by(rows: Sequence[AttentionRow]) -> list[str]:
    """`overall` and every share that any row has."""
    found = dict.fromkeys(name for row in rows for name, share in row.shares.items() if share is not None)
    some = any(row.overall is not None for row in rows)
    ordered = [*(m for m in MODALITIES if m in found), *sorted((x for x in found if x not in MODALITIES), key=lambda x: (len(x), x))]
    return [*(["overall"] if some else []), *ordered]


def relative(rows: Sequence[AttentionRow], name: str) -> NDArray[np.float64]:
    """(n) each row's share times the number of its utterance's rows: 1 is the even part. NaN where there is no share."""
    share = np.array([np.nan if s is None else s for s in (row.overall if name == "overall" else row.shares.get(name) for row in rows)])
    counts: dict[int | None, int] = {}
    for row in rows:
        counts[row.utterance] = counts.get(row.utterance, 0) + 1
    return np.asarray(share * np.array([counts[row.utterance] for row in rows], np.float64))


def attention_curve(attention: Sequence[AttentionRow], stream: str) -> dict[str, Any] | None:
    """The attention paid to a stream's frames over time, by each target and overall; None where there is none."""
    rows = [row for row in attention if row.stream == stream and row.utterance is not None and row.overall is not None]
    if not rows:
        return None
    names = _paid_by(rows)
    start = np.array([row.start for row in rows])
    end = np.array([row.end for row in rows])
    order = np.argsort(start, kind="stable")
    values = np.stack([relative(rows, name) for name in names], axis=1)[order]
    time, table = thinned(*with_gaps(start[order], end[order], values))
    return {"time": packed(time), "by": {name: packed(table[:, k]) for k, name in enumerate(names)}}


def voice_curves(stream: TimedSequence | None) -> dict[str, Any] | None:
    """Pitch and energy over time, under the column names that the extractor gave; None where there is neither."""
    if stream is None or not len(stream):
        return None
    pitch = next((c for c in PITCH if c in stream.columns), None)
    energy = next((c for c in ENERGY if c in stream.columns), None)
    chosen = [c for c in (pitch, energy) if c is not None]
    if not chosen:
        return None
    values = np.array(stream.select(chosen).values, np.float64)
    if pitch is not None:
        unvoiced = values[:, 0] <= 0
        if "VUV" in stream.columns:
            unvoiced |= stream.column("VUV") <= 0
        values[unvoiced, 0] = np.nan
    time, table = thinned(*with_gaps(stream.start, stream.end, values))
    named = {c: packed(table[:, k]) for k, c in enumerate(chosen)}
    return {
        "time": packed(time),
        "pitch": None if pitch is None else {"column": pitch, "unit": PITCH_UNITS, "values": named[pitch]},
        "energy": None if energy is None else {"column": energy, "values": named[energy]},
    }


@dataclass(frozen=True, eq=False)
class UnitGrid:
    """Action units in equal steps of time: values (units, steps), NaN where no face was seen; `most` is what the scale ends at."""

    columns: tuple[str, ...]
    start: float
    step: float
    most: float
    values: NDArray[np.float64]


def action_units(analysis: Analysis) -> dict[str, Any] | None:
    """The face's action units as a picture (units, columns of time), 0..254 of `most`, 255 where no face was seen."""
    grid = action_units_grid(analysis)
    if grid is None:
        return None
    image = _bytes_of(grid.values / grid.most)
    return {"columns": list(grid.columns), "start": grid.start, "step": grid.step, "most": grid.most, "image": image}


def action_units_grid(analysis: Analysis) -> UnitGrid | None:
    """The means of the rows in each step of time, of the face that was read; None where there are no units."""
    stream = analysis.streams.get("face")
    if stream is None or not len(stream):
        return None
    columns = [c for c in stream.columns if c.startswith("AU") and c[2:4].isdigit()]
    rows = read_face(analysis, stream)
    if not columns or not len(rows):
        return None
    face = stream.rows(rows).select(columns)
    step = max(float(np.median(face.end - face.start)), analysis.facts["length"] / WIDEST, 1e-3)
    first = float(face.start[0])
    width = int(np.ceil((face.span.end - first) / step - 1e-6)) or 1
    sums, counts = np.zeros((width, len(columns))), np.zeros((width, len(columns)))
    cell = np.clip(((face.start + face.end) / 2 - first) / step, 0, width - 1).astype(np.intp)
    measured = ~np.isnan(face.values)
    np.add.at(sums, cell, np.where(measured, face.values, 0.0))
    np.add.at(counts, cell, measured)
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).T
    most = max(1.0, float(np.nanmax(mean))) if not np.isnan(mean).all() else 1.0
    return UnitGrid(tuple(columns), first, step, most, mean)


def read_face(analysis: Analysis, stream: TimedSequence) -> NDArray[np.intp]:
    """The rows of the face that the model read: in utterances, those with attention rows of theirs; elsewhere the same face."""
    read = np.zeros(len(stream), bool)
    read[[row.index for row in analysis.attention if row.stream == "face" and row.utterance is not None]] = True
    if "face_id" not in stream.columns:
        return np.arange(len(stream))
    faces = stream.column("face_id")
    known = faces[read] if read.any() else faces
    ids, counts = np.unique(known[~np.isnan(known)], return_counts=True)
    if not len(ids):
        return np.arange(len(stream))
    middle = (stream.start + stream.end) / 2
    inside = np.zeros(len(stream), bool)
    for u in analysis.utterances:
        inside |= (middle >= u.span.start) & (middle < u.span.end)
    return np.flatnonzero(read | (~inside & (faces == ids[counts.argmax()])))


def _maps(analysis: Analysis) -> Iterator[tuple[AnalysedUtterance, list[dict[str, Any]]]]:
    answered = [u for u in analysis.utterances if u.prediction is not None and u.prediction.attention]
    cells = min(CELLS, MAP_BYTES // max(1, len(answered)))
    for u in answered:
        assert u.prediction is not None
        attention = u.prediction.attention
        if any("+" in a.target + a.source for a in attention) or sum(a.weights.size for a in attention) > cells:
            attention = small(attention, _rows(analysis, u), cells)
        yield u, [_map(a, analysis.streams) for a in attention]


def _rows(analysis: Analysis, utterance: AnalysedUtterance) -> dict[str, int]:
    """How many rows of each stream an utterance's maps have: as attention.csv lists them, or as frames were taken together."""
    assert utterance.prediction is not None
    rows = dict.fromkeys(MODALITIES, 0)
    for row in analysis.attention:
        if row.utterance == utterance.index:
            rows[row.stream] += 1
    for a in utterance.prediction.attention:
        for name, side in ((a.target, a.target_start), (a.source, a.source_start)):
            if "+" not in name:
                rows[name] = len(side)
    return rows


def _map(attention: Attention, streams: Any) -> dict[str, Any]:
    weights = attention.weights
    most = weights.max(axis=(2, 3)) if weights.size else np.zeros(weights.shape[:2], np.float32)
    scaled = np.sqrt(weights / np.where(most > 0, most, 1)[:, :, None, None])
    return {
        "kind": attention.kind,
        "target": _side(attention.target, attention.target_start, attention.target_end, streams),
        "source": _side(attention.source, attention.source_start, attention.source_end, streams),
        "most": [[float(x) for x in layer] for layer in most],
        "root": {"u1": _base64(np.rint(scaled * 255).astype(np.uint8)), "shape": list(weights.shape)},
    }


def _side(name: str, start: NDArray[np.float64], end: NDArray[np.float64], streams: Any) -> dict[str, Any]:
    """One side of a map: the stream, its rows' spans, and their words where they are words."""
    side: dict[str, Any] = {"stream": name, "start": packed(start), "end": packed(end)}
    stream = streams.get(name)
    if stream is not None and "word" in stream.labels:
        at = {(float(a), float(b)): word for a, b, word in zip(stream.start, stream.end, stream.labels["word"], strict=True)}
        side["labels"] = [at.get((float(a), float(b)), "") for a, b in zip(start, end, strict=True)]
    return side


def with_gaps(
    start: NDArray[np.float64], end: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times (the rows' middles) and values, with a row of NaN wherever rows do not follow each other, so that no line is drawn there."""
    middle = (start + end) / 2
    step = float(np.median(np.diff(middle))) if len(middle) > 1 else 0.0
    after = np.flatnonzero(np.diff(middle) > 2.5 * step + 1e-9) + 1
    time = np.insert(middle, after, (middle[after - 1] + middle[after]) / 2 if len(after) else [])
    return time, np.insert(values, after, np.nan, axis=0)


def thinned(time: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `LONGEST` rows: neighbours averaged; NaN only where none of them was measured."""
    if len(time) <= LONGEST:
        return time, values
    first = np.unique(np.linspace(0, len(time), LONGEST, endpoint=False).astype(np.intp))
    counts = np.add.reduceat(~np.isnan(values), first, axis=0)
    sums = np.add.reduceat(np.nan_to_num(values), first, axis=0)
    return time[first], np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def packed(values: Any) -> dict[str, str]:
    return {"f4": _base64(np.asarray(values, "<f4"))}


def _bytes_of(picture: Floats32 | NDArray[np.float64]) -> dict[str, Any]:
    """0..1 as 0..254, NaN as 255."""
    values = np.where(np.isnan(picture), 255, np.rint(np.clip(np.nan_to_num(picture), 0, 1) * 254)).astype(np.uint8)
    return {"u1": _base64(values), "shape": list(values.shape)}


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(v) else round(float(v), 6) for v in values]


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
