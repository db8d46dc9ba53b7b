"""RRNN against the paper's equations: counts, limiting cases, and a step solved by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from emofuse.fusion.attention import present_mean
from emofuse.fusion.batch import Batch
from emofuse.fusion.rrnn import RRNN, Attention, RRNNConfig

PAPER = {"text": 300, "voice": 74, "face": 35}
StreamsOf = Callable[..., dict[str, Batch]]


def made(**numbers: Any) -> RRNN:
    torch.manual_seed(1)
    return RRNN(RRNNConfig(**({"streams": {"text": 6, "face": 5, "voice": 4}, "outputs": 2, "hidden": 4, "attention": 5} | numbers))).eval()


@pytest.mark.parametrize(("hidden", "outputs", "count"), [(128, 1, 3_148_161), (512, 6, 45_232_134)])
def test_parameters_are_as_many_as_the_equations_say(hidden: int, outputs: int, count: int) -> None:
    model = RRNN(RRNNConfig(streams=PAPER, outputs=outputs, hidden=hidden, attention=hidden))
    assert sum(p.numel() for p in model.parameters()) == count


def test_checkpoints_name_the_recursions_weights_as_the_models_own() -> None:
    one = made()
    inside = torch.nn.ModuleDict({"model": one})
    for module, prefix in ((one, ""), (inside, "model.")):
        names = list(module.state_dict())
        assert names and not any("recursion" in name for name in names)
        assert {f"{prefix}{name}" for name, _ in one.recursion.named_parameters()} <= set(names)
    again = torch.nn.ModuleDict({"model": made()})
    again.load_state_dict({name: value + 1 for name, value in inside.state_dict().items()}, strict=True)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, inside.state_dict()[name] + 1)


def test_no_hops_decode_the_sum_of_means(streams_of: StreamsOf) -> None:
    model, streams = made(hops=0), streams_of(1)
    means = sum(present_mean(model.encoders[m](streams[m]), streams[m].present) for m in ("text", "face", "voice"))
    with torch.no_grad():
        torch.testing.assert_close(model(streams).logits, model.recursion.out(model.recursion.decode(means).relu()))


def test_a_zero_start_looks_evenly_at_first(streams_of: StreamsOf) -> None:
    streams = streams_of(2)
    with torch.no_grad():
        attention_maps = made(start="zero")(streams, maps=("cross",)).maps
    for m in attention_maps:
        present = streams[m.source].present
        torch.testing.assert_close(m.weights[0, :, 0, 0], present / present.sum(1, keepdim=True))
        assert not torch.allclose(m.weights[1], m.weights[0])


def test_a_shut_memory_gate_keeps_the_memory(streams_of: StreamsOf) -> None:
    model, streams = made(), streams_of(3)
    with torch.no_grad():
        model.recursion.memory_gate.weight.zero_()
        model.recursion.memory_gate.bias.fill_(-60)
        output = model(streams)
        means = sum(present_mean(model.encoders[m](streams[m]), streams[m].present) for m in ("text", "face", "voice"))
    torch.testing.assert_close(output.features, means)
    assert output.gates["memory"].shape == (3, 3, 8) and output.gates["view"].shape == output.gates["joined"].shape == (3, 3, 3, 8)


def test_one_update_solved_by_hand() -> None:
    # one unit, all weights 0 but W_uw = 1: m = 1, w = 2 -> gates 0.5, u = tanh(0.5 * 2), m' = (1 + u) / 2
    model = RRNN(RRNNConfig(streams={"text": 1}, outputs=1, hidden=1, attention=1, hops=1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.recursion.update.weight[0, 2] = 1  # the memory has two units (two directions): use the first of each
        memory, gates = model.recursion._updated(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]]))
    assert gates["memory"][0, 0] == 0.5
    torch.testing.assert_close(memory[0, 0], torch.tensor(0.880797))


def test_tied_hops_share_their_weights() -> None:
    tied, free = (sum(p.numel() for p in made(tied=t, hops=4).parameters()) for t in (True, False))
    assert free - tied == 3 * sum(2 * 8 * 5 + 5 for _ in range(3))


def test_the_encoder_equals_torchs_lstm_on_each_utterance_alone(streams_of: StreamsOf) -> None:
    model, batch = made(), streams_of(4)["voice"]
    encoder = model.encoders["voice"]
    with torch.no_grad():
        encoded = encoder(batch)
        for b in range(3):
            n = int(batch.present[b].sum())
            torch.testing.assert_close(encoded[b, :n], encoder.lstm(batch.values[b : b + 1, :n])[0][0])  # type: ignore[operator,union-attr]
            assert (encoded[b, n:] == 0).all()


def test_without_gates_the_update_is_plain(streams_of: StreamsOf) -> None:
    model, streams = made(gates=False, hops=1), streams_of(5)
    output = model(streams)
    assert output.gates == {} and output.features.abs().max() <= 1  # a tanh


def test_a_fat_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 2 \\* hidden = 8, got 9"):
        RRNNConfig(streams=PAPER, outputs=1, hidden=4, attention=9)


def test_heads_score_apart_and_their_contexts_are_averaged() -> None:
    """rows (1, 3), all weights 1; head 0 scores the relation r, head 1 minus r: contexts by hand."""
    attention = Attention(1, 1, heads=2)
    with torch.no_grad():
        attention.rows.weight.fill_(1)
        attention.memory.weight.fill_(1)
        attention.score.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        rows, memory = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[2.0]])
        context, weights = attention(rows, memory, torch.ones(1, 2, dtype=torch.bool))
    related = [math.tanh(1) * math.tanh(2), math.tanh(3) * math.tanh(2)]
    first = 1 / (1 + math.exp(related[1] - related[0]))
    torch.testing.assert_close(weights, torch.tensor([[[first, 1 - first], [1 - first, first]]]))
    torch.testing.assert_close(context, torch.tensor([[2.0]]))  # the heads mirror each other: the mean of 1 and 3


def test_the_additive_score_by_hand() -> None:
    attention = Attention(1, 1, additive=True)
    with torch.no_grad():
        for layer in (attention.rows, attention.memory, attention.score):
            layer.weight.fill_(1)
        rows = torch.tensor([[[1.0], [3.0]]])
        _, weights = attention(rows, torch.tensor([[-2.0]]), torch.ones(1, 2, dtype=torch.bool))
    scores = [math.tanh(-1), math.tanh(1)]
    first = 1 / (1 + math.exp(scores[1] - scores[0]))
    torch.testing.assert_close(weights, torch.tensor([[[first, 1 - first]]]))


def test_maps_have_a_layer_a_hop_and_a_head_a_head(streams_of: StreamsOf) -> None:
    streams = streams_of(4)
    for one_map in made(heads=3, score="add")(streams, maps=("cross",)).maps:
        assert one_map.weights.shape == (3, 3, 3, 1, streams[one_map.source].values.shape[1])
        sums = one_map.weights.sum(-1)
        torch.testing.assert_close(sums, streams[one_map.source].present.any(1)[None, :, None, None].expand_as(sums).float())


@pytest.mark.parametrize("numbers", [{"heads": 0}, {"score": "dot"}])
def test_an_option_that_cannot_be_is_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected heads >= 1 and score product or add"):
        made(**numbers)
