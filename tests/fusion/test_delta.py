"""HDA: the delta bias solved by hand and rewritten as plain attention, its limiting cases, stages and parameter count."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch.nn import functional

from emofuse.fusion.batch import Batch
from emofuse.fusion.delta import HDA, STAGES, DeltaAttention, HDAConfig, StageHeads, relative_bias, stage_parameters
from emofuse.fusion.outputs import Output
from emofuse.pipeline.errors import StreamError

COLUMNS = {"text": 6, "face": 5, "voice": 4}
Small = Callable[..., torch.nn.Module]
StreamsOf = Callable[..., dict[str, Batch]]
InFloat64 = Callable[[Mapping[str, Batch]], dict[str, Batch]]
Dead = Callable[[torch.nn.Module], list[str]]


def attention(**numbers: Any) -> DeltaAttention:
    torch.manual_seed(4)
    made = DeltaAttention(HDAConfig({"voice": 4}, 1, channels=4, heads=2, width=6, window=2, **numbers), "voice").eval()
    return made.double()


def rows_of(n: int = 7) -> tuple[torch.Tensor, Batch]:
    generator = torch.Generator().manual_seed(5)
    present = torch.arange(n) < torch.tensor([[n], [n - 3]])
    rows = torch.randn(2, n, 4, generator=generator, dtype=torch.float64) * present[..., None]
    return rows, Batch(rows, torch.arange(n).double().expand(2, n) / 10, present)


def plain(made: DeltaAttention, rows: torch.Tensor, batch: Batch, key_bias: torch.Tensor | None = None) -> torch.Tensor:
    """Torch's own attention with the same weights; `key_bias` (b j) is added to the logits before the scale."""
    b, n, c = rows.shape
    query, key, value = made.project(rows).reshape(b, n, 3, 2, c).permute(2, 0, 3, 1, 4)
    bias = torch.zeros(b, 1, 1, n, dtype=rows.dtype) if key_bias is None else key_bias[:, None, None] / c**0.5
    bias = bias.masked_fill(~batch.present[:, None, None], -torch.inf)
    heads = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return (made.out(heads.transpose(1, 2).flatten(2)) + made.skip(rows)) * batch.present[..., None]


def test_the_delta_bias_solved_by_hand() -> None:
    rows = torch.tensor([[[0.0], [1.0], [3.0]]])
    by_source = torch.arange(3).expand(1, 3, 3)
    expected = torch.tensor([[[0.0, 10, 300], [-1, 0, 200], [-3, -20, 0]]])
    assert torch.equal(relative_bias(rows, torch.tensor([[1.0, 10.0, 100.0]]), by_source), expected)
    apart = torch.arange(3)[None, :] - torch.arange(3)[:, None]
    by_distance = (apart.clamp(-1, 1) + 1)[None]
    expected = torch.tensor([[[0.0, 1, 3], [-10, 0, 2], [-30, -20, 0]]])
    assert torch.equal(relative_bias(rows, torch.tensor([[10.0, 5.0, 1.0]]), by_distance), expected)


def test_the_module_takes_the_columns_by_distance_between_present_rows() -> None:
    made = DeltaAttention(HDAConfig({"voice": 1}, 1, channels=1, heads=1, window=1), "voice").eval()
    with torch.no_grad():
        made.columns.copy_(torch.tensor([[10.0, 5.0, 1.0]]))
    batch = Batch(torch.zeros(1, 4, 1), torch.zeros(1, 4), torch.tensor([[False, True, True, True]]))
    _, bias, _ = made(torch.tensor([[[0.0], [0.0], [1.0], [3.0]]]), batch)
    assert bias[0, 1:, 1:].tolist() == [[0, 1, 3], [-10, 0, 2], [-30, -20, 0]]


def test_zero_columns_leave_plain_attention() -> None:
    made = attention()
    with torch.no_grad():
        made.columns.zero_()
    rows, batch = rows_of()
    torch.testing.assert_close(made(rows, batch)[0], plain(made, rows, batch))


