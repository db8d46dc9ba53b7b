"""What the three heads score on one split of the corpora."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.metrics import evaluate_classes, evaluate_multilabel, evaluate_sentiment
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats64

from .corpora import Corpora

Answers = Callable[[str, Sequence[tuple[str, ...]]], Floats64]
"""(head, texts) -> logits (n outputs) of that head."""
GRID = tuple(round(0.05 * k, 2) for k in range(2, 15))


@dataclass(frozen=True)
class TextScores:
    """Shares of one, except `mosi_mae` (points of -3..3).

    thresholds  probability from which GoEmotions' head says an emotion (chosen on dev, one per class)
    one_label   comments with one label, answered by the most probable class
    """

    goemotions_macro_f1: float
    one_label_macro_f1: float
    one_label_accuracy: float
    meld_weighted_f1: float
    meld_accuracy: float
    mosi_acc2: float
    mosi_mae: float
    thresholds: tuple[float, ...]
    comments: int
    one_label_comments: int
    lines: int
    opinions: int

    @property
    def choice(self) -> float:
        """What a step of training is chosen by on dev: higher is better."""
        shares = (self.goemotions_macro_f1, self.one_label_macro_f1, self.meld_weighted_f1, self.mosi_acc2, 1 - self.mosi_mae / 3)
        return float(np.mean(shares))


def chosen_thresholds(truth: NDArray[np.bool_], probabilities: Floats64) -> tuple[float, ...]:
    """For each class the threshold of GRID with the highest F1 on these comments (the lowest of equals): truth and probabilities (n k)."""

    def f1(k: int, threshold: float) -> float:
        says = probabilities[:, k] > threshold
        right = float((says & truth[:, k]).sum())
        return 2 * right / max(1.0, float(says.sum() + truth[:, k].sum()))

    scores = np.array([[f1(k, threshold) for threshold in GRID] for k in range(truth.shape[1])])
    return tuple(GRID[int(best)] for best in scores.argmax(1))


def score(corpora: Corpora, answers: Answers, thresholds: tuple[float, ...] | None = None) -> TextScores:
    """Scores of all three heads; without `thresholds` they are chosen on these very comments (dev)."""
    comments = corpora.goemotions
    truth = np.array([[k in comment.emotions for k in range(len(EMOTIONS))] for comment in comments])
    logits = answers("goemotions", [comment.words for comment in comments])
    probabilities = 1 / (1 + np.exp(-logits))
    cuts = thresholds or chosen_thresholds(truth, probabilities)
    several = evaluate_multilabel(truth, probabilities - np.array(cuts), EMOTIONS, threshold=0.0)
    single = truth.sum(1) == 1
    single_label = evaluate_classes(truth[single].argmax(1), logits[single].argmax(1), EMOTIONS)
    lines = answers("meld", [line.words for line in corpora.meld]).argmax(1)
    meld = evaluate_classes([line.emotion for line in corpora.meld], lines, EMOTIONS)
    opinions = answers("mosi", [opinion.words for opinion in corpora.mosi])[:, 0]
    mosi = evaluate_sentiment([opinion.sentiment for opinion in corpora.mosi], opinions)
    return TextScores(
        goemotions_macro_f1=several.positive_f1,
        one_label_macro_f1=single_label.macro_f1,
        one_label_accuracy=single_label.accuracy,
        meld_weighted_f1=meld.weighted_f1,
        meld_accuracy=meld.accuracy,
        mosi_acc2=mosi.acc2_non_zero,
        mosi_mae=mosi.mae,
        thresholds=cuts,
        comments=len(comments),
        one_label_comments=int(single.sum()),
        lines=len(corpora.meld),
        opinions=len(corpora.mosi),
    )
