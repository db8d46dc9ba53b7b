"""Whisper's audio encoder up to its middle layers, on sound of any length up to 30 seconds.

Source: A. Radford et al., "Robust speech recognition via large-scale weak supervision" (2022), section 2.2; openai-whisper's
`whisper/model.py` (AudioEncoder) and `whisper/audio.py` (log_mel_spectrogram), whose names of tensors are kept. Three departures:

1. A sound is not padded to 30 seconds: positions run from 0 to its own last row.
2. The logarithm of the spectrum is cut off at a fixed level, not at 8 below the loudest moment, so that a loud word leaves the rows
   of other words as they are.
3. The spectrum's first frame lies 10 ms after the sound's start, so that the middle of row r is that of [0.02 r, 0.02 (r + 1)) seconds.

Letters: b batch, n samples, f frames of 10 ms, t rows of 20 ms, m mel bands, h heads, d width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.pipeline.media import SAMPLE_RATE

FRAME, HOP = 400, 160
ROW = 2 * HOP
LOG_FLOOR = -10.0
"""log10 of mel power below which nothing is told apart: Whisper's own, for a recording too quiet for its cut at 8 below the loudest."""


def mel_scale(bands: int) -> Tensor:
    """(m bins) the share of each bin of the spectrum in each band: triangles on Slaney's mel scale, linear to 1 kHz and logarithmic above,
    each of area 1 (M. Slaney, Auditory Toolbox, 1998). torchaudio's `melscale_fbanks` to the bit, without its import."""
    linear, logarithmic, knee = 200.0 / 3, math.log(6.4) / 27.0, 1000.0
    highest = knee / linear + math.log(SAMPLE_RATE / 2 / knee) / logarithmic
    mels = torch.linspace(0.0, highest, bands + 2)
    edges = torch.where(mels >= knee / linear, knee * torch.exp(logarithmic * (mels - knee / linear)), linear * mels)
    bins = torch.linspace(0, SAMPLE_RATE // 2, FRAME // 2 + 1)
    widths = edges[1:] - edges[:-1]
    slopes = edges[None] - bins[:, None]  # (bins, m + 2)
    triangles = torch.clamp_min(torch.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]), 0.0)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[None]).T.contiguous()


class LogMel(nn.Module):
    """Sound (b n) -> Whisper's spectrum (b m f), two frames per 320 samples, with a fixed floor."""

    window: Tensor
    scale: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FRAME), persistent=False)
        self.register_buffer("scale", mel_scale(bands), persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        """(b samples) sound at 16 kHz -> (b mels frames) log10 mel scaled as Whisper has it, 100 frames per second."""
        frames = F.pad(sound, (FRAME // 2 - HOP, FRAME // 2)).unfold(1, FRAME, HOP)  # (b f n), the middle of frame f at 160 (f + 1)
        power = torch.fft.rfft(frames * self.window).abs() ** 2  # (b f bins)
        logarithm = (self.scale @ power.transpose(1, 2)).clamp_min(10**LOG_FLOOR).log10()  # (b m f)
        spectrum: Tensor = (logarithm + 4) / 4
        return spectrum


class Attention(nn.Module):
    """Self-attention of every row to every row (b t d)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.value, self.out = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b t d) -> (b t d)."""
        query, key, value = (part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        rows: Tensor = self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))  # (b h t d/h) -> (b t d)
        return rows


class Block(nn.Module):
    """One layer: attention and a feed-forward network, each added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn_ln, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.mlp_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(b t d) -> (b t d)."""
        x = x + self.attn(self.attn_ln(x))
        deeper: Tensor = x + self.mlp(self.mlp_ln(x))
        return deeper


class WhisperEncoder(nn.Module):
    """The encoder's first `layers` layers; layer k of 1..layers is what comes out of the k-th block."""

    positional_embedding: Tensor

    def __init__(self, *, bands: int, positions: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.width = width
        self.mel = LogMel(bands)
        self.conv1 = nn.Conv1d(bands, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.empty(positions, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    @classmethod
    def of(cls, tensors: Mapping[str, Any], *, heads: int, layers: int) -> WhisperEncoder:
        """With these weights (arrays or tensors), under openai-whisper's names and of any shapes that agree; those of later layers are left
        aside."""
        width, bands, _ = tensors["conv1.weight"].shape
        encoder = cls(bands=bands, positions=len(tensors["positional_embedding"]), width=width, heads=heads, layers=layers)
        wanted = set(encoder.state_dict())
        state = {name: torch.from_numpy(np.array(t)) if isinstance(t, np.ndarray) else t for name, t in tensors.items() if name in wanted}
        encoder.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True)
        return encoder.eval().requires_grad_(False)

    def forward(self, sound: Tensor) -> list[Tensor]:
        """(b n) samples of 16 kHz, n a multiple of 320 -> one (b t d) per layer, t = n / 320."""
        x = F.gelu(self.conv1(self.mel(sound)))
        x = F.gelu(self.conv2(x)).transpose(1, 2)  # (b t d)
        x = x + self.positional_embedding[: x.shape[1]]
        layers = []
        for block in self.blocks:
            x = block(x)
            layers.append(x)
        return layers
