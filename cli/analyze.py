"""`emofuse analyze`: clips in, a table on stdout, a folder of results for each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from emofuse.assembly import Assembly
from emofuse.fusion.shipped import DEFAULT
from emofuse.pipeline.formats.document import analysis_document
from emofuse.pipeline.formats.registry import WRITABLE, named
from emofuse.pipeline.formats.result_folder import ResultFolders
from emofuse.pipeline.profile import Profile
from emofuse.pipeline.results import Analysis
from emofuse.pipeline.shared_pass import Progress
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.turns import SpeakerFacts
from emofuse.writing import REPORT, write_analysis

from .batch import batch, batch_options, is_batch
from .each_clip import each_clip
from .messages import complain, printable
from .options import provider_options
from .sections import SectionedCommand


@click.command("analyze", cls=SectionedCommand)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("emofuse-results"), show_default=True, help="Folder for the results.")
@click.option("--model", metavar="NAME", help=f"Fusion model by name, or the path of a checkpoint or a training run (default: {DEFAULT}).")
@click.option("--prior", metavar="SHARES", help='How likely emotions are beforehand, as "neutral=0.5" (default: equally likely).')
@click.option(
    "--baseline",
    metavar="auto|none|CLIP",
    default="auto",
    show_default=True,
    help="What is usual for this person: the clip's other utterances, nothing, or a neutral recording (docs/baseline.md).",
)
@click.option(
    "--influence/--no-influence",
    default=True,
    show_default=True,
    help="Compute how much each answer rests on each word, half second and stream.",
)
@click.option("--face-id", type=click.IntRange(min=0), metavar="N", help="Read this face only (default: the one that speaks).")
@click.option("--formats", metavar="LIST", default="", help=f"More formats to write, separated by commas: {', '.join(WRITABLE)}.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per clip on stdout.")
@click.option("--profile", is_flag=True, help="Print when each stage began and ended, on stderr (single clips).")
@batch_options
@click.option("--report/--no-report", default=True, show_default=True, help="Write report.html, an interactive page.")
@click.option("--overlay", is_flag=True, help="Write overlay.mp4: the clip with faces, words and emotions drawn on it.")
@provider_options
def command(paths: tuple[Path, ...], out: Path, formats: str, as_json: bool, profile: bool, **values: Any) -> None:
    """Estimate emotions over time for each clip at PATHS (files, or folders with clips in them), with the attention behind them.

    Writes OUT/NAME/ with report.html, analysis.json, emotions.csv, attention.csv, streams/*.parquet and more. Clips that fail
    are reported on stderr, one line each; the rest continue. Exit code 0: all done, 1: some failed, 2: invalid arguments.

    For a folder, OUT/manifest.csv lists the outcome of each clip and OUT/emotions.csv holds all utterances. Run the same command again
    to do only what is missing, changed or was interrupted (docs/batch.md).
    """

    writing = {"formats": named(formats), "report": values.pop("report"), "overlay": values.pop("overlay")}
    if is_batch(paths, click.get_current_context()):
        sys.exit(batch(paths, out, writing, values, as_json=as_json))

    def work(assembly: Assembly, path: Path, folders: ResultFolders, progress: Progress | None) -> Callable[[], None]:
        stages = Profile()
        analysis = assembly.analyze(path, progress=progress, profile=stages)
        if profile:
            click.echo("\n".join(stages.lines()), err=True)
        for remark in analysis.remarks:
            complain(f"{path}: {remark}")
        folder = folders.folder_for(path)
        files = write_analysis(analysis, folder, **writing)
        if as_json:
            return lambda: click.echo(json.dumps(analysis_document(analysis), ensure_ascii=False))
        return lambda: show(analysis, folder, [f.relative_to(folder) for f in files], assembly.model.name)

    each_clip(paths, out, values, work)


def show(analysis: Analysis, folder: Path, files: list[Path], model: str) -> None:
    """The table for people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def shown(text: str) -> str:
        return escape(printable(text))

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    table = Table(title=shown(f"{Path(analysis.info.path).name}  ({analysis.facts.length:.1f} s, model {model})"), title_justify="left")
    for name in ("start", "end"):
        table.add_column(name, justify="right")
    speakers = any(u.speaker for u in analysis.utterances)
    if speakers:
        table.add_column("who", no_wrap=True)
    table.add_column("emotion")
    table.add_column("p", justify="right")
    table.add_column("next", no_wrap=True)
    table.add_column("sentiment", justify="right")
    table.add_column("text", overflow="fold")
    table.add_column("flags", overflow="fold")
    entries: list[tuple[list[str], Any, str, tuple[str, ...]]] = [
        ([f"{u.span.start:.2f}", f"{u.span.end:.2f}", *([shown(u.speaker)] if speakers else [])], u.prediction, u.text, u.quality.flags)
        for u in analysis.utterances
    ]
    whole = ["clip", "", *([""] if speakers else [])]
    if len(entries) > 1:
        table.add_section()
    for cells, prediction, text, flags in [*entries, (whole, analysis.summary, "", ())]:
        if cells is whole:
            table.add_section()
        if prediction is None:
            table.add_row(*cells, "none", "", "", "", shown(text), " ".join(flags))
            continue
        ranked = sorted(EMOTIONS, key=lambda e: -prediction.probabilities[e])
        first, second = ranked[0], ranked[1]
        sentiment = "" if prediction.sentiment is None else f"{prediction.sentiment:+.2f}"
        runner_up = f"{second} {prediction.probabilities[second]:.2f}"
        table.add_row(*cells, first, f"{prediction.probabilities[first]:.2f}", runner_up, sentiment, shown(text), " ".join(flags))
    console.print(table)
    for name, reason in sorted(analysis.reasons.items()):
        console.print(shown(f"{name}: {reason}"))
    for line in speaker_lines(analysis.facts.speakers):
        console.print(shown(line))
    if analysis.facts.ends_early:
        console.print("The clip ends before its container says it does: it may be cut off.")
    console.print(shown(f"{folder}/: {', '.join(str(f) for f in files)}"), soft_wrap=True)
    if Path(REPORT) in files:
        console.print(shown(f"Look at it in a browser: {folder / REPORT}"), soft_wrap=True)
    console.print()


def speaker_lines(speakers: Sequence[SpeakerFacts]) -> list[str]:
    """One line per speaker: how much they speak, and how that is known."""
    lines = []
    for one in speakers:
        how = {"lips": "by lips", "voice": "by voice", "words": "as the words name them", "file": "as the file says"}[one.by]
        sure = "" if one.confidence is None else f", confidence {one.confidence:.2f}"
        faces = f", face {' and '.join(map(str, one.faces))}" if one.faces else ""
        lines.append(f"speaker {one.name}: {one.seconds:.1f} s in {one.turns} turn{'' if one.turns == 1 else 's'}, {how}{sure}{faces}")
    return lines
