"""Following faces through a video: the network keeps its own box, a detector finds new faces and lost ones, cuts begin anew.

Frames come in chunks of a few, all of one shot. Every known face is looked at in all frames of the chunk at once, from where it was
last; a look that was far off is taken again from where the network says that the face is. A face keeps its `face_id` through losses
shorter than GAP; after a cut every face is a new one, since nothing here can tell persons apart. A box turns with its face: the
network is always shown an upright one. Where the picture changes its size in mid-clip, the boxes change with it. Nothing depends on the
image but through two callables (the reader and the detector), so that tests can hand in their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from emofuse.pipeline.media import Frame
from emofuse.pipeline.timed import Floats32

from ..scene_cuts import is_cut, thumbnail
from .detect import SAME, Box, Image, crops
from .layout import Read

KEEP = 0.8
"""A followed face whose score falls below this is lost."""
ACCEPT = 0.99
"""What the detector finds is a face only if the network scores it above this: the two fail on different things."""
FAR = 0.05
LEANING = float(np.deg2rad(18))
"""Error of a crop, in face sides or log of side, and turn of the face in it, from which the look is taken again."""
ROUNDS = 3
GAP = 1.0
EVERY = 1.0
EVERY_IF_LOST = 0.2
"""Seconds: how long a lost face keeps its identity; how often the detector looks for new faces, and for lost ones."""
THOROUGH = 4
"""While nobody is lost, one look of the detector in so many is a thorough one, the others are quick."""
REACH = 1.0
GROWTH = 1.7
"""A lost face may come back within so many of its sides, and so many times larger or smaller."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """One face in one frame: the frame's number in the clip, whose face, where (pixels), and what the network read there (67)."""

    frame: int
    face_id: int
    box: Box
    read: Floats32


@dataclass(frozen=True, eq=False)
class Look:
    """One crop's answer: the box as corrected by it, and what was read."""

    box: Box
    read: Floats32

    @property
    def score(self) -> float:
        return float(self.read[-1])


Looks = dict[int, list[Look | None]]
"""face_id -> its look in each image of a chunk; None where it was not seen."""


@dataclass
class Track:
    """One face being followed: where it was last, and when (seconds)."""

    face_id: int
    box: Box
    seen: float


def chunks(frames: Iterable[Frame], length: int) -> Iterator[tuple[list[Frame], bool]]:
    """Frames of one size in lists of at most `length`, none of which spans a cut; and whether a cut lies before each."""
    chunk: list[Frame] = []
    before: Floats32 | None = None
    begins = False
    for frame in frames:
        now = thumbnail(frame.image)
        cut = before is not None and is_cut(before, now)
        before = now
        if chunk and (cut or len(chunk) == length or frame.image.shape != chunk[-1].image.shape):
            yield chunk, begins
            chunk, begins = [], False
        begins = begins or cut
        chunk.append(frame)
    if chunk:
        yield chunk, begins


