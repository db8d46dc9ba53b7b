"""`emofuse adapt`: a checkpoint fitted to a few labelled clips of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from emofuse.adapting import adapt
from emofuse.pipeline.errors import UsageError

from .messages import printable
from .options import options_from, provider_options


@click.command("adapt")
@click.argument("model", metavar="RUN_OR_CHECKPOINT")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Clips with labels.csv, or a folder for each emotion.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the adapted checkpoint.")
@click.option(
    "--rename",
    multiple=True,
    metavar="LABEL=EMOTION",
    help="What a label of yours means; LABEL=none leaves such clips out. May be repeated.",
)
@click.option("--extracted", type=click.Path(path_type=Path), help="Keeps the clips' streams. [default: OUT/extracted]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@provider_options
def command(model: str, data: Path, out: Path, rename: tuple[str, ...], extracted: Path | None, as_json: bool, **values: Any) -> None:
    """Fit RUN_OR_CHECKPOINT (a shipped model's name, a checkpoint's .json, or the folder of a run) to a few labelled clips.

    Fits what few labels can: how likely each emotion is, the temperature, what is usual in the clips, and the last layer. How far is
    chosen by leaving clips out, and so is the report: each clip is answered by a checkpoint that did not learn from it. Where nothing
    helps, OUT holds the checkpoint as it was. `emofuse analyze --model OUT` reads it.
    """
    options = options_from({**values, "model": model})
    report = adapt(data, out, options, rename=renames(rename), extracted=extracted, say=lambda line: click.echo(printable(line), err=True))
    if as_json:
        click.echo(json.dumps(document(report)))
        return
    counts = ", ".join(f"{n} {emotion}" for emotion, n in report.clips.items())
    click.echo(
        f"{sum(report.clips.values())} clips: {counts}"
        + (f"; {report.speakers} speaker{'s' * (report.speakers > 1)}" if report.speakers else "")
    )
    if report.left_out:
        click.echo(printable(f"left out, because they have nothing that the model reads: {', '.join(report.left_out)}"))
    click.echo(table(report))
    click.echo(f"changed: {report.what}")
    click.echo(report.verdict)
    click.echo(out / "best.safetensors")


def renames(given: tuple[str, ...]) -> dict[str, str]:
    """LABEL=EMOTION as label -> emotion; raises `UsageError`."""
    pairs = [text.partition("=") for text in given]
    for text, (label, _, emotion) in zip(given, pairs, strict=True):
        if not label or not emotion:
            raise UsageError(f"--rename {text}: expected LABEL=EMOTION, for instance happy=happiness")
    return {label: emotion for label, _, emotion in pairs}


def table(report: Any) -> str:
    """Scores before and after, one block for each way of leaving out."""
    from emofuse.fusion.adapted import cells

    lines = []
    for by, rows in report.by.items():
        lines.append(f"{'left out: one ' + by + ' at a time':36}{'before':>8}{'after':>8}   difference, 95 %")
        lines += ["  {:34}{:>8}{:>8}   {}".format(*cells(row)) for row in rows]
    return "\n".join(lines)


def document(report: Any) -> dict[str, Any]:
    """The report as JSON values."""
    return {
        "folder": str(report.folder),
        "clips": dict(report.clips),
        "speakers": report.speakers,
        "left_out": list(report.left_out),
        "helps": report.helps,
        "changed": report.changed,
        "what": report.what,
        "verdict": report.verdict,
        "leave_one_out": {
            by: {row.score: {"before": row.before, "after": row.after, "difference": vars(row.difference)} for row in rows}
            for by, rows in report.by.items()
        },
    }