def test_equal_columns_leave_a_bias_of_the_sources() -> None:
    """Why one column for all must not be used: the target's part is the same for all sources, and the softmax removes it."""
    made = attention()
    with torch.no_grad():
        made.columns.copy_(made.columns[:, :1].expand_as(made.columns).clone())
    rows, batch = rows_of()
    torch.testing.assert_close(made(rows, batch)[0], plain(made, rows, batch, key_bias=rows @ made.columns[:, 0]))


def test_the_bias_sees_changes_only() -> None:
    made = attention()
    rows, batch = rows_of()
    _, bias, _ = made(rows, batch)
    torch.testing.assert_close(made(rows + 3.7, batch)[1], bias)
    assert bias.abs().max() > 0.1
    torch.testing.assert_close(bias.diagonal(dim1=1, dim2=2), torch.zeros(2, 7, dtype=torch.float64))
    assert made(torch.ones_like(rows), batch)[1].abs().max() < 1e-12


def test_the_papers_columns_fold_into_plain_attention() -> None:
    """offsets "absolute": queries [q; x; 1] and keys [k; -W_j; x_j . W_j], scale 1 / sqrt(c)."""
    made = attention(offsets="absolute", lengths={"voice": 7})
    rows, batch = rows_of()
    b, n, c = rows.shape
    query, key, value = made.project(rows).reshape(b, n, 3, 2, c).permute(2, 0, 3, 1, 4)
    columns = made.columns.T.expand(b, 2, n, c)
    wide = rows[:, None].expand(b, 2, n, c)
    query = torch.cat([query, wide, torch.ones(b, 2, n, 1, dtype=rows.dtype)], 3)
    key = torch.cat([key, -columns, (wide * columns).sum(3, keepdim=True)], 3)
    heads = functional.scaled_dot_product_attention(query, key, value, attn_mask=batch.present[:, None, None], scale=c**-0.5)
    expected = (made.out(heads.transpose(1, 2).flatten(2)) + made.skip(rows)) * batch.present[..., None]
    torch.testing.assert_close(made(rows, batch)[0], expected)
    with pytest.raises(StreamError, match="span 7 rows of this stream, got an utterance of 8"):
        more, longer = rows_of(8)
        made(more, longer)


def test_a_band_of_zero_looks_at_itself() -> None:
    rows, batch = rows_of()
    _, _, weights = attention(band=0)(rows, batch, True)
    torch.testing.assert_close(weights, torch.diag_embed(batch.present.double())[:, None].expand(2, 2, 7, 7))


def test_looking_at_the_past_sees_nothing_later() -> None:
    rows, batch = rows_of()
    _, _, weights = attention(look="past", band=2)(rows, batch, True)
    i, j = torch.arange(7)[:, None], torch.arange(7)[None, :]
    assert (weights[:, :, (j > i) | (i - j > 2)] == 0).all() and (weights[0, :, (j <= i) & (i - j <= 2)] > 0).all()


def test_distances_may_be_in_seconds() -> None:
    """Rows 0.1 s apart at 10 positions a second: the same as steps; with a hole of two rows, the hole counts."""
    rows, batch = rows_of()
    steps, seconds = attention(), attention(offsets="seconds")
    torch.testing.assert_close(seconds(rows, batch)[0], steps(rows, batch)[0])
    late = Batch(batch.values, batch.times + 0.2 * (torch.arange(7) > 1), batch.present)
    assert not torch.allclose(seconds(rows, late)[0], steps(rows, late)[0], atol=1e-3)


def test_parameters_are_counted_as_specified() -> None:
    streams = {"text": 300, "voice": 74, "face": 35}
    config = HDAConfig(streams, 6)
    total = sum(p.numel() for module in (HDA(config), StageHeads(config)) for p in module.parameters())
    c, h, width, r, t, w, o = 40, 4, 64, 32, 32, 8, 6
    formula = sum(
        (f * c * 3 + c) + 3 * h * (c**2 + c) + h * c * width + c * (2 * w + 1) + c * width
        + (3 * width**2 + width + 3 * width * r + r) + width * r + width * o + o
        for f in streams.values()
    )  # fmt: skip
    formula += 3 * (r * t + t) + t * o + o
    assert formula == 214_944
    assert total == formula + 8 * t**2 + 7 * t


