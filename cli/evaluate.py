"""`emofuse evaluate`: a trained run against a split of data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from emofuse.pipeline.errors import UsageError

from .options import provider_options
from .train import load, score_table


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The data, as for `emofuse train`.")
@click.option("--split", type=click.Choice(("train", "valid", "test")), default="test", show_default=True, help="Which utterances.")
@click.option("--extracted", type=click.Path(path_type=Path), help="Cache for streams extracted from raw clips. [default: RUN/extracted]")
@click.option("--maps", is_flag=True, help="Attention maps as arrays and pictures, into RUN/attention_SPLIT.")
@click.option("--gates", is_flag=True, help="Gates as arrays and tables, MCR's alpha by source as a picture, into RUN/attention_SPLIT.")
@click.option("--utterance", "utterances", multiple=True, metavar="NAME", help="Whose maps and gates (once each). [default: the first 3]")
@click.option("--most", type=click.IntRange(min=1), default=3, show_default=True, help="How many utterances' maps and gates.")
@click.option("--noise", metavar="STREAM=LEVEL", help="Gaussian noise on a stream, in deviations of its training columns: face=1.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@provider_options
def command(
    run: Path,
    data: Path,
    split: str,
    extracted: Path | None,
    maps: bool,
    gates: bool,
    utterances: tuple[str, ...],
    most: int,
    noise: str | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Score a RUN (the folder that `emofuse train` wrote, or its best.safetensors) on a split that it was not chosen on.

    Writes evaluation_SPLIT.json and confusion_SPLIT.png into the run. Answers without a model (training mean or majority) stand beside the
    scores; intervals are bootstrapped over speakers. With noise, the files' names say so.
    """
    from emofuse.fusion.evaluate import evaluate, run_recipe

    folder = run.parent if run.suffix == ".safetensors" else run
    dataset = load(run_recipe(folder), data, extracted or folder / "extracted", values)
    level = noise_of(noise)
    evaluation = evaluate(folder, dataset, split=split, device=values["device"], noise=level)
    if maps or gates:
        from emofuse.fusion.evaluate import Trained
        from emofuse.fusion.inspection import inspect, write_inspection

        chosen = inspect(Trained.of(folder, dataset, values["device"]), split=split, names=utterances, most=most)
        names = write_inspection(chosen, folder / f"attention_{split}", maps=maps, gates=gates)
        click.echo(f"{folder / f'attention_{split}'}: {', '.join(names)}", err=True)
    if as_json:
        suffix = level.suffix if level else ""
        click.echo(json.dumps(json.loads((folder / f"evaluation_{split}{suffix}.json").read_text(encoding="utf-8"))))
        return
    click.echo(f"{evaluation.split}: {evaluation.utterances} utterances, {evaluation.speakers or 'unnamed'} speakers")
    click.echo(score_table(evaluation.tasks))


def noise_of(text: str | None) -> Any:
    """ "face=1" -> `Noise`; None for None. Raises `UsageError`."""
    from emofuse.fusion.evaluate import Noise

    if text is None:
        return None
    stream, _, level = text.partition("=")
    try:
        value = float(level)
    except ValueError:
        value = -1.0
    if not stream or not 0 <= value < float("inf"):
        raise UsageError(f"--noise {text}: expected STREAM=LEVEL with a level of 0 or more, for instance face=1")
    return Noise(stream, value)
