"""What a model is asked, and how its logits answer: one class per kind of task, with its outputs, targets, losses, answers and scores.

Letters: n or b utterances, e emotions, c classes, o a task's outputs.

    regress       one number (sentiment): o = 1, target (n), loss l1 (or l2)
    classes       one of c: o = c, target (n) class numbers, cross-entropy (or l2 on one-hot, as Beard et al. 2018)
    strongest     one of c, that whose label is the largest (labels are numbers; MOSEI's emotions as six classes, Panchal 2020): o = c,
                  target (n), -1 where no label is above 0: such utterances count neither in the loss nor in the scores
    multilabel    each of e, yes where the label is > 0: o = e, target (n e), binary cross-entropy
    questions     each of e as a choice of two, as MulT asks IEMOCAP: o = 2e, target (n e), cross-entropy
    intensities   each of e, a number (a rating, or the share of annotators: soft labels): o = e, target (n e), loss l2 (or l1)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from emofuse.pipeline import metrics
from emofuse.pipeline.errors import DatasetError, UsageError

from .datasets.examples import Example
from .recipe import TaskPart

INTENSITY_THRESHOLD = 0.1
SENTIMENT_CLASSES = tuple(str(k) for k in range(-3, 4))

Answers = NDArray[Any]
Metric = Callable[[Any, Any], float]


@dataclass(frozen=True, eq=False)
class Confusion:
    """counts (c c) [truth, answer] of `labels`, and what was counted."""

    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    note: str = ""

    @classmethod
    def of(cls, labels: Sequence[str], truth: Answers, answers: Answers, note: str = "") -> Confusion:
        """From class numbers (n) each."""
        return cls(tuple(labels), metrics.confusion(truth, answers, len(labels)), note)


class Task:
    """One task of a recipe; `task_of` makes the one of its kind. Raises `UsageError` for a loss or label list that cannot be."""

    kind: ClassVar[str]
    losses: ClassVar[tuple[str, ...]]
    """The kind's own loss first."""

    def __init__(self, name: str, part: TaskPart) -> None:
        if part.loss not in ("", *self.losses):
            raise UsageError(f"tasks.{name}: {self.kind} has the losses {', '.join(self.losses)}, not {part.loss!r}")
        self.name, self.part = name, part
        self.column, self.labels = part.column or name, part.labels
        self.loss_name = part.loss or self.losses[0]
        if part.smoothing and not (self.loss_name == "cross-entropy" and isinstance(self, Classes)):
            raise UsageError(f"tasks.{name}: smoothing belongs to classes with cross-entropy, not to {self.kind} {part.loss}".rstrip())
        if bool(part.labels) is isinstance(self, Regress):
            raise UsageError(f"tasks.{name}: labels belong to every kind but regress; got {len(part.labels)} for {self.kind}")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the logits."""
        return self.labels

    def targets(self, examples: Sequence[Example]) -> Tensor:
        """(n) or (n e); raises `DatasetError` naming the utterance and the label."""
        raise NotImplementedError

    def loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """(b o) and (b) or (b e) -> a scalar, the mean over utterances, times the task's weight. `smoothing` is cross-entropy's alone."""
        return self.part.weight * self._loss(logits, targets, class_weights, smoothing)

    def _loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        raise NotImplementedError

    def answers(self, logits: Tensor) -> Answers:
        """(n o) -> what the metrics compare with the targets: (n) numbers or classes, (n e) probabilities, choices or intensities."""
        answers: Answers = self._answers(logits.double()).numpy()
        return answers

    def _answers(self, logits: Tensor) -> Tensor:
        raise NotImplementedError

    def baseline(self, training: Tensor, utterances: int) -> Answers:
        """Answers (n) or (n labels) without a model: the mean or majority of the training's targets, for n `utterances`."""
        return metrics.majority_answer(training.numpy(), utterances)

    def scores(self, targets: Tensor, answers: Answers) -> dict[str, Any]:
        """Every score of this kind of task, as plain values: targets and answers, (n) or (n labels), row by row."""
        raise NotImplementedError

    def headline(self) -> dict[str, Metric]:
        """The scores that get an interval over speakers."""
        raise NotImplementedError

    def confusion(self, targets: Tensor, logits: Tensor) -> Confusion:
        """The task as one choice of several, counted: targets (n) or (n labels), logits (n outputs)."""
        raise NotImplementedError

    def class_weights(self, targets: Tensor) -> Tensor | None:
        """(c) so that classes weigh alike; None for kinds without classes."""
        return None

    def counted(self, targets: Tensor) -> Tensor:
        """(n) bool: the utterances that this task has a truth for."""
        return torch.ones(len(targets), dtype=torch.bool)

    @property
    def calibrated(self) -> bool:
        """Whether its logits are those of a softmax, which a temperature can calibrate."""
        return False

    def numbers(self, examples: Sequence[Example], columns: Sequence[str]) -> Tensor:
        """(n columns) of labels that are numbers."""
        return torch.tensor([[_number(example, column) for column in columns] for example in examples], dtype=torch.float32)


