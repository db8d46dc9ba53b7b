"""What comes out of a clip: frames, samples, and what its container says of itself. Seconds on the container's clock throughout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .timed import Floats32

SAMPLE_RATE = 16000

Medium = Literal["audio", "video"]


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded video frame, upright: seconds [start, end) on the container's clock; image (h w 3) uint8 RGB."""

    start: float
    end: float
    image: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Samples:
    """One contiguous block of sound: seconds of its first sample; values (n) float32 mono at 16 kHz, -1..1.

    `filled` marks silence put in by request where the clip has no sound (before a late start, in a gap, after the end).
    """

    start: float
    values: Floats32
    filled: bool = False

    @property
    def end(self) -> float:
        return self.start + len(self.values) / SAMPLE_RATE


@dataclass(frozen=True)
class VideoInfo:
    """The video stream as the container describes it.

    width, height  of the coded frame, in its own pixels
    rotation       degrees counter-clockwise by which it is turned to stand upright
    mirrored       whether left and right are exchanged after that
    pixel_aspect   a pixel's width by its height, before the turn
    """

    codec: str
    width: int
    height: int
    rotation: int
    frame_rate: float | None
    pixel_format: str | None = None
    mirrored: bool = False
    pixel_aspect: float = 1.0

    @property
    def square_size(self) -> tuple[int, int]:
        """Width and height of the coded frame in square pixels: its longer side in them is stretched, nothing is lost."""
        if self.pixel_aspect > 1:
            return max(1, round(self.width * self.pixel_aspect)), self.height
        return self.width, max(1, round(self.height / self.pixel_aspect))

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the picture as a player shows it, which is how frames are given."""
        width, height = self.square_size
        return (height, width) if self.rotation % 180 else (width, height)


@dataclass(frozen=True)
class AudioInfo:
    """The audio stream that is read, as the container describes it.

    track   its number among the container's audio tracks, from 1
    tracks  a line about each of them: codec, channels, rate, language, title
    """

    codec: str
    sample_rate: int
    channels: int
    track: int = 1
    tracks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipInfo:
    """What a look at the container tells, without decoding. `duration` is seconds from the container's start, None if unknown."""

    path: str
    container: str
    duration: float | None
    video: VideoInfo | None
    audio: AudioInfo | None


class Media(Protocol):
    """What an extractor may ask of a clip: a `Clip`, or its share of one decoding pass over it."""

    @property
    def info(self) -> ClipInfo: ...

    def frames(self) -> Iterator[Frame]:
        """Frames in order of time; raises `NoStream` where the clip has no video."""
        ...

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        """Sound in order of time; raises `NoStream` where the clip has no audio."""
        ...
