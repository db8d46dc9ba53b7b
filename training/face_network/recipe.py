"""What a training run of the compact network is told, the scales of its targets, its losses and its learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from emofuse.extractors.face.compact.layout import AU_SOURCES, SHAPES, au_matrix
from emofuse.extractors.face.compact.network import Answer
from emofuse.pipeline.timed import Floats32

from .distort import Batch
from .photographs import Photographs

POSE_SCALE = 0.2
BOX_SCALE = 0.1
LEAST_SPREAD = 0.02
QUIET_WEIGHT = 0.25
DOUBLE = ("lipGap", "browInnerUp", "browOuterUpLeft", "browOuterUpRight")


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on beside its data.

    class_power   an expression that n photographs show weighs n to the minus this
    start         SHA-256 of the weights that it goes on from; none: from noise
    opinion       share of each expression label that is what those weights say instead (see opinion.py)
    frozen        the stem and this many blocks stay as they are: a run that goes on costs less (three: 40 %)
    """

    seed: int = 0
    epochs: int = 40
    minutes: float | None = None
    batch: int = 128
    without_face: int = 20
    peak_rate: float = 3e-3
    weight_decay: float = 0.05
    warm_up: float = 0.08
    average: float = 0.998
    small_crop: int = 48
    small_until: float = 0.6
    smoothing: float = 0.1
    class_power: float = 0.5
    start: str = ""
    opinion: float = 0.0
    frozen: int = 0
    weights: tuple[tuple[str, float], ...] = (("shapes", 2.0), ("pose", 0.5), ("box", 0.5), ("expression", 1.0), ("face", 0.5))


@dataclass(frozen=True, eq=False)
class Scales:
    """Shapes' mean and spread over the training photographs, and the weight of each in the loss; class weights (7)."""

    mean: Floats32
    spread: Floats32
    shape_weight: Floats32
    class_weight: Floats32


def scales_of(training: Photographs, class_power: float = Recipe.class_power) -> Scales:
    """From the training part only. Gaze and outputs that hardly move count a quarter; the lip gap and the brows count double."""
    shapes = training.shapes[training.seen]
    spread = shapes.std(0)
    wanted = {source for sources in AU_SOURCES.values() for source in sources}
    weight = np.array([1.0 if s in wanted or v > LEAST_SPREAD else QUIET_WEIGHT for s, v in zip(SHAPES, spread, strict=True)])
    weight[[s.startswith("eyeLook") for s in SHAPES]] = QUIET_WEIGHT
    weight[[s in DOUBLE for s in SHAPES]] = 2.0
    counts = np.nansum(training.expression, 0)
    rarity = np.where(counts > 0, np.maximum(counts, 1.0) ** -class_power, 0.0)  # an expression that nobody shows weighs nothing
    return Scales(
        mean=shapes.mean(0).astype(np.float32),
        spread=np.maximum(spread, LEAST_SPREAD).astype(np.float32),
        shape_weight=(weight / weight.mean()).astype(np.float32),
        class_weight=(rarity / (rarity * counts).sum() * counts.sum()).astype(np.float32),
    )


def masked_error(answered: Tensor, true: Tensor) -> Tensor:
    """Mean squared error over the rows of `true` (b d) that are numbers; zero where none is."""
    known = true.isfinite().all(1)
    return F.mse_loss(answered[known], true[known]) if known.any() else answered.sum() * 0


def losses(answer: Answer, batch: Batch, scales: Scales, recipe: Recipe) -> dict[str, Tensor]:
    """Each head's loss, unweighted: a scalar () each."""
    device = answer.face.device

    def on_device(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    weight = on_device(scales.shape_weight).sqrt()
    shapes = (on_device(batch.shapes) - on_device(scales.mean)) / on_device(scales.spread)
    labelled = on_device(batch.expression).isfinite().all(1)
    expression = F.cross_entropy(
        answer.expression[labelled],
        on_device(batch.expression)[labelled],
        weight=on_device(scales.class_weight),
        label_smoothing=recipe.smoothing,
    )
    return {
        "shapes": masked_error(answer.shapes * weight, shapes * weight),
        "pose": masked_error(answer.pose / POSE_SCALE, on_device(batch.pose) / POSE_SCALE),
        "box": masked_error(answer.box / BOX_SCALE, on_device(batch.box) / BOX_SCALE),
        "expression": expression,
        "face": F.binary_cross_entropy_with_logits(answer.face, on_device(batch.face)),
    }


def rate_at(progress: float, recipe: Recipe) -> float:
    """Learning rate at `progress` 0..1: up in a line, down along a cosine to zero."""
    if progress < recipe.warm_up:
        return recipe.peak_rate * (0.04 + 0.96 * progress / recipe.warm_up)
    return recipe.peak_rate * (1 + float(np.cos(np.pi * min(1.0, (progress - recipe.warm_up) / (1 - recipe.warm_up))))) / 2


def rescaling(training: Photographs) -> dict[str, list[float]]:
    """For each action unit the neutral faces' lower quartile and the 99th percentile of all, in the teacher's units.

    Not the neutral faces' median: half of all resting faces lie below it, and their movements would be cut off.
    """
    units = training.shapes @ au_matrix().T  # (n 16)
    neutral = training.seen & (np.nan_to_num(training.expression[:, -1]) > 0.5)
    low = np.percentile(units[neutral], 25, axis=0)
    high = np.percentile(units[training.seen], 99, axis=0)
    return {"rest": [round(float(v), 5) for v in low], "high": [round(float(v), 5) for v in high]}
