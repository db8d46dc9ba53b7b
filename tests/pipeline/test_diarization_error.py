"""The diarization error rate on cases solved by hand."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.pipeline.diarization_error import DiarizationError, diarization_error
from emofuse.pipeline.errors import MetricError
from emofuse.pipeline.turns import Turn

REFERENCE = (Turn(0, 10, "anna"), Turn(12, 20, "ben"))


def parts(error: DiarizationError) -> tuple[float, float, float, float]:
    return error.missed, error.false_alarm, error.confusion, error.speech


def test_the_right_answer_under_other_names_has_no_error() -> None:
    assert parts(diarization_error(REFERENCE, (Turn(12, 20, "1"), Turn(0, 10, "2")))) == (0, 0, 0, 18)


def test_each_kind_of_error_by_hand() -> None:
    # 1 s of anna is missed, 2 s of silence are called speech, 3 s of ben are given to anna
    hypothesis = (Turn(1, 12, "x"), Turn(12, 15, "x"), Turn(15, 20, "y"))
    error = diarization_error(REFERENCE, hypothesis)
    assert parts(error) == pytest.approx((1, 2, 3, 18)) and error.rate == pytest.approx(6 / 18)


def test_one_name_for_two_people_costs_the_shorter_one() -> None:
    assert parts(diarization_error(REFERENCE, (Turn(0, 20, "x"),))) == pytest.approx((0, 2, 8, 18))


def test_nothing_said_misses_everything() -> None:
    assert parts(diarization_error(REFERENCE, ())) == pytest.approx((18, 0, 0, 18))


def test_where_two_speak_at_once_each_counts() -> None:
    both = (Turn(0, 10, "anna"), Turn(6, 12, "ben"))  # 16 s of speech in 12 s
    assert parts(diarization_error(both, (Turn(0, 6, "a"), Turn(6, 12, "b")))) == pytest.approx((4, 0, 0, 16))
    assert parts(diarization_error(both, both)) == (0, 0, 0, 16)
    # one speaker's turns that overlap are one speaker's
    assert parts(diarization_error((Turn(0, 6, "a"), Turn(4, 10, "a")), (Turn(0, 10, "x"),))) == (0, 0, 0, 10)


def test_a_collar_forgives_near_the_borders_of_the_reference_alone() -> None:
    late = (Turn(0.2, 10.2, "a"), Turn(12.2, 20.2, "b"))
    assert diarization_error(REFERENCE, late).rate == pytest.approx(0.8 / 18)
    error = diarization_error(REFERENCE, late, collar=0.25)
    assert parts(error) == pytest.approx((0, 0, 0, 18 - 4 * 0.25))
    # an error in the middle of a turn stays one, whole
    assert diarization_error(REFERENCE, (Turn(0, 5, "a"), Turn(6, 10, "a"), Turn(12, 20, "b")), collar=0.25).missed == pytest.approx(1)


def test_recordings_together_weigh_by_their_speech() -> None:
    both = diarization_error(REFERENCE, ()) + diarization_error((Turn(0, 2, "a"),), (Turn(0, 2, "b"),))
    assert both.rate == pytest.approx(18 / 20)


def test_against_a_fine_grid() -> None:
    """The same by counting frames of 1 ms of random turns on whole milliseconds."""
    random = np.random.default_rng(5)

    def turns() -> list[Turn]:
        starts = random.integers(0, 9000, 12)
        return [Turn(a / 1000, (a + random.integers(50, 1500)) / 1000, f"s{random.integers(3)}") for a in starts]

    reference, hypothesis = turns(), turns()

    def frames(some: list[Turn]) -> np.ndarray[tuple[int, int], np.dtype[np.int_]]:
        grid = np.zeros((3, 12000), int)
        for turn in some:
            grid[int(turn.speaker[1]), round(turn.start * 1000) : round(turn.end * 1000)] = 1
        return grid

    true, guess = frames(reference), frames(hypothesis)
    agreed = max(
        sum(int((true[i] * guess[j]).sum()) for i, j in enumerate(order))
        for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    )
    count, guesses = true.sum(0), guess.sum(0)
    expected = (np.maximum(count - guesses, 0).sum(), np.maximum(guesses - count, 0).sum(), np.minimum(count, guesses).sum() - agreed)
    error = diarization_error(reference, hypothesis)
    assert parts(error) == pytest.approx((*(e / 1000 for e in expected), count.sum() / 1000))


def test_a_reference_without_speech_is_refused() -> None:
    for reference, collar in (((), 0.0), ((Turn(0, 0.4, "a"),), 0.25)):
        with pytest.raises(MetricError, match="expected a reference with speech"):
            diarization_error(reference, REFERENCE, collar=collar)
