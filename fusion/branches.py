"""The attention layer of PMR and MCR: how much each of several branches of one sequence counts.

Letters: b utterances, k branches, n rows, d width, T the rows of a fixed layout. The papers flatten a branch to one vector of T d
numbers and score it with a (T d, T d) matrix per branch: 1.6 GB each at T = 500, d = 40, and no other length than T. The pooled form
scores each row with a (d, d) matrix and takes the mean over present rows. It is the papers' layer with W = I_T x W', b = 1_T x b',
U = 1_T x u / T (Kronecker products), and it has no length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from emofuse.pipeline.errors import StreamError

from .attention import present_softmax

FORMS = ("pooled", "flat", "mean", "sum")
COPIES = 7
"""Float32 copies of a weight while training: itself, its gradient, Adam's two moments, the best so far, two in the state being written."""
MAX_FLAT_BYTES = 16 * 2**30
"""What the papers' flat form may take of memory while training."""


def flat_bytes(lengths: Sequence[int], width: int) -> int:
    """Bytes of the flat form while training: `lengths` has the rows of every branch of every layer, (rows * width)^2 weights each."""
    return sum((rows * width) ** 2 for rows in lengths) * 4 * COPIES


def check_flat(model: str, lengths: Sequence[int], width: int) -> None:
    """Raises `ValueError` where the flat form would take more than `MAX_FLAT_BYTES`; `lengths` as in `flat_bytes`."""
    needed = flat_bytes(lengths, width)
    if needed > MAX_FLAT_BYTES:
        raise ValueError(
            f"{model}: the flat branch attention would take {needed / 2**30:.0f} GB to train: (rows * width)^2 weights for each of "
            f"{len(lengths)} branches, up to {max(lengths)} rows * {width}, {COPIES} copies; at most {MAX_FLAT_BYTES // 2**30} GB"
        )


def check_lengths(model: str, lengths: Mapping[str, int], streams: Mapping[str, int]) -> None:
    """Raises `ValueError` unless a fixed length is given for every stream."""
    if set(lengths) != set(streams):
        raise ValueError(
            f"{model}: forms whose weights span time need the rows of every stream ({', '.join(streams)}), got {dict(lengths)}"
        )


def slots(present: Sequence[Tensor], lengths: Sequence[int]) -> Tensor:
    """Where each row stands in a fixed layout of `lengths` rows per stream, one stream after the other: (b n) of the streams joined.

    present rows fill their stream's slots from its first; absent rows get the slot after the last, which nobody reads. Raises
    `StreamError` where an utterance has more rows than the layout.
    """
    total, first, positions = sum(lengths), 0, []
    for shown, length in zip(present, lengths, strict=True):
        if (most := int(shown.sum(1).max())) > length:
            raise StreamError(f"batch: the model's weights span {length} rows of this stream, got an utterance of {most}")
        positions.append(torch.where(shown, first + shown.cumsum(1) - 1, total))
        first += length
    return torch.cat(positions, dim=1)


def laid_out(rows: Tensor, where: Tensor, length: int) -> Tensor:
    """(b n d) rows to their slots (b n) -> (b length d), zero in empty slots."""
    empty = rows.new_zeros(len(rows), length + 1, rows.shape[2])
    return empty.scatter(1, where[..., None].expand_as(rows), rows)[:, :length]


class BranchAttention(nn.Module):
    """Scores of branches and their softmax (MCR eq. 9-10; PMR's attention layer).

    form    "pooled": mean over present rows of u^T tanh(W_k y + b_k); "flat": u^T tanh(W_k vec(y) + b_k) with `length` rows;
            "mean": 1 / k each; "sum": 1 each
    bounded the tanh; MCR's eq. 9 prints none
    """

    def __init__(self, branches: int, width: int, form: str = "pooled", length: int = 0, bounded: bool = True) -> None:
        super().__init__()
        self.form, self.length, self.bounded = form, length, bounded
        if form in ("pooled", "flat"):
            inputs = width * (length if form == "flat" else 1)
            self.inner = nn.ModuleList(nn.Linear(inputs, inputs) for _ in range(branches))
            self.score = nn.Linear(inputs, 1, bias=False)

    def forward(self, branches: Sequence[Tensor], present: Tensor, shown: Tensor, where: Tensor | None = None) -> Tensor:
        """branches k of (b n d), their rows' presence (b n), which branches have anything to say (b k) -> weights (b k).

        where   (b n) slots of the rows, for the flat form
        """
        if self.form in ("mean", "sum"):
            equal = shown.to(branches[0].dtype)
            return equal / equal.sum(1, keepdim=True).clamp(min=1) if self.form == "mean" else equal
        scores = []
        for rows, inner in zip(branches, self.inner, strict=True):
            if self.form == "flat":
                assert where is not None
                hidden = inner(laid_out(rows, where, self.length).flatten(1))[:, None]  # (b 1 T*d)
                counted = torch.ones_like(present[:, :1])
            else:
                hidden, counted = inner(rows), present  # (b n d)
            score = self.score(hidden.tanh() if self.bounded else hidden)[..., 0]  # (b n)
            scores.append((score * counted).sum(1) / counted.sum(1).clamp(min=1))
        return present_softmax(torch.stack(scores, 1), shown)


def weighted(branches: Sequence[Tensor], weights: Tensor) -> Tensor:
    """k of (b n d) and (b k) -> their weighted sum (b n d)."""
    return torch.einsum("bknd,bk->bnd", torch.stack(list(branches), 1), weights)
