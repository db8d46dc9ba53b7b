"""Does it sound like English? A Whisper of English alone writes English words for every language, and gives them low probabilities.

A clip whose words have a mean probability below DOUBTFUL is another language's, or so unclear that hardly a word is right. A model of many
languages is asked where one is here; without it the words are left out. Measured in docs/words.md: how many clips of German speech
are noticed and how many English ones are left out by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .word_rows import WordRow

DOUBTFUL = 0.5  # mean probability of the words of a clip


@dataclass(frozen=True)
class Doubt:
    """Why the words are not to be believed, and the language that was detected instead (None: nobody could say)."""

    why: str
    language: str | None


def doubt_english(rows: Sequence[WordRow], detect: Callable[[], tuple[str, float] | None]) -> Doubt | None:
    """Whether words that a Whisper of English heard are to be left out, and why; None where they are to be kept.

    detect  asked only about doubtful words: (language, probability) by a model of many languages, None where there is none
    """
    mean = float(np.mean([row.probability for row in rows])) if rows else 1.0
    if mean >= DOUBTFUL:
        return None
    detected = detect()
    if detected is None:
        return Doubt(f"the speech does not sound like clear English (its words have a mean probability of {mean:.2f})", None)
    language, probability = detected
    if language == "en":
        return None
    return Doubt(f"the speech sounds like {language!r} (probability {probability:.2f})", language)
