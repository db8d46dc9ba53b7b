"""Every form and ablation of every model, in float64: padding, its side, company, a shift in time and absent streams change nothing;
attention rows sum to 1. And the derivatives of the parts with algebra of their own (gradcheck)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from emofuse.fusion import pmr, rrnn
from emofuse.fusion.attention import attend, present_softmax
from emofuse.fusion.batch import Batch
from emofuse.fusion.branches import BranchAttention, slots
from emofuse.fusion.dcca import dcca_loss
from emofuse.fusion.delta import DeltaAttention, HDAConfig, relative_bias
from emofuse.fusion.mcr import CMU, MCRConfig, Rows, selective_weights
from emofuse.fusion.outputs import Output

LENGTHS = {"text": 5, "face": 7, "voice": 9}
KINDS = ("cross", "self", "memory")
PRINTED_DELTA = {"attention_skip": False, "fused_skip": False, "fused_feed_forward": False}
PRINTED_MCR = {
    "alpha_scale": "paper",
    "alignment": "learned",
    "branch_attention": "flat",
    "row_biases": True,
    "lengths": LENGTHS,
    "positions": "index",
    "bounded_score": False,
    "branch_residual": False,
}
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("mult", {}),
    ("mult", {"causal": True, "readout": "last"}),
    ("mult", {"positions": "index", "memory_layers": 1}),
    ("mult", {"positions": "none", "targets": ("text",)}),
    ("mult", {"source": "intermediate"}),
    ("pmr", {}),
    ("pmr", {"layers": 3, "positions": "index", "readout": "last"}),
    ("pmr", {"branch_attention": "flat", "lengths": LENGTHS, "branch_residual": False}),
    *[
        ("pmr", {"ablation": one})
        for one in (
            {"gate": "even"},
            {"gate": "self"},
            {"gate": "cross"},
            {"hub_update": False},
            {"reinforced": ("text",)},
            {"order": "parallel"},
        )
    ],
    ("mcr", {}),
    ("mcr", {"alpha_scale": "rows"}),
    ("mcr", PRINTED_MCR),
    ("mcr", {"layers": 3, "alignment": "index"}),
    ("mcr", {"mutual_heads": 2, "branch_attention": "mean", "layers": 1}),
    *[
        ("mcr", {"ablation": one})
        for one in (
            {"mutual_unit": False},
            {"source_unit": False},
            {"mutual": False},
            {"source_update": "none"},
            {"source_update": "feed_forward"},
            {"source_update": "plain"},
            {"order": "serial"},
            {"targets": ("face", "voice")},
        )
    ],
    ("delta", {}),
    ("delta", {"offsets": "absolute", "lengths": LENGTHS, **PRINTED_DELTA}),
    ("delta", {"offsets": "seconds", "fused_positions": "seconds", "look": "past", "band": 3}),
    ("delta", {"readout": "encoded"}),
    ("delta", {"readout": "attended"}),
    ("rrnn", {}),
    ("rrnn", {"gates": False}),
    ("rrnn", {"view_gates": False, "heads": 2, "score": "add", "tied": True}),
    ("rrnn", {"start": "zero"}),
    ("rrnn", {"hops": 0}),
    ("early-lstm", {"form": "attention", "attention": 4}),
    ("late-lstm", {}),
]

Small = Callable[..., nn.Module]
StreamsOf = Callable[..., dict[str, Batch]]
InFloat64 = Callable[[Mapping[str, Batch]], dict[str, Batch]]


def padded(batch: Batch, left: bool) -> Batch:
    """Three absent rows of garbage, NaN among it, on one side."""
    b, _, f = batch.values.shape
    garbage = torch.full((b, 3, f), torch.nan, dtype=batch.values.dtype)
    far, absent = torch.full((b, 3), 1e6, dtype=batch.times.dtype), torch.zeros(b, 3, dtype=torch.bool)
    parts = ((garbage, batch.values), (far, batch.times), (absent, batch.present))
    return Batch(*(torch.cat(pair if left else pair[::-1], 1) for pair in parts))


@pytest.mark.parametrize(("model", "numbers"), FORMS, ids=str)
def test_nothing_but_present_rows_moves_the_answer(
    small: Small, streams_of: StreamsOf, in_float64: InFloat64, model: str, numbers: dict[str, Any]
) -> None:
    module, streams = small(model, **numbers).double(), in_float64(streams_of(12, size=3))
    close = lambda one, other: torch.testing.assert_close(one, other, atol=1e-10, rtol=0)  # noqa: E731
    with torch.no_grad():
        output: Output = module(streams, maps=KINDS)
        close(module(streams).logits, output.logits)  # with maps and without
        for left in (False, True):
            close(module({m: padded(batch, left) for m, batch in streams.items()}).logits, output.logits)
        close(module({m: Batch(s.values, s.times + 1234.5, s.present) for m, s in streams.items()}).logits, output.logits)
        alone = {m: Batch(s.values[1:2], s.times[1:2], s.present[1:2]) for m, s in streams.items()}
        close(module(alone).logits[0], output.logits[1])
        for name in streams:
            gone = streams | {name: Batch(streams[name].values, streams[name].times, torch.zeros_like(streams[name].present))}
            other = streams | {name: Batch(streams[name].values * 7 + 1, streams[name].times, torch.zeros_like(streams[name].present))}
            answer = module(gone).logits
            assert answer.isfinite().all()
            close(module(other).logits, answer)
    for m in output.maps:
        sums = m.weights.sum(-1)
        assert (((sums - 1).abs() < 1e-9) | (sums == 0)).all(), (m.kind, m.target, m.source)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


HERE = torch.tensor([[True, True, True]])
PRESENT = torch.tensor([[True, True, False, True], [False, False, False, False]])


@pytest.mark.parametrize("want_map", [False, True])
def test_the_derivative_of_attention_is_right(want_map: bool) -> None:
    allowed = PRESENT[:, None, None]

    def function(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return attend(q, k, v, allowed, want_map, bias=bias)[0]

    inputs = (numbers(2, 2, 3, 2, seed=1), numbers(2, 2, 4, 2, seed=2), numbers(2, 2, 4, 2, seed=3), numbers(2, 1, 3, 4, seed=4))
    assert torch.autograd.gradcheck(function, inputs)


def test_the_derivatives_of_the_parts_are_right() -> None:
    check = torch.autograd.gradcheck
    assert check(lambda x: present_softmax(x, PRESENT), (numbers(2, 4),))
    index = torch.randint(0, 5, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    assert check(lambda rows, columns: relative_bias(rows, columns, index), (numbers(2, 4, 3), numbers(3, 5, seed=1)))
    assert check(lambda a, b: dcca_loss([a, b]), (numbers(12, 2), numbers(12, 3, seed=1)))
    pooled = BranchAttention(2, 3).double()
    something = torch.ones(2, 2, dtype=torch.bool)
    assert check(lambda a, b: pooled([a, b], PRESENT, something), (numbers(2, 4, 3), numbers(2, 4, 3, seed=1)))


def test_the_derivatives_of_the_models_units_are_right() -> None:
    check = torch.autograd.gradcheck
    torch.manual_seed(3)
    something = torch.ones(2, 2, dtype=torch.bool)
    flat, where = BranchAttention(2, 2, "flat", 4).double(), slots([PRESENT], [4])
    assert check(lambda a, b: flat([a, b], PRESENT, something, where), (numbers(2, 4, 2), numbers(2, 4, 2, seed=1)))
    look = rrnn.Attention(4, 3).double()
    assert check(lambda rows, memory: look(rows, memory, PRESENT)[0], (numbers(2, 4, 4), numbers(2, 4, seed=1)))
    unit = pmr.MRU(pmr.PMRConfig({"text": 1}, 1, width=4, heads=2)).double().eval()
    assert check(
        lambda target, source: unit(target, source, target_present=HERE, source_present=HERE).rows,
        (numbers(1, 3, 4), numbers(1, 3, 4, seed=1)),
    )
    times = torch.tensor([[0.0, 0.3, 0.35]], dtype=torch.float64)
    offsets: Any
    for offsets in ("steps", "seconds"):
        changes = DeltaAttention(HDAConfig({"text": 1}, 1, channels=3, heads=2, width=4, window=1, offsets=offsets), "text").double().eval()

        def function(rows: torch.Tensor, of: DeltaAttention = changes) -> torch.Tensor:
            attended: torch.Tensor = of(rows, Batch(rows, times, HERE))[0]
            return attended

        assert check(function, (numbers(1, 3, 3),))


@pytest.mark.parametrize(("scale", "alignment"), [("deviation", "seconds"), ("paper", "seconds"), ("paper", "learned")])
def test_the_derivative_of_the_mutual_unit_is_right(scale: Any, alignment: Any) -> None:
    torch.manual_seed(2)
    config = MCRConfig(
        {"text": 1, "face": 1, "voice": 1},
        1,
        width=4,
        heads=2,
        alpha_scale=scale,
        alignment=alignment,
        lengths={"text": 3, "face": 3, "voice": 3} if alignment == "learned" else None,
    )
    unit = CMU(config, "text").double().eval()
    here = torch.tensor([[True, True, True]])
    times = torch.arange(3, dtype=torch.float64)[None]

    def function(target: torch.Tensor, face: torch.Tensor, voice: torch.Tensor) -> torch.Tensor:
        rows = [Rows(values, here, times, slots([here], [3])) for values in (target, face, voice)]
        done = unit(rows[0], {"face": rows[1], "voice": rows[2]})
        assert isinstance(done.rows, torch.Tensor)
        return done.rows

    assert torch.autograd.gradcheck(function, (numbers(1, 3, 4), numbers(1, 3, 4, seed=1), numbers(1, 3, 4, seed=2)))
    (alpha,) = selective_weights([Rows(numbers(1, 3, 4), here, times, None)], scale)
    torch.testing.assert_close(alpha.sum(), torch.ones((), dtype=torch.float64))
