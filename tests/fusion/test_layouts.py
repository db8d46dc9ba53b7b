"""Pickles as MulT's authors publish them, made here in their exact layout, through every recipe that reads them: train, then evaluate.

Types as published (float32 rows, float64 voice, labels (n 1 1) or (n 4 2), byte strings and numbers in `id`), left padding with zeros, -inf
in the voice, and the module name that either numpy 1 or numpy 2 writes.
"""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.fusion.datasets import FORMATS
from emofuse.fusion.datasets.examples import Dataset, Source
from emofuse.fusion.evaluate import evaluate
from emofuse.fusion.recipe import Recipe, find
from emofuse.fusion.train import train
from emofuse.pipeline.errors import DatasetError

RECIPES = [f"{data}-{model}" for data in ("mosi", "mosei", "iemocap") for model in ("mult", "pmr", "mcr")]
NUMPY = {"numpy 1": b"numpy.core.multiarray", "numpy 2": b"numpy._core.multiarray"}
SIZES = {"train": 6, "valid": 3, "test": 4}
ROWS = {"noalign": (6, 14, 18), "aligned": (8, 8, 8)}


def split_of(recipe: Recipe, size: int, rows: tuple[int, int, int], random: np.random.Generator) -> dict[str, Any]:
    """One split: padded on the left, the second utterance by more than the first."""
    found: dict[str, Any] = {}
    for key, stream, n in zip(("text", "audio", "vision"), ("text", "voice", "face"), rows, strict=True):
        values = random.normal(size=(size, n, recipe.streams[stream].width)).astype(np.float64 if key == "audio" else np.float32)
        for i in range(size):
            values[i, : i % 4] = 0
        found[key] = values
    found["audio"][1, -1, 0] = -np.inf
    if recipe.name.startswith("iemocap"):
        found["labels"] = np.eye(2, dtype=np.int64)[random.integers(0, 2, (size, 4))]
    else:
        found["labels"] = random.uniform(-3, 3, (size, 1, 1))
        found["id"] = np.array([[f"video{i % 3}".encode(), str(i).encode(), str(i + 1).encode()] for i in range(size)], object)
    return found


def written(recipe: Recipe, path: Path, rows: tuple[int, int, int], module: bytes) -> Path:
    """The three splits as one pickle, in which numpy's own functions stand under `module`."""
    random = np.random.default_rng(8)
    content = pickle.dumps({split: split_of(recipe, size, rows, random) for split, size in SIZES.items()}, protocol=2)
    mine = next(name for name in NUMPY.values() if name in content)
    path.write_bytes(content.replace(mine, module))  # protocol 2 ends a module's name with a line, so its length may change
    assert module in path.read_bytes() and (mine == module or mine not in path.read_bytes())
    return path


def loaded(recipe: Recipe, path: Path) -> Dataset:
    return FORMATS[recipe.data.form](Source(path, {name: part.source for name, part in recipe.streams.items()}))


@pytest.mark.parametrize("module", NUMPY)
@pytest.mark.parametrize("alignment", ROWS)
def test_both_numpys_files_are_read_alike(tmp_path: Path, alignment: str, module: str) -> None:
    recipe = find("mosi-mult")
    dataset = loaded(recipe, written(recipe, tmp_path / "mosi.pkl", ROWS[alignment], NUMPY[module]))
    assert {split: sum(e.split == split for e in dataset.examples) for split in SIZES} == SIZES
    second = dataset.examples[1]
    assert {m: len(s) for m, s in second.streams.items()} == {m: n - 1 for m, n in zip(second.streams, ROWS[alignment], strict=True)}
    assert np.isnan(second.streams["voice"].values[-1, 0])
    assert dataset.notes["voice: values that were not finite"] == 3  # one in each split
    assert (second.name.startswith("video1"), second.speaker) == (True, "video1")


def test_another_recipes_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = written(find("mosei-mult"), tmp_path / "mosei.pkl", ROWS["noalign"], NUMPY["numpy 2"])
    recipe = find("mosi-mult")
    with pytest.raises(DatasetError, match="voice: the recipe wants 5 columns, the data have 74"):
        train(recipe, loaded(recipe, path), tmp_path / "run", device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("alignment", ROWS)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_on_its_file_and_is_scored_in_both_conventions(tmp_path: Path, name: str, alignment: str) -> None:
    recipe = find(name)
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, epochs=1))
    module = list(NUMPY.values())[len(name) % 2]
    dataset = loaded(recipe, written(recipe, tmp_path / "data.pkl", ROWS[alignment], module))
    train(recipe, dataset, tmp_path / "run", device="cpu")
    found = evaluate(tmp_path / "run", dataset, device="cpu")
    (task,) = found.tasks.values()
    if name.startswith("iemocap"):
        for column in ("scores", "baseline"):
            labels = {one["label"]: one for one in task[column]["labels"]}
            assert set(labels) == {"neutral", "happiness", "sadness", "anger"}
            assert all({"accuracy", "weighted_f1"} <= set(one) for one in labels.values())
    else:
        for column in ("scores", "baseline"):
            assert {"acc2_non_zero", "acc2_has_zero", "f1_non_zero", "f1_has_zero", "f1_mult", "acc7", "mae"} <= set(task[column])
        assert {"acc2_non_zero", "mae"} <= set(task["intervals"]) and found.speakers == 3
    assert (tmp_path / "run" / "confusion_test.png").stat().st_size > 0
