"""Training rows made different each time they are read, so that few speakers go further: an offset and noise, masked columns and rows.

Letters: b utterances, n rows, f columns. All on standardised values, where 0 is the training mean: what is masked becomes 0 and stays
present. Drawn from torch's generator, which the training seeds for each epoch. (Masks: Park et al., "SpecAugment", Interspeech 2019.)
"""

from __future__ import annotations

import torch

from .batch import Batch
from .recipe import AugmentPart


def augmented(batch: Batch, part: AugmentPart) -> Batch:
    """A batch of the same shape, times and mask; padding stands on the right."""
    values, n = batch.values, batch.values.shape[1]
    if part.offset:
        values = values + part.offset * torch.randn_like(values[:, :1])
    if part.noise:
        values = values + part.noise * torch.randn_like(values)
    if part.mask_columns:
        values = values * (torch.rand_like(values[:, :1]) >= part.mask_columns)
    if part.mask_rows:
        rows = batch.present.sum(1, keepdim=True).to(values.dtype)  # (b 1)
        length = (torch.rand_like(rows) * part.mask_rows * rows).floor()
        first = (torch.rand_like(rows) * (rows - length + 1)).floor()
        position = torch.arange(n, device=values.device)
        values = values * ((position < first) | (position >= first + length))[..., None]
    return Batch(values * batch.present[..., None], batch.times, batch.present)
