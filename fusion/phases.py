"""What one phase of training moves, and which loss it follows. Most models have one phase; delta-attention may have the paper's three
(each frozen afterwards; Panchal 2020, section 4) or learn "joint", with the correlation beside the task's loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from .batch import Batch
from .dcca import dcca_loss, paired
from .delta import HDA, StageHeads, stage_parameters
from .outputs import Output
from .recipe import Recipe
from .tasks import Task, split_logits


@dataclass(frozen=True)
class Phase:
    """name ("all", or a stage's), and its numbers."""

    name: str
    epochs: int
    batch: int
    rate: float
    weight_decay: float
    correlation: float = 0.0
    pairing: str = "utterances"

    @property
    def answers(self) -> bool:
        """Whether the model's own logits are what this phase learns."""
        return self.name not in ("streams", "encoders")


def phases_of(recipe: Recipe) -> tuple[Phase, ...]:
    if recipe.stages:
        return tuple(
            Phase(s.name, s.epochs, s.batch, s.rate, s.weight_decay, s.correlation if s.name == "joint" else 0.0, s.pairing)
            for s in recipe.stages
        )
    t = recipe.training
    return (Phase("all", t.epochs, t.batch, t.rate, t.weight_decay),)


class Learner(nn.Module):
    """The model, with the heads of delta-attention's first stage where there are stages."""

    def __init__(self, model: nn.Module, tasks: Mapping[str, Task], staged: bool) -> None:
        super().__init__()
        self.model, self.tasks = model, dict(tasks)
        self.heads = StageHeads(cast(HDA, model).config) if staged else None

    def moved(self, phase: Phase) -> list[nn.Parameter]:
        """The parameters of a phase; all others stand still."""
        if self.heads is None or phase.name == "joint":
            chosen = list(self.model.parameters())
        else:
            chosen = list(stage_parameters(cast(HDA, self.model), phase.name))
            if phase.name == "streams":
                chosen += list(self.heads.parameters())
        ours = {id(p) for p in chosen}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in ours)
        return chosen

    def loss(
        self, phase: Phase, streams: Mapping[str, Batch], targets: Mapping[str, Tensor], weights: Mapping[str, Tensor | None]
    ) -> tuple[Tensor | None, Tensor | None]:
        """(loss, logits): None for a loss that this batch does not allow (one utterance cannot correlate), None for no logits."""
        if phase.name == "streams":
            model, heads = cast(HDA, self.model), cast(StageHeads, self.heads)
            by_stream = heads(model.attended(streams)[0], streams)
            return torch.stack([self._task_loss(logits.float(), targets, weights) for logits in by_stream.values()]).sum(), None
        if phase.name == "encoders":
            return self.correlation(self.views(phase, streams)), None
        output: Output = self.model(streams)
        logits = output.logits.float()
        loss = self._task_loss(logits, targets, weights)
        if phase.correlation:
            extra = self.correlation(self.views(phase, streams))
            loss = loss if extra is None else loss + phase.correlation * extra.to(loss.dtype)
        return loss, logits

    def views(self, phase: Phase, streams: Mapping[str, Batch]) -> list[Tensor]:
        """Each stream's encoded rows, paired, for DCCA."""
        model = cast(HDA, self.model)
        return paired(model.encoded(model.attended(streams)[0], streams), streams, cast(Any, phase.pairing))

    def correlation(self, views: list[Tensor]) -> Tensor | None:
        """L_cca / (pairs * r), -1..0; None for fewer than two paired rows or streams."""
        if len(views) < 2 or len(views[0]) < 2:
            return None
        pairs = len(views) * (len(views) - 1) / 2
        return dcca_loss([view.float() for view in views]) / (pairs * views[0].shape[1])

    def _task_loss(self, logits: Tensor, targets: Mapping[str, Tensor], weights: Mapping[str, Tensor | None]) -> Tensor:
        by_task = split_logits(self.tasks, logits)
        losses = []
        for name, task in self.tasks.items():
            smoothing = task.part.smoothing if self.training else 0.0
            losses.append(task.loss(by_task[name], targets[name], weights[name], smoothing))
        return torch.stack(losses).sum()
