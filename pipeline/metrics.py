"""Scores of answers against truth, as the papers of the field count them; in the manner of mir_eval: validate, metric, evaluate.

Letters: n utterances, c classes, e emotions. Numbers are counted in float64 and never rounded here.

Sentiment (CMU-MOSI, CMU-MOSEI: reals, -3..3):
    Acc7, Acc5, Acc3   both are cut at +-3, +-2, +-1, then rounded half to even (numpy's rule: 0.5 -> 0, 2.5 -> 2), then compared
    Acc2 and F1        "non-zero" drops utterances whose truth is 0 and compares p > 0 with y > 0 (MulT's released evaluation);
                       "has-zero" keeps all and compares p >= 0 with y >= 0. Papers seldom say which: both are always given
    F1                 mean of the two classes' F1, weighted by their shares in the truth. MulT's code hands truth and answer over in
                       swapped order, so its weights are shares in the answers: `f1_mult`, for comparing with its tables
    MAE, Corr          mean |p - y|; Pearson's r, 0 where either is constant
Six emotions (CMU-MOSEI, several at once): weighted accuracy (Tong et al. 2017), (TP * N/P + TN) / 2N = the mean of both classes' recall.
Four emotions (IEMOCAP as MulT has it): each a question of its own. Classes (CREMA-D, RAVDESS): accuracy, UAR (mean recall over
the classes that occur), macro F1. Intensities (Beard et al. 2018): squared and absolute errors summed over emotions, mean over n.

A majority or mean answer stands beside every table, because several printed results lie at or below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import MetricError
from .timed import Floats64

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class SentimentScores:
    """n utterances, `nonzero` of them with a truth other than 0; the module's docstring says how each is counted."""

    utterances: int
    nonzero: int
    acc7: float
    acc5: float
    acc3: float
    acc2_non_zero: float
    f1_non_zero: float
    f1_mult: float
    acc2_has_zero: float
    f1_has_zero: float
    mae: float
    corr: float


@dataclass(frozen=True)
class BinaryScores:
    """One yes-or-no question: share of yes in the truth, accuracy, weighted accuracy, weighted F1, F1 of yes."""

    label: str
    positives: float
    accuracy: float
    weighted_accuracy: float
    weighted_f1: float
    positive_f1: float


@dataclass(frozen=True)
class MultilabelScores:
    """One `BinaryScores` an emotion, and their means."""

    utterances: int
    labels: tuple[BinaryScores, ...]
    accuracy: float
    weighted_accuracy: float
    weighted_f1: float
    positive_f1: float


@dataclass(frozen=True)
class ClassScores:
    """One answer of several. `recall` is per label, NaN where the truth has none of it; confusion[truth][answer] counts."""

    utterances: int
    labels: tuple[str, ...]
    accuracy: float
    uar: float
    macro_f1: float
    weighted_f1: float
    recall: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class IntensityScores:
    """Squared and absolute errors summed over the emotions, mean over utterances."""

    utterances: int
    mse_sum: float
    mae_sum: float


@dataclass(frozen=True)
class Interval:
    """A score and the interval that holds `level` of its bootstrap values."""

    value: float
    low: float
    high: float
    level: float
    draws: int


# --- validate ---


def validate_values(truth: ArrayLike, answers: ArrayLike, dimensions: int = 1) -> tuple[Floats64, Floats64]:
    """Both as finite float64 of one shape, (n) or (n k) by `dimensions`, with at least one utterance; raises `MetricError` otherwise."""
    y, p = np.asarray(truth, np.float64), np.asarray(answers, np.float64)
    if y.shape != p.shape or y.ndim != dimensions or len(y) == 0:
        raise MetricError(f"metrics: expected truth and answers of one shape with {dimensions} axes, got {y.shape} and {p.shape}")
    for name, array in (("truth", y), ("answers", p)):
        if not np.isfinite(array).all():
            raise MetricError(f"metrics: {name} {tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])} is not finite")
    return y, p


def validate_classes(truth: ArrayLike, answers: ArrayLike, classes: int) -> tuple[Ints, Ints]:
    """Both as (n) class numbers 0..classes-1; else `MetricError`."""
    y, p = validate_values(truth, answers)
    for name, array in (("truth", y), ("answers", p)):
        if (array != np.floor(array)).any() or array.min() < 0 or array.max() >= classes:
            raise MetricError(f"metrics: expected {name} as class numbers 0..{classes - 1}, got {array.min()}..{array.max()}")
    return y.astype(np.int64), p.astype(np.int64)


