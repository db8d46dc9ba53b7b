"""Tracking on made-up pictures: a `face` is a bright disc, and reader and detector are arithmetic on brightness, no network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from emofuse.extractors.face.compact.detect import Box, grey_of
from emofuse.extractors.face.compact.layout import CROP, NOMINAL, Read
from emofuse.extractors.face.compact.tracks import Sighting, Tracker, chunks
from emofuse.extractors.face.scene_cuts import is_cut, thumbnail
from emofuse.pipeline.media import Frame

Disc = tuple[float, float, float]
RATE = 25.0


def picture(discs: Sequence[Disc], size: tuple[int, int] = (240, 320)) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    image = np.full(size, 30, np.uint8)
    for cx, cy, side in discs:
        image[(x - cx) ** 2 + (y - cy) ** 2 <= (side / 2) ** 2] = 220
    return np.repeat(image[:, :, None], 3, axis=2)


def read(crops: np.ndarray) -> Read:
    """The disc's centre and area by counting bright pixels of the connected piece that is nearest to the middle."""
    import cv2

    values = np.zeros((len(crops), 67), np.float32)
    for row, crop in zip(values, crops, strict=True):
        count, _, stats, centres = cv2.connectedComponentsWithStats((crop > 128).astype(np.uint8))
        if count < 2:
            continue
        nearest = 1 + int(np.argmin(np.hypot(*(centres[1:] - (CROP - 1) / 2).T)))
        x, y = (centres[nearest] + 0.5 - CROP / 2) / (CROP / NOMINAL)
        side = np.sqrt(4 * stats[nearest, cv2.CC_STAT_AREA] / np.pi) / (CROP / NOMINAL)
        if 0.4 < side < 2 and max(abs(x), abs(y)) < 0.45:
            row[[56, 57, 58]] = x, y, np.log(side)
            row[-1] = 0.999
    return Read(values)


def detect(image: np.ndarray, quick: bool = False) -> list[Box]:
    import cv2

    count, _, stats, centres = cv2.connectedComponentsWithStats((grey_of(image) > 128).astype(np.uint8))
    return [
        Box(c[0] + 0.5 + 2, c[1] + 0.5 - 3, float(s[cv2.CC_STAT_WIDTH]) * 1.1) for c, s in zip(centres[1:], stats[1:count], strict=True)
    ]


def frames(scenes: Sequence[Sequence[Disc]]) -> list[Frame]:
    return [Frame(i / RATE, (i + 1) / RATE, picture(discs)) for i, discs in enumerate(scenes)]


def followed(scenes: Sequence[Sequence[Disc]], tracker: Tracker | None = None, length: int = 8) -> list[Sighting]:
    tracker = tracker or Tracker(read, detect)
    out: list[Sighting] = []
    number = 0
    for chunk, cut in chunks(iter(frames(scenes)), length):
        if cut:
            tracker.scene_ended()
        out += tracker.follow(chunk, number)
        number += len(chunk)
    return out


def ids(sightings: Sequence[Sighting]) -> set[int]:
    return {s.face_id for s in sightings}


def test_a_moving_face_keeps_its_id_and_its_box_is_right() -> None:
    scenes = [[(80 + 2.5 * i, 100 + 20 * np.sin(i / 8), 50 + 0.3 * i)] for i in range(60)]
    seen = followed(scenes)
    assert [s.frame for s in seen] == list(range(60))
    assert ids(seen) == {0}
    for s in seen:
        x, y, side = scenes[s.frame][0]
        assert (s.box.x, s.box.y) == pytest.approx((x, y), abs=1.5)
        assert s.box.side == pytest.approx(side, rel=0.06)


def test_a_face_that_hurries_is_followed_from_frame_to_frame() -> None:
    asked = 0

    def detect_once(image: np.ndarray, quick: bool) -> list[Box]:
        nonlocal asked
        asked += 1
        return detect(image) if asked == 1 else []

    scenes = [[(60.0 + 16 * min(max(0, i - 9), 12), 110.0, 50.0)] for i in range(40)]
    seen = followed(scenes, Tracker(read, detect_once))
    assert [s.frame for s in seen] == list(range(40))
    assert ids(seen) == {0}


def test_two_faces_keep_their_own_ids() -> None:
    seen = followed([[(80.0 + i, 100.0, 50.0), (240.0 - i, 120.0, 60.0)] for i in range(50)])
    assert len(seen) == 100
    left = {s.face_id for s in seen if s.box.x < 160}
    right = {s.face_id for s in seen if s.box.x > 160}
    assert len(left) == len(right) == 1
    assert left != right


