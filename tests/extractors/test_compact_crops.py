"""Crops against plain arithmetic on pictures whose pixel values are their own coordinates, and training's distortions against those."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.extractors.face.compact.detect import Box, crops
from emofuse.extractors.face.compact.layout import CROP, MIRRORED, NOMINAL, SHAPES
from training.face_network import distort
from training.face_network.distort import distorted, warp
from training.face_network.photographs import Photographs, Scene, part_of

SLOPE = 0.83
"""Grey levels a pixel: not a round number, so that rounding evens out (no box may give steps of a whole pixel either)."""


def ramp(width: int, height: int, across: float, down: float) -> np.ndarray:
    """A picture that rises by `across` grey levels a pixel to the right and `down` a pixel downwards, 0 at the middle of pixel (0, 0)."""
    return np.clip(np.round(across * np.arange(width)[None] + down * np.arange(height)[:, None]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("box", [Box(100.0, 80.0, 40.0), Box(101.3, 77.9, 47.3), Box(120.5, 99.5, 110.0), Box(120.0, 90.0, 24.0)])
def test_a_crop_lies_where_its_box_says(box: Box) -> None:
    u = np.arange(CROP)
    x = box.x - NOMINAL * box.side / 2 + (u + 0.5) * NOMINAL * box.side / CROP - 0.5
    y = box.y - NOMINAL * box.side / 2 + (u + 0.5) * NOMINAL * box.side / CROP - 0.5
    inside = (x > 1) & (x < 238) & (y > 1) & (y < 178)
    across = crops([(ramp(240, 180, SLOPE, 0.0), box)])[0]
    down = crops([(ramp(240, 180, 0.0, SLOPE), box)])[0]
    for error in (across[CROP // 2] / SLOPE - x, down[:, CROP // 2] / SLOPE - y):
        assert np.abs(error[inside]).max() < 1.5, "about one grey level a pixel, and rounding"
        assert abs(error[inside].mean()) < 0.1, "rounding evens out, a crop that lies off does not"


def test_colour_and_grey_give_the_same_crop() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    colour = np.repeat(picture[:, :, None], 3, axis=2)
    box = Box(60, 40, 50)
    assert np.array_equal(crops([(picture, box)]), crops([(colour, box)]))


@pytest.mark.parametrize("box", [Box(-500, 20, 30), Box(5000, -5000, 30), Box(30, 30, 4000), Box(30, 30, 1.5)])
def test_a_box_that_has_run_away_still_gives_a_crop(box: Box) -> None:
    assert crops([(np.full((60, 80, 3), 77, np.uint8), box)]).tolist() == np.full((1, CROP, CROP), 77).tolist()


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_box_gives_the_upright_crop(degrees: int) -> None:
    """The picture turned by quarter turns, counter-clockwise, and its box with it: the same crop."""
    import cv2

    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8), (0, 0), 3)
    picture = np.asarray(cv2.normalize(picture, np.zeros_like(picture), 0, 255, cv2.NORM_MINMAX), np.uint8)
    upright = crops([(picture, Box(60.0, 42.0, 30.0))])[0].astype(int)
    turned = np.ascontiguousarray(np.rot90(picture, degrees // 90))  # numpy turns counter-clockwise
    x, y = {90: (42.0, 100 - 60.0), 180: (100 - 60.0, 100 - 42.0), -90: (100 - 42.0, 60.0)}[degrees]
    again = crops([(turned, Box(x, y, 30.0, np.deg2rad(degrees)))])[0].astype(int)
    assert np.abs(upright - again).max() <= 2


def test_a_correction_moves_along_the_turned_square() -> None:
    box = Box(10, 20, 8, np.pi / 2).corrected(0.5, 0.25, np.log(2.0), roll=np.pi)
    assert (box.x, box.y, box.side) == pytest.approx((10 + 0.25 * 8, 20 - 0.5 * 8, 16.0))
    assert box.tilt == pytest.approx(-np.pi / 2)


def test_no_boxes_give_no_crops() -> None:
    assert crops([]).shape == (0, CROP, CROP)


def test_training_and_use_cut_alike() -> None:
    picture = ramp(96, 96, 1.3, 0.9)
    box = Box(47.0, 51.0, 60.0)
    used = crops([(picture, box)])[0].astype(int)
    trained = warp(picture, (box.x, box.y), NOMINAL * box.side, CROP, 0.0, False, None).astype(int)
    assert np.abs(used - trained).max() <= 2


def blobs(n: int) -> Photographs:
    """n pictures with one bright spot, which is the `face`'s centre."""
    import cv2

    random = np.random.default_rng(3)
    images, boxes = [], []
    for _ in range(n):
        x, y = random.uniform(30, 66, 2)
        image = np.full((96, 96), 20, np.uint8)
        across = np.exp(-((np.arange(96) + 0.5 - x) ** 2) / 18)
        down = np.exp(-((np.arange(96) + 0.5 - y) ** 2) / 18)
        images.append(cv2.add(image, (220 * np.outer(down, across)).astype(np.uint8)))
        boxes.append((x, y, 50.0))
    shapes = np.tile(np.arange(len(SHAPES), dtype=np.float32), (n, 1))
    return Photographs(
        images=images,
        source=np.array(["blob"] * n),
        part=np.array(["train"] * n),
        box=np.array(boxes, np.float32),
        seen=np.ones(n, bool),
        shapes=shapes,
        views=np.repeat(shapes[:, None], 2, 1),
        pose=np.tile(np.array([0.1, 0.2, 0.3], np.float32), (n, 1)),
        expression=np.tile(np.eye(7, dtype=np.float32)[3], (n, 1)),
    )


