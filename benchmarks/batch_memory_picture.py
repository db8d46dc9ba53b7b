"""The peak of a worker's memory over a clip's length, as a picture, from the lines that batch_memory.py prints.

    python benchmarks/batch_memory_picture.py benchmarks/memory.jsonl docs/pictures/memory.png

A curve per set of streams; its band ends 10 % above the shortest clip's peak. Of several lines for one length and set, the last counts.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73")
MEGABYTE = 10**6


def curves(lines: list[dict[str, Any]]) -> dict[str, dict[float, dict[str, Any]]]:
    """Streams -> minutes -> the line."""
    by_set: dict[str, dict[float, dict[str, Any]]] = defaultdict(dict)
    for line in lines:
        streams = [stream for stream in ("words", "text", "face", "voice") if line[stream] != "none"]
        by_set[" + ".join(streams)][line["minutes"]] = line
    return {name: dict(sorted(by.items())) for name, by in by_set.items()}


def draw(lines: list[dict[str, Any]]) -> Figure:
    figure = Figure((7, 3.6), layout="constrained")
    axes = figure.subplots()
    for colour, (name, by) in zip(COLOURS, curves(lines).items(), strict=False):
        minutes, peaks = list(by), [line["peak"] / MEGABYTE for line in by.values()]
        axes.plot(minutes, peaks, color=colour, marker="o", label=f"{name}: the highest")
        axes.plot(minutes, [line["warm"] / MEGABYTE for line in by.values()], color=colour, linestyle=":", label=f"{name}: loaded")
        axes.fill_between(minutes, peaks[0], 1.1 * peaks[0], color=colour, alpha=0.12, linewidth=0)
        for at, peak in zip(minutes, peaks, strict=True):
            axes.annotate(f"{peak:.0f}", (at, peak), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    ticks = sorted({minute for by in curves(lines).values() for minute in by})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    axes.set_xticks([], minor=True)
    axes.set(xlabel="minutes of clip", ylabel="a worker's memory, MB", ylim=(0, 1.25 * max(line["peak"] for line in lines) / MEGABYTE))
    axes.legend(loc="lower right", fontsize=8)
    axes.set_title("Shaded: up to 10 % above the shortest clip's", fontsize=9, loc="left")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("lines", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.lines.read_text().splitlines()]
    draw(rows).savefig(arguments.picture, dpi=120)


if __name__ == "__main__":
    main()
