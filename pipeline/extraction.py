"""Running extractors over a clip: side by side over one decoding pass, each after the streams that it needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from .clip import Clip, DecodeEnd
from .errors import StreamError
from .media import Media
from .ports import Extractor, Preparing
from .shared_pass import Progress, SharedPass
from .speech import with_speech
from .timed import TimedSequence
from .turns import BY, LABEL, SPEAKERS, named, turns_of
from .within_clip import within_clip

TEXT_COLUMNS: Mapping[str, tuple[str, ...]] = {"words": ("word", "speaker"), "text": ("word",), SPEAKERS: (LABEL, BY)}


@dataclass(frozen=True, eq=False)
class Extraction:
    """All streams of a clip, how the decoding pass ended (None: nothing was decoded), and when each extractor began and ended.

    spans  stream, or "load " and the stream -> seconds of `time.perf_counter`
    """

    streams: Mapping[str, TimedSequence]
    end: DecodeEnd | None
    spans: Mapping[str, tuple[float, float]]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the streams must know of how the clip and its files were read, a line each."""
        of_clip = [line for medium, end in sorted(self.end.media.items()) for line in end.remarks(medium)] if self.end else []
        return (*of_clip, *(str(line) for stream in self.streams.values() for line in stream.provenance.notes.get("remarks", ())))


def extract(
    clip: Clip, extractors: Sequence[Extractor], progress: Progress | None = None, keep: Callable[[TimedSequence], None] | None = None
) -> Extraction:
    """Every extractor's stream, keyed by stream name, and `speech` where the words' recogniser says where it is (speech.py).

    keep  called with each stream as soon as it is made, in its extractor's thread, while others still work
    Rows after the clip's end are left out and counted (within_clip.py).
    Words are given to other extractors, and come back, with the speakers that the stream `speakers` names (turns.py).
    A medium that the clip does not have gives an empty stream with that reason. Raises what an extractor raises, and
    `StreamError` where two extractors make one stream or one needs a stream that nobody makes.
    """
    by_stream = {e.stream: e for e in extractors}
    if len(by_stream) != len(extractors):
        raise StreamError(f"two extractors for one stream: {', '.join(f'{e.stream} by {e.name}' for e in extractors)}")
    needs = {e.stream: needs_of(e, by_stream) for e in extractors}
    for extractor in extractors:
        for need in needs[extractor.stream]:
            if need not in by_stream:
                raise StreamError(f"{extractor.stream} by {extractor.name} needs the stream {need}, which no extractor makes")
    present = {medium for medium, medium_info in (("audio", clip.info.audio), ("video", clip.info.video)) if medium_info is not None}
    absent = {e.stream: _nothing(e, e.media - present) for e in extractors if e.media - present}
    working = [e for e in _in_order(by_stream) if e.stream not in absent]
    shared = SharedPass(clip, {e.stream: e.media for e in working if e.media}, progress)
    spans: dict[str, tuple[float, float]] = {}
    started: dict[str, Future[TimedSequence]] = {}

    def run(extractor: Extractor) -> TimedSequence:
        share = shared.shares.get(extractor.stream)
        try:
            begin = time.perf_counter()
            if isinstance(extractor, Preparing):
                extractor.prepare()
                spans[f"load {extractor.stream}"] = begin, time.perf_counter()
            upstream = _with_names({need: absent[need] if need in absent else started[need].result() for need in needs[extractor.stream]})
            media: Media = share if share is not None else clip
            begin = time.perf_counter()
            stream = extractor(media, upstream)
            spans[extractor.stream] = begin, time.perf_counter()
            if stream.name != extractor.stream:
                raise StreamError(f"{extractor.name} was to make the stream {extractor.stream} but made {stream.name}")
            if keep is not None:
                keep(stream)
            return stream
        finally:
            if share is not None:
                share.close()

    with ThreadPoolExecutor(max_workers=max(1, len(working)), thread_name_prefix="extract") as pool:
        ready = threading.Event()
        for extractor in working:
            started[extractor.stream] = pool.submit(lambda e: (ready.wait(), run(e))[1], extractor)
        ready.set()
        shared.run()
        streams = {name: absent[name] if name in absent else started[name].result() for name in by_stream}
    return Extraction(within_clip(clip, with_speech(_with_names(streams)), shared.end), shared.end, spans)


def needs_of(extractor: Extractor, streams: Collection[str]) -> tuple[str, ...]:
    """What must be there before an extractor: what reads words waits for who speaks them, where that is among the `streams` to be made."""
    waits = "words" in extractor.needs and SPEAKERS in streams and extractor.stream != SPEAKERS
    return (*extractor.needs, SPEAKERS) if waits else extractor.needs


def _with_names(streams: Mapping[str, TimedSequence]) -> dict[str, TimedSequence]:
    """The streams, the words with the speakers that the turns name, where both are there."""
    if "words" not in streams or SPEAKERS not in streams:
        return dict(streams)
    return {**streams, "words": named(streams["words"], turns_of(streams[SPEAKERS]))}


def _nothing(extractor: Extractor, missing: frozenset[str]) -> TimedSequence:
    reason = f"the clip has no {' and no '.join(sorted(missing))} stream"
    return TimedSequence.empty(extractor.stream, extractor.columns, extractor.provenance, reason, TEXT_COLUMNS.get(extractor.stream, ()))


def _in_order(by_stream: Mapping[str, Extractor]) -> list[Extractor]:
    """Upstream first; raises `StreamError` on a circle."""
    order: list[Extractor] = []
    waiting = dict(by_stream)
    while waiting:
        free = [name for name, e in waiting.items() if not set(needs_of(e, by_stream)) & set(waiting)]
        if not free:
            raise StreamError(f"extractors need each other in a circle: {', '.join(waiting)}")
        order += [waiting.pop(name) for name in free]
    return order
