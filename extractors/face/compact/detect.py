"""Where faces are, and what of a picture the network is shown: boxes with a tilt, and upright crops of them.

Boxes are squares in pixels of the picture as it came, told by centre, side and tilt, y down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layout import CROP, NOMINAL

SAME = 0.4
"""Boxes that overlap by more (intersection over union) are one face."""


@dataclass(frozen=True)
class Box:
    """A face: centre x, y and side of the square over its landmarks, in pixels of the picture, y down; tilt in radians,
    counter-clockwise on the screen: by so much the square is turned with the face."""

    x: float
    y: float
    side: float
    tilt: float = 0.0

    @property
    def left(self) -> float:
        return self.x - self.side / 2

    @property
    def top(self) -> float:
        return self.y - self.side / 2

    def overlap(self, other: Box) -> float:
        """Intersection over union of the two upright squares, 0..1."""
        across = min(self.left + self.side, other.left + other.side) - max(self.left, other.left)
        down = min(self.top + self.side, other.top + other.side) - max(self.top, other.top)
        if across <= 0 or down <= 0:
            return 0.0
        common = across * down
        return common / (self.side**2 + other.side**2 - common)

    def corrected(self, dx: float, dy: float, log_side: float, roll: float = 0.0) -> Box:
        """This box moved as the network says of its crop: shifts in sides along the turned square, growth in the logarithm of the side,
        and by how much the face in it is turned further (radians, counter-clockwise)."""
        cos, sin = float(np.cos(self.tilt)), float(np.sin(self.tilt))
        return Box(
            x=self.x + self.side * (dx * cos + dy * sin),
            y=self.y + self.side * (dy * cos - dx * sin),
            side=self.side * float(np.exp(log_side)),
            tilt=wrapped(self.tilt + roll),
        )


def wrapped(angle: float) -> float:
    """The same angle in -pi..pi."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def separate(scored: Iterable[tuple[float, Box]]) -> list[Box]:
    """Of boxes with their scores the best of each face, largest first."""
    kept: list[Box] = []
    for _, box in sorted(scored, key=lambda pair: -pair[0]):
        if all(box.overlap(other) <= SAME for other in kept):
            kept.append(box)
    return sorted(kept, key=lambda box: -box.side)


Image = NDArray[np.uint8]
"""A picture: (h w 3) RGB or (h w) grey, uint8."""


def grey_of(image: Image) -> Image:
    """(h w) luma of a picture."""
    import cv2

    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def crops(pairs: Iterable[tuple[Image, Box]]) -> NDArray[np.uint8]:
    """(n 64 64) grey uint8: what the network that reads faces is shown."""
    return cut_out(pairs, CROP, NOMINAL)


def cut_out(pairs: Iterable[tuple[Image, Box]], size: int, reach: float) -> NDArray[np.uint8]:
    """(n size size) grey uint8: of each picture its box's square, `reach` times the side, turned upright; the picture's border is repeated
    outside of it."""
    import cv2

    out = []
    for image, box in pairs:
        height, width = image.shape[:2]
        side = reach * box.side
        cos, sin = float(np.cos(box.tilt)), float(np.sin(box.tilt))
        around = side * (abs(cos) + abs(sin)) / 2
        # cut the part that lies in the picture first, so that the cost does not grow with the picture; shrink by area, else it aliases
        left, top = int(np.floor(box.x - around)) - 1, int(np.floor(box.y - around)) - 1
        right, bottom = int(np.ceil(box.x + around)) + 1, int(np.ceil(box.y + around)) + 1
        x0, y0 = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        part = grey_of(image[y0 : max(min(bottom, height), y0 + 1), x0 : max(min(right, width), x0 + 1)])
        across = down = 1.0
        if (shrink := 1.5 * size / side) < 1:
            small = (max(1, round(part.shape[1] * shrink)), max(1, round(part.shape[0] * shrink)))
            across, down = small[0] / part.shape[1], small[1] / part.shape[0]
            part = np.asarray(cv2.resize(part, small, interpolation=cv2.INTER_AREA), np.uint8)
        # the centre of crop pixel u lies (u + .5) steps from the crop's corner; cv2 counts from pixel centres
        step, middle = side / size, (size - 1) / 2
        linear = np.array([[cos * across, sin * across], [-sin * down, cos * down]]) * step
        centre = np.array([(box.x - x0) * across - 0.5, (box.y - y0) * down - 0.5])
        matrix = np.column_stack([linear, centre - linear @ (middle, middle)])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(part, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        out.append(crop)
    return np.asarray(out, np.uint8).reshape(-1, size, size)
