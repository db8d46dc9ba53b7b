"""The timeline of every kind of attention map: pairs, streams joined in time, one row for the utterance, and hops."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.pipeline.attention.timeline import record, shares
from emofuse.pipeline.attention_rows import AttentionRows
from emofuse.pipeline.results import Attention, AttentionKind, Prediction, Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

ROWS = {"text": 2, "face": 3, "voice": 4}
BY = Provenance("test", "1")


def attention(kind: AttentionKind, target: str, source: str, seed: int = 0, layers: int = 2, rows: dict[str, int] = ROWS) -> Attention:
    """Seeded weights whose rows sum to 1; times do not matter to shares."""
    i, j = (1 if name == "utterance" else sum(rows.get(part, 0) for part in name.split("+")) for name in (target, source))
    weights = np.random.default_rng(seed).random((layers, 3, i, j)).astype(np.float32)
    weights /= weights.sum(-1, keepdims=True)
    return Attention(kind, target, source, weights, np.zeros(i), np.zeros(i), np.zeros(j), np.zeros(j))


def test_a_pair_is_read_as_before() -> None:
    a = attention("cross", "text", "voice")
    by_target, whole = shares("voice", [a], ROWS)
    expected = a.weights[1].mean((0, 1))
    assert list(by_target) == ["text"]
    np.testing.assert_allclose(by_target["text"], expected, atol=1e-6)
    np.testing.assert_array_equal(whole, by_target["text"])


def test_of_a_hub_the_sources_block_is_taken_and_sums_to_one() -> None:
    """PMR: stream <- all streams joined; text's 2 rows, then face's 3, then voice's 4."""
    maps = [attention("cross", m, "text+face+voice", seed) for seed, m in enumerate(ROWS)]
    by_target, whole = shares("face", maps, ROWS)
    assert set(by_target) == {"text", "voice"}, "a stream's attention to itself is not crossmodal"
    for m, a in zip(ROWS, maps, strict=True):
        if m != "face":
            block = a.weights[1][:, :, 2:5].astype(np.float64).mean((0, 1))
            np.testing.assert_allclose(by_target[m], block / block.sum())
    assert whole is not None and whole.sum() == pytest.approx(1)


def test_of_joined_streams_to_themselves_the_block_of_target_and_source_is_taken() -> None:
    """Delta-attention: all streams joined <- all streams joined."""
    a = attention("cross", "text+face+voice", "text+face+voice", layers=1)
    by_target, whole = shares("voice", [a], ROWS)
    for m, i in (("text", slice(0, 2)), ("face", slice(2, 5))):
        block = a.weights[0][:, i, 5:9].astype(np.float64).mean((0, 1))
        np.testing.assert_allclose(by_target[m], block / block.sum())
    assert whole is not None
    np.testing.assert_allclose(whole, (by_target["text"] + by_target["face"]) / 2)


def test_several_maps_of_one_pair_count_alike() -> None:
    """MCR: target <- source, and target <- both sources joined."""
    pair, joined = attention("cross", "text", "voice", 1), attention("cross", "text", "face+voice", 2)
    by_target, _ = shares("voice", [pair, joined], ROWS)
    block = joined.weights[1][:, :, 3:].astype(np.float64).mean((0, 1))
    np.testing.assert_allclose(by_target["text"], (pair.weights[1].mean((0, 1)) + block / block.sum()) / 2, rtol=1e-6)
    assert by_target["text"].sum() == pytest.approx(1)


def test_one_row_for_the_utterance_gives_a_timeline_for_each_hop() -> None:
    """RRNN: its memory looks at every stream, several hops."""
    a = attention("cross", "utterance", "face", layers=3)
    by_target, whole = shares("face", [a, attention("cross", "utterance", "text")], ROWS)
    assert list(by_target) == ["hop_1", "hop_2", "hop_3"]
    for hop in range(3):
        np.testing.assert_allclose(by_target[f"hop_{hop + 1}"], a.weights[hop, :, 0].mean(0), rtol=1e-6)
    assert whole is not None
    np.testing.assert_allclose(whole, a.weights[:, :, 0].mean((0, 1)), rtol=1e-6)


def test_absent_streams_take_no_place_in_a_joined_map() -> None:
    here = {"text": 2, "face": 0, "voice": 4}
    a = attention("cross", "text", "text+face+voice", rows=here)
    by_target, _ = shares("voice", [a], here)
    block = a.weights[1][:, :, 2:].astype(np.float64).mean((0, 1))
    np.testing.assert_allclose(by_target["text"], block / block.sum())
    assert shares("face", [a], here) == ({}, None)


def test_a_stream_alone_is_read_from_its_own_stack_or_from_its_block_of_a_joined_map() -> None:
    alone = {"voice": 4}
    joined = attention("cross", "voice", "text+face+voice", 1, rows=alone)
    own = attention("self", "voice", "voice", 2)
    by_target, whole = shares("voice", [joined], alone)
    assert by_target == {} and whole is not None
    np.testing.assert_allclose(whole, joined.weights[1].mean((0, 1)), rtol=1e-6)
    by_target, whole = shares("voice", [joined, own], alone)
    assert by_target == {}
    assert whole is not None
    np.testing.assert_allclose(whole, own.weights[1].mean((0, 1)), rtol=1e-6)


def test_a_block_that_rounds_to_nothing_gives_no_share() -> None:
    a = attention("cross", "text", "face+voice")
    a.weights[..., 3:] = 0
    assert shares("voice", [a], ROWS) == ({}, None)
    assert shares("face", [a], ROWS)[1] is not None


def test_deeper_maps_of_a_models_own_memory_are_not_crossmodal() -> None:
    assert shares("face", [attention("memory", "text", "text+face+voice"), attention("self", "text", "text")], ROWS) == ({}, None)


def test_hops_stand_beside_the_streams_in_a_timelines_rows() -> None:
    start = np.arange(3, dtype=np.float64)
    face = TimedSequence("face", ("a",), np.zeros((3, 1), np.float32), start, start + 1, BY)
    said = Utterance(Span(0, 3), "", {"face": face}, {"face": np.arange(3)})
    a = attention("cross", "utterance", "face", layers=2)
    prediction = Prediction(dict.fromkeys(EMOTIONS, 1 / 7), None, 1 / 7, (a,))
    rows = AttentionRows.empty({"face": face})
    record(rows, 0, said, prediction)
    assert [set(r.shares) for r in rows] == [{"text", "face", "voice", "hop_1", "hop_2"}] * 3
    assert all(r.shares["text"] is None for r in rows)
    assert sum(r.shares["hop_2"] or 0 for r in rows) == pytest.approx(1, abs=1e-6)
    assert sum(r.overall or 0 for r in rows) == pytest.approx(1, abs=1e-6)
