"""`emofuse convert`: results, or a file of another program, in another format."""

from __future__ import annotations

from pathlib import Path

import click

from emofuse.conversion import convert
from emofuse.pipeline.formats.registry import WRITABLE


@click.command("convert")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", metavar="FORMAT", help=f"{', '.join(WRITABLE)} (default: by OUT's name).")
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True), metavar="RATE", help="Frames per second, for face tables that only count frames."
)
def command(source: Path, target: Path, to: str | None, fps: float | None) -> None:
    """Write IN as OUT. IN is a result folder, a folder of them, or a file or folder of a format that can be read; docs/formats.md says what
    each holds and what it cannot.

    Several clips make one file where the format holds several (rttm, csd, mmsa, bids). Of the others, an OUT without an extension is a
    folder, with a file for each clip.
    """
    for path in convert(source, target, to.lower() if to else None, fps=fps):
        click.echo(str(path))
