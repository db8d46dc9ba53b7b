"""What a model is asked, and how its logits answer: outputs, targets, losses, answers and scores for each kind of task.

Letters: n or b utterances, e emotions, c classes, o a task's outputs.

    regress       one number (sentiment): o = 1, target (n), loss l1 (or l2)
    classes       one of c: o = c, target (n) class numbers, cross-entropy (or l2 on one-hot, as Beard et al. 2018)
    multilabel    each of e, yes where the label is > 0: o = e, target (n e), binary cross-entropy
    questions     each of e as a choice of two, as MulT asks IEMOCAP: o = 2e, target (n e), cross-entropy
    intensities   each of e, a number: o = e, target (n e), loss l2 (or l1)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from emofuse.pipeline import metrics
from emofuse.pipeline.errors import DatasetError, UsageError

from .datasets.examples import Example
from .recipe import TaskPart

LOSSES = {  # kind -> losses, its own first
    "regress": ("l1", "l2"),
    "classes": ("cross-entropy", "l2"),
    "multilabel": ("bce",),
    "questions": ("cross-entropy",),
    "intensities": ("l2", "l1"),
}
INTENSITY_THRESHOLD = 0.1


class Task:
    """One task of a recipe. Raises `UsageError` for a kind, loss or label list that cannot be."""

    def __init__(self, name: str, part: TaskPart) -> None:
        if part.kind not in LOSSES:
            raise UsageError(f"tasks.{name}: no kind {part.kind!r}; there are {', '.join(LOSSES)}")
        if part.loss not in ("", *LOSSES[part.kind]):
            raise UsageError(f"tasks.{name}: {part.kind} has the losses {', '.join(LOSSES[part.kind])}, not {part.loss!r}")
        if part.smoothing and (part.kind, part.loss) not in (("classes", ""), ("classes", "cross-entropy")):
            raise UsageError(f"tasks.{name}: smoothing belongs to classes with cross-entropy, not to {part.kind} {part.loss}".rstrip())
        if (part.kind == "regress") == bool(part.labels):
            raise UsageError(f"tasks.{name}: labels belong to every kind but regress; got {len(part.labels)} for {part.kind}")
        self.name, self.part = name, part
        self.kind, self.column = part.kind, part.column or name
        self.loss_name = part.loss or LOSSES[part.kind][0]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the logits."""
        if self.kind == "regress":
            return (self.name,)
        if self.kind == "questions":
            return tuple(f"{no}{label}" for label in self.part.labels for no in ("not ", ""))
        return self.part.labels

    def targets(self, examples: Sequence[Example]) -> Tensor:
        """(n) or (n e); raises `DatasetError` naming the utterance and the label."""
        if self.kind == "classes":
            return torch.tensor([self._class(example) for example in examples], dtype=torch.int64)
        columns = (self.column,) if self.kind == "regress" else self.part.labels
        found = torch.tensor([[self._number(example, column) for column in columns] for example in examples], dtype=torch.float32)
        if self.kind == "regress":
            return found[:, 0]
        return found if self.kind == "intensities" else (found > 0).long()

    def _class(self, example: Example) -> int:
        label = example.labels.get(self.column)
        if label is None:
            raise DatasetError(f"{example.name}: no label {self.column}; it has {', '.join(example.labels) or 'none'}")
        label = self.part.rename.get(str(label), str(label))
        if label not in self.part.labels:
            raise DatasetError(f"{example.name}: unknown label {label!r} for {self.column}; the recipe has {', '.join(self.part.labels)}")
        return self.part.labels.index(label)

    def _number(self, example: Example, column: str) -> float:
        label = example.labels.get(column)
        if not isinstance(label, float):
            got = f"it has {', '.join(example.labels) or 'none'}" if label is None else f"got {label!r}"
            raise DatasetError(f"{example.name}: expected the label {column} as a number; {got}")
        return label

    def loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """(b o) and (b) or (b e) -> a scalar, the mean over utterances, times the task's weight. `smoothing` is cross-entropy's alone."""
        if self.kind == "regress":
            found = _distance(self.loss_name, logits[:, 0], targets)
        elif self.kind == "classes" and self.loss_name == "l2":
            found = functional.mse_loss(logits, functional.one_hot(targets, logits.shape[1]).to(logits.dtype))
        elif self.kind == "classes":
            found = functional.cross_entropy(logits, targets, class_weights, label_smoothing=smoothing)
        elif self.kind == "multilabel":
            found = functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))
        elif self.kind == "questions":
            found = functional.cross_entropy(logits.reshape(-1, 2), targets.reshape(-1))
        else:
            found = _distance(self.loss_name, logits, targets)
        return self.part.weight * found

    def answers(self, logits: Tensor) -> NDArray[Any]:
        """(n o) -> what the metrics compare with the targets: (n) numbers or classes, (n e) probabilities, choices or intensities."""
        logits = logits.double()
        if self.kind == "regress":
            found = logits[:, 0]
        elif self.kind == "classes":
            found = logits.argmax(1)
        elif self.kind == "multilabel":
            found = logits.sigmoid()
        elif self.kind == "questions":
            found = logits.reshape(len(logits), -1, 2).argmax(2)
        else:
            found = logits
        array: NDArray[Any] = found.numpy()
        return array

    def baseline(self, training: Tensor, utterances: int) -> NDArray[Any]:
        """Answers without a model: the training mean, or the training majority."""
        if self.kind in ("regress", "intensities"):
            return metrics.mean_answer(training.numpy(), utterances)
        return metrics.majority_answer(training.numpy(), utterances)

    def scores(self, targets: Tensor, answers: NDArray[Any]) -> dict[str, Any]:
        """Every score of this kind of task, as plain values."""
        truth = targets.numpy()
        if self.kind == "regress":
            return dataclasses.asdict(metrics.evaluate_sentiment(truth, answers))
        if self.kind == "classes":
            return dataclasses.asdict(metrics.evaluate_classes(truth, answers, self.part.labels))
        if self.kind == "intensities":
            of_labels = metrics.evaluate_multilabel(truth, answers, self.part.labels, INTENSITY_THRESHOLD)
            return dataclasses.asdict(metrics.evaluate_intensities(truth, answers)) | dataclasses.asdict(of_labels)
        return dataclasses.asdict(metrics.evaluate_multilabel(truth, answers, self.part.labels))

    def headline(self) -> dict[str, Callable[[Any, Any], float]]:
        """The scores that get an interval over speakers."""
        if self.kind == "regress":
            return {
                "acc2_non_zero": lambda y, p: metrics.accuracy(*metrics.signs(y, p, has_zero=False)),
                "mae": metrics.mean_absolute_error,
                "corr": metrics.correlation,
            }
        if self.kind == "classes":
            labels = self.part.labels
            return {"accuracy": metrics.accuracy, "uar": lambda y, p: metrics.evaluate_classes(y, p, labels).uar}
        threshold, labels = (INTENSITY_THRESHOLD if self.kind == "intensities" else 0.5), self.part.labels
        return {"weighted_accuracy": lambda y, p: metrics.evaluate_multilabel(y, p, labels, threshold).weighted_accuracy}

    def class_weights(self, targets: Tensor) -> Tensor | None:
        """(c) so that classes weigh alike; None for other kinds."""
        if self.kind != "classes":
            return None
        counts = torch.bincount(targets, minlength=len(self.part.labels)).float()
        return len(targets) / (len(counts) * counts.clamp(min=1))


def tasks_of(parts: Mapping[str, TaskPart]) -> dict[str, Task]:
    return {name: Task(name, part) for name, part in parts.items()}


def split_logits(tasks: Mapping[str, Task], logits: Tensor) -> dict[str, Tensor]:
    """(b all) -> task -> (b o): the tasks stand one after the other."""
    widths = [len(task.outputs) for task in tasks.values()]
    return dict(zip(tasks, torch.split(logits, widths, dim=1), strict=True))


def _distance(name: str, answers: Tensor, targets: Tensor) -> Tensor:
    return functional.l1_loss(answers, targets) if name == "l1" else functional.mse_loss(answers, targets)
