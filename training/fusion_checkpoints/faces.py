"""Photographs as streams of a talking face, as a model reads them: nothing here ever stands still.

A photograph is known by what the network says of several views of it (extract_faces.py). A stream wanders between these
views, comes and goes between a neutral photograph's answers and this one's (an apex for part of the time, a ramp, a weak expression,
seldom the whole time), has a person's own offsets, and moves as real talking faces move (their answers less their mean). Expressions
are mixed as logarithms, action units and pose as they are. In a share of the streams (PLACED) the face is at rest but for one apex of a
tenth to three tenths of the time; where it lies is kept. Each stream comes with what is usual for its person: the mean of a second
stream with the same rest and offsets, three fifths of it at rest and the remainder another photograph's expression, believed as so
many utterances (OTHERS). What this cannot know: how one person's expression and voice go together in time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emofuse.fusion.preparation import Preparation
from emofuse.pipeline.columns import HEAD_POSE
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats32, Floats64

from .voices import Row, prepared

NEUTRAL = EMOTIONS.index("neutral")
NOT_NEUTRAL = EMOTIONS.index("happiness")
FRAME_SECONDS = 0.04
PLACED = 0.4
OTHERS, OTHERS_SHARES = (0, 1, 2, 3, 5, 10, 20), (0.35, 0.1, 0.1, 0.1, 0.15, 0.1, 0.1)
USUAL_FRAMES = 50
FLOOR = 1e-4
"""Of a probability, before its logarithm."""


@dataclass(frozen=True, eq=False)
class Stills:
    """Photographs: values (p v f) of v views, label (p), source (p), unseen (p): the network did not train on it; share (p) 0..99."""

    columns: tuple[str, ...]
    values: Floats32
    labels: NDArray[np.intp]
    source: NDArray[np.str_]
    part: NDArray[np.str_]
    share: NDArray[np.intp]

    def where(self, keep: NDArray[np.bool_]) -> Stills:
        """Those of the n that `keep` (n) marks."""
        return Stills(self.columns, self.values[keep], self.labels[keep], self.source[keep], self.part[keep], self.share[keep])

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """(p) whether the face network did not train on the photograph."""
        return np.asarray(self.part != "train")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Talking:
    """Real faces that talk: rows (n f) of each clip less the clip's mean, expressions as logarithms."""

    rows: tuple[Floats64, ...]


def read_stills(folder: Path) -> Stills:
    with np.load(folder / "faces.npz", allow_pickle=False) as data:
        columns = tuple(str(c) for c in data["columns"])
        return Stills(columns, data["values"], data["labels"].astype(np.intp), data["source"], data["part"], data["share"].astype(np.intp))


def read_talking(folder: Path) -> Talking:
    with np.load(folder / "talking.npz", allow_pickle=False) as data:
        rows = np.split(logarithms(data["values"]), np.cumsum(data["lengths"])[:-1])
    return Talking(tuple(r - r.mean(0) for r in rows))


def logarithms(values: Floats32) -> Floats64:
    """(... 26) with the seven expressions, the last columns, as logarithms."""
    made = values.astype(np.float64)
    made[..., -len(EMOTIONS) :] = np.log(np.maximum(made[..., -len(EMOTIONS) :], FLOOR))
    return made


def probabilities(values: Floats64) -> Floats32:
    """(n f) logarithms -> (n f): expressions become probabilities that sum to 1, action units lie within 0..1."""
    made = values.copy()
    raised = np.exp(made[:, -len(EMOTIONS) :] - made[:, -len(EMOTIONS) :].max(1, keepdims=True))
    made[:, -len(EMOTIONS) :] = raised / raised.sum(1, keepdims=True)
    units = slice(len(HEAD_POSE), -len(EMOTIONS))
    made[:, units] = np.clip(made[:, units], 0, 1)
    return made.astype(np.float32)


def knots(n: int, every: float, random: np.random.Generator) -> tuple[Floats64, NDArray[np.intp]]:
    """(k) frames at which something changes, about `every` frames apart, from 0 to n - 1; and their numbers (k)."""
    count = max(2, round(n / every) + 1)
    inner = np.sort(random.uniform(0, n - 1, count - 2))
    return np.concatenate([[0], inner, [max(1, n - 1)]]), np.arange(count)


def wandering(views: Floats64, n: int, random: np.random.Generator) -> Floats64:
    """(v f) views -> (n f): straight lines between views drawn every half second or so."""
    at, which = knots(n, random.uniform(8, 20), random)
    drawn = views[random.integers(len(views), size=len(which))]
    frames = np.arange(n)
    below = np.clip(np.searchsorted(at, frames, "right") - 1, 0, len(at) - 2)
    share = ((frames - at[below]) / np.maximum(1e-9, at[below + 1] - at[below])).clip(0, 1)[:, None]
    return np.asarray(drawn[below] * (1 - share) + drawn[below + 1] * share)


