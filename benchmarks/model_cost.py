"""What a forward pass costs over length: CPU seconds of every fusion model at its default numbers, one utterance, one thread.

    python benchmarks/model_cost.py [--models pmr mcr] [--seconds 5 10 20 40] [--repeat 3]

Streams as `emofuse extract` gives them: per second 3 words of 384 columns, 25 face rows of 60, 100 voice rows of 90.
Weights and inputs are random; no maps are asked for. The slope is log2 of the cost of the longest over that of half its length.
"""

from __future__ import annotations

import argparse
import math
import time

import torch

from emofuse.fusion import MODELS
from emofuse.fusion.batch import Batch

COLUMNS = {"text": 384, "face": 60, "voice": 90}
RATES = {"text": 3, "face": 25, "voice": 100}


def utterance(seconds: float) -> dict[str, Batch]:
    streams = {}
    for name, columns in COLUMNS.items():
        n = round(RATES[name] * seconds)
        times = (torch.arange(n, dtype=torch.float64) / RATES[name])[None]
        streams[name] = Batch(torch.randn(1, n, columns), times, torch.ones(1, n, dtype=torch.bool))
    return streams


def main() -> None:
    arguments = argparse.ArgumentParser(description="Measure the cost of fusion models over length.")
    arguments.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    arguments.add_argument("--seconds", nargs="+", type=float, default=[5, 10, 20, 40])
    arguments.add_argument("--repeat", type=int, default=3)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| model | parameters |", " | ".join(f"{s:g} s" for s in options.seconds), "| slope |")
    for model in options.models:
        kind = MODELS[model]()
        module = kind.module(kind.config(streams=COLUMNS, outputs=8)).eval()
        costs = []
        for seconds in options.seconds:
            streams = utterance(seconds)
            best = math.inf
            for _ in range(options.repeat):
                began = time.process_time()
                with torch.inference_mode():
                    module(streams)
                best = min(best, time.process_time() - began)
            costs.append(best)
        parameters = sum(p.numel() for p in module.parameters())
        slope = math.log(costs[-1] / costs[-2], options.seconds[-1] / options.seconds[-2]) if len(costs) > 1 else math.nan
        print(f"| {model} | {parameters:,} |", " | ".join(f"{c:.3f}" for c in costs), f"| {slope:.2f} |", flush=True)


if __name__ == "__main__":
    main()
