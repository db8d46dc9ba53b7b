"""`emofuse plot`: pictures of results and of training runs, as PNG, SVG or PDF."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import click

from emofuse.pipeline.errors import FormatError, UsageError

KINDS = ("timeline", "attention", "influence", "units", "confusion", "curves")
SUFFIXES = (".png", ".svg", ".pdf")


@click.command("plot")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--utterance", type=click.IntRange(min=0), default=0, show_default=True, help="attention: of this utterance.")
@click.option("--from", "looks", metavar="STREAM", help="attention: whose rows look (default: text, or what there is).")
@click.option("--at", "looked_at", metavar="STREAM", help="attention: whose rows are looked at (default: voice, or what there is).")
@click.option("--layer", type=int, metavar="N", help="attention: from 1 (default: the last).")
@click.option("--head", type=int, metavar="N", help="attention: from 1 (default: the mean of all).")
@click.option("--dpi", type=click.IntRange(30, 600), default=120, show_default=True, help="PNG: dots per inch.")
def command(kind: str, source: Path, target: Path, dpi: int, **values: Any) -> None:
    """Draw SOURCE into TARGET (.png, .svg or .pdf).

    \b
    timeline   a result folder: emotions, sentiment, words, attention, action units and pitch over time
    attention  a result folder: one map of one utterance
    influence  a result folder: what the answers rest on, over time
    units      a result folder: the face's action units
    confusion  an evaluation_SPLIT.json of `emofuse evaluate`
    curves     a run folder of `emofuse train`, or its metrics.csv
    """
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{target}: expected a name that ends with {', '.join(SUFFIXES)}")
    figure = drawn(kind, source, values)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, dpi=dpi)
    except OSError as error:
        raise FormatError(f"{target}: expected a file that can be written, got {error.strerror or error}") from None
    click.echo(str(target))


def drawn(kind: str, source: Path, values: dict[str, Any]) -> Any:
    """The figure; raises `FormatError` where SOURCE is not what the kind needs."""
    from emofuse.pipeline.formats.result_folder import read_analysis
    from emofuse.pipeline.views import plots

    if kind == "curves":
        return plots.figure_of(plots.curves(history_of(source)))
    if kind == "confusion":
        return plots.figure_of(plots.confusion(*counts_of(source)))
    analysis = read_analysis(source)
    if kind == "timeline":
        return plots.timeline(analysis)
    if kind == "influence":
        return plots.influence(analysis)
    if kind == "units":
        return plots.figure_of(plots.action_units(analysis))
    if 0 in (values["layer"], values["head"]):
        raise UsageError("--layer and --head count from 1")
    layer = -1 if values["layer"] is None else values["layer"] - 1
    head = None if values["head"] is None else values["head"] - 1
    chosen = plots.attention_matrix(analysis, values["utterance"], values["looks"], values["looked_at"], layer=layer, head=head)
    return plots.figure_of(chosen)


def history_of(source: Path) -> list[dict[str, str]]:
    path = source / "metrics.csv" if source.is_dir() else source
    try:
        with path.open(encoding="utf-8", newline="") as file:
            history = list(csv.DictReader(file))
        if not history or not {"phase", "epoch", "train_loss", "valid_loss"} <= set(history[0]):
            raise ValueError("no epochs")
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: expected the metrics.csv of a run that `emofuse train` made ({error})") from None
    return history


def counts_of(source: Path) -> tuple[Any, list[str], str]:
    """Counts, labels and a title from the first task with classes."""
    import numpy as np

    try:
        document = json.loads(source.read_text(encoding="utf-8"))
        name, scores = next((name, task["scores"]) for name, task in document["tasks"].items() if "confusion" in task["scores"])
        return np.array(scores["confusion"], np.int64), list(scores["labels"]), f"{name}, {document['split']}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise FormatError(f"{source}: expected an evaluation_SPLIT.json of `emofuse evaluate` with classes ({error!r})") from None
