"""RAVDESS voices as utterances: cut to where there is voice, a little different each time, prepared as a model reads them.

A voice's rows are COVAREP's, one every 10 ms (extract_voices.py). Variation is drawn on these rows, before preparation:
speed, level, a constant on every cepstral coefficient (another microphone or room), pitch (another throat), air around the voice, and
now and then two clips of one actor and emotion in a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emofuse.fusion.preparation import Preparation
from emofuse.pipeline.ports import EMOTIONS
from emofuse.pipeline.timed import Floats32, Floats64, Provenance, TimedSequence

ROW_SECONDS = 0.01
RAVDESS = ("neutral", "neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
"""Emotions 01 to 08 of a file's name; calm (02) counts as neutral."""
MARGIN = 0.2


@dataclass(frozen=True, eq=False)
class Voices:
    """Clips, copies apart: rows of each (n f), what its name says, which distorted copy it is (0: the clip itself)."""

    columns: tuple[str, ...]
    rows: tuple[Floats32, ...]
    names: tuple[str, ...]
    copies: tuple[int, ...]

    @property
    def labels(self) -> NDArray[np.intp]:
        return np.array([EMOTIONS.index(RAVDESS[int(name.split("-")[2]) - 1]) for name in self.names], np.intp)

    @property
    def actors(self) -> NDArray[np.intp]:
        return np.array([int(name.split("-")[6]) for name in self.names], np.intp)

    @property
    def statements(self) -> NDArray[np.intp]:
        """0 or 1: which of the two sentences is spoken."""
        return np.array([int(name.split("-")[4]) - 1 for name in self.names], np.intp)

    @property
    def kinds(self) -> NDArray[np.str_]:
        """Sex and intensity: "female normal" ("strong" has no neutral)."""
        parts = [name.split("-") for name in self.names]
        return np.array([f"{'male' if int(p[6]) % 2 else 'female'} {'normal' if p[3] == '01' else 'strong'}" for p in parts])

    def where(self, keep: NDArray[np.bool_]) -> Voices:
        index = np.flatnonzero(keep)
        return Voices(
            self.columns,
            tuple(self.rows[i] for i in index),
            tuple(self.names[i] for i in index),
            tuple(self.copies[i] for i in index),
        )


def read_voices(folder: Path) -> Voices:
    """Every voice_{copy}.npz of a folder."""
    rows: list[Floats32] = []
    names: list[str] = []
    copies: list[int] = []
    columns: tuple[str, ...] = ()
    for path in sorted(folder.glob("voice_[0-9].npz")):
        with np.load(path, allow_pickle=False) as data:
            columns = tuple(str(c) for c in data["columns"])
            rows += np.split(data["values"], np.cumsum(data["lengths"])[:-1])
            names += [str(n) for n in data["names"]]
            copies += [int(path.stem[-1])] * len(data["names"])
    return Voices(columns, tuple(rows), tuple(names), tuple(copies))


def spoken(rows: Floats32, columns: tuple[str, ...], before: float = MARGIN, after: float = MARGIN) -> Floats32:
    """The rows from the first voiced one to the last, and so many seconds of air; all rows where none is voiced for long."""
    voiced = np.flatnonzero(np.convolve(rows[:, columns.index("VUV")] > 0.5, np.ones(5), "same") >= 3)
    if not len(voiced):
        return rows
    first = max(0, voiced[0] - round(before / ROW_SECONDS))
    return rows[first : voiced[-1] + 1 + round(after / ROW_SECONDS)]


def varied(rows: Floats32, columns: tuple[str, ...], random: np.random.Generator) -> Floats32:
    """The same words by another speed, distance, microphone and throat."""
    cut = spoken(rows, columns, *random.uniform(0.0, 0.5, 2))
    speed = np.exp(random.normal(0, 0.12))
    index = np.minimum((np.arange(max(2, int(len(cut) / speed))) * speed).astype(int), len(cut) - 1)
    made = cut[index].copy()
    envelope = [columns.index(f"MCEP_{i}") for i in range(25)]
    colour = random.normal(0, 1, 25) * 0.3 / np.sqrt(np.arange(25) + 1)
    colour[0] = random.normal(0, 1.2)  # level, natural logarithm: 10 dB
    made[:, envelope] += colour.astype(np.float32)
    made[:, columns.index("F0")] *= 2 ** random.normal(0, 0.12)
    return np.asarray(made, np.float32)


@dataclass(frozen=True, eq=False)
class Row:
    """One prepared stream: values (m g) float16, before standardisation; middles (m) and length in seconds from the utterance's start."""

    values: NDArray[np.float16]
    times: Floats64
    seconds: float


def prepared(rows: Floats32, columns: tuple[str, ...], preparation: Preparation, stream: str, row_seconds: float = ROW_SECONDS) -> Row:
    """Rows at an even rate, from second 0 on, as a model reads them."""
    start: Floats64 = np.arange(len(rows), dtype=np.float64) * row_seconds
    found = preparation.prepare(TimedSequence(stream, columns, rows, start, start + row_seconds, Provenance("composed", "1"))).rows
    return Row(found.values.astype(np.float16), (found.start + found.end) / 2, len(rows) * row_seconds)


def plain_voices(voices: Voices, preparation: Preparation) -> list[Row]:
    """Each clip as it is, cut as `emofuse analyze` cuts it."""
    return [prepared(spoken(rows, voices.columns), voices.columns, preparation, "voice") for rows in voices.rows]


def varied_voices(voices: Voices, preparation: Preparation, copies: int, random: np.random.Generator) -> tuple[list[Row], NDArray[np.intp]]:
    """`copies` variations of each clip, and which clip each is of."""
    labels, actors = voices.labels, voices.actors
    found: list[Row] = []
    index: list[int] = []
    for _ in range(copies):
        for i in range(len(voices.rows)):
            rows = varied(voices.rows[i], voices.columns, random)
            if random.random() < 0.15:
                others = np.flatnonzero((labels == labels[i]) & (actors == actors[i]))
                rows = np.concatenate([rows, varied(voices.rows[int(random.choice(others))], voices.columns, random)])
            found.append(prepared(rows, voices.columns, preparation, "voice"))
            index.append(i)
    return found, np.array(index, np.intp)
