"""RAVDESS, voice only, eight classes, speakers apart: the five fusion models and the baselines on librosa's columns.

    python benchmarks/ravdess_fusion.py --data ../shared/data/speech/ravdess --cache CACHE --out RUNS [--models rrnn] [--folds 0 1]
    python benchmarks/ravdess_fusion.py --out RUNS --table

The folds are those of ravdess_voice.py (four actors each). The sixteen others all train; the number of epochs and everything else
was settled before, on four of fold 0's sixteen (`--judge 1`: twelve train, fold 1 judges, fold 0 is left alone). Rows: librosa's 48
columns (f0 and rms as logarithms) of the part between the first and the last moment that is less than 35 dB below the loudest, with
0.1 s of air; mean and deviation over 160 ms, so 96 columns six times per second, NaN where nothing was voiced. Training also reads each
actor's clips played slower and faster (SPEEDS: pitch, formants and tempo move together, as if another person spoke), and rows are
shifted, masked and noisy (recipe below). Every run is `emofuse.fusion.train.train`; the test actors are read once per run: each clip
as it is, and at all five speeds with the answers averaged. "discriminants" is a yardstick: linear discriminants on the functionals.

Two streams: "voice", those rows, and "whole", one row of functionals of the clip.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly

from emofuse.extractors.voice.librosa_voice import LibrosaVoice
from emofuse.fusion.checkpoints import load
from emofuse.fusion.datasets.actors import RAVDESS
from emofuse.fusion.datasets.examples import Dataset, Example
from emofuse.fusion.evaluate import evaluate, run_recipe
from emofuse.fusion.recipe import Recipe
from emofuse.fusion.tasks import tasks_of
from emofuse.fusion.train import train
from emofuse.fusion.training_data import in_order, parts_of
from emofuse.pipeline.metrics import evaluate_classes
from emofuse.pipeline.timed import Provenance, TimedSequence

if __package__:
    from .ravdess_voice import FOLDS, Sound
else:
    from ravdess_voice import FOLDS, Sound

SPEEDS = {"1": (1, 1), "0.92": (25, 23), "1.09": (11, 12), "0.84": (25, 21), "1.19": (16, 19)}
"""Name -> resampled up and down; all but the first are copies that are only trained on."""
WINDOW = 16  # rows of 10 ms
QUIET = 35.0  # dB below the loudest
AIR = 10  # rows
EIGHTHS = 8  # parts of a clip's time in its functionals
EMOTIONS = tuple(RAVDESS.emotions.values())
DRY = {"text": 0.0, "embedding": 0.2, "attention": 0.2, "residual": 0.2, "relu": 0.2, "output": 0.2}
TRANSFORMER: dict[str, Any] = {"width": 40, "heads": 4, "layers": 1, "dropouts": DRY}
MODELS: dict[str, dict[str, Any]] = {
    "mult": TRANSFORMER | {"memory_layers": 2},
    "pmr": TRANSFORMER | {"kernels": {"voice": 3}},
    "mcr": TRANSFORMER | {"kernels": {"voice": 3}},
    "rrnn": {"hidden": 96, "attention": 96, "dropout": 0.5},
    "delta": {"dropout": 0.2},
    "late-lstm": {"hidden": 48, "dropout": 0.3},
}
STREAMS = {"rrnn": ("voice",), "late-lstm": ("voice",)}
"""Which read the rows alone; the others read the functionals beside them. For RRNN they did harm on validation, for MulT good."""
AUGMENT = {
    "voice": {"offset": 0.4, "noise": 0.2, "mask_columns": 0.15, "mask_rows": 0.2},
    "whole": {"offset": 0.6, "mask_columns": 0.4},
}
SHOWN = ("accuracy", "uar", "macro_f1")


def extracted(data: Path, cache: Path, speed: str) -> tuple[list[str], list[NDArray[np.float32]]]:
    """Names and librosa rows (n 48) of every clip, played at a speed; kept in CACHE/librosa_SPEED.npz."""
    path = cache / f"librosa_{speed}.npz"
    if not path.exists():
        extractor, rows, names = LibrosaVoice(), [], []
        for file in sorted(data.rglob("03-01-*.flac")):
            values, _ = soundfile.read(file, dtype="float32")
            rows.append(extractor(Sound(resample_poly(values, *SPEEDS[speed]).astype(np.float32)), {}).values.astype(np.float16))
            names.append(file.stem)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, values=np.concatenate(rows), lengths=[len(f) for f in rows], names=names)
    with np.load(path, allow_pickle=False) as kept:
        parts = np.split(kept["values"].astype(np.float32), np.cumsum(kept["lengths"])[:-1])
        return [str(name) for name in kept["names"]], parts


def spoken(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """librosa's rows (n 48) of one clip -> those of the part that is spoken, with level (dB) for rms and octaves for f0."""
    columns = LibrosaVoice.columns
    cut = values.astype(np.float64)
    level = 20 * np.log10(cut[:, columns.index("rms")] + 1e-5)
    smooth = np.convolve(np.pad(level, 2, "edge"), np.ones(5) / 5, "valid")
    loud = np.flatnonzero(smooth > smooth.max() - QUIET)
    cut[:, columns.index("rms")] = level
    cut[:, columns.index("f0")] = np.log2(cut[:, columns.index("f0")] / 100)
    return cut[max(0, loud[0] - AIR) : loud[-1] + AIR + 1]


