"""A checkpoint's last layer: what it reads of utterances, and the checkpoint with it changed (adaptation.py says by how much).

Letters: u utterances, c features, k emotions, o outputs.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emofuse.pipeline.baseline import Tally, Usual
from emofuse.pipeline.errors import CheckpointError
from emofuse.pipeline.results import Utterance
from emofuse.pipeline.timed import Floats64, TimedSequence

from .adaptation import Change
from .batch import Batch, Scaling
from .checkpoints import Checkpoint, StreamInput
from .predictor import batches

LAST = ("recursion.out", "head.out", "out", "mix")
"""Where the models keep it."""


@dataclass(frozen=True, eq=False)
class Read:
    """Utterances as the last layer reads them: features (u c), logits of the emotions (u k), temperatures (u)."""

    features: Floats64
    logits: Floats64
    temperatures: Floats64


def last_layer(module: nn.Module) -> nn.Linear:
    """The linear layer that writes a model's logits; raises `CheckpointError` for a model that has none."""
    named = dict(module.named_modules())
    for name in LAST:
        if isinstance(layer := named.get(name), nn.Linear):
            return layer
    raise CheckpointError(f"{type(module).__name__}: expected a last layer named {', '.join(LAST)}")


def emotions_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Its emotions, in the order of its logits; raises `CheckpointError` where the model has no such task."""
    _ = emotion_rows(checkpoint)
    return checkpoint.tasks["emotion"]


def emotion_rows(checkpoint: Checkpoint) -> slice:
    """Which of the last layer's outputs are the emotions'; raises `CheckpointError` where the model has no such task."""
    first = 0
    for task, labels in checkpoint.tasks.items():
        if task == "emotion":
            return slice(first, first + len(labels))
        first += len(labels)
    raise CheckpointError(f"{checkpoint.model}: expected the task emotion, got {', '.join(checkpoint.tasks)}")


def prepared(checkpoint: Checkpoint, utterance: Utterance) -> dict[str, TimedSequence]:
    """An utterance's rows as the model takes them, before standardisation; a stream that it has not is empty.

    Raises `CheckpointError` where it has none that the model reads, or one lacks columns.
    """
    streams = {name: read.prepared(utterance.streams[name]).rows for name, read in checkpoint.streams.items() if name in utterance.streams}
    if not any(map(len, streams.values())):
        raise CheckpointError(f"{checkpoint.model}: reads {', '.join(checkpoint.streams)}, and the clip has none of them")
    return streams


def read_utterances(
    checkpoint: Checkpoint, module: nn.Module, utterances: Sequence[Mapping[str, TimedSequence]], scalings: Mapping[str, Scaling]
) -> Read:
    """Utterances (u) of `prepared` rows, standardised so."""
    read: list[Tensor] = []
    layer, emotions = last_layer(module), emotion_rows(checkpoint)
    hook = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].double()))
    features, logits = [torch.zeros(0)] * len(utterances), [torch.zeros(0)] * len(utterances)
    try:
        for members in batches([sum(map(len, streams.values())) for streams in utterances]):
            padded = {name: Batch.of([_stream(checkpoint, name, utterances[m]) for m in members], scalings[name]) for name in scalings}
            with torch.inference_mode():
                answered: Tensor = module(padded).logits.double()
            for m, of_features, of_logits in zip(members, read.pop(), answered, strict=True):
                features[m], logits[m] = of_features, of_logits[emotions]
    finally:
        hook.remove()
    present = [[name for name, rows in streams.items() if len(rows)] for streams in utterances]
    temperatures = np.array([checkpoint.temperature_of(names) for names in present], np.float64)
    return Read(torch.stack(features).numpy(), torch.stack(logits).numpy(), temperatures)


def _stream(checkpoint: Checkpoint, name: str, streams: Mapping[str, TimedSequence]) -> TimedSequence:
    if name in streams:
        return streams[name]
    read = checkpoint.streams[name]
    some = next(iter(streams.values()))
    return TimedSequence.empty(name, read.preparation.made(read.columns), some.provenance, "not extracted")


def centred(read: StreamInput, tally: Tally) -> Scaling:
    """The standardisation of a stream that departs from what is usual in the tallied utterances: what pipeline/baseline.py does to rows
    is the same as moving the mean that is taken from them."""
    usual: Usual = tally.usual()
    everybody = read.scaling.mean.astype(np.float64)
    moved = np.where(usual.share > 0, usual.share * (np.nan_to_num(usual.mean) - everybody), 0.0)
    return dataclasses.replace(read.scaling, mean=(everybody + moved).astype(np.float32))


def changed(
    checkpoint: Checkpoint, module: nn.Module, change: Change, scalings: Mapping[str, Scaling], card: Mapping[str, Any]
) -> tuple[Checkpoint, nn.Module]:
    """The checkpoint with its last layer changed, its logits sharpened (by its temperatures) and its streams standardised so; a new
    module, the old one stays."""
    module, emotions = copy.deepcopy(module), emotion_rows(checkpoint)
    layer = last_layer(module)
    with torch.no_grad():
        layer.weight[emotions] += torch.from_numpy(change.weights).to(layer.weight.dtype)
        layer.bias[emotions] += torch.from_numpy(change.offsets).to(layer.bias.dtype)
    streams = {name: dataclasses.replace(read, scaling=scalings[name]) for name, read in checkpoint.streams.items()}
    return (
        dataclasses.replace(
            checkpoint,
            streams=streams,
            temperature=checkpoint.temperature / change.sharpness,
            temperatures={subset: t / change.sharpness for subset, t in checkpoint.temperatures.items()},
            card=card,
            sha256="",
        ),
        module,
    )
