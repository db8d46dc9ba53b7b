"""What a few labels teach where the answer is known: a shifted prior, two emotions that changed places, labels that say nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import minimize

from emofuse.fusion import adaptation
from emofuse.fusion.adaptation import (
    AS_IT_IS,
    FOLDS,
    Bools,
    Clips,
    Ints,
    Strength,
    answers,
    change_of,
    check_labels,
    chosen,
    fit,
    folds_of,
    kernel_of,
    log_softmax,
    loss,
    strengths,
)
from emofuse.pipeline.errors import DatasetError
from emofuse.pipeline.timed import Floats64

K, C = 4, 6
WEIGHTS = 2.0 * np.random.default_rng(0).normal(size=(K, C)) / np.sqrt(C)


class Base:
    """Clips of a checkpoint that is right: labels (n) are drawn from its own probabilities, with log odds (k) added."""

    def __init__(self, seed: int, n: int, prior: Sequence[float] = (0,) * K, moved: Sequence[int] = range(K), scale: float = 2.0) -> None:
        random = np.random.default_rng(seed)
        self.features = random.normal(size=(n, C))
        told = np.exp(log_softmax(scale * self.features @ WEIGHTS.T + np.asarray(prior, float)))
        drawn = np.array([random.choice(K, p=p) for p in told], np.intp)
        self.labels: Ints = np.asarray(moved, np.intp)[drawn]
        self.clips = Clips(self.features, scale * self.features @ WEIGHTS.T, np.ones(n))

    def __call__(self, known: Bools) -> dict[bool, Clips]:
        return {False: self.clips}


def mean_loss(told: Floats64, labels: Ints) -> float:
    return float(loss(told, labels).mean())


def after_on_new(base: Base, new: Base) -> tuple[float, float, Strength]:
    """Losses on clips that nothing learned from, before and after the change of the last layer."""
    found = fit(base, base.labels, baseline=False)
    change = found.change
    logits = new.clips.logits + new.features @ change.weights.T + change.offsets
    return (
        mean_loss(log_softmax(new.clips.logits), new.labels),
        mean_loss(log_softmax(logits * change.sharpness), new.labels),
        found.strength,
    )


def test_a_shifted_prior_is_recovered() -> None:
    prior = (3.0, 0.0, -1.0, -1.0)
    before, after, strength = after_on_new(Base(1, 30, prior), Base(2, 3000, prior))
    best = mean_loss(log_softmax(Base(2, 3000, prior).clips.logits + np.asarray(prior)), Base(2, 3000, prior).labels)
    assert strength.prior > 0
    assert after < before - 0.6 * (before - best), (before, after, best)


def test_two_emotions_that_changed_places_are_recovered() -> None:
    places = (1, 0, 2, 3)
    before, after, strength = after_on_new(Base(3, 24, moved=places), Base(4, 3000, moved=places))
    assert strength.layer > 0
    assert after < before - 0.3, (before, after)


def test_labels_that_say_nothing_change_nothing_but_for_luck() -> None:
    """A base that is right, and labels drawn by it: there is nothing to learn."""
    kept, worse = 0, []
    for seed in range(10):
        base = Base(100 + seed, 12)
        before, after, strength = after_on_new(base, Base(200 + seed, 1000))
        kept += strength == AS_IT_IS
        worse.append(after - before)
    assert kept >= 8, kept
    assert np.mean(worse) < 0.02, worse


def test_random_labels_do_not_help() -> None:
    """Labels that have nothing to do with the clips, and a base that is not sure of anything: on new clips nothing is gained or lost."""
    random, gained, turned = np.random.default_rng(5), [], 0
    for seed in range(8):
        base, new = Base(300 + seed, 16, scale=0.3), Base(400 + seed, 1000, scale=0.3)
        base.labels, new.labels = random.integers(0, K, 16), random.integers(0, K, 1000)
        before, after, strength = after_on_new(base, new)
        gained.append(before - after)
        turned += strength.layer > 0
    assert turned <= 1 and abs(np.mean(gained)) < 0.03, (turned, gained)


@pytest.mark.parametrize("strength", [Strength(1.0, 0.0), Strength(0.5, 2.0, 0.6), Strength(4.0, 8.0, 1.6)])
def test_the_fit_is_the_most_probable_one_by_another_solver(strength: Strength, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against scipy's minimiser over weights and offsets, in the primal form; the few steps that are taken come near it."""
    base = Base(7, 12, (1.0, 0.0, 0.0, -1.0))
    base.clips = Clips(base.clips.features, base.clips.logits, np.linspace(0.5, 1.5, 12))
    mean = base.features.mean(0)
    standard = (base.features - mean) / np.sqrt(((base.features - mean) ** 2).sum(1).mean())
    cooling = base.clips.cooling * strength.sharpness

    def told(x: Floats64) -> Floats64:
        weights, offsets = x[: K * C].reshape(K, C), x[K * C :]
        moved = base.clips.logits + np.sqrt(strength.layer) * standard @ weights.T + np.sqrt(strength.prior) * offsets
        return log_softmax(cooling[:, None] * moved)

    solved = minimize(lambda x: loss(told(x), base.labels).sum() + 0.5 * (x**2).sum(), np.zeros(K * C + K), tol=1e-12).x
    everyone = np.ones((1, 12), bool)
    near = answers(base.clips, base.labels, everyone, strength)[0]
    np.testing.assert_allclose(np.exp(near), np.exp(told(solved)), atol=0.03)
    change = change_of(base.clips, base.labels, strength)
    by_layer = log_softmax(cooling[:, None] * (base.clips.logits + base.features @ change.weights.T + change.offsets))
    np.testing.assert_allclose(by_layer, near, atol=1e-9)
    monkeypatch.setattr(adaptation, "ITERATIONS", 3000)
    limit = answers(base.clips, base.labels, everyone, strength)[0]
    np.testing.assert_allclose(limit, told(solved), atol=1e-4)


