"""A batch's live line on stderr: how many, how fast, how long still; nothing where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .messages import printable

if TYPE_CHECKING:
    from emofuse.pipeline.batch.events import Listener


class Pace:
    """Clips per hour and seconds left, from the bytes that are done: long clips take longer than short ones.

    Clips that need no work say nothing about the pace and are left out of it.
    """

    def __init__(self, clips: int, size: int, now: float) -> None:
        self.clips, self.size, self.begin = clips, size, now
        self.settled = self.worked = self.worked_bytes = self.settled_bytes = 0

    def settle(self, how: str, size: int) -> None:
        self.settled += 1
        self.settled_bytes += size
        if how == "done":
            self.worked += 1
            self.worked_bytes += size

    def text(self, now: float) -> str:
        seconds = now - self.begin
        if not self.worked or seconds <= 0:
            return f"{self.settled}/{self.clips} clips"
        left = (self.size - self.settled_bytes) * seconds / max(1, self.worked_bytes)
        return f"{self.settled}/{self.clips} clips, {3600 * self.worked / seconds:.0f} per hour, {clock(left)} left"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


@contextmanager
def batch_progress() -> Iterator[Listener]:
    """A callable that takes the batch's events."""
    if not sys.stderr.isatty():
        yield lambda event: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from emofuse.pipeline.batch.events import Event, Finished, Planned, Progressed

    columns = (
        BarColumn(),
        TextColumn("{task.fields[pace]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}", markup=False),
    )
    in_hand: dict[str, str] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as live:
        task = live.add_task("", total=None, pace="", now="")
        pace: Pace | None = None

        def take(event: Event) -> None:
            nonlocal pace
            if isinstance(event, Planned):
                pace = Pace(event.clips, event.bytes, time.monotonic())
                live.update(task, total=max(1, event.clips))
            elif isinstance(event, Progressed):
                in_hand[event.path] = f"{event.stage} {event.at:.0f} s"
            elif isinstance(event, Finished) and pace is not None:
                in_hand.pop(event.path, None)
                pace.settle(event.kind, event.record.bytes or 0)
                live.advance(task)
            if pace is not None:
                now = "  ".join(printable(f"{Path(path).name}: {what}") for path, what in list(in_hand.items())[:3])
                live.update(task, pace=pace.text(time.monotonic()), now=now)

        yield take
