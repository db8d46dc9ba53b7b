"""A trained model on disk: `NAME.safetensors` (the weights) beside `NAME.json` (everything else, and the weights' SHA-256).

The description names the model, its config, the streams and columns that it reads, what is made of them (preparation.py), their
standardisation, its tasks with their labels, the temperature fitted on validation data (for each subset of streams, where it was), and
a card for people (training data, licence, numbers, intended use, limits).
Nothing is unpickled; loading is strict: every tensor, every shape.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import nn

from emofuse.pipeline.baseline import Tally, Usual, deviation
from emofuse.pipeline.errors import CheckpointError
from emofuse.pipeline.timed import TimedSequence, places_of

from . import MODELS
from .batch import Scaling
from .likeness import Likeness
from .preparation import AsItIs, Preparation, Prepared, preparation_from_json, preparation_to_json

FORMAT = 1
CARD = ("training_data", "licence", "numbers", "intended_use", "limits")
"""What every checkpoint must say to people."""


@dataclass(frozen=True, eq=False)
class StreamInput:
    """What a model reads of one stream: columns, in order, what is made of them, and how that was standardised in training.

    baseline   whether it was trained on how far the rows depart from what is usual for the person (pipeline/baseline.py); the usual is
               tallied over prepared rows, before standardisation
    likeness   where the training's utterances lay (likeness.py); None: not known
    """

    columns: tuple[str, ...]
    scaling: Scaling
    preparation: Preparation = field(default_factory=AsItIs)
    baseline: bool = False
    likeness: Likeness | None = None

    def __post_init__(self) -> None:
        if self.width != len(self.scaling.mean):
            raise CheckpointError(f"checkpoint: {self.width} columns, but a standardisation of {len(self.scaling.mean)}")
        if self.likeness is not None and len(self.likeness.mean) != self.width:
            raise CheckpointError(f"checkpoint: {self.width} columns, but a likeness of {len(self.likeness.mean)}")

    @property
    def width(self) -> int:
        """Columns that the module reads."""
        return len(self.preparation.made(self.columns))

    def prepared(self, sequence: TimedSequence, usual: Usual | None = None) -> Prepared:
        """These columns of a stream, prepared, and where `usual` is given and the model reads baselines, as departures from it; raises
        `CheckpointError` naming both lists."""
        wanted = self.of(sequence)
        if len(wanted):
            prepared = self.preparation.prepare(wanted)
            if usual is None or not self.baseline:
                return prepared
            return dataclasses.replace(prepared, rows=deviation(prepared.rows, usual, self.scaling.mean))
        nothing = np.zeros(0, np.intp)
        made = self.preparation.made(self.columns)
        return Prepared(TimedSequence.empty(wanted.name, made, wanted.provenance, wanted.reason), nothing, nothing)

    def tally(self, sequence: TimedSequence) -> Tally:
        """One utterance's prepared rows, for its person's baseline; raises `CheckpointError` naming both lists."""
        return Tally.of(self.prepared(sequence).rows)

    def of(self, sequence: TimedSequence) -> TimedSequence:
        """These columns of a stream; an empty stream is taken as it is. Raises `CheckpointError` naming both lists."""
        if len(sequence) == 0:
            return TimedSequence.empty(sequence.name, self.columns, sequence.provenance, sequence.reason)
        there = places_of(sequence.columns)
        if missing := [c for c in self.columns if c not in there]:
            raise CheckpointError(
                f"{sequence.name}: the model reads {listed(self.columns)}, but {sequence.provenance.extractor} has "
                f"{listed(sequence.columns)}; missing: {listed(missing)}"
            )
        return sequence.select(self.columns)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained model's description.

    model        its name in `MODELS`;  config: that model's config
    streams      name -> what it reads
    tasks        task -> labels of its logits; the tasks stand one after the other in the logits ("emotion" -> seven, "sentiment" -> one)
    temperature  the emotion logits are divided by it before the softmax
    temperatures  the same for a subset of streams ("face+voice": exactly these are present), where it was fitted apart
    card         for people: training_data, licence, numbers, intended_use, limits (all required)
    sha256       of the weights; "" before saving
    """

    model: str
    config: Any
    streams: Mapping[str, StreamInput]
    tasks: Mapping[str, tuple[str, ...]]
    temperature: float
    card: Mapping[str, Any]
    sha256: str = ""
    temperatures: Mapping[str, float] = field(default_factory=dict)

    def temperature_of(self, present: Iterable[str]) -> float:
        """The temperature for an utterance with exactly these streams."""
        shown = set(present)
        return self.temperatures.get("+".join(name for name in self.streams if name in shown), self.temperature)

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise CheckpointError(f"checkpoint: no model {self.model!r}; there are {', '.join(MODELS)}")
        read = {name: stream.width for name, stream in self.streams.items()}
        if dict(self.config.streams) != read:
            raise CheckpointError(f"checkpoint: the config has streams {dict(self.config.streams)}, the description {read}")
        if sum(map(len, self.tasks.values())) != self.config.outputs:
            raise CheckpointError(f"checkpoint: {self.config.outputs} outputs, but tasks { ({k: len(v) for k, v in self.tasks.items()}) }")
        for temperature in (self.temperature, *self.temperatures.values()):
            if not (math.isfinite(temperature) and temperature > 0):
                raise CheckpointError(f"checkpoint: expected a positive temperature, got {temperature}")
        if missing := [k for k in CARD if k not in self.card]:
            raise CheckpointError(f"checkpoint: the card lacks {', '.join(missing)}")

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": self.model,
            "config": dataclasses.asdict(self.config),
            "streams": {
                name: {
                    "columns": list(stream.columns),
                    "mean": [float(x) for x in stream.scaling.mean],
                    "deviation": [float(x) for x in stream.scaling.deviation],
                    "limit": stream.scaling.limit,
                    "preparation": preparation_to_json(stream.preparation),
                    **({"baseline": True} if stream.baseline else {}),
                    **({} if stream.likeness is None else {"likeness": likeness_to_json(stream.likeness)}),
                }
                for name, stream in self.streams.items()
            },
            "tasks": {task: list(labels) for task, labels in self.tasks.items()},
            "temperature": self.temperature,
            "temperatures": dict(self.temperatures),
            "card": dict(self.card),
            "safetensors_sha256": self.sha256,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str) -> Checkpoint:
        if data.get("format") != FORMAT:
            raise CheckpointError(f"{where}: expected checkpoint format {FORMAT}, got {data.get('format')!r}")
        try:
            model = data["model"]
            if model not in MODELS:
                raise CheckpointError(f"{where}: no model {model!r}; there are {', '.join(MODELS)}")
            return cls(
                model=model,
                config=MODELS[model]().config(**data["config"]),
                streams={
                    name: StreamInput(
                        tuple(s["columns"]),
                        Scaling(s["mean"], s["deviation"], float(s["limit"])),
                        preparation_from_json(s.get("preparation")),
                        s.get("baseline", False) is True,
                        Likeness(**s["likeness"]) if s.get("likeness") is not None else None,
                    )
                    for name, s in data["streams"].items()
                },
                tasks={task: tuple(labels) for task, labels in data["tasks"].items()},
                temperature=float(data["temperature"]),
                card=data["card"],
                sha256=data["safetensors_sha256"],
                temperatures={subset: float(t) for subset, t in data.get("temperatures", {}).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{where}: not a checkpoint's description: {type(error).__name__} {error}") from error


def likeness_to_json(likeness: Likeness) -> dict[str, Any]:
    return {
        "mean": [float(x) for x in likeness.mean],
        "deviation": [float(x) for x in likeness.deviation],
        "limit": likeness.limit,
    }


def build(checkpoint: Checkpoint) -> nn.Module:
    """The checkpoint's module with fresh weights (seed torch before, if they matter)."""
    kind = MODELS[checkpoint.model]()
    module: nn.Module = kind.module(checkpoint.config)
    return module


def save(path: Path, checkpoint: Checkpoint, module: nn.Module, half: bool = False) -> Checkpoint:
    """Writes `path` (NAME.safetensors) and NAME.json beside it; `half` stores float16. Returns the description with its SHA-256."""
    tensors = {k: t.detach().cpu().to(torch.float16 if half else t.dtype).contiguous() for k, t in module.state_dict().items()}
    data = bytes_of(tensors)
    done = dataclasses.replace(checkpoint, sha256=hashlib.sha256(data).hexdigest())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps(done.to_json(), indent=1) + "\n", encoding="utf-8")
    return done


def load(path: Path) -> tuple[Checkpoint, nn.Module]:
    """Reads NAME.safetensors and NAME.json; the module is in float32, in eval mode, on the CPU.

    Raises `CheckpointError`: a file missing, a wrong SHA-256, a tensor missing, left over or of another shape.
    """
    description = path.with_suffix(".json")
    for file in (path, description):
        if not file.is_file():
            raise CheckpointError(f"{file}: no such file; a checkpoint is NAME.safetensors with NAME.json beside it")
    try:
        data = json.loads(description.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{description}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{description}: expected a JSON object, got {type(data).__name__}")
    checkpoint = Checkpoint.from_json(data, str(description))
    raw = path.read_bytes()  # hashed and parsed from the same bytes
    digest = hashlib.sha256(raw).hexdigest()
    if digest != checkpoint.sha256:
        raise CheckpointError(f"{path}: expected SHA-256 {checkpoint.sha256}, got {digest}")
    try:
        tensors = {k: t.float() for k, t in tensors_of(raw).items()}
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file: {error}") from error
    _expect_finite(tensors, path)
    _expect_layers(checkpoint, len(tensors), description)
    with torch.device("meta"):  # shapes alone: a config that claims a huge model takes no memory before it is found not to fit
        module = build(checkpoint)
    wanted = {k: tuple(t.shape) for k, t in module.state_dict().items()}
    got = {k: tuple(t.shape) for k, t in tensors.items()}
    if wanted != got:
        wrong = [
            f"{k} {wanted.get(k, 'not in the model')} against {got.get(k, 'not in the file')}"
            for k in wanted | got
            if wanted.get(k) != got.get(k)
        ]
        raise CheckpointError(f"{path}: {len(wrong)} tensors do not fit the model, first: {wrong[0]}")
    module = build(checkpoint)
    module.load_state_dict(tensors, strict=True)
    return checkpoint, module.eval().requires_grad_(False)


def _expect_finite(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: expected finite weights, but {name} holds {int((~torch.isfinite(tensor)).sum())} that are not")


def _expect_layers(checkpoint: Checkpoint, tensors: int, where: Path) -> None:
    """Every layer has a tensor at least: a description of more layers than the file has tensors need not be built to be refused."""
    for name, value in dataclasses.asdict(checkpoint.config).items():
        if "layers" in name and isinstance(value, int) and value > tensors:
            raise CheckpointError(f"{where}: expected a config that fits its weights, got {name} = {value} with {tensors} tensors")


def listed(columns: Sequence[str], most: int = 12) -> str:
    """Names for an error line; a long list is cut in the middle and counted."""
    if len(columns) <= most:
        return ", ".join(columns)
    return f"{', '.join(columns[: most // 2])}, ..., {columns[-1]} ({len(columns)} columns)"