def windows_of(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows (n 48) -> (m 96): mean and deviation over windows."""
    whole = max(1, len(values) // WINDOW) * WINDOW
    windows = values[:whole].reshape(-1, min(WINDOW, len(values)), values.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # windows without voice: NaN, not measured
        return np.concatenate([np.nanmean(windows, 1), np.nanstd(windows, 1)], axis=1).astype(np.float32)


def functionals_of(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows (n 48) -> one row (1 728) about the whole clip: over the voiced rows each column's mean, deviation, tenth, fiftieth and
    ninetieth percentile, and how fast it changes (deviation and mean size); each column's mean in each eighth of the clip's time; and
    its seconds, voiced and loud shares, how many voiced stretches a second, how long they are, and its level."""
    voiced = np.isfinite(values[:, LibrosaVoice.columns.index("f0")])
    level = values[:, LibrosaVoice.columns.index("rms")]
    chosen = voiced if voiced.sum() > 5 else np.ones_like(voiced)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced.astype(int), [0]]))).reshape(-1, 2)
    stretches = np.diff(edges, axis=1)[:, 0] if len(edges) else np.zeros(1)
    change = np.gradient(values, axis=0)[chosen]
    cuts = np.linspace(0, len(values), EIGHTHS + 1).round().astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what was never voiced: NaN, not measured
        parts = [values[chosen].mean(0), values[chosen].std(0), *np.percentile(values[chosen], [10, 50, 90], axis=0)]
        parts += [np.nanstd(change, 0), np.nanmean(np.abs(change), 0)]
        parts += [np.nanmean(values[a : max(a + 1, b)], 0) for a, b in pairwise(cuts)]
    seconds = len(values) / 100
    parts += [[seconds, voiced.mean(), (level > level.max() - 25).mean(), len(edges) / seconds, stretches.mean(), stretches.max()]]
    parts += [[level.max(), level.mean()]]
    return np.concatenate(parts)[None].astype(np.float32)


def dataset(data: Path, cache: Path, speeds: list[str]) -> Dataset:
    """Every clip, and its copies at the other speeds."""
    columns = tuple(f"{c}{k}" for k in ("", "_deviation") for c in LibrosaVoice.columns)
    examples = []
    for speed in speeds:
        for name, values in zip(*extracted(data, cache, speed), strict=True):
            cut = spoken(values)
            rows, whole = windows_of(cut), functionals_of(cut)
            start = np.arange(len(rows)) * WINDOW / 100
            made = Provenance("librosa", "160 ms")
            streams = {"voice": TimedSequence("voice", columns, rows, start, start + WINDOW / 100, made)}
            names = tuple(f"whole_{i}" for i in range(whole.shape[1]))
            streams["whole"] = TimedSequence("whole", names, whole, start[:1], start[-1:] + WINDOW / 100, made)
            labels = {"emotion": RAVDESS.emotions[name.split("-")[2]]}
            copy_of = "" if speed == "1" else name
            examples.append(Example(f"{name}@{speed}", streams, labels, "", name.split("-")[6], copy_of=copy_of))
    return Dataset("RAVDESS", tuple(examples))