@dataclass
class Tracker:
    """Chunks of frames in, sightings out; the state is who is where. `scene_ended` forgets everyone.

    read    crops (n 64 64) uint8 -> `Read`
    detect  picture, whether a quick look will do -> boxes
    """

    read: Callable[[Image], Read]
    detect: Callable[[Image, bool], Sequence[Box]]
    tracks: list[Track] = field(default_factory=list)
    next_id: int = 0
    size: tuple[int, int] | None = None
    detected: float = -np.inf
    quick_looks: int = 0
    _beside: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "detector"))

    def scene_ended(self) -> None:
        """After a cut nobody is known."""
        self.tracks = []
        self.detected = -np.inf

    def follow(self, frames: Sequence[Frame], first: int) -> list[Sighting]:
        """One chunk (frames of one shot, in order), its first frame being number `first` of the clip. Sorted by frame, then face."""
        images = [frame.image for frame in frames]
        self._resize(images[0].shape[0], images[0].shape[1])
        now = frames[-1].start
        quick = self.quick_looks < THOROUGH - 1
        # while the network reads the known faces, the detector looks for new ones on another core
        due = bool(self.tracks) and now - self.detected >= EVERY
        ahead = self._beside.submit(self.detect, images[-1], quick) if due else None
        looks = self._at_known_faces(images)
        self._part_doubles(looks)
        lost = not self.tracks or any(looks[track.face_id][-1] is None for track in self.tracks)
        if now - self.detected >= (EVERY_IF_LOST if lost else EVERY) or self.detected == -np.inf:
            # a quick look was asked for ahead; where somebody turns out to be lost, only a thorough one will do
            boxes = ahead.result() if ahead is not None and not (quick and lost) else None
            self._look_for_faces(images, looks, now, quick and not lost, boxes)
            self._part_doubles(looks)
        self._remember(frames, looks)
        return [
            Sighting(first + i, face_id, look.box, look.read)
            for i in range(len(images))
            for face_id, row in sorted(looks.items())
            if (look := row[i]) is not None
        ]

    def _resize(self, height: int, width: int) -> None:
        """Where the picture has another size than before, everybody is where they were, in the new size's pixels."""
        if self.size is not None and self.size != (height, width):
            down, across = height / self.size[0], width / self.size[1]
            for track in self.tracks:
                box = track.box
                track.box = Box(box.x * across, box.y * down, box.side * float(np.sqrt(across * down)), box.tilt)
        self.size = (height, width)

    def _at_known_faces(self, images: Sequence[Image]) -> Looks:
        """Every known face in every image, from where it was last."""
        whole = self._look([(image, track.box) for track in self.tracks for image in images])
        count = len(images)
        return {
            track.face_id: self._chained(images, list(whole[k * count : (k + 1) * count]), track.box, range(count))
            for k, track in enumerate(self.tracks)
        }

    def _look_for_faces(self, images: Sequence[Image], looks: Looks, now: float, quick: bool, boxes: Sequence[Box] | None) -> None:
        """The detector on the last image (`boxes`, where it has looked already), and on the first one too at the start of a shot."""
        begins = self.detected == -np.inf
        self.detected = now
        self.quick_looks = self.quick_looks + 1 if quick else 0
        last = len(images) - 1
        for at in (0, last) if begins and last > 0 else (last,):
            seen = boxes if boxes is not None and at == last else self.detect(images[at], quick)
            self._search(images, at, looks, now, seen)

    def _remember(self, frames: Sequence[Frame], looks: Looks) -> None:
        """Where each face was last; those not seen for longer than GAP are forgotten."""
        for track in self.tracks:
            for frame, look in zip(frames, looks[track.face_id], strict=True):
                if look is not None:
                    track.box, track.seen = look.box, frame.start
        self.tracks = [track for track in self.tracks if frames[-1].start - track.seen <= GAP]

    def _look(self, pairs: Sequence[tuple[Image, Box]]) -> list[Look]:
        """Each picture at its box, again where that was far off, up to ROUNDS times."""
        tried = [box for _, box in pairs]
        looks: list[Look | None] = [None] * len(pairs)
        again = list(range(len(pairs)))
        for _ in range(ROUNDS):
            if not again:
                break
            answer = self.read(crops((pairs[i][0], tried[i]) for i in again))
            off = []
            for row, i in enumerate(again):
                roll = float(answer.pose[row, 2])
                dx, dy, log_side = (float(v) for v in answer.box[row])
                look = Look(tried[i].corrected(dx, dy, log_side, roll), answer.values[row])
                before = looks[i]
                if before is not None and look.score < KEEP <= before.score:
                    continue
                looks[i] = look
                if look.score >= KEEP and (float(np.abs(answer.box[row]).max()) > FAR or abs(roll) > LEANING):
                    tried[i] = look.box
                    off.append(i)
            again = off
        return [look for look in looks if look is not None]

    def _chained(self, images: Sequence[Image], looks: list[Look | None], start: Box, order: Sequence[int]) -> list[Look | None]:
        """Looks without a face become None, unless one is found there from where the face was in the frame before (in `order`)."""
        box = start
        for i in order:
            look = looks[i]
            if look is not None and look.score < KEEP:
                look = self._look([(images[i], box)])[0] if box.overlap(start) < 0.9 else None
                looks[i] = look if look is not None and look.score >= KEEP else None
            if (look := looks[i]) is not None:
                box = look.box
        return looks

    def _search(self, images: Sequence[Image], at: int, looks: Looks, now: float, boxes: Sequence[Box]) -> None:
        """What the detector saw in frame `at`: what is new, or lost and back, is followed through the chunk from there."""
        for box in boxes:
            known = [row[at] for row in looks.values()]
            if any(look is not None and look.box.overlap(box) > SAME / 2 for look in known):
                continue
            look = self._look([(images[at], box)])[0]
            if look.score < ACCEPT or any(other is not None and other.box.overlap(look.box) > SAME / 2 for other in known):
                continue
            track = self._lost_at(look.box, looks)
            if track is None:
                track = Track(self.next_id, look.box, now)
                self.next_id += 1
                self.tracks.append(track)
            row: list[Look | None] = list(self._look([(image, look.box) for image in images]))
            row = self._chained(images, row, look.box, range(at, len(images)))
            row[: at + 1] = self._chained(images, row[: at + 1], look.box, range(at, -1, -1))
            kept = looks.get(track.face_id, [None] * len(images))
            looks[track.face_id] = [new if old is None else old for old, new in zip(kept, row, strict=True)]

    def _lost_at(self, box: Box, looks: Looks) -> Track | None:
        """The nearest track that the chunk's end has lost and that could have come to `box`."""
        lost = [t for t in self.tracks if looks[t.face_id][-1] is None]
        far = {t.face_id: np.hypot(t.box.x - box.x, t.box.y - box.y) / t.box.side for t in lost}
        near = [t for t in lost if far[t.face_id] < REACH and 1 / GROWTH < t.box.side / box.side < GROWTH]
        return min(near, key=lambda t: far[t.face_id], default=None)

    def _part_doubles(self, looks: Looks) -> None:
        """Where two tracks sit on one face, the one that was closest to it before keeps it; a track left with nothing waits."""
        was = {t.face_id: t.box for t in self.tracks}
        ids = sorted(looks)
        for n, a in enumerate(ids):
            for b in ids[n + 1 :]:
                for i, (first, second) in enumerate(zip(looks[a], looks[b], strict=True)):
                    if first is not None and second is not None and first.box.overlap(second.box) > SAME:
                        stays = was[a].overlap(first.box) >= was[b].overlap(second.box)
                        looks[b if stays else a][i] = None
