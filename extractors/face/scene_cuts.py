"""Cuts between shots, told by small grey pictures of two frames: after one, nobody can say who is who."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.timed import Floats32

CUT = 22.0
"""Mean difference of two frames' thumbnails, in grey levels with brightness taken out, from which it is another shot."""


def thumbnail(image: NDArray[np.uint8]) -> Floats32:
    """A picture as about 32 x 32 grey levels, to tell shots apart."""
    import cv2

    thin = np.asarray(cv2.resize(image, (128, 128), interpolation=cv2.INTER_NEAREST), np.uint8)
    grey = thin if thin.ndim == 2 else cv2.cvtColor(thin, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA), np.float32)


def is_cut(before: Floats32, after: Floats32) -> bool:
    """Whether two thumbnails are of different shots. Overall brightness does not count: a flash is no cut."""
    change = after - before
    return bool(np.abs(change - change.mean()).mean() > CUT)
