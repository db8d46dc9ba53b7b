"""What report.html shows of an analysis, as JSON values; long columns of numbers as base64 of little-endian arrays.

`{"f4": TEXT}` holds float32, `{"u1": TEXT, "shape": [...]}` uint8. Times are seconds on the clip's clock. NaN and 255 mean "not measured".
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse import __version__

from ...attention.maps import CELLS, small
from ...attention.shares import attended, attention_on, in_utterances, relative, shares_present
from ...attention_rows import AT_ONCE, OUTSIDE, StreamAttention, labels_of
from ...columns import ENERGY, FACE_BOX, FACE_ID, PITCH, VOICED, is_action_unit
from ...formats.document import analysis_document
from ...palette import palette
from ...results import Analysis, AnalyzedUtterance, Attention, FaceChoice
from ...spool import release
from ...streams import EMOTIONS, MODALITIES
from ...timed import Floats32, TimedSequence
from . import line
from .gates import gates_of
from .line import Line

MAP_BYTES = 6_000_000
"""Weights of all attention maps together, one byte each."""
WIDEST = 8_000
"""Columns of the action-unit picture."""

PITCH_UNITS = "Hz"
ENERGY_UNITS = {"rms": "root mean square, full scale 1", "MCEP_0": "MCEP_0, a logarithm of the level", "mcep_0": "a logarithm of the level"}
MORE = ("baseline", "speakers")
"""What analysis.json may hold beside what is drawn: listed under "How this was made"."""
MOST_BOXES = 60_000

FLAGS = {
    "no_text": "no words in this utterance",
    "no_face": "no face in this utterance",
    "no_voice": "no voice in this utterance",
    "sparse_face": "a face is seen in less than half of its time",
    "uncertain_words": "the recogniser is unsure of these words: they are shown, but do not count as text",
    "weak_voice": "less than a tenth of the sound is voiced, or is speech",
    "several_faces": "more than one face is in view: the one that speaks was read",
    "unsure_face": "which of the faces speaks is unsure",
    "unlike_voice": "this sound is unlike what the model learned from",
    "unlike_face": "this face's movements are unlike what the model learned from",
    "unsure_speaker": "who speaks here is unsure",
    "abstain": "too little was there to answer from: do not use the answer",
}
"""Flag -> what it means, in docs/results.md's words."""

Spoken = Mapping[tuple[float, float], str]
"""The start and end of a word to its text."""


def report_data(analysis: Analysis, *, version: str = __version__) -> dict[str, Any]:
    """Everything that the page's script reads."""
    document = analysis_document(analysis, version=version)
    return {
        "version": version,
        "clip": {**document["clip"], "cut_by": document["cut_by"]},
        "emotions": list(EMOTIONS),
        "palette": asdict(palette()),
        "utterances": document["utterances"],
        "speakers": document["speakers"],
        "summary": document["summary"],
        "reasons": document["reasons"],
        "model": document["model"],
        "streams": {name: _described(stream) for name, stream in document["streams"].items()},
        "averaged": _averaged(analysis),
        "words": words(analysis),
        "face": read_face_document(analysis),
        "flags": FLAGS,
        "influence": {name: influence_curve(attention_on(analysis, name)) for name in ("face", "voice")},
        "more": {name: document[name] for name in MORE if document.get(name)},
        "attention": {name: attention_curve(attention_on(analysis, name)) for name in ("face", "voice")},
        "units": action_units(analysis),
        "voice": voice_curves(analysis.streams.get("voice")),
        "maps": {str(u.index): maps for u, maps in _maps(analysis)},
        "gates": gates_of(analysis),
    }


def _averaged(analysis: Analysis) -> float | None:
    """Seconds that a point of a curve stands for; None where every row is drawn."""
    most = max((len(analysis.streams[name]) for name in ("face", "voice") if name in analysis.streams), default=0)
    return analysis.facts.length / line.LONGEST if most > line.LONGEST else None


