"""A person's baseline: by hand, without an utterance's own rows, shrunk by how much there is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from emofuse.pipeline.baseline import SHRINKAGE, Tally, deviation
from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.timed import Provenance, TimedSequence

COLUMNS = ("pitch", "level")


def utterance(values: ArrayLike, row: float = 0.5, columns: tuple[str, ...] = COLUMNS) -> TimedSequence:
    rows = np.asarray(values, np.float32).reshape(-1, len(columns))
    start = row * np.arange(len(rows), dtype=np.float64)
    return TimedSequence("voice", columns, rows, start, start + row, Provenance("test", "1"))


def test_mean_and_spread_are_those_of_the_rows() -> None:
    tally = Tally.of(utterance([[1, 10], [3, 10], [5, 16]]))
    usual = tally.usual()
    np.testing.assert_allclose(usual.mean, [3, 12])
    np.testing.assert_allclose(usual.spread, [np.std([1, 3, 5]), np.std([10, 10, 16])])
    np.testing.assert_allclose(usual.share, 1 / (1 + SHRINKAGE))
    assert tally.seconds == pytest.approx(1.5)


def test_each_utterance_counts_once_however_long_it_is() -> None:
    usual = Tally.all_of(COLUMNS, [Tally.of(utterance([[1, 0]] * 4)), Tally.of(utterance([[3, 0]] * 400))]).usual()
    assert usual.mean[0] == pytest.approx(2)
    np.testing.assert_allclose(usual.share, 2 / 4)


def test_a_short_utterance_counts_in_part() -> None:
    usual = Tally.all_of(COLUMNS, [Tally.of(utterance([[0, 0]], row=0.25)), Tally.of(utterance([[5, 0]], row=1.0))]).usual()
    assert usual.mean[0] == pytest.approx(5 / 1.25)
    assert usual.share[0] == pytest.approx(1.25 / 3.25)


def test_long_rows_count_for_longer() -> None:
    rows = TimedSequence(
        "text", ("x",), np.array([[0.0], [4.0]], np.float32), np.array([0.0, 1.0]), np.array([1.0, 4.0]), Provenance("test", "1")
    )
    assert Tally.of(rows).usual().mean[0] == pytest.approx(3)


def test_what_is_not_measured_does_not_count() -> None:
    tally = Tally.of(utterance([[np.nan, 1], [4, np.nan]])).along_with(Tally.of(utterance([[np.nan, 3]], row=1.0)))
    usual = tally.usual()
    np.testing.assert_allclose(usual.mean, [4, (1 * 0.5 + 3) / 1.5])
    np.testing.assert_allclose(tally.utterances, [0.5, 1.5])
    none = Tally.of(utterance([[np.nan, 1]])).usual()
    assert none.share[0] == 0 and np.isnan(none.mean[0]) and np.isnan(none.spread[0])


def test_an_utterance_is_taken_out_again() -> None:
    random = np.random.default_rng(3)
    tallies = [Tally.of(utterance(random.normal(size=(8, 2)))) for _ in range(5)]
    together = Tally.all_of(COLUMNS, tallies)
    for i, own in enumerate(tallies):
        others = Tally.all_of(COLUMNS, tallies[:i] + tallies[i + 1 :]).usual()
        left = together.without(own).usual()
        np.testing.assert_allclose(left.mean, others.mean)
        np.testing.assert_allclose(left.spread, others.spread)
        np.testing.assert_allclose(left.share, others.share)


def test_the_only_utterance_has_no_baseline() -> None:
    """Rounding of the difference must not become a baseline of its own."""
    own = Tally.of(utterance(np.random.default_rng(4).normal(1e6, 1, size=(7, 2)), row=0.1))
    usual = Tally.all_of(COLUMNS, [own]).without(own).usual()
    np.testing.assert_array_equal(usual.share, 0)
    rows = utterance([[7, 8]])
    np.testing.assert_array_equal(deviation(rows, usual, np.array([1.0, 2.0])).values, rows.values)


def test_rows_move_by_the_share_of_the_difference() -> None:
    person = Tally.all_of(COLUMNS, [Tally.of(utterance([[6, 0]] * 2))] * 2).usual()  # two utterances: half is believed
    moved = deviation(utterance([[6, 1], [8, np.nan]]), person, np.array([2.0, 0.0]))
    np.testing.assert_allclose(moved.values, [[4, 1], [6, np.nan]])


def test_a_persons_offset_goes_as_evidence_grows() -> None:
    """Two people who differ by a constant are read alike in the limit."""
    random = np.random.default_rng(5)
    emotion = random.normal(size=(40, 3, 2))
    apart = []
    for number in (1, 5, 39):
        seen = []
        for offset in (0.0, 10.0):
            usual = Tally.all_of(COLUMNS, [Tally.of(utterance(rows + offset)) for rows in emotion[:number]]).usual()
            seen.append(deviation(utterance(emotion[39] + offset), usual, np.zeros(2)).values)
        apart.append(float(np.abs(seen[1] - seen[0]).max()))
    np.testing.assert_allclose(apart, [10 * 2 / 3, 10 * 2 / 7, 10 * 2 / 41], rtol=1e-5)


def test_other_columns_are_refused() -> None:
    tally = Tally.of(utterance([[1, 2]]))
    other = Tally.of(utterance([1], columns=("pitch",)))
    for action in (tally.along_with, tally.without):
        with pytest.raises(StreamError, match="baseline: expected the columns"):
            action(other)
    with pytest.raises(StreamError, match="does not fit rows of 2 columns"):
        deviation(utterance([[1, 2]]), other.usual(), np.zeros(1))
