"""Training the compact face network from photographs: one command, reproducible with its seed.

    python -m training.face_network.train --data ../shared/data --teacher ../shared/models/face_landmarker.task
        --clips ../shared/clips --out runs/compact --epochs 40

The teacher's labels are made first (teacher.py), by this Python or by that of `--teacher-python`; it needs the extra `mediapipe`.

Action units, lip gap and pose are distilled from the teacher (mean of a photograph and its mirror image, masked where the two
disagree); expressions come from the photographs' labels; the box from the distortion of the crop; "no face" from off-face patches.
AdamW under one cycle (Smith and Topin 2018) annealed to zero, moving average of the weights, smaller crops for the first part.
`--minutes` anneals by the clock instead of by epochs: use it where the time is given; its result depends on the machine's speed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from emofuse.extractors.face.compact.layout import CROP
from emofuse.extractors.face.compact.network import CompactNetwork, load_network, save_network, standardised
from emofuse.pipeline.errors import UsageError

from .distort import Batch, distorted
from .opinion import opinions
from .photographs import Photographs, Scene, read_photographs, scenes_of_clip, textures
from .recipe import Recipe, losses, rate_at, rescaling, scales_of
from .score import scores, temperature

log = logging.getLogger(__name__)

NEGATIVE_CLIPS = ("1001_DFA_ANG_XX", "1001_DFA_NEU_XX", "bbaf2n", "lbax4n", "lrwp9a", "sbia1a", "WDA_AlexandriaOcasioCortez_000")
"""Clips whose background gives crops without a face; the others are kept for measuring false faces."""
NEGATIVE_TEXTURES = slice(0, None, 2)
"""Every second texture trains, the others are kept for measuring."""


class Training:
    """A run that can be stopped after any epoch and taken up again: network, its moving average, optimiser, progress."""

    def __init__(
        self, recipe: Recipe, training: Photographs, scenes: list[Scene], device: str, workers: int, start: CompactNetwork | None = None
    ) -> None:
        self.recipe, self.training, self.scenes, self.device, self.workers = recipe, training, scenes, device, workers
        torch.manual_seed(recipe.seed)
        self.scales = scales_of(training, recipe.class_power)
        self.network = (start or CompactNetwork()).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.held = [self.network.stem, self.network.stem_norm, *self.network.body[: recipe.frozen]] if recipe.frozen else []
        for module in self.held:
            module.requires_grad_(False)
        learning = [p for p in self.network.parameters() if p.requires_grad]
        decayed = [p for p in learning if p.ndim > 1]
        plain = [p for p in learning if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.peak_rate, fused=True)
        self.epoch = 0
        self.seconds = 0.0

    @property
    def steps(self) -> int:
        return len(self.training) // self.recipe.batch

    def progress(self, step: int, since: float) -> float:
        if self.recipe.minutes is not None:
            return (self.seconds + time.monotonic() - since) / (60 * self.recipe.minutes)
        return (self.epoch + step / self.steps) / self.recipe.epochs

    def batches(self, size: int) -> Iterator[Batch]:
        """One epoch's batches; each draws from a generator of its own, so that their number of makers changes nothing."""
        order = np.random.default_rng((self.recipe.seed, self.epoch)).permutation(len(self.training))

        def make(step: int) -> Batch:
            random = np.random.default_rng((self.recipe.seed, self.epoch, step))
            index = order[step * self.recipe.batch : (step + 1) * self.recipe.batch]
            return distorted(self.training, index, self.scenes, self.recipe.without_face, size, random)

        with ThreadPoolExecutor(self.workers) as pool:
            ahead = 4 * self.workers
            waiting = [pool.submit(make, step) for step in range(min(ahead, self.steps))]
            for step in range(self.steps):
                batch = waiting.pop(0).result()
                if step + ahead < self.steps:
                    waiting.append(pool.submit(make, step + ahead))
                yield batch

    def run_epoch(self) -> dict[str, float]:
        """One pass over the training photographs (shorter where the clock runs out); mean losses."""
        since = time.monotonic()
        torch.manual_seed(self.recipe.seed * 100_003 + self.epoch)
        size = self.recipe.small_crop if self.progress(0, since) < self.recipe.small_until else CROP
        self.network.train()
        for module in self.held:
            module.eval()
        sums: dict[str, float] = {}
        count = 0
        for step, batch in enumerate(self.batches(size)):
            progress = self.progress(step, since)
            if progress >= 1:
                break
            for group in self.optimiser.param_groups:
                group["lr"] = rate_at(progress, self.recipe)
            crops = standardised(batch.crops).to(self.device).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device, torch.bfloat16):
                answer = self.network(crops)
            parts = losses(answer, batch, self.scales, self.recipe)
            total = sum((parts[name] * weight for name, weight in self.recipe.weights), torch.zeros((), device=self.device))
            self.optimiser.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimiser.step()
            self.follow(min(self.recipe.average, (1 + self.epoch * self.steps + step) / (10 + self.epoch * self.steps + step)))
            for name, part in parts.items():
                sums[name] = sums.get(name, 0.0) + float(part.detach())
            count += 1
        self.epoch += 1
        self.seconds += time.monotonic() - since
        return {name: value / max(count, 1) for name, value in sums.items()}

    @torch.no_grad()
    def follow(self, keep: float) -> None:
        """The moving average takes one step towards the network."""
        for name, value in self.network.state_dict().items():
            mean = self.average[name]
            if value.is_floating_point():
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)

    def averaged(self) -> CompactNetwork:
        network = CompactNetwork(self.network.config)
        network.load_state_dict(self.average)
        return network.eval()

    def save(self, path: Path) -> None:
        """Everything that `resume` needs; written beside and then moved, so that a kill leaves the last one whole."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{k}": v for k, v in state.items()}
        beside = path.with_suffix(".part")
        facts = {"epoch": self.epoch, "seconds": self.seconds, "recipe": asdict(self.recipe)}
        save_file({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, beside, metadata={"facts": json.dumps(facts)})
        beside.replace(path)

    def resume(self, path: Path) -> None:
        """Takes up a run of the same recipe; raises `UsageError` if it is another."""
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if facts["recipe"] != (mine := json.loads(json.dumps(asdict(self.recipe)))):
            raise UsageError(f"{path}: expected a run with {mine}, got one with {facts['recipe']}")
        self.network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
        self.average = {k.removeprefix("average."): v.to(self.device) for k, v in tensors.items() if k.startswith("average.")}
        whole = self.optimiser.state_dict()
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, i, key = name.split(".", 2)
                like = parameters[int(i)]
                # the fused step walks through memory: moments must lie there in the order of their weights (channels last)
                laid = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
                whole["state"].setdefault(int(i), {})[key] = laid.detach()
        self.optimiser.load_state_dict(whole)
        self.epoch, self.seconds = facts["epoch"], facts["seconds"]

    @property
    def finished(self) -> bool:
        return self.progress(0, time.monotonic()) >= 1


def train(
    recipe: Recipe, photographs: Photographs, scenes: list[Scene], out: Path, *, device: str, workers: int, start: Path | None = None
) -> Path:
    """Runs the recipe, or takes up its run in `out`; writes state.safetensors, compact.safetensors and log.jsonl there.

    start   weights to go on from, whose SHA-256 the recipe holds
    """
    out.mkdir(parents=True, exist_ok=True)
    training = photographs.where(photographs.part == "train")
    begun = None
    if start is not None:
        begun, known = load_network(start)
        if recipe.opinion:
            training = replace(training, expression=opinions(begun, known, training, recipe.opinion))
    run = Training(recipe, training, scenes, device, workers, begun)
    state, weights = out / "state.safetensors", out / "compact.safetensors"
    if state.is_file():
        run.resume(state)
    validation = photographs.where(photographs.part == "validation")
    facts: dict[str, object] = {
        "shape_mean": run.scales.mean.tolist(),
        "shape_spread": run.scales.spread.tolist(),
        "activations": rescaling(run.training),
    }
    while not run.finished:
        mean = run.run_epoch()
        network = run.averaged()
        measured = scores(network, validation, run.scales.mean, run.scales.spread)
        line = {"epoch": run.epoch, "seconds": round(run.seconds), "progress": round(run.progress(0, time.monotonic()), 4)}
        line |= {k: round(v, 4) for k, v in mean.items()} | {f"validation {k}": round(v, 4) for k, v in measured.brief().items()}
        log.info("%s", json.dumps(line))
        with (out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        save_network(weights, network, facts | {"epochs": run.epoch, "recipe": asdict(recipe)})
        run.save(state)
    network = run.averaged()
    sharpness = temperature(network, validation, run.scales.mean, run.scales.spread)
    save_network(weights, network, facts | {"epochs": run.epoch, "recipe": asdict(recipe), "temperature": round(sharpness, 4)})
    return weights


def backgrounds(clips: Path | None) -> list[Scene]:
    """What trains "no face": every second texture, and the surroundings of the faces in the clips set apart for it."""
    scenes = textures()[NEGATIVE_TEXTURES]
    paths = sorted(p for p in clips.rglob("*") if p.stem in NEGATIVE_CLIPS) if clips else []
    return scenes + [scene for path in paths for scene in scenes_of_clip(path)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the compact face network.")
    parser.add_argument("--data", type=Path, required=True, help="folder with faces/*.parquet")
    parser.add_argument("--teacher", type=Path, required=True, help="face_landmarker.task")
    parser.add_argument(
        "--teacher-python", default=sys.executable, help="Python of an environment with emofuse[mediapipe], to make the labels"
    )
    parser.add_argument("--clips", type=Path, help="folder with clips whose background is off-face")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; labels.npz in it is made where missing")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--minutes", type=float, help="anneal by the clock instead of by epochs")
    parser.add_argument("--start", type=Path, help="weights to go on from; by default from noise")
    parser.add_argument("--opinion", type=float, default=Recipe.opinion, help="share of each expression label that --start says instead")
    parser.add_argument("--peak-rate", type=float, default=Recipe.peak_rate, help="largest learning rate")
    parser.add_argument("--smoothing", type=float, default=Recipe.smoothing, help="label smoothing of expressions")
    parser.add_argument(
        "--class-power", type=float, default=Recipe.class_power, help="weight of an expression: its number to the minus this"
    )
    parser.add_argument("--frozen", type=int, default=Recipe.frozen, help="blocks of --start that stay as they are, with the stem")
    parser.add_argument("--small-until", type=float, default=Recipe.small_until, help="share of the run on small crops")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="threads that draw crops")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    labels = arguments.out / "labels.npz"
    if not labels.is_file():
        options = ["--data", arguments.data / "faces", "--teacher", arguments.teacher, "--out", labels]
        subprocess.run([arguments.teacher_python, "-m", "training.face_network.teacher", *options], check=True)
    recipe = Recipe(
        seed=arguments.seed,
        epochs=arguments.epochs,
        minutes=arguments.minutes,
        peak_rate=arguments.peak_rate,
        smoothing=arguments.smoothing,
        class_power=arguments.class_power,
        start=hashlib.sha256(arguments.start.read_bytes()).hexdigest() if arguments.start else "",
        opinion=arguments.opinion,
        frozen=arguments.frozen,
        small_until=arguments.small_until,
    )
    if (recipe.opinion or recipe.frozen) and not recipe.start:
        raise UsageError("--opinion and --frozen: expected --start, the weights that they mean")
    photographs = read_photographs(arguments.data / "faces", labels)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    log.info("%d photographs, %d seen by the teacher, on %s", len(photographs), int(photographs.seen.sum()), device)
    scenes = backgrounds(arguments.clips)
    train(recipe, photographs, scenes, arguments.out, device=device, workers=arguments.workers, start=arguments.start)


if __name__ == "__main__":
    main()
