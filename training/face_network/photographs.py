"""What the compact network learns from: labelled photographs of faces, and pictures without one.

Photographs are grey. Exact pixel copies (8 % of FER2013) are one photograph, whose expression is the mean of the copies' labels.
The part of the data (train, validation, test) follows from the hash of the pixels, so that a copy can never lie on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emofuse.extractors.face.compact.layout import BLENDSHAPES
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats32

LONGEST_SIDE = 96
"""Larger photographs are shrunk: a crop is 64 pixels, and warping from much more would alias."""
AGREEMENT = np.deg2rad(20)
"""Views of the teacher whose poses differ by more are not believed."""
DEFAULT_BOXES = {"fer2013_train": (0.494, 0.536, 0.92), "web_photos": (0.507, 0.574, 0.93)}
"""Where the face is when the teacher sees none (centre x, centre y, side, in shares of the picture): the mean of those that it sees."""
NAMES = {"angry": "anger", "happy": "happiness", "sad": "sadness"}

Grey = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Photographs:
    """n photographs of one face each.

    images      n grey pictures (h w) uint8, longest side at most 96
    source      (n) file stem that it came from
    part        (n) train, validation or test
    box         (n 3) centre x, centre y, side of the face in pixels
    seen        (n) bool: the teacher saw it in both views and agreed with itself; only then shapes and pose are numbers
    shapes      (n 53) mean of both views, in the order of SHAPES; views (n 2 53) each of them
    pose        (n 3) pitch, yaw, roll in radians
    expression  (n 7) label probabilities in the order of EMOTIONS, NaN where it has none of them
    """

    images: list[Grey]
    source: NDArray[np.str_]
    part: NDArray[np.str_]
    box: Floats32
    seen: NDArray[np.bool_]
    shapes: Floats32
    views: Floats32
    pose: Floats32
    expression: Floats32

    def __len__(self) -> int:
        return len(self.images)

    def where(self, keep: NDArray[np.bool_]) -> Photographs:
        """The photographs that `keep` (n) marks."""
        return self.where_index(np.flatnonzero(keep))

    def where_index(self, index: NDArray[np.intp]) -> Photographs:
        """The photographs with the numbers `index` (k), in this order."""
        return Photographs(
            images=[self.images[i] for i in index],
            source=self.source[index],
            part=self.part[index],
            box=self.box[index],
            seen=self.seen[index],
            shapes=self.shapes[index],
            views=self.views[index],
            pose=self.pose[index],
            expression=self.expression[index],
        )


def part_of(digest: str) -> str:
    """train (87 %), validation (3 %) or test (10 %), from the hex SHA-256 of the pixels."""
    share = int(digest[:8], 16) % 100
    return "test" if share < 10 else "validation" if share < 13 else "train"


@dataclass(frozen=True, eq=False)
class Taught:
    """The teacher's labels of n photographs, two views each (the picture and its mirror image).

    row_of  name -> row;  seen (n 2): whether there is a face;  agreed (n): whether both views say the same of its pose
    box     (n 2 3) pixels;  shapes (n 2 53): blendshapes and the gap of the lips, 0..1;  pose (n 2 3) radians
    """

    row_of: dict[str, int]
    seen: NDArray[np.bool_]
    agreed: NDArray[np.bool_]
    box: NDArray[np.float64]
    shapes: NDArray[np.float64]
    pose: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> Taught:
        """From the file of teacher.py; raises `UsageError` for other blendshapes than MediaPipe's."""
        with np.load(path) as file:
            taught = {name: file[name] for name in file.files}
        if tuple(taught["blendshape_names"].tolist()) != BLENDSHAPES:
            raise UsageError(f"{path}: expected MediaPipe's 52 blendshapes in their order, got {taught['blendshape_names'].tolist()}")
        seen, pose = taught["found"], taught["pose"]
        return cls(
            row_of={name: i for i, name in enumerate(taught["names"].tolist())},
            seen=seen,
            agreed=seen.all(1) & (np.abs(pose[:, 0] - pose[:, 1]).max(1) < AGREEMENT),
            box=taught["box"],
            shapes=np.concatenate([taught["blendshapes"], taught["lip_gap"][:, :, None]], axis=2),
            pose=pose,
        )

    def box_of(self, row: int) -> NDArray[np.float64] | None:
        """(3) left, top and side in pixels: the mean of both views if they agree, else of the view with a face; None without one."""
        if not self.seen[row].any():
            return None
        return np.asarray(self.box[row].mean(0) if self.agreed[row] else self.box[row, int(np.argmax(self.seen[row]))])


