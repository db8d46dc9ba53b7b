"""`emofuse extract`: the streams of clips, without a fusion model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from emofuse import __version__
from emofuse.assembly import Assembly
from emofuse.pipeline.errors import EmofuseError
from emofuse.pipeline.exports.document import stream_document
from emofuse.pipeline.results import ResultFolders, write_streams

from .messages import complain
from .options import find_clips, options_from, provider_options
from .progress import clip_progress


@click.command("extract")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("emofuse-results"), show_default=True, help="Folder for the results.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a clip on stdout, for machines.")
@provider_options
def command(paths: tuple[Path, ...], out: Path, as_json: bool, **values: Any) -> None:
    """Words, text, face and voice streams of each clip at PATHS, written as OUT/NAME/streams/*.parquet with transcript.srt.

    Provenance is in analysis.json and in each file's metadata. Exit code 0: all done, 1: some failed, 2: the command cannot be meant.
    """
    clips, problems = find_clips(paths)
    for path, reason in problems:
        complain(f"{path}: {reason}")
    failed = len(problems)
    if not clips:
        sys.exit(1)
    assembly = Assembly(options_from(values), say=lambda line: click.echo(line, err=True))
    _ = assembly.choices  # an option that cannot be meant ends the command here, not clip by clip
    folders = ResultFolders(out)
    for path in clips:
        try:
            with clip_progress(path) as progress:
                info, extraction = assembly.extract(path, progress=progress)
                folder = folders.folder_for(path)
                write_streams(info, extraction.streams, folder, version=__version__)
        except EmofuseError as error:
            complain(error)
            failed += 1
            continue
        if as_json:
            streams = {name: stream_document(stream) for name, stream in sorted(extraction.streams.items())}
            click.echo(json.dumps({"clip": str(path), "folder": str(folder), "streams": streams}, ensure_ascii=False))
            continue
        for name, stream in sorted(extraction.streams.items()):
            rows = f"{len(stream)} rows x {len(stream.columns)} columns" if len(stream) else f"empty: {stream.reason}"
            click.echo(f"{folder / 'streams' / (name + '.parquet')}: {rows} by {stream.provenance.extractor} {stream.provenance.version}")
    sys.exit(1 if failed else 0)
