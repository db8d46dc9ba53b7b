"""The shipped provider on files as people have them: a phone's video on its side, odd sizes, uneven frame rates, 4K."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np
import pytest

from emofuse.extractors.face.compact.detector import FaceDetector
from emofuse.extractors.face.compact.extractor import Compact
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.coded_frame import coded_boxes
from emofuse.pipeline.columns import FACE_BOX
from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.media import VideoInfo
from emofuse.pipeline.timed import Provenance, TimedSequence

FACE = np.array([225.5, 124.3, 108.1])
"""Centre and side of the square over the astronaut's landmarks, as MediaPipe 1.2.2 sees it (pixels of the 512 x 512 picture)."""
Picture = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def provider() -> Compact:
    return Compact()


@pytest.fixture(scope="module")
def astronaut() -> Picture:
    import cv2
    import skimage

    image = cv2.imread(str(Path(skimage.__file__).parent / "data" / "astronaut.png"))
    assert image is not None
    return np.ascontiguousarray(image[:384, :448, ::-1], np.uint8)  # not square: a turned frame has another shape


def written(path: Path, images: list[Picture], milliseconds: list[int]) -> Path:
    """An H.264 file of these pictures at these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "preset": "ultrafast", "bf": "0"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv444p" if images[0].shape[0] % 2 or images[0].shape[1] % 2 else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, at in zip(images, milliseconds, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def centre_and_side(face: TimedSequence) -> np.ndarray[Any, Any]:
    x, y, width, _ = face.select(FACE_BOX).values.mean(0)
    return np.array([x + width / 2, y + width / 2, width])


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_phone_s_video_on_its_side_has_an_upright_face(provider: Compact, astronaut: Picture, tmp_path: Path, rotation: int) -> None:
    lying = np.rot90(astronaut, -rotation // 90)
    source = written(tmp_path / "lying.mp4", [lying] * 5, [40 * i for i in range(5)])
    command = ffmpeg.input(str(source), display_rotation=rotation).output(str(tmp_path / "phone.mp4"), codec="copy")
    command.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)
    clip = Clip(tmp_path / "phone.mp4")
    assert clip.info.video is not None and clip.info.video.rotation == rotation
    assert (clip.info.video.height, clip.info.video.width) == lying.shape[:2]
    face = provider(clip, {})
    assert len(face) == 5
    np.testing.assert_allclose(centre_and_side(face), FACE, atol=14)
    assert abs(np.rad2deg(face.column("Roll").mean())) < 20

    # the same box in the frame as it is coded: to the pixel the same content, turned
    x, y, side, _ = (int(v) for v in face.select(FACE_BOX).values[0].round())
    whole = TimedSequence("face", FACE_BOX, np.array([[x, y, side, side]], np.float32), np.zeros(1), np.ones(1), face.provenance)
    left, top, width, height = coded_boxes(whole, clip.info.video)[0].astype(int)
    under = np.rot90(lying[top : top + height, left : left + width], rotation // 90)
    assert np.array_equal(under, astronaut[y : y + side, x : x + side])


def test_boxes_of_an_upright_clip_are_left_alone_and_a_stream_without_boxes_is_refused() -> None:
    by = Provenance("test", "1")
    face = TimedSequence("face", FACE_BOX, np.array([[1, 2, 3, 4]], np.float32), np.zeros(1), np.ones(1), by)
    assert coded_boxes(face, VideoInfo("h264", 64, 48, 0, 25.0)).tolist() == [[1, 2, 3, 4]]
    assert coded_boxes(face, VideoInfo("h264", 64, 48, 90, 25.0)).tolist() == [[64 - 6, 1, 4, 3]]
    with pytest.raises(StreamError, match="expected the columns FaceRectX"):
        coded_boxes(TimedSequence.empty("face", ("AU12",), by, "none"), VideoInfo("h264", 64, 48, 0, 25.0))


def test_odd_sizes(provider: Compact, astronaut: Picture, tmp_path: Path) -> None:
    clip = Clip(written(tmp_path / "odd.mp4", [astronaut[:331, :397]] * 4, [0, 40, 80, 120]))
    face = provider(clip, {})
    assert len(face) == 4
    np.testing.assert_allclose(centre_and_side(face), FACE, atol=14)


def test_rows_keep_the_times_of_an_uneven_frame_rate(provider: Compact, astronaut: Picture, tmp_path: Path) -> None:
    times = [0, 33, 66, 300, 310, 900, 1000, 1033]
    face = provider(Clip(written(tmp_path / "uneven.mkv", [astronaut] * len(times), times)), {})
    assert np.allclose(face.start, np.array(times) / 1000, atol=1.1e-3)
    assert set(face.column("face_id").tolist()) == {0.0}


def test_4k_is_made_small_before_anything_looks_for_faces(
    provider: Compact, astronaut: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    large = np.zeros((2160, 3840, 3), np.uint8)
    large[: 384 * 5, : 448 * 5] = cv2.resize(astronaut, None, fx=5, fy=5)
    looked_at: list[tuple[int, ...]] = []
    detector = provider.networks.detect
    assert isinstance(detector, FaceDetector)
    network = detector._network

    def watched(picture: Any) -> Any:
        looked_at.append(tuple(picture.shape[2:]))
        return network(picture)

    monkeypatch.setattr(detector, "_network", watched)
    face = provider(Clip(written(tmp_path / "large.mp4", [large] * 3, [0, 40, 80])), {})
    assert len(face) == 3
    np.testing.assert_allclose(centre_and_side(face) / 5, FACE, atol=14)
    assert looked_at and max(max(shape) for shape in looked_at) <= 288, "256 pixels, rounded up to a multiple of 32"
