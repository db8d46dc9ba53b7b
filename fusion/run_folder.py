"""A run on disk: recipe.json, metrics.csv, state.safetensors (to resume), best.safetensors with best.json, curves.png, confusion.png.

The state is one file, replaced at once, so a kill at any moment leaves the last whole epoch. It holds tensors (the learner, the best so
far, the optimiser's moments) and, in safetensors' metadata, JSON (epoch, schedule, history). Nothing is pickled.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emofuse.pipeline.errors import CheckpointError
from emofuse.pipeline.views import plots

from .shipped import RUN_BEST

STATE, BEST, RECIPE, METRICS = "state.safetensors", RUN_BEST, "recipe.json", "metrics.csv"


@dataclass(frozen=True, eq=False)
class State:
    """Everything after one whole epoch. tensors: by "learner/..", "best/..", "optimiser/INDEX/.."; facts: JSON values."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def write_state(folder: Path, state: State) -> None:
    hidden = folder / f".{STATE}"
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.tensors.items()}
    save_file(tensors, hidden, metadata={"facts": json.dumps(state.facts)})
    os.replace(hidden, folder / STATE)


def read_state(folder: Path) -> State | None:
    """None where no epoch was finished; raises `CheckpointError` for a file that is no state."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return State({key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["facts"]))  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a training's state: {error}") from error


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under "prefix/", of any shape, without the prefix."""
    return {key.removeprefix(f"{prefix}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{prefix}/")}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An Adam's moments, of any shape, as tensors by "INDEX/NAME", and its groups as JSON values."""
    state = optimiser.state_dict()
    tensors = {f"{index}/{key}": torch.as_tensor(value) for index, entry in state["state"].items() for key, value in entry.items()}
    return tensors, state["param_groups"]


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> None:
    """Load what `optimiser_tensors` gave, of any shape, into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def write_metrics(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """metrics.csv: one line per epoch, every column that any epoch has."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    hidden = folder / f".{METRICS}"
    with hidden.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(history)
    os.replace(hidden, folder / METRICS)


def draw_curves(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Training and validation loss over epochs, a panel a phase."""
    phases = list(dict.fromkeys(row["phase"] for row in history))
    figure = plots.new_figure(5 * len(phases), 3.5)
    for axes, phase in zip(figure.subplots(1, len(phases), squeeze=False)[0], phases, strict=True):
        plots.curves(history, phase, axes)
    figure.savefig(path, dpi=100)


def draw_confusion(path: Path, counts: NDArray[np.int64], labels: Sequence[str], title: str) -> None:
    """counts (c c) [truth, answer]."""
    plots.figure_of(plots.confusion(counts, labels, title)).savefig(path, dpi=100)


Points = Sequence[tuple[float, float, float]]


def draw_lines(
    path: Path, lines: Mapping[str, Points], axis: str, title: str, panels: Mapping[str, Mapping[str, Points]] | None = None
) -> None:
    """Points (x, mean, deviation) over x: a panel for each of `lines`, or `panels` of several lines each."""
    shown = panels or {name: {name: points} for name, points in lines.items()}
    figure = plots.new_figure(4 * len(shown), 3.5)
    for axes, (name, inside) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        for label, points in inside.items():
            x, mean, deviation = (np.array(column, np.float64) for column in zip(*points, strict=True))
            axes.errorbar(x, mean, np.nan_to_num(deviation), marker="o", capsize=3, label=label)
        axes.set(xlabel=axis, ylabel=name)
        if len(inside) > 1:
            axes.legend(fontsize=7)
    figure.suptitle(title)
    figure.savefig(path, dpi=100)


def plain(value: Any) -> Any:
    """NaN (a recall of a class that does not occur) becomes null: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
