"""The baselines: slices solved by hand, final states against torch's own, and streams alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from emofuse.fusion.baselines import (
    EarlyAttention,
    EarlyFusion,
    EarlyFusionConfig,
    LateFusion,
    LateFusionConfig,
    early_fusion,
    fastest,
    final_states,
    in_slices,
)
from emofuse.fusion.batch import Batch
from emofuse.fusion.rrnn import Encoder

StreamsOf = Callable[..., dict[str, Batch]]


def test_slices_solved_by_hand() -> None:
    times = torch.tensor([[10.0, 11.0, 13.9, 14.0, 12.5]], dtype=torch.float64)
    values = torch.tensor([[[1.0], [3.0], [5.0], [7.0], [torch.nan]]])
    batch = Batch(values, times, torch.tensor([[True, True, True, True, False]]))
    slices = in_slices(batch, torch.tensor([[10.0]]), torch.tensor([[14.0]]), 4)
    # slices of a second: 1 alone, 3 alone, nothing (the row there is absent), and 5 and 7, the end belonging to the last
    assert slices.tolist() == [[[1.0, 1.0], [3.0, 1.0], [0.0, 0.0], [6.0, 1.0]]]


def test_final_states_are_torchs(streams_of: StreamsOf) -> None:
    torch.manual_seed(1)
    encoder, batch = Encoder(4, 3, 0.0).eval(), streams_of(1)["voice"]
    with torch.no_grad():
        ours = final_states(encoder(batch), batch.present)
        for b in range(3):
            n = int(batch.present[b].sum())
            _, (hidden, _) = encoder.lstm(batch.values[b : b + 1, :n])
            torch.testing.assert_close(ours[b], hidden[:, 0].flatten())


def test_an_absent_stream_has_no_say_in_late_fusion(streams_of: StreamsOf) -> None:
    torch.manual_seed(2)
    model, streams = LateFusion(LateFusionConfig({"text": 6, "face": 5, "voice": 4}, outputs=2, hidden=3)).eval(), streams_of(2)
    for name in ("face", "voice"):
        streams[name] = Batch(streams[name].values, streams[name].times, torch.zeros_like(streams[name].present))
    with torch.no_grad():
        before = model(streams).logits
        model.answer["face"].bias.add_(5)  # type: ignore[operator, union-attr]
        assert torch.equal(model(streams).logits, before)
        model.answer["text"].bias.add_(5)  # type: ignore[operator, union-attr]
        assert not torch.allclose(model(streams).logits, before)


@pytest.mark.parametrize("stream", ["text", "face", "voice"])
def test_one_stream_alone_is_a_model(streams_of: StreamsOf, stream: str) -> None:
    streams = {stream: streams_of(3)[stream]}
    columns = {stream: streams[stream].values.shape[2]}
    for model in (EarlyFusion(EarlyFusionConfig(columns, outputs=2)), LateFusion(LateFusionConfig(columns, outputs=2))):
        assert model.eval()(streams).logits.shape == (3, 2)


def test_the_fastest_stream_is_the_one_with_most_rows() -> None:
    def batch(times: list[list[float]], present: list[list[bool]]) -> Batch:
        known = torch.tensor(times, dtype=torch.float64)
        return Batch(torch.zeros(*known.shape, 1), known, torch.tensor(present))

    slow = batch([[1.0, 2.0], [5.0, 6.0]], [[True, True], [True, True]])
    fast = batch([[1.0, 1.5, 2.0], [5.0, 0.0, 0.0]], [[True, True, True], [True, False, False]])
    times, present = fastest([slow, fast])
    assert present.tolist() == [[True, True, True], [True, True, False]]
    assert times[present].tolist() == [1.0, 1.5, 2.0, 5.0, 6.0]


def test_early_attention_reads_every_stream_at_the_fastest_ones_times() -> None:
    """Encoders that pass a number through: text 0 at 0 s and 2 at 2 s, voice at 0, 1 and 2 s: joined rows (0, a), (1, b), (2, c)."""
    model = early_fusion(EarlyFusionConfig({"text": 1, "voice": 1}, outputs=2, form="attention", attention=4, hidden=2)).eval()
    assert isinstance(model, EarlyAttention)
    seen: list[torch.Tensor] = []
    model.encoders = torch.nn.ModuleDict({m: Through() for m in ("text", "voice")})
    model.recursion.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]["joined"]))
    model.recursion.forward = lambda encoded, present: None  # type: ignore[method-assign,assignment,misc,return-value]
    seconds = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    text = Batch(torch.tensor([[[0.0], [2.0]]]), seconds[:, ::2], torch.ones(1, 2, dtype=torch.bool))
    voice = Batch(torch.tensor([[[5.0], [6.0], [7.0]]]), seconds, torch.ones(1, 3, dtype=torch.bool))
    model({"text": text, "voice": voice})
    assert seen[0].tolist() == [[[0.0, 5.0], [1.0, 6.0], [2.0, 7.0]]]


class Through(torch.nn.Module):
    def forward(self, batch: Batch) -> torch.Tensor:
        return batch.values


def test_early_attention_keeps_the_contract(streams_of: StreamsOf) -> None:
    """Padding and missing streams change nothing else; gradients reach every parameter."""
    torch.manual_seed(3)
    config = EarlyFusionConfig({"text": 6, "face": 5, "voice": 4}, outputs=2, hidden=3, attention=4, hops=2, form="attention", dropout=0.0)
    model, streams = early_fusion(config), streams_of(4)
    logits = model(streams).logits
    longer = {}
    for name, batch in streams.items():
        pad = torch.full((len(batch.values), 3, batch.values.shape[2]), torch.nan)
        times = torch.cat([batch.times, torch.zeros(len(pad), 3, dtype=torch.float64)], 1)
        longer[name] = Batch(
            torch.cat([batch.values, pad], 1), times, torch.cat([batch.present, torch.zeros(len(pad), 3, dtype=torch.bool)], 1)
        )
    torch.testing.assert_close(model(longer).logits, logits)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    for name, batch in streams.items():
        without = streams | {name: Batch(batch.values, batch.times, torch.zeros_like(batch.present))}
        assert model(without).logits.isfinite().all()
