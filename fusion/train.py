"""Training: a recipe and a dataset in, a run folder (run_folder.py) with the best checkpoint out.

On a CPU the same recipe, data and seed give the same weights, in one go or resumed after a kill: every epoch draws its order and its
dropout from a seed made of the recipe's seed, the phase and the epoch, so no generator's state has to survive. The model is chosen by
validation loss, or is that of the last epoch (`training.keep`); the test split is not looked at (evaluate.py does, when asked).
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emofuse.pipeline.errors import DatasetError, UsageError

from . import MODELS
from .augmentation import augmented
from .branches import COPIES
from .calibration import fit_temperature
from .checkpoints import Checkpoint, StreamInput, build, save
from .datasets.examples import Dataset
from .recipe import Recipe
from .run_folder import (
    BEST,
    RECIPE,
    State,
    below,
    draw_confusion,
    draw_curves,
    optimiser_tensors,
    plain,
    read_state,
    restore_optimiser,
    write_metrics,
    write_state,
)
from .stages import Objective, Plan, Stage, whole_model
from .tasks import Task, split_logits, tasks_of
from .training_data import Part, in_order, inputs_of, parts_of, shuffled

Row = dict[str, Any]
MILLION = 1_000_003
WARM = 0.15


@dataclass(frozen=True, eq=False)
class Run:
    """What a training did: the shipped checkpoint, one row per epoch, scores on validation by task, beside answers without a model."""

    folder: Path
    checkpoint: Checkpoint
    history: tuple[Row, ...]
    validation: Mapping[str, Any]


def chosen_device(name: str) -> torch.device:
    """ "auto" is the GPU where torch sees one; raises `UsageError` for a device that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device {name}: torch knows no such device") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {name} wanted, but torch sees no CUDA device here")
    return device


def model_config(recipe: Recipe, inputs: Mapping[str, StreamInput], tasks: Mapping[str, Task]) -> Any:
    """The model's own config; raises `UsageError` for a model or a key that does not exist, or numbers that it refuses."""
    if recipe.model not in MODELS:
        raise UsageError(f"{recipe.name}: no model {recipe.model!r}; there are {', '.join(MODELS)}")
    kind = MODELS[recipe.model]()
    known = [f.name for f in dataclasses.fields(kind.config) if f.name not in ("streams", "outputs")]  # type: ignore[arg-type]
    if unknown := [key for key in recipe.options if key not in known]:
        raise UsageError(f"{recipe.name}: model: unknown key: {', '.join(unknown)}; {recipe.model} has {', '.join(known)}")
    widths = {name: len(stream.columns) for name, stream in inputs.items()}
    try:
        return kind.config(streams=widths, outputs=sum(len(t.outputs) for t in tasks.values()), **recipe.options)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{recipe.name}: model: {error}") from None