def strength(n: int, random: np.random.Generator) -> Floats64:
    """(n) 0..1: how much of the expression is there."""
    kind = random.random()
    high = random.uniform(0.7, 1.0) if random.random() < 0.6 else random.uniform(0.3, 0.7)
    low = random.uniform(0.0, 0.5) * high
    frames = np.linspace(0, 1, n)
    if kind < 0.3:  # all the time
        return np.full(n, high)
    if kind < 0.55:  # comes or goes
        middle, width = random.uniform(0.1, 0.7), random.uniform(0.1, 0.5)
        rise = ((frames - middle) / width).clip(0, 1)
        return low + (high - low) * (rise if random.random() < 0.7 else rise[::-1])
    centre, width = random.uniform(0.2, 0.8), random.uniform(0.15, 0.5)  # comes and goes
    return low + (high - low) * (1.3 - np.abs(frames - centre) / width).clip(0, 1)


def apex(n: int, random: np.random.Generator) -> tuple[Floats64, tuple[int, int]]:
    """(n) 0..1: hardly anything but for one apex; and its frames, from one to before another."""
    size = max(2, round(n * random.uniform(0.1, 0.3)))
    first = int(random.integers(n - size + 1))
    made = np.full(n, random.uniform(0.0, 0.1))
    made[first : first + size] = random.uniform(0.75, 1.0)
    made[[first, first + size - 1]] *= 0.6  # it comes and goes, if quickly
    return made, (first, first + size)


def offset_of(width: int, random: np.random.Generator) -> Floats64:
    """(f) a person's own offsets."""
    offset = np.asarray(random.standard_normal(width))
    offset[: len(HEAD_POSE)] *= 0.08
    offset[len(HEAD_POSE) : -len(EMOTIONS)] *= 0.05
    offset[-len(EMOTIONS) :] *= 0.45
    return offset


def stream_of(
    views: Floats64,
    rest: Floats64,
    label: int,
    talking: Talking,
    n: int,
    random: np.random.Generator,
    share: Floats64 | None = None,
    offset: Floats64 | None = None,
) -> Floats32:
    """(n f) frames in the provider's columns. views (v f) of the photograph, rest (v f) of a neutral one, both with logarithms; `share`
    (n) how much of the expression is there and `offset` (f) the person's own, drawn where they are not given."""
    rows = wandering(views, n, random)
    if label != NEUTRAL:
        share = (strength(n, random) if share is None else share)[:, None]
        # head pose is not part of an expression: it stays this person's
        still = wandering(rest, n, random)
        mixed = share * rows + (1 - share) * still
        rows = np.concatenate([rows[:, : len(HEAD_POSE)], mixed[:, len(HEAD_POSE) :]], axis=1)
    offset = offset_of(rows.shape[1], random) if offset is None else offset
    movement = talking.rows[int(random.integers(len(talking.rows)))]
    first = int(random.integers(max(1, len(movement) - n)))
    taken = movement[first : first + n]
    taken = np.concatenate([taken] * (n // max(1, len(taken)) + 1))[:n]
    return probabilities(rows + offset + random.uniform(0.3, 1.2) * taken)


def streams(
    stills: Stills, talking: Talking, preparation: Preparation, copies: int, random: np.random.Generator
) -> tuple[list[Row], NDArray[np.intp]]:
    """`copies` streams of 1.2 to 5 seconds of each photograph, and which photograph each is of (m)."""
    values = logarithms(stills.values)
    calm = np.flatnonzero(stills.labels == NEUTRAL)
    rows: list[Row] = []
    index: list[int] = []
    for _ in range(copies):
        for i in range(len(stills)):
            n = int(np.exp(random.uniform(np.log(30), np.log(125))))
            rest, label = values[int(random.choice(calm))], int(stills.labels[i])
            offset, share, frames = offset_of(values.shape[2], random), None, None
            if label != NEUTRAL and random.random() < PLACED:
                share, frames = apex(n, random)
            made = stream_of(values[i], rest, label, talking, n, random, share, offset)
            row = prepared(made, stills.columns, preparation, "face", FRAME_SECONDS)
            others = int(random.choice(OTHERS, p=OTHERS_SHARES))
            usual = usual_of(values, rest, offset, talking, random) if others else None
            rows.append(
                replace(
                    row,
                    evidence=None if frames is None else (frames[0] * FRAME_SECONDS, frames[1] * FRAME_SECONDS),
                    usual=None
                    if usual is None
                    else np.asarray(prepared(usual, stills.columns, preparation, "face", FRAME_SECONDS).values.mean(0), np.float32),
                    others=others,
                )
            )
            index.append(i)
    return rows, np.array(index, np.intp)


def usual_of(values: Floats64, rest: Floats64, offset: Floats64, talking: Talking, random: np.random.Generator) -> Floats32:
    """(n f) frames of the same person at other times: mostly at rest, and some of another photograph's expression.

    `values` (v f) are the other photographs', `rest` and `offset` (f).
    """
    share = np.where(np.arange(USUAL_FRAMES) < 0.6 * USUAL_FRAMES, 0.0, random.uniform(0.3, 0.9))
    other = values[int(random.integers(len(values)))]
    return stream_of(other, rest, NOT_NEUTRAL, talking, USUAL_FRAMES, random, share, offset)
