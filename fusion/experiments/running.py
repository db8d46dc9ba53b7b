"""Runs an experiment: every row with every seed, trained and scored on the test split, then the table.

    OUT/ROW/seed-N/            one run (run_folder.py) with evaluation_test.json
    OUT/table.csv, .md, .tex   the table; OUT/sweep.png or OUT/noise.png its picture; OUT/noise.csv the curve's numbers

A run that is finished is not trained again, and one that was killed goes on where it stopped, so the same command resumes. Only the recipes
decide what a run is: another `--set`, or `--quick`, needs another OUT.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.timed import TimedSequence

from ..datasets.examples import SPLITS, Dataset, Example
from ..datasets.made_up import EVERY
from ..evaluate import Noise, evaluate
from ..recipe import Recipe, find
from ..run_folder import BEST, draw_lines
from ..settings import with_settings
from ..train import train
from .definition import Experiment, Variant
from .tables import Table, short, table_of, to_csv, to_latex, to_markdown

Load = Callable[[Recipe], Dataset]
Say = Callable[[str], None]
FIRST_SEED = 1111
QUICK = 20
"""`quick` keeps every twentieth utterance of each split and every second, third, .. row of a stream, so that at most QUICK_ROWS are left;
it steps after QUICK_BATCH utterances, and LSTMs have at most QUICK_UNITS hidden units."""
QUICK_ROWS = 40
QUICK_BATCH = 32
QUICK_UNITS = 64


@dataclass(frozen=True)
class Settings:
    """How to run an experiment: `recipe` in place of its first, changes to every recipe (settings.py), the number of seeds (FIRST_SEED and
    up), quick (see `QUICK`; one epoch, two seeds at most), rows by label (empty: all)."""

    recipe: str = ""
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: int = 5
    quick: bool = False
    rows: tuple[str, ...] = ()
    device: str = "auto"


def run_experiment(experiment: Experiment, load: Load, out: Path, settings: Settings, say: Say | None = None) -> Table:
    """Trains what is missing and writes the table. `load` reads the data in a recipe's form; it is called once for each form, and
    again only for a row that has other streams.

    Raises `UsageError` for a row or recipe that the experiment does not have, and whatever training raises.
    """
    talk = say or (lambda line: None)
    variants = _chosen(experiment, settings)
    recipes = {v.label: recipe_of(experiment, v, settings) for v in variants}
    seeds = range(FIRST_SEED, FIRST_SEED + (min(2, settings.seeds) if settings.quick else settings.seeds))
    data = _Data(load, settings.quick)
    scores: dict[str, dict[int, dict[str, float]]] = {v.label: {} for v in variants}
    noisy: dict[str, dict[float, list[Mapping[str, float]]]] = {}
    for variant in variants:
        recipe = recipes[variant.label]
        for seed in seeds:
            seeded = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, seed=seed))
            folder = out / slug(variant.label) / f"seed-{seed}"
            scores[variant.label][seed] = _scores(experiment, seeded, data.of(recipe), folder, settings.device)
            talk(
                f"{variant.label}, seed {seed}: "
                + ", ".join(f"{short(m)} {scores[variant.label][seed][m]:.4f}" for m in experiment.metrics[:4])
            )
            if experiment.noise is not None and experiment.noise.stream in recipe.streams:
                for level in experiment.noise.levels:
                    noise = Noise(experiment.noise.stream, level)
                    noisy_scores = evaluate(folder, data.of(recipe), device=settings.device, noise=noise).tasks
                    by_level = noisy.setdefault(variant.label, {})
                    by_level.setdefault(level, []).append({m: lookup(noisy_scores, m) for m in experiment.metrics})
    table = table_of(f"{experiment.name}: {experiment.paper}", experiment.metrics, scores)
    _write(out, experiment, variants, table, noisy)
    return table


class _Data:
    """What was loaded, thinned where `quick`: a recipe with fewer streams than one before it reads the same data."""

    def __init__(self, load: Load, quick: bool) -> None:
        self.load, self.quick = load, quick
        self.loaded: list[tuple[Recipe, Dataset]] = []

    def of(self, recipe: Recipe) -> Dataset:
        for earlier, dataset in self.loaded:
            if earlier.data == recipe.data and recipe.streams.items() <= earlier.streams.items():
                return dataset
        dataset = thinned(self.load(recipe)) if self.quick else self.load(recipe)
        self.loaded.append((recipe, dataset))
        return dataset


def recipe_of(experiment: Experiment, variant: Variant, settings: Settings) -> Recipe:
    """The recipe behind a row: base, row's changes, the caller's, then what `quick` makes smaller."""
    recipe = with_settings(find(variant.recipe or settings.recipe or experiment.recipes[0]), variant.changes)
    recipe = with_settings(recipe, settings.changes)
    if settings.quick:
        stages = tuple(dataclasses.replace(stage, epochs=1) for stage in recipe.stages)
        training = dataclasses.replace(recipe.training, epochs=1, batch=min(QUICK_BATCH, recipe.training.batch))
        units = {k: min(QUICK_UNITS, n) for k, n in recipe.options.items() if k in ("hidden", "attention")}
        recipe = dataclasses.replace(recipe, training=training, stages=stages, options={**recipe.options, **units})
    return recipe


def lookup(tasks: Mapping[str, Any], metric: str) -> float:
    """A score by its path in an evaluation's tasks ("emotion.labels.anger.weighted_f1"); NaN where there is none."""
    task, *path = metric.split(".")
    value: Any = tasks[task]["scores"]
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, Sequence):
            value = next((item for item in value if isinstance(item, Mapping) and item.get("label") == step), None)
    return float(value) if isinstance(value, int | float) else math.nan


