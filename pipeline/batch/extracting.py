"""The stage that makes a clip's streams: those that are kept are read, only what is missing is decoded for and extracted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace

from ..clip import Clip, DecodeEnd, MediumEnd
from ..extraction import Extraction, extract
from ..media import ClipInfo, Media, Medium
from ..ports import Extractor
from ..shared_pass import Progress
from ..timed import Provenance, TimedSequence
from .cache import Cache
from .keys import key_of


@dataclass(frozen=True, eq=False)
class CachedExtractor:
    """A stream that is there already, in an extractor's place."""

    stream: str
    made: TimedSequence
    media: frozenset[Medium] = frozenset()
    needs: tuple[str, ...] = ()
    name: str = "cache"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.made.columns

    @property
    def provenance(self) -> Provenance:
        return self.made.provenance

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        return self.made


@dataclass(frozen=True, eq=False)
class Extracting:
    """One clip's streams, by key.

    keys       stream -> key
    force      ask the cache nothing
    sound      raises where the clip is no longer the file that was hashed: called before anything is kept
    timed      measures and names the stage while it runs
    """

    cache: Cache
    sha256: str
    version: str
    extractors: Sequence[Extractor]
    keys: Mapping[str, str]
    force: bool
    sound: Callable[[], None]
    timed: Callable[[str], AbstractContextManager[None]]
    progress: Progress

    def info(self, clip: Clip) -> ClipInfo:
        """What the container says, with the path at which the bytes lie."""
        key = key_of({"stage": "probe", **self._facts(clip)})
        info = None if self.force else self.cache.info(key)
        if info is None:
            info = clip.info
            self.sound()
            self.cache.keep_info(key, info)
        return replace(info, path=str(clip.path))

    def run(self, clip: Clip) -> Extraction:
        """Every stream of an opened clip, and how its decoding ended."""
        working = self._working(clip.info)
        ends_at = self._ends_at(clip, working)
        ends: dict[Medium, MediumEnd] = {}
        ready: dict[str, TimedSequence] = {}
        if not self.force:
            ends = {medium: end for medium, key in ends_at.items() if (end := self.cache.end(key)) is not None}
            streams = {e.stream: self.cache.stream(self.keys[e.stream]) for e in working}
            ready = {name: stream for name, stream in streams.items() if stream is not None}
        extraction = self._extract(clip, ready, whole=len(ready) == len(working))
        new: dict[Medium, MediumEnd] = dict(extraction.end.media) if extraction.end is not None else {}
        self._keep_ends(ends_at, new)
        ends |= new
        ends |= self._decoded_again(clip, ends_at, ends)
        return Extraction(extraction.streams, DecodeEnd({m: ends[m] for m in ends_at if m in ends}) if ends_at else None, {})

    def _facts(self, clip: Clip) -> Mapping[str, object]:
        return {"clip": self.sha256, "limits": asdict(clip.limits), "emofuse": self.version}

    def _working(self, info: ClipInfo) -> list[Extractor]:
        """The extractors whose media the clip has."""
        present = {medium for medium, about in (("audio", info.audio), ("video", info.video)) if about is not None}
        return [extractor for extractor in self.extractors if not extractor.media - present]

    def _ends_at(self, clip: Clip, working: Sequence[Extractor]) -> dict[Medium, str]:
        media: set[Medium] = set().union(*(extractor.media for extractor in working))
        return {medium: key_of({"stage": "end", "medium": medium, **self._facts(clip)}) for medium in sorted(media)}

    def _extract(self, clip: Clip, ready: Mapping[str, TimedSequence], *, whole: bool) -> Extraction:
        """Each stream is kept as soon as it is there: what a killed run had finished, the next one does not do again."""

        def keep(stream: TimedSequence) -> None:
            if stream.name not in ready:
                self.sound()
                self.cache.keep_stream(self.keys[stream.name], stream)

        extractors = [CachedExtractor(e.stream, ready[e.stream]) if e.stream in ready else e for e in self.extractors]
        if whole:
            return extract(clip, extractors)
        with self.timed("extract"):
            return extract(clip, extractors, self.progress, keep)

    def _keep_ends(self, ends_at: Mapping[Medium, str], ends: Mapping[Medium, MediumEnd]) -> None:
        for medium in set(ends_at) & set(ends):
            self.sound()
            self.cache.keep_end(ends_at[medium], ends[medium])

    def _decoded_again(self, clip: Clip, ends_at: Mapping[Medium, str], ends: Mapping[Medium, MediumEnd]) -> Mapping[Medium, MediumEnd]:
        """How decoding ends where a run was killed between a stream and the end of its decoding."""
        unknown = set(ends_at) - set(ends)
        if not unknown:
            return {}
        media: dict[Medium, MediumEnd] = {}
        with self.timed("extract"):
            for item in clip.decode(frames="video" in unknown, samples="audio" in unknown):
                if isinstance(item, DecodeEnd):
                    media |= item.media
        new: dict[Medium, MediumEnd] = {medium: end for medium, end in media.items() if medium in unknown}
        self._keep_ends(ends_at, new)
        return new