@pytest.mark.parametrize(("gone", "faces"), [(3, 1), (15, 1), (60, 2)])
def test_a_short_loss_keeps_the_id_and_a_long_one_does_not(gone: int, faces: int) -> None:
    scenes: list[list[Disc]] = [[(100.0, 100.0, 50.0)]] * 20 + [[]] * gone + [[(118.0, 104.0, 52.0)]] * 20
    seen = followed(scenes)
    assert len(ids(seen)) == faces
    assert not [s for s in seen if 20 <= s.frame < 20 + gone], "where the face was away there is no row"
    assert {s.frame for s in seen} >= set(range(20))


def test_a_lost_face_is_not_mistaken_for_one_far_away() -> None:
    seen = followed([[(60.0, 100.0, 50.0)]] * 16 + [[(260.0, 100.0, 50.0)]] * 24)
    assert ids(seen) == {0, 1}
    assert all((s.face_id == 0) == (s.box.x < 160) for s in seen)


def test_a_face_that_appears_is_found_in_its_first_frame() -> None:
    seen = followed([[]] * 13 + [[(150.0, 120.0, 60.0)]] * 30)
    assert seen[0].frame == 13
    assert len(seen) == 30


def test_a_second_face_that_walks_in_is_noticed() -> None:
    seen = followed([[(80.0, 100.0, 50.0)]] * 30 + [[(80.0, 100.0, 50.0), (230.0, 110.0, 50.0)]] * 50)
    late = {s.frame for s in seen if s.face_id == 1}
    assert min(late) <= 30 + 26, "the detector looks for new faces once a second"
    assert {s.frame for s in seen if s.face_id == 0} == set(range(80))


def test_after_a_cut_a_face_in_the_same_place_is_another_one() -> None:
    random = np.random.default_rng(0)

    def shot(seed_image: np.ndarray, at: float) -> np.ndarray:
        image = picture([(at, 110.0, 60.0)]).copy()
        dark = image < 100
        image[dark] = np.repeat(seed_image[:, :, None], 3, 2)[dark]
        return image

    backgrounds = [np.kron(random.integers(0, 110, (6, 8)), np.ones((40, 40))).astype(np.uint8) for _ in range(2)]
    backgrounds[1] = np.roll(110 - backgrounds[1], 80, axis=1)
    both = [Frame(i / RATE, (i + 1) / RATE, shot(backgrounds[i >= 11], 150.0 if i < 11 else 160.0)) for i in range(30)]
    parts = list(chunks(iter(both), 8))
    assert [len(chunk) for chunk, _ in parts] == [8, 3, 8, 8, 3]
    assert [cut for _, cut in parts] == [False, False, True, False, False]
    tracker = Tracker(read, detect)
    first = tracker.follow(parts[0][0], 0)
    tracker.scene_ended()
    assert ids(first) == {0}
    assert ids(tracker.follow(parts[2][0], 11)) == {1}


def test_a_flash_is_no_cut_and_another_picture_is() -> None:
    random = np.random.default_rng(0)
    one = np.kron(random.integers(0, 180, (12, 16)), np.ones((20, 20))).astype(np.uint8)
    other = np.kron(random.integers(0, 180, (12, 16)), np.ones((20, 20))).astype(np.uint8)
    assert not is_cut(thumbnail(one), thumbnail(one + 60))
    assert not is_cut(thumbnail(one), thumbnail(np.roll(one, 4, axis=1)))
    assert is_cut(thumbnail(one), thumbnail(other))


def test_black_borders_that_come_are_no_cut() -> None:
    """The same picture smaller within a black border, as a player shows a clip that changes its shape."""
    import cv2

    random = np.random.default_rng(0)
    one = np.kron(random.integers(0, 180, (12, 16)), np.ones((20, 20))).astype(np.uint8)
    small = np.zeros_like(one)
    small[40:200] = cv2.resize(one, (320, 160), interpolation=cv2.INTER_AREA)
    other = np.roll(np.flipud(small), 60, axis=1)
    assert not is_cut(thumbnail(one), thumbnail(small))
    assert is_cut(thumbnail(one), thumbnail(other))
    assert not is_cut(thumbnail(np.zeros_like(one)), thumbnail(np.zeros_like(one)))


def test_two_tracks_never_sit_on_one_face() -> None:
    meeting = [[(80.0 + min(2.5 * i, 75), 110.0, 60.0), (240.0, 110.0, 60.0)] for i in range(30)]
    merged = [[(155.0 + min(3 * i, 85), 110.0, 60.0)] for i in range(40)]
    seen = followed([*meeting, *merged])
    for frame in range(70):
        boxes = [s.box for s in seen if s.frame == frame]
        assert all(a.overlap(b) < 0.5 for n, a in enumerate(boxes) for b in boxes[n + 1 :])
        assert len({(s.frame, s.face_id) for s in seen if s.frame == frame}) == len(boxes)


def test_what_the_detector_finds_is_nothing_without_the_network() -> None:
    def everywhere(image: np.ndarray, quick: bool) -> list[Box]:
        return [Box(60, 60, 50), Box(200, 150, 80)]

    assert followed([[]] * 20, Tracker(read, everywhere)) == []


