"""Influence against models whose answer is a known sum over rows: taking a part away changes the log odds by exactly what the part adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from emofuse.pipeline.attention.influence import APART, Influence, influence_of, odds, parts_of, step_for
from emofuse.pipeline.results import Prediction, Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

MADE = Provenance("test", "1")


@dataclass(frozen=True)
class Sums:
    """The log odds of happiness are the sum of all rows' values; the others share the rest. A prior multiplies, as a Predictor's does."""

    prior: Mapping[str, float] | None = None
    name: str = "sums"
    provenance: Provenance = MADE

    @property
    def wants(self) -> Mapping[str, tuple[str, ...]]:
        return {"text": ("x",), "face": ("x",), "voice": ("x",)}

    def predict(self, utterances: Sequence[Utterance], *, attention: bool = True) -> list[Prediction]:
        assert not attention, "influence needs no maps"
        answers = []
        for utterance in utterances:
            total = sum(float(stream.values.astype(np.float64).sum()) for stream in utterance.streams.values())
            share = 1 / (1 + np.exp(-total))
            values = np.array([share if e == "happiness" else (1 - share) / 6 for e in EMOTIONS])
            values *= [self.prior[e] for e in EMOTIONS] if self.prior else 1.0
            values /= values.sum()
            answers.append(Prediction(dict(zip(EMOTIONS, values.tolist(), strict=True)), None, float(values.max())))
        return answers


def stream(name: str, values: Sequence[float], seconds: float = 4.0) -> TimedSequence:
    n = len(values)
    start = np.arange(n) * seconds / max(1, n)
    return TimedSequence(
        name, ("x",), np.array(values, np.float32)[:, None], start, start + seconds / max(1, n), MADE, reason="" if n else "none"
    )


def utterance(text: Sequence[float] = (), face: Sequence[float] = (), voice: Sequence[float] = ()) -> Utterance:
    streams = {"text": stream("text", text), "face": stream("face", face), "voice": stream("voice", voice)}
    return Utterance(Span(0.0, 4.0), "", streams, {name: np.arange(len(s)) for name, s in streams.items()})


def influence(*arguments: Utterance, **options: object) -> Influence:
    answered = influence_of(*arguments, Sums(), **options)  # type: ignore[arg-type]
    assert answered is not None
    return answered


def test_each_part_has_exactly_what_it_adds_to_the_log_odds() -> None:
    text, face = [0.5, -0.25, 1.0, 0.0], [0.125] * 12 + [0.5] * 4
    parts = influence(utterance(text, face), step=0.5)
    assert parts.answer == "happiness"
    np.testing.assert_allclose(parts.rows["text"], text, atol=1e-6)
    # 16 rows in 4 s: two rows in each half second, and both hold what the two add
    np.testing.assert_allclose(parts.rows["face"], np.repeat(np.array(face).reshape(8, 2).sum(1), 2), atol=1e-6)
    assert parts.streams == {"text": pytest.approx(1.25), "face": pytest.approx(3.5)}
    assert "voice" not in parts.rows, "a stream without rows has no influence, not zero"


def test_what_speaks_against_the_answer_is_negative() -> None:
    assert influence(utterance(voice=[1.0] * 7 + [-1.5])).rows["voice"][-1] == pytest.approx(-1.5, abs=1e-6)


def test_a_prior_changes_no_influence() -> None:
    prior = {e: (0.4 if e == "happiness" else 0.1) for e in EMOTIONS}
    text = [0.5, -0.25, 1.0]
    parts = influence_of(utterance(text), Sums(prior), prior=prior)
    assert parts is not None
    np.testing.assert_allclose(parts.rows["text"], text, atol=1e-6)


def test_the_last_stream_taken_away_leaves_the_even_prior() -> None:
    parts = influence(utterance(voice=[1.0, 1.0]))
    assert parts.streams["voice"] == pytest.approx(2.0 - odds(1 / 7), abs=1e-6)
    one = influence(utterance(text=[1.0]))
    assert one.rows["text"][0] == pytest.approx(1.0 - odds(1 / 7), abs=1e-6)


def test_an_utterance_without_rows_has_none() -> None:
    assert influence_of(utterance(), Sums()) is None


def words(texts: Sequence[str]) -> TimedSequence:
    n = len(texts)
    start = np.arange(n, dtype=np.float64)
    return TimedSequence("words", (), np.zeros((n, 0), np.float32), start, start + 0.9, MADE, {"word": tuple(texts)}, "" if n else "none")


def test_the_neighbours_of_a_word_are_embedded_again_without_it() -> None:
    """An encoder that gives every word the length of its sentence: removing a word changes all rows, and only re-embedding shows it."""
    calls = []

    def embed(sequence: TimedSequence) -> TimedSequence:
        calls.append(sequence)
        copy = np.floor(sequence.start / APART).astype(int)
        lengths = np.array([len("".join(w for w, c in zip(sequence.labels["word"], copy, strict=True) if c == k)) for k in copy])
        return TimedSequence("text", ("x",), (lengths[:, None] / 100).astype(np.float32), sequence.start, sequence.end, MADE)

    spoken = words(["i", "adore", "it"])
    parts = influence(utterance(text=[0.08] * 3), words=spoken, embed=embed)
    assert parts.embedded and len(calls) == 1, "one call for all words"
    whole = 3 * 8 / 100
    expected = [whole - 2 * 7 / 100, whole - 2 * 3 / 100, whole - 2 * 6 / 100]
    np.testing.assert_allclose(parts.rows["text"], expected, atol=1e-6)


def test_parts_are_of_one_length_and_leave_no_row_out() -> None:
    voice = stream("voice", [0.0] * 400)
    parts = parts_of(voice, 0.5, Span(0.0, 4.0))
    assert np.bincount(parts).tolist() == [50] * 8
    assert parts_of(voice, 0.0, Span(0.0, 4.0)).tolist() == list(range(400))
    late = voice.rows(np.arange(390, 400))
    assert parts_of(late, 0.5, Span(0.0, 4.0)).tolist() == [0] * 10, "numbers have no gaps where rows are missing"


def test_a_long_clip_is_read_in_longer_parts() -> None:
    assert (step_for(10.0), step_for(120.0), step_for(360.0), step_for(36000.0)) == (0.5, 0.5, 1.5, 5.0)
