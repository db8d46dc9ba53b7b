"""What a model reads of a stream: pools on the clip's clock, a voice without its microphone, a face's strongest moments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike

from emofuse.extractors.voice.covarep.voice import CovarepVoice
from emofuse.fusion.batch import Batch, Scaling
from emofuse.fusion.checkpoints import StreamInput
from emofuse.fusion.outputs import Map
from emofuse.fusion.pooling import Pools, quantiles
from emofuse.fusion.predictor import Read, _attention
from emofuse.fusion.preparation import (
    AsItIs,
    Expression,
    Heard,
    Preparation,
    Speech,
    preparation_from_json,
    preparation_to_json,
)
from emofuse.fusion.speech_preparation import SPEECH_READS
from emofuse.pipeline.errors import CheckpointError
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence

BY = Provenance("made", "1")
FACE = ("Pitch", "Roll", "Yaw", "AU12", "AU25", *EMOTIONS)


def voice(seconds: float = 1.0, at: float = 0.0, gain: float = 0.0, colour: float = 0.0, f0: float = 200.0) -> TimedSequence:
    """A seeded voice whose first half is voiced; `gain` and `colour` are added to MCEP_0 and MCEP_3."""
    random, n = np.random.default_rng(3), round(seconds * 100)
    values = random.normal(size=(n, len(CovarepVoice.columns))).astype(np.float32)
    column = {c: i for i, c in enumerate(CovarepVoice.columns)}
    values[:, column["VUV"]] = np.arange(n) < n / 2
    values[:, column["F0"]] = f0 * 2 ** (random.normal(size=n) / 12)
    values[:, column["MCEP_0"]] = -np.abs(values[:, column["MCEP_0"]]) + gain
    values[:, column["MCEP_3"]] += colour
    start = np.asarray(at + np.arange(n) * 0.01, np.float64)
    return TimedSequence("voice", CovarepVoice.columns, values, start, start + 0.01, BY)


def face(values: Floats32, at: float = 0.0) -> TimedSequence:
    start = np.asarray(at + np.arange(len(values)) * 0.04, np.float64)
    return TimedSequence("face", FACE, values, start, start + 0.04, BY)


def test_quantiles_of_all_columns_at_once_are_those_of_each_alone() -> None:
    """What is measured throughout takes another way than what is not; both are numpy's, to the bit."""
    values = np.random.default_rng(3).normal(size=(37, 5))
    holes = values.copy()
    holes[4:9, 2] = np.nan
    holes[:, 3] = np.nan
    for shares in ([0.9], [0.1, 0.5, 0.95]):
        np.testing.assert_array_equal(quantiles(values, shares), np.nanquantile(values, shares, axis=0))
        np.testing.assert_array_equal(quantiles(holes, shares)[:, [0, 1, 4]], quantiles(values, shares)[:, [0, 1, 4]])
    assert np.isnan(quantiles(holes, [0.5])[0, 3]) and np.isnan(quantiles(values[:0], [0.5])).all()


def test_pools_keep_the_clock_and_their_members() -> None:
    prepared = Speech(step=0.1).prepare(voice(1.0, at=7.3))
    assert prepared.count.tolist() == [10] * 10 and prepared.member.tolist() == sorted(prepared.member.tolist())
    np.testing.assert_allclose(prepared.rows.start, 7.3 + 0.1 * np.arange(10), atol=1e-9)
    assert prepared.rows.end[-1] == pytest.approx(8.3)
    holes = Pools.of(np.array([0.0, 0.04, 0.9, 0.94]), 0.1)  # nothing between: no row is made up
    assert holes.member.tolist() == [0, 0, 1, 1] and holes.count.tolist() == [2, 2]


