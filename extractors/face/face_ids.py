"""Numbers for faces that stay the same from frame to frame, for providers that find faces anew in every frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from emofuse.pipeline.timed import Floats32

SAME_FACE = 0.3  # boxes that overlap by more (intersection over union) are one face
FORGOTTEN = 1.0  # seconds after which a lost face is a new one


@dataclass
class FaceIds:
    """Numbers for faces that stay the same from frame to frame: a box goes to the track that it overlaps most."""

    count: int = 0
    tracks: dict[int, tuple[Floats32, float]] = field(default_factory=dict)  # face_id -> its last box (x y w h), when

    def of(self, boxes: Floats32, seconds: float) -> list[int]:
        """The face_id of each box (n 4) of one frame; frames come in order of time."""
        self.tracks = {k: track for k, track in self.tracks.items() if seconds - track[1] <= FORGOTTEN}
        pairs = sorted(((overlap(box, last), i, k) for i, box in enumerate(boxes) for k, (last, _) in self.tracks.items()), reverse=True)
        mine: dict[int, int] = {}
        for shared, i, k in pairs:
            if shared > SAME_FACE and i not in mine and k not in mine.values():
                mine[i] = k
        for i, box in enumerate(boxes):
            if i not in mine:
                mine[i] = self.count
                self.count += 1
            self.tracks[mine[i]] = (box, seconds)
        return [mine[i] for i in range(len(boxes))]

    def scene_ended(self) -> None:
        """After a cut everybody is new: nothing here can tell persons apart."""
        self.tracks = {}


def overlap(first: Floats32, second: Floats32) -> float:
    """Intersection over union of two boxes (x y w h)."""
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[:2] + first[2:], second[:2] + second[2:])
    both = float(np.prod(np.maximum(0.0, high - low)))
    return both / max(float(np.prod(first[2:]) + np.prod(second[2:])) - both, 1e-9)
