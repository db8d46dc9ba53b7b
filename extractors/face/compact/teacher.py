"""Labels for the compact face network: MediaPipe's Face Landmarker over photographs and their mirror images.

Runs in an environment of its own (`pip install mediapipe pyarrow`: mediapipe brings an OpenCV without Haar cascades), so it
imports nothing of emofuse:

    python extractors/face/compact/teacher.py --data ../shared/data/faces --teacher face_landmarker.task --out labels.npz

One row a photograph and two views (0 as it is, 1 mirrored), both told in the unmirrored photograph's terms. The file holds
`names` (n), `blendshape_names` (52) and, with view axis 2 (n 2 ...): `found` bool, `blendshapes` (52, 0..1), `lip_gap` (inner lips,
landmarks 13-14, over face height, 10-152), `pose` (pitch, yaw, roll in radians; R = Rz(roll) Ry(yaw) Rx(pitch), y up: pitch > 0
looks down, yaw > 0 nose to image right, roll > 0 counter-clockwise) and `box` (centre x, centre y, side of the square over the
landmarks; pixels of the photograph). Rows without a face are NaN. Blendshapes are computed from landmark positions only: wrinkles,
cheek raise and nose wrinkle are invisible to this teacher.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np

WORKING_SIDE = 256
PADDING = 0.2
POINTS = {"lips": (13, 14), "height": (10, 152)}


def swapped(names: list[str]) -> list[int]:
    """For each blendshape the index of its mirror image (Left <-> Right)."""

    def other(name: str) -> str:
        if "Left" in name:
            return name.replace("Left", "Right")
        return name.replace("Right", "Left")

    return [names.index(other(name)) for name in names]


def landmarker(model: Path, *, faces: int = 1, video: bool = False) -> Any:
    """MediaPipe's Face Landmarker over single pictures, or over a video's frames in order, with blendshapes and pose."""
    import mediapipe  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

    vision = mediapipe.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
        num_faces=faces,
    )
    return vision.FaceLandmarker.create_from_options(options)


def picture(rgb: Any) -> Any:
    """rgb (h w 3) uint8 as MediaPipe wants it."""
    import mediapipe  # pyright: ignore[reportMissingImports]

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))


def names_of(found: Any) -> list[str]:
    """Names of the blendshapes in an answer that holds a face."""
    return [category.category_name for category in found.face_blendshapes[0]]


def faces_of(found: Any, width: int, height: int) -> list[dict[str, Any]]:
    """Each face of the landmarker's answer for a picture of this size: blendshapes (52), lip_gap, pose (3), box (3)."""
    faces = []
    for landmarks, shapes, matrix in zip(found.face_landmarks, found.face_blendshapes, found.facial_transformation_matrixes, strict=True):
        points = np.array([(p.x * width, p.y * height) for p in landmarks])
        low, high = points.min(0), points.max(0)
        turn = np.asarray(matrix)[:3, :3]
        lips, tall = (np.linalg.norm(points[a] - points[b]) for a, b in POINTS.values())
        pose = [np.arctan2(turn[2, 1], turn[2, 2]), np.arcsin(-np.clip(turn[2, 0], -1, 1)), np.arctan2(turn[1, 0], turn[0, 0])]
        faces.append(
            {
                "blendshapes": np.array([category.score for category in shapes]),
                "lip_gap": lips / tall,
                "pose": np.array(pose),
                "box": np.array([*(low + high) / 2, (high - low).max()]),
            }
        )
    return faces


class Teacher:
    """The landmarker over single photographs; `see` returns one view's numbers, or None where no face was found."""

    def __init__(self, model: Path) -> None:
        self._landmarker: Any = landmarker(model)
        self.names: list[str] = []

    def see(self, rgb: Any) -> dict[str, Any] | None:
        """rgb (h w 3) uint8 -> blendshapes, lip_gap, pose, box of its face."""
        found = self._landmarker.detect(picture(rgb))
        if not found.face_landmarks:
            return None
        self.names = self.names or names_of(found)
        return faces_of(found, rgb.shape[1], rgb.shape[0])[0]


