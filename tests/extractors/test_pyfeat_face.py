"""py-feat's Detectorv2 through our provider: random weights in the hub's own files, its columns, its pose in our convention."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.transform import Rotation

from emofuse.extractors.face.face_ids import FaceIds
from emofuse.extractors.face.pyfeat_face import AUS, COLUMNS, PyfeatFace, as_columns, assemble, batches, pose_angles
from emofuse.extractors.provider import Request
from emofuse.pipeline.errors import NoStream, UsageError, WeightsError
from emofuse.pipeline.media import ClipInfo, Frame, Samples, VideoInfo
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats64, Provenance

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # py-feat's own, on import


class Pictures:
    """A clip that is nothing but these pictures, 40 ms each."""

    info = ClipInfo("pictures.mp4", "mp4", None, VideoInfo("h264", 128, 96, 0, 25.0), None)

    def __init__(self, images: Sequence[np.ndarray[Any, Any]]) -> None:
        self.images = images

    def frames(self) -> Iterator[Frame]:
        for i, image in enumerate(self.images):
            yield Frame(0.04 * i, 0.04 * (i + 1), image)

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        raise NoStream("pictures.mp4: no audio")


def noise(count: int, height: int = 96, width: int = 128, seed: int = 1) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (count, height // 8, width // 8, 3), np.uint8)
    return list(coarse.repeat(8, axis=1).repeat(8, axis=2))


def save_in_cache(cache: Path, repository: str, name: str, state: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    from safetensors.torch import save_file

    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / "1234").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("1234")
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "snapshots" / "1234" / name, metadata=metadata)
    return folder / "snapshots" / "1234" / name


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache with both repositories, random weights: the detector as it is, the multitask network with a small backbone."""
    from feat.face_detectors.Retinaface.Retinaface_model import RETINAFACE_R34_CFG, RetinaFace
    from feat.multitask.model_v2 import MEGraphAUv2, ModelV2Config

    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    detector = RetinaFace(RETINAFACE_R34_CFG).state_dict()
    for key in detector:
        if "Head" in key:  # boxes near the anchors; of the anchors, those of 64 and 128 pixels are faces now and then
            detector[key] = detector[key] * (0.004 if key.endswith("weight") and "Class" in key else 0.0)
    for level, bias in enumerate((-6.0, 0.0, -6.0)):
        detector[f"ClassHead._convs.{level}.bias"] = torch.tensor([0.0, bias, 0.0, bias])
    save_in_cache(folder, "py-feat/retinaface_r34", "model.safetensors", detector)
    config = ModelV2Config(
        backbone="convnextv2_atto",
        n_au=20,
        n_emotion=7,
        n_blendshape=52,
        mesh_normalized=True,
        afg_channels=16,
        mefl_channels=16,
        unified_lmk_dim=8,
        use_head_v3=True,
        drop_mefl=True,
        emotion_use_au_prob=True,
        pretrained=False,
    )
    state = MEGraphAUv2(config).state_dict()
    save_in_cache(folder, "py-feat/face_multitask_v2", "face_multitask_v28.safetensors", state, {"config": json.dumps(asdict(config))})
    return folder


