"""A batch's live line on stderr: how many, how fast, how long still; nothing where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Pace:
    """Clips an hour and seconds left, from the bytes that are done: long clips take longer than short ones.

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
        return f"{self.settled}/{self.clips} clips, {3600 * self.worked / seconds:.0f} an hour, {clock(left)} left"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


@contextmanager
def batch_progress() -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """A callable that takes the batch's events."""
    if not sys.stderr.isatty():
        yield lambda event, facts: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

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

        def take(event: str, facts: Mapping[str, Any]) -> None:
            nonlocal pace
            if event == "plan":
                pace = Pace(facts["clips"], facts["bytes"], time.monotonic())
                live.update(task, total=max(1, facts["clips"]))
            elif event == "progress":
                in_hand[facts["path"]] = f"{facts['stage']} {facts['at']:.0f} s"
            elif event == "outcome" and pace is not None:
                in_hand.pop(facts["path"], None)
                pace.settle(facts["how"], facts["record"].bytes or 0)
                live.advance(task)
            if pace is not None:
                now = "  ".join(f"{Path(path).name}: {what}" for path, what in list(in_hand.items())[:3])
                live.update(task, pace=pace.text(time.monotonic()), now=now)

        yield take
