"""What the parts of `make bench` share: rows of the table, medians of alternating runs, clips to measure on."""

from __future__ import annotations

import math
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    value, rival  what was measured, in `unit`; rival None: there is nobody to compare with
    ratio         the number that the target speaks of (value, or value against rival); the one that --check watches
    target        ("<=" or ">=", number) or None
    floor         what cannot be avoided, in words
    """

    area: str
    what: str
    value: float
    unit: str
    rival: float | None
    against: str
    ratio: float
    target: tuple[str, float] | None
    floor: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None or math.isnan(self.ratio):
            return None
        sign, wanted = self.target
        return self.ratio <= wanted if sign == "<=" else self.ratio >= wanted

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}

    def line(self) -> str:
        rival = "" if self.rival is None else f"{self.rival:.3g}"
        wanted = "" if self.target is None else f"{self.target[0]} {self.target[1]:g}"
        met = {None: "", True: "yes", False: "**no**"}[self.met]
        return (
            f"| {self.what} | {self.value:.3g} {self.unit} | {rival} {self.against} | {self.ratio:.2f} | {wanted} | {met} | {self.floor} |"
        )


@dataclass(frozen=True)
class Process:
    """What a process and all that it started cost: seconds by the clock, seconds of processor."""

    wall: float
    processor: float


def wall(task: Callable[[], object]) -> float:
    begin = time.perf_counter()
    task()
    return time.perf_counter() - begin


def medians(tasks: Mapping[str, Callable[[], object]], runs: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Median seconds of each task by `clock`; the tasks take turns, so that a busy minute hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(runs):
        for name, task in tasks.items():
            begin = clock()
            task()
            seconds[name].append(clock() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def processes(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, Process]:
    """Median cost of each command as a whole process; the commands take turns, so that a busy minute hits all of them."""
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            before, begin = processor_seconds_of_children(), time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            costs[name].append((time.perf_counter() - begin, processor_seconds_of_children() - before))
    return {name: Process(*(statistics.median(column) for column in zip(*pairs, strict=True))) for name, pairs in costs.items()}


def processor_seconds_of_children() -> float:
    """Of all processes that this one started, and theirs, that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def high_water() -> int:
    """KiB: this process's resident memory at its highest. (`getrusage` would count what its parent had when it was started.)"""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def talking_clip(folder: Path, seconds: float, size: int = 512) -> Path:
    """The sample clip over and over, as H.264 and AAC at 25 frames per second."""
    path = folder / f"talking_{seconds:g}.mp4"
    source = ffmpeg.input(str(ROOT / "samples" / "smile.mp4"), stream_loop=-1, t=seconds)
    picture = source.video.filter("scale", size, size)
    output = ffmpeg.output(picture, source.audio, str(path), t=seconds, vcodec="libx264", preset="veryfast", acodec="aac", r=25)
    output.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True, overwrite_output=True)
    return path