def _described(stream: dict[str, Any]) -> dict[str, Any]:
    """A stream's document with its columns counted, where there are too many to read."""
    columns = stream["columns"]
    shown = columns if len(columns) <= 40 else [*columns[:8], f"and {len(columns) - 8} more"]
    return {**stream, "columns": shown}


def words(analysis: Analysis) -> dict[str, Any] | None:
    """Every word with its span, its utterance and the attention paid to it, relative to an even spread (1 = its even part)."""
    text = attention_on(analysis, "text")
    if text is not None and len(text.stream):
        every = np.arange(len(text.stream))
        counts = in_utterances(text, every)
        return {
            "start": text.stream.start.tolist(),
            "end": text.stream.end.tolist(),
            "text": list(labels_of(text.stream, slice(0, len(every)))),
            "utterance": _spoken_in(analysis, text.stream),
            "by": {name: _plain(relative(text, every, name, counts)) for name in shares_present(text, every)},
            **_influence_of_words(analysis, text),
            "uncertain": any("uncertain_words" in u.quality.flags for u in analysis.utterances),
        }
    stream = analysis.streams.get("words")
    if stream is None or not len(stream):
        return None
    return {
        "start": stream.start.tolist(),
        "end": stream.end.tolist(),
        "text": list(stream.labels["word"]),
        "utterance": _spoken_in(analysis, stream),
        "by": {},
        "influence": None,
        "uncertain": False,
    }


def _influence_of_words(analysis: Analysis, text: StreamAttention) -> dict[str, Any]:
    """Each word's influence in log odds, and the answer that it bears on; None where it was not computed."""
    values = influence_on(text)
    if values is None:
        return {"influence": None, "influence_on": None}
    answers = {u.index: u.influence.on for u in analysis.utterances if u.influence is not None}
    return {"influence": _plain(values), "influence_on": [answers.get(number, "") for number in text.utterance.tolist()]}


def influence_on(attention: StreamAttention) -> NDArray[np.float64] | None:
    """(n) the influence of a stream's rows, in log odds of the answer; None where none was computed."""
    return None if np.isnan(attention.influence).all() else np.asarray(attention.influence)


def influence_curve(attention: StreamAttention | None) -> dict[str, Any] | None:
    """The influence of a stream's frames over time; None where there is none."""
    values = influence_on(attention) if attention is not None else None
    if attention is None or values is None:
        return None
    rows = np.flatnonzero(~np.isnan(values))
    middle = (attention.stream.start[rows] + attention.stream.end[rows]) / 2
    time, table = Line.through(middle).drawn(lambda part: values[rows[part]][:, None], 1)
    return {"time": packed(time), "values": packed(table[:, 0])}


def read_face_document(analysis: Analysis) -> dict[str, Any] | None:
    """Whose face was read, in words, and its boxes as parts 0..1 of the upright picture; None where the clip has no face."""
    stream = analysis.streams.get("face")
    if stream is None or not len(stream):
        return None
    choices = {(u.face.face_id, u.face.by, len(u.face.faces)): u.face for u in analysis.utterances if u.face is not None}
    return {"text": "; ".join(dict.fromkeys(_choice_text(choice) for choice in choices.values())), "boxes": _boxes(analysis, stream)}


def _choice_text(choice: FaceChoice) -> str:
    if choice.by == "only":
        return f"face {choice.face_id}, the only one in view"
    how = {
        "lips": "its lips move with the voice",
        "size": "it is shown largest, and no lips follow the voice",
        "request": "it was asked for",
    }[choice.by]
    sure = "" if choice.confidence is None else f", confidence {choice.confidence:.2f}"
    return f"face {choice.face_id} of {len(choice.faces)} was read: {how}{sure}"