class Regress(Task):
    kind, losses = "regress", ("l1", "l2")

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.name,)

    def targets(self, examples: Sequence[Example]) -> Tensor:
        return self.numbers(examples, (self.column,))[:, 0]

    def _loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        return _distance(self.loss_name, logits[:, 0], targets)

    def _answers(self, logits: Tensor) -> Tensor:
        return logits[:, 0]

    def baseline(self, training: Tensor, utterances: int) -> Answers:
        return metrics.mean_answer(training.numpy(), utterances)

    def scores(self, targets: Tensor, answers: Answers) -> dict[str, Any]:
        return dataclasses.asdict(metrics.evaluate_sentiment(targets.numpy(), answers))

    def headline(self) -> dict[str, Metric]:
        def both(has_zero: bool) -> dict[str, Metric]:
            name = "has_zero" if has_zero else "non_zero"
            return {
                f"acc2_{name}": lambda y, p: metrics.accuracy(*metrics.signs(y, p, has_zero=has_zero)),
                f"f1_{name}": lambda y, p: metrics.weighted_f1(metrics.confusion(*metrics.signs(y, p, has_zero=has_zero), 2)),
            }

        accuracies: dict[str, Metric] = {"acc7": lambda y, p: metrics.rounded_accuracy(y, p, 3)}
        return accuracies | both(False) | both(True) | {"mae": metrics.mean_absolute_error, "corr": metrics.correlation}

    def confusion(self, targets: Tensor, logits: Tensor) -> Confusion:
        truth, answers = (np.round(np.clip(v, -3, 3)).astype(np.int64) + 3 for v in (targets.numpy(), self.answers(logits)))
        return Confusion.of(SENTIMENT_CLASSES, truth, answers, "cut to the seven classes of Acc7")


class Classes(Task):
    kind = "classes"
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "l2")

    def targets(self, examples: Sequence[Example]) -> Tensor:
        return torch.tensor([self._class(example) for example in examples], dtype=torch.int64)

    def _class(self, example: Example) -> int:
        label = example.labels.get(self.column)
        if label is None:
            raise DatasetError(f"{example.name}: no label {self.column}; it has {', '.join(example.labels) or 'none'}")
        label = self.part.rename.get(str(label), str(label))
        if label not in self.labels:
            raise DatasetError(f"{example.name}: unknown label {label!r} for {self.column}; the recipe has {', '.join(self.labels)}")
        return self.labels.index(label)

    def _loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        if self.loss_name == "l2":
            return functional.mse_loss(logits, functional.one_hot(targets, logits.shape[1]).to(logits.dtype))
        return functional.cross_entropy(logits, targets, class_weights, label_smoothing=smoothing)

    def _answers(self, logits: Tensor) -> Tensor:
        return logits.argmax(1)

    def scores(self, targets: Tensor, answers: Answers) -> dict[str, Any]:
        return dataclasses.asdict(metrics.evaluate_classes(targets.numpy(), answers, self.labels))

    def headline(self) -> dict[str, Metric]:
        return {"accuracy": metrics.accuracy, "uar": lambda y, p: metrics.evaluate_classes(y, p, self.labels).uar}

    def confusion(self, targets: Tensor, logits: Tensor) -> Confusion:
        return Confusion.of(self.labels, targets.numpy(), self.answers(logits))

    def class_weights(self, targets: Tensor) -> Tensor | None:
        counts = torch.bincount(targets[self.counted(targets)], minlength=len(self.labels)).float()
        return counts.sum() / (len(counts) * counts.clamp(min=1))

    @property
    def calibrated(self) -> bool:
        return self.loss_name == "cross-entropy"


