"""How HDA trains (Panchal 2020, section 4): each stream alone, encoders by DCCA, the fusion, each frozen afterwards and run without dropout
from then on, as the paper saves and reloads its outputs; or "joint", all at once with the correlation beside the tasks' loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from emofuse.pipeline.errors import DatasetError, UsageError

from .dcca import dcca_loss, paired
from .delta import HDA, StageHeads, stage_parameters
from .recipe import Recipe, StagePart
from .stages import Objective, Plan, Stage, Streams, Targets, Validated, WholeModel, whole_model


class StreamsStage:
    """Each stream's own answer from its attended rows; with `part.stream`, of that stream alone."""

    def __init__(self, model: HDA, heads: StageHeads, part: StagePart) -> None:
        self.model, self.heads, self.part = model, heads, part
        self.streams = (part.stream,) if part.stream else tuple(model.config.streams)

    @property
    def name(self) -> str:
        return f"{self.part.name} {self.part.stream}".rstrip()

    def parameters(self) -> list[nn.Parameter]:
        parts = [module[m] for m in self.streams for module in (self.model.fronts, self.model.attention, self.heads.out)]
        return [p for part in parts for p in part.parameters()]

    def train(self) -> None:
        self.model.eval()
        for m in self.streams:
            for module in (self.model.fronts, self.model.attention, self.heads.out):
                module[m].train()

    def _logits(self, streams: Streams) -> dict[str, Tensor]:
        by_stream = self.heads(self.model.attended(streams), streams)
        return {m: by_stream[m].float() for m in self.streams}

    def loss(self, streams: Streams, targets: Targets, objective: Objective) -> Tensor | None:
        return torch.stack([objective(logits, targets, training=True) for logits in self._logits(streams).values()]).sum()

    def validate(self, batches: Iterable[tuple[Streams, Targets]], objective: Objective) -> Validated:
        total, count = torch.zeros(()), 0
        kept: dict[str, list[Tensor]] = {m: [] for m in self.streams}
        for streams, targets in batches:
            logits = self._logits(streams)
            size = len(next(iter(logits.values())))
            loss = torch.stack([objective(values, targets, training=False) for values in logits.values()]).sum()
            total, count = total + loss.cpu() * size, count + size
            for m, values in logits.items():
                kept[m].append(values.cpu())
        return Validated(total / max(1, count), {m: torch.cat(parts) for m, parts in kept.items()})


class EncodersStage:
    """DCCA (eq. 13): minus the mean canonical correlation of the streams' encoded rows, -1..0."""

    def __init__(self, model: HDA, part: StagePart) -> None:
        self.model, self.part = model, part

    @property
    def name(self) -> str:
        return self.part.name

    def parameters(self) -> list[nn.Parameter]:
        return list(stage_parameters(self.model, "encoders"))

    def train(self) -> None:
        self.model.eval()
        self.model.encoders.train()

    def loss(self, streams: Streams, targets: Targets, objective: Objective) -> Tensor | None:
        return correlation(self.views(streams))

    def validate(self, batches: Iterable[tuple[Streams, Targets]], objective: Objective) -> Validated:
        """A correlation belongs to all utterances together, not to batches."""
        views = [self.views(streams) for streams, _ in batches]
        whole = correlation([torch.cat(view) for view in zip(*views, strict=True)])
        if whole is None:
            raise DatasetError("DCCA needs two streams in two validation utterances or more")
        return Validated(whole.cpu())

    def views(self, streams: Streams) -> list[Tensor]:
        """Each stream's encoded rows (n r), paired."""
        return encoded_views(self.model, self.part, streams)


class FusedStage(WholeModel):
    """What reads the encoded streams; everything before it is frozen."""

    def __init__(self, model: HDA, part: StagePart) -> None:
        super().__init__(model, part)
        self.hda = model

    def parameters(self) -> list[nn.Parameter]:
        return list(stage_parameters(self.hda, "fused"))

    def train(self) -> None:
        self.model.train()
        for name in ("fronts", "attention", "encoders"):
            getattr(self.hda, name, nn.Identity()).eval()


class JointStage(WholeModel):
    """Everything at once, with `correlation` times the DCCA loss beside the tasks'; validated on the tasks' alone."""

    def __init__(self, model: HDA, part: StagePart) -> None:
        super().__init__(model, part)
        self.hda = model

    def loss(self, streams: Streams, targets: Targets, objective: Objective) -> Tensor | None:
        loss = objective(self.model(streams).logits, targets, training=True)
        extra = correlation(encoded_views(self.hda, self.part, streams)) if self.part.correlation else None
        return loss if extra is None else loss + self.part.correlation * extra.to(loss.dtype)


def encoded_views(model: HDA, part: StagePart, streams: Streams) -> list[Tensor]:
    """Each stream's encoded rows (n r), paired as the stage says."""
    return paired(model.encoded(model.attended(streams), streams), streams, part.pairing)


def correlation(views: list[Tensor]) -> Tensor | None:
    """L_cca / (pairs * r), -1..0; None for fewer than two paired rows or streams."""
    if len(views) < 2 or len(views[0]) < 2:
        return None
    pairs = len(views) * (len(views) - 1) / 2
    return dcca_loss([view.float() for view in views]) / (pairs * views[0].shape[1])


MAKE: Mapping[str, Callable[[HDA, StageHeads, StagePart], Stage]] = {
    "streams": StreamsStage,
    "encoders": lambda model, heads, part: EncodersStage(model, part),
    "fused": lambda model, heads, part: FusedStage(model, part),
    "joint": lambda model, heads, part: JointStage(model, part),
}


def delta_plan(module: nn.Module, recipe: Recipe) -> Plan:
    """The recipe's stages, or the whole model at once where it names none."""
    if not recipe.stages:
        return whole_model(module, recipe)
    model = cast(HDA, module)
    if model.config.readout == "attended" and any(part.name in ("encoders", "joint") for part in recipe.stages):
        raise UsageError(f"{recipe.name}: stages: a delta whose readout is attended has no encoders to train")
    heads = StageHeads(model.config)
    return Plan([MAKE[part.name](model, heads, part) for part in recipe.stages], heads)
