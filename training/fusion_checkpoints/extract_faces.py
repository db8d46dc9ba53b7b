"""What the compact face network says of photographs under natural movement, and how real faces move while they talk.

    python -m training.fusion_checkpoints.extract_faces --data ../shared/data --clips ../shared/clips --out CACHE

Each photograph is looked at as the provider does it: at a box, again where the network says that the face is, then VIEWS times under
small movements of head and camera and, now and then, a poor camera. Writes CACHE/faces.npz: `values` (photographs, views, columns)
float32 in the provider's columns (pose, action units, expressions), `labels` (index into EMOTIONS), `source`, `part` (train,
validation, test: what the network did with the photograph, by the hash of its pixels), `share` (0..99, the same hash, so that a part
can be parted again), `network` (its SHA-256); and CACHE/talking.npz: streams of real talking faces (GRID, weekly addresses) less their
own mean: natural movement without a label. All photographs that the network did not train on are read, and at most MOST of each class
and source that it did.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas
from numpy.typing import NDArray

from emofuse.extractors.face.compact.detect import Box, crops
from emofuse.extractors.face.compact.extractor import WEIGHTS, Compact
from emofuse.extractors.face.compact.layout import AUS, CROP, NOMINAL, Read, activations
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.columns import HEAD_POSE
from emofuse.pipeline.streams import EMOTIONS

from ..face_network.distort import warp, webcam
from ..face_network.photographs import DEFAULT_BOXES, LONGEST_SIDE, NAMES, part_of

VIEWS = 3
MOST = 120
QUICK_PHOTOGRAPHS, QUICK_CLIPS = 6, 2
"""With --quick: so many photographs of each class, source and part, and so many talking clips of each source."""
ROUNDS = 1
COLUMNS = (*HEAD_POSE, *AUS, *EMOTIONS)
TALKING = ("grid/*.mpg", "talking/*.mp4")


def columns_of(provider: Compact, read: Read) -> NDArray[np.float32]:
    """(n 26) in the order of COLUMNS."""
    rest, high = provider.networks.rest, provider.networks.high
    return np.concatenate([read.pose[:, [0, 2, 1]], activations(read.shapes, rest, high), read.expression], axis=1)


def views(image: NDArray[np.uint8], box: Box, random: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Crops (c c) of one photograph (h w) of grey levels 0..255: small shifts, sizes and turns; a third of them through a poor camera."""
    crops = []
    camera = random.random() < 0.5
    for _ in range(VIEWS):
        dx, dy = random.normal(0, 0.025, 2) * box.side
        side = box.side * NOMINAL * np.exp(random.normal(0, 0.035))
        crop = warp(image, (box.x + dx, box.y + dy), side, CROP, random.normal(0, 0.06), bool(random.random() < 0.5), None)
        crops.append(webcam(crop, random) if camera and random.random() < 0.7 else crop)
    return crops


@dataclass
class Photos:
    """Photographs as grey pictures, each with its box, label, corpus, part and a number of 0 to 99 that its bytes give it."""

    images: list[NDArray[np.uint8]] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    shares: list[int] = field(default_factory=list)

    @property
    def groups(self) -> list[tuple[str, str]]:
        """Corpus and part of each."""
        return list(zip(self.sources, self.parts, strict=True))

    def add(self, grey: NDArray[np.uint8], label: int, source: str, part: str, share: int) -> None:
        """One picture (h w), scaled down to `LONGEST_SIDE`, with its corpus's usual box."""
        height, width = grey.shape
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        if scale < 1:
            grey = np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
            height, width = grey.shape
        x, y, side = DEFAULT_BOXES[source]
        self.images.append(grey)
        self.boxes.append(Box(x * width, y * height, side * max(width, height)))
        self.labels.append(label)
        self.sources.append(source)
        self.parts.append(part)
        self.shares.append(share)


def read_photos(folder: Path, quick: bool = False) -> Photos:
    """The photographs of a folder's tables, each once, at most `MOST` per corpus and emotion to train on."""
    photos, known = Photos(), set[str]()
    most: dict[str, int] = dict.fromkeys(("train", "validation", "test"), QUICK_PHOTOGRAPHS) if quick else {"train": MOST}
    taken: Counter[tuple[str, str, str]] = Counter()
    for path in sorted(folder.glob("*.parquet")):
        table = pandas.read_parquet(path).sample(frac=1, random_state=0)
        for emotion, data in zip(table["emotion"], table["image"], strict=True):
            name = NAMES.get(emotion, emotion)
            if name not in EMOTIONS:
                continue
            grey = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
            digest = hashlib.sha256(grey.tobytes()).hexdigest()
            part = part_of(digest)
            if digest in known or taken[path.stem, name, part] >= most.get(part, len(table)):
                continue
            known.add(digest)
            taken[path.stem, name, part] += 1
            photos.add(grey, EMOTIONS.index(name), path.stem, part, int(digest[:8], 16) % 10000 // 100)
    return photos


def look_at(photos: Photos, provider: Compact) -> NDArray[np.float32]:
    """(photographs views columns): what the network says of several views of each, once its box is corrected."""
    for _ in range(ROUNDS):
        for first in range(0, len(photos.images), 256):
            chunk = range(first, min(len(photos.images), first + 256))
            answers = provider.networks.read(crops((photos.images[i], photos.boxes[i]) for i in chunk))
            for i, off in zip(chunk, answers.box, strict=True):
                photos.boxes[i] = photos.boxes[i].corrected(*(float(v) for v in off))
    values = np.zeros((len(photos.images), VIEWS, len(COLUMNS)), np.float32)
    for i, (image, box) in enumerate(zip(photos.images, photos.boxes, strict=True)):
        shown = np.stack(views(image, box, np.random.default_rng([7, i])))
        values[i] = columns_of(provider, provider.networks.read(shown))
    return values


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "clips", "out"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--quick", action="store_true", help="a few photographs and clips: does it run, twice the same?")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    provider = Compact()

    photos = read_photos(options.data / "faces", options.quick)
    print(len(photos.images), Counter(photos.groups), flush=True)
    values = look_at(photos, provider)
    right = values[:, :, -len(EMOTIONS) :].mean(1).argmax(1) == np.array(photos.labels)
    for key in sorted(set(photos.groups)):
        here = np.array([group == key for group in photos.groups])
        print(key, here.sum(), "right", right[here].mean().round(3), flush=True)
    np.savez(
        options.out / "faces.npz",
        values=values,
        labels=photos.labels,
        source=photos.sources,
        part=photos.parts,
        share=photos.shares,
        columns=np.array(COLUMNS),
        network=hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
    )

    moves = []
    for pattern in TALKING:
        for clip in sorted(options.clips.glob(pattern))[: QUICK_CLIPS if options.quick else None]:
            stream = provider(Clip(clip), {}).select(COLUMNS)
            moves.append(stream.values)
            print(clip.name, len(stream), flush=True)
    np.savez(
        options.out / "talking.npz",
        values=np.concatenate(moves),
        lengths=[len(m) for m in moves],
        seconds_per_row=0.04,
        columns=np.array(COLUMNS),
    )


if __name__ == "__main__":
    main()
