"""One decoding pass, many readers: extractors run side by side while the file is decoded once.

Each reader gets a share: a `Media` whose first `frames()` and first `samples()` are fed by the pass; a reader that asks a second time gets
a decoding pass of its own. Queues are bounded: the pass goes at the pace of its slowest reader and memory does not grow with the clip.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .clip import Clip, DecodeEnd, filled
from .errors import EmofuseError, NoStream
from .media import ClipInfo, Frame, Medium, Samples

FRAMES_AHEAD = 8
BLOCKS_AHEAD = 64

Progress = Callable[[str, float], None]
"""Called with a reader's name and the seconds of the clip that it has been given."""


@dataclass(frozen=True)
class _Failed:
    error: BaseException


_END = object()


class Share:
    """One reader's part of the pass; satisfies `Media`."""

    def __init__(self, clip: Clip, name: str, media: frozenset[Medium], progress: Progress | None) -> None:
        self._clip = clip
        self._name = name
        self._progress = progress
        self._closed = threading.Event()
        self._queues: dict[Medium, queue.Queue[Any]] = {}
        if "video" in media and clip.info.video is not None:
            self._queues["video"] = queue.Queue(FRAMES_AHEAD)
        if "audio" in media and clip.info.audio is not None:
            self._queues["audio"] = queue.Queue(BLOCKS_AHEAD)
        self._feeding = dict(self._queues)

    @property
    def info(self) -> ClipInfo:
        return self._clip.info

    def frames(self) -> Iterator[Frame]:
        if self.info.video is None:
            raise NoStream(f"{self.info.path}: no video stream")
        fed = self._queues.pop("video", None)
        return self._watched(self._drain(fed) if fed is not None else self._clip.frames())

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        if self.info.audio is None:
            raise NoStream(f"{self.info.path}: no audio stream")
        fed = self._queues.pop("audio", None)
        blocks: Iterator[Samples] = self._watched(self._drain(fed) if fed is not None else self._clip.samples())
        return filled(blocks) if fill_silence else blocks

    def close(self) -> None:
        """This reader wants no more; the pass goes on without it."""
        self._closed.set()

    def _watched(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            if self._progress is not None:
                self._progress(self._name, item.end)
            yield item

    def _drain(self, feed: queue.Queue[Any]) -> Iterator[Any]:
        while (item := feed.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item

    def feed(self, medium: Medium, item: object) -> None:
        """Hand one item over, waiting while the reader is behind; dropped once it has closed or never asked for this medium."""
        feed = self._feeding.get(medium)
        while feed is not None and not self._closed.is_set():
            try:
                feed.put(item, timeout=0.05)
                return
            except queue.Full:
                continue


class SharedPass:
    """A decoding pass over `clip` for these readers (name -> media that it reads)."""

    def __init__(self, clip: Clip, readers: Mapping[str, frozenset[Medium]], progress: Progress | None = None) -> None:
        self._clip = clip
        self.shares = {name: Share(clip, name, media, progress) for name, media in readers.items()}
        self.end: DecodeEnd | None = None

    def run(self) -> None:
        """Decode and hand out until the file ends. An error of the clip is raised in every reader, not here."""
        frames = any("video" in share._feeding for share in self.shares.values())
        samples = any("audio" in share._feeding for share in self.shares.values())
        last: object = _END
        try:
            if frames or samples:
                for item in self._clip.decode(frames=frames, samples=samples):
                    if isinstance(item, DecodeEnd):
                        self.end = item
                    elif isinstance(item, Frame):
                        item.image.setflags(write=False)
                        self._give("video", item)
                    else:
                        item.values.setflags(write=False)
                        self._give("audio", item)
                    if all(share._closed.is_set() for share in self.shares.values()):
                        break
        except EmofuseError as error:
            last = _Failed(error)
        except BaseException as error:
            last = _Failed(error)
            raise
        finally:
            self._give("video", last)
            self._give("audio", last)

    def _give(self, medium: Medium, item: object) -> None:
        for share in self.shares.values():
            share.feed(medium, item)
