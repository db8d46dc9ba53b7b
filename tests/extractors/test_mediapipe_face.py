"""MediaPipe's landmarker as a provider: its answer as our columns (made-up answers), and the real one where it is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emofuse.extractors.face import mediapipe_face
from emofuse.extractors.face.compact.extractor import COLUMNS as COMPACT_COLUMNS
from emofuse.extractors.face.compact.extractor import Compact, ends_of_activations
from emofuse.extractors.face.compact.layout import AUS, BLENDSHAPES
from emofuse.extractors.face.mediapipe_face import COLUMNS, MediapipeFace
from emofuse.extractors.provider import Request
from emofuse.extractors.weights.catalogue import known
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.errors import NoStream, WeightsError
from emofuse.pipeline.media import ClipInfo, Frame, Samples, VideoInfo
from emofuse.pipeline.streams import EMOTIONS

WIDTH, HEIGHT = 200, 100


class Pictures:
    info = ClipInfo("pictures.mp4", "mp4", None, VideoInfo("h264", WIDTH, HEIGHT, 0, 25.0), None)

    def __init__(self, levels: Sequence[int], step: float = 0.04) -> None:
        self.levels, self.step = levels, step

    def frames(self) -> Iterator[Frame]:
        random = np.random.default_rng(0)
        looks = {level: random.integers(0, 255, (4, 8, 3), np.uint8).repeat(25, 0).repeat(25, 1) for level in sorted(set(self.levels))}
        for i, level in enumerate(self.levels):
            yield Frame(self.step * i, self.step * (i + 1), looks[level])

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        raise NoStream("no audio")


def answer(*faces: tuple[float, float, float, dict[str, float]], turn: np.ndarray[Any, Any] | None = None) -> SimpleNamespace:
    """The landmarker's answer: faces by centre, side (shares of the width) and blendshapes; lips parted by a tenth of their height."""
    landmarks, shapes = [], []
    for x, y, side, active in faces:
        px, py, half = x * WIDTH, y * HEIGHT, side * WIDTH / 2
        points = np.tile([px, py], (478, 1)).astype(float)
        points[10], points[152] = (px, py - half), (px, py + half)
        points[13], points[14] = (px, py), (px, py + 0.1 * 2 * half)
        landmarks.append([SimpleNamespace(x=a / WIDTH, y=b / HEIGHT) for a, b in points])
        shapes.append([SimpleNamespace(category_name=name, score=active.get(name, 0.0)) for name in BLENDSHAPES])
    matrix = np.eye(4) if turn is None else turn
    return SimpleNamespace(face_landmarks=landmarks, face_blendshapes=shapes, facial_transformation_matrixes=[matrix] * len(faces))


