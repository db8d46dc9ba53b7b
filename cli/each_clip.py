"""What `analyze` and `extract` share: find the clips, do the work for each, one line for each that fails, an exit code at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from emofuse.assembly import Assembly
from emofuse.pipeline.batch.discovery import discover
from emofuse.pipeline.errors import EmofuseError
from emofuse.pipeline.formats.result_folder import ResultFolders
from emofuse.pipeline.shared_pass import Progress

from .messages import complain
from .options import options_from
from .progress import clip_progress

Work = Callable[[Assembly, Path, ResultFolders, Progress | None], Callable[[], None]]
"""Does one clip's work, writes it into the folder that is its own, and returns what prints it."""


def each_clip(paths: Sequence[Path], out: Path, values: dict[str, Any], work: Work) -> NoReturn:
    """Exits with 0 if all went well, 1 if some failed; a `UsageError` ends the command before the first clip."""
    discovery = discover(paths)
    for name, reason in discovery.problems:
        complain(f"{name}: {reason}")
    failed = len(discovery.problems)
    for refused in (clip for clip in discovery.clips if clip.message is not None):
        complain(refused.message)
        failed += 1
    clips = [Path(clip.named) for clip in discovery.clips if clip.message is None]
    if not clips:
        sys.exit(1)
    assembly = Assembly(options_from(values), say=lambda line: click.echo(line, err=True))
    _ = assembly.choices  # an invalid option ends the command here, not clip by clip
    folders = ResultFolders(out)
    for path in clips:
        try:
            with clip_progress(path) as progress:
                show = work(assembly, path, folders, progress)
        except EmofuseError as error:
            complain(error)
            failed += 1
        else:
            show()
    sys.exit(1 if failed else 0)