@pytest.fixture
def cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_sockets")
def test_rows_are_those_of_detectorv2_made_by_its_own_constructor(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from feat.detector_v2 import Detectorv2

    images = noise(3)
    made = PyfeatFace(batch_size=2)(Pictures(images), {})
    assert made.columns == COLUMNS and len(made) >= 3
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("feat.utils.io.get_resource_path", lambda: str(cached))
    with torch.set_grad_enabled(True):  # its constructor switches gradients off
        detector = Detectorv2(device="cpu", identity_model=None)  # type: ignore[arg-type]
    one = torch.from_numpy(images[1]).permute(2, 0, 1)[None]
    theirs = detector.detect(one, data_type="tensor", progress_bar=False)
    mine = made.rows(np.flatnonzero(made.column("frame") == 1))
    assert len(mine) == len(theirs)
    np.testing.assert_allclose(mine.select(AUS).values, theirs[list(AUS)].to_numpy(), rtol=1e-4, atol=1e-5)
    names = {"anger": "Anger", "happiness": "Happy", "sadness": "Sad", "neutral": "Neutral", "FaceRectX": "FaceRectX"}
    for ours, other in names.items():
        np.testing.assert_allclose(mine.column(ours), theirs[other].to_numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(made.select(EMOTIONS).values.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(mine.start, 0.04)


@pytest.mark.usefixtures("cached")
def test_batches_change_nothing() -> None:
    images = noise(5)
    one, many = PyfeatFace(batch_size=1)(Pictures(images), {}), PyfeatFace(batch_size=4)(Pictures(images), {})
    np.testing.assert_allclose(one.values, many.values, rtol=1e-3, atol=1e-3)  # float32 through forty layers


@pytest.mark.usefixtures("cached")
def test_boxes_of_a_large_frame_are_in_its_own_pixels() -> None:
    small = noise(1, 96, 128)
    large = [image.repeat(4, axis=0).repeat(4, axis=1) for image in small]
    one = PyfeatFace(longest_side=128)(Pictures(small), {})
    four = PyfeatFace(longest_side=128)(Pictures(large), {})
    box = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
    np.testing.assert_allclose(four.select(box).values, 4 * one.select(box).values, rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(four.select(AUS).values, one.select(AUS).values, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("cached")
def test_no_face_no_rows_and_the_reason() -> None:
    made = PyfeatFace(score=1.01)(Pictures(noise(3)), {})
    assert len(made) == 0 and made.reason == "no face was found in any of 3 frames"


@pytest.mark.usefixtures("cached")
def test_gradients_stay_as_they_were_and_provenance_names_the_weights() -> None:
    assert torch.is_grad_enabled()
    face = PyfeatFace()
    assert torch.is_grad_enabled()
    assert set(face.provenance.weights) == {"model.safetensors", "face_multitask_v28.safetensors"}
    assert face.provenance.version == "py-feat 2.1.5"
    assert PyfeatFace.status(Request()).usable


@pytest.mark.usefixtures("no_sockets", "empty_cache")
def test_missing_weights_are_named_within_a_second_and_without_a_socket() -> None:
    began = time.monotonic()
    status = PyfeatFace.status(Request())
    assert not status.usable and "py-feat/retinaface_r34" in status.reason and "py-feat/face_multitask_v2" in status.reason
    with pytest.raises(WeightsError, match=r"py-feat/retinaface_r34: not in the local cache, and offline was asked for") as caught:
        PyfeatFace(offline=True)
    assert "\n" not in str(caught.value) and time.monotonic() - began < 1


def test_weights_of_another_network_are_refused(empty_cache: Path) -> None:
    save_in_cache(empty_cache, "py-feat/retinaface_r34", "model.safetensors", {"weight": torch.zeros(3)})
    save_in_cache(empty_cache, "py-feat/face_multitask_v2", "face_multitask_v28.safetensors", {"weight": torch.zeros(3)})
    with pytest.raises(WeightsError, match="do not fit py-feat") as caught:
        PyfeatFace()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("cached")
def test_a_device_that_is_not_there_is_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UsageError, match="device cuda: not on this machine"):
        PyfeatFace(device="cuda")


def as_py_feat_says_it(pitch: float, roll: float, yaw: float) -> Floats64:
    """Detectorv2's Pitch, Roll, Yaw of a head turned by R = Rz(roll) Ry(yaw) Rx(pitch), y up: the network answers with the rotation
    vector of the same turn in a frame whose y and z axes point the other way, and py-feat puts its own signs to it."""
    one = Rotation.from_euler("x", pitch).as_matrix()
    two = Rotation.from_euler("y", yaw).as_matrix()
    three = Rotation.from_euler("z", roll).as_matrix()
    turn = three @ two @ one
    other_way = np.diag([1.0, -1.0, -1.0])
    x, y, z = Rotation.from_matrix(other_way @ turn @ other_way).as_rotvec()
    return np.array([-x, -z, y])


@pytest.mark.parametrize("angles", [(0.3, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.3), (0.25, -0.4, 0.5), (-0.6, 0.2, -0.3)])
def test_pose_is_angles_in_our_convention(angles: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(pose_angles(as_py_feat_says_it(*angles)[None])[0], angles, atol=1e-9)


def test_what_the_turns_mean() -> None:
    """Down, to the picture's right, counter-clockwise are positive; py-feat says up, to the picture's left, counter-clockwise."""
    down, left_in_picture, counter = np.eye(3) * [-0.3, 0.3, 0.3]  # py-feat's Pitch, Roll, Yaw in this order
    pitch, roll, yaw = pose_angles(np.stack([down, left_in_picture, counter])).T
    np.testing.assert_allclose(pitch, [0.3, 0, 0], atol=1e-9)
    np.testing.assert_allclose(roll, [0, 0.3, 0], atol=1e-9)
    np.testing.assert_allclose(yaw, [0, 0, -0.3], atol=1e-9)


def test_the_networks_roll_and_yaw_are_not_swapped(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through Detectorv2 itself: the pose head is made to answer with one turn about one axis."""
    paths = sorted(cache.rglob("*.safetensors"), key=lambda path: "multitask" in path.name)
    detector = assemble(paths[0], paths[1], "cpu")
    for axis, column, sign in ((0, "Pitch", 1.0), (1, "Yaw", -1.0), (2, "Roll", -1.0)):
        turn = torch.zeros(6)
        turn[axis] = 0.3
        monkeypatch.setattr(detector.multitask.model.pose, "forward", lambda x, turn=turn: turn.expand(len(x), 6))
        images = torch.from_numpy(np.stack(noise(1))).permute(0, 3, 1, 2)
        nothing = torch.zeros(1)
        described = {"Image": images, "Padding": dict.fromkeys(("Left", "Top", "Right", "Bottom"), nothing), "Scale": torch.ones(1)}
        rows = as_columns(detector.forward(detector.detect_faces(images), described))
        expected = {"Pitch": 0.0, "Roll": 0.0, "Yaw": 0.0, column: sign * 0.3}
        for name, value in expected.items():
            np.testing.assert_allclose(rows[:, COLUMNS.index(name)], value, atol=1e-6, err_msg=f"axis {axis}, {name}")


def test_columns_are_taken_by_name() -> None:
    theirs = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "Pitch", "Roll", "Yaw", "X", *AUS]
    theirs += ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "valence"]
    values = np.arange(2.0 * len(theirs)).reshape(2, -1)
    shuffled = np.random.default_rng(2).permutation(len(theirs))
    table = pd.DataFrame(values, columns=theirs).iloc[:, shuffled]
    rows = as_columns(table)
    at = {name: i for i, name in enumerate(theirs)}
    for ours, other in (("FaceScore", "FaceScore"), ("AU12", "AU12"), ("AU43", "AU43"), ("happiness", "Happy"), ("anger", "Anger")):
        np.testing.assert_array_equal(rows[:, COLUMNS.index(ours)], values[:, at[other]])


def test_a_frame_without_a_face_is_nan_and_dropped_later() -> None:
    table = pd.DataFrame({name: [np.nan] for name in [*COLUMNS[:-2], "Anger", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral"]})
    assert np.isnan(as_columns(table)[0, :-2]).all()


def test_faces_keep_their_numbers() -> None:
    faces = FaceIds()
    left, right = np.array([10, 10, 50, 50], np.float32), np.array([200, 10, 50, 50], np.float32)
    assert faces.of(np.stack([left, right]), 0.0) == [0, 1]
    assert faces.of(np.stack([right + 4, left + 4]), 0.04) == [1, 0]  # the other way round: the box decides
    assert faces.of(right[None], 0.08) == [1]
    assert faces.of(np.stack([left, right]), 0.9) == [0, 1]  # lost for less than a second
    assert faces.of(left[None], 3.0) == [2] and faces.count == 3


def test_after_a_cut_everybody_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = PyfeatFace.__new__(PyfeatFace)  # what it does with the rows does not depend on its networks
    provider._batch_size = 2
    provider.provenance = Provenance("pyfeat", "0")

    def one_face_each(batch: list[Frame]) -> list[Any]:
        return [np.array([[10, 10, 50, 50, *[0.0] * (len(COLUMNS) - 4)]], np.float32) for _ in batch]

    monkeypatch.setattr(provider, "_read", one_face_each)
    random = np.random.default_rng(0)
    one, other = (random.integers(0, 255, (3, 4, 3), np.uint8).repeat(32, 0).repeat(32, 1) for _ in range(2))
    face = provider(Pictures([one, one, one, other, other]), {})
    assert face.column("face_id").tolist() == [0, 0, 0, 1, 1]
    assert face.provenance.notes["cuts"] == [0.12] and face.provenance.notes["faces"] == 2


def test_frames_of_other_shapes_are_other_batches() -> None:
    frames = [Frame(i, i + 1, image) for i, image in enumerate([*noise(3), *noise(2, 64, 64), *noise(1)])]
    assert [len(batch) for batch in batches(frames, 2)] == [2, 1, 2, 1]
