"""A portrait that speaks: scikit-image's astronaut (NASA, public domain) with a mouth and brows that move.

The portrait smiles with parted lips; that is `smile` 1. `smile` 0 pulls the corners in and down and closes the lips, `opening` 0..1 drops
the jaw, `brow` 0..1 raises the brows. Points are pixels (x y) of the 512x512 portrait, read off by eye and a landmark finder.
Above and below the slit between the lips two thin-plate warps are used; the inside of the mouth is drawn between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage import data

Points = NDArray[np.float64]
Image = NDArray[np.uint8]

SIDE = 320  # pixels of a frame
CORNER, CROP = np.array([133.0, 28.0]), 180.0  # the square of the portrait that a frame shows
SCALE = SIDE / CROP

# the two corners of the mouth stand first and last of the upper rows, and are left out of the lower ones
OUTER_UPPER = (
    "202.3 139.2 204.7 138.9 207.8 138.9 211.7 139.1 217.3 139.4 223.4 140.6 229.7 139.8 235.2 139.9 239.2 140.0 242.2 140.2 244.5 140.6"
)
OUTER_LOWER = "204.4 143.4 207.2 147.5 211.2 151.3 216.5 153.7 222.7 154.7 229.1 154.1 234.4 152.0 238.7 148.5 242.0 144.6"
INNER_UPPER = "206.4 140.1 209.4 140.7 213.1 141.4 217.7 142.4 223.3 143.2 229.0 142.8 233.7 142.2 237.4 141.7 240.4 141.4"
INNER_LOWER = "206.9 142.9 209.5 145.1 213.2 147.1 217.6 148.4 223.0 149.2 228.3 148.9 233.0 147.7 236.7 146.0 239.5 144.0"
BROWS = "187.9 90.7 191.6 88.8 197.5 87.6 205.6 88.8 215.1 91.3 236.0 93.0 245.9 91.7 254.2 91.6 260.2 93.5 263.7 96.9"
JAW = "205.0 166.0 221.4 177.4 239.0 168.5"
STILL = (  # eyes, nose, cheeks, hairline and the frame itself: what keeps its place
    "191.0 99.0 202.6 96.3 213.0 101.0 202.6 104.0 237.0 103.0 248.1 98.6 259.0 103.0 248.1 106.0 223.5 112.0 213.0 128.0 "
    "223.5 132.5 234.5 129.0 183.0 118.0 186.0 140.0 196.0 160.0 268.0 120.0 263.0 143.0 252.0 161.0 195.0 76.0 224.0 74.0 "
    "255.0 79.0 221.0 190.0 133.0 28.0 223.0 28.0 313.0 28.0 133.0 118.0 313.0 118.0 133.0 208.0 223.0 208.0 313.0 208.0"
)
TILT = 0.033  # the mouth's slope: the head leans a little
CENTRE = 223.3
NARROWER = 0.84  # a closed mouth's width over the smile's
DARK = np.array([58.0, 24.0, 22.0])
LIP_LINE = np.array([112.0, 58.0, 54.0])


@dataclass(frozen=True, order=True)
class Pose:
    """What the face does: each 0..1."""

    smile: float
    opening: float
    brow: float


def points(text: str) -> Points:
    return np.array(text.split(), np.float64).reshape(-1, 2)


def bent(contour: Points, height: float, power: float, pose: Pose, drop: float) -> Points:
    """A contour of the lips in this pose: `height` and `power` shape it when closed, `drop` is how far (pixels) it follows the jaw."""
    across = np.clip((contour[:, 0] - CENTRE) / 21.0, -1, 1)
    closed = np.stack(
        [
            CENTRE + (contour[:, 0] - CENTRE) * (NARROWER - 0.05 * pose.opening),
            146.4 + 0.7 * across**2 + TILT * (contour[:, 0] - CENTRE) + height * (1 - np.abs(across) ** power),
        ],
        axis=1,
    )
    moved = pose.smile * contour + (1 - pose.smile) * closed
    moved[:, 1] += drop * pose.opening * (1 - 0.4 * pose.smile) * np.sqrt(1 - across**2)
    return moved


class Portrait:
    """Draws the portrait in a pose, (SIDE SIDE 3) uint8 RGB."""

    def __init__(self) -> None:
        self.image = data.astronaut().astype(np.float64)
        grid = np.mgrid[0:SIDE, 0:SIDE][::-1].reshape(2, -1).T  # (pixels, x y)
        self.grid = (grid + 0.5) / SCALE - 0.5 + CORNER
        self.drawn: dict[Pose, Image] = {}

    def draw(self, pose: Pose) -> Image:
        pose = Pose(round(pose.smile, 2), round(pose.opening, 2), round(pose.brow, 2))
        if pose not in self.drawn:
            self.drawn[pose] = self._draw(pose)
        return self.drawn[pose]

    def _draw(self, pose: Pose) -> Image:
        outer_upper, outer_lower = points(OUTER_UPPER), points(OUTER_LOWER)
        inner_upper, inner_lower = points(INNER_UPPER), points(INNER_LOWER)
        brows, jaw, still = points(BROWS), points(JAW), points(STILL)
        to_upper = bent(outer_upper, -4.2, 1.7, pose, -0.6)
        to_lower = bent(outer_lower, 6.2, 2.2, pose, 7.0)
        seam_upper = bent(inner_upper, -0.15, 2.0, pose, -0.5)
        seam_lower = bent(inner_lower, 0.15, 2.0, pose, 7.6)
        shared_from = np.concatenate([outer_upper, outer_lower, brows, jaw, still])
        raised, dropped = brows - np.array([0, 5.0 * pose.brow]), jaw + np.array([0, 5.0 * pose.opening])
        shared_to = np.concatenate([to_upper, to_lower, raised, dropped, still])
        upper = self._warp(np.concatenate([shared_from, inner_upper]), np.concatenate([shared_to, seam_upper]))
        lower = self._warp(np.concatenate([shared_from, inner_lower]), np.concatenate([shared_to, seam_lower]))

        x, y = self.grid.T
        corners = to_upper[[0, -1]]
        top = np.interp(x, *_through(corners, seam_upper).T)
        bottom = np.interp(x, *_through(corners, seam_lower).T)
        below = _ramp(y - (top + bottom) / 2, 1.0)[:, None]
        face = upper * (1 - below) + lower * below

        within = _ramp(x - corners[0, 0], 1.5) * _ramp(corners[1, 0] - x, 1.5)
        parted = within * _ramp(y - top + 0.25, 0.5) * _ramp(bottom - y + 0.25, 0.5) * np.clip((bottom - top) / 1.2, 0, 1)
        face += (self._mouth(pose, x, y, top, bottom, corners) - face) * parted[:, None]
        line = within * np.exp(-(((y - (top + bottom) / 2) / 0.55) ** 2)) * 0.75 * np.clip(1 - (bottom - top) / 1.2, 0, 1)
        face += (LIP_LINE - face) * line[:, None]
        return np.clip(np.round(face), 0, 255).astype(np.uint8).reshape(SIDE, SIDE, 3)

    def _warp(self, source: Points, target: Points) -> NDArray[np.float64]:
        """(pixels, 3): the portrait with the source points carried to the target points."""
        back = RBFInterpolator(target, source - target, kernel="thin_plate_spline", smoothing=0.02)
        return self._sample(self.grid + back(self.grid))

    def _sample(self, at: Points) -> NDArray[np.float64]:
        return np.stack([map_coordinates(self.image[..., c], at.T[::-1], order=3, mode="nearest") for c in range(3)], axis=1)

    def _mouth(self, pose: Pose, x: Points, y: Points, top: Points, bottom: Points, corners: Points) -> NDArray[np.float64]:
        """(pixels, 3): the portrait's upper teeth hanging from the upper lip, darkness under them."""
        share = (x - corners[0, 0]) / (corners[1, 0] - corners[0, 0])
        from_x = 202.3 + share * (244.5 - 202.3)
        was_top = np.interp(from_x, *points(INNER_UPPER).T)
        was_bottom = np.interp(from_x, *points(INNER_LOWER).T)
        depth = y - top
        teeth = self._sample(np.stack([from_x, was_top + 0.3 + np.clip(depth, 0, 7)], axis=1))
        shown = np.minimum(was_bottom - was_top - 0.6, 6.0 * pose.smile + 2.6 * (1 - pose.smile) * min(1.0, 1.5 * pose.opening))
        dark = _ramp(depth - shown, 1.2)
        shade = gaussian_filter(teeth.reshape(SIDE, SIDE, 3), (0.6, 0.6, 0)).reshape(-1, 3) * (1 - 0.25 * (1 - pose.smile))
        return shade * (1 - dark[:, None]) + DARK * dark[:, None]


def _through(corners: Points, seam: Points) -> Points:
    return np.concatenate([corners[:1], seam, corners[1:]])


def _ramp(value: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """0 below -width/2, 1 above width/2, straight between."""
    return np.clip(value / width + 0.5, 0, 1)
