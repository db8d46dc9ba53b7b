"""Subtitles: the words of a clip cut into cues that can be read, and SubRip (.srt) text.

`transcript.srt` holds the words alone. The format `srt` puts the utterance's emotion and its probability in square brackets on a line
above, which players show and which readers of transcripts leave out. SubRip holds no more: word times, the other probabilities, sentiment,
confidence, flags and speakers are not in it (WebVTT holds them, vtt.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FormatError
from ..streams import EMOTIONS
from ..timed import Provenance, TimedSequence
from ..utterances import segment
from .cue_files import RawCue, srt_cues
from .session import UTTERANCE_COLUMNS, UTTERANCES, Session
from .text_file import read_text
from .tiers import one_line

LONGEST_CUE = 80  # characters, about two lines
MOST_BYTES = 64 * 2**20
_EMOTION = re.compile(rf"^\[({'|'.join(EMOTIONS)})(?: (\d\.\d\d))?\]$")


@dataclass(frozen=True)
class Caption:
    """One cue: seconds, the words in it (rows of the words stream; none where only an utterance's text is known) and their text.

    utterance  row of the utterances stream that it belongs to, None for words outside every utterance
    """

    start: float
    end: float
    words: tuple[int, ...]
    text: str
    utterance: int | None


def srt(words: TimedSequence) -> str:
    """SubRip text of the words; times rounded to the format's milliseconds. Empty where there are no words."""
    if not len(words):
        return ""
    spans = segment({"words": words}, words.span.end).spans
    return _srt((c, c.text) for span in spans for c in _pieces(words, words.inside(span).tolist(), None))


def captions(session: Session) -> list[Caption]:
    """Every word once, in cues of about two lines, utterance by utterance; an utterance without words is one cue with its text."""
    words, utterances = session.filled("words"), session.filled(UTTERANCES)
    cues: list[Caption] = []
    left = set(range(len(words))) if words is not None else set()
    for u in range(len(utterances)) if utterances is not None else ():
        assert utterances is not None
        a, b = float(utterances.start[u]), float(utterances.end[u])
        middle = (words.start + words.end) / 2 if words is not None else np.zeros(0)
        inside = [i for i in np.flatnonzero((middle >= a) & (middle < b)).tolist() if i in left]
        left -= set(inside)
        if words is not None and inside:
            cues += _pieces(words, inside, u)
        else:
            cues.append(Caption(a, b, (), one_line(utterances.labels["text"][u]) if "text" in utterances.labels else "", u))
    if words is not None and left:
        rest = words.rows(np.array(sorted(left)))
        whole = sorted(left)
        for span in segment({"words": rest}, rest.span.end).spans:
            cues += _pieces(words, [whole[i] for i in rest.inside(span)], None)
    return sorted(cues, key=lambda c: (c.start, c.end))


def _pieces(words: TimedSequence, index: Sequence[int], utterance: int | None) -> list[Caption]:
    captions: list[Caption] = []
    for i in index:
        word = one_line(words.labels["word"][i])
        if not word:
            continue
        start, end = float(words.start[i]), float(words.end[i])
        last = captions[-1] if captions else None
        if last is not None and len(last.text) + 1 + len(word) <= LONGEST_CUE:
            captions[-1] = Caption(last.start, max(last.end, end), (*last.words, i), f"{last.text} {word}", utterance)
        else:
            captions.append(Caption(start, end, (i,), word, utterance))
    return captions


def write_srt(sessions: Sequence[Session], path: Path) -> None:
    """One session, its emotions as text."""
    (session,) = sessions
    utterances = session.streams.get(UTTERANCES)
    path.write_text(_srt(_with_emotion(captions(session), utterances)), encoding="utf-8")


def _with_emotion(captions: Iterable[Caption], utterances: TimedSequence | None) -> Iterator[tuple[Caption, str]]:
    for caption in captions:
        lines = [caption.text] if caption.text else []
        if utterances is not None and caption.utterance is not None and "emotion" in utterances.labels:
            emotion = utterances.labels["emotion"][caption.utterance]
            if emotion in utterances.columns:
                lines.insert(0, f"[{emotion} {float(utterances.column(emotion)[caption.utterance]):.2f}]")
            elif emotion:
                lines.insert(0, f"[{one_line(emotion)}]")
        if lines:
            yield caption, "\n".join(lines)


def _srt(cues: Iterable[tuple[Caption, str]]) -> str:
    return "".join(f"{i}\n{_clock(c.start)} --> {_clock(c.end)}\n{text}\n\n" for i, (c, text) in enumerate(cues, 1))


def _clock(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


def read_srt(path: Path) -> tuple[Session, ...]:
    """One session whose utterances are the cues; an emotion in brackets on the first line is read back, to two digits."""
    rows = []
    for cue in sorted(cues_of(path, srt_cues), key=lambda cue: (cue.start, cue.end, cue.text)):
        match = _EMOTION.match(cue.lines[0].strip()) if cue.lines else None
        text = "\n".join(cue.lines[1:]) if match else cue.text
        rows.append((cue.start, max(cue.start, cue.end), one_line(text), *(match.groups() if match else ("", None))))
    values = np.full((len(rows), len(UTTERANCE_COLUMNS)), np.nan, np.float32)
    for i, (_, _, _, emotion, probability) in enumerate(rows):
        if probability:
            values[i, UTTERANCE_COLUMNS.index(emotion)] = float(probability)
    return (cue_session(path, "SubRip", [row[:3] for row in rows], values, [row[3] or "" for row in rows]),)


def cues_of(path: Path, reader: Callable[[str, Path], list[RawCue]]) -> list[RawCue]:
    """Every cue of a file in its order; raises `FormatError` in one line for the first that cannot be read."""
    text = read_text(path, FormatError, MOST_BYTES).text
    cues = reader(text, path)
    for cue in cues:
        if cue.problem:
            raise FormatError(cue.problem)
    return cues


def cue_session(
    path: Path, format_name: str, rows: Sequence[tuple[float, float, str]], values: np.ndarray, emotions: Sequence[str]
) -> Session:
    """Cues as utterances: (start, end, text) in seconds, and values (n c) of UTTERANCE_COLUMNS."""
    utterances = TimedSequence(
        name=UTTERANCES,
        columns=UTTERANCE_COLUMNS,
        values=values,
        start=np.array([row[0] for row in rows], np.float64),
        end=np.array([row[1] for row in rows], np.float64),
        provenance=Provenance(format_name, "1", options={"file": path.name}),
        labels={"text": tuple(row[2] for row in rows), "emotion": tuple(emotions), "flags": ("",) * len(rows)},
        reason="" if rows else "the file holds no cue",
    )
    return Session(path.stem, {UTTERANCES: utterances})