class Strongest(Classes):
    """Classes whose labels are numbers of their own: the largest counts, the first of equals; -1 where none is above 0."""

    kind, losses = "strongest", ("cross-entropy",)

    def targets(self, examples: Sequence[Example]) -> Tensor:
        values = self.numbers(examples, self.labels)
        return torch.where((values > 0).any(1), values.argmax(1), -1)

    def counted(self, targets: Tensor) -> Tensor:
        return targets >= 0

    def _loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        summed = functional.cross_entropy(logits, targets, class_weights, ignore_index=-1, reduction="sum", label_smoothing=smoothing)
        return summed / self.counted(targets).sum().clamp(min=1)

    def baseline(self, training: Tensor, utterances: int) -> Answers:
        return metrics.majority_answer(training[self.counted(training)].numpy(), utterances)

    def scores(self, targets: Tensor, answers: Answers) -> dict[str, Any]:
        """Targets and answers (n): as for classes, and each class as a yes or no (`one_against_rest`); `uncounted` have no truth."""
        counted = self.counted(targets).numpy()
        truth, chosen = targets.numpy()[counted], answers[counted]
        hot = np.eye(len(self.labels))
        each = dataclasses.asdict(metrics.evaluate_multilabel(hot[truth], hot[chosen], self.labels))["labels"]
        return dataclasses.asdict(metrics.evaluate_classes(truth, chosen, self.labels)) | {
            "uncounted": int((~counted).sum()),
            "one_against_rest": each,
        }

    def headline(self) -> dict[str, Metric]:
        def of_counted(metric: Metric) -> Metric:
            return lambda y, p: metric(y[y >= 0], p[y >= 0]) if (y >= 0).any() else 0.0

        return {name: of_counted(metric) for name, metric in super().headline().items()}

    def confusion(self, targets: Tensor, logits: Tensor) -> Confusion:
        counted = self.counted(targets)
        note = f"{int(counted.sum())} of {len(targets)} utterances, those with an emotion"
        return Confusion.of(self.labels, targets[counted].numpy(), self.answers(logits[counted]), note)

    @property
    def calibrated(self) -> bool:
        return False


class YesOrNo(Task):
    """What multilabel, questions and intensities share: a number per label."""

    threshold = 0.5

    def targets(self, examples: Sequence[Example]) -> Tensor:
        return (self.numbers(examples, self.labels) > 0).long()

    def scores(self, targets: Tensor, answers: Answers) -> dict[str, Any]:
        return dataclasses.asdict(metrics.evaluate_multilabel(targets.numpy(), answers, self.labels, self.threshold))

    def headline(self) -> dict[str, Metric]:
        def score(y: Any, p: Any) -> metrics.MultilabelScores:
            return metrics.evaluate_multilabel(y, p, self.labels, self.threshold)

        return {
            "accuracy": lambda y, p: score(y, p).accuracy,
            "weighted_accuracy": lambda y, p: score(y, p).weighted_accuracy,
            "weighted_f1": lambda y, p: score(y, p).weighted_f1,
        }

    def strength(self, logits: Tensor) -> Tensor:
        """(n o) -> (n e): how strongly each label is answered yes, comparable between labels."""
        return logits

    def confusion(self, targets: Tensor, logits: Tensor) -> Confusion:
        """Of the utterances with exactly one label, targets (n labels): that label against the one answered most strongly, logits (n
        outputs)."""
        single = (targets > 0).sum(1) == 1
        truth = (targets[single] > 0).long().argmax(1).numpy()
        answers = self.strength(logits[single].double()).argmax(1).numpy()
        return Confusion.of(self.labels, truth, answers, f"{int(single.sum())} of {len(targets)} utterances, those with one label")


