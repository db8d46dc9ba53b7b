"""The `compact` face provider: action units, expressions, pose and boxes of every face in every frame, offline, on two CPU cores.

Columns (streams.md): FaceRect* is the square over the face's landmarks in pixels of the upright frame; FaceScore 0..1; Pitch, Roll,
Yaw in radians (pitch > 0 looks down, yaw > 0 turns the nose to the right of the picture, roll > 0 is counter-clockwise); sixteen
action units as activations 0..1, the neutral face near 0 (not FACS intensities; AU06, AU09, AU11 and AU23 are not seen by the
teacher and are left out); seven expression probabilities, sum 1; `face_id` and `frame`, the frame's number in the clip from 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from emofuse.pipeline.columns import FACE_BOX, FACE_SCORE, HEAD_POSE
from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import check_sha256
from emofuse.pipeline.ports import EMOTIONS, Media, Medium
from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence

from ...provider import Provider, Request, Status
from ..face_rows import FaceRows
from .detect import Detector
from .layout import AUS, Read, activations
from .tracks import Sighting, Tracker, chunks

WEIGHTS = Path(__file__).with_name("compact.safetensors")
WEIGHTS_SHA256 = "ce45ee2d58f8fb844b7fbb9a5a888e2e792d8517da0574743099c02c4eff867c"
CHUNK = 8
"""Frames looked at together: enough to fill a batch, few enough that a face stays near where it was."""
VERSION = "2"

COLUMNS = (*FACE_BOX, FACE_SCORE, *HEAD_POSE, *AUS, *EMOTIONS, "face_id", "frame")


def ends_of_activations() -> tuple[Floats32, Floats32]:
    """rest (16) and high (16) in the teacher's units: what becomes 0 and 1 of each action unit. From the weights' header."""
    from safetensors import safe_open

    with safe_open(WEIGHTS, framework="np") as file:
        ends = json.loads(file.metadata()["facts"])["activations"]
    return np.asarray(ends["rest"], np.float32), np.asarray(ends["high"], np.float32)


class Compact(Provider):
    """The provider. Raises `WeightsError` if its shipped weights are not the pinned ones. `device` is where the network runs."""

    name = "compact"
    stream = "face"
    help = "16 action units, 7 expressions and head pose by a small network that comes with emofuse"
    columns = COLUMNS
    media: frozenset[Medium] = frozenset({"video"})
    needs: tuple[str, ...] = ()

    def __init__(self, *, device: str = "cpu") -> None:
        from .network import Reader, fast_half, load_network

        digest = check_sha256(WEIGHTS, WEIGHTS_SHA256)
        network, facts = load_network(WEIGHTS)
        mean, spread = (np.asarray(facts[key], np.float32) for key in ("shape_mean", "shape_spread"))
        ends = facts["activations"]
        assert isinstance(ends, dict)
        self._rest, self._high = (np.asarray(ends[key], np.float32) for key in ("rest", "high"))
        sharpness = float(str(facts.get("temperature", 1.0)))
        half = fast_half(device)
        self._read = Reader(network, mean, spread, temperature=sharpness, device=device, both=True, half=half)
        self._detect = Detector()
        options = {"device": device, "arithmetic": "bfloat16" if half else "float32"}
        self._provenance = Provenance("compact", VERSION, weights={WEIGHTS.name: digest}, options=options)

    @classmethod
    def make(cls, request: Request) -> Compact:
        return cls(device=request.device)

    @classmethod
    def status(cls, request: Request) -> Status:
        """Usable wherever the package's own weights are whole; nothing is ever fetched."""
        try:
            check_sha256(WEIGHTS, WEIGHTS_SHA256)
        except (WeightsError, OSError) as error:
            return Status.missing(f"the package's own weights are damaged: {error}")
        return Status.here("weights come with the package")

    @property
    def provenance(self) -> Provenance:
        return self._provenance

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        """All faces of the clip, one row per frame and face; raises `NoStream` where it has no video. Memory is that of a few frames."""
        tracker = Tracker(self._read, self._detect)
        found = FaceRows(COLUMNS)
        cuts: list[float] = []
        seen = with_face = 0
        for chunk, cut in chunks(clip.frames(), CHUNK):
            if cut:
                tracker.scene_ended()
                cuts.append(chunk[0].start)
            sightings = tracker.follow(chunk, seen)
            if sightings:
                found.add(self._rows(sightings), [(chunk[s.frame - seen].start, chunk[s.frame - seen].end) for s in sightings])
            with_face += len({s.frame for s in sightings})
            seen += len(chunk)
        notes = {"frames": seen, "frames_with_face": with_face, "faces": tracker.next_id, "cuts": cuts}
        provenance = replace(self._provenance, notes=notes)
        return found.stream(provenance, seen, with_face)

    def _rows(self, sightings: list[Sighting]) -> Floats32:
        """(n 33): sightings in the order of COLUMNS."""
        read = Read(np.stack([s.read for s in sightings]))
        boxes = [(s.box.left, s.box.top, s.box.side, s.box.side) for s in sightings]
        whose = [(s.face_id, s.frame) for s in sightings]
        columns = [
            np.array(boxes, np.float32),
            read.face[:, None],
            read.pose[:, [0, 2, 1]],
            activations(read.shapes, self._rest, self._high),
            read.expression,
            np.array(whose, np.float32),
        ]
        return np.concatenate(columns, axis=1)
