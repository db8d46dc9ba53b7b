"""Progress on stderr: how far each extractor is in the clip; nothing where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .messages import printable


@contextmanager
def clip_progress(path: Path) -> Iterator[Callable[[str, float], None] | None]:
    """A callable (stage, seconds of the clip) that keeps a live line, or None in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[stages]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as live:
        task = live.add_task(printable(path.name), total=None, stages="")
        at: dict[str, float] = {}

        def update(stage: str, seconds: float) -> None:
            at[stage] = seconds
            live.update(task, stages="  ".join(f"{name} {value:.0f} s" for name, value in sorted(at.items())))

        yield update
