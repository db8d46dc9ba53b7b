"""Several voice providers as one stream: `--voice whisper+covarep` puts COVAREP's columns beside Whisper's.

The rows are the first provider's, with its clock. Of every other provider each row takes the row whose middle is nearest to its own, the
earlier of two that are equally near; where none is within `NEAR_SECONDS` (one of them saw a gap there), its columns are NaN. Nothing is
averaged: the mean of a pitch and of no pitch is neither. A column that several have (`rms`) is the first provider's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.media import ClipInfo, Frame, Media, Medium, Samples
from emofuse.pipeline.ports import Extractor, Preparing
from emofuse.pipeline.spool import Spool, parts, release
from emofuse.pipeline.timed import Floats64, Provenance, TimedSequence

from ..provider import Provider, Request, Status
from .covarep.voice import CovarepCompatVoice, CovarepVoice
from .librosa_voice import LibrosaVoice
from .torchaudio_voice import TorchaudioVoice
from .whisper_voice import WhisperVoice

VOICES: tuple[type[Provider], ...] = (CovarepVoice, LibrosaVoice, TorchaudioVoice, CovarepCompatVoice, WhisperVoice)
"""Providers that read sound; any of them can be joined."""
DEFAULT = "whisper+covarep"
NEAR_SECONDS = 0.02


class JoinedVoice(Provider):
    """The columns of several extractors on the clock of the first. Memory does not grow with the clip: its sound is kept in a file."""

    name = "joined"
    stream = "voice"
    argument = "[:VOICES]"
    help = "the columns of several voice providers on the clock of the first; `whisper+covarep` alone means the same"
    columns = tuple(dict.fromkeys((*WhisperVoice.columns, *CovarepVoice.columns)))
    media: frozenset[Medium] = frozenset({"audio"})

    def __init__(self, extractors: Sequence[Extractor]) -> None:
        self._extractors = tuple(extractors)
        self.columns = tuple(dict.fromkeys(c for extractor in self._extractors for c in extractor.columns))
        self.provenance = _joined([extractor.provenance for extractor in self._extractors])

    @classmethod
    def accepts(cls, requested: str) -> bool:
        return "+" in requested and all(part.partition(":")[0] in {voice.name for voice in VOICES} for part in requested.split("+"))

    @classmethod
    def status(cls, request: Request) -> Status:
        """Usable where all parts are."""
        states = [provider.status(part) for provider, part in _parts(request)]
        reason = "; ".join(state.reason for state in states)
        if all(state.usable for state in states):
            return Status.here(reason)
        return Status.missing(reason, fetchable=all(state.usable or state.fetchable for state in states))

    @classmethod
    def make(cls, request: Request) -> JoinedVoice:
        return cls([provider.make(part) for provider, part in _parts(request)])

    def prepare(self) -> None:
        """Prepares every part."""
        for extractor in self._extractors:
            if isinstance(extractor, Preparing):
                extractor.prepare()

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        sound = _Recorded(clip)
        first, *others = [extractor(sound, upstream) for extractor in self._extractors]
        provenance = _joined([stream.provenance for stream in (first, *others)])
        if not len(first):
            return TimedSequence.empty("voice", self.columns, provenance, first.reason)
        for other in others:
            added = [c for c in other.columns if c not in first.columns]
            first = _beside(first, other, added)
        return replace(first, provenance=provenance)


def _parts(request: Request) -> Iterator[tuple[type[Provider], Request]]:
    """The provider of each part of A+B:ARGUMENT, and what is asked of it; raises `UsageError` for fewer than two, or one twice."""
    names = {voice.name: voice for voice in VOICES}
    requested = [part.partition(":") for part in (request.argument or DEFAULT).split("+")]
    if len(requested) < 2 or len({name for name, _, _ in requested}) < len(requested) or any(name not in names for name, _, _ in requested):
        raise UsageError(f"--voice {request.argument}: expected several of {', '.join(names)}, each once, joined by +")
    for name, _, argument in requested:
        yield names[name], replace(request, argument=argument, wanted=())


def _beside(first: TimedSequence, other: TimedSequence, columns: Sequence[str]) -> TimedSequence:
    """`first` with these columns of the rows of `other` that are nearest in time."""
    chosen = other.select(columns) if len(other) else None
    nearest, near = nearest_rows((first.start + first.end) / 2, (other.start + other.end) / 2)
    added = Spool((len(columns),))
    for part in parts(first.values):
        rows = np.full((part.stop - part.start, len(columns)), np.nan, np.float32)
        if chosen is not None:
            rows[near[part]] = chosen.values[nearest[part][near[part]]]
            release(chosen.values)
        added.add(rows)
    return first.with_columns(columns, added.array())


def nearest_rows(middle: Floats64, others: Floats64) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """For each of `middle` (n seconds) the index of the nearest of `others` (m seconds, ascending), the earlier of two equally near, and
    whether it is within NEAR_SECONDS."""
    if not len(others):
        return np.zeros(len(middle), np.intp), np.zeros(len(middle), np.bool_)
    after = np.clip(np.searchsorted(others, middle), 1, max(1, len(others) - 1))
    before = after - 1
    after = np.minimum(after, len(others) - 1)
    hair = 1e-9  # equally near but for the rounding of a clock
    index = np.where(others[after] - middle < middle - others[before] - hair, after, before)
    return index, np.abs(others[index] - middle) <= NEAR_SECONDS


def _joined(provenances: Sequence[Provenance]) -> Provenance:
    """Who made the columns: every part's own facts, under its name."""
    names = [p.extractor for p in provenances]
    return Provenance(
        extractor="+".join(names),
        version="; ".join(f"{p.extractor} {p.version}" for p in provenances),
        weights={file: digest for p in provenances for file, digest in p.weights.items()},
        options={p.extractor: dict(p.options) for p in provenances},
        notes={p.extractor: dict(p.notes) for p in provenances if p.notes},
    )


class _Recorded:
    """A clip whose sound can be read again: a clip is decoded once."""

    def __init__(self, clip: Media) -> None:
        self._clip = clip
        samples = Spool()
        self._blocks: list[tuple[float, int, bool]] = []
        for block in clip.samples():
            samples.add(block.values)
            self._blocks.append((block.start, len(block.values), block.filled))
        self._samples = samples.array()

    @property
    def info(self) -> ClipInfo:
        return self._clip.info

    def frames(self) -> Iterator[Frame]:
        return self._clip.frames()

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        first = 0
        for start, length, filled in self._blocks:
            yield Samples(start, np.array(self._samples[first : first + length]), filled)
            release(self._samples)
            first += length
