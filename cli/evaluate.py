"""`emofuse evaluate`: a trained run against a split of data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .options import provider_options
from .train import load, score_table


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The data, as for `emofuse train`.")
@click.option("--split", type=click.Choice(("train", "valid", "test")), default="test", show_default=True, help="Which utterances.")
@click.option("--extracted", type=click.Path(path_type=Path), help="Where streams of raw clips are kept. [default: RUN/extracted]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@provider_options
def command(run: Path, data: Path, split: str, extracted: Path | None, as_json: bool, **values: Any) -> None:
    """Score a RUN (the folder that `emofuse train` wrote, or its best.safetensors) on a split that it was not chosen on.

    Writes evaluation_SPLIT.json and confusion_SPLIT.png into the run. Answers without a model (training mean or majority) stand beside the
    scores; intervals are bootstrapped over speakers.
    """
    from emofuse.fusion.evaluate import evaluate, run_recipe

    folder = run.parent if run.suffix == ".safetensors" else run
    dataset = load(run_recipe(folder), data, extracted or folder / "extracted", values)
    found = evaluate(folder, dataset, split=split, device=values["device"])
    if as_json:
        click.echo(json.dumps(json.loads((folder / f"evaluation_{split}.json").read_text(encoding="utf-8"))))
        return
    click.echo(f"{found.split}: {found.utterances} utterances, {found.speakers or 'unnamed'} speakers")
    click.echo(score_table(found.tasks))
