"""Event files: written beside metrics.csv where the package tensorboard is installed, with the same numbers."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from emofuse.fusion.datasets.examples import Dataset, Example
from emofuse.fusion.recipe import Recipe
from emofuse.fusion.train import train
from emofuse.pipeline.timed import Provenance, TimedSequence

needs_tensorboard = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="the package tensorboard is not installed")
RECIPE = {
    "name": "tiny",
    "data": {"form": "streams"},
    "streams": {"voice": {}},
    "tasks": {"sentiment": {"kind": "regress"}},
    "model": {"name": "late-lstm", "hidden": 4},
    "training": {"epochs": 3, "batch": 4, "rate": 0.01},
}


def data() -> Dataset:
    random = np.random.default_rng(0)
    start = np.arange(4.0)
    examples = []
    for i in range(12):
        values = random.normal(size=(4, 2)).astype(np.float32)
        voice = TimedSequence("voice", ("a", "b"), values, start, start + 1, Provenance("test", "1"))
        examples.append(Example(f"u{i}", {"voice": voice}, {"sentiment": float(values.mean())}, ("train", "valid", "test")[i % 3]))
    return Dataset("tiny", tuple(examples))


@needs_tensorboard
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_event_files_hold_the_numbers_of_the_metrics(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    said: list[str] = []
    train(Recipe.of(RECIPE, "test"), data(), tmp_path, device="cpu", say=said.append)
    assert said == []
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for key in ("train_loss", "valid_loss", "sentiment_mae"):
        scalars = events.Scalars(f"all/{key}")
        assert [event.step for event in scalars] == [1, 2, 3]
        assert [event.value for event in scalars] == pytest.approx([float(row[key]) for row in rows], rel=1e-6)


def test_without_the_package_a_line_says_so_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # importing it raises ImportError
    said: list[str] = []
    train(Recipe.of(RECIPE, "test"), data(), tmp_path, device="cpu", say=said.append)
    assert len(said) == 1 and "tensorboard is not installed" in said[0]
    assert not (tmp_path / "tensorboard").exists()
    assert (tmp_path / "metrics.csv").is_file()
