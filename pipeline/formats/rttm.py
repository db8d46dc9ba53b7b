"""RTTM (NIST's Rich Transcription Time Marked, RT-09 evaluation plan, appendix A): who speaks when.

One SPEAKER line a turn: file, channel 1, onset and duration in seconds, the speaker's name. A turn is words of one speaker without a
pause of `Segmentation.pause`. The format splits at spaces, so a space in a name is written as an underscore; a speaker who is not known is
`unknown`. Other line types are left out on reading; nothing that says words is written, because readers take every line for speech.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..errors import FormatError
from ..timed import Provenance, TimedSequence
from ..utterances import Segmentation
from .session import TIER, Session, tier
from .text_file import read_text
from .tiers import Row, one_line

UNKNOWN = "unknown"
TURNS = "speakers"


def write_rttm(sessions: Sequence[Session], path: Path) -> None:
    """Every session's turns, one file name after the other."""
    lines = []
    for session in sessions:
        for start, end, speaker in turns(session):
            lines.append(f"SPEAKER {_name(session.name)} 1 {start:.6f} {end - start:.6f} <NA> <NA> {_name(speaker)} <NA> <NA>\n")
    path.write_text("".join(lines), encoding="utf-8")


def turns(session: Session) -> list[Row]:
    """(start, end, speaker) in order; from the words, else from a tier `speakers` that an RTTM file gave."""
    words = session.filled("words")
    if words is not None:
        return _merged(words, words.labels.get("speaker", ("",) * len(words)), Segmentation().pause)
    spoken = session.tiers.get(TURNS)
    return (
        [] if spoken is None else [(float(a), float(b), t) for a, b, t in zip(spoken.start, spoken.end, spoken.labels[TIER], strict=True)]
    )


def _merged(words: TimedSequence, speakers: Sequence[str], pause: float) -> list[Row]:
    rows: list[Row] = []
    last: dict[str, int] = {}
    for start, end, speaker in zip(words.start.tolist(), words.end.tolist(), speakers, strict=True):
        k = last.get(speaker)
        if k is not None and start - rows[k][1] < pause:
            rows[k] = (rows[k][0], max(rows[k][1], end), speaker)
        else:
            last[speaker] = len(rows)
            rows.append((start, end, speaker))
    return rows


def read_rttm(path: Path) -> tuple[Session, ...]:
    """One session a file name, its turns as the tier `speakers`. Raises `FormatError` naming the line."""
    text = read_text(path, FormatError).text
    turns: dict[str, list[Row]] = {}
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
        turns.setdefault(fields[1], []).append((onset, onset + duration, speaker))
    if not turns:
        raise FormatError(f"{path}: expected at least one SPEAKER line, found none")
    by = Provenance("RTTM", "1", options={"file": path.name})
    return tuple(Session(name, {TURNS: tier(TURNS, rows, by)}) for name, rows in turns.items())


def _name(text: str) -> str:
    return one_line(text).replace(" ", "_") or UNKNOWN