def both_views(teacher: Teacher, image: bytes) -> tuple[list[dict[str, Any] | None], list[str]]:
    """One photograph (encoded) and its mirror image, the latter told in the unmirrored photograph's terms."""
    import cv2

    picture = np.asarray(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    height, width = picture.shape[:2]
    scale = max(1.0, WORKING_SIDE / max(height, width))
    size = (round(width * scale), round(height * scale))
    large = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)[:, :, ::-1]
    # the detector is trained on faces with something around them; these photographs are cut at the chin
    margin = round(PADDING * max(size))
    padded = cv2.copyMakeBorder(np.ascontiguousarray(large), margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    views: list[dict[str, Any] | None] = []
    for mirrored in (False, True):
        seen = teacher.see(padded[:, ::-1] if mirrored else padded)
        if seen is not None:
            if mirrored:
                seen["blendshapes"] = seen["blendshapes"][swapped(teacher.names)]
                seen["pose"] = seen["pose"] * (1, -1, -1)
                seen["box"][0] = padded.shape[1] - seen["box"][0]
            seen["box"] = (seen["box"] - (margin, margin, 0)) / scale
        views.append(seen)
    return views, teacher.names


def label(model: Path, photographs: list[tuple[str, bytes]]) -> dict[str, Any]:
    """All photographs (name, encoded image) -> the arrays described above."""
    teacher = Teacher(model)
    n = len(photographs)
    table: dict[str, Any] = {
        "found": np.zeros((n, 2), bool),
        "blendshapes": np.full((n, 2, 52), np.nan, np.float32),
        "lip_gap": np.full((n, 2), np.nan, np.float32),
        "pose": np.full((n, 2, 3), np.nan, np.float32),
        "box": np.full((n, 2, 3), np.nan, np.float32),
    }
    for i, (_, image) in enumerate(photographs):
        for view, seen in enumerate(both_views(teacher, image)[0]):
            if seen is not None:
                table["found"][i, view] = True
                for name, value in seen.items():
                    table[name][i, view] = value
    return table | {"names": np.array([name for name, _ in photographs]), "blendshape_names": np.array(teacher.names)}


def photographs_of(folder: Path) -> list[tuple[str, bytes]]:
    """(file stem:photograph name, encoded image) of every parquet file in a folder, in order."""
    import pyarrow.parquet

    rows: list[tuple[str, bytes]] = []
    for path in sorted(folder.glob("*.parquet")):
        table = pyarrow.parquet.read_table(path, columns=["name", "image"]).to_pydict()
        rows += [(f"{path.stem}:{name}", image) for name, image in zip(table["name"], table["image"], strict=True)]
    return rows


def _label_share(task: tuple[Path, list[tuple[str, bytes]]]) -> dict[str, Any]:
    return label(*task)


def main() -> None:
    parser = argparse.ArgumentParser(description="Label photographs of faces with MediaPipe's Face Landmarker.")
    parser.add_argument("--data", type=Path, required=True, help="folder with parquet files (name, image)")
    parser.add_argument("--teacher", type=Path, required=True, help="face_landmarker.task")
    parser.add_argument("--out", type=Path, required=True, help="npz file to write")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit", type=int, default=None, help="only every so-many-th photograph, to look at the result")
    arguments = parser.parse_args()
    rows = photographs_of(arguments.data)[:: arguments.limit]
    shares = np.array_split(np.arange(len(rows)), arguments.processes)
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        parts = pool.map(_label_share, [(arguments.teacher, [rows[i] for i in share]) for share in shares])
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "blendshape_names"}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    whole["blendshape_names"] = parts[0]["blendshape_names"]
    np.savez_compressed(arguments.out, allow_pickle=False, **whole)


if __name__ == "__main__":
    main()
