"""`emofuse experiment`: a table of one of the papers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emofuse.fusion.datasets.examples import Dataset
from emofuse.fusion.experiments import EXPERIMENTS
from emofuse.fusion.recipe import Recipe
from emofuse.pipeline.errors import UsageError

from .options import provider_options
from .train import load

MADE_UP = "synthetic"


def experiment_list() -> str:
    return "\n\n".join(f"{name}: {experiment.about} ({experiment.paper})." for name, experiment in EXPERIMENTS.items())


@click.command("experiment", epilog=experiment_list())
@click.argument("name", type=click.Choice(tuple(EXPERIMENTS)), metavar="NAME")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help=f"As for `emofuse train`, or {MADE_UP}: made-up data of CMU-MOSI's size."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the runs and the table.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each row.")
@click.option(
    "--quick", is_flag=True, help="A twentieth of the utterances, at most 40 rows per stream and 64 hidden units, one epoch, two seeds."
)
@click.option("--recipe", default="", metavar="RECIPE", help="Use another of the recipes that the experiment fits.")
@click.option(
    "--row", "rows", multiple=True, metavar="LABEL", help="Only this row; may be repeated. The others are tested against the first."
)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override a value of every row's recipe; see `emofuse train`.")
@click.option("--extracted", type=click.Path(path_type=Path), help="Cache for streams extracted from raw clips. [default: OUT/extracted]")
@provider_options
def command(
    name: str,
    data: Path,
    out: Path,
    seeds: int,
    quick: bool,
    recipe: str,
    rows: tuple[str, ...],
    changes: tuple[str, ...],
    extracted: Path | None,
    **values: Any,
) -> None:
    """Train and score every row of a paper's table with several seeds: mean, deviation and a paired t-test against the first row.

    OUT gets table.csv, table.md and table.tex, a picture of sweeps and noise curves, and a folder for each run. The same command again goes
    on where it stopped. What each paper's table is called here, and what cannot be as printed: docs/papers.md.
    """
    from emofuse.fusion.experiments.running import Settings, run_experiment
    from emofuse.fusion.experiments.tables import to_markdown
    from emofuse.fusion.settings import parse_settings

    experiment = EXPERIMENTS[name]
    settings = Settings(recipe, parse_settings(changes), seeds, quick, rows, values["device"])
    table = run_experiment(
        experiment,
        reader(data, extracted or out / "extracted", values, quick),
        out,
        settings,
        say=lambda line: click.echo(line, err=True),
    )
    click.echo(to_markdown(table))
    if experiment.differs:
        click.echo(experiment.differs)


def reader(data: Path, extracted: Path, values: dict[str, Any], quick: bool) -> Any:
    """What reads the data in a recipe's form; `MADE_UP` makes them, or with `quick` the part that is used."""

    def read(recipe: Recipe) -> Dataset:
        if str(data) == MADE_UP and not data.exists():
            from emofuse.fusion.datasets.made_up import made_up
            from emofuse.fusion.experiments.running import QUICK

            return made_up(recipe, every=QUICK if quick else 1)
        if not data.exists():
            raise UsageError(f"--data {data}: no such file or folder; {MADE_UP} stands for made-up data")
        return load(recipe, data, extracted, values)

    return read
