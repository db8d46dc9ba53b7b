"""Who speaks when, within one clip: turns, the stream `speakers` that holds them, and what they say of words and utterances.

The stream has a row per turn: the text columns `label` (the speaker) and `by`, and the numeric column `confidence` (0..1, NaN where a file
says it). So every format writes it as an annotation tier, and an RTTM file is read as one. `by` is one of

    lips    a face in view moves its lips with the voice
    voice   the voice is like that of the speaker's other turns
    words   the words name their speakers (a transcript)
    file    a file says it (RTTM)

The notes of its provenance say what is known of each speaker (`SpeakerFacts`). A clip of one speaker has no such stream unless it was
asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import numpy as np

from .codec import decode
from .timed import Provenance, Span, TimedSequence

SPEAKERS = "speakers"
LABEL, BY = "label", "by"
CONFIDENCE = "confidence"
TURN_SURE = 0.7
"""Confidence of a turn below which its speaker is called unsure."""


@dataclass(frozen=True)
class Turn:
    """Somebody speaks: seconds from `start` to `end`, who, how that is known, and how sure (0..1; None: not weighed)."""

    start: float
    end: float
    speaker: str
    by: str = "file"
    confidence: float | None = None

    @property
    def span(self) -> Span:
        return Span(self.start, self.end)


@dataclass(frozen=True)
class SpeakerFacts:
    """What is known of one speaker of a clip.

    name        A, B, ... in order of who speaks first; or the name that a transcript or a file gives
    seconds     of all turns;  turns: how many
    by          how most of these seconds were decided: lips, voice, words or file
    confidence  0..1: mean over the turns, by their seconds; None where it was not weighed
    faces       face_id of the faces whose lips move with this voice
    """

    name: str
    seconds: float
    turns: int
    by: str
    confidence: float | None
    faces: tuple[int, ...] = ()


def turn_stream(turns: Sequence[Turn], provenance: Provenance, *, faces: Mapping[str, Sequence[int]] | None = None) -> TimedSequence:
    """The stream, turns in any order; its notes say what is known of each speaker."""
    notes = {**provenance.notes, SPEAKERS: [asdict(facts) for facts in facts_of(turns, faces or {})]}
    provenance = replace(provenance, notes=notes)
    if not turns:
        return TimedSequence.empty(SPEAKERS, (CONFIDENCE,), provenance, "nobody was heard to speak", (LABEL, BY))
    ordered = sorted(turns, key=lambda turn: (turn.start, turn.end))
    confidence = [np.nan if turn.confidence is None else turn.confidence for turn in ordered]
    return TimedSequence(
        name=SPEAKERS,
        columns=(CONFIDENCE,),
        values=np.array(confidence, np.float32).reshape(-1, 1),
        start=np.array([turn.start for turn in ordered], np.float64),
        end=np.array([turn.end for turn in ordered], np.float64),
        provenance=provenance,
        labels={LABEL: tuple(turn.speaker for turn in ordered), BY: tuple(turn.by for turn in ordered)},
    )


def facts_of(turns: Sequence[Turn], faces: Mapping[str, Sequence[int]]) -> tuple[SpeakerFacts, ...]:
    """One entry per speaker, in order of who speaks first. `faces`: speaker -> the faces that are theirs."""
    facts = []
    for name in dict.fromkeys(turn.speaker for turn in sorted(turns, key=lambda turn: turn.start)):
        own = [turn for turn in turns if turn.speaker == name]
        seconds = {by: sum(turn.span.duration for turn in own if turn.by == by) for by in dict.fromkeys(turn.by for turn in own)}
        sure = [(turn.confidence, turn.span.duration) for turn in own if turn.confidence is not None]
        weight = sum(length for _, length in sure)
        confidence = sum(one * length for one, length in sure) / weight if weight > 0 else None
        mostly = max(seconds, key=lambda by: seconds[by])
        facts.append(SpeakerFacts(name, sum(seconds.values()), len(own), mostly, confidence, tuple(faces.get(name, ()))))
    return tuple(facts)


def speaker_facts(streams: Mapping[str, TimedSequence]) -> tuple[SpeakerFacts, ...]:
    """What is known of each speaker of a clip; () where nobody asked who speaks, and the words do not say it."""
    stream = streams.get(SPEAKERS)
    if stream is not None:
        noted = stream.provenance.notes.get(SPEAKERS)
        return tuple(decode(SpeakerFacts, one) for one in noted) if noted is not None else facts_of(turns_of(stream), {})
    return facts_of(turns_of_words(streams.get("words")), {})


def turns_of(stream: TimedSequence | None) -> list[Turn]:
    """The turns of the stream `speakers`; none where it is absent."""
    if stream is None or LABEL not in stream.labels:
        return []
    by = stream.labels.get(BY, ("file",) * len(stream))
    sure = stream.column(CONFIDENCE).astype(np.float64) if CONFIDENCE in stream.columns else np.full(len(stream), np.nan)
    rows = zip(stream.start.tolist(), stream.end.tolist(), stream.labels[LABEL], by, sure.tolist(), strict=True)
    return [Turn(start, end, name, how, None if one != one else one) for start, end, name, how, one in rows]


def turns_of_words(words: TimedSequence | None, pause: float = 0.7) -> list[Turn]:
    """Words of one speaker without a pause between, as turns; none where no word names a speaker. Words without a name are nobody's."""
    if not names_speakers(words):
        return []
    assert words is not None
    turns: list[Turn] = []
    last: dict[str, int] = {}
    for start, end, name in zip(words.start.tolist(), words.end.tolist(), words.labels["speaker"], strict=True):
        k = last.get(name)
        if k is not None and start - turns[k].end < pause:
            turns[k] = replace(turns[k], end=max(turns[k].end, end))
        else:
            last[name] = len(turns)
            turns.append(Turn(start, end, name, "words"))
    return [turn for turn in turns if turn.speaker]