# --- metrics ---


def rounded_accuracy(truth: ArrayLike, answers: ArrayLike, limit: int) -> float:
    """Acc7 (limit 3), Acc5 (2), Acc3 (1): cut at +-limit, rounded half to even, compared."""
    y, p = validate_values(truth, answers)
    return float(np.mean(np.round(np.clip(p, -limit, limit)) == np.round(np.clip(y, -limit, limit))))


def signs(truth: ArrayLike, answers: ArrayLike, has_zero: bool) -> tuple[Bools, Bools]:
    """(n) each: truth and answer as "positive?", in one of the two conventions; without zeros (k), empty where all truths are 0."""
    y, p = validate_values(truth, answers)
    if has_zero:
        return y >= 0, p >= 0
    return y[y != 0] > 0, p[y != 0] > 0


def accuracy(truth: ArrayLike, answers: ArrayLike) -> float:
    """Share of equal pairs of truth and answers (n) or (n k); 0 for none."""
    y, p = np.asarray(truth), np.asarray(answers)
    return float(np.mean(y == p)) if len(y) else 0.0


def confusion(truth: Ints | Bools, answers: Ints | Bools, classes: int) -> Ints:
    """(c c) counts [truth, answer]."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (truth.astype(np.int64), answers.astype(np.int64)), 1)
    return counts


def f1_by_class(counts: Ints) -> Floats64:
    """(c) from a confusion matrix; 0 for a class that neither occurs nor is answered."""
    both = counts.sum(0) + counts.sum(1)
    return 2 * np.diag(counts) / np.where(both > 0, both, 1)


def weighted_f1(counts: Ints) -> float:
    """The classes' F1 weighted by their shares in the truth, from counts (c c) [truth, answer]; 0 for no utterances."""
    return float((f1_by_class(counts) * counts.sum(1)).sum() / max(1, counts.sum()))


def recalls(counts: Ints) -> Floats64:
    """(c); NaN for a class that does not occur."""
    support = counts.sum(1)
    return np.where(support > 0, np.diag(counts) / np.where(support > 0, support, 1), np.nan)


def weighted_accuracy(truth: Bools, answers: Bools) -> float:
    """Mean recall of yes and no, for truth and answers (n); where the truth holds only one of them, the recall of that one."""
    return float(np.nanmean(recalls(confusion(truth, answers, 2))))


def mean_absolute_error(truth: ArrayLike, answers: ArrayLike) -> float:
    """Mean absolute difference of truth and answers (n); raises `MetricError` for none."""
    y, p = validate_values(truth, answers)
    return float(np.abs(p - y).mean())


def correlation(truth: ArrayLike, answers: ArrayLike) -> float:
    """Pearson's r of truth and answers (n); 0 where either is constant."""
    y, p = validate_values(truth, answers)
    if np.ptp(y) == 0 or np.ptp(p) == 0:
        return 0.0
    y, p = y - y.mean(), p - p.mean()
    return float((y * p).sum() / np.sqrt((y * y).sum() * (p * p).sum()))


# --- evaluate ---


def evaluate_sentiment(truth: ArrayLike, answers: ArrayLike) -> SentimentScores:
    """(n) reals each."""
    y, p = validate_values(truth, answers)
    dropped, kept = signs(y, p, has_zero=False), signs(y, p, has_zero=True)
    without, all_of_them = confusion(*dropped, 2), confusion(*kept, 2)
    return SentimentScores(
        utterances=len(y),
        nonzero=len(dropped[0]),
        acc7=rounded_accuracy(y, p, 3),
        acc5=rounded_accuracy(y, p, 2),
        acc3=rounded_accuracy(y, p, 1),
        acc2_non_zero=accuracy(*dropped),
        f1_non_zero=weighted_f1(without),
        f1_mult=weighted_f1(without.T),
        acc2_has_zero=accuracy(*kept),
        f1_has_zero=weighted_f1(all_of_them),
        mae=mean_absolute_error(y, p),
        corr=correlation(y, p),
    )