def train(
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    progress: Callable[[Row], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Trains and writes the run folder. `progress` gets each epoch's row, `say` lines for people.

    Raises `UsageError` (an invalid recipe or device; a folder that holds a run already), `DatasetError`, `CheckpointError`.
    """
    hardware = chosen_device(device)
    if recipe.training.precision == "float16" and hardware.type != "cuda":
        raise UsageError(f"precision float16 needs a GPU, the device is {hardware.type}; bfloat16 works on both")
    tasks = tasks_of(recipe.tasks)
    parts = parts_of(recipe, dataset, tasks)
    for split in ("train", "valid") if recipe.training.keep == "best" else ("train",):
        if not len(parts[split]):
            raise DatasetError(f"{dataset.name}: no utterance in {split}")
    inputs = inputs_of(recipe, dataset, parts["train"])
    config = model_config(recipe, inputs, tasks)
    state = _opened(out, recipe, resume)
    card = dataclasses.asdict(recipe.card) | {"limits": list(recipe.card.limits), "numbers": {}}
    outputs = {name: task.outputs for name, task in tasks.items()}
    checkpoint = Checkpoint(recipe.model, config, inputs, outputs, 1.0, card)
    cuda = [torch.cuda.current_device()] if hardware.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):  # the caller's random numbers are not ours to move
        torch.manual_seed(recipe.training.seed)
        module = build(checkpoint)
        if hardware.type == "cpu":
            check_memory(recipe.name, sum(p.numel() for p in module.parameters()), available_bytes())
        loop = Loop(recipe, parts, inputs, module, tasks, hardware, out, progress)
        loop.run(state)
    if say is not None and not loop.board:
        say("no event files: the package tensorboard is not installed; metrics.csv has every number")
    return _finished(loop, checkpoint, dataset)


def one_cycle(share: float) -> float:
    """The rate, of its highest, when `share` (0..1) of a phase is done: up from 1/25 over WARM of it, then down to 0 along a cosine."""
    if share < WARM:
        return 1 / 25 + (1 - 1 / 25) * share / WARM
    return (1 + math.cos(math.pi * (share - WARM) / (1 - WARM))) / 2


class Loop:
    """Stages and epochs, from a saved state or from the start."""

    def __init__(
        self,
        recipe: Recipe,
        parts: Mapping[str, Part],
        inputs: Mapping[str, StreamInput],
        module: nn.Module,
        tasks: Mapping[str, Task],
        device: torch.device,
        out: Path,
        progress: Callable[[Row], None] | None,
    ) -> None:
        self.recipe, self.parts, self.inputs, self.module, self.tasks = recipe, parts, inputs, module, tasks
        self.device, self.out, self.progress = device, out, progress
        self.plan: Plan = (MODELS[recipe.model]().plan or whole_model)(module, recipe)
        self.learner = nn.ModuleDict({"model": module, "extra": self.plan.extra}).to(device)
        self.history: list[Row] = []
        self.best: dict[str, Tensor] = {}
        balanced = recipe.training.balanced
        weights = {name: task.class_weights(parts["train"].targets[name]) if balanced else None for name, task in tasks.items()}
        self.objective = Objective(tasks, {name: None if w is None else w.to(device) for name, w in weights.items()})
        self.board = _board(out)

    def run(self, state: State | None) -> None:
        """All stages; `state` is what an earlier run left."""
        if state is not None:
            self.history = list(state.facts["history"])
        first = state.facts["phase"] if state is not None else 0
        for number in range(first, len(self.plan.stages)):
            self.stage(number, state if number == first else None)
        if self.board is not None:
            self.board.close()

    def stage(self, number: int, state: State | None) -> None:
        """One stage to its end; the learner is left with its best weights of that stage."""
        stage, training = self.plan.stages[number], self.recipe.training
        moved = self._moved(stage)
        make = torch.optim.AdamW if training.optimiser == "adamw" else torch.optim.Adam
        optimiser = make(moved, lr=stage.part.rate, weight_decay=stage.part.weight_decay)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=training.factor, patience=training.plateau or 10**9)
        scaler = torch.amp.GradScaler(self.device.type, enabled=training.precision == "float16")  # type: ignore[attr-defined]
        lowest, waited, first = math.inf, 0, 1
        if state is not None:
            facts = state.facts
            self._restore(state, optimiser, plateau, scaler)
            lowest, waited, first = facts["lowest"], facts["waited"], facts["epoch"] + 1
        for epoch in range(first, stage.part.epochs + 1):
            if training.stop and waited >= training.stop:
                break
            began = time.perf_counter()
            seed = (training.seed * MILLION + number * 10_007 + epoch) % 2**63
            train_loss = self.epoch(stage, moved, optimiser, scaler, seed, epoch)
            rate = optimiser.param_groups[0]["lr"]
            valid_loss, scores = self.validate(stage) if len(self.parts["valid"]) else (math.nan, {})
            if training.schedule == "plateau" and not math.isnan(valid_loss):
                plateau.step(valid_loss)
            if valid_loss < lowest or training.keep == "last":
                lowest, waited = valid_loss, 0
                self.best = {key: tensor.detach().cpu().clone() for key, tensor in self.learner.state_dict().items()}
            else:
                waited += 1
            row: Row = {"phase": stage.name, "epoch": epoch, "rate": rate, "train_loss": train_loss, "valid_loss": valid_loss}
            self.history.append(row | scores | {"seconds": round(time.perf_counter() - began, 2)})
            self.record(number, epoch, lowest, waited, optimiser, plateau.state_dict(), scaler.state_dict())
        if not self.best:
            raise DatasetError(f"{self.recipe.name}: phase {stage.name}: the validation loss was never a number; try a lower rate")
        self.learner.load_state_dict(self.best)
        if number + 1 < len(self.plan.stages):
            self.best = {}

    def _moved(self, stage: Stage) -> list[nn.Parameter]:
        """The stage's parameters; all others stand still."""
        moved = stage.parameters()
        chosen = {id(p) for p in moved}
        for parameter in self.learner.parameters():
            parameter.requires_grad_(id(parameter) in chosen)
        return moved

    def _restore(self, state: State, optimiser: torch.optim.Optimizer, plateau: Any, scaler: Any) -> None:
        self.learner.load_state_dict(below(state.tensors, "learner"))
        self.best = below(state.tensors, "best")
        restore_optimiser(optimiser, below(state.tensors, "optimiser"), state.facts["groups"])
        plateau.load_state_dict(state.facts["plateau"])
        scaler.load_state_dict(state.facts["scaler"])

    def epoch(
        self, stage: Stage, moved: list[nn.Parameter], optimiser: torch.optim.Optimizer, scaler: Any, seed: int, number: int
    ) -> float:
        """Pass `number` over the training utterances; the mean loss."""
        torch.manual_seed(seed)
        order = torch.Generator().manual_seed(seed)
        part, total, count = self.parts["train"], 0.0, 0
        stage.train()
        for index in shuffled(part.rows(), stage.part.batch, order, self.recipe.training.grouped):
            if self.recipe.training.schedule == "one-cycle":
                share = (number - 1 + count / len(part)) / stage.part.epochs
                for group in optimiser.param_groups:
                    group["lr"] = stage.part.rate * one_cycle(share)
            streams = part.batch(index, self.inputs, self.device)
            streams |= {name: augmented(streams[name], how) for name, how in self.recipe.augment.items()}
            with self.precision():
                loss = stage.loss(streams, part.target(index, self.device), self.objective)
            if loss is None:
                continue
            optimiser.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            if self.recipe.training.clip:
                scaler.unscale_(optimiser)
                nn.utils.clip_grad_norm_(moved, self.recipe.training.clip)
            scaler.step(optimiser)
            scaler.update()
            total, count = total + loss.item() * len(index), count + len(index)
        return total / max(1, count)

    def validate(self, stage: Stage) -> tuple[float, Row]:
        """Validation loss in eval mode, and the headline scores of each task for whoever answers in this stage."""
        part = self.parts["valid"]
        self.learner.eval()
        batches = ((part.batch(index, self.inputs, self.device), part.target(index, self.device)) for index in in_order(len(part)))
        with torch.inference_mode(), self.precision():
            validated = stage.validate(batches, self.objective)
        scores: Row = {}
        for who, logits in validated.logits.items():
            by_task = split_logits(self.tasks, logits)
            for name, task in self.tasks.items():
                truth, answers = part.targets[name].numpy(), task.answers(by_task[name])
                prefix = f"{who}_{name}" if who else name
                scores |= {f"{prefix}_{key}": metric(truth, answers) for key, metric in task.headline().items()}
        return validated.loss.item(), scores

    def logits(self, part: Part) -> Tensor:
        """(n all) of a whole split, on the CPU."""
        self.learner.eval()
        with torch.inference_mode(), self.precision():
            return torch.cat(
                [self.module(part.batch(index, self.inputs, self.device)).logits.float().cpu() for index in in_order(len(part))]
            )

    def precision(self) -> Any:
        name = self.recipe.training.precision
        if name == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, {"bfloat16": torch.bfloat16, "float16": torch.float16}[name])

    def record(
        self, number: int, epoch: int, lowest: float, waited: int, optimiser: torch.optim.Optimizer, plateau: Row, scaler: Row
    ) -> None:
        """The epoch's line, and the state from which the next one would go on."""
        moments, groups = optimiser_tensors(optimiser)
        tensors = {f"learner/{key}": tensor for key, tensor in self.learner.state_dict().items()}
        tensors |= {f"best/{key}": tensor for key, tensor in self.best.items()}
        tensors |= {f"optimiser/{key}": tensor for key, tensor in moments.items()}
        facts = {"recipe": self.recipe.to_json(), "phase": number, "epoch": epoch, "lowest": lowest, "waited": waited}
        facts |= {"groups": groups, "plateau": plateau, "scaler": scaler, "history": self.history}
        write_metrics(self.out, self.history)
        write_state(self.out, State(tensors, facts))
        row = self.history[-1]
        if self.board is not None:
            for key, value in row.items():
                if isinstance(value, float):
                    self.board.add_scalar(f"{row['phase']}/{key}", value, row["epoch"])
        if self.progress is not None:
            self.progress(row)


def available_bytes() -> int | None:
    """Memory that the system has to give, where it says so (Linux)."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def check_memory(name: str, parameters: int, available: int | None) -> None:
    """Raises `UsageError` where a model's weights, gradients, moments and copies alone would not fit into memory."""
    needed = 4 * COPIES * parameters
    if available is not None and needed > available:
        raise UsageError(
            f"{name}: {parameters:,} parameters take {needed / 2**30:.1f} GB to train ({COPIES} copies), but only "
            f"{available / 2**30:.1f} GB of memory are free; take a smaller or a length-free form"
        )


def _opened(out: Path, recipe: Recipe, resume: bool) -> State | None:
    """The state to go on from. Raises `UsageError` where a run lies there and is not to be resumed, or is another recipe's."""
    out.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps(recipe.to_json()))
    state = read_state(out)
    if state is None:
        (out / RECIPE).write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
        return None
    if not resume:
        raise UsageError(f"{out}: holds a run already; resume it, or choose another folder")
    if state.facts["recipe"] != plain:
        different = [key for key in plain if plain[key] != state.facts["recipe"].get(key)]
        raise UsageError(f"{out}: holds a run of another recipe; different: {', '.join(different)}")
    return state


