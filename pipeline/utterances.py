"""Segmentation of a clip into utterances: speech turns from word times, else voice activity, else fixed windows.

A turn ends at a pause, at a change of speaker (turns.py), or, past the longest length, at its widest inner pause.
Cost stays linear in the clip's length, since no utterance is longer than about 15 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .quality import WORDS_SURE, words_sure
from .results import CutBy, FaceChoice, Utterance
from .speaker_face import FaceSelector, active_rows
from .speech import SPEECH
from .streams import MODALITIES
from .timed import Span, TimedSequence
from .turns import SPEAKERS, SpeakerFinder, changes, turns_of

SILENCE = 1e-3  # rms, full scale 1: -60 dB


@dataclass(frozen=True)
class Segmentation:
    """Seconds: a pause that ends a turn, the longest utterance, air left around speech, the length of fixed windows."""

    pause: float = 0.7
    longest: float = 15.0
    margin: float = 0.2
    window: float = 10.0
    shortest_sound: float = 0.3


@dataclass(frozen=True)
class Segments:
    """Spans of a clip in order, not overlapping, and what they were cut by: words, voice or windows."""

    spans: tuple[Span, ...]
    by: CutBy


def segment(streams: Mapping[str, TimedSequence], duration: float, segmentation: Segmentation | None = None) -> Segments:
    """Utterance spans of a clip of this many seconds (its last frame, sample or word)."""
    segmentation = segmentation or Segmentation()
    words = streams.get("words")
    if words is not None and len(words):
        spans = _turns(words, segmentation)
        by: CutBy = "words"
    else:
        spans = _voiced(streams, segmentation)
        by = "voice"
    if not spans:
        return Segments(tuple(_windows(Span(0.0, duration), segmentation.window)), "windows")
    return Segments(tuple(_with_margins(spans, duration, segmentation.margin)), by)


def _turns(words: TimedSequence, segmentation: Segmentation) -> list[Span]:
    speakers = words.labels.get("speaker", ("",) * len(words))
    groups: list[list[int]] = []
    for i in range(len(words)):
        new_turn = (
            not groups or words.start[i] - words.end[groups[-1]].max() >= segmentation.pause or speakers[i] != speakers[groups[-1][-1]]
        )
        if new_turn:
            groups.append([i])
        else:
            groups[-1].append(i)
    spans: list[Span] = []
    for group in groups:
        for first, last in _split(words.start[group], words.end[group], segmentation.longest):
            start, end = float(words.start[group[first]]), float(words.end[group[first : last + 1]].max())
            # Speech over speech (two speakers at once): the later turn begins where the earlier ends.
            start = max(start, spans[-1].end) if spans else start
            spans += _windows(Span(start, end), segmentation.longest) if end > start else []
    return spans


def _split(start: NDArray[np.float64], end: NDArray[np.float64], longest: float) -> list[tuple[int, int]]:
    """Ranges (first, last) of items, cut at the widest pauses (near the middle, if all are alike) until none is longer than `longest`."""
    parts: list[tuple[int, int]] = []
    waiting = [(0, len(start) - 1)]
    while waiting:
        first, last = waiting.pop()
        length = end[first : last + 1].max() - start[first]
        if length <= longest or first == last:
            parts.append((first, last))
            continue
        borders = np.arange(first + 1, last + 1)
        pauses = start[borders] - end[borders - 1]
        middle = (start[borders] - start[first]) / length
        best = int(borders[np.argmax(pauses + 0.5 * np.minimum(middle, 1 - middle))])
        waiting += [(best, last), (first, best - 1)]
    return parts


def _voiced(streams: Mapping[str, TimedSequence], segmentation: Segmentation) -> list[Span]:
    """Where speech was heard, or else where the voice is loud, joined over short pauses."""
    speech, voice, turns = streams.get(SPEECH), streams.get("voice"), streams.get(SPEAKERS)
    if turns is not None and len(turns):
        start, end = turns.start, turns.end
    elif speech is not None and len(speech):
        start, end = speech.start, speech.end
    elif voice is not None and len(rows := active_rows(voice)):
        start, end = voice.start[rows], voice.end[rows]
    else:
        return []
    breaks = np.flatnonzero(start[1:] - np.maximum.accumulate(end)[:-1] >= segmentation.pause) + 1
    spans: list[Span] = []
    for run in np.split(np.arange(len(start)), breaks):
        span = Span(float(start[run[0]]), float(end[run].max()))
        for part in _between(span, changes([whole[i] for i in run]) if (whole := turns_of(turns)) else []):
            if part.duration >= segmentation.shortest_sound:
                spans += _windows(part, segmentation.longest)
    return spans


def _between(span: Span, borders: Sequence[float]) -> list[Span]:
    """The parts of a span between these seconds."""
    edges = [span.start, *(border for border in borders if span.start < border < span.end), span.end]
    return [Span(a, b) for a, b in pairwise(edges) if b > a]


def _windows(span: Span, longest: float) -> list[Span]:
    """Equal pieces of a span, none longer than `longest`."""
    n = max(1, int(np.ceil(span.duration / longest - 1e-9)))
    borders = np.linspace(span.start, span.end, n + 1)
    return [Span(float(a), float(b)) for a, b in pairwise(borders)]


def _with_margins(spans: Sequence[Span], duration: float, margin: float) -> list[Span]:
    """A little air around each span: never over a neighbour, never outside the clip."""
    wide: list[Span] = []
    for i, span in enumerate(spans):
        before = (span.start - spans[i - 1].end) / 2 if i else span.start
        after = (spans[i + 1].start - span.end) / 2 if i + 1 < len(spans) else max(0.0, duration - span.end)
        wide.append(Span(span.start - max(0.0, min(margin, before)), span.end + max(0.0, min(margin, after))))
    return wide


def utterance(
    span: Span,
    streams: Mapping[str, TimedSequence],
    whose: FaceSelector | None = None,
    speakers: SpeakerFinder | None = None,
    *,
    words_floor: float = WORDS_SURE,
) -> Utterance:
    """What lies in a span: its words and the rows of each modality whose middle is inside; of several faces, the one that `whose` picks;
    who speaks, as `speakers` says (None: as the streams say). Words of a mean probability below `words_floor` do not count as text."""
    whose = whose or FaceSelector()
    chosen: FaceChoice | None = None
    turn = (speakers or SpeakerFinder(streams)).turn(span)
    speaker, confidence = ("", None) if turn is None else (turn.speaker, turn.confidence)
    words = streams.get("words")
    text = ""
    if words is not None:
        text = " ".join(w for i in words.inside(span) if (w := words.labels["word"][i].strip()))
    inside: dict[str, TimedSequence] = {}
    rows: dict[str, NDArray[np.intp]] = {}
    for name in MODALITIES:
        stream = streams.get(name)
        if stream is None:
            continue
        index = stream.inside(span)
        reason = f"no {name} between {span.start:.2f} and {span.end:.2f} s"
        if name == "face":
            seen = len(index)
            index, chosen = whose.rows(stream, index, span, speaker)
            if not len(index) and (seen or whose.face_id is not None):
                who = f"face {whose.face_id}" if whose.face_id is not None else f"speaker {speaker}"
                reason = f"{who} is not seen between {span.start:.2f} and {span.end:.2f} s"
        if name == "text" and (sure := words_sure(words, span)) < words_floor:
            index, reason = index[:0], f"words of a mean probability of {sure:.2f} do not count as text (below {words_floor})"
        if name == "voice" and silent(stream, index):
            index, reason = index[:0], f"silence between {span.start:.2f} and {span.end:.2f} s"
        rows[name] = index
        inside[name] = stream.rows(index, reason=reason)
    return Utterance(span, text, inside, rows, chosen, speaker=speaker, speaker_confidence=confidence)


def silent(voice: TimedSequence, index: NDArray[np.intp]) -> bool:
    """Whether the rows `index` (k) hold nothing that could be a voice: no row reaches -60 dB of full scale."""
    if not len(index) or "rms" not in voice.columns:
        return False
    return bool(np.nan_to_num(voice.column("rms", index)).max() < SILENCE)
