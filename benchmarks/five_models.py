"""The five models with the components that name them, on two streams of real data: CMU-MOSI's words and voice, two of RAVDESS's and
EmoDB's voices.

    python benchmarks/mosi_streams.py --data ../shared/data/mosi/mosi_utterances.parquet --out MOSI
    python -m training.fusion_checkpoints.extract_voices --data ../shared/data --out VOICES --copy 0
    OMP_NUM_THREADS=1 python benchmarks/five_models.py mosi --data MOSI --out RUNS [--seeds 5] [--rows mcr "mcr, flat"]
    OMP_NUM_THREADS=1 python benchmarks/five_models.py ravdess --data VOICES --out RUNS
    OMP_NUM_THREADS=1 python benchmarks/five_models.py emodb --data VOICES --out RUNS

Every row is `emofuse.fusion.train.train` with one recipe; the rows differ in the model alone:

    mult       two crossmodal layers for each pair, then self-attention
    pmr, mcr   two layers, the fewest that have what their papers are about: a hub that is read again, sources that are updated (SUM)
    flat       the attention layer over branches as printed, whose weights span time
    delta      the paper's stages: each stream by itself, encoders by DCCA, the fusion
    rrnn       three hops, all gates

Streams: of MOSI, MiniLM's words (384 columns, as published) and one row of COVAREP means per utterance. Of the voices, "heard", Whisper
tiny.en's encoder (384 columns, means over 0.32 s), and "level", the logarithm of rms (one column, means over 0.16 s). Speakers are apart:
MOSI's official split; the actors in five folds, of which seed k tests fold k and validates by the next, so that ± holds both. EmoDB's
boredom is a class like the others. The table has mean, deviation and a paired t-test against MulT over seeds
(fusion/experiments/tables.py). Runs that are finished are not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.fusion.checkpoints import load
from emofuse.fusion.datasets import FORMATS
from emofuse.fusion.datasets.actors import RAVDESS
from emofuse.fusion.datasets.examples import Dataset, Example, Source
from emofuse.fusion.evaluate import evaluate
from emofuse.fusion.experiments.running import slug
from emofuse.fusion.experiments.tables import table_of, to_markdown
from emofuse.fusion.recipe import Recipe
from emofuse.fusion.run_folder import BEST
from emofuse.fusion.train import train
from emofuse.pipeline.timed import Provenance, TimedSequence

WIDTH = 16
DROPOUTS = {"embedding": 0.1, "attention": 0.0, "residual": 0.1, "relu": 0.1, "output": 0.1}
TRANSFORMER: dict[str, Any] = {"width": WIDTH, "heads": 2, "layers": 2, "dropouts": DROPOUTS}
ROWS: dict[str, dict[str, Any]] = {
    "mult": {"name": "mult", **TRANSFORMER, "memory_layers": 2},
    "pmr": {"name": "pmr", **TRANSFORMER},
    "mcr": {"name": "mcr", **TRANSFORMER},
    "delta": {"name": "delta", "channels": WIDTH, "heads": 2, "width": WIDTH, "encoded": WIDTH, "fused": WIDTH, "dropout": 0.2},
    "rrnn": {"name": "rrnn", "hidden": 48, "attention": 48, "dropout": 0.3},
    "pmr, flat": {"name": "pmr", **TRANSFORMER, "branch_attention": "flat"},
    "mcr, flat": {"name": "mcr", **TRANSFORMER, "branch_attention": "flat", "bounded_score": False},
}
EPOCHS = {"mosi": 6, "ravdess": 8, "emodb": 8}
EMODB = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral"}
FOLDS = 5
HEARD, LEVEL = 16, 8
"""Rows of 20 ms in one row of each stream of a voice."""
METRICS = {
    "mosi": ("sentiment.acc2_non_zero", "sentiment.f1_non_zero", "sentiment.acc7", "sentiment.mae", "sentiment.corr"),
    "ravdess": ("emotion.accuracy", "emotion.uar", "emotion.macro_f1"),
    "emodb": ("emotion.accuracy", "emotion.uar", "emotion.macro_f1"),
}


def voices(folder: Path, corpus: str) -> Dataset:
    """The clips of one corpus out of FOLDER/voice_0.npz (training/fusion_checkpoints/extract_voices.py)."""
    examples = []
    with np.load(folder / "voice_0.npz", allow_pickle=False) as kept:
        columns, row_seconds = tuple(str(c) for c in kept["columns"]), float(kept["row_seconds"])
        ends = np.cumsum(kept["lengths"])
        names, values = [str(name) for name in kept["names"]], kept["values"]
        made = Provenance("whisper-rows", "1", options={"row_seconds": row_seconds})
        for name, end, length in zip(names, ends, kept["lengths"], strict=True):
            if ("-" in name) == (corpus == "ravdess"):
                rows = values[end - length : end].astype(np.float32)
                level = np.log10(rows[:, :1] + 1e-5)
                streams = {
                    "heard": _windows("heard", columns[1:], rows[:, 1:], HEARD, row_seconds, made),
                    "level": _windows("level", ("log_rms",), level, LEVEL, row_seconds, made),
                }
                label, speaker = (RAVDESS.emotions[name.split("-")[2]], name.split("-")[6]) if "-" in name else (EMODB[name[5]], name[:2])
                examples.append(Example(name, streams, {"emotion": label}, "", speaker))
    return Dataset(corpus, tuple(examples))


def _windows(
    name: str, columns: tuple[str, ...], rows: NDArray[np.float32], size: int, row_seconds: float, made: Provenance
) -> TimedSequence:
    """Means over windows of `size` rows; the last may be shorter."""
    first = np.arange(0, len(rows), size)
    last = np.minimum(first + size, len(rows))
    means = (np.add.reduceat(rows.astype(np.float64), first, axis=0) / (last - first)[:, None]).astype(np.float32)
    return TimedSequence(name, columns, means, (first * row_seconds).astype(np.float64), (last * row_seconds).astype(np.float64), made)


def lengths_of(dataset: Dataset) -> dict[str, int]:
    """The most rows of each stream, which the flat forms' weights span."""
    return {m: max(len(e.streams[m]) for e in dataset.examples) for m in dataset.examples[0].streams}


