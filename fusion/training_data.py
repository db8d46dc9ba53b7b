"""A dataset made ready for a recipe: its splits, the columns that the model reads, their standardisation, targets and batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emofuse.pipeline.errors import DatasetError, UsageError
from emofuse.pipeline.timed import Provenance, TimedSequence

from .batch import Batch, Scaling
from .checkpoints import StreamInput
from .datasets.examples import SPLITS, Dataset, Example
from .recipe import Recipe, SplitsPart
from .tasks import Task

NO_LIMIT = 1e30
EVALUATION_BATCH = 64


@dataclass(frozen=True, eq=False)
class Part:
    """One split: utterance by utterance its streams (every stream of the recipe, empty ones with a reason), targets by task, speakers."""

    streams: tuple[Mapping[str, TimedSequence], ...]
    targets: Mapping[str, Tensor]
    speakers: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.streams)

    def rows(self) -> list[int]:
        """Each utterance's rows, all streams together."""
        return [sum(len(stream) for stream in streams.values()) for streams in self.streams]

    def batch(self, index: Sequence[int], inputs: Mapping[str, StreamInput], device: torch.device) -> dict[str, Batch]:
        """These utterances, standardised and padded."""
        return {name: Batch.of([self.streams[i][name] for i in index], stream.scaling).to(device) for name, stream in inputs.items()}

    def target(self, index: Sequence[int], device: torch.device) -> dict[str, Tensor]:
        """Targets (b) or (b labels) of these utterances, by task."""
        return {task: values[list(index)].to(device) for task, values in self.targets.items()}


def parts_of(recipe: Recipe, dataset: Dataset, tasks: Mapping[str, Task]) -> dict[str, Part]:
    """Split -> Part. Raises `DatasetError` naming an utterance and its unknown label, or a stream of the wrong width."""
    split_of = _splits(recipe.splits, dataset, needed=SPLITS if recipe.training.keep == "best" else ("train", "test"))
    if recipe.splits.merge:
        split_of = ["train" if split == "valid" else split for split in split_of]
    columns = columns_of(recipe, dataset)
    parts: dict[str, Part] = {}
    for split in SPLITS:
        chosen = [
            e
            for e, example_split in zip(dataset.examples, split_of, strict=True)
            if example_split == split and (split == "train" or not e.copy_of)
        ]
        streams = tuple(_streams(recipe, example, columns) for example in chosen)
        targets = {name: task.targets(chosen) for name, task in tasks.items()} if chosen else {}
        parts[split] = Part(streams, targets, tuple(e.speaker for e in chosen), tuple(e.name for e in chosen))
    return parts


