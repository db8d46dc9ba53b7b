"""Scores against a case solved by hand (fusion_spec.md, section 10), scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn import metrics as sklearn  # type: ignore[import-untyped]

from emofuse.pipeline import metrics as ours
from emofuse.pipeline.errors import MetricError

TRUTH = np.array([-3, -1.4, 0, 0.5, 2.5, -0.6, 1, 0, 1.6, -2.2])
ANSWERS = np.array([-3.7, -0.6, 0.2, -0.2, 2.49, 0.3, 0.8, -0.1, -0.4, -1.9])


def test_the_ten_utterances_solved_by_hand() -> None:
    scores = ours.evaluate_sentiment(TRUTH, ANSWERS)
    assert (scores.utterances, scores.nonzero) == (10, 8)
    assert (scores.acc7, scores.acc5, scores.acc3) == (0.8, 0.8, 0.8)
    assert scores.mae == pytest.approx(0.591)
    assert scores.corr == pytest.approx(0.872709, abs=5e-7)
    assert scores.acc2_non_zero == 0.625
    assert scores.f1_mult == pytest.approx(0.630952, abs=5e-7)
    assert scores.f1_non_zero == pytest.approx(0.619048, abs=5e-7)
    assert scores.acc2_has_zero == pytest.approx(0.6)
    assert scores.f1_has_zero == pytest.approx(0.6)
    assert ours.weighted_accuracy(TRUTH > 0, ANSWERS > 0) == pytest.approx(0.583333, abs=5e-7)


def test_halves_are_rounded_to_even() -> None:
    assert ours.rounded_accuracy([0.0, 2.0, 1.0], [0.5, 2.5, 0.5], 3) == pytest.approx(2 / 3)


def test_equal_truth_and_answer_score_one() -> None:
    scores = ours.evaluate_sentiment(TRUTH, TRUTH)
    assert scores.mae == 0
    assert [getattr(scores, k) for k in ("acc7", "acc5", "acc3", "acc2_non_zero", "f1_non_zero", "acc2_has_zero", "f1_has_zero")] == [1] * 7
    assert scores.corr == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_sentiment_agrees_with_scikit_learn_and_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    y = np.round(random.uniform(-3, 3, 200) * 5) / 5
    p = y + random.normal(size=200)
    scores = ours.evaluate_sentiment(y, p)
    kept = y != 0
    assert scores.f1_non_zero == pytest.approx(sklearn.f1_score(y[kept] > 0, p[kept] > 0, average="weighted"))
    assert scores.f1_mult == pytest.approx(sklearn.f1_score(p[kept] > 0, y[kept] > 0, average="weighted"))
    assert scores.f1_has_zero == pytest.approx(sklearn.f1_score(y >= 0, p >= 0, average="weighted"))
    assert scores.mae == pytest.approx(sklearn.mean_absolute_error(y, p))
    assert scores.corr == pytest.approx(pearsonr(y, p)[0])


@pytest.mark.parametrize("seed", range(3))
def test_classes_agree_with_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    y, p = random.integers(0, 5, (2, 120))
    scores = ours.evaluate_classes(y, p, "abcde")
    assert scores.accuracy == pytest.approx(sklearn.accuracy_score(y, p))
    assert scores.uar == pytest.approx(sklearn.balanced_accuracy_score(y, p))
    assert scores.macro_f1 == pytest.approx(sklearn.f1_score(y, p, average="macro"))
    assert scores.weighted_f1 == pytest.approx(sklearn.f1_score(y, p, average="weighted"))
    assert np.array_equal(scores.confusion, sklearn.confusion_matrix(y, p))


def test_uar_leaves_out_classes_that_do_not_occur() -> None:
    scores = ours.evaluate_classes([0, 0, 1, 1], [0, 0, 0, 1], "abc")
    assert scores.uar == 0.75
    assert np.isnan(scores.recall[2])


def test_multilabel_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(5)
    y = np.maximum(0, random.integers(-3, 4, (150, 6))) / 3
    p = random.uniform(0, 1, (150, 6))
    scores = ours.evaluate_multilabel(y, p, "abcdef")
    assert scores.weighted_accuracy == pytest.approx(
        np.mean([sklearn.balanced_accuracy_score(y[:, k] > 0, p[:, k] > 0.5) for k in range(6)])
    )
    for k, one in enumerate(scores.labels):
        assert one.weighted_f1 == pytest.approx(sklearn.f1_score(y[:, k] > 0, p[:, k] > 0.5, average="weighted"))
        assert one.positive_f1 == pytest.approx(sklearn.f1_score(y[:, k] > 0, p[:, k] > 0.5))


def test_the_majority_answer_on_iemocap_gives_the_printed_collapsed_row() -> None:
    positives, printed = {"happy": 135, "sad": 193, "angry": 227, "neutral": 383}, [(85.6, 79.0), (79.4, 70.3), (75.8, 65.4), (59.2, 44.0)]
    truth = np.stack([np.arange(938) < count for count in positives.values()], 1).astype(int)
    scores = ours.evaluate_multilabel(truth, ours.majority_answer(truth, 938), list(positives))
    assert [(round(100 * one.accuracy, 1), round(100 * one.weighted_f1, 1)) for one in scores.labels] == printed


def test_weighted_accuracy_with_one_class_in_the_truth() -> None:
    assert ours.weighted_accuracy(np.ones(4, bool), np.array([True, True, True, False])) == 0.75


def test_intensities_are_summed_over_emotions() -> None:
    scores = ours.evaluate_intensities([[0, 1], [2, 3]], [[1, 1], [0, 3]])
    assert (scores.mse_sum, scores.mae_sum) == (2.5, 1.5)


def test_a_constant_answer_has_no_correlation() -> None:
    assert ours.correlation(TRUTH, np.zeros(10)) == 0


def test_answers_without_a_model() -> None:
    assert ours.mean_answer([1, 2, 6], 2).tolist() == [3, 3]
    assert ours.mean_answer([[1, 0], [3, 4]], 3).tolist() == [[2, 2]] * 3
    assert ours.majority_answer([2, 1, 2, 0], 3).tolist() == [2, 2, 2]


def test_bootstrap_draws_whole_speakers() -> None:
    speakers = ["a"] * 50 + ["b"] * 50
    truth, answers = np.zeros(100), np.repeat([0.0, 1.0], 50)  # all of a right, all of b wrong: any draw gives 0, 1/2 or 1
    interval = ours.bootstrap(ours.accuracy, truth, answers, speakers, seed=1, draws=400)
    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, 1.0)
    each = ours.bootstrap(ours.accuracy, truth, answers, [str(i) for i in range(100)], seed=1, draws=400)
    assert 0.38 < each.low < 0.44 and 0.56 < each.high < 0.62  # 0.5 +- 1.96 * 0.05


def test_bootstrap_is_settled_by_its_seed() -> None:
    def made(seed: int) -> ours.Interval:
        return ours.bootstrap(ours.mean_absolute_error, TRUTH, ANSWERS, list("aabbccddee"), seed=seed, draws=50)

    assert made(3) == made(3)
    assert made(3) != made(4)


@pytest.mark.parametrize(
    ("truth", "answers", "match"),
    [([1, 2], [1], r"\(2,\) and \(1,\)"), ([], [], "one shape"), ([1, np.nan], [1, 1], r"truth \(1,\) is not finite")],
)
def test_what_cannot_be_compared_is_refused(truth: list[float], answers: list[float], match: str) -> None:
    with pytest.raises(MetricError, match=match):
        ours.evaluate_sentiment(truth, answers)


def test_unknown_class_numbers_are_refused() -> None:
    with pytest.raises(MetricError, match=r"answers as class numbers 0\.\.1"):
        ours.evaluate_classes([0, 1], [0, 2], "ab")
