"""Who speaks when, found out: by lips where faces in view tell, by the likeness of voices where not.

Speech (Silero's spans, else the words, else the loud parts of the voice) is cut into stretches of at most LONGEST seconds. A stretch in
which lips tell who speaks is that face's. Voiceprints of all stretches are grouped (clustering.py), stretches of one face together, faces
that are in view at the same time apart. Then the borders between speakers are laid anew, tenth of a second by tenth, by the likeness of
what is heard around each to the groups' means. Words that name their speakers (a transcript) are believed, and nothing is found out.

Speakers are called A, B, ... in order of who speaks first. Nobody is recognised: no voice and no face is compared with another clip's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.media import Media, Medium
from emofuse.pipeline.speaker_face import voiced_spans
from emofuse.pipeline.speech import SPEECH, with_speech
from emofuse.pipeline.timed import Floats64, Provenance, Span, TimedSequence
from emofuse.pipeline.turns import BY, CONFIDENCE, LABEL, SPEAKERS, Turn, names_speakers, turn_stream, turns_of_words

from ..provider import Provider, Request, Status
from ..voice.whisper_voice import WhisperVoice
from ..voice.whisper_weights import encoder_status
from .clustering import Labels, best_path, centres, speakers_of
from .lips import Lips, read_lips
from .voiceprints import BIN, SPACE, Space, Tenths, readable, voiceprints

LONGEST = 3.0
"""Seconds of a stretch that is taken for one speaker's when voices are grouped."""
ENOUGH = 0.6
"""Seconds of a stretch that has a say in how many voices there are: shorter ones are unsure."""
AROUND = 0.7
"""Seconds on either side that are heard for the speaker of a moment."""
CHANGE, CHANGE_AT_PAUSE = 3.0, 0.3
"""What a change of speaker costs within speech and at a pause, in cosines summed over tenths of a second."""
LIPS_COUNT = 1.0
"""What lips add to a moment's cosine."""
STEEPNESS = 12.0
"""Confidence of a turn by voice: a logistic function of this times the cosine to its speaker less that to the next."""


class VoiceSpeakers(Provider):
    """Makes the stream `speakers`.

    count   how many speakers there are; None: found out
    beside  which of the streams words, face and voice are made of the clip: they are read
    Raises `UsageError` for a count below 1, and `WeightsError` where the voice stream lacks Whisper's columns and its weights are missing.
    """

    name = "voices"
    stream = SPEAKERS
    argument = "[:N]"
    help = "lips where faces are in view, likeness of voices where not; N speakers (auto: as many as are told apart)"
    columns = (CONFIDENCE,)
    media: frozenset[Medium] = frozenset()

    def __init__(self, count: int | None = None, *, beside: Sequence[str] = (), device: str = "cpu", offline: bool = True) -> None:
        if count is not None and count < 1:
            raise UsageError(f"--speakers {count}: expected at least 1 speaker")
        self.needs = tuple(name for name in ("words", "face", "voice") if name in beside)
        self._count, self._device, self._offline = count, device, offline
        self._space = Space.load()
        self.provenance = Provenance(
            extractor=self.name,
            version="1",
            weights={SPACE.with_suffix(".safetensors").name: self._space.sha256},
            options={"speakers": "auto" if count is None else count},
        )

    @classmethod
    def accepts(cls, requested: str) -> bool:
        return requested.isascii() and requested.isdecimal()

    @classmethod
    def status(cls, request: Request) -> Status:
        """Usable where Whisper's encoder is: the voice is read by its columns."""
        return encoder_status("tiny.en")

    @classmethod
    def make(cls, request: Request) -> VoiceSpeakers:
        if request.argument and not cls.accepts(request.argument):
            raise UsageError(f"--speakers voices:{request.argument}: expected a number of speakers")
        count = int(request.argument) if request.argument else None
        return cls(count, beside=request.beside, device=request.device, offline=request.offline)

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        words = upstream.get("words")
        if names_speakers(words):
            return turn_stream(turns_of_words(words), replace(self.provenance, options={"speakers": "as the words name them"}))
        speech = speech_spans(upstream)
        if not speech or clip.info.audio is None:
            return self._nobody("no speech was found" if clip.info.audio is not None else "the clip has no audio stream")
        voice = upstream.get("voice")
        if voice is None or not readable(voice):
            voice = WhisperVoice(device=self._device, offline=self._offline)(clip, {})
        if not len(voice):
            return self._nobody(voice.reason)
        return found(Tenths(voice), self._space, speech, upstream.get("face"), self._count, self.provenance)

    def _nobody(self, reason: str) -> TimedSequence:
        return TimedSequence.empty(SPEAKERS, self.columns, self.provenance, reason, (LABEL, BY))


