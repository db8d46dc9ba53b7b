"""Faces by py-feat's Detectorv2 (Cheong et al. 2023; RetinaFace, then one multitask network): action units, expressions, head pose.

One row per frame and face. Columns are py-feat's names (streams.md): FaceRect* is the square crop that the network reads, in pixels of the
upright frame; twenty action units and seven expressions are probabilities 0..1. Pose is in radians and in emofuse's convention, that of
every face provider: R = Rz(Roll) Ry(Yaw) Rx(Pitch), y up; pitch > 0 looks down, yaw > 0 turns the nose to the right of the picture, roll
> 0 is counter-clockwise. The network's own answer is a rotation vector in a camera frame with y down (img2pose's), of which py-feat
hands on the components as if they were angles, with its own signs; here it is turned into angles. (py-feat 2.1.5's other pose, from a
face mesh, names the turn about Y "roll" and that about Z "yaw". It is not used.)

Weights (research use only) are looked for in the hub's cache and in py-feat's own, and fetched only where a network is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.columns import FACE_BOX, FACE_SCORE, HEAD_POSE
from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.head_pose import from_pyfeat as pose_angles
from emofuse.pipeline.media import Frame, Media, Medium
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence

from ..provider import Provider, Request, Status
from ..weights.catalogue import known, pull
from ..weights.device import resolve
from ..weights.download import HUB_HOST, hub_file, reachable
from .face_rows import stream_of_frames

AUS = tuple(f"AU{n:02d}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43))
COLUMNS = (*FACE_BOX, FACE_SCORE, *HEAD_POSE, *AUS, *EMOTIONS, "face_id", "frame")
THEIR_EMOTIONS = {
    "anger": "Anger",
    "disgust": "Disgust",
    "fear": "Fear",
    "happiness": "Happy",
    "sadness": "Sad",
    "surprise": "Surprise",
    "neutral": "Neutral",
}
DETECTOR, MULTITASK = "pyfeat-detector", "pyfeat-multitask"


class PyfeatFace(Provider):
    """Reads faces with py-feat.

    device        torch's name of one
    offline       look on this machine only
    batch_size    frames that are computed together
    longest_side  frames larger than this (pixels) are made smaller for finding and reading faces; boxes stay in the clip's pixels
    score         faces that the detector trusts less (0..1) are left out

    Raises `WeightsError` (one line) saying which weights are missing, `UsageError` for a device that is not there.
    """

    name = "pyfeat"
    stream = "face"
    help = "20 action units, 7 expressions and head pose by py-feat; slow, and its weights are for research use only"
    columns = COLUMNS
    media: frozenset[Medium] = frozenset({"video"})
    needs: tuple[str, ...] = ()

    def __init__(
        self, *, device: str = "cpu", offline: bool = True, batch_size: int = 8, longest_side: int = 640, score: float = 0.5
    ) -> None:
        paths = {name: _find(name) or pull(name, offline=offline)[0] for name in (DETECTOR, MULTITASK)}
        self._detector = assemble(paths[DETECTOR], paths[MULTITASK], device)
        self._batch_size, self._longest_side, self._score = batch_size, longest_side, score
        self.provenance = Provenance(
            extractor=self.name,
            version=f"py-feat {version('py-feat')}",
            weights={path.name: sha256_of(path) for path in paths.values()},
            options={"device": device, "longest_side": longest_side, "score": score},
        )

    @classmethod
    def make(cls, request: Request) -> PyfeatFace:
        return cls(device=request.device, offline=request.offline)

    @classmethod
    def status(cls, request: Request) -> Status:
        """Whether both weights are here, else whether the hub answers; in under a second, and without a socket when offline."""
        if find_spec("feat") is None:
            return Status.missing("the package py-feat is not installed")
        missing = [known(name).origin for name in (DETECTOR, MULTITASK) if _find(name) is None]
        if not missing:
            return Status.here("weights in the local cache (research use only)")
        wanted = f"weights {' and '.join(missing)} are not on this machine"
        if request.offline:
            return Status.missing(f"{wanted}, and offline was asked for")
        if reachable():
            return Status.missing(f"{wanted}, but can be fetched from {HUB_HOST} (research use only)", fetchable=True)
        return Status.missing(f"{wanted}, and {HUB_HOST} cannot be reached")

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        """Every face of every frame; raises `NoStream` where the clip has no video. Holds one batch of frames."""
        parts = ((batch, self._read(batch)) for batch in batches(clip.frames(), self._batch_size))
        read = (pair for batch, rows in parts for pair in zip(batch, rows, strict=True))
        return stream_of_frames(read, COLUMNS, self.provenance)

    def _read(self, batch: list[Frame]) -> list[Floats32]:
        """For each frame its (faces, columns), `face_id` and `frame` still 0."""
        import cv2
        import torch

        height, width = batch[0].image.shape[:2]
        scale = min(1.0, self._longest_side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        images = [cv2.resize(f.image, size, interpolation=cv2.INTER_AREA) if scale < 1 else f.image for f in batch]
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()  # (b 3 h w) uint8
        nothing = torch.zeros(len(batch))
        described = {
            "Image": pixels,
            "Padding": {side: nothing for side in ("Left", "Top", "Right", "Bottom")},
            "Scale": torch.full((len(batch),), scale),
        }
        detected = self._detector.detect_faces(pixels, face_detection_threshold=self._score)
        rows = as_columns(self._detector.forward(detected, described))
        edges = np.cumsum([len(faces["scores"]) for faces in detected])[:-1]
        return [part[np.isfinite(part[:, 0])] for part in np.split(rows, edges)]


def batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    """Frames of one shape, at most `size` together."""
    batch: list[Frame] = []
    for frame in frames:
        if batch and (len(batch) == size or frame.image.shape != batch[0].image.shape):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def as_columns(table: Any) -> Floats32:
    """(faces, columns) of py-feat's table of faces, `face_id` and `frame` 0; NaN where a frame has no face."""
    theirs = [*FACE_BOX, FACE_SCORE, *HEAD_POSE, *AUS, *(THEIR_EMOTIONS[emotion] for emotion in EMOTIONS)]
    rows = np.zeros((len(table), len(COLUMNS)), np.float32)
    rows[:, : len(theirs)] = table[theirs].to_numpy(np.float32)
    at = len(FACE_BOX) + 1
    rows[:, at : at + 3] = pose_angles(table[list(HEAD_POSE)].to_numpy(np.float64))
    return rows