def _boxes(analysis: Analysis, stream: TimedSequence) -> dict[str, Any] | None:
    """Start, longest row and the four sides of the read face's box over time; long clips have every second, third, .. of them."""
    video = analysis.info.video
    if video is None or not set(FACE_BOX) <= set(stream.columns):
        return None
    rows = read_face(analysis, stream)
    rows = rows[:: max(1, -(-len(rows) // MOST_BOXES))]
    if not len(rows):
        return None
    width, height = (video.height, video.width) if video.rotation % 180 else (video.width, video.height)
    sides = [stream.column(name, rows) / size for name, size in zip(FACE_BOX, (width, height, width, height), strict=True)]
    start = stream.start[rows]
    steps = np.diff(start)
    usual = float(np.median(stream.end[rows] - start))
    longest = max(usual, float(np.median(steps))) * 1.5 if len(steps) else usual
    return {"start": packed(start), "sides": [packed(side) for side in sides], "longest": longest}


def _spoken_in(analysis: Analysis, stream: TimedSequence) -> list[int | None]:
    """The utterance that each row's middle lies in; utterances are in order and do not overlap."""
    starts = [u.span.start for u in analysis.utterances]
    utterances = []
    for middle in ((stream.start + stream.end) / 2).tolist():
        k = bisect_right(starts, middle) - 1
        utterances.append(analysis.utterances[k].index if k >= 0 and middle < analysis.utterances[k].span.end else None)
    return utterances


def attention_curve(paid: StreamAttention | None) -> dict[str, Any] | None:
    """The attention paid to a stream's frames over time, by each target and overall; None where there is none."""
    rows = attended(paid) if paid is not None else np.zeros(0, np.intp)
    if paid is None or not len(rows):
        return None
    names, counts = shares_present(paid, rows), in_utterances(paid, rows)

    def read(part: slice) -> NDArray[np.float64]:
        return np.stack([relative(paid, rows[part], name, counts) for name in names], axis=1)

    middle = paid.stream.start[rows]
    middle += paid.stream.end[rows]
    middle /= 2
    time, table = Line.through(middle).drawn(read, len(names))
    paid.release()
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
    places = [stream.columns.index(c) for c in chosen]

    def read(part: slice) -> NDArray[np.float64]:
        rows = stream.values[part]
        values = rows[:, places].astype(np.float64)
        if pitch is not None:
            unvoiced = values[:, 0] <= 0
            if VOICED in stream.columns:
                unvoiced |= rows[:, stream.columns.index(VOICED)] <= 0
            values[unvoiced, 0] = np.nan
        stream.release()
        return values

    time, table = Line.of(stream.start, stream.end).drawn(read, len(chosen))
    named = {c: packed(table[:, k]) for k, c in enumerate(chosen)}
    return {
        "time": packed(time),
        "pitch": None if pitch is None else {"column": pitch, "unit": PITCH_UNITS, "values": named[pitch]},
        "energy": None if energy is None else {"column": energy, "unit": ENERGY_UNITS.get(energy, energy), "values": named[energy]},
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
    columns = [c for c in stream.columns if is_action_unit(c)]
    rows = read_face(analysis, stream)
    if not columns or not len(rows):
        return None
    start, end = stream.start[rows], stream.end[rows]
    step = max(float(np.median(end - start)), analysis.facts.length / WIDEST, 1e-3)
    first = float(start[0])
    width = int(np.ceil((float(end.max()) - first) / step - 1e-6)) or 1
    sums, counts = np.zeros((width, len(columns))), np.zeros((width, len(columns)))
    places = [stream.columns.index(c) for c in columns]
    for at in range(0, len(rows), AT_ONCE):
        chunk = slice(at, at + AT_ONCE)
        values = stream.values[rows[chunk]][:, places]
        cell = np.clip(((start[chunk] + end[chunk]) / 2 - first) / step, 0, width - 1).astype(np.intp)
        measured = ~np.isnan(values)
        np.add.at(sums, cell, np.where(measured, values, 0.0))
        np.add.at(counts, cell, measured)
        stream.release()
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).T
    most = max(1.0, float(np.nanmax(mean))) if not np.isnan(mean).all() else 1.0
    return UnitGrid(tuple(columns), first, step, most, mean)


def read_face(analysis: Analysis, stream: TimedSequence) -> NDArray[np.intp]:
    """Indices (k) of the rows of the face that the model read: inside utterances the rows with attention, elsewhere those of the same
    face."""
    paid = attention_on(analysis, "face")
    read = np.zeros(len(stream), bool) if paid is None else paid.utterance != OUTSIDE
    if FACE_ID not in stream.columns:
        return np.arange(len(stream))
    faces = stream.column(FACE_ID)
    known = faces[read] if read.any() else faces
    ids, counts = np.unique(known[~np.isnan(known)], return_counts=True)
    if not len(ids):
        return np.arange(len(stream))
    middle = (stream.start + stream.end) / 2
    inside = np.zeros(len(stream), bool)
    for u in analysis.utterances:
        inside |= (middle >= u.span.start) & (middle < u.span.end)
    return np.flatnonzero(read | (~inside & (faces == ids[counts.argmax()])))


def _maps(analysis: Analysis) -> Iterator[tuple[AnalyzedUtterance, list[dict[str, Any]]]]:
    answered = [u for u in analysis.utterances if u.prediction is not None and u.prediction.attention]
    cells = min(CELLS, MAP_BYTES // max(1, len(answered)))
    paid = analysis.attention.streams
    counts = {name: np.bincount(one.utterance - OUTSIDE)[1:] for name, one in paid.items()}
    spoken = {name: _words_at(stream) for name, stream in analysis.streams.items() if "word" in stream.labels}
    for u in answered:
        assert u.prediction is not None
        attention = u.prediction.attention
        if any("+" in a.target + a.source for a in attention) or sum(a.weights.size for a in attention) > cells:
            rows = {name: int(count[u.index]) if u.index < len(count) else 0 for name, count in counts.items()}
            # Uncertain words and silence lie in the utterance, and the model did not read them.
            rows |= {name: 0 for name in rows if f"no_{name}" in u.quality.flags}
            attention = small(attention, _rows(u, rows), cells)
        yield u, [_map(a, spoken) for a in attention]
        for a in u.prediction.attention:
            release(a.weights)


def _rows(utterance: AnalyzedUtterance, listed_rows: Mapping[str, int]) -> dict[str, int]:
    """How many rows of each stream an utterance's maps have: as attention.csv lists them, or as frames were taken together."""
    assert utterance.prediction is not None
    rows = {**dict.fromkeys(MODALITIES, 0), **listed_rows}
    for a in utterance.prediction.attention:
        for name, side in ((a.target, a.target_start), (a.source, a.source_start)):
            if "+" not in name:
                rows[name] = len(side)
    return rows


def _map(attention: Attention, spoken: Mapping[str, Spoken]) -> dict[str, Any]:
    weights = attention.weights
    most = weights.max(axis=(2, 3)) if weights.size else np.zeros(weights.shape[:2], np.float32)
    scaled = np.sqrt(weights / np.where(most > 0, most, 1)[:, :, None, None])
    return {
        "kind": attention.kind,
        "target": _side(attention.target, attention.target_start, attention.target_end, spoken),
        "source": _side(attention.source, attention.source_start, attention.source_end, spoken),
        "most": [[float(x) for x in layer] for layer in most],
        "root": {"u1": _base64(np.rint(scaled * 255).astype(np.uint8)), "shape": list(weights.shape)},
    }


def _side(name: str, start: NDArray[np.float64], end: NDArray[np.float64], spoken: Mapping[str, Spoken]) -> dict[str, Any]:
    """One side of a map: the stream, its rows' spans, and their words where they are words."""
    side: dict[str, Any] = {"stream": name, "start": packed(start), "end": packed(end)}
    if name in spoken:
        side["labels"] = [spoken[name].get((float(a), float(b)), "") for a, b in zip(start, end, strict=True)]
    return side


def _words_at(stream: TimedSequence) -> Spoken:
    return {(a, b): word for a, b, word in zip(stream.start.tolist(), stream.end.tolist(), stream.labels["word"], strict=True)}


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
