"""How far an utterance lies from those that a model learned from."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.fusion.likeness import Likeness
from emofuse.pipeline.errors import CheckpointError


def utterances(number: int, random: np.random.Generator, shift: float = 0.0) -> list[np.ndarray]:
    """Rows (n 6) around a mean of each utterance's own."""
    return [
        (random.normal(shift, 1, 6) + 0.3 * random.normal(size=(int(random.integers(3, 20)), 6))).astype(np.float32) for _ in range(number)
    ]


def test_distance_is_what_hand_computation_gives() -> None:
    like = Likeness(np.array([1.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32), 2.0)
    rows = np.array([[4.0, 1.0], [6.0, np.nan]], np.float32)  # mean row (5, 1): (5 - 1) / 2 = 2 and (1 - 0) / 0.5 = 2
    assert like.distance(rows) == pytest.approx(2.0) and like.unlike(rows) == pytest.approx(1.0)
    assert like.distance(np.full((3, 2), np.nan, np.float32)) == 0.0
    assert like.distance(rows[:, [0, 1]] * [1, np.nan]) == pytest.approx(2.0), "a column that is not measured does not count"


def test_one_in_a_hundred_utterances_like_the_training_is_called_unlike_and_shifted_ones_are() -> None:
    random = np.random.default_rng(1)
    like = Likeness.fit(utterances(800, random), utterances(2000, random))
    usual = [like.unlike(rows) > 1 for rows in utterances(2000, random)]
    strange = [like.unlike(rows) > 1 for rows in utterances(200, random, shift=4.0)]
    assert 0.002 < np.mean(usual) < 0.025 and np.mean(strange) > 0.95


@pytest.mark.parametrize(
    ("mean", "deviation", "limit"),
    [([0.0], [1.0, 1.0], 1.0), ([np.nan], [1.0], 1.0), ([0.0], [0.0], 1.0), ([0.0], [1.0], 0.0), ([0.0], [1.0], float("nan"))],
)
def test_what_cannot_be_a_likeness_is_refused(mean: list[float], deviation: list[float], limit: float) -> None:
    with pytest.raises(CheckpointError):
        Likeness(np.array(mean, np.float32), np.array(deviation, np.float32), limit)