@pytest.mark.parametrize("seconds", [0.01, 0.04, 0.12, 0.16, 1.05, 1.11, 5.57])
@pytest.mark.parametrize("at", [0.0, 0.3, 7211.37])
def test_no_pool_is_a_remainder(seconds: float, at: float) -> None:
    """Attention is shared by a pool's rows: were the last pool short, its rows would seem to be looked at more."""
    prepared = Speech(step=0.1).prepare(voice(seconds, at=at))
    assert prepared.count.max() - prepared.count.min() <= 1 and prepared.count.sum() == len(prepared.member)
    assert len(prepared.count) == max(1, int(seconds / 0.1 + 0.5))


def test_a_pool_is_the_mean_of_what_is_measured() -> None:
    pools = Pools.of(np.array([0.01, 0.06, 0.11, 0.16]), 0.1)
    values = np.array([[1.0, np.nan], [3.0, np.nan], [5.0, 2.0], [np.nan, 4.0]])
    np.testing.assert_array_equal(pools.mean(values), [[2.0, np.nan], [5.0, 3.0]])
    np.testing.assert_array_equal(pools.mean(values, np.array([True, False, False, True])), [[1.0, np.nan], [np.nan, 4.0]])


def test_time_shift_changes_nothing_but_the_times() -> None:
    one, other = Speech().prepare(voice()), Speech().prepare(voice(at=100.0))
    np.testing.assert_array_equal(one.rows.values, other.rows.values)


def test_a_microphone_moves_only_what_says_so() -> None:
    read = Speech()
    names = np.array(read.made(()))
    plain, other = (read.prepare(v).rows.values for v in (voice(), voice(gain=1.5, colour=0.7)))
    moved = names[~np.isclose(plain, other, atol=1e-4, equal_nan=True).all(0)]
    assert set(moved) == {"all_level", "all_MCEP_3"}
    column = names.tolist().index("all_level")
    np.testing.assert_allclose(other[:, column] - plain[:, column], 1.5, atol=1e-4)


def test_pitch_is_in_octaves_and_absent_without_voice() -> None:
    read = Speech()
    names = read.made(())
    low, high = (read.prepare(voice(f0=f)).rows.values for f in (150.0, 300.0))
    pitch, within = names.index("pitch"), names.index("pitch_within")
    np.testing.assert_allclose(high[:5, pitch] - low[:5, pitch], 1.0, atol=1e-5)
    np.testing.assert_allclose(high[:5, within], low[:5, within], atol=1e-5)
    assert np.isnan(low[6:, pitch]).all()
    assert set(SPEECH_READS) <= set(CovarepVoice.columns)


def test_a_voice_without_voicing_is_still_prepared() -> None:
    stream = voice()
    values = stream.values.copy()
    values[:, stream.columns.index("VUV")] = 0
    prepared = Speech().prepare(TimedSequence("voice", stream.columns, values, stream.start, stream.end, BY))
    assert prepared.rows.values.shape == (10, len(Speech().made(())))


def test_the_strongest_moment_of_a_face_is_kept() -> None:
    random = np.random.default_rng(1)
    rows = np.concatenate([random.uniform(0, 0.1, (50, 5)), random.dirichlet(np.ones(7), 50)], axis=1).astype(np.float32)
    rows[20:32, FACE.index("AU12")] = 0.9
    read = Expression(step=0.16)
    names = read.made(FACE)
    by_column = dict(zip(names, read.prepare(face(rows)).rows.values[0], strict=True))
    assert by_column["all_AU12_high"] > 0.8 and by_column["all_AU12_mean"] < 0.4 and by_column["all_AU25_high"] < 0.2
    assert not any("Pitch" in n for n in names if n.startswith("all_"))  # where somebody looks is no expression
    certain = np.tile(rows[:1], (50, 1))
    certain[:, -7:] = np.eye(7, dtype=np.float32)[3]
    made = dict(zip(names, read.prepare(face(certain)).rows.values[0], strict=True))
    assert np.isfinite(made["happiness"]) and made["happiness"] == max(made[e] for e in EMOTIONS)


@pytest.mark.parametrize("preparation", [AsItIs(), Speech(step=0.2), Expression(step=0.3)])
def test_a_preparation_survives_json(preparation: Preparation) -> None:
    assert preparation_from_json(preparation_to_json(preparation)) == preparation


