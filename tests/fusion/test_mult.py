"""MulT beyond parity: the causal rule and padding, dropout drawn as released, and the paper's ablations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from emofuse.fusion.batch import Batch
from emofuse.fusion.mult import MulT, MulTConfig
from emofuse.fusion.outputs import Output
from emofuse.fusion.transformer import Dropouts, EncoderLayer

Small = Callable[..., nn.Module]
StreamsOf = Callable[..., dict[str, Batch]]
InFloat64 = Callable[[Mapping[str, Batch]], dict[str, Batch]]
Dead = Callable[[nn.Module], list[str]]


def trimmed(batch: Batch, member: int) -> Batch:
    """One utterance alone, without its padding."""
    n = int(batch.present[member].sum())
    return Batch(batch.values[member : member + 1, :n], batch.times[member : member + 1, :n], batch.present[member : member + 1, :n])


@pytest.mark.parametrize("causal", [False, True])
def test_an_utterance_trimmed_and_alone_gives_the_same_answer(small: Small, streams_of: StreamsOf, causal: bool) -> None:
    module, streams = small("mult", causal=causal), streams_of(11, size=4)
    with torch.no_grad():
        together: Output = module(streams)
        for b in range(4):
            alone: Output = module({m: trimmed(batch, b) for m, batch in streams.items()})
            torch.testing.assert_close(alone.logits[0], together.logits[b], atol=1e-5, rtol=0)


def test_the_causal_rule_changes_the_answer(small: Small, streams_of: StreamsOf) -> None:
    streams = streams_of(11)
    with torch.no_grad():
        assert not torch.allclose(small("mult", causal=True)(streams).logits, small("mult")(streams).logits, atol=1e-3)


def test_training_draws_dropout_anew_for_every_pair_and_apart_for_target_keys_and_values(
    small: Small, streams_of: StreamsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the released code does. In eval mode keys and values are the same rows."""
    calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]] = []
    original = EncoderLayer.forward

    def spy(self: EncoderLayer, target: torch.Tensor, source: torch.Tensor, **options: Any) -> Any:
        calls.append((target, source, options.get("values")))
        return original(self, target, source, **options)

    monkeypatch.setattr(EncoderLayer, "forward", spy)
    module = small("mult", layers=1, memory_layers=1, dropouts=Dropouts(embedding=0.5)).train()
    streams = streams_of(3)
    torch.manual_seed(1)
    module(streams)
    pairs = [call for call in calls if call[2] is not None]
    assert len(pairs) == 6  # three streams
    for _, keys, values in pairs:
        assert values is not None and not torch.equal(keys == 0, values == 0)
    of_text = [target for target, _, _ in pairs if target.shape[1] == streams["text"].values.shape[1]]
    assert len(of_text) == 2 and not torch.equal(of_text[0] == 0, of_text[1] == 0)
    calls.clear()
    module.eval()(streams)
    assert all(values is None for _, _, values in calls)


ABLATIONS: list[dict[str, Any]] = [
    {"targets": ("text",)},
    {"targets": ("face", "voice")},
    {"source": "intermediate"},
    {"source": "intermediate", "targets": ("voice",), "layers": 3},
]


@pytest.mark.parametrize("ablation", ABLATIONS, ids=str)
def test_an_ablated_model_runs_and_carries_no_dead_weights(
    small: Small, streams_of: StreamsOf, in_float64: InFloat64, dead_parameters: Dead, ablation: dict[str, Any]
) -> None:
    streams = in_float64(streams_of(6, size=4))
    module = small("mult", **ablation).double()
    output: Output = module(streams, maps=("cross", "memory"))
    (output.logits * torch.randn(output.logits.shape, generator=torch.Generator().manual_seed(8))).sum().backward()
    assert dead_parameters(module) == []
    targets = ablation.get("targets", ("text", "face", "voice"))
    assert {m.target for m in output.maps} == set(targets)
    with torch.no_grad():
        assert not torch.allclose(output.logits, small("mult").double()(streams).logits, atol=1e-4)


def test_intermediate_sources_are_the_embedding_in_the_first_layer(small: Small, streams_of: StreamsOf) -> None:
    streams, module, plain = streams_of(2), small("mult", source="intermediate"), small("mult")
    plain.load_state_dict(module.state_dict(), strict=False)
    with torch.no_grad():
        maps = {(m.target, m.source): m.weights for m in module(streams, maps=("cross",)).maps}
        for m in plain(streams, maps=("cross",)).maps:
            torch.testing.assert_close(maps[m.target, m.source][0], m.weights[0])
            assert not torch.allclose(maps[m.target, m.source][1], m.weights[1], atol=1e-4)


def test_a_stream_alone_is_its_own_encoder(small: Small, streams_of: StreamsOf) -> None:
    columns = {"voice": 4}
    output: Output = small("mult", streams=columns, kernels={})(streams_of(7, columns=columns), maps=("cross", "memory"))
    assert [(m.kind, m.target, m.source) for m in output.maps] == [("memory", "voice", "voice")]
    assert output.logits.isfinite().all()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"targets": ("voice", "text")}, "in that order"),
        ({"targets": ()}, "in that order"),
        ({"source": "eye"}, "must be one of embedding, intermediate"),
        ({"source": "intermediate", "layers": 1}, "two layers or more"),
        ({"streams": {}}, "expected a stream or more"),
    ],
)
def test_invalid_numbers_are_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MulTConfig(**({"streams": {"text": 6, "face": 5, "voice": 4}, "outputs": 8} | numbers))


def test_dropout_of_columns_goes_by_the_streams_name(streams_of: StreamsOf) -> None:
    """No stream loses it for its name; `text` in older checkpoints stands for the text's columns."""
    assert Dropouts.of({"text": 0.3, "relu": 0.2}) == Dropouts(columns={"text": 0.3}, relu=0.2)
    torch.manual_seed(0)
    module = MulT(MulTConfig({"speech": 6, "voice": 4}, 1, width=8, heads=2, dropouts=Dropouts.of({"columns": {"speech": 0.9}}))).train()
    batch = Batch(torch.ones(1, 5, 6), torch.zeros(1, 5), torch.ones(1, 5, dtype=torch.bool))
    projected = [module.front({"speech": batch, "voice": Batch(batch.values[..., :4], batch.times, batch.present)}) for _ in range(2)]
    assert not torch.equal(projected[0]["speech"], projected[1]["speech"])
    assert torch.equal(projected[0]["voice"], projected[1]["voice"])
