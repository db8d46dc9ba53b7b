"""What is said in line-wise transcripts: SubRip (.srt), WebVTT (.vtt), CSV and plain text.

The files are taken apart by `emofuse.pipeline.formats`; here their cues become words: voices and the time stamps that automatic captions
carry inside a cue, speakers, columns under their many names. Numbers of lines in errors count from 1.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emofuse.pipeline.errors import FormatError, TranscriptError
from emofuse.pipeline.formats import delimited
from emofuse.pipeline.formats.cue_files import STAMP, TAG, VOICE, RawCue, seconds, srt_cues, vtt_cues

from .cues import Cue, Skipped, in_range, subtitle_cue, words_of

SLOWEST_WORD = 20
"""Seconds per word."""
_NAMES = {
    "start": ("start", "begin", "onset", "tmin", "start_time"),
    "end": ("end", "offset", "tmax", "end_time"),
    "word": ("word", "text", "label", "token"),
    "probability": ("probability", "score", "confidence"),
    "speaker": ("speaker",),
}


def read_srt(text: str, path: Path, skipped: Skipped) -> tuple[Cue, ...]:
    cues = (subtitle_cue(list(raw.lines), raw.start, raw.end) for raw in _readable(srt_cues, text, path, skipped))
    return tuple(cue for cue in cues if cue)


def read_vtt(text: str, path: Path, skipped: Skipped) -> tuple[Cue, ...]:
    # Automatic captions roll: each cue repeats the line before it, and times its own words inside.
    rolling = STAMP.search(text) is not None
    cues: list[Cue] = []
    previous = ""
    for raw in _readable(vtt_cues, text, path, skipped):
        lines = list(raw.lines)
        if rolling and lines:
            last = _plain(lines[-1])
            lines = [line for line in lines if STAMP.search(line) or _plain(line) != previous]
            previous = last
        cues += _vtt_cues(lines, raw.start, raw.end)
    return tuple(cues)


def _readable(reader: Callable[[str, Path], list[RawCue]], text: str, path: Path, skipped: Skipped) -> Iterator[RawCue]:
    """The cues whose times can be; the others are counted. Raises `TranscriptError` for a text of another kind."""
    try:
        cues = reader(text, path)
    except FormatError as error:
        raise TranscriptError(str(error)) from None
    for cue in cues:
        if cue.problem:
            skipped.skip(cue.problem)
        elif skipped.checked(cue.start, cue.end, f"{path}: line {cue.line}"):
            yield cue


def _vtt_cues(body: list[str], start: float, end: float) -> list[Cue]:
    """One cue, or as many as its voices and inner time stamps make of it."""
    voices = VOICE.split("\n".join(body))
    cues: list[Cue] = []
    # split gives text, voice, text, voice, text ...
    for speaker, spoken in zip(["", *voices[1::2]], voices[::2], strict=True):
        stamps = list(STAMP.finditer(spoken))
        times = [start, *(min(max(start, seconds(stamp.groups())), end) for stamp in stamps), end]
        pieces = [spoken[a:b] for a, b in zip([0, *(s.end() for s in stamps)], [*(s.start() for s in stamps), len(spoken)], strict=True)]
        for piece, begin, finish in zip(pieces, times, times[1:], strict=False):
            cue = subtitle_cue(html.unescape(TAG.sub("", piece)).split("\n"), begin, max(begin, finish), speaker.strip())
            if cue:
                cues.append(cue)
    return cues


def _plain(line: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", "", line).split())


def read_csv(text: str, path: Path, skipped: Skipped) -> tuple[Cue, ...]:
    """Columns start, end, word and, where there are any, probability and speaker; separated by comma, semicolon or tab.

    Times are seconds, or milliseconds as Whisper's .tsv and whisper.cpp's .csv have them (`_in_milliseconds`).
    """
    first = text.split("\n", 1)[0]
    cues: list[Cue] = []
    whole = True
    try:
        table = delimited.rows(io.StringIO(text), path, max(",;\t", key=first.count))
        header = [cell.strip().lower() for cell in next(table, (1, []))[1]]
        column_of = {wanted: next((header.index(n) for n in names if n in header), None) for wanted, names in _NAMES.items()}
        if any(column_of[wanted] is None for wanted in ("start", "end", "word")):
            raise TranscriptError(f"{path}: line 1: expected columns start,end,word[,probability,speaker], got {','.join(header)[:80]!r}")
        for line, row in table:
            if not any(cell.strip() for cell in row):
                continue
            cell = {wanted: row[k].strip() if k is not None and k < len(row) else "" for wanted, k in column_of.items()}
            if (cue := _csv_cue(cell, path, line, skipped)) is not None:
                cues.append(cue)
                whole = whole and cell["start"].isdecimal() and cell["end"].isdecimal()
    except FormatError as error:
        raise TranscriptError(str(error)) from None
    if whole and _in_milliseconds(cues):
        return tuple(replace(cue, start=(cue.start or 0.0) / 1000, end=(cue.end or 0.0) / 1000) for cue in cues)
    return tuple(cues)


def _csv_cue(cell: Mapping[str, str], path: Path, line: int, skipped: Skipped) -> Cue | None:
    try:
        start, end = (_number(cell[wanted], path, line, wanted) for wanted in ("start", "end"))
        probability = _number(cell["probability"], path, line, "probability") if cell["probability"] else math.nan
    except TranscriptError as error:
        skipped.skip(str(error))
        return None
    words = words_of(cell["word"])
    if not words or not skipped.checked(start, end, f"{path}: line {line}"):
        return None
    return Cue(words, start, end, (in_range(probability, skipped),) * len(words), cell["speaker"])


def _in_milliseconds(cues: Sequence[Cue]) -> bool:
    """Whether whole numbers are milliseconds: as seconds they would leave each word more time than anybody takes."""
    lasts = sum((cue.end or 0.0) - (cue.start or 0.0) for cue in cues)
    return lasts / max(1, sum(len(cue.words) for cue in cues)) > SLOWEST_WORD


def read_plain(text: str, path: Path, skipped: Skipped) -> tuple[Cue, ...]:
    """One cue with all words and no times."""
    words = words_of(text)
    return (Cue(words),) if words else ()


def _number(text: str, path: Path, line: int, name: str) -> float:
    try:
        # A table separated by semicolons often has decimal commas.
        value = float(text.replace(",", "."))
    except ValueError:
        raise TranscriptError(f"{path}: line {line}: expected a number as {name}, got {text[:40]!r}") from None
    if not math.isfinite(value):
        raise TranscriptError(f"{path}: line {line}: expected a finite {name}, got {text!r}")
    return value
