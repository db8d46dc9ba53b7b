"""PMR against its limiting cases, the paper's flattened attention layer, hand-solved numbers and its parameter count."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from emofuse.fusion.batch import Batch
from emofuse.fusion.branches import BranchAttention, laid_out, slots
from emofuse.fusion.outputs import Output
from emofuse.fusion.pmr import MRU, PMR, PMRAblation, PMRConfig
from emofuse.fusion.transformer import EncoderLayer
from emofuse.pipeline.errors import StreamError

COLUMNS = {"text": 6, "face": 5, "voice": 4}
Small = Callable[..., torch.nn.Module]
StreamsOf = Callable[..., dict[str, Batch]]
InFloat64 = Callable[[Mapping[str, Batch]], dict[str, Batch]]
Dead = Callable[[torch.nn.Module], list[str]]


def unit(gate_bias: float) -> MRU:
    torch.manual_seed(3)
    made = MRU(PMRConfig(COLUMNS, 1, width=8, heads=2)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        made.gate.bias.fill_(gate_bias)
    return made


def rows(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    present = torch.arange(n) < torch.tensor([[n], [n - 2]])
    return torch.randn(2, n, 8, generator=torch.Generator().manual_seed(seed)) * present[..., None], present


def test_a_gate_open_to_itself_leaves_self_attention() -> None:
    made = unit(60.0)
    (target, shown), (source, present) = rows(5, 1), rows(7, 2)
    normed = made.target_norm(target)
    expected = made.feed_forward(target + made.own(normed, normed, source_present=shown)[0]) * shown[..., None]
    torch.testing.assert_close(made(target, source, target_present=shown, source_present=present).rows, expected)


def test_a_gate_open_to_the_source_leaves_a_crossmodal_layer() -> None:
    made = unit(-60.0)
    made.source_norm.load_state_dict(made.target_norm.state_dict())
    layer = EncoderLayer(8, 2, made.config.dropouts).eval()
    layer.norm.load_state_dict(made.target_norm.state_dict())
    layer.attention.load_state_dict(made.cross.state_dict())
    layer.feed_forward.load_state_dict(made.feed_forward.state_dict())
    (target, shown), (source, present) = rows(5, 1), rows(7, 2)
    expected, _ = layer(target, source, source_present=present)
    torch.testing.assert_close(made(target, source, target_present=shown, source_present=present).rows, expected * shown[..., None])


def test_the_gate_solved_by_hand() -> None:
    # d = 1, self branch 2, crossmodal branch -1, pre-activation ln 3: G = 3/4, mixture 1.25
    made = MRU(PMRConfig({"text": 1}, 1, width=1, heads=1, branch_residual=False)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made.own.out.bias.fill_(2.0)
        made.cross.out.bias.fill_(-1.0)
        made.gate.bias.copy_(torch.tensor([3.0]).log())
    one, here = torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool)
    answer = made(one, one, target_present=here, source_present=here)
    assert answer.gate is not None
    assert answer.gate.item() == pytest.approx(0.75)
    assert answer.rows.item() == pytest.approx(1.25)


def test_branch_weights_solved_by_hand() -> None:
    # scores ln 1, ln 2, ln 3 give 1/6, 1/3, 1/2; a branch with nothing to say gives its share to the others
    attention = BranchAttention(3, 1, bounded=False)
    with torch.no_grad():
        attention.score.weight.fill_(1.0)
        for i, inner in enumerate(attention.inner):
            assert isinstance(inner, torch.nn.Linear)
            inner.weight.zero_()
            inner.bias.fill_(torch.tensor(i + 1.0).log())
    branch, present = torch.zeros(2, 4, 1), torch.tensor([[True, True, False, False]] * 2)
    weights = attention([branch] * 3, present, torch.tensor([[True, True, True], [True, False, True]]))
    torch.testing.assert_close(weights, torch.tensor([[1 / 6, 1 / 3, 1 / 2], [1 / 4, 0, 3 / 4]]))


def test_the_papers_attention_layer_is_the_pooled_one_through_a_kronecker_product() -> None:
    torch.manual_seed(5)
    n, width = 4, 3
    pooled, flat = BranchAttention(2, width), BranchAttention(2, width, "flat", length=n)
    with torch.no_grad():
        flat.score.weight.copy_(pooled.score.weight.repeat(1, n) / n)
        for small, large in zip(pooled.inner, flat.inner, strict=True):
            assert isinstance(small, torch.nn.Linear) and isinstance(large, torch.nn.Linear)
            large.weight.copy_(torch.kron(torch.eye(n), small.weight))
            large.bias.copy_(small.bias.repeat(n))
    branches, present, shown = [torch.randn(2, n, width) for _ in range(2)], torch.ones(2, n, dtype=torch.bool), torch.ones(2, 2).bool()
    where = slots([present], [n])
    torch.testing.assert_close(flat(branches, present, shown, where), pooled(branches, present, shown))


def test_rows_find_their_slots_wherever_the_padding_stands() -> None:
    present = [torch.tensor([[False, True, True], [True, False, False]]), torch.tensor([[True, True], [False, True]])]
    where = slots(present, [2, 3])
    assert where.tolist() == [[5, 0, 1, 2, 3], [0, 5, 5, 5, 2]]
    values = torch.arange(1.0, 11).reshape(2, 5, 1)
    assert laid_out(values, where, 5)[..., 0].tolist() == [[2, 3, 4, 5, 0], [6, 0, 10, 0, 0]]
    with pytest.raises(StreamError, match="span 1 rows of this stream, got an utterance of 2"):
        slots(present, [1, 3])


def test_the_papers_form_does_not_depend_on_padding_either(small: Small, streams_of: StreamsOf) -> None:
    module = small("pmr", branch_attention="flat", lengths={"text": 5, "face": 7, "voice": 9}, positions="index")
    streams = streams_of(2)
    with torch.no_grad():
        expected = module(streams).logits
        padded = {
            m: Batch(
                torch.cat([torch.full_like(b.values, 9.0), b.values], 1),
                torch.cat([b.times, b.times], 1),
                torch.cat([torch.zeros_like(b.present), b.present], 1),
            )
            for m, b in streams.items()
        }
        torch.testing.assert_close(module(padded).logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("layers", "columns", "expected"), [(3, (300, 74, 35), 659_121), (3, (300, 5, 20), 649_041), (4, (300, 74, 35), 854_761)]
)
def test_parameters_are_counted_as_specified(layers: int, columns: tuple[int, int, int], expected: int) -> None:
    streams: dict[str, int] = dict(zip(("text", "voice", "face"), columns, strict=True))
    module = PMR(PMRConfig(streams, 1, width=40, heads=10, layers=layers, kernels=dict.fromkeys(streams, 3)))
    d, o = 40, 1
    formula = layers * (119 * d**2 + 131 * d) + (12 * d**2 + 13 * d) + 2 * d + 2 * (d**2 + d) + d * o + o + sum(columns) * d * 3
    assert sum(p.numel() for p in module.parameters()) == formula == expected


def test_every_unit_has_a_role_of_its_own(small: Small, streams_of: StreamsOf) -> None:
    """Changing one unit of the first layer changes that unit's gate and no other of its layer that stands before it."""
    module, streams = small("pmr", layers=1), streams_of(3)
    with torch.no_grad():
        before: Output = module(streams)
        for m in COLUMNS:
            changed = small("pmr", layers=1)
            changed.layers[0].streams[m].gate.bias.add_(1.0)  # type: ignore[index, union-attr]
            after: Output = changed(streams)
            for other in COLUMNS:
                same = torch.allclose(after.gates[f"{other}_from_hub"], before.gates[f"{other}_from_hub"])
                assert same == (other != m)
            changed = small("pmr", layers=1)
            changed.layers[0].hub[m].gate.bias.add_(1.0)  # type: ignore[index, union-attr]
            after = changed(streams)
            for other in COLUMNS:
                assert torch.allclose(after.gates[f"{other}_from_hub"], before.gates[f"{other}_from_hub"])
                assert torch.allclose(after.gates[f"hub_from_{other}"], before.gates[f"hub_from_{other}"]) == (other != m)


