"""Whose baseline each utterance is read against: the person's other utterances, of the clip or of several clips, or a recording.

Within a clip, a face is the person whom the tracker calls by one face_id, and a voice is one person's unless it is known who speaks
(turns.py). An utterance's own rows never count. `auto` looks at the whole recording, so an answer depends on what is said later.

Of several clips of one person, which a table or a folder names, the person's part of each is summed (`PersonSums`): the only voice and
the only face of a clip; of several voices the one that the words call by the person's name. Other voices and faces stay with their clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from .baseline import Tally, Usual
from .results import BaselineFacts, Utterance

Tallies = Mapping[str, Tally]
TallyUtterance = Callable[[Utterance], Tallies]
"""A model's sums over one utterance: stream -> Tally, of the streams that it reads as departures (`Predictor.tallies`)."""

THIS_CLIP = "other utterances of this clip"


@dataclass(frozen=True, eq=False)
class PersonSums:
    """A person's utterances of some clips.

    tallies  stream -> sums over the utterances;  clips: stream -> how many clips these are from
    """

    tallies: Mapping[str, Tally] = field(default_factory=dict)
    clips: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def together(cls, parts: Iterable[PersonSums]) -> PersonSums:
        """All parts' clips. The order of the parts changes no more than the last digit. Raises `StreamError` where columns differ."""
        tallies: dict[str, Tally] = {}
        clips: dict[str, int] = {}
        for part in parts:
            for stream, tally in part.tallies.items():
                tallies[stream] = tallies[stream].along_with(tally) if stream in tallies else tally
                clips[stream] = clips.get(stream, 0) + part.clips[stream]
        return cls(tallies, clips)


@dataclass(frozen=True, eq=False)
class KnownPerson:
    """Somebody of whom several clips are known.

    name  as a table or a folder gives it;  sums over all their clips, the one that is read among them
    key   hash of what the sums were made from
    """

    name: str
    sums: PersonSums
    key: str


@dataclass(frozen=True, eq=False)
class BaselineSource:
    """Where a person's usual comes from.

    tally      the model's sums over one utterance
    recording  what a recording of the person gave, stream -> Tally; None: the clip's own other utterances
    name       what the results call it: the recording's file name
    person     who it is, where other clips of theirs are known too
    """

    tally: TallyUtterance
    recording: Tallies | None = None
    name: str = THIS_CLIP
    person: KnownPerson | None = None


class ClipTallies:
    """Sums over one clip's utterances, kept apart by who is seen and heard in them."""

    def __init__(self, tally: TallyUtterance, utterances: Iterable[Utterance]) -> None:
        """`utterances` is read once."""
        self._sums: dict[tuple[str, str], Tally] = {}
        for utterance in utterances:
            for stream, one in tally(utterance).items():
                key = stream, self.who(stream, utterance)
                self._sums[key] = self._sums[key].along_with(one) if key in self._sums else one

    def who(self, stream: str, utterance: Utterance) -> str:
        """Who is heard or seen in an utterance, by a name within the clip: a speaker, a face_id; "" where nobody is told apart."""
        if stream == "face":
            return "" if utterance.face is None else str(utterance.face.face_id)
        return utterance.speaker

    def sums(self, stream: str, who: str) -> Tally:
        return self._sums[stream, who]

    def is_person(self, stream: str, who: str, person: str) -> bool:
        """Whether this voice or face of the clip is the person whose clip it is said to be: the only one, or the one called so."""
        others = {name for kind, name in self._sums if kind == stream and name} or {""}
        return who in others and (len(others) == 1 or (stream != "face" and who.casefold() == person.casefold()))

    def of_person(self, person: str) -> PersonSums:
        """What the clip has of the person whose clip it is said to be."""
        tallies: dict[str, Tally] = {}
        for (stream, who), tally in self._sums.items():
            if self.is_person(stream, who, person):
                tallies[stream] = tallies[stream].along_with(tally) if stream in tallies else tally
        return PersonSums(tallies, dict.fromkeys(tallies, 1))


class PersonBaselines:
    """The baselines of one clip's utterances, of which all were looked at beforehand."""

    def __init__(self, source: BaselineSource, utterances: Iterable[Utterance]) -> None:
        """`utterances` is read once, and only where the clip itself is a source."""
        self._source = source
        self._clip = ClipTallies(source.tally, utterances if source.recording is None else ())
        self._facts: dict[str, list[BaselineFacts]] = {}

    def known(self, utterance: Utterance) -> Utterance:
        """The utterance with what is usual for its person in each stream that the model reads so."""
        usual: dict[str, Usual] = {}
        for stream, utterance_tally in self._source.tally(utterance).items():
            taken = self._others(stream, utterance, utterance_tally)
            usual[stream] = taken.tally.usual()
            utterances, share = (float(a.max(initial=0.0)) for a in (taken.tally.utterances, usual[stream].share))
            facts = BaselineFacts(stream, taken.source, utterances, share, taken.tally.seconds, taken.clips, taken.key)
            self._facts.setdefault(stream, []).append(facts)
        return replace(utterance, usual=usual) if usual else utterance

    def facts(self) -> tuple[BaselineFacts, ...]:
        """What was taken, from where and how much, stream by stream."""
        return tuple(_typical(facts) for _, facts in sorted(self._facts.items()))

    def _others(self, stream: str, utterance: Utterance, utterance_tally: Tally) -> _Taken:
        source = self._source
        if source.recording is not None:
            return _Taken(source.recording.get(stream) or Tally.nothing(utterance_tally.columns), source.name, 1)
        who, person = self._clip.who(stream, utterance), source.person
        if person is not None and stream in person.sums.tallies and self._clip.is_person(stream, who, person.name):
            name = f"other utterances of {person.name}"
            return _Taken(person.sums.tallies[stream].without(utterance_tally), name, person.sums.clips[stream] - 1, person.key)
        return _Taken(self._clip.sums(stream, who).without(utterance_tally), source.name, 0)


@dataclass(frozen=True, eq=False)
class _Taken:
    """What one utterance's stream is read against; the rest as in `BaselineFacts`."""

    tally: Tally
    source: str
    clips: int
    key: str | None = None


def _typical(facts: list[BaselineFacts]) -> BaselineFacts:
    """The source that has most clips (an interviewer's voice may have another than the person's), and medians over its utterances."""
    widest = max(facts, key=lambda one: one.clips)
    same = [one for one in facts if one.source == widest.source]
    return replace(
        widest,
        utterances=float(np.median([one.utterances for one in same])),
        share=float(np.median([one.share for one in same])),
        seconds=float(np.median([one.seconds for one in same])),
    )


def recorded(tally: TallyUtterance, utterances: Iterable[Utterance]) -> Tallies:
    """All of a recording's utterances together: stream -> Tally."""
    sums: dict[str, Tally] = {}
    for utterance in utterances:
        for stream, one in tally(utterance).items():
            sums[stream] = sums[stream].along_with(one) if stream in sums else one
    return sums