def test_unknown_preparations_are_refused() -> None:
    for wrong in ({"kind": "magic"}, {"kind": "speech", "hop": 3}):
        with pytest.raises(CheckpointError, match="no preparation"):
            preparation_from_json(wrong)


def test_attention_is_handed_out_for_the_streams_own_rows() -> None:
    """Two pools of 3 and 1 rows as the source: each row gets its part, rows of one pool alike, and all sum to 1."""
    middles = np.array([0.0, 0.03, 0.06, 0.12])
    stream = TimedSequence("face", FACE, np.full((4, len(FACE)), 0.1, np.float32), middles, middles + 0.01, BY)
    read = StreamInput(FACE, Scaling(np.zeros(w := len(Expression().made(FACE)), np.float32), np.ones(w, np.float32)), Expression(step=0.1))
    streams = {"face": Read.of(read.prepared(stream), stream)}
    padded = {"face": Batch.of([streams["face"].rows], read.scaling)}
    weights = torch.tensor([[0.6, 0.4], [0.3, 0.7]]).reshape(1, 1, 1, 2, 2)
    attention = _attention(Map("self", "face", "face", weights), 0, streams, padded)
    assert attention is not None
    expected = [[0.2, 0.2, 0.2, 0.4]] * 3 + [[0.1, 0.1, 0.1, 0.7]]
    np.testing.assert_allclose(attention.weights[0, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(attention.source_start, middles)


def heard(level: ArrayLike, values: ArrayLike) -> TimedSequence:
    rows = np.stack([np.asarray(values), np.asarray(level)], axis=1).astype(np.float32)
    start = 0.02 * np.arange(len(rows), dtype=np.float64)
    return TimedSequence("voice", ("whisper_tiny.en_0", "rms"), rows, start, start + 0.02, Provenance("test", "1"))


def test_quiet_moments_do_not_speak_for_a_voice() -> None:
    stream = heard([0.1] * 10 + [0.1, 0.001] * 5 + [0.0001] * 10, [1.0] * 10 + [3.0, 99.0] * 5 + [99.0] * 10)
    prepared = Heard(step=0.2, within=20).prepare(stream)
    assert prepared.rows.columns == Heard().made(stream.columns) == ("loudness", "whisper_tiny.en_0")
    np.testing.assert_allclose(prepared.rows.values[:, 1], [1.0, 3.0, np.nan])
    np.testing.assert_allclose(prepared.rows.values[:, 0], [0.0, -20.0, -60.0], atol=1e-4)  # decibels: mean of 0 and -40


def test_a_gain_changes_nothing_that_is_heard_within_an_utterance() -> None:
    random = np.random.default_rng(8)
    level, values = random.uniform(0.001, 0.2, 60), random.normal(size=60)
    loud, soft = (Heard().prepare(heard(level * gain, values)).rows.values for gain in (1.0, 0.05))
    np.testing.assert_allclose(loud, soft, atol=1e-4)


def test_digital_silence_is_heard_as_nothing() -> None:
    rows = Heard().prepare(heard([0.0] * 20, [5.0] * 20)).rows.values
    np.testing.assert_allclose(rows[:, 0], -60)
    assert np.isnan(rows[:, 1]).all()


def test_an_expression_of_moments_is_the_local_part_of_the_whole_one() -> None:
    values = np.random.default_rng(2).dirichlet(np.ones(7), 50)
    stream = face(np.concatenate([np.random.default_rng(3).uniform(0, 1, (50, 5)), values], axis=1).astype(np.float32))
    whole, moments = (Expression(whole=w).prepare(stream).rows for w in (True, False))
    assert moments.columns == whole.columns[: len(moments.columns)] and not any(c.startswith("all_") for c in moments.columns)
    np.testing.assert_array_equal(moments.values, whole.values[:, : len(moments.columns)])
    assert preparation_from_json(preparation_to_json(Expression(whole=False))) == Expression(whole=False)
