"""Reading one stream at another's times: linear interpolation between present rows, the first and last row beyond its ends.

Letters: b utterances, i rows to read at, j rows that are read, d width. The map from j to i is linear; its weights in a row sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Resampling:
    """(b i) indices of the rows before and after, and their shares (b i); both shares are 0 where there is nothing to read."""

    before: Tensor
    after: Tensor
    share_before: Tensor
    share_after: Tensor

    @classmethod
    def at(cls, times: Tensor, present: Tensor, wanted: Tensor) -> Resampling:
        """times and present (b j) of the rows that are read, wanted (b i) the times to read at; seconds, or any common unit."""
        known = torch.where(present, times, torch.full_like(times, torch.inf))
        known, order = known.sort(dim=1, stable=True)  # present rows first, in order of time
        last = present.sum(1, keepdim=True) - 1  # (b 1), -1 where nothing is present
        after = torch.searchsorted(known, wanted.contiguous()).clamp(max=last.clamp(min=0))
        before = torch.minimum((after - 1).clamp(min=0), after)
        earlier, later = known.gather(1, before), known.gather(1, after)
        gap = torch.where(later > earlier, later - earlier, torch.ones_like(later))
        share = ((wanted - earlier) / gap).clamp(0, 1)
        # a row before the first reads the first alone, which is `before` and `after` at once
        something = (last >= 0).to(share.dtype)
        share = torch.where(something > 0, share, torch.zeros_like(share))
        return cls(order.gather(1, before), order.gather(1, after), (1 - share) * something, share * something)

    def __call__(self, rows: Tensor) -> Tensor:
        """(b j d) -> (b i d)."""
        before = rows.gather(1, self.before[..., None].expand(-1, -1, rows.shape[2]))
        after = rows.gather(1, self.after[..., None].expand(-1, -1, rows.shape[2]))
        read: Tensor = before * self.share_before[..., None].to(rows.dtype) + after * self.share_after[..., None].to(rows.dtype)
        return read


def index_times(present: Tensor) -> Tensor:
    """(b n) -> (b n) float64: the present rows spread evenly over 0..1, for streams without a common clock; a single row lies at 0."""
    count = present.sum(1, keepdim=True)
    return (present.cumsum(1) - 1).clamp(min=0).double() / (count - 1).clamp(min=1)
