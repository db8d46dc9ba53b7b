"""Made-up data of CMU-MOSI's size for a recipe, to try an experiment without the data: 1,284 / 229 / 686 utterances of at most 50 words,
375 voice and 500 face rows. Scores on them say nothing about people.

Each utterance draws a mood per stream. The sentiment is the sum of text's and voice's, the latter halved where the face's is low; labels
of every other kind follow from it. A mood shows in the first two columns of some rows; all other columns are noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emofuse.pipeline.timed import Provenance, TimedSequence

from ..recipe import Recipe
from .examples import Dataset, Example

SIZES = {"train": 1284, "valid": 229, "test": 686}
ROWS = {"text": 50, "voice": 375, "face": 500}
WIDTH = 20
SECONDS = 25.0
SPEAKERS = 89
EVERY = "one utterance of"
"""The note of a dataset of which only every so many utterances were made."""


def made_up(recipe: Recipe, seed: int = 0, sizes: Mapping[str, int] = SIZES, every: int = 1) -> Dataset:
    """An example for each utterance, with the recipe's streams, widths and labels; drawn from `seed`. sizes: utterances per split, of which
    the first of each `every` are made: the same as among all of them."""
    examples = []
    number = 0
    for split, size in sizes.items():
        for i in range(size):
            number += 1
            if i % every:
                continue
            examples.append(_example(recipe, f"{split}_{i}", split, f"s{number % SPEAKERS:02}", np.random.default_rng((seed, number))))
    notes = {"data": "made up; scores say nothing about people"}
    return Dataset("made-up data", tuple(examples), notes | ({EVERY: every} if every > 1 else {}))


def _example(recipe: Recipe, name: str, split: str, speaker: str, random: np.random.Generator) -> Example:
    moods = {m: float(random.normal()) for m in ROWS}
    part = float(random.uniform(0.3, 1.0))
    streams = {}
    for stream, wanted in recipe.streams.items():
        columns = wanted.columns or tuple(f"{stream}_{j}" for j in range(wanted.width or WIDTH))
        streams[stream] = _stream(stream, columns, moods.get(stream, 0.0), part, random)
    sentiment = moods["text"] + moods["voice"] * (1.0 if moods["face"] > -0.5 else 0.5)
    return Example(name, streams, _labels(recipe, float(np.clip(sentiment, -3, 3))), split, speaker)


def _stream(name: str, columns: tuple[str, ...], mood: float, part: float, random: np.random.Generator) -> TimedSequence:
    n = max(3, round(ROWS.get(name, 50) * part))
    values = random.normal(size=(n, len(columns))).astype(np.float32)
    shown = random.random(n) < 0.3
    values[shown, 0] += 2 * mood
    values[shown, min(1, len(columns) - 1)] += 1.0
    step = SECONDS * part / n
    start = np.arange(n, dtype=np.float64) * step
    return TimedSequence(name, columns, values, start, start + step, Provenance("made up", "1"))


def _labels(recipe: Recipe, sentiment: float) -> dict[str, float | str]:
    """Every task's label: bands of the sentiment, one for each class."""
    labels: dict[str, float | str] = {}
    for name, task in recipe.tasks.items():
        column = task.column or name
        if task.kind == "regress":
            labels[column] = sentiment
            continue
        band = min(len(task.labels) - 1, int((sentiment + 3) / 6 * len(task.labels)))
        if task.kind == "classes":
            back = {ours: theirs for theirs, ours in task.rename.items()}
            labels[column] = back.get(task.labels[band], task.labels[band])
        else:
            labels |= {label: (1.0 + abs(sentiment) / 3) if k == band else 0.0 for k, label in enumerate(task.labels)}
    return labels
