"""Boxes in the coded frame, for those who draw into a phone's video as it is stored.

Every box of a face stream is in pixels of the picture as a player shows it: upright, not mirrored, in square pixels, at the clip's full
size (x right, y down, 0 at the left and upper edge). Where the container says that the coded frame is to be turned, mirrored or stretched
first, these are the same boxes in the frame as it is stored.
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
    shown_width, _ = video.shown_size
    if video.mirrored:
        left = shown_width - (left + width)
    square_width, square_height = video.square_size
    turned = video.rotation % 360  # counter-clockwise, from coded to upright
    if turned == 90:
        left, top, width, height = square_width - (top + height), left, height, width
    elif turned == 180:
        left, top = square_width - (left + width), square_height - (top + height)
    elif turned == 270:
        left, top, width, height = top, square_height - (left + width), height, width
    across, down = video.width / square_width, video.height / square_height
    return np.stack([left * across, top * down, width * across, height * down], axis=1)