def thinned(dataset: Dataset) -> Dataset:
    """Every twentieth utterance of a split (`QUICK`; all of data made so), three at least; of long streams `QUICK_ROWS` rows or fewer."""
    kept: list[Example] = []
    for split in (*SPLITS, ""):
        members = [e for e in dataset.examples if e.split == split]
        step = 1 if EVERY in dataset.notes else max(1, min(QUICK, len(members) // 3))
        kept += [dataclasses.replace(e, streams={m: _thinned(s) for m, s in e.streams.items()}) for e in members[::step]]
    return Dataset(f"{dataset.name}, thinned", tuple(kept), {**dataset.notes, "quick": "every twentieth utterance, long streams thinned"})


def _thinned(stream: TimedSequence) -> TimedSequence:
    """Every second, third, .. row, so that at most `QUICK_ROWS` are left."""
    step = -(-len(stream) // QUICK_ROWS)
    return stream.rows(np.arange(0, len(stream), step)) if step > 1 else stream


def slug(label: str) -> str:
    """A row's label as a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def _chosen(experiment: Experiment, settings: Settings) -> tuple[Variant, ...]:
    labels = [v.label for v in experiment.variants]
    if unknown := [row for row in settings.rows if row not in labels]:
        raise UsageError(f"{experiment.name}: no row {', '.join(unknown)}; there are {', '.join(labels)}")
    return tuple(v for v in experiment.variants if not settings.rows or v.label in settings.rows)


def _scores(experiment: Experiment, recipe: Recipe, data: Dataset, folder: Path, device: str) -> dict[str, float]:
    """One run's scores on the test split; the run is trained, or finished, where it is not there."""
    if not _finished(folder, recipe):
        train(recipe, data, folder, device=device, resume=True)
    report = folder / "evaluation_test.json"
    if not report.is_file():
        evaluate(folder, data, device=device)
    tasks = json.loads(report.read_text(encoding="utf-8"))["tasks"]
    return {metric: lookup(tasks, metric) for metric in experiment.metrics}


def _finished(folder: Path, recipe: Recipe) -> bool:
    """Whether the folder holds a finished run of this recipe. Raises `UsageError` where it holds another recipe's."""
    path = folder / "recipe.json"
    if not path.is_file():
        return False
    if json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(recipe.to_json())):
        raise UsageError(f"{folder}: holds a run of another recipe; give this experiment an OUT of its own")
    return (folder / BEST).is_file() and (folder / "curves.png").is_file()


def _write(
    out: Path,
    experiment: Experiment,
    variants: Sequence[Variant],
    table: Table,
    noisy: Mapping[str, Mapping[float, Sequence[Mapping[str, float]]]],
) -> None:
    note = f"\n{experiment.differs}\n" if experiment.differs else ""
    for suffix, text in (("csv", to_csv(table)), ("md", to_markdown(table) + note), ("tex", to_latex(table))):
        (out / f"table.{suffix}").write_text(text, encoding="utf-8")
    if experiment.axis:
        placed = sorted((v.x, v.label) for v in variants if v.x is not None)
        lines = {short(m): [(x, table.rows[label][m].mean, table.rows[label][m].deviation) for x, label in placed] for m in table.metrics}
        draw_lines(out / "sweep.png", lines, experiment.axis, experiment.name)
    if noisy:
        _write_noise(out, experiment, noisy)


def _write_noise(out: Path, experiment: Experiment, noisy: Mapping[str, Mapping[float, Sequence[Mapping[str, float]]]]) -> None:
    """noise.csv: row, level, metric, mean, deviation, seeds; noise.png: a panel for each metric, a line for each row."""
    assert experiment.noise is not None
    panels: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    with (out / "noise.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("row", "noise", "metric", "mean", "deviation", "seeds"))
        for metric in experiment.metrics:
            for label, levels in noisy.items():
                by_level = table_of("", (metric,), {str(level): dict(enumerate(of_seeds)) for level, of_seeds in levels.items()})
                for level in levels:
                    cell = by_level.rows[str(level)][metric]
                    deviation = "" if math.isnan(cell.deviation) else repr(cell.deviation)
                    writer.writerow((label, level, metric, repr(cell.mean), deviation, by_level.seeds[str(level)]))
                    panels.setdefault(short(metric), {}).setdefault(label, []).append((level, cell.mean, cell.deviation))
    axis = f"noise on {experiment.noise.stream}, deviations"
    draw_lines(out / "noise.png", {}, axis, experiment.name, panels=panels)
