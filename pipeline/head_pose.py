"""Head pose in py-feat's convention and in ours: R = Rz(Roll) Ry(Yaw) Rx(Pitch), radians, x right, y up, z to the viewer; pitch > 0
looks down, yaw > 0 turns the nose to the right of the picture, roll > 0 is counter-clockwise. (OpenFace's: formats/openface_names.py.)

py-feat (2.1): Pitch, Roll, Yaw are the components of a rotation vector in a camera frame with x right, y down, z away, with signs of
their own: Pitch = -x, Roll = -z, Yaw = y. Between the frames a rotation vector (x, y, z) is (x, -y, -z). All arrays are (n 3); a row
with NaN gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .timed import Floats64

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation


def from_pyfeat(pose: Floats64) -> Floats64:
    """py-feat's (n 3) Pitch, Roll, Yaw -> ours (n 3) Pitch, Roll, Yaw, in radians."""

    def turn(rows: Floats64, rotation: type[Rotation]) -> Floats64:
        pitch, roll, yaw = rows.T
        return _ours(rotation.from_rotvec(np.stack([-pitch, -yaw, roll], axis=1)))

    return _where_known(pose, turn)


def to_pyfeat(pose: Floats64) -> Floats64:
    """Ours (n 3) Pitch, Roll, Yaw -> py-feat's (n 3) Pitch, Roll, Yaw, in radians."""

    def turn(rows: Floats64, rotation: type[Rotation]) -> Floats64:
        vector = _rotation(rows, rotation).as_rotvec()
        return np.stack([-vector[:, 0], vector[:, 2], -vector[:, 1]], axis=1)

    return _where_known(pose, turn)


def _ours(rotation: Rotation) -> Floats64:
    turned = np.asarray(rotation.as_euler("ZYX"))  # (n 3) roll, yaw, pitch
    return turned[:, [2, 0, 1]]


def _rotation(ours: Floats64, rotation: type[Rotation]) -> Rotation:
    return rotation.from_euler("ZYX", ours[:, [1, 2, 0]])


def _where_known(rows: Floats64, turn: Callable[[Floats64, type[Rotation]], Floats64]) -> Floats64:
    from scipy.spatial.transform import Rotation

    turned = np.full(rows.shape, np.nan)
    known = np.isfinite(rows).all(axis=1)
    if known.any():
        turned[known] = turn(np.asarray(rows[known], np.float64), Rotation)
    return turned
