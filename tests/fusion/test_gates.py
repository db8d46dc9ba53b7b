"""Gates as numbers per layer, from the models' own outputs to the result folder's document."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from emofuse.fusion.batch import Batch
from emofuse.fusion.gates import gate_summary
from emofuse.fusion.outputs import Output

STREAMS = ("text", "face", "voice")
Small = Callable[..., nn.Module]
StreamsOf = Callable[..., dict[str, Batch]]


def test_a_summary_solved_by_hand() -> None:
    gates = {
        "alpha_text_face": torch.tensor([[[0.25, 0.5, 0.0]]]),
        "gamma_text": torch.tensor([[[0.75, 0.25]]]),
        "mu_face": torch.tensor([[[[0.5, 0.7], [0.0, 0.0]]]]),  # the second row is absent
        "view": torch.tensor([[[[0.1, 0.3], [0.5, 0.5], [1.0, 1.0]]]]),
        "memory": torch.tensor([[[0.2, 0.4]], [[0.6, 0.6]]]),
        "delta_face": torch.ones(1, 1, 2, 2),
    }
    summary = gate_summary(gates, 0, STREAMS)
    assert summary["alpha_text_face"] == pytest.approx((0.75,))
    assert (summary["gamma_text_sources"], summary["gamma_text_itself"]) == ((0.75,), (0.25,))
    assert summary["mu_face"] == pytest.approx((0.6,))
    assert summary["view_text"] == pytest.approx((0.2,)) and summary["view_voice"] == (1.0,)
    assert summary["memory"] == pytest.approx((0.3, 0.6))
    assert not any(name.startswith("delta") for name in summary)


@pytest.mark.parametrize("model", ["pmr", "mcr", "rrnn"])
def test_padding_and_company_do_not_move_a_gates_number(small: Small, streams_of: StreamsOf, model: str) -> None:
    module, streams = small(model), streams_of(3, size=4)
    with torch.no_grad():
        together: Output = module(streams)
        for b in range(4):
            n = {m: int(batch.present[b].sum()) for m, batch in streams.items()}
            alone = {
                m: Batch(s.values[b : b + 1, : n[m]], s.times[b : b + 1, : n[m]], s.present[b : b + 1, : n[m]]) for m, s in streams.items()
            }
            one = gate_summary(module(alone).gates, 0, STREAMS)
            many = gate_summary(together.gates, b, STREAMS)
            assert one.keys() == many.keys() and one
            for name, values in one.items():
                assert many[name] == pytest.approx(values, abs=1e-5), name
