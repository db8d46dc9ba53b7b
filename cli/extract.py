"""`emofuse extract`: the streams of clips, without a fusion model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from emofuse.assembly import Assembly
from emofuse.pipeline.formats.document import stream_document
from emofuse.pipeline.formats.result_folder import ResultFolders, write_streams
from emofuse.pipeline.shared_pass import Progress
from emofuse.pipeline.timed import TimedSequence

from .each_clip import each_clip
from .messages import complain
from .options import provider_options
from .sections import SectionedCommand


@click.command("extract", cls=SectionedCommand)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("emofuse-results"), show_default=True, help="Folder for the results.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per clip on stdout.")
@provider_options
def command(paths: tuple[Path, ...], out: Path, as_json: bool, **values: Any) -> None:
    """Write the words, text, face and voice streams of each clip at PATHS to OUT/NAME/streams/*.parquet, and transcript.srt.

    Provenance is in analysis.json and in each file's metadata. Exit code 0: all done, 1: some failed, 2: invalid arguments.
    """

    def work(assembly: Assembly, path: Path, folders: ResultFolders, progress: Progress | None) -> Callable[[], None]:
        info, extraction = assembly.extract(path, progress=progress)
        for remark in extraction.remarks:
            complain(f"{path}: {remark}")
        folder = folders.folder_for(path)
        write_streams(info, extraction.streams, folder)
        return lambda: show(path, folder, extraction.streams, as_json)

    each_clip(paths, out, values, work)


def show(path: Path, folder: Path, streams: Mapping[str, TimedSequence], as_json: bool) -> None:
    """A line per stream, or one JSON document."""
    if as_json:
        documents = {name: stream_document(stream) for name, stream in sorted(streams.items())}
        click.echo(json.dumps({"clip": str(path), "folder": str(folder), "streams": documents}, ensure_ascii=False))
        return
    for name, stream in sorted(streams.items()):
        rows = f"{len(stream)} rows x {len(stream.columns)} columns" if len(stream) else f"empty: {stream.reason}"
        click.echo(f"{folder / 'streams' / (name + '.parquet')}: {rows} by {stream.provenance.extractor} {stream.provenance.version}")
