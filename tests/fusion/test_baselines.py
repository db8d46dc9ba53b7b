"""The baselines: slices solved by hand, final states against torch's own, and streams alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from emofuse.fusion.baselines import EarlyFusion, EarlyFusionConfig, LateFusion, LateFusionConfig, final_states, in_slices
from emofuse.fusion.batch import Batch
from emofuse.fusion.rrnn import Encoder

StreamsOf = Callable[..., dict[str, Batch]]


def test_slices_solved_by_hand() -> None:
    times = torch.tensor([[10.0, 11.0, 13.9, 14.0, 12.5]], dtype=torch.float64)
    values = torch.tensor([[[1.0], [3.0], [5.0], [7.0], [torch.nan]]])
    batch = Batch(values, times, torch.tensor([[True, True, True, True, False]]))
    found = in_slices(batch, torch.tensor([[10.0]]), torch.tensor([[14.0]]), 4)
    # slices of a second: 1 alone, 3 alone, nothing (the row there is absent), and 5 and 7, the end belonging to the last
    assert found.tolist() == [[[1.0, 1.0], [3.0, 1.0], [0.0, 0.0], [6.0, 1.0]]]


def test_final_states_are_torchs(streams_of: StreamsOf) -> None:
    torch.manual_seed(1)
    encoder, batch = Encoder(4, 3, 0.0).eval(), streams_of(1)["voice"]
    with torch.no_grad():
        found = final_states(encoder(batch), batch.present)
        for b in range(3):
            n = int(batch.present[b].sum())
            _, (hidden, _) = encoder.lstm(batch.values[b : b + 1, :n])
            torch.testing.assert_close(found[b], hidden[:, 0].flatten())


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
