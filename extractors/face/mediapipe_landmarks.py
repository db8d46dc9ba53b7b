"""MediaPipe's Face Landmarker: opening it, and its answer as numbers (blendshapes, lip gap, head pose, box).

Serves the provider `mediapipe`, and the training of the compact network, whose teacher it is. Pose is R = Rz(roll) Ry(yaw) Rx(pitch), y up:
pitch > 0 looks down, yaw > 0 turns the nose to the right of the picture, roll > 0 is counter-clockwise. The package mediapipe is
imported only when a landmarker is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

POINTS = {"lips": (13, 14), "height": (10, 152)}
"""Landmarks whose distance is measured: the inner lips, and the face from forehead to chin."""


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


def names_of(detected: Any) -> list[str]:
    """Names of the blendshapes in an answer that holds a face."""
    return [category.category_name for category in detected.face_blendshapes[0]]


def faces_of(detected: Any, width: int, height: int) -> list[dict[str, Any]]:
    """Each face of the landmarker's answer for a picture of this size: blendshapes (52), lip_gap, pose (3), box (3)."""
    faces = []
    for landmarks, shapes, matrix in zip(
        detected.face_landmarks, detected.face_blendshapes, detected.facial_transformation_matrixes, strict=True
    ):
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
