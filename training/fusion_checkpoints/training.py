"""The trainer that all shipped checkpoints share: composed batches in, the steadiest weights out.

AdamW under one cycle, a moving average of the weights, cross-entropy on emotions (labels drawn evenly: every emotion is as likely as
another) and L1 on sentiment where an utterance has one. The step is chosen on validation speakers, photographs and texts, or is the last.
"""

from __future__ import annotations

import copy
import math
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emofuse.fusion import MODELS
from emofuse.fusion.batch import Scaling
from emofuse.fusion.checkpoints import StreamInput
from emofuse.fusion.dcca import dcca_loss, paired
from emofuse.fusion.delta import HDA, StageHeads, stage_parameters
from emofuse.fusion.outputs import Output
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.streams import EMOTIONS

from .composer import Composer, Material, Member, Shares, collate

RECIPES = Path(__file__).parent
VALID = (15, 16, 17, 18, 111, 114)
"""Four actors of RAVDESS and, behind 100, two speakers of EmoDB."""
EVALUATION_BATCH = 64
Say = Callable[[str], None]


@dataclass(frozen=True)
class Stages:
    """Steps of delta-attention's first two stages; `pairs`: utterances that a correlation is taken over (ten times the width)."""

    streams: int
    encoders: int
    pairs: int = 256
    rate: float = 1e-3


@dataclass(frozen=True)
class Recipe:
    """One checkpoint's training, as its TOML says it.

    model    its name in `MODELS`;  config: that model's numbers
    valid    actors that validate: RAVDESS's numbers, EmoDB's + 100
    rate     the cycle's highest learning rate;  average: of the weights, per step
    batch, texts  utterances of a step, and words alone beside them
    variations  of each voice clip and copy, made once before training
    stages      delta-attention's first two stages; None: all weights from the first step on
    """

    model: str
    config: dict[str, Any]
    seed: int = 1
    steps: int = 600
    batch: int = 32
    texts: int = 40
    rate: float = 2e-3
    weight_decay: float = 0.05
    average: float = 0.997
    smoothing: float = 0.05
    sentiment_weight: float = 0.3
    checked_every: int = 150
    variations: int = 2
    valid: tuple[int, ...] = VALID
    shares: Shares = field(default_factory=Shares)
    stages: Stages | None = None

    @classmethod
    def read(cls, name: str) -> Recipe:
        """By the name of a recipe of this package, or the path of a TOML file. Raises `UsageError`."""
        path = RECIPES / f"{name}.toml"
        path = path if path.is_file() else Path(name)
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
            drawn: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.pop("shares", {}).items()}
            shares = Shares(**drawn)
            stages = Stages(**data.pop("stages")) if "stages" in data else None
            return cls(shares=shares, stages=stages, valid=tuple(data.pop("valid", VALID)), **data)
        except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
            here = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
            raise UsageError(f"recipe {name}: expected {here}, or a TOML file like them; got {error}") from None


def fresh(recipe: Recipe, inputs: dict[str, StreamInput]) -> tuple[Any, nn.Module]:
    """The model's config and a module with weights drawn by the seed."""
    kind = MODELS[recipe.model]()
    config = kind.config(streams={name: stream.width for name, stream in inputs.items()}, outputs=len(EMOTIONS) + 1, **recipe.config)
    torch.manual_seed(recipe.seed)
    module: nn.Module = kind.module(config)
    return config, module


def loss_of(logits: Tensor, labels: Tensor, sentiments: Tensor, priors: Tensor, recipe: Recipe) -> Tensor:
    """logits (b 8): seven emotions, then sentiment; priors (b 7): logarithms of those that the labels were drawn under."""
    known = labels >= 0
    drawn = logits[known, : len(EMOTIONS)] + priors[known]
    loss = functional.cross_entropy(drawn, labels[known], label_smoothing=recipe.smoothing)
    felt = sentiments.isfinite()
    if felt.any():
        loss = loss + recipe.sentiment_weight * functional.l1_loss(logits[felt, -1], sentiments[felt])
    return loss


