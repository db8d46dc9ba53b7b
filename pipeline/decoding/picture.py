"""A decoded frame as a player shows it: upright, not mirrored, with square pixels, and all frames of a clip of one size.

The display matrix is applied as FFmpeg's tools do, flips included. Pixels that are not square (DV, HDV, DVD) are stretched along the side
that they are long on, so that nothing of the picture is lost. A clip whose picture changes its size in between (calls over the web) keeps
the size of its first frame: later ones are scaled into it, with black margins where their shape differs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from ..errors import ClipLimit
from .container import Job
from .wire import Pixels

MOST_ASPECT = 10
"""A pixel ten times as wide as it is high is a broken header."""


@dataclass(frozen=True)
class Orientation:
    """How the coded picture stands upright: rows and columns exchanged, then rows and columns turned round."""

    exchanged: bool = False
    rows_turned: bool = False
    columns_turned: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """By the frame's display matrix: x' = a x + c y, y' = b x + d y, rounded to quarter turns and flips."""
        beside: Any = frame.side_data
        matrix = beside.get("DISPLAYMATRIX") if len(beside) else None
        if matrix is None or len(raw := bytes(matrix)) < 36:
            return cls()
        a, b, _, c, d = struct.unpack("<9i", raw[:36])[:5]
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, d < 0, a < 0)
        return cls(True, b < 0, c < 0)

    def applied(self, image: Pixels) -> Pixels:
        """(h w 3) a view of the same pixels, upright."""
        image = image.swapaxes(0, 1) if self.exchanged else image
        return image[:: -1 if self.rows_turned else 1, :: -1 if self.columns_turned else 1]

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise by which the coded picture is turned, before it is mirrored."""
        if self.exchanged:
            return 90 if self.rows_turned else 270
        return 180 if self.rows_turned else 0

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged after that turn."""
        return (self.rows_turned != self.columns_turned) != self.exchanged


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height in square pixels; `aspect` is a pixel's width by its height."""
    if aspect is None or not Fraction(1, MOST_ASPECT) <= aspect <= MOST_ASPECT or aspect == 1:
        return width, height
    return (max(1, round(width * aspect)), height) if aspect > 1 else (width, max(1, round(height / aspect)))


class Screen:
    """Turns decoded frames into RGB images of one size."""

    def __init__(self, job: Job, stream: VideoStream) -> None:
        self._job = job
        self._stream = stream
        self._reformatter = VideoReformatter()
        self._aspect: Fraction | None = None
        self._coded_aspect: Fraction | None = None
        self._size: tuple[int, int] | None = None  # height, width
        self.resized = 0
        """Frames that had another size than the first."""

    def shown(self, frame: VideoFrame) -> Pixels:
        """(h w 3) RGB, good until the next frame. Raises `ClipLimit` for a frame that is too large."""
        upright = Orientation.of(frame)
        width, height = self._square(frame)
        if max(width * height, frame.width * frame.height) > self._job.pixels:
            raise ClipLimit(f"{self._job.path}: a frame of {width}x{height}, more than the limit of {self._job.pixels} pixels")
        size = (width, height) if upright.exchanged else (height, width)
        if self._size is None:
            self._size = size
        if size == self._size:
            return upright.applied(self._rgb(frame, width, height))
        self.resized += 1
        scale = min(self._size[0] / size[0], self._size[1] / size[1])
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        return _framed(upright.applied(self._rgb(frame, width, height)), self._size)

    def _square(self, frame: VideoFrame) -> tuple[int, int]:
        """The frame's size in square pixels: by the container's word, until the codec's own changes (broadcasts do that)."""
        coded = self._stream.codec_context.sample_aspect_ratio
        if self._size is None:
            self._aspect, self._coded_aspect = self._stream.sample_aspect_ratio or coded, coded
        elif coded != self._coded_aspect:
            self._aspect, self._coded_aspect = coded, coded
        return square_size(frame.width, frame.height, self._aspect)

    def _rgb(self, frame: VideoFrame, width: int, height: int) -> Pixels:
        if (width, height) == (frame.width, frame.height):
            plane = self._reformatter.reformat(frame, format="rgb24").planes[0]
        else:
            plane = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=Interpolation.BICUBIC).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width * 3]
        return rows.reshape(plane.height, plane.width, 3)


def _framed(image: Pixels, size: tuple[int, int]) -> Pixels:
    """(h w 3) the image in the middle of a black one of this height and width."""
    whole = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - image.shape[0]) // 2, (size[1] - image.shape[1]) // 2
    whole[max(0, top) :, max(0, left) :][: image.shape[0], : image.shape[1]] = image[: size[0], : size[1]]
    return whole


def appearance_of(container: InputContainer, stream: VideoStream) -> dict[str, float | bool]:
    """How the coded frames are shown, by the first of them: `rotation`, `mirrored` and `pixel_aspect` of `VideoInfo`."""
    upright = Orientation()
    try:
        for frame in container.decode(stream):
            upright = Orientation.of(frame)
            break
    except av.error.FFmpegError:
        pass
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    plain = aspect is None or square_size(1000, 1000, aspect) == (1000, 1000)
    return {"rotation": upright.rotation, "mirrored": upright.mirrored, "pixel_aspect": 1.0 if plain or aspect is None else float(aspect)}