def _board(out: Path) -> Any:
    """TensorBoard's writer where the package is installed, else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "tensorboard"))


def _finished(loop: Loop, checkpoint: Checkpoint, dataset: Dataset) -> Run:
    """Temperature on validation, scores, pictures, and the checkpoint in the form that `emofuse analyze` reads. Without validation
    there are no scores and the temperature stays 1."""
    part = loop.parts["valid"]
    by_task = split_logits(loop.tasks, loop.logits(part)) if len(part) else {}
    validation: dict[str, Any] = {}
    temperature = 1.0
    for name, logits in by_task.items():
        task, targets = loop.tasks[name], part.targets[name]
        nothing = task.baseline(loop.parts["train"].targets[name], len(part))
        validation[name] = {"scores": task.scores(targets, task.answers(logits)), "baseline": task.scores(targets, nothing)}
        if task.calibrated and name == "emotion":
            temperature = fit_temperature(logits, targets)
    numbers = {
        "seed": loop.recipe.training.seed,
        "epochs": len(loop.history),
        "utterances": {split: len(loop.parts[split]) for split in loop.parts},
        "data": dict(dataset.notes),
        "validation": plain(validation),
    }
    done = dataclasses.replace(checkpoint, temperature=temperature, card={**checkpoint.card, "numbers": numbers})
    shipped = save(loop.out / BEST, done, loop.module)
    draw_curves(loop.out / "curves.png", loop.history)
    if by_task:
        confusion_picture(loop.out / "confusion.png", loop.tasks, part, by_task, "validation")
    return Run(loop.out, shipped, tuple(loop.history), validation)


def confusion_picture(path: Path, tasks: Mapping[str, Task], part: Part, by_task: Mapping[str, Tensor], split: str) -> None:
    """Draw the first task that has labels, else the first, from its logits (n outputs); each kind says how it becomes one choice of
    several."""
    name = next((name for name, task in tasks.items() if task.labels), next(iter(tasks)))
    counted = tasks[name].confusion(part.targets[name], by_task[name])
    draw_confusion(path, counted.counts, counted.labels, f"{name}, {split}" + (f"\n{counted.note}" if counted.note else ""))