def test_the_hubs_maps_gates_and_weights_are_handed_out(small: Small, streams_of: StreamsOf) -> None:
    with torch.no_grad():
        output: Output = small("pmr")(streams_of(4), maps=("cross", "self", "memory"))
    hub = "text+face+voice"
    shapes = {(m.kind, m.target, m.source): tuple(m.weights.shape) for m in output.maps}
    assert shapes["cross", "text", hub] == (1, 3, 2, 5, 21)
    assert shapes["memory", "text", hub] == (1, 3, 2, 5, 21)
    assert shapes["memory", hub, "face"] == (2, 3, 2, 21, 7)
    assert shapes["self", "voice", "voice"] == (2, 3, 2, 9, 9)
    assert shapes["self", hub, hub] == (2, 3, 6, 21, 21)
    assert shapes["memory", f"{hub}+{hub}", f"{hub}+{hub}"] == (1, 3, 2, 42, 42)
    assert len(output.maps) == 3 + 3 + 3 + 3 + 1 + 1
    assert output.gates["branches"].shape == (2, 3, 3)
    torch.testing.assert_close(output.gates["branches"].sum(2), torch.ones(2, 3))
    assert output.gates["hub_from_text"].shape == (2, 3, 21, 8)


def test_an_absent_streams_version_of_the_hub_takes_no_part(small: Small, streams_of: StreamsOf) -> None:
    streams = streams_of(5)
    streams["face"] = Batch(streams["face"].values, streams["face"].times, torch.zeros_like(streams["face"].present))
    with torch.no_grad():
        weights = small("pmr")(streams).gates["branches"]
    assert (weights[..., 1] == 0).all() and (weights[..., [0, 2]] > 0).all()


