"""What an experiment is: the rows of one table of a paper, as changes to a recipe, and the scores that it prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One row: its label, what it changes in the recipe (settings.py), another recipe where it is another model, and where a sweep
    has it on the x axis."""

    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    recipe: str = ""
    x: float | None = None


@dataclass(frozen=True)
class NoiseTest:
    """Gaussian noise on one stream at test time, in deviations of that stream's training columns."""

    stream: str
    levels: tuple[float, ...]


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper.

    paper       whose, and which table or figure
    recipes     base recipes by data set, the first one by default
    variants    the rows; the first is what the others are tested against
    metrics     columns: paths into a run's scores ("sentiment.mae", "emotion.labels.happiness.weighted_f1")
    axis        the x axis, where the rows are a sweep
    differs     what of the printed table cannot be as printed, for people
    """

    name: str
    paper: str
    about: str
    recipes: tuple[str, ...]
    variants: tuple[Variant, ...]
    metrics: tuple[str, ...]
    axis: str = ""
    noise: NoiseTest | None = None
    differs: str = ""


SENTIMENT = (
    "sentiment.acc7",
    "sentiment.acc2_non_zero",
    "sentiment.acc2_has_zero",
    "sentiment.f1_non_zero",
    "sentiment.mae",
    "sentiment.corr",
)
"""Both conventions of Acc2: papers seldom say which they print."""


def only(*streams: str, of: tuple[str, ...] = ("text", "voice", "face")) -> dict[str, Any]:
    """The setting that leaves these streams alone."""
    return {f"streams.{m}": None for m in of if m not in streams}