def test_distortion_knows_where_it_put_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distort, "webcam", lambda crop, random: crop)
    monkeypatch.setattr(distort, "patch", lambda scenes, size, random: np.full((size, size), 20, np.uint8))
    batch = distorted(blobs(40), np.arange(40), [], 0, CROP, np.random.default_rng(0))
    grid = np.arange(CROP) + 0.5
    for crop, (dx, dy, _) in zip(batch.crops.astype(float), batch.box, strict=True):
        light = np.clip(crop - 60, 0, None)
        centre = np.array([(light.sum(0) * grid).sum(), (light.sum(1) * grid).sum()]) / light.sum()
        expected = CROP / 2 + np.array([dx, dy]) * CROP / NOMINAL
        assert np.abs(centre - expected).max() < 1.0
    assert batch.box[:, :2].std() > 0.03
    assert batch.face.tolist() == [1.0] * 40


def test_distortion_knows_how_far_it_turned_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(distort, "webcam", lambda crop, random: crop)
    monkeypatch.setattr(distort, "patch", lambda scenes, size, random: np.zeros((size, size), np.uint8))
    bar = np.zeros((96, 96), np.uint8)
    bar[24:72, 44:52] = 255
    upright = replace(
        blobs(30), images=[bar] * 30, box=np.tile(np.array([48, 48, 60], np.float32), (30, 1)), pose=np.zeros((30, 3), np.float32)
    )
    batch = distorted(upright, np.arange(30), [], 0, CROP, np.random.default_rng(2))
    for crop, roll in zip(batch.crops, batch.pose[:, 2], strict=True):
        y, x = np.nonzero(crop > 128)
        axis = np.linalg.eigh(np.cov(x, -y.astype(float)))[1][:, 1]  # of the bar, y up
        leaning = np.arctan2(-axis[0], axis[1]) if axis[1] > 0 else np.arctan2(axis[0], -axis[1])
        assert np.rad2deg(leaning) == pytest.approx(np.rad2deg(roll), abs=2)
    assert np.rad2deg(batch.pose[:, 2]).std() > 5


def test_mirroring_swaps_sides_and_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distort, "TURN", 0.0)
    batch = distorted(
        blobs(30), np.arange(30), [Scene(np.full((80, 80), 9, np.uint8), np.zeros((0, 4)))], 0, CROP, np.random.default_rng(0)
    )
    left, right = SHAPES.index("mouthSmileLeft"), SHAPES.index("mouthSmileRight")
    mirrored = batch.shapes[:, left] == right
    assert 5 < mirrored.sum() < 25
    assert np.allclose(batch.pose[mirrored], (0.1, -0.2, -0.3))
    assert np.allclose(batch.pose[~mirrored], (0.1, 0.2, 0.3))
    assert np.array_equal(MIRRORED[MIRRORED], np.arange(len(SHAPES)))
    assert SHAPES[MIRRORED[SHAPES.index("jawOpen")]] == "jawOpen"


def test_turning_counter_clockwise_adds_to_roll() -> None:
    upright = np.zeros((96, 96), np.uint8)
    upright[10:48, 46:50] = 255  # a bar that points up from the middle
    turned = warp(upright, (48, 48), 96, 96, np.deg2rad(30), False, None)
    rows, columns = np.nonzero(turned > 128)
    assert columns.mean() < 44, "counter-clockwise on the screen: the bar leans to the left"
    assert np.rad2deg(np.arctan2(48 - columns.mean(), 48 - rows.mean())) == pytest.approx(30, abs=4)


def test_patches_keep_off_what_may_be_a_face() -> None:
    image = np.full((100, 200), 50, np.uint8)
    image[:, :100] = 250
    scene = Scene(image, np.array([[0.0, 0.0, 101.0, 100.0]]))
    random = np.random.default_rng(1)
    drawn = [distort.off_face([scene], 32, random) for _ in range(300)]
    assert {int(p.max()) for p in drawn} == {50}


def test_the_parts_follow_from_the_pixels_in_their_shares() -> None:
    import hashlib

    parts = [part_of(hashlib.sha256(str(i).encode()).hexdigest()) for i in range(5000)]
    assert parts.count("test") / 5000 == pytest.approx(0.10, abs=0.015)
    assert parts.count("validation") / 5000 == pytest.approx(0.03, abs=0.01)