def names_speakers(words: TimedSequence | None) -> bool:
    """Whether the words say who speaks."""
    return words is not None and any(words.labels.get("speaker", ()))


def named(words: TimedSequence, turns: Sequence[Turn]) -> TimedSequence:
    """The words, each with the speaker of the turn that it lies in longest; of one in no turn, of the turn nearest in time."""
    if not len(words) or not turns:
        return words
    near = _Near(turns)
    speakers = tuple(near.longest(Span(a, b)).speaker for a, b in zip(words.start.tolist(), words.end.tolist(), strict=True))
    return replace(words, labels={**words.labels, "speaker": speakers})


class _Near:
    """Turns by time: looking one up costs no more in a long clip."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = sorted(turns, key=lambda turn: turn.start)
        self._start = np.array([turn.start for turn in self._turns])
        self._latest = np.maximum.accumulate([turn.end for turn in self._turns])

    def around(self, span: Span) -> Sequence[Turn]:
        """Turns that may overlap a span."""
        first = int(np.searchsorted(self._latest, span.start, "right"))
        last = int(np.searchsorted(self._start, span.end, "left"))
        return self._turns[first:last]

    def longest(self, span: Span) -> Turn:
        """The turn that covers most of a span, the first of two alike; else the nearest."""
        candidates = self.around(span)
        best = max(candidates, key=lambda turn: turn.span.overlap(span), default=None)
        if best is not None and best.span.overlap(span) > 0:
            return best
        k = int(np.searchsorted(self._start, span.start, "left"))
        neighbours = [*candidates, *self._turns[max(0, k - 2) : k + 2]]
        return min(neighbours, key=lambda turn: max(turn.start - span.end, span.start - turn.end, 0.0))


class SpeakerFinder:
    """Who speaks in a span, as the turns say, else the words."""

    def __init__(self, streams: Mapping[str, TimedSequence]) -> None:
        turns = turns_of(streams.get(SPEAKERS)) or turns_of_words(streams.get("words"))
        self._near = _Near(turns) if turns else None

    def turn(self, span: Span) -> Turn | None:
        """Who speaks longest in a span, with how sure that is (the mean over that speaker's turns in it); None where nobody does."""
        if self._near is None:
            return None
        inside = [turn for turn in self._near.around(span) if turn.span.overlap(span) > 0]
        if not inside:
            return None
        seconds = {
            name: sum(t.span.overlap(span) for t in inside if t.speaker == name) for name in dict.fromkeys(t.speaker for t in inside)
        }
        name = max(seconds, key=lambda one: seconds[one])
        own = [turn for turn in inside if turn.speaker == name]
        sure = [(turn.confidence, turn.span.overlap(span)) for turn in own if turn.confidence is not None]
        weight = sum(length for _, length in sure)
        mean = sum(one * length for one, length in sure) / weight if weight > 0 else None
        return replace(max(own, key=lambda turn: turn.span.overlap(span)), confidence=mean)


def changes(turns: Sequence[Turn]) -> list[float]:
    """Seconds at which another speaker takes over: halfway through the pause between the two, or through their overlap."""
    ordered = sorted(turns, key=lambda turn: turn.start)
    return [(a.end + b.start) / 2 for a, b in pairwise(ordered) if a.speaker != b.speaker]
