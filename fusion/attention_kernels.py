"""How attention is computed fast: torch's fused kernel, and weights without new memory. The formula is in attention.py.

Letters: b batch, h heads, i target, j source, e head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CPU_HEAD = 16
"""torch's fused kernel on the processor works in vectors of 16: heads of 10 padded with zeros cost 0.54 of heads of 10, of 4 0.73."""


def attention_weights(query: Tensor, key: Tensor, added: Tensor) -> Tensor:
    """softmax(query key^T + added): (b h i e), (b h j e), `added` broadcastable to (b h i j) -> (b h i j)."""
    turned = key.transpose(2, 3)
    if torch.is_grad_enabled() or query.device.type != "cpu":
        return (query @ turned).add_(added).softmax(-1)
    # New memory costs a processor more than the arithmetic does: one utterance's logits at a time, its weights where they will stay.
    weights = query.new_empty(*query.shape[:3], key.shape[2])
    for q, k, a, w in zip(query, turned, added.expand(len(query), *added.shape[1:]), weights, strict=True):
        torch.softmax((q @ k).add_(a), -1, out=w)
    return weights


def fused_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """softmax(query key^T / sqrt(e) and mask) value by torch's fused kernel: (b h i e). mask as torch takes it, bool or added."""
    width = query.shape[3]
    spare = (0, max(0, CPU_HEAD - width) if query.device.type == "cpu" else 0)
    query, key, value = (functional.pad(x, spare) for x in (query, key, value))
    rows = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=width**-0.5)
    return rows[..., :width]
