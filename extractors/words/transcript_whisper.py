"""Reader of Whisper's JSON, in the layouts that its family writes.

openai-whisper and faster-whisper: segments with `words` of {word, start, end, probability}; whisperX: `score` for probability, a `speaker`
on words and segments, and words without times where its aligner met digits or symbols (whisperX #253, #559: such a segment
becomes one cue, so that all its words are timed together); whisper.cpp: `transcription` with `offsets` in milliseconds;
transformers: `chunks` with `timestamp`, the last of them open where sound ends in a word; OpenAI's service: `words` beside the
segments, or without any.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from emofuse.pipeline.errors import TranscriptError
from emofuse.pipeline.formats.text_file import whole_characters

from .cues import Cue, Skipped, in_range, words_of


def read_whisper(text: str, path: Path, skipped: Skipped) -> tuple[Cue, ...]:
    try:
        # Whole numbers as floats: one of a thousand digits is then infinite, and refused below.
        data = json.loads(text, parse_int=float)
    except json.JSONDecodeError as error:
        raise TranscriptError(f"{path}: line {error.lineno}: expected JSON, {error.msg}") from None
    except RecursionError:
        raise TranscriptError(f"{path}: line 1: expected Whisper's JSON, got values nested too deeply") from None
    if "\\u" in text:
        skipped.repaired += whole_characters(json.dumps(data, ensure_ascii=False))[1]
    parts: dict[str, Any] = data if isinstance(data, dict) else {"segments": data}
    if isinstance(parts.get("chunks"), list):
        return _flat(parts["chunks"], path, "chunks", lambda item: tuple(item["timestamp"]), 1.0, skipped)
    if isinstance(parts.get("transcription"), list):
        return _flat(parts["transcription"], path, "transcription", lambda i: (i["offsets"]["from"], i["offsets"]["to"]), 0.001, skipped)
    segments, words = parts.get("segments"), parts.get("words")
    timed = isinstance(segments, list) and any(isinstance(segment, dict) and segment.get("words") for segment in segments)
    if isinstance(words, list) and words and not timed:
        return _flat(words, path, "words", lambda item: (item["start"], item["end"]), 1.0, skipped)
    if not isinstance(segments, list):
        raise TranscriptError(f"{path}: line 1: expected Whisper's JSON with a list of segments, got {type(data).__name__} without one")
    cues: list[Cue] = []
    for k, segment in enumerate(segments):
        where = f"{path}: segments[{k}]"
        if not isinstance(segment, dict):
            raise TranscriptError(f"{where}: expected an object with start, end and text, got {type(segment).__name__}")
        cues += _segment(segment, where, skipped)
    return tuple(cues)


def _segment(segment: dict[str, Any], where: str, skipped: Skipped) -> list[Cue]:
    speaker = str(segment.get("speaker") or "")
    words = segment.get("words")
    if not words:
        spoken = words_of(str(segment.get("text", "")))
        return _timed(Cue(spoken, speaker=speaker), segment.get("start"), segment.get("end"), where, skipped) if spoken else []
    if not isinstance(words, list):
        raise TranscriptError(f"{where}.words: expected a list, got {type(words).__name__}")
    cues: list[Cue] = []
    untimed = False
    for k, word in enumerate(words):
        at = f"{where}.words[{k}]"
        if not isinstance(word, dict):
            raise TranscriptError(f"{at}: expected an object with word, start and end, got {type(word).__name__}")
        spoken = words_of(str(word.get("word", word.get("text", ""))))
        if not spoken:
            continue
        cue = Cue(spoken, probabilities=(_probability(word, skipped),) * len(spoken), speaker=str(word.get("speaker") or speaker))
        if _number(word.get("start")) is None or _number(word.get("end")) is None:
            untimed = True
            cues.append(cue)
        else:
            cues += _timed(cue, word["start"], word["end"], at, skipped)
    if not untimed:
        return cues
    together = Cue(
        tuple(word for cue in cues for word in cue.words),
        probabilities=tuple(p for cue in cues for p in cue.probabilities),
        speaker=cues[0].speaker if cues else speaker,
        known=tuple(_known(cue) for cue in cues for _ in cue.words),
    )
    return _timed(together, segment.get("start"), segment.get("end"), where, skipped)


def _known(cue: Cue) -> tuple[float, float] | None:
    return (cue.start, cue.end) if cue.start is not None and cue.end is not None and len(cue.words) == 1 else None


def _flat(
    items: list[Any], path: Path, name: str, times: Callable[[Any], tuple[Any, Any]], unit: float, skipped: Skipped
) -> tuple[Cue, ...]:
    """Items of one list, each with a text and two times; an end that is open lasts until the next item begins."""
    cues: list[Cue] = []
    for k, item in enumerate(items):
        where = f"{path}: {name}[{k}]"
        try:
            start, end = times(item)
            spoken = words_of(str(item["text"] if "text" in item else item["word"]))
        except (KeyError, TypeError, ValueError):
            skipped.skip(f"{where}: expected an object with text and a pair of times")
            continue
        if cues and not cues[-1].closed and (begin := _number(start)) is not None:
            cues[-1] = replace(cues[-1], end=max(cues[-1].start or 0.0, begin * unit))
        if not spoken:
            continue
        sure = _probability(item, skipped)
        cue = Cue(spoken, probabilities=(sure,) * len(spoken) if not math.isnan(sure) else ())
        cues += _timed(cue, _scaled(start, unit), _scaled(end, unit), where, skipped, may_be_open=True)
    return tuple(cues)


def _scaled(value: Any, unit: float) -> Any:
    return value if _number(value) is None else value * unit


def _number(value: Any) -> float | None:
    """A JSON value that is a finite number; None for others."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _timed(cue: Cue, start: Any, end: Any, where: str, skipped: Skipped, *, may_be_open: bool = False) -> list[Cue]:
    """The cue with its seconds, or none, which is counted."""
    begin, until = _number(start), math.inf if may_be_open and end is None else _number(end)
    if begin is None or until is None:
        skipped.skip(f"{where}: expected start and end in seconds, got {start!r} and {end!r}"[:300])
        return []
    return [replace(cue, start=begin, end=until)] if skipped.checked(begin, until, where) else []


def _probability(word: dict[str, Any], skipped: Skipped) -> float:
    value = word.get("probability", word.get("score"))
    if value is None:
        return math.nan
    if _number(value) is None:
        skipped.repaired += 1
        return math.nan
    return in_range(float(value), skipped)
