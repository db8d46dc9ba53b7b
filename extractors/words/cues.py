"""What a transcript file says: cues, which are some words and what is known of their time.

Text is kept as written, punctuation included; mark-up, sound descriptions in square brackets and music notes are not words and
are left out.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from emofuse.pipeline.errors import TranscriptError
from emofuse.pipeline.formats.text_file import whole_characters


@dataclass(frozen=True)
class Cue:
    """Words that share what is known of their time.

    words          at least one, as written
    start, end     seconds in which all of them are said; None where the file has no times, and infinite as the end where it is open
    probabilities  0..1 per word, NaN where the file has none
    speaker        "" where unknown
    known          (start, end) of those words that the file does time within a cue of several, None for the others; () for none
    """

    words: tuple[str, ...]
    start: float | None = None
    end: float | None = None
    probabilities: tuple[float, ...] = ()
    speaker: str = ""
    known: tuple[tuple[float, float] | None, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether the file says when the cue ends."""
        return self.end is not None and math.isfinite(self.end)

    def probability(self, index: int) -> float:
        return self.probabilities[index] if self.probabilities else math.nan


@dataclass
class Skipped:
    """Cues of a transcript that are left out because something in them cannot be: each costs itself alone, and the first is named."""

    count: int = 0
    first: str = ""
    repaired: int = 0
    """Numbers and characters that were left out, or brought into their range, while their cue was kept."""

    def skip(self, why: str) -> None:
        self.count += 1
        self.first = self.first or why

    def checked(self, start: float, end: float, where: str) -> bool:
        """Whether a cue can have these seconds; if not, it is counted."""
        if math.isfinite(start) and 0 <= start <= end and not math.isnan(end):
            return True
        self.skip(f"{where}: expected 0 <= start <= end, got {start:g} and {end:g}")
        return False

    def remarks(self) -> list[str]:
        remarks = []
        if self.count:
            remarks.append(f"{self.count} cue{' was' if self.count == 1 else 's were'} left out; the first: {self.first}")
        if self.repaired:
            remarks.append(f"{self.repaired} impossible number{'' if self.repaired == 1 else 's'} or half characters were left out")
        return remarks

    def none_left(self, format_name: str, where: str) -> TranscriptError:
        """The error for a transcript of which no cue is left."""
        return TranscriptError(self.first if self.count else f"{where}: expected words in this {format_name} transcript, found none")


_SPEAKER = re.compile(r"^(?:>>+\s*)?([A-Z][A-Z0-9 .'\-]{0,29}):\s+(?=\S)")
_MARKUP = re.compile(r"</?[a-zA-Z][^>]*>|\{\\[^}]*\}|\[[^\]]*\]|[♪♫♩♬]")

_NOTES = re.compile(r"\[[^\]]*\]|[♪♫♩♬]")


def words_of(text: str, *, markup: bool = True) -> tuple[str, ...]:
    """Words as written; a lone mark ("—") stays with the word before it, or else after it. `markup`: tags are none, and left out."""
    words: list[str] = []
    ahead = ""
    text, _ = whole_characters(text)
    for token in (_MARKUP if markup else _NOTES).sub(" ", text).split():
        if any(character.isalnum() or character in "&%@+=°€$£" for character in token):
            words.append(f"{ahead} {token}".strip())
            ahead = ""
        elif words:
            words[-1] += " " + token
        else:
            ahead = f"{ahead} {token}".strip()
    return tuple(words)


def in_range(value: float, skipped: Skipped) -> float:
    """A probability; one that is none is NaN, or the end of its range where only rounding took it out, and is counted."""
    if math.isnan(value) or 0 <= value <= 1:
        return value
    skipped.repaired += 1
    return min(1.0, max(0.0, value)) if -1e-3 <= value <= 1 + 1e-3 else math.nan


def subtitle_cue(lines: list[str], start: float, end: float, speaker: str = "") -> Cue | None:
    """One subtitle's lines as a cue; None where nothing is said in it ("[Music]", "(laughs)")."""
    words: list[str] = []
    for line in lines:
        line = re.sub(r"^\s*(-|–|>>+)\s+", "", line.strip())
        if re.fullmatch(r"\([^)]*\)", _MARKUP.sub("", line).strip()):
            continue
        named = _SPEAKER.match(line)
        if named and not words:
            speaker, line = speaker or named.group(1), line[named.end() :]
        words += words_of(line)
    return Cue(tuple(words), start, end, speaker=speaker) if words else None
