"""OpenFace's names and units: angles against scipy's rotations, values by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.formats.openface_names import openface_angles, our_angles, to_openface
from emofuse.pipeline.timed import Provenance, TimedSequence

BY = Provenance("test", "1")
FLIP = np.diag([1.0, -1.0, -1.0])


def some_poses() -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(3).uniform(-1.2, 1.2, (50, 3))


def test_angles_are_the_same_rotation_in_openface_s_frame() -> None:
    pose = some_poses()
    ours = Rotation.from_euler("ZYX", pose[:, ::-1]).as_matrix()
    theirs = Rotation.from_euler("XYZ", openface_angles(pose)).as_matrix()
    np.testing.assert_allclose(theirs, FLIP @ ours @ FLIP, atol=1e-12)


def test_angles_come_back() -> None:
    pose = some_poses()
    np.testing.assert_allclose(our_angles(openface_angles(pose)), pose, atol=1e-12)


def test_signs_are_those_that_openface_s_users_see() -> None:
    """Looking down and turning to one's own right (the left of the picture) are positive (OpenFace issue 966)."""
    down, left_of_picture, clockwise = openface_angles(np.diag([0.3, -0.3, -0.3]))
    np.testing.assert_allclose([down, left_of_picture, clockwise], np.diag([0.3, 0.3, 0.3]), atol=1e-12)


def test_a_stream_becomes_openface_s_table() -> None:
    columns = ("FaceScore", "Pitch", "Roll", "Yaw", "AU12", "AU24", "AU43", "face_id", "frame")
    values = np.array([[0.9, 0.1, 0, 0, 0.5, 0.7, 1.0, 2, 7], [0.8, np.nan, np.nan, np.nan, np.nan, 0, 0, 0, 8]], np.float32)
    face = TimedSequence("face", columns, values, np.array([3600.04, 3600.08]), np.array([3600.08, 3600.12]), BY)
    table = to_openface(face)
    assert table.columns == (
        "frame", "face_id", "timestamp", "confidence", "success", "pose_Rx", "pose_Ry", "pose_Rz", "AU12_r", "AU45_r",
    )  # fmt: skip
    expected = [[8, 2, 3600.04, 0.9, 1, 0.1, 0, 0, 2.5, 5.0], [9, 0, 3600.08, 0.8, 1, np.nan, np.nan, np.nan, np.nan, 0]]
    np.testing.assert_allclose(table.values, expected, atol=1e-7)
    assert table.values[0, 2] == 3600.04, "an hour into a clip, single precision would be off by a tenth of a millisecond"


def test_an_empty_stream_gives_an_empty_table_and_one_without_frames_is_refused() -> None:
    empty = TimedSequence.empty("face", ("AU12", "frame"), BY, "no face")
    assert to_openface(empty).values.shape == (0, 6)
    with pytest.raises(StreamError, match="expected a column frame"):
        to_openface(TimedSequence.empty("face", ("AU12",), BY, "no face"))
