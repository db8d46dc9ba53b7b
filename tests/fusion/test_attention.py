"""Attention and position encoding against hand-solved cases and against torch's own attention."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emofuse.fusion.attention import MultiheadAttention, attend, last_present, present_mean, present_softmax
from emofuse.fusion.time_encoding import reference_positions, second_positions, sinusoid


def attention(width: int = 8, heads: int = 2, seed: int = 0) -> MultiheadAttention:
    torch.manual_seed(seed)
    made = MultiheadAttention(width, heads)
    nn.init.normal_(made.in_bias, std=0.3)
    nn.init.normal_(made.out.bias, std=0.3)
    return made.eval()


def test_attention_solved_by_hand() -> None:
    # q = [1, 0]; keys [1, 0], [0, 1] and one absent; values 1, 3, 100; scale 1 / sqrt(2)
    logits = torch.tensor([[1.0, 0.0, 50.0]]) / 2**0.5
    weights = present_softmax(logits, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(weights, torch.tensor([[0.66976, 0.33024, 0.0]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(weights @ torch.tensor([1.0, 3.0, 100.0]), torch.tensor([1.66048]), atol=1e-5, rtol=0)


def test_a_row_with_nothing_present_gives_zeros_and_finite_gradients() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    weights = present_softmax(logits, torch.tensor([[False] * 3, [True] * 3]))
    assert weights[0].tolist() == [0, 0, 0]
    weights.square().sum().backward()
    assert logits.grad is not None and logits.grad[0].tolist() == [0, 0, 0] and logits.grad.isfinite().all()


@pytest.mark.parametrize("causal", [False, True])
def test_the_fast_path_and_the_path_with_maps_agree(causal: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    target, source = torch.randn(3, 4, 8, generator=generator), torch.randn(3, 5, 8, generator=generator)
    present = torch.tensor([[True] * 5, [True, True, False, False, False], [False] * 5])
    allowed = present[:, None, :] & (torch.arange(5) <= torch.arange(4)[:, None]) if causal else present
    layer = attention()
    fast, nothing = layer(target, source, source_present=allowed)
    explicit, weights = layer(target, source, source_present=allowed, want_map=True)
    assert nothing is None
    torch.testing.assert_close(fast, explicit, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fast[2], layer.out.bias.expand(4, 8))  # nothing to look at: only the bias
    torch.testing.assert_close(weights.sum(-1)[:2], torch.ones(2, 2, 4))


def test_it_equals_torchs_own_attention() -> None:
    layer, theirs = attention(), nn.MultiheadAttention(8, 2, batch_first=True).eval()
    theirs.load_state_dict(
        {
            "in_proj_weight": layer.in_weight,
            "in_proj_bias": layer.in_bias,
            "out_proj.weight": layer.out.weight,
            "out_proj.bias": layer.out.bias,
        }
    )
    generator = torch.Generator().manual_seed(2)
    target, source = torch.randn(2, 4, 8, generator=generator), torch.randn(2, 5, 8, generator=generator)
    present = torch.tensor([[True] * 5, [False, True, True, False, False]])
    expected, expected_weights = theirs(target, source, source, key_padding_mask=~present, average_attn_weights=False)
    ours, weights = layer(target, source, source_present=present, want_map=True)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(weights, expected_weights)


def test_weights_come_out_before_dropout() -> None:
    layer = MultiheadAttention(8, 2, dropout=0.9).train()
    _, weights = layer(torch.randn(1, 3, 8), torch.randn(1, 4, 8), source_present=torch.ones(1, 4, dtype=torch.bool), want_map=True)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 3))


def test_pools_read_present_rows_only() -> None:
    rows = torch.tensor([[[1.0], [3.0], [1000.0]], [[7.0], [8.0], [9.0]]])
    present = torch.tensor([[True, True, False], [False, False, False]])
    assert present_mean(rows, present).tolist() == [[2.0], [0.0]]
    assert last_present(rows, present).tolist() == [[3.0], [0.0]]


def test_positions_are_encoded_as_in_tensor2tensor() -> None:
    expected = torch.tensor([[[0.841471, 0.000100, 0.540302, 1.000000]]])
    torch.testing.assert_close(sinusoid(torch.tensor([[1.0]]), 4), expected, atol=1e-6, rtol=0)
    assert sinusoid(torch.tensor([[0.0]]), 4).tolist() == [[[0, 0, 0, 0]]]
    assert sinusoid(torch.tensor([[2.0]]), 5).shape == (1, 1, 5)


def test_seconds_become_positions_on_the_utterances_own_clock() -> None:
    times = torch.tensor([[100.0, 100.5, 7.0]], dtype=torch.float64)
    present = torch.tensor([[True, True, False]])
    assert second_positions(times, present, torch.tensor([[100.0]]), 10.0).tolist() == [[1.0, 6.0, 0.0]]


def test_the_released_rule_counts_from_the_index_and_skips_zeros() -> None:
    projected = torch.tensor([[[0.0, 5.0], [0.0, 0.0], [2.0, 0.0], [-1.0, 0.0]]])
    assert reference_positions(projected).tolist() == [[0, 0, 3, 4]]


def test_maps_are_the_same_with_and_without_gradients() -> None:
    generator = torch.Generator().manual_seed(5)
    query, key, value = (torch.randn(3, 2, n, 4, generator=generator) for n in (5, 7, 7))
    allowed = torch.rand(3, 1, 5, 7, generator=generator) < 0.6
    allowed[1, 0, 2] = False  # a row that may look at nothing
    rows, weights = attend(query.requires_grad_(), key, value, allowed, want_map=True)
    with torch.inference_mode():
        again, quick = attend(query, key, value, allowed, want_map=True)
    assert weights is not None and quick is not None
    torch.testing.assert_close(quick, weights.detach())
    torch.testing.assert_close(again, rows.detach())
    assert (weights[1, :, 2] == 0).all() and (weights[~allowed.expand_as(weights)] == 0).all()
    sums = weights.detach().sum(-1)
    torch.testing.assert_close(sums, allowed.any(-1).expand_as(sums).float())