def recipe(model: str, fold: int, seed: int, actors: list[str], epochs: int, rate: float, judge: int | None = None) -> Recipe:
    """judge: the fold that validates; without one nobody does, and the last epoch is kept."""
    folds = [[str(a) for a in f] for f in np.array_split(np.random.default_rng(0).permutation(actors), FOLDS)]
    streams = STREAMS.get(model, ("voice", "whole"))
    table: dict[str, Any] = {
        "name": f"ravdess-{model}",
        "data": {"form": "streams"},
        "splits": {"by": "speaker", "test": folds[fold], "valid": [] if judge is None else folds[judge]},
        "streams": {name: {} for name in streams},
        "augment": {name: AUGMENT[name] for name in streams},
        "tasks": {"emotion": {"kind": "classes", "labels": list(EMOTIONS), "smoothing": 0.1}},
        "model": {"name": model, **MODELS[model]},
        "training": {
            "epochs": epochs,
            "batch": 64,
            "grouped": 8,
            "keep": "last",
            "rate": rate,
            "optimiser": "adamw",
            "schedule": "one-cycle",
            "weight_decay": 0.05,
            "clip": 1.0,
            "seed": seed,
        },
    }
    return Recipe.of(table, "benchmarks/ravdess_fusion.py")


def answers(folder: Path, data: Dataset, speed: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Truth (n) and the run's probabilities (n 8) for the test actors' clips, played at a speed."""
    checkpoint, module = load(folder / "best.safetensors")
    chosen = tuple(dataclasses.replace(e, copy_of="") for e in data.examples if e.name.endswith(f"@{speed}"))
    ran = run_recipe(folder)
    part = parts_of(ran, Dataset(data.name, chosen), tasks_of(ran.tasks))["test"]
    with torch.inference_mode():
        logits = [module(part.batch(index, checkpoint.streams, torch.device("cpu"))).logits for index in in_order(len(part))]
    return part.targets["emotion"].numpy(), torch.cat(logits).softmax(1).double().numpy()


def discriminants(data: Dataset, test: list[str], speeds: list[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As `answers`, all speeds: scikit-learn's linear discriminants (shrinkage 0.3) on the functionals, learned from the same copies."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rows = np.nan_to_num(np.concatenate([e.streams["whole"].values for e in data.examples]).astype(np.float64))
    truth = np.array([EMOTIONS.index(str(e.labels["emotion"])) for e in data.examples])
    speed = np.array([e.name.partition("@")[2] for e in data.examples])
    tested = np.array([e.speaker in test for e in data.examples])
    mean, deviation = rows[~tested].mean(0), rows[~tested].std(0) + 1e-6
    rows = np.clip((rows - mean) / deviation, -5, 5)
    learned = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3).fit(rows[~tested], truth[~tested])
    read = [learned.predict_proba(rows[tested & (speed == value)]) for value in speeds]
    return truth[tested & (speed == speeds[0])], np.stack(read)


def scored(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, float]:
    scores = evaluate_classes(truth, probabilities.argmax(1), EMOTIONS)
    return {key: getattr(scores, key) for key in SHOWN}


def cell(values: NDArray[np.float64]) -> str:
    """(seeds folds) of shares -> per cent: mean, deviation over folds of the seeds' means, and over seeds of the folds' means."""
    over = [100 * values.mean(1 - axis).std(ddof=1) for axis in (1, 0) if values.shape[axis] > 1]
    return f"{100 * values.mean():.1f}" + "".join(f" ± {deviation:.1f}" for deviation in over)


def table(folder: Path) -> str:
    """A line per model: each clip read once, and at every speed with the answers averaged; then the mean of the seeds' answers."""
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = ["| model | parameters | seeds | folds | accuracy | UAR | at all speeds: accuracy | UAR | CPU s a fold |", "|" + "---|" * 9]
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = {(row["seed"], row["fold"]): row for row in rows if row["model"] == model}
        folds = sorted({fold for _, fold in mine})
        seeds = [s for s in sorted({seed for seed, _ in mine}) if all((s, f) in mine for f in folds)]
        parameters, seconds = next(iter(mine.values()))["parameters"], np.mean([row["cpu_seconds"] for row in mine.values()])
        cells = [
            cell(np.array([[mine[seed, fold][kind][key] for fold in folds] for seed in seeds]))
            for kind in ("test", "test_speeds")
            for key in ("accuracy", "uar")
        ]
        runs = f"{len(seeds)} | {', '.join(map(str, folds))}"
        lines.append(f"| {model} | {parameters:,} | {runs} | {' | '.join(cells)} | {seconds:.0f} |")
        if len(seeds) > 1:
            together: dict[str, list[dict[str, float]]] = {"once": [], "speeds": []}
            for fold in folds:
                kept = [np.load(folder / f"{model}-{fold}-{seed}" / "answers.npz") for seed in seeds]
                mean = np.mean([k["probabilities"] for k in kept], axis=0)  # (speeds n 8)
                together["once"].append(scored(kept[0]["truth"], mean[0]))
                together["speeds"].append(scored(kept[0]["truth"], mean.mean(0)))
            cells = [cell(np.array([[value[key] for value in together[kind]]])) for kind in together for key in ("accuracy", "uar")]
            lines.append(f"| {model}, {len(seeds)} together | {len(seeds)} x {parameters:,} | {runs} | {' | '.join(cells)} | |")
    return "\n".join(lines)


def note(row: dict[str, Any], results: Path) -> None:
    print({key: row[key] for key in row if key != "history"}, flush=True)
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path)
    arguments.add_argument("--cache", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--models", nargs="+", default=list(MODELS), choices=[*MODELS, "discriminants"])
    arguments.add_argument("--folds", nargs="+", type=int, default=list(range(FOLDS)))
    arguments.add_argument("--speeds", nargs="+", default=list(SPEEDS), choices=list(SPEEDS))
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--epochs", type=int, default=8)
    arguments.add_argument("--rate", type=float, default=3e-3)
    arguments.add_argument(
        "--judge", type=int, help="this fold of the sixteen validates, the test actors are left alone: to choose settings"
    )
    arguments.add_argument("--table", action="store_true")
    given = arguments.parse_args()
    results = given.out / "results.jsonl"
    if given.table:
        print(table(given.out))
        return
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    data = dataset(given.data, given.cache, given.speeds)
    actors = sorted({example.speaker for example in data.examples})
    done = {(r["model"], r["fold"], r["seed"]) for r in map(json.loads, results.read_text().splitlines())} if results.is_file() else set()
    for fold in given.folds:
        for model in given.models:
            if (model, fold, given.seed) in done:
                continue
            began = time.process_time()
            if model == "discriminants":
                test = np.array_split(np.random.default_rng(0).permutation(actors), FOLDS)[fold]
                truth, probabilities = discriminants(data, [str(actor) for actor in test], given.speeds)
                row = {"model": model, "fold": fold, "seed": given.seed, "cpu_seconds": round(time.process_time() - began), "parameters": 0}
                row |= {"test": scored(truth, probabilities[0]), "test_speeds": scored(truth, probabilities.mean(0))}
                note(row, results)
                continue
            folder = given.out / f"{model}-{fold}-{given.seed}"
            chosen = recipe(model, fold, given.seed, actors, given.epochs, given.rate, given.judge)
            run = train(chosen, data, folder, device="cpu", resume=True)
            seconds = round(time.process_time() - began)
            row = {"model": model, "fold": fold, "seed": given.seed, "cpu_seconds": seconds, "history": run.history}
            row["parameters"] = sum(p.numel() for p in load(folder / "best.safetensors")[1].parameters())
            if given.judge is not None:
                row["validation"] = {key: run.validation["emotion"]["scores"][key] for key in SHOWN}
            else:
                evaluate(folder, data, device="cpu")  # its record and picture in the run's folder
                read = [answers(folder, data, speed) for speed in given.speeds]
                truth, probabilities = read[0][0], np.stack([each for _, each in read])  # (n), (speeds n 8)
                np.savez(folder / "answers.npz", truth=truth, probabilities=probabilities)
                row["test"], row["test_speeds"] = scored(truth, probabilities[0]), scored(truth, probabilities.mean(0))
            note(row, results)


if __name__ == "__main__":
    main()
