"""CMU-MOSI, official split: the fusion models, the baselines of the papers, and ridge regression, on the same words and voice.

    python benchmarks/mosi_streams.py --data ../shared/data/mosi/mosi_utterances.parquet --out MOSI
    python benchmarks/mosi.py --streams MOSI --out RUNS --seeds 5 [--models mult rrnn] [--seen text text+voice]
    python benchmarks/mosi.py --streams BCLSTM --out RUNS --seeds 5 --seen text text+voice text+voice+video
    python benchmarks/mosi.py --streams MOSI --out TRIAL --seeds 1 --seen text --training one-cycle --validation    # choosing the recipe

Every run is `emofuse.fusion.train.train` with the recipe below and the model's own small config; the epoch is chosen by validation
loss. The test split is read once per run, after training, and not at all with `--validation`. A stream that is not seen is hidden from a
model that has it.
Ridge: the mean of the utterance's word embeddings (and COVAREP means, and the video's), standardised, the penalty chosen on validation.
One line of JSON per run goes to RUNS/results.jsonl; `--table` prints what lies there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.fusion.datasets import FORMATS
from emofuse.fusion.datasets.examples import Dataset, Source
from emofuse.fusion.evaluate import evaluate
from emofuse.fusion.recipe import Recipe
from emofuse.fusion.train import train
from emofuse.pipeline.metrics import evaluate_sentiment, mean_answer

DROPOUTS = {"text": 0.2, "embedding": 0.1, "attention": 0.0, "residual": 0.1, "relu": 0.1, "output": 0.1}
TRANSFORMER: dict[str, Any] = {"width": 40, "heads": 4, "layers": 2, "dropouts": DROPOUTS}
MODELS: dict[str, dict[str, Any]] = {
    "mult": TRANSFORMER,
    "pmr": TRANSFORMER,
    "mcr": TRANSFORMER,
    "delta": {"dropout": 0.2},
    "rrnn": {"hidden": 64, "attention": 64},
    "early-lstm": {"hidden": 64},
    "late-lstm": {"hidden": 64},
}
TRAININGS: dict[str, dict[str, Any]] = {
    "plateau": {"plateau": 2, "stop": 4},
    "one-cycle": {"schedule": "one-cycle", "optimiser": "adamw", "weight_decay": 0.05},
}
"""Which was chosen, on validation: docs/benchmarks.md."""
WIDTHS = {"text": 384, "voice": 73, "video": 100}
SEEN = ("text", "text+voice", "text+voice+video")
SHOWN = ("acc2_non_zero", "acc2_has_zero", "f1_non_zero", "f1_has_zero", "acc7", "mae", "corr")


def recipe(model: str, seen: str, seed: int, epochs: int, training: str, streams: Sequence[str]) -> Recipe:
    table: dict[str, Any] = {
        "name": f"mosi-{model}",
        "data": {"form": "streams", "hide": [s for s in streams if s not in seen.split("+")]},
        "streams": {name: {"width": WIDTHS[name]} for name in streams},
        "tasks": {"sentiment": {"kind": "regress"}},
        "model": {"name": model, **MODELS[model]},
        "training": {"epochs": epochs, "batch": 32, "rate": 1e-3, "clip": 0.8, "grouped": 16, "seed": seed, **TRAININGS[training]},
    }
    return Recipe.of(table, "benchmarks/mosi.py")


def pooled(dataset: Dataset, split: str, seen: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean rows (n f) and sentiment (n) of a split."""
    chosen = [e for e in dataset.examples if e.split == split]
    rows = [np.concatenate([np.nan_to_num(e.streams[s].values).mean(0) for s in seen.split("+")]) for e in chosen]
    return np.array(rows, np.float64), np.array([e.labels["sentiment"] for e in chosen], np.float64)


def ridge(dataset: Dataset, seen: str) -> dict[str, Any]:
    """Test scores of ridge regression whose penalty has the lowest validation error."""
    (x, y), (xv, yv), (xt, yt) = (pooled(dataset, split, seen) for split in ("train", "valid", "test"))
    mean, deviation = x.mean(0), np.where(x.std(0) > 1e-9, x.std(0), 1)
    x, xv, xt = ((rows - mean) / deviation for rows in (x, xv, xt))
    scores = {}
    for penalty in 10.0 ** np.arange(0, 5.5, 0.5):
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (y - y.mean()))
        scores[np.abs(xv @ weights + y.mean() - yv).mean()] = (penalty, weights)
    penalty, weights = scores[min(scores)]
    return {"penalty": float(penalty), **vars(evaluate_sentiment(yt, xt @ weights + y.mean()))}


def table(path: Path) -> str:
    """Mean and standard deviation over seeds, a line per model and what it saw."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [f"| model | sees | seeds | {' | '.join(SHOWN)} |", "|---|---|---|" + "---|" * len(SHOWN)]
    for model, seen in dict.fromkeys((row["model"], row["seen"]) for row in rows):
        mine = [row for row in rows if (row["model"], row["seen"]) == (model, seen)]
        cells = []
        for key in SHOWN:
            values = np.array([row["test"][key] for row in mine]) * (1 if key in ("mae", "corr") else 100)
            digits = 3 if key in ("mae", "corr") else 1
            spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.{digits}f}{spread}")
        lines.append(f"| {model} | {seen} | {len(mine)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train and test on CMU-MOSI.")
    arguments.add_argument("--streams", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    arguments.add_argument("--seen", nargs="+", default=list(SEEN[:2]), choices=SEEN)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--first-seed", type=int, default=1)
    arguments.add_argument("--epochs", type=int, default=6)
    arguments.add_argument("--training", default="plateau", choices=list(TRAININGS))
    arguments.add_argument("--validation", action="store_true", help="leave the test split alone: for choosing the recipe")
    arguments.add_argument("--table", action="store_true")
    options = arguments.parse_args()
    results = options.out / "results.jsonl"
    if options.table:
        print(table(results))
        return
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    streams = [name for name in WIDTHS if any(options.streams.glob(f"*/streams/{name}.parquet"))]
    dataset = FORMATS["streams"](Source(options.streams, dict.fromkeys(streams, "")))

    def note(row: dict[str, Any]) -> None:
        print(row, flush=True)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    done = {(r["model"], r["seen"], r["seed"]) for r in map(json.loads, results.read_text().splitlines())} if results.is_file() else set()
    if ("mean", "nothing", 0) not in done and not options.validation:
        train_truth, test_truth = pooled(dataset, "train", "voice")[1], pooled(dataset, "test", "voice")[1]
        constant = mean_answer(train_truth, len(test_truth))
        note({"model": "mean", "seen": "nothing", "seed": 0, "test": vars(evaluate_sentiment(test_truth, constant))})
        for seen in options.seen:
            note({"model": "ridge", "seen": seen, "seed": 0, "test": ridge(dataset, seen)})
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for model in options.models:
            for seen in options.seen:
                if (model, seen, seed) in done:
                    continue
                began = time.process_time()
                folder = options.out / f"{model}-{seen}-{seed}"
                chosen = recipe(model, seen, seed, options.epochs, options.training, streams)
                run = train(chosen, dataset, folder, device="cpu", resume=True)
                row = {"model": model, "seen": seen, "seed": seed, "validation_mae": run.validation["sentiment"]["scores"]["mae"]}
                row |= {"epochs": len(run.history), "cpu_seconds": round(time.process_time() - began)}
                if not options.validation:
                    scores = evaluate(folder, dataset, device="cpu").tasks["sentiment"]
                    row |= {"test": scores["scores"], "intervals": scores["intervals"]}
                note(row)


if __name__ == "__main__":
    main()
