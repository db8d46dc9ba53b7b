"""SubRip (.srt) and WebVTT (.vtt) files as the cues that stand in them: the one reader of both.

WebVTT is read as the W3C recommendation has it (https://www.w3.org/TR/webvtt1/), SubRip, which has no standard, as players read it. A cue
that cannot be read keeps its place and says what was expected (`RawCue.problem`); who reads decides whether it costs the file or only
itself. What the text of a cue means (mark-up, speakers, emotions) is for vtt.py, subtitles.py and the transcripts of
`emofuse.extractors.words`. Line numbers count from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import FormatError

_SRT_TIME = r"(\d{1,6}):(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_SRT_TIMES = re.compile(rf"^\s*{_SRT_TIME}\s*-->\s*{_SRT_TIME}")
_VTT_TIME = r"(?:(\d{1,6}):)?(\d{2}):(\d{2})\.(\d{3})"
_VTT_TIMES = re.compile(rf"^\s*{_VTT_TIME}\s+-->\s+{_VTT_TIME}(?:\s|$)")
_BLOCK = re.compile(r"(NOTE|STYLE|REGION)(?:\s|$)")
STAMP = re.compile(rf"<{_VTT_TIME}>")
"""A time inside a WebVTT cue; `seconds` of its groups."""
VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
"""Where a speaker begins in a WebVTT cue."""
TAG = re.compile(r"</?[a-zA-Z][^>]*>")


@dataclass(frozen=True)
class RawCue:
    """One cue: seconds as the file has them (which may be in the wrong order), and its lines with their mark-up.

    line     of the times
    notes    comments (WebVTT's NOTE) between the cue before and this one
    problem  what was expected of its times and what came; then there is neither time nor text
    """

    line: int
    start: float = 0.0
    end: float = 0.0
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def srt_cues(text: str, path: Path) -> list[RawCue]:
    """The cues in the file's order; an empty text has none. Raises `FormatError` for a text without times; `path` is named in problems."""
    lines = text.split("\n")
    times = [k for k, line in enumerate(lines) if "-->" in line]
    if not times and text.strip():
        raise FormatError(f"{path}: line 1: expected SubRip (SRT) times like 00:00:01,000 --> 00:00:02,500, found none in the file")
    cues: list[RawCue] = []
    for k, following in zip(times, [*times, len(lines)][1:], strict=True):
        match = _SRT_TIMES.match(lines[k])
        if not match:
            cues.append(RawCue(k + 1, problem=_problem(path, k, "00:00:01,000 --> 00:00:02,500", lines[k])))
            continue
        body = lines[k + 1 : following]
        # The next cue's number stands on the line above its times.
        if following < len(lines) and body and body[-1].strip().isdigit():
            body = body[:-1]
        cues.append(RawCue(k + 1, seconds(match.groups()[:4]), seconds(match.groups()[4:]), _filled(body)))
    return cues


def vtt_cues(text: str, path: Path) -> list[RawCue]:
    """The cues in the file's order; raises `FormatError` for what is no WebVTT. `path` is named in problems."""
    lines = text.split("\n")
    if not re.match(r"WEBVTT(?:[ \t]|$)", lines[0]):
        raise FormatError(f"{path}: line 1: expected WEBVTT, got {lines[0][:60]!r}")
    cues: list[RawCue] = []
    notes: list[str] = []
    k = 1
    while k < len(lines):
        if "-->" not in lines[k]:
            if block := _BLOCK.match(lines[k]):
                after = _block_end(lines, k)
                if block.group(1) == "NOTE":
                    notes.append("\n".join(lines[k:after]).removeprefix("NOTE").strip())
                k = after
            k += 1
            continue
        match = _VTT_TIMES.match(lines[k])
        after = _block_end(lines, k + 1)
        if match:
            times = seconds(match.groups()[:4]), seconds(match.groups()[4:])
            cues.append(RawCue(k + 1, *times, _filled(lines[k + 1 : after]), tuple(notes)))
        else:
            cues.append(RawCue(k + 1, notes=tuple(notes), problem=_problem(path, k, "00:01.000 --> 00:02.500", lines[k])))
        notes.clear()
        k = after
    return cues


def seconds(groups: tuple[str | None, ...]) -> float:
    """Hours (None: 0), minutes, seconds and the digits behind the point as seconds."""
    hours, minutes, whole, digits = groups
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(whole or 0) + int((digits or "0").ljust(3, "0")) / 1000


def _block_end(lines: list[str], k: int) -> int:
    """Index of the line that ends a block: an empty one (spaces are text, as the standard has it) or the next cue's times."""
    while k < len(lines) and lines[k] and "-->" not in lines[k]:
        k += 1
    return k


def _filled(lines: list[str]) -> tuple[str, ...]:
    return tuple(line for line in lines if line.strip())


def _problem(path: Path, index: int, expected: str, line: str) -> str:
    return f"{path}: line {index + 1}: expected {expected}, got {line.strip()[:60]!r}"
