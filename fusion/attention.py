"""Multi-head attention over what is present.

Letters: b batch, h heads, i target, j source, d width, e = d / h. Masks are bool, True = may be looked at. A target row that may look
at nothing gets weights 0 and so the output bias, forward and backward, never NaN. Weights come out before dropout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention_kernels import attention_weights, fused_attention


def present_softmax(logits: Tensor, present: Tensor) -> Tensor:
    """Softmax over the last axis among `present` (broadcastable, bool); 0 elsewhere, and everywhere in a row with nothing present."""
    nothing = ~present.any(-1, keepdim=True)
    # A row with nothing present is opened before the softmax and zeroed after it: no NaN in the gradient either.
    return logits.masked_fill(~(present | nothing), -torch.inf).softmax(-1) * present


def zero_where_not(rows: Tensor, shown: Tensor) -> Tensor:
    """`rows` with zeros where `shown` (broadcastable, bool) is False; themselves where there is no such place."""
    return rows if bool(shown.all()) else rows * shown


def present_mean(rows: Tensor, present: Tensor) -> Tensor:
    """(b n d), present (b n) -> (b d): the mean over present rows, 0 where there is none."""
    count = present.sum(1, keepdim=True).clamp(min=1)
    return (rows * present[..., None]).sum(1) / count


def last_present(rows: Tensor, present: Tensor) -> Tensor:
    """(b n d), present (b n) -> (b d): the last present row, 0 where there is none."""
    index = torch.arange(present.shape[1], device=present.device)
    last = torch.where(present, index, -1).amax(1)  # (b)
    chosen = rows[torch.arange(len(rows), device=rows.device), last.clamp(min=0)]
    return chosen * (last >= 0)[:, None]


def attend(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, want_map: bool = False, dropout: float = 0.0, bias: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """softmax(query key^T / sqrt(e) + bias) value among what is `allowed`: rows (b h i e) and, if wanted, the weights (b h i j).

    query (b h i e), key and value (b h j e), allowed and bias broadcastable to (b h i j). Without maps torch's fused kernel does it.
    """
    something = allowed.any(-1, keepdim=True)
    opened = allowed | ~something  # a row that may look at nothing is opened, and zeroed below
    if not want_map and bias is None:
        return fused_attention(query, key, value, opened, dropout) * something, None
    shut = torch.full((), -torch.inf, dtype=query.dtype, device=query.device)
    added = torch.where(opened, 0 if bias is None else bias.to(query.dtype), shut)
    if not want_map:
        return fused_attention(query, key, value, added, dropout) * something, None
    weights = zero_where_not(attention_weights(query * query.shape[3] ** -0.5, key, added), something)
    return functional.dropout(weights, dropout, dropout > 0) @ value, weights


class MultiheadAttention(nn.Module):
    """softmax(Q K^T / sqrt(e)) V per head, with one (3d, d) in-projection in the order query, key, value as MulT has it."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"attention: width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.in_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_bias = nn.Parameter(torch.zeros(3 * width))
        self.out = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_weight)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, target: Tensor, source: Tensor, *, source_present: Tensor, values: Tensor | None = None, want_map: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """target (b i d), source (b j d), source_present (b j) or (b i j) -> (b i d) and, if wanted, the weights (b h i j).

        values (b j d): the rows that are read, where they differ from those looked at (MulT's training draws dropout for each).
        """
        width = target.shape[2]
        weight, bias = self.in_weight, self.in_bias
        read = source if values is None else values
        query = self._split(functional.linear(target, weight[:width], bias[:width]))  # (b h i e)
        key = self._split(functional.linear(source, weight[width : 2 * width], bias[width : 2 * width]))  # (b h j e)
        value = self._split(functional.linear(read, weight[2 * width :], bias[2 * width :]))  # (b h j e)
        allowed = source_present[:, None, None, :] if source_present.dim() == 2 else source_present[:, None]  # (b 1 1|i j)
        heads_out, weights = attend(query, key, value, allowed, want_map, self.dropout if self.training else 0.0)
        return self.out(heads_out.transpose(1, 2).flatten(2)), weights  # (b i d)

    def _split(self, rows: Tensor) -> Tensor:
        b, n, width = rows.shape
        return rows.reshape(b, n, self.heads, width // self.heads).transpose(1, 2)