class Multilabel(YesOrNo):
    kind, losses = "multilabel", ("bce",)

    def _loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        return functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))

    def _answers(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()


class Questions(YesOrNo):
    kind, losses = "questions", ("cross-entropy",)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(f"{no}{label}" for label in self.labels for no in ("not ", ""))

    def _loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        return functional.cross_entropy(logits.reshape(-1, 2), targets.reshape(-1))

    def _answers(self, logits: Tensor) -> Tensor:
        return logits.reshape(len(logits), -1, 2).argmax(2)

    def strength(self, logits: Tensor) -> Tensor:
        pairs = logits.reshape(len(logits), -1, 2)
        return pairs[..., 1] - pairs[..., 0]


class Intensities(YesOrNo):
    kind, losses, threshold = "intensities", ("l2", "l1"), INTENSITY_THRESHOLD

    def targets(self, examples: Sequence[Example]) -> Tensor:
        return self.numbers(examples, self.labels)

    def _loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        return _distance(self.loss_name, logits, targets)

    def _answers(self, logits: Tensor) -> Tensor:
        return logits

    def baseline(self, training: Tensor, utterances: int) -> Answers:
        return metrics.mean_answer(training.numpy(), utterances)

    def scores(self, targets: Tensor, answers: Answers) -> dict[str, Any]:
        return dataclasses.asdict(metrics.evaluate_intensities(targets.numpy(), answers)) | super().scores(targets, answers)

    def headline(self) -> dict[str, Metric]:
        return {
            "mse_sum": lambda y, p: metrics.evaluate_intensities(y, p).mse_sum,
            "mae_sum": lambda y, p: metrics.evaluate_intensities(y, p).mae_sum,
        } | super().headline()


KINDS: dict[str, type[Task]] = {
    "regress": Regress,
    "classes": Classes,
    "strongest": Strongest,
    "multilabel": Multilabel,
    "questions": Questions,
    "intensities": Intensities,
}


def task_of(name: str, part: TaskPart) -> Task:
    """The task of a recipe's part; raises `UsageError` for a kind that does not exist."""
    if part.kind not in KINDS:
        raise UsageError(f"tasks.{name}: no kind {part.kind!r}; there are {', '.join(KINDS)}")
    return KINDS[part.kind](name, part)


def tasks_of(parts: Mapping[str, TaskPart]) -> dict[str, Task]:
    return {name: task_of(name, part) for name, part in parts.items()}


def split_logits(tasks: Mapping[str, Task], logits: Tensor) -> dict[str, Tensor]:
    """(b all) -> task -> (b o): the tasks stand one after the other."""
    widths = [len(task.outputs) for task in tasks.values()]
    return dict(zip(tasks, torch.split(logits, widths, dim=1), strict=True))


def _number(example: Example, column: str) -> float:
    label = example.labels.get(column)
    if not isinstance(label, float):
        got = f"it has {', '.join(example.labels) or 'none'}" if label is None else f"got {label!r}"
        raise DatasetError(f"{example.name}: expected the label {column} as a number; {got}")
    return label


def _distance(name: str, answers: Tensor, targets: Tensor) -> Tensor:
    return functional.l1_loss(answers, targets) if name == "l1" else functional.mse_loss(answers, targets)
