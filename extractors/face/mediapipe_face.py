"""Faces by MediaPipe's Face Landmarker (Kartynnik et al. 2019; blendshapes: Grishchenko et al. 2023): action units and head pose.

The network behind `compact` learned from this landmarker, and both answer in the same columns, units and conventions: action units are
means of blendshapes (compact/layout.py), from 0 for the neutral faces' lower quartile to 1 for the 99th percentile of the training
photographs; pose is R = Rz(Roll) Ry(Yaw) Rx(Pitch), y up. It has no expressions, and tells no score of a face: these columns are left
out. Its pose supposes a camera of its own choice and shifts where a face is small and far from the middle.

The package mediapipe is an extra (`pip install emofuse[mediapipe]`), the weights `face_landmarker.task` (Apache-2.0) are given by path
(`--face mediapipe:PATH`) or fetched (`emofuse models pull mediapipe-face`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.columns import FACE_BOX, HEAD_POSE
from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.media import Frame, Media, Medium
from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence

from ..provider import Provider, Request, Status
from ..weights.catalogue import known, pull
from ..weights.download import reachable
from .compact.extractor import ends_of_activations
from .compact.layout import AUS, BLENDSHAPES, activations
from .face_rows import stream_of_frames
from .mediapipe_landmarks import faces_of, landmarker, names_of, picture

WEIGHTS = "mediapipe-face"
MOST_FACES = 4
LONGEST_SIDE = 1280
"""Larger frames are made smaller first: the landmarker shrinks them far below this anyway."""
COLUMNS = (*FACE_BOX, *HEAD_POSE, *AUS, "face_id", "frame")


class MediapipeFace(Provider):
    """The provider.

    weights  path of a face_landmarker.task; "" for the known one
    offline  never fetch it

    Raises `WeightsError` (one line) where the package or the weights are missing.
    """

    name = "mediapipe"
    stream = "face"
    argument = "[:FILE]"
    help = "16 action units and head pose by MediaPipe's Face Landmarker, an extra; FILE is a face_landmarker.task"
    auto = False
    columns = COLUMNS
    media: frozenset[Medium] = frozenset({"video"})
    needs: tuple[str, ...] = ()

    def __init__(self, weights: str = "", *, offline: bool = True) -> None:
        if find_spec("mediapipe") is None:
            raise WeightsError("face provider mediapipe: the package mediapipe is not installed (pip install 'emofuse[mediapipe]')")
        if weights and not Path(weights).is_file():
            raise WeightsError(f"face provider mediapipe: {weights}: no such file; expected a face_landmarker.task")
        self._weights = Path(weights) if weights else pull(WEIGHTS, offline=offline)[0]
        self._rest, self._high = ends_of_activations()
        self.provenance = Provenance(
            extractor=self.name,
            version=version("mediapipe"),
            weights={self._weights.name: sha256_of(self._weights)},
            options={"most_faces": MOST_FACES, "longest_side": LONGEST_SIDE},
        )

    @classmethod
    def make(cls, request: Request) -> MediapipeFace:
        return cls(request.argument, offline=request.offline)

    @classmethod
    def status(cls, request: Request) -> Status:
        """Whether package and weights are here, else whether the weights could be fetched."""
        if find_spec("mediapipe") is None:
            return Status.missing("the package mediapipe is not installed (pip install 'emofuse[mediapipe]')")
        entry = known(WEIGHTS)
        if entry.present() or (request.argument and Path(request.argument).is_file()):
            return Status.here("weights on this machine")
        (file,) = entry.files
        wanted = f"weights {file} are not on this machine"
        if request.offline:
            return Status.missing(f"{wanted}, and offline was asked for; give their path (--face mediapipe:PATH)")
        if reachable(entry.host):
            return Status.missing(f"{wanted}, but can be fetched from {entry.host}", fetchable=True)
        return Status.missing(f"{wanted}, and {entry.host} cannot be reached; give their path (--face mediapipe:PATH)")

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        """Every face of every frame; raises `NoStream` where the clip has no video. Holds one frame."""
        frames = clip.frames()  # before anything is loaded: a clip without video says so
        watcher = self._open()
        try:
            return stream_of_frames(self._read(watcher, frames), COLUMNS, self.provenance)
        finally:
            watcher.close()

    def _read(self, watcher: Any, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Floats32]]:
        stamp = -1
        for frame in frames:
            stamp = max(stamp + 1, round(1000 * frame.start))  # milliseconds, which must grow
            yield frame, self._rows(watcher, frame, stamp)

    def _open(self) -> Any:
        """A landmarker of its own for each clip: it remembers where faces were."""
        try:
            return landmarker(self._weights, faces=MOST_FACES, video=True)
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(f"face provider mediapipe: {self._weights}: expected a face_landmarker.task, but {first}") from error

    def _rows(self, watcher: Any, frame: Frame, stamp: int) -> Floats32:
        """(faces, columns) of one frame, `face_id` and `frame` still 0."""
        import cv2

        height, width = frame.image.shape[:2]
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA) if scale < 1 else frame.image
        detected = watcher.detect_for_video(picture(image), stamp)
        if not detected.face_landmarks:
            return np.zeros((0, len(COLUMNS)), np.float32)
        if (names := tuple(names_of(detected))) != BLENDSHAPES:
            raise WeightsError(f"{self._weights}: expected MediaPipe's 52 blendshapes in their order, got {', '.join(names)}")
        faces = faces_of(detected, width, height)
        shapes = np.array([[*face["blendshapes"], face["lip_gap"]] for face in faces], np.float32)
        rows = np.zeros((len(faces), len(COLUMNS)), np.float32)
        for row, face in zip(rows, faces, strict=True):
            x, y, side = face["box"]
            row[:4] = x - side / 2, y - side / 2, side, side
            row[4:7] = face["pose"][[0, 2, 1]]  # pitch, yaw, roll -> Pitch, Roll, Yaw
        rows[:, 7 : 7 + len(AUS)] = activations(shapes, self._rest, self._high)
        return rows
