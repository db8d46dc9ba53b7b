"""Whose baseline each utterance is read against: the person's other utterances of the clip, or a recording of the person.

Within a clip, a face is the person whom the tracker calls by one face_id, and a voice is one person's unless the words name speakers. An
utterance's own rows never count. `auto` looks at the whole recording, so an answer depends on what is said later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .baseline import Tally, Usual
from .results import BaselineFacts, Utterance
from .timed import Span, TimedSequence

Tallies = Mapping[str, Tally]
TallyUtterance = Callable[[Utterance], Tallies]
"""A model's sums over one utterance: stream -> Tally, of the streams that it reads as departures (`Predictor.tallies`)."""

THIS_CLIP = "other utterances of this clip"


@dataclass(frozen=True, eq=False)
class BaselineSource:
    """Where a person's usual comes from.

    tally      the model's sums over one utterance
    recording  what a recording of the person gave, stream -> Tally; None: the clip's own other utterances
    name       what the results call it: the recording's file name
    """

    tally: TallyUtterance
    recording: Tallies | None = None
    name: str = THIS_CLIP


class PersonBaselines:
    """The baselines of one clip's utterances, of which all were looked at beforehand."""

    def __init__(self, source: BaselineSource, utterances: Iterable[Utterance], words: TimedSequence | None) -> None:
        """`utterances` is read once, and only where the clip itself is the source."""
        self._source = source
        self._words = words
        self._sums: dict[tuple[str, str], Tally] = {}
        self._counted: dict[str, list[float]] = {}
        self._shares: dict[str, list[float]] = {}
        for utterance in utterances if source.recording is None else ():
            for stream, tally in source.tally(utterance).items():
                key = stream, self._person(stream, utterance)
                self._sums[key] = self._sums[key].along_with(tally) if key in self._sums else tally

    def known(self, utterance: Utterance) -> Utterance:
        """The utterance with what is usual for its person in each stream that the model reads so."""
        usual: dict[str, Usual] = {}
        for stream, utterance_tally in self._source.tally(utterance).items():
            tally = self._others(stream, utterance, utterance_tally)
            usual[stream] = tally.usual()
            self._counted.setdefault(stream, []).append(float(tally.utterances.max(initial=0.0)))
            self._shares.setdefault(stream, []).append(float(usual[stream].share.max(initial=0.0)))
        return replace(utterance, usual=usual) if usual else utterance

    def facts(self) -> tuple[BaselineFacts, ...]:
        """What was taken, from where and how much, stream by stream."""
        return tuple(
            BaselineFacts(stream, self._source.name, float(np.median(counted)), float(np.median(self._shares[stream])))
            for stream, counted in sorted(self._counted.items())
        )

    def _others(self, stream: str, utterance: Utterance, utterance_tally: Tally) -> Tally:
        recording = self._source.recording
        if recording is not None:
            return recording.get(stream) or Tally.nothing(utterance_tally.columns)
        return self._sums[stream, self._person(stream, utterance)].without(utterance_tally)

    def _person(self, stream: str, utterance: Utterance) -> str:
        if stream == "face":
            return "" if utterance.face is None else str(utterance.face.face_id)
        return speaker_in(self._words, utterance.span)


def recorded(tally: TallyUtterance, utterances: Iterable[Utterance]) -> Tallies:
    """All of a recording's utterances together: stream -> Tally."""
    sums: dict[str, Tally] = {}
    for utterance in utterances:
        for stream, one in tally(utterance).items():
            sums[stream] = sums[stream].along_with(one) if stream in sums else one
    return sums


def speaker_in(words: TimedSequence | None, span: Span) -> str:
    """The speaker whom the words of a span name; "" where they name none, or several."""
    if words is None or "speaker" not in words.labels:
        return ""
    speakers = {words.labels["speaker"][i] for i in words.inside(span)}
    return speakers.pop() if len(speakers) == 1 else ""
