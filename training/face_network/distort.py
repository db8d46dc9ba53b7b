"""Crops for training, distorted towards webcams: off-centre, turned, blurred, dark, compressed, small; and crops without a face.

Conventions as in network.py; everything is drawn from a generator that the caller seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emofuse.extractors.face.compact.layout import CROP, MIRRORED, NOMINAL, SHAPES
from emofuse.pipeline.timed import Floats32

from .photographs import Grey, Photographs, Scene

SHIFT = 0.07
LOG_SIDE = 0.09
TURN = np.deg2rad(11)
LARGEST_TURN = np.deg2rad(32)


@dataclass(frozen=True, eq=False)
class Batch:
    """b crops (b s s) uint8 and what is to be said of them; NaN where nobody knows. Photographs first, then crops without a face."""

    crops: NDArray[np.uint8]
    shapes: Floats32
    pose: Floats32
    box: Floats32
    expression: Floats32
    face: Floats32


def warp(image: Grey, centre: tuple[float, float], side: float, size: int, turn: float, mirror: bool, background: Grey | None) -> Grey:
    """The square of `side` pixels around `centre`, turned by `turn` radians (counter-clockwise on the screen), mirrored, at size x size.

    Outside of the picture its border is repeated, or `background` (size size) shows through.
    """
    import cv2

    step = side / size
    cos, sin = np.cos(turn) * step, np.sin(turn) * step
    # crop offset -> picture offset: the inverse of turning the content counter-clockwise, then of mirroring
    linear = np.diag([-1.0 if mirror else 1.0, 1.0]) @ np.array([[cos, -sin], [sin, cos]])
    middle = (size - 1) / 2
    offset = np.array(centre) - 0.5 - linear @ (middle, middle)
    matrix = np.concatenate([linear, offset[:, None]], axis=1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if background is None:
        return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    drawn = background.copy()
    cv2.warpAffine(image, matrix, (size, size), dst=drawn, flags=flags, borderMode=cv2.BORDER_TRANSPARENT)
    return drawn


def off_face(scenes: list[Scene], size: int, random: np.random.Generator) -> Grey:
    """(size size) a square without a face, of any size from anywhere in any scene."""
    import cv2

    for _ in range(20):
        scene = scenes[random.integers(len(scenes))]
        height, width = scene.image.shape
        side = min(height, width) * np.exp(random.uniform(np.log(0.1), np.log(0.95)))
        left, top = random.uniform(0, width - side), random.uniform(0, height - side)
        across = np.minimum(scene.taken[:, 2], left + side) - np.maximum(scene.taken[:, 0], left)
        down = np.minimum(scene.taken[:, 3], top + side) - np.maximum(scene.taken[:, 1], top)
        if not ((across > 0) & (down > 0)).any():
            part = scene.image[int(top) : int(top + side) + 1, int(left) : int(left + side) + 1]
            return np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR), np.uint8)
    return np.full((size, size), random.integers(0, 256), np.uint8)


def patch(scenes: list[Scene], size: int, random: np.random.Generator) -> Grey:
    """(size size) what may lie behind a face or instead of one: mostly off-face squares, now and then noise and ramps."""
    kind = random.random()
    if kind < 0.04:
        return random.integers(0, 256, (size, size), dtype=np.uint8)
    if kind < 0.08:
        ramp = np.add.outer(random.normal(0, 1.5) * np.arange(size), random.normal(0, 1.5) * np.arange(size)) + random.uniform(40, 200)
        return np.asarray(np.clip(ramp + random.normal(0, random.uniform(0, 8), (size, size)), 0, 255), np.uint8)
    return off_face(scenes, size, random)


def webcam(crop: Grey, random: np.random.Generator) -> Grey:
    """The crop (c c) as a poor camera would give it: light, blur, few pixels, noise, compression, something in front."""
    import cv2

    size = len(crop)
    draw = random.random(7)
    if draw[0] < 0.5:
        table = 255 * (np.arange(256) / 255) ** np.exp(random.normal(0, 0.35))
        crop = np.asarray(
            cv2.LUT(crop, np.clip(table * random.uniform(0.5, 1.3) + random.uniform(-15, 30), 0, 255).astype(np.uint8)), np.uint8
        )
    if draw[1] < 0.3:
        angle, depth = random.uniform(0, 2 * np.pi), random.uniform(0.1, 0.6)
        axis = np.linspace(-1, 1, size, dtype=np.float32)
        light = 1 + depth * (np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None]) / 1.4
        crop = np.clip(crop * light, 0, 255).astype(np.uint8)
    if draw[2] < 0.1:
        width, height = (random.uniform(0.1, 0.4, 2) * size).astype(int) + 1
        left, top = random.integers(0, size - width), random.integers(0, size - height)
        crop = crop.copy()
        crop[top : top + height, left : left + width] = random.integers(0, 256)
    if draw[3] < 0.2:
        crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), random.uniform(0.4, 1.6)), np.uint8)
    if draw[4] < 0.2:
        few = int(size * random.uniform(0.3, 0.8))
        crop = np.asarray(cv2.resize(cv2.resize(crop, (few, few), interpolation=cv2.INTER_AREA), (size, size)), np.uint8)
    if draw[5] < 0.2:
        noise = random.normal(0, random.uniform(2, 10), crop.shape)
        crop = np.clip(crop + noise, 0, 255).astype(np.uint8)
    if draw[6] < 0.15:
        ok, coded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(15, 80))])
        crop = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8) if ok else crop
    return crop


def near_miss(photographs: Photographs, size: int, random: np.random.Generator) -> Grey:
    """(size size) a crop beside a face, or of a small part of one: what a tracker sees when it has lost its face."""
    i = int(random.integers(len(photographs)))
    x, y, side = (float(v) for v in photographs.box[i])
    if random.random() < 0.6:
        angle, far = random.uniform(0, 2 * np.pi), random.uniform(0.75, 1.2)
        centre, seen = (x + far * side * np.cos(angle), y + far * side * np.sin(angle)), side * random.uniform(0.6, 1.2)
    else:
        centre, seen = (x + side * random.uniform(-0.4, 0.4), y + side * random.uniform(-0.4, 0.4)), side * random.uniform(0.15, 0.3)
    return warp(photographs.images[i], centre, seen, size, random.normal(0, TURN), random.random() < 0.5, None)


def distorted(
    photographs: Photographs, index: NDArray[np.intp], scenes: list[Scene], without: int, size: int, random: np.random.Generator
) -> Batch:
    """The photographs `index` (n), each distorted anew, and `without` crops that hold no face; pictures (n + without, size, size)."""
    chosen = photographs.where_index(index)
    b = len(index)
    box = np.full((b + without, 3), np.nan, np.float32)
    shapes = np.full((b + without, len(SHAPES)), np.nan, np.float32)
    pose = np.full((b + without, 3), np.nan, np.float32)
    expression = np.full((b + without, chosen.expression.shape[1]), np.nan, np.float32)
    drawn = np.empty((b + without, size, size), np.uint8)
    shifts = random.normal(0, SHIFT, (b, 2))
    logs = random.normal(0, LOG_SIDE, b)
    turns = np.clip(random.normal(0, TURN, b), -LARGEST_TURN, LARGEST_TURN)
    mirrors = random.random(b) < 0.5
    for i in range(b):
        x, y, side = (float(v) for v in chosen.box[i])
        seen = side * float(np.exp(logs[i]))
        centre = (x + float(shifts[i, 0]) * seen, y + float(shifts[i, 1]) * seen)
        background = patch(scenes, size, random) if random.random() < 0.4 else None
        crop = warp(chosen.images[i], centre, NOMINAL * seen, size, float(turns[i]), bool(mirrors[i]), background)
        drawn[i] = webcam(crop, random)
    # where the face's centre lies in the turned and mirrored crop
    away = -shifts * np.stack([np.where(mirrors, -1, 1), np.ones(b)], 1)
    cos, sin = np.cos(turns), np.sin(turns)
    box[:b, 0] = cos * away[:, 0] + sin * away[:, 1]
    box[:b, 1] = -sin * away[:, 0] + cos * away[:, 1]
    box[:b, 2] = -logs
    box[:b][~chosen.seen] = np.nan
    shapes[:b] = np.where(mirrors[:, None], chosen.shapes[:, MIRRORED], chosen.shapes)
    pose[:b] = chosen.pose * np.where(mirrors[:, None], (1, -1, -1), (1, 1, 1))
    pose[:b, 2] += turns
    shapes[:b][~chosen.seen] = np.nan
    pose[:b][~chosen.seen] = np.nan
    expression[:b] = chosen.expression
    for i in range(b, b + without):
        drawn[i] = webcam(near_miss(photographs, size, random) if random.random() < 0.3 else patch(scenes, size, random), random)
    face = np.concatenate([np.ones(b, np.float32), np.zeros(without, np.float32)])
    return Batch(drawn, shapes, pose, box, expression, face)


def centred(photographs: Photographs, size: int = CROP) -> NDArray[np.uint8]:
    """(n size size): each photograph's face as the teacher boxed it, undistorted."""
    out = [
        warp(image, (float(x), float(y)), NOMINAL * float(side), size, 0.0, False, None)
        for image, (x, y, side) in zip(photographs.images, photographs.box, strict=True)
    ]
    return np.asarray(out, np.uint8)