def assemble(detector: Path, multitask: Path, device: str) -> Any:
    """py-feat's Detectorv2 with weights from these files. Its own constructor would ask the hub, switch gradients off for the whole
    process, and load a network for telling persons apart that is not needed here."""
    try:
        import torch
        from feat.detector_v2 import Detectorv2
        from feat.face_detectors.Retinaface.Retinaface_test import Retinaface
        from feat.multitask.inference import _DLIB68_IDX, CHIP_SIZE, MultitaskModel
        from safetensors.torch import load_file
    except ImportError as error:
        raise WeightsError(f"face provider pyfeat: expected the package py-feat, but {error}") from error
    resolve(device, "face provider pyfeat: device")

    class Offline(Detectorv2):  # type: ignore[misc]
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.device = torch.device(device)
            self.face_size = CHIP_SIZE
            self.face_detection_threshold = 0.5
            self.face_detector = Retinaface(device=device, pretrained="from a file")
            self.face_detector.net.load_state_dict(load_file(detector), strict=True)
            self.multitask = MultitaskModel(device=device, weights_path=str(multitask), amp=False)
            self.identity_detector = None
            self._idx68 = _DLIB68_IDX.to(self.device)
            self.info: dict[str, str] = {}

    gradients = torch.is_grad_enabled()
    try:
        made = Offline()
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"face provider pyfeat: {detector.name} or {multitask.name} do not fit py-feat: {first}") from error
    finally:
        torch.set_grad_enabled(gradients)
    if set(made.multitask.au_names) != set(AUS) or set(made.multitask.emotion_names) != set(THEIR_EMOTIONS.values()):
        raise WeightsError(f"{multitask}: expected the 20 action units and 7 expressions of py-feat 2.1, got {made.multitask.au_names}")
    return made


def _find(name: str) -> Path | None:
    """A weight file in the hub's cache, or in the one inside py-feat's package."""
    entry = known(name)
    spec = find_spec("feat")
    (file,) = entry.files
    packaged = Path(spec.origin).parent / "resources" if spec is not None and spec.origin is not None else None
    return hub_file(entry.origin, file) or (hub_file(entry.origin, file, cache=packaged) if packaged is not None else None)
