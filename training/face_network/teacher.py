"""Labels for the compact face network: MediaPipe's Face Landmarker over photographs and their mirror images.

Needs the package mediapipe (`pip install 'emofuse[mediapipe]'`, here or in an environment of its own):

    python -m training.face_network.teacher --data ../shared/data/faces --teacher face_landmarker.task --out labels.npz

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

from emofuse.extractors.face.mediapipe_landmarks import faces_of, landmarker, names_of, picture

WORKING_SIDE = 256
PADDING = 0.2


def swapped(names: list[str]) -> list[int]:
    """For each blendshape the index of its mirror image (Left <-> Right)."""

    def other(name: str) -> str:
        if "Left" in name:
            return name.replace("Left", "Right")
        return name.replace("Right", "Left")

    return [names.index(other(name)) for name in names]


class Teacher:
    """The landmarker over single photographs; `see` returns one view's numbers, or None where no face was found."""

    def __init__(self, model: Path) -> None:
        self._landmarker: Any = landmarker(model)
        self.names: list[str] = []

    def see(self, rgb: Any) -> dict[str, Any] | None:
        """rgb (h w 3) uint8 -> blendshapes, lip_gap, pose, box of its face."""
        detected = self._landmarker.detect(picture(rgb))
        if not detected.face_landmarks:
            return None
        self.names = self.names or names_of(detected)
        return faces_of(detected, rgb.shape[1], rgb.shape[0])[0]


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
