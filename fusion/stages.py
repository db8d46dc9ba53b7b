"""What one stage of training moves, which loss it follows and how it is validated. Most models have one stage, the whole model; a model
that trains in several owns them (delta_stages.py) and hands them out through its `ModelKind`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from .batch import Batch
from .recipe import Recipe, StagePart
from .tasks import Task, split_logits

Streams = Mapping[str, Batch]
Targets = Mapping[str, Tensor]
WHOLE = "all"


@dataclass(frozen=True, eq=False)
class Objective:
    """The tasks' losses summed; `weights` are the classes' by task (None: even)."""

    tasks: Mapping[str, Task]
    weights: Mapping[str, Tensor | None]

    def __call__(self, logits: Tensor, targets: Targets, training: bool) -> Tensor:
        """logits (b all) -> a scalar; label smoothing only while training."""
        by_task = split_logits(self.tasks, logits.float())
        losses = [
            task.loss(by_task[name], targets[name], self.weights[name], task.part.smoothing if training else 0.0)
            for name, task in self.tasks.items()
        ]
        return torch.stack(losses).sum()


@dataclass(frozen=True, eq=False)
class Validated:
    """A stage's loss over a whole split, and the logits (n all) of whoever answers: "" the model, or a stream's own head."""

    loss: Tensor
    logits: Mapping[str, Tensor] = field(default_factory=dict)


class Stage(Protocol):
    """One stage: its numbers, what it moves, its loss on a batch (None where the batch allows none), its loss on a split."""

    part: StagePart

    @property
    def name(self) -> str:
        """What the stage is called in metrics.csv."""
        ...

    def parameters(self) -> list[nn.Parameter]: ...

    def train(self) -> None:
        """Training mode for what moves; what an earlier stage froze stays in eval mode."""

    def loss(self, streams: Streams, targets: Targets, objective: Objective) -> Tensor | None:
        """A scalar () to be minimised for a batch of padded streams (b n f) with targets (b) or (b labels); None where it allows none."""
        ...

    def validate(self, batches: Iterable[tuple[Streams, Targets]], objective: Objective) -> Validated:
        """The stage's loss over a whole split, and the logits (n all) of whoever answers."""
        ...


@dataclass(frozen=True, eq=False)
class Plan:
    """The stages of a training, in order, and a module of what only training needs (heads that are thrown away)."""

    stages: Sequence[Stage]
    extra: nn.Module


class WholeModel:
    """The model's own logits and the tasks' losses."""

    def __init__(self, model: nn.Module, part: StagePart) -> None:
        self.model, self.part = model, part

    @property
    def name(self) -> str:
        return self.part.name

    def parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def train(self) -> None:
        self.model.train()

    def loss(self, streams: Streams, targets: Targets, objective: Objective) -> Tensor | None:
        return objective(self.model(streams).logits, targets, training=True)

    def validate(self, batches: Iterable[tuple[Streams, Targets]], objective: Objective) -> Validated:
        """The loss over all batches, and the model's logits (n all) under ""."""
        total, count, logits = torch.zeros(()), 0, []
        for streams, targets in batches:
            answer = self.model(streams).logits.float()
            size = len(answer)
            total, count = total + objective(answer, targets, training=False).cpu() * size, count + size
            logits.append(answer.cpu())
        return Validated(total / max(1, count), {"": torch.cat(logits)})


def whole_model(model: nn.Module, recipe: Recipe) -> Plan:
    """The one stage of a model that has no stages of its own."""
    t = recipe.training
    return Plan((WholeModel(model, StagePart(WHOLE, t.epochs, t.batch, t.rate, t.weight_decay)),), nn.Module())
