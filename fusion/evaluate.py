"""A trained run against a split: every score, answers without a model beside it, and intervals over speakers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emofuse.pipeline.errors import CheckpointError, DatasetError, UsageError
from emofuse.pipeline.metrics import bootstrap

from .batch import Batch, Scaling
from .checkpoints import Checkpoint, load
from .datasets.examples import Dataset
from .recipe import Recipe
from .run_folder import BEST, RECIPE, plain
from .tasks import Task, split_logits, tasks_of
from .train import chosen_device, confusion_picture
from .training_data import Part, in_order, parts_of

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


@dataclass(frozen=True)
class Noise:
    """Gaussian noise added to every present row of one stream, `level` deviations of that stream's training columns, drawn from `seed`."""

    stream: str
    level: float
    seed: int = 1

    @property
    def suffix(self) -> str:
        """Of the files that a noisy evaluation writes."""
        return f"_{self.stream}_noise_{self.level:g}" if self.level else ""


@dataclass(frozen=True, eq=False)
class Trained:
    """A run and the data that go with it: the module in eval mode, its description, its tasks, and every split."""

    folder: Path
    checkpoint: Checkpoint
    module: nn.Module
    tasks: Mapping[str, Task]
    parts: Mapping[str, Part]
    device: torch.device

    @classmethod
    def of(cls, run: Path, dataset: Dataset, device: str = "auto") -> Trained:
        """Raises `CheckpointError` where the folder is no run, `DatasetError` where the data do not fit the model."""
        recipe = run_recipe(run)
        checkpoint, module = load(run / BEST)
        tasks, hardware = tasks_of(recipe.tasks), chosen_device(device)
        parts = parts_of(recipe, dataset, tasks)
        for streams in (streams for part in parts.values() for streams in part.streams):
            for name, wanted in checkpoint.streams.items():
                if streams[name].columns != wanted.columns:
                    raise DatasetError(f"{dataset.name}: {name}: the model reads {len(wanted.columns)} columns, the data have others")
        return cls(run, checkpoint, module.to(hardware), tasks, parts, hardware)

    def split(self, name: str) -> Part:
        """Raises `DatasetError` where it is empty."""
        if not len(self.parts[name]):
            raise DatasetError(f"{self.folder}: the data have no utterance in {name}")
        return self.parts[name]


def noise_deviations(trained: Trained, stream: str) -> Tensor:
    """(f) what one deviation of the training columns is after the model's standardisation; raises `UsageError` for a stream it lacks."""
    if stream not in trained.checkpoint.streams:
        raise UsageError(f"noise: the model has no stream {stream}; there are {', '.join(trained.checkpoint.streams)}")
    rows = [streams[stream].values for streams in trained.parts["train"].streams if len(streams[stream])]
    if not rows:
        raise DatasetError(f"noise: no training utterance has the stream {stream}")
    of_data = Scaling.fit(np.concatenate(rows)).deviation
    return torch.from_numpy(of_data / trained.checkpoint.streams[stream].scaling.deviation)


def _logits(trained: Trained, part: Part, noise: Noise | None) -> Tensor:
    """(n all) of a split, on the CPU."""
    generator = torch.Generator().manual_seed(noise.seed if noise else 0)
    deviations = noise_deviations(trained, noise.stream) if noise else None
    logits = []
    with torch.inference_mode():
        for index in in_order(len(part)):
            streams = part.batch(index, trained.checkpoint.streams, trained.device)
            if noise is not None and deviations is not None:
                clean = streams[noise.stream]
                drawn = torch.randn(clean.values.shape, generator=generator) * deviations * noise.level
                streams[noise.stream] = Batch(clean.values + drawn.to(trained.device), clean.times, clean.present)
            logits.append(trained.module(streams).logits.cpu())
    return torch.cat(logits)


def evaluate(
    run: Path, dataset: Dataset, *, split: str = "test", device: str = "auto", seed: int = 1, noise: Noise | None = None
) -> Evaluation:
    """`run` is a run folder. Writes evaluation_SPLIT.json and confusion_SPLIT.png into it; with noise, files with its suffix.

    Raises `CheckpointError`, or `DatasetError` where the data do not fit the model.
    """
    trained = Trained.of(run, dataset, device)
    tasks, parts, part = trained.tasks, trained.parts, trained.split(split)
    by_task = split_logits(tasks, _logits(trained, part, noise))
    named = all(part.speakers)
    speakers = part.speakers if named else part.names
    results: dict[str, Any] = {}
    for name, task in tasks.items():
        answers, truth = task.answers(by_task[name]), part.targets[name].numpy()
        nothing = task.baseline(parts["train"].targets[name], len(part))
        intervals = {
            key: dataclasses.asdict(bootstrap(metric, truth, answers, speakers, seed=seed, draws=DRAWS))
            for key, metric in task.headline().items()
        }
        results[name] = {
            "scores": task.scores(part.targets[name], answers),
            "baseline": task.scores(part.targets[name], nothing),
            "intervals": intervals,
        }
    evaluation = Evaluation(split, len(part), len(set(part.speakers)) if named else 0, results)
    text = json.dumps(plain(evaluation.to_json()), indent=1) + "\n"
    suffix = noise.suffix if noise else ""
    (run / f"evaluation_{split}{suffix}.json").write_text(text, encoding="utf-8")
    confusion_picture(run / f"confusion_{split}{suffix}.png", tasks, part, by_task, split)
    return evaluation