def columns_of(recipe: Recipe, dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Stream -> the columns that the model reads; raises `DatasetError` where the data have none of it, or another width."""
    columns: dict[str, tuple[str, ...]] = {}
    for name, part in recipe.streams.items():
        first = next((e.streams[name] for e in dataset.examples if name in e.streams and e.streams[name].columns), None)
        if first is None:
            raise DatasetError(f"{dataset.name}: no utterance has the stream {name}")
        columns[name] = part.columns or first.columns
        if part.width and len(columns[name]) != part.width:
            raise DatasetError(f"{dataset.name}: {name}: the recipe wants {part.width} columns, the data have {len(columns[name])}")
    return columns


def inputs_of(recipe: Recipe, dataset: Dataset, training: Part) -> dict[str, StreamInput]:
    """Columns and standardisation, from the training utterances alone."""
    inputs = {}
    for name, columns in columns_of(recipe, dataset).items():
        rows = [streams[name].values for streams in training.streams if len(streams[name])]
        if recipe.training.scaling == "none" or not rows:
            width = len(columns)
            scaling = Scaling(np.zeros(width, np.float32), np.ones(width, np.float32), NO_LIMIT)
        else:
            scaling = Scaling.fit(np.concatenate(rows))
        inputs[name] = StreamInput(columns, scaling)
    return inputs


def shuffled(rows: Sequence[int], batch: int, generator: torch.Generator, grouped: int = 0) -> Iterator[list[int]]:
    """Every utterance once, in a drawn order. `rows` counts each utterance's; with `grouped`, utterances of that many batches are drawn
    together and dealt out by their rows, so that those of one batch are about equally long and little is padded; batches keep no order."""
    order: list[int] = torch.randperm(len(rows), generator=generator).tolist()
    pool = max(1, grouped) * batch
    for first in range(0, len(order), pool):
        drawn = order[first : first + pool]
        if grouped:
            drawn.sort(key=rows.__getitem__)
        batches = [drawn[at : at + batch] for at in range(0, len(drawn), batch)]
        if grouped:
            batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
        yield from batches


def in_order(size: int, batch: int = EVALUATION_BATCH) -> Iterator[list[int]]:
    for at in range(0, size, batch):
        yield list(range(at, min(size, at + batch)))


def _streams(recipe: Recipe, example: Example, columns: Mapping[str, tuple[str, ...]]) -> dict[str, TimedSequence]:
    nothing = Provenance("none", "0")
    by_name: dict[str, TimedSequence] = {}
    for name, wanted in columns.items():
        stream = example.streams.get(name)
        if stream is None or name in recipe.data.hide:
            reason = "hidden by the recipe" if stream is not None else "not in the data"
            by_name[name] = TimedSequence.empty(name, wanted, nothing, reason)
        elif not len(stream):
            by_name[name] = TimedSequence.empty(name, wanted, stream.provenance, stream.reason)
        else:
            by_name[name] = stream if stream.columns == wanted else stream.select(wanted)
    return by_name


def _drawn(part: SplitsPart, size: int) -> list[str]:
    """Splits by `shares`, utterances in an order drawn from `seed`."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(part.seed)).tolist()
    train, valid = round(part.shares[0] * size), round(part.shares[1] * size)
    splits = [""] * size
    for position, index in enumerate(order):
        splits[index] = "train" if position < train else "valid" if position < train + valid else "test"
    return splits


def _splits(part: SplitsPart, dataset: Dataset, needed: Sequence[str]) -> list[str]:
    """Each utterance's split; valid may be empty where it is not `needed`.

    Raises `UsageError` for a way that is not known, `DatasetError` for a split that stays empty.
    """
    if part.by == "data":
        splits = [example.split for example in dataset.examples]
        if missing := [split for split in needed if split not in splits]:
            raise DatasetError(f"{dataset.name}: the data have no utterance in {', '.join(missing)}; recipes can split by speaker")
        return splits
    if part.by == "random":
        return _drawn(part, len(dataset.examples))
    if part.by != "speaker":
        raise UsageError(f"splits.by: expected data, speaker or random, got {part.by!r}")
    counts = Counter(example.speaker for example in dataset.examples)
    speakers = sorted(counts)
    if part.folds:
        if not (3 <= part.folds <= len(speakers) and 0 <= part.fold < part.folds):
            raise UsageError(f"splits: expected 3 to {len(speakers)} folds and 0 <= fold < folds, got {part.folds} and {part.fold}")
        test = set(speakers[part.fold :: part.folds])
        valid = set(speakers[(part.fold + 1) % part.folds :: part.folds])
    else:
        test, valid = set(part.test), set(part.valid)
        if unknown := sorted((test | valid) - set(speakers)):
            raise DatasetError(f"{dataset.name}: no speaker {', '.join(unknown)}; there are {', '.join(speakers)}")
        if not test or (not valid and "valid" in needed) or test & valid or not set(speakers) - test - valid:
            wanted = " and ".join(split for split in ("valid", "test") if split in needed)
            raise UsageError(f"splits: expected speakers for {wanted}, apart from each other, and some left to train on")
    return ["test" if e.speaker in test else "valid" if e.speaker in valid else "train" for e in dataset.examples]
