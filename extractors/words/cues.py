"""What a transcript file says: cues, which are some words and what is known of their time.

Text is kept as written, punctuation included; mark-up, sound descriptions in square brackets and music notes are not words and
are left out.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cue:
    """Words that share what is known of their time.

    words          at least one, as written
    start, end     seconds in which all of them are said; None where the file has no times
    probabilities  0..1 a word, NaN where the file has none
    speaker        "" where unknown
    known          (start, end) of those words that the file does time within a cue of several, None for the others; () for none
    """

    words: tuple[str, ...]
    start: float | None = None
    end: float | None = None
    probabilities: tuple[float, ...] = ()
    speaker: str = ""
    known: tuple[tuple[float, float] | None, ...] = ()

    def probability(self, index: int) -> float:
        return self.probabilities[index] if self.probabilities else math.nan


_SPEAKER = re.compile(r"^(?:>>+\s*)?([A-Z][A-Z0-9 .'\-]{0,29}):\s+(?=\S)")
_MARKUP = re.compile(r"</?[a-zA-Z][^>]*>|\{\\[^}]*\}|\[[^\]]*\]|[♪♫♩♬]")


def words_of(text: str) -> tuple[str, ...]:
    """Words as written, mark-up left out; a lone mark ("—") stays with the word before it, or else after it."""
    words: list[str] = []
    ahead = ""
    for token in _MARKUP.sub(" ", text).split():
        if any(character.isalnum() or character in "&%@+=°€$£" for character in token):
            words.append(f"{ahead} {token}".strip())
            ahead = ""
        elif words:
            words[-1] += " " + token
        else:
            ahead = f"{ahead} {token}".strip()
    return tuple(words)


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
