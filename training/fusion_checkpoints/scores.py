"""Scores of composed utterances, every class counting alike, and what a temperature makes of the probabilities.

Mean recall is under an even prior: an utterance counts by one over its class's size in the set. So does the calibration error, unless a
set is scored under its own prior (`even=False`), where every utterance counts alike. `ece` is the expected calibration error over ten
equal bins of confidence (Guo et al. 2017), and `ece_of_luck` what a set of this size would show of answers exactly as often right as
they are sure: an `ece` about that large is no sign of a fault. Intervals come from drawing groups (actors, photographs, texts) again
with replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emofuse.fusion.calibration import fit_temperature
from emofuse.pipeline.streams import EMOTIONS

BINS = 10
Floats = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Score:
    """Of one set: utterances, accuracy, mean recall (UAR) with its 95 % interval, macro and weighted F1, the largest class's share,
    expected calibration error, and the one of luck alone."""

    utterances: int
    accuracy: float
    uar: float
    uar_low: float
    uar_high: float
    macro_f1: float
    weighted_f1: float
    majority: float
    ece: float
    ece_of_luck: float


def even_weights(labels: Index) -> Floats:
    """(n) weights that sum to 1, each class of the set having the same share."""
    counts = np.bincount(labels, minlength=len(EMOTIONS))
    return np.asarray(1 / counts[labels] / (counts > 0).sum())


def probabilities(logits: Tensor, temperature: float) -> Floats:
    """(n 7 or 8) logits -> (n 7)."""
    return np.asarray((logits[:, : len(EMOTIONS)].double() / temperature).softmax(1).numpy())


def even_temperature(logits: Tensor, labels: Index) -> float:
    """The temperature with the least log loss of logits (n 7 or 8) against labels (n), under an even prior."""
    return fit_temperature(logits[:, : len(EMOTIONS)], torch.from_numpy(labels), torch.from_numpy(even_weights(labels)))


def calibration_error(shares: Floats, labels: Index, even: bool = True) -> float:
    """Probabilities (n 7), labels (n): mean over confidence bins of |confidence - share right|; every class (or, not `even`, every
    utterance) counts alike."""
    return binned(shares.max(1), shares.argmax(1) == labels, weights_of(labels, even))


def error_of_luck(shares: Floats, labels: Index, even: bool = True, draws: int = 200) -> float:
    """The mean calibration error when each answer is right with the probability that it claims (seeded draws)."""
    random, sure, weights = np.random.default_rng(0), shares.max(1), weights_of(labels, even)
    return float(np.mean([binned(sure, random.random(len(sure)) < sure, weights) for _ in range(draws)]))


def weights_of(labels: Index, even: bool) -> Floats:
    """(n) weights that sum to 1: every class, or every utterance, counts alike."""
    return even_weights(labels) if even else np.full(len(labels), 1 / len(labels))


def binned(sure: Floats, right: NDArray[np.bool_], weights: Floats) -> float:
    """Calibration error of confidences (n) 0..1, with whether each was right (n) and its weight (n)."""
    slot = np.minimum((sure * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(slot, weights * (sure - right), minlength=BINS)).sum())


def uar(labels: Index, answers: Index) -> float:
    """Mean recall over the classes, 0..1, of answers (n) against labels (n)."""
    return float((even_weights(labels) * (labels == answers)).sum())


def f1(labels: Index, answers: Index) -> tuple[float, float]:
    """Labels (n), answers (n): macro F1 over the classes of the set, and F1 weighted by their sizes."""
    by_class = []
    for k in np.unique(labels):
        hits = ((labels == k) & (answers == k)).sum()
        by_class.append((2 * hits / ((labels == k).sum() + (answers == k).sum()), (labels == k).mean()))
    return float(np.mean([score for score, _ in by_class])), float(sum(score * share for score, share in by_class))


def interval(
    labels: Index, answers: Index, groups: Sequence[object], metric: Callable[[Index, Index], float] = uar, draws: int = 500
) -> tuple[float, float]:
    """95 % interval of a metric over groups drawn again with replacement (seeded)."""
    random = np.random.default_rng(0)
    _, whose = np.unique(np.array([str(g) for g in groups]), return_inverse=True)
    members = [np.flatnonzero(whose == g) for g in range(whose.max() + 1)]
    values = []
    for _ in range(draws):
        index = np.concatenate([members[g] for g in random.integers(len(members), size=len(members))])
        values.append(metric(labels[index], answers[index]))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def score(logits: Tensor, labels: Index, temperature: float, groups: Sequence[object] | None = None, *, even: bool = True) -> Score:
    """`groups` (n): whose each utterance is; None: each its own. `even`: of the calibration error's weights."""
    shares = probabilities(logits, temperature)
    answered = shares.argmax(1)
    low, high = interval(labels, answered, groups if groups is not None else range(len(labels)))
    macro, weighted = f1(labels, answered)
    return Score(
        utterances=len(labels),
        accuracy=round(float((answered == labels).mean()), 4),
        uar=round(uar(labels, answered), 4),
        uar_low=round(low, 4),
        uar_high=round(high, 4),
        macro_f1=round(macro, 4),
        weighted_f1=round(weighted, 4),
        majority=round(float(np.bincount(labels).max() / len(labels)), 4),
        ece=round(calibration_error(shares, labels, even), 4),
        ece_of_luck=round(error_of_luck(shares, labels, even), 4),
    )


def labels_of(members: Sequence[object]) -> Index:
    """(n) the members' labels."""
    return np.array([m.label for m in members], np.intp)  # type: ignore[attr-defined]
