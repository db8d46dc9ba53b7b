"""`emofuse train`: a fusion model from a recipe and data."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from emofuse.assembly import Assembly
from emofuse.fusion.datasets import FORMATS
from emofuse.fusion.datasets.examples import Dataset, Source
from emofuse.fusion.recipe import Recipe, find, shipped
from emofuse.fusion.settings import parse_settings, with_settings
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.formats.parquet import read_stream
from emofuse.pipeline.formats.result_folder import write_streams
from emofuse.pipeline.timed import TimedSequence

from .options import options_from, provider_options

Row = dict[str, Any]


@click.command("train", epilog=f"Recipes that come with emofuse: {', '.join(shipped())}.")
@click.argument("recipe")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The data: a file or folder of the recipe's form.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the run.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run in OUT.")
@click.option("--seed", type=int, help="Override the recipe's seed.")
@click.option("--epochs", type=click.IntRange(min=1), help="Override the recipe's number of epochs.")
@click.option("--fold", type=click.IntRange(min=0), help="Override the recipe's fold.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value of the recipe by its place, model.layers=2; may be repeated.",
)
@click.option("--hide", multiple=True, metavar="STREAM", help="Leave this stream out of training; may be repeated.")
@click.option("--extracted", type=click.Path(path_type=Path), help="Cache for streams extracted from raw clips. [default: OUT/extracted]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@provider_options
def command(
    recipe: str,
    data: Path,
    out: Path,
    resume: bool,
    seed: int | None,
    epochs: int | None,
    fold: int | None,
    hide: tuple[str, ...],
    settings: tuple[str, ...],
    extracted: Path | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Train a fusion model as RECIPE (a TOML file, or the name of one that comes with emofuse) says.

    OUT gets recipe.json, metrics.csv, best.safetensors with best.json, curves.png, confusion.png and state.safetensors (for --resume).
    The epoch is chosen on validation; the test split is left alone (`emofuse evaluate`). The providers matter for raw clips only.
    """
    from emofuse.fusion.run_folder import plain
    from emofuse.fusion.train import train

    chosen = changed(with_settings(find(recipe), parse_settings(settings)), seed=seed, epochs=epochs, fold=fold, hide=hide)
    dataset = load(chosen, data, extracted or out / "extracted", values)
    with epoch_progress(chosen) as progress:
        run = train(
            chosen, dataset, out, device=values["device"], resume=resume, progress=progress, say=lambda line: click.echo(line, err=True)
        )
    if as_json:
        click.echo(json.dumps({"folder": str(run.folder), "epochs": len(run.history), "validation": plain(run.validation)}))
        return
    click.echo(run.folder / "best.safetensors")
    click.echo(score_table(run.validation))


def changed(recipe: Recipe, *, seed: int | None, epochs: int | None, fold: int | None, hide: tuple[str, ...] = ()) -> Recipe:
    """The recipe with the command line's numbers; `epochs` counts for every stage."""
    if unknown := [stream for stream in hide if stream not in recipe.streams]:
        raise UsageError(f"--hide {', '.join(unknown)}: the recipe has {', '.join(recipe.streams)}")
    training, stages, splits = recipe.training, recipe.stages, recipe.splits
    if seed is not None:
        training = dataclasses.replace(training, seed=seed)
    if epochs is not None:
        training = dataclasses.replace(training, epochs=epochs)
        stages = tuple(dataclasses.replace(stage, epochs=epochs) for stage in stages)
    if fold is not None:
        splits = dataclasses.replace(splits, fold=fold)
    data = dataclasses.replace(recipe.data, hide=(*recipe.data.hide, *(s for s in hide if s not in recipe.data.hide)))
    return dataclasses.replace(recipe, training=training, stages=stages, splits=splits, data=data)


def load(recipe: Recipe, data: Path, extracted: Path, values: Mapping[str, Any]) -> Dataset:
    """The dataset in the recipe's form; raw clips are extracted into `extracted` once, by the providers that were chosen."""
    if recipe.data.form not in FORMATS:
        raise UsageError(f"{recipe.name}: data.form: no form {recipe.data.form!r}; there are {', '.join(FORMATS)}")
    wanted = {part.source or name for name, part in recipe.streams.items()}
    align = values.get("align", "none")
    needed = wanted | ({"words"} if "text" in wanted or align == "words" else set())
    options = {**values, **{stream: "none" for stream in ("words", "text", "face", "voice") if stream not in needed}}
    assembly: list[Assembly] = []  # made when the first clip needs it: reading finished streams must load no model

    def extract(clip: Path) -> Mapping[str, TimedSequence]:
        folder = extracted / clip.stem
        if not all((folder / "streams" / f"{name}.parquet").is_file() for name in wanted):
            if not assembly:
                assembly.append(Assembly(options_from(options), say=lambda line: click.echo(line, err=True)))
            info, extraction = assembly[0].extract(clip)
            write_streams(info, extraction.streams, folder)
        streams = {name: read_stream(folder / "streams" / f"{name}.parquet") for name in wanted}
        for name in ("face", "voice"):
            if name in streams and (kept := streams[name].provenance.options.get("align", "none")) != align:
                raise UsageError(f"{folder}: holds {name} extracted with --align {kept}, not {align}; give --extracted another folder")
        return streams

    names = {name: part.source for name, part in recipe.streams.items()}
    return FORMATS[recipe.data.form](Source(data, names, recipe.data.labels, extract))


@contextmanager
def epoch_progress(recipe: Recipe) -> Iterator[Callable[[Row], None]]:
    """A bar over all epochs on a terminal, a line per epoch elsewhere; on stderr."""

    def line(row: Row) -> str:
        text = f"{row['phase']} epoch {row['epoch']}: loss {row['train_loss']:.4f}, "
        text += "" if math.isnan(row["valid_loss"]) else f"validation {row['valid_loss']:.4f}, "
        return text + f"{row['seconds']:.1f} s"

    if not sys.stderr.isatty():
        yield lambda row: click.echo(line(row), err=True)
        return
    from rich.console import Console
    from rich.progress import Progress

    total = sum(stage.epochs for stage in recipe.stages) or recipe.training.epochs
    with Progress(console=Console(stderr=True), transient=True) as live:
        task = live.add_task(recipe.name, total=total)
        yield lambda row: live.update(task, advance=1, description=f"{recipe.name}: {line(row)}")


def score_table(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Every single number of each task beside that of an answer without a model, and its interval where there is one."""
    lines = []
    for name, facts in tasks.items():
        baseline = "training mean" if "mae" in facts["scores"] or "mae_sum" in facts["scores"] else "majority"
        lines.append(f"{name:24}{'model':>10}{baseline:>16}   95 % over speakers")
        for key, value in facts["scores"].items():
            if not isinstance(value, int | float):
                continue
            other, interval = facts["baseline"][key], facts.get("intervals", {}).get(key)
            text = f"{value:10d}{other:16d}" if isinstance(value, int) else f"{value:10.4f}{other:16.4f}"
            lines.append(f"  {key:22}{text}" + (f"   {interval['low']:.4f} to {interval['high']:.4f}" if interval else ""))
        for label in facts["scores"].get("labels", ()):
            if isinstance(label, Mapping):
                numbers = ", ".join(f"{key} {value:.4f}" for key, value in label.items() if key != "label")
                lines.append(f"  {label['label']}: {numbers}")
    return "\n".join(lines)
