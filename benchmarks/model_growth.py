"""Each fusion model's cost over length, as rows and a picture; part of `make bench` (the table for docs/models.md is model_cost.py's)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from measure import Row, medians
from model_cost import COLUMNS, utterance

from emofuse.fusion import MODELS

LENGTHS = (2.5, 5.0, 10.0, 20.0)
FIVE = ("mult", "pmr", "mcr", "rrnn", "delta")


def cost(model: str, runs: int = 3) -> list[float]:
    """Processor seconds of a forward pass without maps at each of `LENGTHS`, one utterance, one thread."""
    torch.manual_seed(0)
    kind = MODELS[model]()
    module = kind.module(kind.config(streams=COLUMNS, outputs=8)).eval()
    points = []
    for seconds in LENGTHS:
        streams = utterance(seconds)

        def forward(streams: object = streams) -> None:
            with torch.inference_mode():
                module(streams)

        forward()
        points.append(medians({model: forward}, runs)[model])
    return points


def rows(picture: Path) -> Iterator[Row]:
    torch.set_num_threads(1)
    costs = {model: cost(model) for model in FIVE}
    for model, points in costs.items():
        slope = math.log2(points[-1] / points[-2])
        name = f"{model}, an utterance of 10 s (growth 10 to 20 s: length^{slope:.2f})"
        yield Row("fusion", name, points[2], "s", costs["mult"][2], "mult, s", points[2] / costs["mult"][2], None)
    draw(costs, picture)


def draw(costs: dict[str, list[float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    styles = zip(("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000"), ("-", "--", "-.", ":", "-"), strict=True)
    for (model, points), (colour, line) in zip(costs.items(), styles, strict=True):
        axes.plot(LENGTHS, points, line, color=colour, marker="o", label=model)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(LENGTHS, [f"{s:g}" for s in LENGTHS])
    axes.set_xlabel("length of the utterance, s (3 words, 25 face and 100 voice rows per second)")
    axes.set_ylabel("forward pass, s, one thread")
    axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