def test_the_detector_looks_thoroughly_first_when_somebody_is_lost_and_now_and_then() -> None:
    def run(scenes: Sequence[Sequence[Disc]]) -> list[bool]:
        looks: list[bool] = []

        def watched(image: np.ndarray, quick: bool) -> list[Box]:
            looks.append(quick)
            return detect(image)

        followed(scenes, Tracker(read, watched), length=5)
        return looks

    here: Sequence[Disc] = [(100.0, 100.0, 50.0)]
    kept = run([here] * 120)  # nearly 5 s
    assert kept[:2] == [False, False], "twice in the first chunk, at its ends"
    assert kept[2:6] == [True, True, True, False]
    lost = run([here] * 5 + [[]] * 45)
    assert not any(lost) and len(lost) >= 6, "while somebody is lost every look is a thorough one"


def test_a_doubtful_face_is_kept_when_known_and_not_begun_when_new() -> None:
    def doubtful(crops: np.ndarray) -> Read:
        values = read(crops).values
        values[:, -1] *= 0.9
        return Read(values)

    scenes: list[list[Disc]] = [[(100.0, 100.0, 50.0)]] * 16
    assert followed(scenes, Tracker(doubtful, detect)) == []
    tracker = Tracker(read, detect)
    followed(scenes, tracker)
    tracker.read = doubtful
    assert len(tracker.follow(frames(scenes)[:8], 16)) == 8


def test_a_picture_that_changes_its_size_keeps_its_face() -> None:
    """320 x 240, then a fifth of a second later 160 x 120: the same disc, half as far from the corner and half as large."""
    tracker = Tracker(read, detect)
    shown = [Frame(i / RATE, (i + 1) / RATE, picture([(100 + i, 100.0, 60.0)])) for i in range(20)]
    shown += [Frame(i / RATE, (i + 1) / RATE, picture([((100 + i) / 2, 50.0, 30.0)], (120, 160))) for i in range(20, 40)]
    parts = list(chunks(iter(shown), 8))
    assert [len(chunk) for chunk, _ in parts] == [8, 8, 4, 8, 8, 4]
    assert not any(cut for _, cut in parts)
    seen = [s for k, (chunk, _) in enumerate(parts) for s in tracker.follow(chunk, (0, 8, 16, 20, 28, 36)[k])]
    assert [s.frame for s in seen] == list(range(40))
    assert ids(seen) == {0}
    assert seen[-1].box.side == pytest.approx(30, rel=0.1)


def test_a_face_that_leans_over_is_followed_upright() -> None:
    """A reader that says the rest of each crop's turn: the box turns with the face, and the turn in the crop stays small."""
    angles = np.deg2rad(np.linspace(0, 90, 80))
    looked: list[float] = []

    def read_turned(cut: np.ndarray) -> Read:
        """The direction from the disc's middle to the dark spot under its top edge."""
        values = read(cut).values
        for row, crop in zip(values, cut, strict=True):
            y, x = np.nonzero(crop < 10)
            if len(x) and row[-1]:
                row[55] = np.arctan2(-(x.mean() - 31.5), -(y.mean() - 31.5))
                looked.append(float(abs(row[55])))
        return Read(values)

    def shown(angle: float) -> np.ndarray:
        image = picture([(150.0, 120.0, 80.0)]).copy()
        y, x = np.mgrid[:240, :320] + 0.5
        image[(x - 150 + 28 * np.sin(angle)) ** 2 + (y - 120 + 28 * np.cos(angle)) ** 2 <= 36] = 0
        return image

    tracker = Tracker(read_turned, detect)
    seen = []
    for first in range(0, 80, 8):
        chunk = [Frame(i / RATE, (i + 1) / RATE, shown(angles[i])) for i in range(first, first + 8)]
        seen += tracker.follow(chunk, first)
    assert ids(seen) == {0}
    tilts = np.array([s.box.tilt for s in seen])
    assert np.rad2deg(np.abs(tilts - angles)).max() < 6
    assert np.rad2deg(max(looked[8:])) < 25


@pytest.mark.parametrize("length", [1, 2, 5, 16])
def test_the_length_of_a_chunk_changes_no_identity(length: int) -> None:
    scenes = [[(80 + 1.5 * i, 100.0, 50.0)] for i in range(48)]
    seen = followed(scenes, length=length)
    assert [s.frame for s in seen] == list(range(48))
    assert ids(seen) == {0}


def test_overlap_is_intersection_over_union() -> None:
    assert Box(5, 5, 10).overlap(Box(5, 5, 10)) == 1.0
    assert Box(5, 5, 10).overlap(Box(10, 5, 10)) == pytest.approx(50 / 150)
    assert Box(5, 5, 10).overlap(Box(15, 5, 10)) == 0.0
