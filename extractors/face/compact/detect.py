"""Finding faces with OpenCV's Haar cascade (Viola and Jones 2001; Lienhart's frontal_alt2), on pictures scaled down first.

The cascade is slow and knows only "here is a face": it runs on the first frame, after cuts and now and then; in between the
network follows its own box. Boxes are squares in pixels of the picture as it came, told by centre and side, y down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .layout import CROP, NOMINAL

DETECTION_WIDTH = 240
QUICK_WIDTH = 160
"""Longer side of the picture that the cascade sees, in pixels: a thorough look, and a quick one of a third of its cost."""
SMALLEST_SHARE = 0.09
"""Faces smaller than this share of the picture's longer side are not looked for."""
CENTRE_BELOW = 0.08
SIDE_RATIO = 1 / 1.02
"""Haar's box against the square over the landmarks: its centre lies 8 % of its side higher, its side is 2 % larger."""


@dataclass(frozen=True)
class Box:
    """A face: centre x, y and side of the square over its landmarks, in pixels of the picture, y down."""

    x: float
    y: float
    side: float

    @property
    def left(self) -> float:
        return self.x - self.side / 2

    @property
    def top(self) -> float:
        return self.y - self.side / 2

    def overlap(self, other: Box) -> float:
        """Intersection over union, 0..1."""
        across = min(self.left + self.side, other.left + other.side) - max(self.left, other.left)
        down = min(self.top + self.side, other.top + other.side) - max(self.top, other.top)
        if across <= 0 or down <= 0:
            return 0.0
        common = across * down
        return common / (self.side**2 + other.side**2 - common)

    def corrected(self, dx: float, dy: float, log_side: float) -> Box:
        """This box moved as the network's box output says: shifts in sides, growth in the logarithm of the side."""
        return Box(self.x + dx * self.side, self.y + dy * self.side, self.side * float(np.exp(log_side)))


Image = NDArray[np.uint8]
"""A picture: (h w 3) RGB or (h w) grey, uint8."""


def grey_of(image: Image) -> Image:
    """(h w) luma of a picture."""
    import cv2

    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


class Detector:
    """Picture -> faces, largest first. More `neighbours` means fewer false hits."""

    def __init__(self, neighbours: int = 4) -> None:
        import cv2

        self.neighbours = neighbours
        self._cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"))

    def __call__(self, image: Image, quick: bool = False) -> list[Box]:
        import cv2

        scale = min(1.0, (QUICK_WIDTH if quick else DETECTION_WIDTH) / max(image.shape[:2]))
        grey = grey_of(image)
        small = np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else grey
        least = max(20, round(SMALLEST_SHARE * max(small.shape)))
        found = self._cascade.detectMultiScale(
            small, scaleFactor=1.2 if quick else 1.1, minNeighbors=self.neighbours, minSize=(least, least)
        )
        boxes = []
        for x, y, w, _ in found:
            side = float(w) / scale
            centre = ((x + w / 2) / scale, (y + w / 2) / scale + CENTRE_BELOW * side)
            boxes.append(Box(float(centre[0]), float(centre[1]), side * SIDE_RATIO))
        return sorted(boxes, key=lambda box: -box.side)


def crops(pairs: Iterable[tuple[Image, Box]]) -> NDArray[np.uint8]:
    """(n 64 64) grey uint8: of each picture its box's square, NOMINAL times the side; the picture's border is repeated outside of it."""
    import cv2

    out = []
    for image, box in pairs:
        height, width = image.shape[:2]
        side = NOMINAL * box.side
        # cut the part that lies in the picture first, so that the cost does not grow with the picture; shrink by area, else it aliases
        left, top = int(np.floor(box.x - side / 2)) - 1, int(np.floor(box.y - side / 2)) - 1
        right, bottom = int(np.ceil(box.x + side / 2)) + 1, int(np.ceil(box.y + side / 2)) + 1
        x0, y0 = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        part = grey_of(image[y0 : max(min(bottom, height), y0 + 1), x0 : max(min(right, width), x0 + 1)])
        across = down = 1.0
        if (shrink := 1.5 * CROP / side) < 1:
            size = (max(1, round(part.shape[1] * shrink)), max(1, round(part.shape[0] * shrink)))
            across, down = size[0] / part.shape[1], size[1] / part.shape[0]
            part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        # the centre of crop pixel u lies (u + .5) steps from the crop's corner; cv2 counts from pixel centres
        step_x, step_y = side * across / CROP, side * down / CROP
        x = (box.x - x0) * across - step_x * (CROP - 1) / 2 - 0.5
        y = (box.y - y0) * down - step_y * (CROP - 1) / 2 - 0.5
        matrix = np.array([[step_x, 0, x], [0, step_y, y]], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out.append(cv2.warpAffine(part, matrix, (CROP, CROP), flags=flags, borderMode=cv2.BORDER_REPLICATE))
    return np.asarray(out, np.uint8).reshape(-1, CROP, CROP)
