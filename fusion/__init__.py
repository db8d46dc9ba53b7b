"""Fusion models in torch, one file per model. `MODELS` lists them: name -> how to import its config and its module.

Importing this package imports no torch: the functions below do, when a model is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelKind:
    """A model's halves: `config(**numbers)` is a frozen dataclass, `module(config)` a torch module as in outputs.py. A model that trains
    in stages of its own has `plan(module, recipe)`, a `Plan` of stages.py."""

    config: Callable[..., Any]
    module: Callable[[Any], Any]
    plan: Callable[[Any, Any], Any] | None = None


def _delta() -> ModelKind:
    from .delta import HDA, HDAConfig
    from .delta_stages import delta_plan

    return ModelKind(HDAConfig, HDA, delta_plan)


def _early() -> ModelKind:
    from .baselines import EarlyFusionConfig, early_fusion

    return ModelKind(EarlyFusionConfig, early_fusion)


def _late() -> ModelKind:
    from .baselines import LateFusion, LateFusionConfig

    return ModelKind(LateFusionConfig, LateFusion)


def _mcr() -> ModelKind:
    from .mcr import MCR, MCRConfig

    return ModelKind(MCRConfig, MCR)


def _mult() -> ModelKind:
    from .mult import MulT, MulTConfig

    return ModelKind(MulTConfig, MulT)


def _pmr() -> ModelKind:
    from .pmr import PMR, PMRConfig

    return ModelKind(PMRConfig, PMR)


def _rrnn() -> ModelKind:
    from .rrnn import RRNN, RRNNConfig

    return ModelKind(RRNNConfig, RRNN)


MODELS: dict[str, Callable[[], ModelKind]] = {
    "mult": _mult,
    "pmr": _pmr,
    "mcr": _mcr,
    "delta": _delta,
    "rrnn": _rrnn,
    "early-lstm": _early,
    "late-lstm": _late,
}