def read_photographs(folder: Path, labels: Path) -> Photographs:
    """Parquet files (name, emotion, image) of a folder with the teacher's labels (see teacher.py), in order of name.

    Raises `UsageError` where the labels are not of these photographs.
    """
    import cv2
    import pandas

    taught = Taught.read(labels)
    images: list[Grey] = []
    columns: dict[str, list[object]] = {k: [] for k in ("source", "part", "box", "row", "expression")}
    known: dict[str, int] = {}
    for path in sorted(folder.glob("*.parquet")):
        table = pandas.read_parquet(path)
        for name, emotion, data in zip(table["name"], table["emotion"], table["image"], strict=True):
            if (key := f"{path.stem}:{name}") not in taught.row_of:
                raise UsageError(f"{labels}: expected a label of {key}, found none")
            grey = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
            emotion = NAMES.get(emotion, emotion)
            label = np.array([emotion == e for e in EMOTIONS], np.float32)
            digest = hashlib.sha256(grey.tobytes()).hexdigest()
            if digest in known:
                columns["expression"][known[digest]] += label  # type: ignore[operator]
                continue
            known[digest] = len(images)
            row = taught.row_of[key]
            columns["expression"].append(label)
            columns["source"].append(path.stem)
            columns["part"].append(part_of(digest))
            columns["row"].append(row)
            height, width = grey.shape
            scale = min(1.0, LONGEST_SIDE / max(height, width))
            box = taught.box_of(row)
            columns["box"].append(
                (np.array(DEFAULT_BOXES[path.stem]) * (width, height, max(width, height)) if box is None else box) * scale
            )
            images.append(
                np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else grey
            )

    rows = np.array(columns["row"])
    counts = np.array(columns["expression"], np.float32)
    with np.errstate(invalid="ignore"):
        expression = counts / counts.sum(1, keepdims=True)
    return Photographs(
        images=images,
        source=np.array(columns["source"]),
        part=np.array(columns["part"]),
        box=np.array(columns["box"], np.float32),
        seen=taught.agreed[rows],
        shapes=taught.shapes[rows].mean(1).astype(np.float32),
        views=taught.shapes[rows].astype(np.float32),
        pose=taught.pose[rows].mean(1).astype(np.float32),
        expression=expression,
    )


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and what in it may be a face: image (h w) grey, `taken` (k 4) left, top, right, bottom in pixels."""

    image: Grey
    taken: NDArray[np.float64]


def frames_of(path: Path, count: int) -> Iterator[NDArray[np.uint8]]:
    """Up to `count` frames (h w 3) RGB, evenly spread over the video."""
    import av

    with av.open(str(path)) as container:
        total = sum(1 for _ in container.decode(video=0))
    with av.open(str(path)) as container:
        wanted = set(np.linspace(0, total - 1, count).astype(int).tolist())
        for i, frame in enumerate(container.decode(video=0)):
            if i in wanted:
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def scenes_of_clip(path: Path, count: int = 6) -> list[Scene]:
    """Frames of a clip of talking heads; what the detector, with a low threshold, takes for a face in any of them is marked in all."""
    import cv2

    from emofuse.extractors.face.compact.detector import FaceDetector
    from emofuse.extractors.face.compact.extractor import DETECTOR

    images = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames_of(path, count)]
    detector = FaceDetector(DETECTOR, score=0.1)
    boxes = [(b.x - b.side, b.y - b.side, b.x + b.side, b.y + b.side) for image in images for b in detector(image)]
    taken = np.array(boxes, np.float64).reshape(-1, 4)
    return [Scene(image, taken) for image in images]


def textures() -> list[Scene]:
    """Pictures without a face that come with scikit-image and scikit-learn (both are installed with py-feat)."""
    import cv2
    import skimage
    import sklearn.datasets

    names = [
        "brick",
        "camera",
        "chelsea",
        "clock_motion",
        "coffee",
        "coins",
        "grass",
        "gravel",
        "horse",
        "hubble_deep_field",
        "ihc",
        "motorcycle_left",
        "moon",
        "page",
        "retina",
        "rocket",
        "text",
    ]
    folder = Path(skimage.__file__).parent / "data"
    paths = [p for name in names for p in sorted(folder.glob(f"{name}.*"))]
    paths += [Path(sklearn.datasets.__file__).parent / "images" / f"{name}.jpg" for name in ("china", "flower")]
    read = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    nothing = np.zeros((0, 4))
    return [Scene(np.asarray(image, np.uint8), nothing) for image in read if image is not None]