def test_maps_and_biases_are_handed_out(small: Small, streams_of: StreamsOf) -> None:
    with torch.no_grad():
        output: Output = small("delta")(streams_of(4), maps=("cross", "self"))
    shapes = {(m.kind, m.target, m.source): tuple(m.weights.shape) for m in output.maps}
    joined = "text+face+voice"
    assert shapes == {
        ("self", "text", "text"): (1, 3, 2, 5, 5),
        ("self", "face", "face"): (1, 3, 2, 7, 7),
        ("self", "voice", "voice"): (1, 3, 2, 9, 9),
        ("cross", joined, joined): (1, 3, 1, 21, 21),
    }
    assert output.gates["delta_face"].shape == (1, 3, 7, 7)


NO_SKIPS = {"attention_skip": False, "fused_skip": False, "fused_feed_forward": False}
FORMS: list[dict[str, Any]] = [
    {"offsets": "absolute", "lengths": {"text": 5, "face": 7, "voice": 9}} | NO_SKIPS,
    {"offsets": "seconds", "fused_positions": "seconds"},
    {"look": "past", "band": 3},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda f: "+".join(f))
def test_every_form_is_free_of_padding_and_carries_no_dead_weights(
    small: Small, streams_of: StreamsOf, in_float64: InFloat64, dead_parameters: Dead, form: dict[str, Any]
) -> None:
    module, streams = small("delta", **form).double(), in_float64(streams_of(2, size=4))
    output: Output = module(streams)
    padded = {
        m: Batch(
            torch.cat([torch.full_like(b.values, 9.0), b.values], 1),
            torch.cat([b.times, b.times], 1),
            torch.cat([torch.zeros_like(b.present), b.present], 1),
        )
        for m, b in streams.items()
    }
    torch.testing.assert_close(module(padded).logits, output.logits, atol=1e-5, rtol=0)
    (output.logits * torch.randn(output.logits.shape, generator=torch.Generator().manual_seed(8))).sum().backward()
    assert dead_parameters(module) == []


def test_each_stage_moves_its_own_parameters(small: Small) -> None:
    module = small("delta")
    assert isinstance(module, HDA)
    moved = [{id(p) for p in stage_parameters(module, stage)} for stage in STAGES]
    assert set.union(*moved) == {id(p) for p in module.parameters()}
    assert sum(map(len, moved)) == len(list(module.parameters()))
    assert all(moved)
    with pytest.raises(ValueError, match="stage must be one of streams, encoders, fused"):
        list(stage_parameters(module, "all"))


def test_the_first_stages_heads_read_their_own_stream(small: Small, streams_of: StreamsOf) -> None:
    module, streams = small("delta"), streams_of(3)
    assert isinstance(module, HDA)
    heads = StageHeads(module.config)
    other = streams | {"voice": Batch(-streams["voice"].values, streams["voice"].times, streams["voice"].present)}
    with torch.no_grad():
        before, after = (heads(module.attended(s), s) for s in (streams, other))
    assert torch.equal(before["text"], after["text"]) and not torch.allclose(before["voice"], after["voice"])


@pytest.mark.parametrize("kept", [s for k in (1, 2) for s in itertools.combinations(COLUMNS, k)], ids="+".join)
def test_any_subset_of_streams_makes_a_model(small: Small, streams_of: StreamsOf, kept: tuple[str, ...]) -> None:
    columns = {m: COLUMNS[m] for m in kept}
    output: Output = small("delta", streams=columns)(streams_of(7, columns=columns), maps=("cross", "memory"))
    assert output.logits.isfinite().all()
    assert [m.kind for m in output.maps] == ["cross" if len(kept) > 1 else "memory"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"streams": {}}, "expected a stream or more"),
        ({"offsets": "absolute"}, "need the rows of every stream"),
        ({"look": "ahead"}, "must be one of full, past"),
        ({"band": -1}, "window and band >= 0"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HDAConfig(**({"streams": COLUMNS, "outputs": 8} | numbers))
