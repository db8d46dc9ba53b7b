"""Cuts between shots, told by small grey pictures of two frames: after one, nobody can say who is who."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.timed import Floats32

CUT = 22.0
"""Mean difference of two frames' thumbnails, in grey levels with brightness taken out, from which it is another shot."""


BLACK = 20
"""Rows and columns at a picture's edge with no grey level above this are a black border, not content."""


def thumbnail(image: NDArray[np.uint8]) -> Floats32:
    """(2 32 32) grey levels to tell shots apart: the picture, and what of it lies within its black borders."""
    import cv2

    thin = np.asarray(cv2.resize(image, (128, 128), interpolation=cv2.INTER_NEAREST), np.uint8)
    grey = np.asarray(thin if thin.ndim == 2 else cv2.cvtColor(thin, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.stack([np.asarray(cv2.resize(g, (32, 32), interpolation=cv2.INTER_AREA), np.float32) for g in (grey, unbordered(grey))])


def unbordered(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (h w) of grey levels 0..255 without its black borders; all of it where it is black throughout."""
    rows, columns = np.flatnonzero((grey > BLACK).any(1)), np.flatnonzero((grey > BLACK).any(0))
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else grey


def is_cut(before: Floats32, after: Floats32) -> bool:
    """Whether two thumbnails (2 32 32) are of different shots.

    Overall brightness does not count: a flash is no cut. Nor do black borders that come or go, as where a clip changes its picture
    size.
    """
    change = after - before
    return bool((np.abs(change - change.mean((1, 2), keepdims=True)).mean((1, 2)) > CUT).all())