class Watcher:
    def __init__(self, answers: Sequence[SimpleNamespace]) -> None:
        self.answers, self.stamps, self.closed = list(answers), [], False  # type: ignore[var-annotated]

    def detect_for_video(self, image: Any, stamp: int) -> SimpleNamespace:
        self.stamps.append(stamp)
        return self.answers[len(self.stamps) - 1]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A provider whose landmarker says what it is told to."""

    def make(answers: Sequence[SimpleNamespace]) -> tuple[MediapipeFace, Watcher]:
        task = tmp_path / "made_up.task"
        task.write_bytes(b"weights")
        watcher = Watcher(answers)
        monkeypatch.setattr(mediapipe_face, "find_spec", lambda name: object())
        monkeypatch.setattr(mediapipe_face, "version", lambda name: "0")
        monkeypatch.setattr(mediapipe_face, "landmarker", lambda *_, **__: watcher)
        monkeypatch.setattr(mediapipe_face, "picture", lambda rgb: rgb)
        return MediapipeFace(str(task)), watcher

    return make


def test_its_columns_are_compact_s_without_what_it_cannot_say() -> None:
    assert [c for c in COMPACT_COLUMNS if c not in COLUMNS] == ["FaceScore", *EMOTIONS]
    assert [c for c in COMPACT_COLUMNS if c in COLUMNS] == list(COLUMNS)


def test_a_face_becomes_a_row_in_our_units(made: Any) -> None:
    rest, high = ends_of_activations()
    k = AUS.index("AU12")
    smile = float((rest[k] + high[k]) / 2)
    c, s = np.cos(0.2), np.sin(0.2)
    turn = np.eye(4)
    turn[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]  # about the vertical: the nose to the right of the picture
    provider, watcher = made([answer((0.5, 0.5, 0.2, {"mouthSmileLeft": smile * 2, "mouthSmileRight": 0.0}), turn=turn)])
    face = provider(Pictures([1]), {})
    row = dict(zip(face.columns, face.values[0].tolist(), strict=True))
    assert (row["FaceRectX"], row["FaceRectY"], row["FaceRectWidth"]) == pytest.approx((80, 30, 40), abs=1e-3)
    assert row["AU12"] == pytest.approx(0.5, abs=1e-5), "half way between rest and the 99th percentile, left and right averaged"
    parted = AUS.index("AU25")
    assert row["AU25"] == pytest.approx(float(np.clip((0.1 - rest[parted]) / (high[parted] - rest[parted]), 0, 1)), abs=1e-4)
    assert row["Yaw"] == pytest.approx(0.2) and row["Pitch"] == row["Roll"] == 0
    assert watcher.closed


def test_faces_keep_their_numbers_until_a_cut(made: Any) -> None:
    nothing: dict[str, float] = {}
    left, right = (0.2, 0.5, 0.2, nothing), (0.8, 0.5, 0.2, nothing)
    provider, watcher = made([answer(left), answer(right, left), answer(), answer(left, right), answer(left, right)])
    face = provider(Pictures([1, 1, 1, 1, 2]), {})
    assert face.column("frame").tolist() == [0, 1, 1, 3, 3, 4, 4]
    assert face.column("face_id").tolist() == [0, 1, 0, 0, 1, 2, 3]
    assert face.provenance.notes == {"frames": 5, "frames_with_face": 4, "faces": 4, "cuts": [0.16]}
    assert "1 of 5 frames" in face.reason
    assert watcher.stamps == [0, 40, 80, 120, 160]


def test_time_grows_for_the_landmarker_where_frames_share_a_millisecond(made: Any) -> None:
    provider, watcher = made([answer()] * 4)
    assert len(provider(Pictures([1] * 4, step=0.0004), {})) == 0
    assert watcher.stamps == [0, 1, 2, 3]


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(mediapipe_face, "find_spec", lambda name: None)
    assert "emofuse[mediapipe]" in MediapipeFace.status(Request()).reason
    with pytest.raises(WeightsError, match=r"pip install 'emofuse\[mediapipe\]'"):
        MediapipeFace()
    monkeypatch.setattr(mediapipe_face, "find_spec", lambda name: object())
    status = MediapipeFace.status(Request())
    assert not status.usable and "give their path" in status.reason
    with pytest.raises(WeightsError, match="no such file"):
        MediapipeFace("nowhere.task")
    with pytest.raises(WeightsError, match="offline was asked for"):
        MediapipeFace(offline=True)
    assert known("mediapipe-face").folder == tmp_path / "emofuse"


@pytest.mark.shared
@pytest.mark.skipif(find_spec("mediapipe") is None, reason="mediapipe is not installed: pip install 'emofuse[mediapipe]'")
def test_the_real_one_says_what_its_pupil_says(shared: Path) -> None:
    """Faces of a talking head: the same boxes, pose and jaw as compact, which still works beside mediapipe's OpenCV."""
    path = shared / "clips" / "talking" / "WDA_KatieHill_000.mp4"
    theirs = MediapipeFace(str(shared / "models" / "face_landmarker.task"))(Clip(path), {})
    ours = Compact()(Clip(path), {})
    both = np.intersect1d(theirs.column("frame"), ours.column("frame"))
    assert len(both) >= 0.95 * ours.provenance.notes["frames"]
    theirs, ours = (f.rows(np.flatnonzero(np.isin(f.column("frame"), both) & (f.column("face_id") == 0)), "none") for f in (theirs, ours))
    side = ours.column("FaceRectWidth").mean()
    for name in ("FaceRectX", "FaceRectY", "FaceRectWidth"):
        assert np.abs(theirs.column(name) - ours.column(name)).mean() < 0.06 * side, name
    assert np.corrcoef(theirs.column("AU26"), ours.column("AU26"))[0, 1] > 0.8
    for angle in ("Pitch", "Yaw", "Roll"):
        assert np.rad2deg(np.abs(np.median(theirs.column(angle) - ours.column(angle)))) < 6, angle
