"""transcript.srt: the words as subtitles, one cue an utterance or, without a model, one a speech turn."""

from __future__ import annotations

from collections.abc import Sequence

from ..timed import Span, TimedSequence
from ..utterances import cut

LONGEST_CUE = 80  # characters, about two lines


def srt(words: TimedSequence) -> str:
    """SubRip text; times rounded to the format's milliseconds. Empty where there are no words."""
    if not len(words):
        return ""
    cues: list[tuple[float, float, str]] = []
    for span in cut({"words": words}, words.span.end).spans:
        cues += _cues(words, span)
    return "".join(f"{i}\n{_clock(a)} --> {_clock(b)}\n{text}\n\n" for i, (a, b, text) in enumerate(cues, 1))


def _cues(words: TimedSequence, span: Span) -> Sequence[tuple[float, float, str]]:
    cues: list[tuple[float, float, str]] = []
    for i in words.inside(span):
        word = " ".join(words.labels["word"][i].split())
        if not word:
            continue
        if cues and len(cues[-1][2]) + 1 + len(word) <= LONGEST_CUE:
            start, end, text = cues[-1]
            cues[-1] = (start, max(end, float(words.end[i])), f"{text} {word}")
        else:
            cues.append((float(words.start[i]), float(words.end[i]), word))
    return cues


def _clock(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"
