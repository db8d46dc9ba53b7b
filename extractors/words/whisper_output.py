"""What is done with Whisper's answer, whichever program gave it: whole words, loops cut, times in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from emofuse.pipeline.timed import Span

WITHOUT_SPACES = ("zh", "ja", "th", "lo", "my", "yue")  # as whisper/tokenizer.py has them
SHORTEST_WORD = 0.02  # seconds
LONGEST_PHRASE = 12  # words of a phrase that may be repeated
REPEATS = 4  # times that a phrase in a row is a loop; people do say a word three times


@dataclass(frozen=True)
class HeardWord:
    """A word as Whisper gives it: text, seconds within the stretch, probability 0..1 (of its tokens, the mean)."""

    text: str
    start: float
    end: float
    probability: float


def whole_words(pieces: Sequence[HeardWord], language: str | None) -> list[HeardWord]:
    """Words with those joined that Whisper tears at punctuation ("$5" and ".50", "1961" and ",5"), spaces around them taken off.

    A new word begins with a space, except where a language is written without. A word is as probable as its least probable piece.
    """
    words: list[HeardWord] = []
    for piece in pieces:
        if words and language not in WITHOUT_SPACES and piece.text and not piece.text[0].isspace():
            last = words[-1]
            words[-1] = replace(last, text=last.text + piece.text, end=piece.end, probability=min(last.probability, piece.probability))
        else:
            words.append(piece)
    return [replace(word, text=word.text.strip()) for word in words]


def cut_loops(words: Sequence[HeardWord]) -> tuple[list[HeardWord], int]:
    """Words with every loop (a phrase REPEATS times or more in a row) cut to its first round, and how many words were cut."""
    kept: list[HeardWord] = []
    bare = ["".join(c for c in word.text.lower() if c.isalnum()) for word in words]
    at = 0
    while at < len(words):
        step, rounds = 1, 1
        for length in range(1, min(LONGEST_PHRASE, (len(words) - at) // REPEATS) + 1):
            phrase = bare[at : at + length]
            count = 1
            while bare[at + count * length : at + (count + 1) * length] == phrase:
                count += 1
            if count >= REPEATS:
                step, rounds = length, count
                break
        kept += words[at : at + step]
        at += step * rounds
    return kept, len(words) - len(kept)


def in_order(spans: Sequence[Span], whole: Span, speech: Sequence[Span], *, slack: float = 0.0) -> list[Span]:
    """The spans of words so that none overlaps its neighbour, none is shorter than SHORTEST_WORD and all lie in `whole`.

    speech   where there is speech: a word that begins before it or lasts longer is cut to it; () leaves that
    slack    seconds without speech that a word may hold all the same: edges of speech are rough, those of an aligned word less so
    """
    cut = [_cut_to_speech(span, speech, slack) for span in spans]
    room = min(SHORTEST_WORD, whole.duration / max(1, len(cut)))
    ordered: list[Span] = []
    earliest = whole.start
    for k, span in enumerate(cut):
        latest = whole.end - room * (len(cut) - k - 1)  # the words behind it need room too
        start = min(max(span.start, earliest), latest - room)
        after = max(start, cut[k + 1].start) if k + 1 < len(cut) else latest
        end = max(start + room, min(span.end, after, latest))
        ordered.append(Span(start, end))
        earliest = end
    return ordered


def _cut_to_speech(span: Span, speech: Sequence[Span], slack: float) -> Span:
    """The part of a span within the speech that it overlaps most; the span itself where it overlaps none, or hardly any silence."""
    parts = [Span(max(span.start, s.start), min(span.end, s.end)) for s in speech if s.start < span.end and s.end > span.start]
    if not parts or span.duration - sum(part.duration for part in parts) <= slack:
        return span
    return max(parts, key=lambda part: part.duration)