def recipe(data: str, row: str, seed: int, lengths: Mapping[str, int]) -> Recipe:
    """seed: 1, 2, ..; it also says which fold is tested. Every stage of delta-attention has half of the epochs, DCCA twice as many."""
    epochs, batch = EPOCHS[data], 32
    model = dict(ROWS[row])
    if model.get("branch_attention") == "flat":
        model["lengths"] = dict(lengths)
    stage = {"batch": batch, "rate": 1e-3, "weight_decay": 1e-4}
    stages = [{"name": "streams", "epochs": epochs // 2, **stage}, {"name": "encoders", "epochs": 2 * epochs, **stage, "batch": 256}]
    classes = sorted(set(RAVDESS.emotions.values() if data == "ravdess" else EMODB.values()))
    table: dict[str, Any] = {
        "name": f"{data} {row}",
        "data": {"form": "streams"},
        "splits": {"by": "data"} if data == "mosi" else {"by": "speaker", "folds": FOLDS, "fold": (seed - 1) % FOLDS},
        "streams": {name: {} for name in lengths},
        "tasks": {"sentiment": {"kind": "regress"}} if data == "mosi" else {"emotion": {"kind": "classes", "labels": classes}},
        "model": model,
        "training": {"epochs": epochs, "batch": batch, "rate": 1e-3, "grouped": 16, "plateau": 3, "seed": seed},
    }
    if row == "delta":
        table["stages"] = [*stages, {"name": "fused", "epochs": epochs // 2, **stage}]
    return Recipe.of(table, "benchmarks/five_models.py")


def run(data: str, dataset: Dataset, out: Path, rows: Sequence[str], seeds: int) -> str:
    """Trains and tests what is missing; the table, and under it what a run of each row took and its parameters."""
    lengths = lengths_of(dataset)
    scores: dict[str, dict[int, dict[str, float]]] = {row: {} for row in rows}
    costs: dict[str, list[float]] = {row: [] for row in rows}
    sizes: dict[str, int] = {}
    for seed in range(1, seeds + 1):
        for row in rows:
            folder = out / data / slug(row) / f"seed-{seed}"
            done = folder / "result.json"
            if not done.is_file():
                began = time.process_time()
                train(recipe(data, row, seed, lengths), dataset, folder, device="cpu", resume=True)
                found = evaluate(folder, dataset, device="cpu").tasks
                result = {m: found[m.split(".")[0]]["scores"][m.split(".")[1]] for m in METRICS[data]}
                result |= {
                    "seconds": time.process_time() - began,
                    "parameters": sum(p.numel() for p in load(folder / BEST)[1].parameters()),
                }
                done.write_text(json.dumps(result) + "\n", encoding="utf-8")
            result = json.loads(done.read_text(encoding="utf-8"))
            scores[row][seed] = {m: result[m] for m in METRICS[data]}
            costs[row].append(result["seconds"])
            sizes[row] = result["parameters"]
            print(f"{data}, {row}, seed {seed}:", {m: round(v, 4) for m, v in result.items()}, flush=True)
    costly = ", ".join(f"{row} {np.mean(found):.0f} ({sizes[row]:,})" for row, found in costs.items())
    table = to_markdown(table_of(f"{data}, {len(dataset.examples)} utterances", METRICS[data], scores))
    return f"{table}\nProcessor seconds of a run (and parameters): {costly}.\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description="The five models with their papers' components, on two streams of real data.")
    arguments.add_argument("corpus", choices=list(METRICS))
    arguments.add_argument("--data", type=Path, required=True, help="mosi_streams.py's folder; of the voices, the folder of voice_0.npz")
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    arguments.add_argument("--seeds", type=int, default=5)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    corpus: str = options.corpus
    dataset = FORMATS["streams"](Source(options.data, {"text": "", "voice": ""})) if corpus == "mosi" else voices(options.data, corpus)
    print(run(corpus, dataset, options.out, options.rows, options.seeds))


if __name__ == "__main__":
    main()
