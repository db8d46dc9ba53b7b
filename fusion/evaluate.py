"""A trained run against a split: every score, answers without a model beside it, and intervals over speakers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emofuse.pipeline.errors import CheckpointError, DatasetError
from emofuse.pipeline.metrics import bootstrap

from .checkpoints import load
from .datasets.examples import Dataset
from .recipe import Recipe
from .run_folder import BEST, RECIPE, plain
from .tasks import split_logits, tasks_of
from .train import chosen_device, confusion_picture
from .training_data import in_order, parts_of

DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Evaluation:
    """split, utterances, and by task: scores, baseline (the training mean or majority), intervals of the headline scores (95 %, over
    speakers where the data name them, else over utterances)."""

    split: str
    utterances: int
    speakers: int
    tasks: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def run_recipe(run: Path) -> Recipe:
    """The recipe that a run was made with; raises `CheckpointError` where the folder is no run."""
    path = run / RECIPE
    try:
        return Recipe.of(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected the recipe of a run that `emofuse train` made: {error}") from None


def evaluate(run: Path, dataset: Dataset, *, split: str = "test", device: str = "auto", seed: int = 1) -> Evaluation:
    """`run` is a run folder. Writes evaluation_SPLIT.json and confusion_SPLIT.png into it.

    Raises `CheckpointError`, or `DatasetError` where the data do not fit the model.
    """
    recipe = run_recipe(run)
    checkpoint, module = load(run / BEST)
    tasks, place = tasks_of(recipe.tasks), chosen_device(device)
    parts = parts_of(recipe, dataset, tasks)
    part = parts[split]
    if not len(part):
        raise DatasetError(f"{dataset.name}: no utterance in {split}")
    for streams in part.streams:
        for name, wanted in checkpoint.streams.items():
            if streams[name].columns != wanted.columns:
                raise DatasetError(f"{dataset.name}: {name}: the model reads {len(wanted.columns)} columns, the data have others")
    module = module.to(place)
    with torch.inference_mode():
        logits = torch.cat([module(part.batch(index, checkpoint.streams, place)).logits.cpu() for index in in_order(len(part))])
    by_task = split_logits(tasks, logits)
    named = all(part.speakers)
    speakers = part.speakers if named else part.names
    found: dict[str, Any] = {}
    for name, task in tasks.items():
        answers, truth = task.answers(by_task[name]), part.targets[name].numpy()
        nothing = task.baseline(parts["train"].targets[name], len(part))
        intervals = {
            key: dataclasses.asdict(bootstrap(metric, truth, answers, speakers, seed=seed, draws=DRAWS))
            for key, metric in task.headline().items()
        }
        found[name] = {
            "scores": task.scores(part.targets[name], answers),
            "baseline": task.scores(part.targets[name], nothing),
            "intervals": intervals,
        }
    evaluation = Evaluation(split, len(part), len(set(part.speakers)) if named else 0, found)
    text = json.dumps(plain(evaluation.to_json()), indent=1) + "\n"
    (run / f"evaluation_{split}.json").write_text(text, encoding="utf-8")
    confusion_picture(run / f"confusion_{split}.png", tasks, part, by_task, split)
    return evaluation
