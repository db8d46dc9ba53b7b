"""Readers of line-wise transcripts: SubRip (.srt), WebVTT (.vtt), CSV and plain text.

WebVTT as in the W3C recommendation (https://www.w3.org/TR/webvtt1/), with voice spans and the time stamps inside a cue that automatic
captions carry; SubRip has no standard and is read as players read it. Numbers of lines in errors count from 1.
"""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emofuse.pipeline.errors import TranscriptError

from .cues import Cue, Skipped, in_range, subtitle_cue, words_of

_SRT_TIME = r"(\d{1,3}):(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_SRT_TIMES = re.compile(rf"^\s*{_SRT_TIME}\s*-->\s*{_SRT_TIME}")
_VTT_TIME = r"(?:(\d{1,4}):)?(\d{2}):(\d{2})\.(\d{3})"
_VTT_TIMES = re.compile(rf"^\s*{_VTT_TIME}\s+-->\s+{_VTT_TIME}(?:\s|$)")
_VTT_INSIDE = re.compile(rf"<{_VTT_TIME}>")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
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
    lines = text.split("\n")
    cues: list[Cue] = []
    timed = [k for k, line in enumerate(lines) if "-->" in line]
    if not timed:
        raise TranscriptError(f"{path}: line 1: expected SRT times like 00:00:01,000 --> 00:00:02,500, found none in the file")
    for k, following in zip(timed, [*timed[1:], len(lines)], strict=True):
        match = _SRT_TIMES.match(lines[k])
        if not match:
            skipped.skip(f"{path}: line {k + 1}: expected 00:00:01,000 --> 00:00:02,500, got {lines[k].strip()[:60]!r}")
            continue
        start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
        if not skipped.checked(start, end, f"{path}: line {k + 1}"):
            continue
        body = lines[k + 1 : following]
        # The next cue's number stands on the line above its times.
        if following < len(lines) and body and body[-1].strip().isdigit():
            body = body[:-1]
        cue = subtitle_cue(body, start, end)
        if cue:
            cues.append(cue)
    return tuple(cues)


def read_vtt(text: str, path: Path, skipped: Skipped) -> tuple[Cue, ...]:
    lines = text.split("\n")
    if not re.match(r"WEBVTT(?:[ \t]|$)", lines[0]):
        raise TranscriptError(f"{path}: line 1: expected WEBVTT, got {lines[0][:60]!r}")
    # Automatic captions roll: each cue repeats the line before it, and times its own words inside.
    rolling = any(_VTT_INSIDE.search(line) for line in lines)
    cues: list[Cue] = []
    previous = ""
    k = 1
    while k < len(lines):
        if "-->" not in lines[k]:
            if re.match(r"(NOTE|STYLE|REGION)(?:\s|$)", lines[k]):
                k = _block_end(lines, k)
            k += 1
            continue
        match = _VTT_TIMES.match(lines[k])
        after = _block_end(lines, k + 1)
        if not match:
            skipped.skip(f"{path}: line {k + 1}: expected 00:01.000 --> 00:02.500, got {lines[k].strip()[:60]!r}")
            k = after
            continue
        start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
        if not skipped.checked(start, end, f"{path}: line {k + 1}"):
            k = after
            continue
        body = [line for line in lines[k + 1 : after] if line.strip()]
        if rolling and body:
            last = _plain(body[-1])
            body = [line for line in body if _VTT_INSIDE.search(line) or _plain(line) != previous]
            previous = last
        cues += _vtt_cues(body, start, end)
        k = after
    return tuple(cues)


def _vtt_cues(body: list[str], start: float, end: float) -> list[Cue]:
    """One cue, or as many as its voices and inner time stamps make of it."""
    voices = _VOICE.split("\n".join(body))
    cues: list[Cue] = []
    # split gives text, voice, text, voice, text ...
    for speaker, said in zip(["", *voices[1::2]], voices[::2], strict=True):
        stamps = list(_VTT_INSIDE.finditer(said))
        times = [start, *(min(max(start, _seconds(stamp.groups())), end) for stamp in stamps), end]
        pieces = [said[a:b] for a, b in zip([0, *(s.end() for s in stamps)], [*(s.start() for s in stamps), len(said)], strict=True)]
        for piece, begin, finish in zip(pieces, times, times[1:], strict=False):
            cue = subtitle_cue(
                html.unescape(re.sub(r"</?[a-zA-Z][^>]*>", "", piece)).split("\n"), begin, max(begin, finish), speaker.strip()
            )
            if cue:
                cues.append(cue)
    return cues


def _plain(line: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", "", line).split())


def _block_end(lines: list[str], k: int) -> int:
    """Index of the line that ends a block: an empty one (spaces are text, as the standard has it) or the next cue's times."""
    while k < len(lines) and lines[k] and "-->" not in lines[k]:
        k += 1
    return k


def read_csv(text: str, path: Path, skipped: Skipped) -> tuple[Cue, ...]:
    """Columns start, end, word and, where there are any, probability and speaker; separated by comma, semicolon or tab.

    Times are seconds, or milliseconds as Whisper's .tsv and whisper.cpp's .csv have them (`_in_milliseconds`).
    """
    first = text.split("\n", 1)[0]
    rows = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True)
    cues: list[Cue] = []
    whole = True
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        place = {wanted: next((header.index(n) for n in names if n in header), None) for wanted, names in _NAMES.items()}
        missing = [wanted for wanted in ("start", "end", "word") if place[wanted] is None]
        if missing:
            raise TranscriptError(f"{path}: line 1: expected columns start,end,word[,probability,speaker], got {','.join(header)[:80]!r}")
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            cell = {wanted: row[k].strip() if k is not None and k < len(row) else "" for wanted, k in place.items()}
            if (cue := _csv_cue(cell, path, rows.line_num, skipped)) is not None:
                cues.append(cue)
                whole = whole and cell["start"].isdecimal() and cell["end"].isdecimal()
    except csv.Error as error:
        raise TranscriptError(f"{path}: line {rows.line_num}: expected CSV, {error}") from None
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


def _seconds(groups: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, thousandths = groups
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + int((thousandths or "0").ljust(3, "0")) / 1000


def _number(text: str, path: Path, line: int, name: str) -> float:
    try:
        # A table separated by semicolons often has decimal commas.
        value = float(text.replace(",", "."))
    except ValueError:
        raise TranscriptError(f"{path}: line {line}: expected a number as {name}, got {text[:40]!r}") from None
    if not math.isfinite(value):
        raise TranscriptError(f"{path}: line {line}: expected a finite {name}, got {text!r}")
    return value