def evaluate_multilabel(truth: ArrayLike, answers: ArrayLike, labels: Sequence[str], threshold: float = 0.5) -> MultilabelScores:
    """MOSEI's emotions, or IEMOCAP's four questions. truth (n e): present where > 0; answers (n e): yes where > threshold
    (0.5 for probabilities; 0.1 for RRNN's intensities)."""
    y, p = validate_values(truth, answers, 2)
    if y.shape[1] != len(labels):
        raise MetricError(f"metrics: expected a column for each of {', '.join(labels)}, got {y.shape[1]}")
    scores = []
    for k, label in enumerate(labels):
        t, a = y[:, k] > 0, p[:, k] > threshold
        counts = confusion(t, a, 2)
        f1 = float(f1_by_class(counts)[1])
        scores.append(BinaryScores(label, float(t.mean()), accuracy(t, a), weighted_accuracy(t, a), weighted_f1(counts), f1))

    def mean(name: str) -> float:
        return float(np.mean([getattr(score, name) for score in scores]))

    return MultilabelScores(len(y), tuple(scores), mean("accuracy"), mean("weighted_accuracy"), mean("weighted_f1"), mean("positive_f1"))


def evaluate_classes(truth: ArrayLike, answers: ArrayLike, labels: Sequence[str]) -> ClassScores:
    """(n) class numbers each. Macro F1 is the mean over the classes that occur in truth or answers."""
    y, p = validate_classes(truth, answers, len(labels))
    counts = confusion(y, p, len(labels))
    seen = counts.sum(0) + counts.sum(1) > 0
    recall = recalls(counts)
    return ClassScores(
        utterances=len(y),
        labels=tuple(labels),
        accuracy=accuracy(y, p),
        uar=float(np.nanmean(recall)),
        macro_f1=float(f1_by_class(counts)[seen].mean()),
        weighted_f1=weighted_f1(counts),
        recall=tuple(float(r) for r in recall),
        confusion=tuple(tuple(int(c) for c in row) for row in counts),
    )


def evaluate_intensities(truth: ArrayLike, answers: ArrayLike) -> IntensityScores:
    """(n e) reals each."""
    y, p = validate_values(truth, answers, 2)
    return IntensityScores(len(y), float(((p - y) ** 2).sum(1).mean()), float(np.abs(p - y).sum(1).mean()))


# --- answers without a model ---


def mean_answer(training: ArrayLike, utterances: int) -> Floats64:
    """The training truth's mean, for every utterance: (n) from (m), (n e) from (m e)."""
    mean = np.asarray(training, np.float64).mean(0)
    return np.broadcast_to(mean, (utterances, *np.shape(mean))).copy()


def majority_answer(training: ArrayLike, utterances: int) -> Ints:
    """The training truth's most frequent class number (the smallest of equals), for every utterance: (n) from (m), (n e) from (m e)."""
    truth = np.asarray(training, np.int64)
    if truth.ndim == 2:
        return np.stack([majority_answer(column, utterances) for column in truth.T], 1)
    return np.full(utterances, np.bincount(truth).argmax(), np.int64)


# --- how sure ---


def bootstrap(
    metric: Callable[[Any, Any], float],
    truth: ArrayLike,
    answers: ArrayLike,
    speakers: Sequence[str],
    *,
    seed: int,
    draws: int = 1000,
    level: float = 0.95,
) -> Interval:
    """A score's interval over speakers, by percentile bootstrap: truth and answers (n) or (n k), with a speaker for each of the n.

    Speakers are drawn with replacement, each with all of its utterances: utterances of one speaker resemble each other, and drawing
    them singly would make the interval too narrow. Draws on which the metric is NaN are left out.
    """
    y, p = np.asarray(truth), np.asarray(answers)
    if not len(y) == len(p) == len(speakers) or draws < 1 or not 0 < level < 1:
        raise MetricError(f"bootstrap: expected a speaker for each of {len(y)} utterances and 0 < level < 1, got {len(speakers)}, {level}")
    members = [np.flatnonzero(np.asarray(speakers) == s) for s in sorted(set(speakers))]
    random = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        index = np.concatenate([members[i] for i in random.integers(len(members), size=len(members))])
        values.append(metric(y[index], p[index]))
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(metric(y, p)), float(low), float(high), level, draws)
