"""Where a row lies in time, as sines and cosines (Vaswani et al. 2017, in the layout of tensor2tensor that MulT uses).

Letters: b utterances, n rows, d width. The default position of a row is 1 + seconds since the utterance's first row * rate: streams
of different rates meet on one clock, and neither padding nor a missing frame moves anything. `reference_positions` is the rule of
the released MulT (yaohungt/Multimodal-Transformer), kept for parity only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoid(positions: Tensor, width: int) -> Tensor:
    """(b n) positions -> (b n d): d/2 sines, then d/2 cosines, frequencies 1 to 1/10000 (denominator d/2 - 1); odd d ends in a zero.

    Position 0 stands for "no position" and gives zeros.
    """
    half = width // 2
    steps = torch.arange(half, dtype=positions.dtype, device=positions.device)
    frequencies = torch.exp(-steps * (math.log(10000) / max(half - 1, 1)))
    angles = positions[..., None] * frequencies  # (b n d/2)
    encoded = torch.cat([angles.sin(), angles.cos()], dim=-1)
    if width % 2:
        encoded = torch.nn.functional.pad(encoded, (0, 1))
    return encoded * (positions != 0)[..., None]


def second_positions(times: Tensor, present: Tensor, origin: Tensor, rate: float) -> Tensor:
    """times (b n) seconds, present (b n), origin (b 1) seconds -> (b n) float64 positions: 1 + (time - origin) * rate, 0 where absent."""
    return (1 + (times - origin) * rate) * present


def index_positions(present: Tensor) -> Tensor:
    """(b n) -> (b n) float64: the running count of present rows, from 1; 0 where absent. The paper's clockless form, free of padding."""
    return (present.cumsum(1) * present).double()


def reference_positions(projected: Tensor) -> Tensor:
    """(b n d) projected rows -> (b n): index + 1 where feature 0 is not zero, else 0. The released MulT's rule; depends on padding."""
    n = projected.shape[1]
    index = torch.arange(1, n + 1, dtype=projected.dtype, device=projected.device)
    return index * (projected[..., 0] != 0)
