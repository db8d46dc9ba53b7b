"""A face stream under OpenFace 2's names and in its units (Baltrusaitis et al. 2018), and back: the one place with both.

    ours                                   OpenFace
    frame (from 0)                         frame (from 1)
    face_id                                face_id
    start of the row, seconds              timestamp
    FaceScore 0..1                         confidence 0..1; success is 1: only faces that were found have a row
    Pitch Yaw Roll, y up, radians          pose_Rx pose_Ry pose_Rz, y down, radians
    AU01 .. AU26, 0..1                     AU01_r .. AU26_r, 0..5
    AU43 (eyes closed)                     AU45_r (a blink: the same closing of the lid)

Angles: ours are R = Rz(Roll) Ry(Yaw) Rx(Pitch) with x right, y up, z to the viewer. OpenFace's are R = Rx Ry Rz with x right, y down, z
away from the camera, so that for small angles pose_Rx = Pitch (looking down is > 0), pose_Ry = -Yaw (the nose to the left of the
picture is > 0) and pose_Rz = -Roll (clockwise on the screen is > 0). Both are converted as rotations, not number by number.

An action unit of ours is an activation or a probability 0..1, times 5 here. It is **not** a FACS intensity: it keeps the order of
more and less, not OpenFace's scale. OpenFace's presence columns (AU01_c, 0 or 1) come from classifiers that nothing here has, and a
threshold of our own would be an invented one: they are not filled, nor are gaze, landmarks and pose_T (openface.py writes them empty).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import StreamError
from ..timed import Floats64, TimedSequence

INTENSITY = 5.0
"""OpenFace's AU*_r go from 0 to this."""
AU_NAMES: dict[str, str] = {f"AU{n:02d}": f"AU{n:02d}_r" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26)} | {
    "AU43": "AU45_r"
}
"""Our column -> OpenFace's. OpenFace has no intensity for AU11, AU24 and AU28."""
POSE = ("Pitch", "Yaw", "Roll")
POSE_NAMES = ("pose_Rx", "pose_Ry", "pose_Rz")
HEAD = ("frame", "face_id", "timestamp", "confidence", "success")
PRESENCE = tuple(f"AU{n:02d}_c" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45))
HEADER: tuple[str, ...] = (
    *HEAD,
    *(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"),
    "gaze_angle_x",
    "gaze_angle_y",
    *(f"eye_lmk_{axis}_{k}" for axis in "xyXYZ" for k in range(56)),
    *(f"pose_T{axis}" for axis in "xyz"),
    *POSE_NAMES,
    *(f"{axis}_{k}" for axis in "xyXYZ" for k in range(68)),
    *(f"p_{name}" for name in ("scale", "rx", "ry", "rz", "tx", "ty")),
    *(f"p_{k}" for k in range(34)),
    *AU_NAMES.values(),
    *PRESENCE,
)
"""Every column of OpenFace 2.2's FeatureExtraction, in its order (714 of them). Its readers ask for columns by name, so all are written."""


@dataclass(frozen=True, eq=False)
class OpenFaceTable:
    """columns (d) in OpenFace's order; values (n d) float64, in OpenFace's units, NaN where a row has no such number."""

    columns: tuple[str, ...]
    values: Floats64


def to_openface(face: TimedSequence) -> OpenFaceTable:
    """A face stream as OpenFace's table, one row per frame and face. Columns that the stream lacks are left out.

    Raises `StreamError` for a stream without `frame`.
    """
    if "frame" not in face.columns:
        raise StreamError(f"{face.name}: expected a column frame to make OpenFace's table, got {', '.join(face.columns)}")
    n = len(face)

    def of(name: str, otherwise: float) -> Floats64:
        return np.asarray(face.column(name) if name in face.columns else np.full(n, otherwise), np.float64)

    table: dict[str, Floats64] = {
        "frame": of("frame", 0) + 1,
        "face_id": of("face_id", 0.0),
        "timestamp": np.asarray(face.start, np.float64),
        "confidence": of("FaceScore", np.nan),
        "success": np.ones(n),
    }
    if set(POSE) <= set(face.columns):
        turned = openface_angles(np.stack([of(name, np.nan) for name in POSE], axis=1))
        table |= {name: turned[:, k] for k, name in enumerate(POSE_NAMES)}
    table |= {openface_column: of(column, np.nan) * INTENSITY for column, openface_column in AU_NAMES.items() if column in face.columns}
    return OpenFaceTable(tuple(table), np.stack(list(table.values()), axis=1).reshape(n, len(table)))


def openface_angles(pose: Floats64) -> Floats64:
    """(n 3) Pitch, Yaw, Roll -> (n 3) pose_Rx, pose_Ry, pose_Rz, radians; NaN stays NaN."""
    pitch, yaw, roll = np.asarray(pose, np.float64).T
    (cp, sp), (cy, sy), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (pitch, yaw, roll))
    # entries of D Rz(roll) Ry(yaw) Rx(pitch) D with D = diag(1, -1, -1), which turns y up, z near into y down, z far
    r00, r01, r02 = cr * cy, -(cr * sy * sp - sr * cp), -(cr * sy * cp + sr * sp)
    r12, r22 = sr * sy * cp - cr * sp, cy * cp
    return np.stack([np.arctan2(-r12, r22), np.arcsin(np.clip(r02, -1, 1)), np.arctan2(-r01, r00)], axis=1)


def our_angles(turned: Floats64) -> Floats64:
    """(n 3) pose_Rx, pose_Ry, pose_Rz -> (n 3) Pitch, Yaw, Roll, radians: the inverse, for files that OpenFace wrote."""
    x, y, z = np.asarray(turned, np.float64).T
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (x, y, z))
    # entries of D Rx Ry Rz D
    r00, r10, r20 = cy * cz, -(cx * sz + sx * sy * cz), -(sx * sz - cx * sy * cz)
    r21, r22 = sx * cz + cx * sy * sz, cx * cy
    return np.stack([np.arctan2(r21, r22), np.arcsin(np.clip(-r20, -1, 1)), np.arctan2(r10, r00)], axis=1)
