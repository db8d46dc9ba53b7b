"""Boxes in the coded frame, for those who draw into a phone's video as it is stored.

Every box of a face stream is in pixels of the upright frame at the clip's full size (x right, y down, 0 at the left and upper edge), as a
player shows it. Where the container says that the coded frame is to be turned first, these are the same boxes in the frame that lies
on its side.
"""

from __future__ import annotations

import numpy as np

from .columns import FACE_BOX
from .errors import StreamError
from .media import VideoInfo
from .timed import Floats64, TimedSequence


def coded_boxes(face: TimedSequence, video: VideoInfo) -> Floats64:
    """(n 4) left, top, width, height of each row's box in the coded frame; raises `StreamError` for a stream without boxes."""
    if not set(FACE_BOX) <= set(face.columns):
        raise StreamError(f"{face.name}: expected the columns {', '.join(FACE_BOX)}, got {', '.join(face.columns)}")
    left, top, width, height = face.select(FACE_BOX).values.astype(np.float64).T
    turned = video.rotation % 360  # counter-clockwise, from coded to upright
    if turned == 90:
        return np.stack([video.width - (top + height), left, height, width], axis=1)
    if turned == 180:
        return np.stack([video.width - (left + width), video.height - (top + height), width, height], axis=1)
    if turned == 270:
        return np.stack([top, video.height - (left + width), height, width], axis=1)
    return np.stack([left, top, width, height], axis=1)