def test_a_left_out_clip_teaches_nothing() -> None:
    base, learn = Base(8, 10), np.ones((1, 10), bool)
    learn[0, 3] = False
    other = base.labels.copy()
    other[3] = (other[3] + 1) % K
    strength = Strength(1.0, 4.0)
    np.testing.assert_array_equal(answers(base.clips, base.labels, learn, strength), answers(base.clips, other, learn, strength))
    elsewhere = Clips(base.features.copy(), base.clips.logits, base.clips.cooling)
    elsewhere.features[3] += 100.0
    np.testing.assert_allclose(
        np.delete(answers(elsewhere, base.labels, learn, strength)[0], 3, 0),
        np.delete(answers(base.clips, base.labels, learn, strength)[0], 3, 0),
    )


def test_without_variance_the_answer_is_the_checkpoints_own() -> None:
    base = Base(9, 8)
    assert not kernel_of(base.clips, np.ones(8, bool), AS_IT_IS).any()
    told = answers(base.clips, base.labels, np.ones((2, 8), bool), AS_IT_IS)
    np.testing.assert_allclose(told, np.broadcast_to(log_softmax(base.clips.logits), told.shape))
    assert strengths(True)[0] == AS_IT_IS and len(set(strengths(True))) == 2 * len(strengths(False))


def test_the_baseline_is_asked_for_without_the_left_out_clips() -> None:
    asked: list[frozenset[int]] = []
    base = Base(10, 8)

    def read(known: Bools) -> dict[bool, Clips]:
        asked.append(frozenset(np.flatnonzero(~known).tolist()))
        return {False: base.clips, True: base.clips}

    found = fit(read, base.labels, ["a", "b", "c", "d"] * 2)
    assert asked == [*({i} for i in range(8)), *({i, i + 4} for i in range(4)), set()]
    assert [one.by for one in found.left_out] == ["clip", "speaker"]
    assert all(len(one.chosen) == folds for one, folds in zip(found.left_out, (8, 4), strict=True))


def test_the_same_clips_teach_the_same() -> None:
    first, second = (fit(Base(11, 12, (2, 0, 0, 0)), Base(11, 12, (2, 0, 0, 0)).labels, baseline=False) for _ in range(2))
    assert first.strength == second.strength
    np.testing.assert_array_equal(first.change.weights, second.change.weights)
    np.testing.assert_array_equal(first.left_out[0].after, second.left_out[0].after)


def test_one_clip_better_by_luck_is_not_enough() -> None:
    """A gain within its standard error is no reason."""
    base = Base(12, 8)
    everyone = np.ones(8, bool)
    assert chosen(base(everyone), base.labels, np.arange(8), everyone, [AS_IT_IS]) == AS_IT_IS


def test_many_clips_are_left_out_in_groups() -> None:
    assert len(set(folds_of(40).tolist())) == 40 and len(set(folds_of(41).tolist())) == FOLDS


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 0, 1, 0], "at least 6 labelled clips, got 5"),
        ([2] * 8, "at least two emotions, got c alone"),
        ([0, 1] * 151, "at most 300 labelled clips, got 302; with so many, `emofuse train`"),
    ],
)
def test_what_cannot_teach_is_refused(labels: list[int], expected: str) -> None:
    with pytest.raises(DatasetError, match=expected):
        check_labels(np.array(labels), "abcd")
