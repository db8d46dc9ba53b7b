"""Reader of Whisper's JSON, in the layouts that its family writes.

openai-whisper and faster-whisper: segments with `words` of {word, start, end, probability}; whisperX: `score` for probability, a `speaker`
on words and segments, and words without times where its aligner met digits or symbols (whisperX #253, #559: such a segment
becomes one cue, so that all its words are timed together); whisper.cpp: `transcription` with `offsets` in milliseconds;
transformers: `chunks` with `timestamp`.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from emofuse.pipeline.errors import TranscriptError

from .cues import Cue, words_of


def read_whisper(text: str, path: Path) -> tuple[Cue, ...]:
    try:
        # Whole numbers as floats: one of a thousand digits is then infinite, and refused below.
        data = json.loads(text, parse_int=float)
    except json.JSONDecodeError as error:
        raise TranscriptError(f"{path}: line {error.lineno}: expected JSON, {error.msg}") from None
    except RecursionError:
        raise TranscriptError(f"{path}: line 1: expected Whisper's JSON, got values nested too deeply") from None
    if isinstance(data, dict) and isinstance(data.get("chunks"), list):
        return _flat(data["chunks"], path, "chunks", lambda item: item["timestamp"], 1.0)
    if isinstance(data, dict) and isinstance(data.get("transcription"), list):
        return _flat(data["transcription"], path, "transcription", lambda item: (item["offsets"]["from"], item["offsets"]["to"]), 0.001)
    segments = data.get("segments") if isinstance(data, dict) else data
    if not isinstance(segments, list):
        raise TranscriptError(f"{path}: line 1: expected Whisper's JSON with a list of segments, got {type(data).__name__} without one")
    cues: list[Cue] = []
    for k, segment in enumerate(segments):
        where = f"{path}: segments[{k}]"
        if not isinstance(segment, dict):
            raise TranscriptError(f"{where}: expected an object with start, end and text, got {type(segment).__name__}")
        cues += _segment(segment, where)
    return tuple(cues)


def _segment(segment: dict[str, Any], where: str) -> list[Cue]:
    speaker = str(segment.get("speaker") or "")
    words = segment.get("words")
    if not words:
        said = words_of(str(segment.get("text", "")))
        return [_timed(Cue(said, speaker=speaker), segment.get("start"), segment.get("end"), where)] if said else []
    if not isinstance(words, list):
        raise TranscriptError(f"{where}.words: expected a list, got {type(words).__name__}")
    cues: list[Cue] = []
    untimed = False
    for k, word in enumerate(words):
        at = f"{where}.words[{k}]"
        if not isinstance(word, dict):
            raise TranscriptError(f"{at}: expected an object with word, start and end, got {type(word).__name__}")
        said = words_of(str(word.get("word", word.get("text", ""))))
        if not said:
            continue
        cue = Cue(said, probabilities=(_probability(word, at),) * len(said), speaker=str(word.get("speaker") or speaker))
        if word.get("start") is None or word.get("end") is None:
            untimed = True
            cues.append(cue)
        else:
            cues.append(_timed(cue, word["start"], word["end"], at))
    if not untimed:
        return cues
    together = Cue(
        tuple(word for cue in cues for word in cue.words),
        probabilities=tuple(p for cue in cues for p in cue.probabilities),
        speaker=cues[0].speaker if cues else speaker,
        known=tuple(_known(cue) for cue in cues for _ in cue.words),
    )
    return [_timed(together, segment.get("start"), segment.get("end"), where)]


def _known(cue: Cue) -> tuple[float, float] | None:
    return (cue.start, cue.end) if cue.start is not None and cue.end is not None and len(cue.words) == 1 else None


def _flat(items: list[Any], path: Path, name: str, times: Any, unit: float) -> tuple[Cue, ...]:
    cues = []
    for k, item in enumerate(items):
        where = f"{path}: {name}[{k}]"
        try:
            start, end = times(item)
            said = words_of(str(item["text"]))
        except (KeyError, TypeError, ValueError):
            raise TranscriptError(f"{where}: expected an object with text and a pair of times") from None
        if said:
            cues.append(_timed(Cue(said), _scaled(start, unit), _scaled(end, unit), where))
    return tuple(cues)


def _scaled(value: Any, unit: float) -> Any:
    return value * unit if isinstance(value, int | float) else value


def _timed(cue: Cue, start: Any, end: Any, where: str) -> Cue:
    for value in (start, end):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise TranscriptError(f"{where}: expected start and end in seconds, got {start!r} and {end!r}")
    if start < 0 or end < start:
        raise TranscriptError(f"{where}: expected 0 <= start <= end, got {start:g} and {end:g}")
    return replace(cue, start=float(start), end=float(end))


def _probability(word: dict[str, Any], where: str) -> float:
    value = word.get("probability", word.get("score"))
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise TranscriptError(f"{where}: expected a probability in 0..1, got {value!r}")
    return float(value)
