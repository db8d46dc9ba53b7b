"""RTTM (NIST's Rich Transcription Time Marked, RT-09 evaluation plan, appendix A): who speaks when.

One SPEAKER line a turn: file, channel 1, onset and duration in seconds, the speaker's name, and as confidence how sure that is. The turns
are those of the stream `speakers` (turns.py); without one, words of one speaker without a pause of `Segmentation.pause`. The format splits
at spaces, so a space in a name is written as an underscore; a speaker who is not known is `unknown`. Other line types are left out on
reading; nothing that says words is written, because readers take every line for speech.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..errors import FormatError
from ..timed import Provenance, TimedSequence
from ..turns import SPEAKERS, Turn, turn_stream, turns_of
from ..utterances import Segmentation
from .session import TIER, Session
from .text_file import read_text
from .tiers import one_line

UNKNOWN = "unknown"


def write_rttm(sessions: Sequence[Session], path: Path) -> None:
    """Every session's turns, one file name after the other."""
    lines = []
    for session in sessions:
        for turn in turns(session):
            sure = "<NA>" if turn.confidence is None else f"{turn.confidence:.4f}"
            times = f"{turn.start:.6f} {turn.end - turn.start:.6f}"
            lines.append(f"SPEAKER {file_name(session.name)} 1 {times} <NA> <NA> {file_name(turn.speaker)} {sure} <NA>\n")
    path.write_text("".join(lines), encoding="utf-8")


def turns(session: Session) -> list[Turn]:
    """In order; from the stream `speakers`, else from the words."""
    spoken = session.filled(SPEAKERS)
    if spoken is not None and TIER in spoken.labels:
        return turns_of(spoken)
    words = session.filled("words")
    return [] if words is None else _merged(words, words.labels.get("speaker", ("",) * len(words)), Segmentation().pause)


def _merged(words: TimedSequence, speakers: Sequence[str], pause: float) -> list[Turn]:
    turns: list[Turn] = []
    last: dict[str, int] = {}
    for start, end, speaker in zip(words.start.tolist(), words.end.tolist(), speakers, strict=True):
        k = last.get(speaker)
        if k is not None and start - turns[k].end < pause:
            turns[k] = Turn(turns[k].start, max(turns[k].end, end), speaker)
        else:
            last[speaker] = len(turns)
            turns.append(Turn(start, end, speaker))
    return turns


def read_rttm(path: Path) -> tuple[Session, ...]:
    """One session a file name, its turns as the stream `speakers`. Raises `FormatError` naming the line."""
    text = read_text(path, FormatError).text
    turns: dict[str, list[Turn]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            if fields and not fields[0].startswith(";;") and len(fields) < 9:
                raise FormatError(f"{path}: line {number}: expected RTTM like SPEAKER name 1 0.50 1.20 ..., got {line[:60]!r}")
            continue
        try:
            onset, duration = float(fields[3]), float(fields[4])
            speaker = "" if fields[7] in (UNKNOWN, "<NA>") else fields[7]
        except (IndexError, ValueError):
            raise FormatError(
                f"{path}: line {number}: expected SPEAKER name channel onset duration ... speaker, got {line[:60]!r}"
            ) from None
        if not (math.isfinite(onset) and math.isfinite(duration) and onset >= 0 and duration >= 0):
            raise FormatError(f"{path}: line {number}: expected finite times >= 0, got {fields[3]} and {fields[4]}")
        turns.setdefault(fields[1], []).append(Turn(onset, onset + duration, speaker, confidence=_confidence(fields)))
    if not turns:
        raise FormatError(f"{path}: expected at least one SPEAKER line, found none")
    by = Provenance("RTTM", "1", options={"file": path.name})
    return tuple(Session(name, {SPEAKERS: turn_stream(rows, by)}) for name, rows in turns.items())


def _confidence(fields: Sequence[str]) -> float | None:
    """0..1; None where the line has none, or something else in its place."""
    try:
        value = float(fields[8])
    except (IndexError, ValueError):
        return None
    return value if 0 <= value <= 1 else None


def file_name(text: str) -> str:
    """A name as the format can hold it."""
    return one_line(text).replace(" ", "_") or UNKNOWN