def train(
    recipe: Recipe,
    module: nn.Module,
    inputs: dict[str, StreamInput],
    material: Material,
    check: Callable[[nn.Module], dict[str, float]] | None,
    say: Say,
) -> tuple[nn.Module, int]:
    """The module with the averaged weights, and their step: the one whose mean of `check` is highest, or, without a check, the last."""
    scalings = {name: stream.scaling for name, stream in inputs.items()}
    torch.manual_seed(recipe.seed)
    random = np.random.default_rng([recipe.seed, 99])
    if recipe.stages is not None:
        learn_stages(recipe, recipe.stages, cast(HDA, module), scalings, material, say)
    batches = Composer(material, recipe.shares, recipe.seed).batches(recipe.batch, recipe.texts)
    optimiser = torch.optim.AdamW(module.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps, pct_start=0.15)
    average = copy.deepcopy(module).eval()
    best: tuple[float, int, dict[str, Tensor]] = (-math.inf, 0, {})
    began = time.process_time()
    for step in range(1, recipe.steps + 1):
        module.train()
        parts = [collate(members, scalings, random) for members in next(batches)]
        outputs: list[Output] = [module(part.streams) for part in parts]
        labels, sentiments, priors = (torch.cat([getattr(part, k) for part in parts]) for k in ("labels", "sentiments", "priors"))
        loss = loss_of(torch.cat([o.logits for o in outputs]), labels, sentiments, priors, recipe)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        keep = min(recipe.average, step / (step + 20))
        with torch.no_grad():
            for mine, theirs in zip(average.state_dict().values(), module.state_dict().values(), strict=True):
                mine.lerp_(theirs, 1 - keep)
        if check is not None and (step % recipe.checked_every == 0 or step == recipe.steps):
            recalls = check(average)
            mean = float(np.mean(list(recalls.values())))
            shown = " ".join(f"{k} {v:.3f}" for k, v in recalls.items())
            say(f"step {step} loss {loss.item():.3f} | {shown} | mean {mean:.4f} | cpu {time.process_time() - began:.0f} s")
            if mean > best[0]:
                best = (mean, step, {k: v.clone() for k, v in average.state_dict().items()})
    if check is None:
        return average, recipe.steps
    average.load_state_dict(best[2])
    return average, best[1]


def learn_stages(recipe: Recipe, stages: Stages, module: HDA, scalings: dict[str, Scaling], material: Material, say: Say) -> None:
    """The first two stages of delta-attention's paper (Panchal 2020, section 4): each stream answers alone; then, these frozen, the
    encoders learn to correlate (DCCA) over utterances that have all streams. `train` goes on with all weights."""
    random = np.random.default_rng([recipe.seed, 98])
    heads = StageHeads(module.config)
    alone = torch.optim.AdamW([*stage_parameters(module, "streams"), *heads.parameters()], lr=stages.rate)
    batches = Composer(material, recipe.shares, recipe.seed + 1).batches(recipe.batch, recipe.texts)
    module.train()
    loss = torch.zeros(())
    for _ in range(stages.streams):
        loss = torch.zeros(())
        for members in next(batches):
            part = collate(members, scalings, random)
            for name, logits in heads(module.attended(part.streams), part.streams).items():
                present = part.streams[name].present.any(1)
                if (present & (part.labels >= 0)).any():
                    loss = loss + loss_of(logits[present], part.labels[present], part.sentiments[present], part.priors[present], recipe)
        step_of(alone, loss)
    say(f"stage streams: {stages.streams} steps, loss {loss.item():.3f}")
    encoders = torch.optim.AdamW(stage_parameters(module, "encoders"), lr=stages.rate)
    whole = Composer(material, replace(recipe.shares, subsets=(0, 0, 0, 0, 0, 0, 1), sentiment=0.0), recipe.seed + 2).batches(stages.pairs)
    for _ in range(stages.encoders):
        part = collate(next(whole)[0], scalings, random)
        with torch.no_grad():
            rows = module.attended(part.streams)
        loss = dcca_loss([view.float() for view in paired(module.encoded(rows, part.streams), part.streams)]) / (3 * module.config.encoded)
        step_of(encoders, loss)
    say(f"stage encoders: {stages.encoders} steps, mean correlation {-loss.item():.3f}")


def step_of(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the gradient of a scalar () loss, the gradient clipped to norm 1."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
    optimiser.step()


def answers(module: nn.Module, members: Sequence[Member], scalings: dict[str, Scaling], batch: int = EVALUATION_BATCH) -> Tensor:
    """(n 8) logits of these utterances, in order."""
    module.eval()
    with torch.inference_mode():
        return torch.cat([module(made.streams).logits for made in collated(members, scalings, batch)])


def collated(members: Sequence[Member], scalings: dict[str, Scaling], batch: int) -> Iterator[Any]:
    for first in range(0, len(members), batch):
        yield collate(members[first : first + batch], scalings)
