"""RAVDESS, voice only, seven classes, five folds of whole actors: the shipped checkpoints' trainer and front end, one model at a time.

    python -m training.fusion_checkpoints.measure_folds --features CACHE --out RUNS mult rrnn ...
    python -m training.fusion_checkpoints.measure_folds --out RUNS --table

In each fold 4 actors test and 16 train, with EmoDB where it is cached, without a look at the test actors: steps and rates are the same for
all and no step is chosen. Writes RUNS/{model}.npz and RUNS/{model}-baseline.npz (`logits`, `labels`, `actors`, `names` of all 1,192 clips,
each by the model that did not train on its actor): of strangers, and with all of the actor's other clips as the baseline.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emofuse.fusion.batch import Scaling
from emofuse.fusion.checkpoints import StreamInput

from .composer import Material, Pool
from .material import fitted, pool_of, read_by
from .scores import score, uar
from .sets import voice_set
from .texts import Texts
from .training import Recipe, answers, fresh, train
from .voices import plain_voices, preparation_of, read_voices, varied_voices

FOLDS = 5
ALONE = (0, 0, 1, 0, 0, 0, 0)
NO_TEXTS = Texts((), (), np.zeros(0), np.zeros(0, "U1"), np.zeros(0, bool))
NOBODY = StreamInput(("AU01",), Scaling(np.zeros(1, np.float32), np.ones(1, np.float32)))
NO_FACES = Pool((), np.zeros(0, np.intp), np.zeros(0, np.intp))


def only_voice(pool: Pool) -> Material:
    return Material(NO_TEXTS, NO_TEXTS, NO_TEXTS, NO_FACES, pool)


def table(out: Path) -> None:
    print("| model | accuracy | UAR | 95 % interval over actors | UAR by fold |\n|---|---|---|---|---|")
    for path in sorted(out.glob("*.npz")):
        with np.load(path) as d:
            s = score(torch.from_numpy(d["logits"]), d["labels"], 1.0, list(d["actors"]))
            answered = d["logits"][:, :7].argmax(1)
            by = [uar(d["labels"][d["fold"] == k], answered[d["fold"] == k]) for k in range(FOLDS)]
            strong = np.array([n.split("-")[3] == "02" for n in d["names"]])
            female = d["actors"] % 2 == 0
            print(
                f"| {path.stem} | {100 * s.accuracy:.1f} | {100 * s.uar:.1f} | {100 * s.uar_low:.1f} to {100 * s.uar_high:.1f} | "
                f"{', '.join(f'{100 * b:.1f}' for b in by)} |"
            )
            for what, keep in (("strong", strong), ("normal", ~strong), ("female", female), ("male", ~female)):
                print(f"    {what}: accuracy {(answered == d['labels'])[keep].mean():.3f} of {keep.sum()}", file=sys.stderr)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", nargs="*")
    arguments.add_argument("--features", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--steps", type=int, default=500)
    arguments.add_argument("--variations", type=int, default=1, help="of each clip and distorted copy")
    arguments.add_argument("--folds", type=int, default=FOLDS, help="run only the first so many")
    arguments.add_argument("--actors", type=int, default=16, help="learn from only so many of the sixteen (what is another actor worth?)")
    arguments.add_argument("--table", action="store_true")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if options.table:
        table(options.out)
        return
    voices = read_voices(options.features)
    preparation = preparation_of(voices.columns)
    actors, clean, second = voices.actors, np.array(voices.copies) == 0, voices.corpora == "emodb"
    folds = np.array_split(np.random.default_rng(0).permutation(np.unique(actors[~second])), FOLDS)[: options.folds]
    kinds = [f"{model}{kind}" for model in options.models for kind in ("", "-baseline")]
    by_name: dict[str, dict[str, list[np.ndarray]]] = {m: {k: [] for k in ("logits", "labels", "actors", "names", "fold")} for m in kinds}
    for k, fold in enumerate(folds):
        held = np.isin(actors, fold)
        others = np.random.default_rng([k, 1]).permutation(np.setdiff1d(actors[~second], fold))
        heard = np.isin(actors, others[: options.actors]) | second
        told, who = varied_voices(voices.where(heard), preparation, options.variations, np.random.default_rng(k))
        pool = only_voice(pool_of(voices.where(heard), told, who))
        test = voices.where(held & clean)
        tested = only_voice(pool_of(test, plain_voices(test, preparation), np.arange(len(test.rows))))
        inputs = {"voice": StreamInput(read_by(preparation, voices.columns), fitted(told), preparation, baseline=True)}
        for name in options.models:
            began = time.process_time()
            recipe = Recipe.read(name)
            config = {**recipe.config}
            if "kernels" in config:
                config["kernels"] = {"voice": config["kernels"]["voice"]}
            alone = dataclasses.replace(recipe.shares, subsets=ALONE, sentiment=0.0, noise=0.0)
            recipe = dataclasses.replace(recipe, steps=options.steps, texts=0, shares=alone, stages=None, config=config)
            reads = inputs | ({"face": NOBODY} if name == "mult" else {})  # MulT is made of pairs; here the other one is never there
            _, module = fresh(recipe, reads)
            module, _ = train(recipe, module, reads, pool, None, lambda line: None)
            scalings = {n: r.scaling for n, r in reads.items()}
            for kind in ("", "-baseline"):
                logits = answers(module, voice_set(tested, baseline=bool(kind)), scalings).numpy()
                rows = by_name[f"{name}{kind}"]
                values = (logits, test.labels, test.actors, np.array(test.names), np.full(len(logits), k))
                for key, value in zip(rows, values, strict=True):
                    rows[key].append(value)
                recall = uar(test.labels, logits[:, :7].argmax(1))
                print(f"fold {k} {name}{kind}: UAR {recall:.3f}, {time.process_time() - began:.0f} s", flush=True)
    for name, rows in by_name.items():
        columns: dict[str, Any] = {key: np.concatenate(values) for key, values in rows.items()}
        np.savez(options.out / f"{name}.npz", **columns)
    table(options.out)


if __name__ == "__main__":
    main()