ABLATIONS: list[dict[str, Any]] = [
    {"gate": "even"},
    {"gate": "self"},
    {"gate": "cross"},
    {"hub_update": False},
    {"reinforced": ("text",)},
    {"order": "parallel"},
]


@pytest.mark.parametrize("ablation", ABLATIONS, ids=str)
def test_an_ablated_model_runs_and_carries_no_dead_weights(
    small: Small, streams_of: StreamsOf, in_float64: InFloat64, dead_parameters: Dead, ablation: Mapping[str, Any]
) -> None:
    streams = in_float64(streams_of(6))
    module = small("pmr", ablation=PMRAblation(**ablation)).double()
    output: Output = module(streams, maps=("cross", "self", "memory"))
    (output.logits * torch.randn(output.logits.shape, generator=torch.Generator().manual_seed(8))).sum().backward()
    assert dead_parameters(module) == []
    with torch.no_grad():
        whole = small("pmr").double()(streams).logits
    assert not torch.allclose(output.logits, whole, atol=1e-4)


@pytest.mark.parametrize("kept", [s for k in (1, 2) for s in itertools.combinations(COLUMNS, k)], ids="+".join)
def test_any_subset_of_streams_makes_a_model(small: Small, streams_of: StreamsOf, kept: tuple[str, ...]) -> None:
    columns = {m: COLUMNS[m] for m in kept}
    module = small("pmr", streams=columns, kernels={})
    assert module(streams_of(7, columns=columns)).logits.isfinite().all()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"streams": {}}, "expected a stream or more"),
        ({"branch_attention": "flat"}, "need the rows of every stream"),
        (
            {"branch_attention": "flat", "lengths": {"text": 50, "face": 500, "voice": 375}},
            "flat branch attention would take .* GB to train.*up to 925 rows",
        ),
        ({"branch_attention": "best"}, "must be one of pooled, flat, mean, sum"),
        ({"width": 10, "heads": 4}, "not a multiple"),
        ({"kernels": {"word": 3}}, "kernels for streams"),
        ({"ablation": {"reinforced": ["word"]}}, "reinforced streams that it does not have"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PMRConfig(**({"streams": COLUMNS, "outputs": 8} | numbers))