def speech_spans(streams: Mapping[str, TimedSequence]) -> list[Span]:
    """Where somebody speaks: Silero's spans, else the words, else the loud parts of the voice."""
    speech = with_speech(streams).get(SPEECH)
    if speech is not None and len(speech):
        return [Span(a, b) for a, b in zip(speech.start.tolist(), speech.end.tolist(), strict=True)]
    return list(voiced_spans(streams))


def found(
    tenths: Tenths, space: Space, speech: Sequence[Span], face: TimedSequence | None, count: int | None, provenance: Provenance
) -> TimedSequence:
    """The stream `speakers` of speech with voices and, where there are some, faces."""
    stretches = [part for span in speech for part in parts_of(span)]
    lips = read_lips(face, stretches)
    prints, known = voiceprints(tenths, stretches, space)
    labels = _grouped(stretches, prints, known, lips, count)
    means = _unit(centres(prints[labels >= 0], labels[labels >= 0]))
    moments = _Moments.of(tenths, space, speech, means)
    forced = _forced(moments, stretches, labels, lips)
    path = best_path(moments.scores + LIPS_COUNT * forced, moments.cost)
    turns = _turns(moments, path, forced, speech)
    names = _names(turns, len(means))
    faces: dict[str, list[int]] = {}
    for number, of_face in sorted(lips.stretches.items()):
        faces.setdefault(names[int(labels[of_face[0]])], []).append(number)
    sure = _confidences(tenths, space, turns, means, lips, stretches)
    named = [replace(turn, speaker=names[int(turn.speaker)], confidence=one) for turn, one in zip(turns, sure, strict=True)]
    return turn_stream(named, provenance, faces=faces)


def parts_of(span: Span, longest: float = LONGEST) -> list[Span]:
    """Equal parts of a span, none longer than `longest` seconds."""
    n = max(1, int(np.ceil(span.duration / longest - 1e-9)))
    borders = np.linspace(span.start, span.end, n + 1).tolist()
    return [Span(a, b) for a, b in pairwise(borders)]


def _grouped(stretches: Sequence[Span], prints: Floats64, known: np.ndarray, lips: Lips, count: int | None) -> Labels:
    """(k) the speaker of each stretch, -1 for one that had no say."""
    of_face = lips.stretches
    lasting = np.array([span.duration >= ENOUGH for span in stretches])
    said = known & (lasting | np.array([choice is not None for choice in lips.chosen]))
    if not said.any():
        said = known if known.any() else np.ones(len(stretches), bool)
    index = np.flatnonzero(said)
    place = {int(k): i for i, k in enumerate(index)}
    together = [[place[k] for k in group if k in place] for group in of_face.values()]
    together = [group for group in together if group]
    first = {number: place[group[0]] for number, group in of_face.items() if group[0] in place}
    apart = [(first[a], first[b]) for a, b in lips.apart if a in first and b in first]
    labels = np.full(len(stretches), -1, np.intp)
    labels[index] = speakers_of(prints[index], count, together, apart)
    return labels


def _unit(means: Floats64) -> Floats64:
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12), np.float64)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Tenths of a second of the speech: (t) middle, (t) number of its span, (t g) cosine to each speaker, (t) cost of a change."""

    middle: Floats64
    span: np.ndarray
    scores: Floats64
    cost: Floats64

    @classmethod
    def of(cls, tenths: Tenths, space: Space, speech: Sequence[Span], means: Floats64) -> _Moments:
        middles, spans, scores, cost = [], [], [], []
        for number, span in enumerate(speech):
            n = max(1, round(span.duration / BIN))
            middle = span.start + (np.arange(n) + 0.5) * span.duration / n
            around = [Span(max(span.start, m - AROUND), min(span.end, max(m + AROUND, m))) for m in middle.tolist()]
            prints, _ = voiceprints(tenths, around, space)
            middles.append(middle)
            spans.append(np.full(n, number))
            scores.append(prints @ means.T)
            cost.append(np.r_[CHANGE_AT_PAUSE, np.full(n - 1, CHANGE)])
        return cls(np.concatenate(middles), np.concatenate(spans), np.concatenate(scores), np.concatenate(cost))


def _forced(moments: _Moments, stretches: Sequence[Span], labels: Labels, lips: Lips) -> Floats64:
    """(t g) 1 where lips say that this speaker speaks."""
    forced = np.zeros_like(moments.scores)
    for k, choice in enumerate(lips.chosen):
        if choice is not None and labels[k] >= 0:
            inside = (moments.middle >= stretches[k].start) & (moments.middle < stretches[k].end)
            forced[inside, labels[k]] = 1.0
    return forced


def _turns(moments: _Moments, path: Labels, forced: Floats64, speech: Sequence[Span]) -> list[Turn]:
    """Moments of one speaker in one span of speech, as turns; the speaker's number stands for the name."""
    borders = np.flatnonzero((np.diff(path) != 0) | (np.diff(moments.span) != 0)) + 1
    turns: list[Turn] = []
    for run in np.split(np.arange(len(path)), borders):
        span = speech[int(moments.span[run[0]])]
        opens = run[0] == 0 or moments.span[run[0] - 1] != moments.span[run[0]]
        start = span.start if opens else turns[-1].end
        closes = run[-1] + 1 == len(path) or moments.span[run[-1] + 1] != moments.span[run[-1]]
        end = span.end if closes else float(moments.middle[run[-1]] + moments.middle[run[-1] + 1]) / 2
        speaker = int(path[run[0]])
        by = "lips" if forced[run, speaker].mean() > 0.5 else "voice"
        turns.append(Turn(start, end, str(speaker), by))
    return turns


def _names(turns: Sequence[Turn], speakers: int) -> list[str]:
    """Speaker's number -> A, B, ... in order of who speaks first; those who are left without a turn come last."""
    order = list(dict.fromkeys([*(int(turn.speaker) for turn in turns), *range(speakers)]))
    return [_letters(order.index(number)) for number in range(speakers)]


def _letters(number: int) -> str:
    """A .. Z, AA, AB, ..."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def _confidences(
    tenths: Tenths, space: Space, turns: Sequence[Turn], means: Floats64, lips: Lips, stretches: Sequence[Span]
) -> list[float | None]:
    """How sure each turn's speaker is; None where there is only one to choose."""
    if len(means) == 1:
        return [None] * len(turns)
    prints, known = voiceprints(tenths, [turn.span for turn in turns], space)
    cosines = prints @ means.T
    sure: list[float | None] = []
    for k, turn in enumerate(turns):
        if turn.by == "lips":
            weights = [(c[1], span.overlap(turn.span)) for c, span in zip(lips.chosen, stretches, strict=True) if c is not None]
            total = sum(w for _, w in weights)
            sure.append(sum(c * w for c, w in weights) / total if total > 0 else None)
            continue
        own = int(turn.speaker)
        margin = float(cosines[k, own] - np.delete(cosines[k], own).max()) if known[k] else 0.0
        sure.append(float(1 / (1 + np.exp(-STEEPNESS * margin))))
    return sure
