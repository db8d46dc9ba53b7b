"""The blocks that MulT, PMR and MCR share: front-end, feed-forward, encoder layer, head (fusion of Tsai et al. 2019 as released).

Letters: b batch, n rows, i target, j source, d width, f columns, o outputs. Pre-layer-norm throughout; the residual is the raw input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import MultiheadAttention, zero_where_not
from .batch import Batch, origin
from .time_encoding import index_positions, second_positions, sinusoid


@dataclass(frozen=True)
class Dropouts:
    """Where dropout acts: on the text's raw columns, embeddings, attention weights, residual branches, inside FFNs, in the head."""

    text: float = 0.0
    embedding: float = 0.1
    attention: float = 0.1
    residual: float = 0.1
    relu: float = 0.1
    output: float = 0.0

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            if not 0 <= share < 1:
                raise ValueError(f"dropout {name}: expected 0 <= share < 1, got {share}")


class Front(nn.Module):
    """A stream's columns to width d: one convolution over time that keeps every row where it was (odd kernel, same length)."""

    def __init__(self, columns: int, width: int, kernel: int, bias: bool = False) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"front: the kernel must be odd so that rows keep their times, got {kernel}")
        self.convolution = nn.Conv1d(columns, width, kernel, padding=kernel // 2, bias=bias)

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """(b n f) -> (b n d); absent rows neither enter nor leave."""
        # where, not a product: garbage in absent rows may be NaN
        shown = torch.where(present[..., None], values, torch.zeros_like(values))
        projected: Tensor = self.convolution(shown.transpose(1, 2)).transpose(1, 2)
        return projected * present[..., None]


class Fronts(nn.Module):
    """Every stream to width d on one clock: sqrt(d) * convolution + position, dropout, zero where absent.

    positions  "seconds" since the utterance's first row * rate; "index", the count of present rows; "none"
    """

    def __init__(
        self, streams: Mapping[str, int], width: int, kernels: Mapping[str, int], dropouts: Dropouts, positions: str, rate: float
    ) -> None:
        super().__init__()
        self.width, self.dropouts, self.positions, self.rate = width, dropouts, positions, rate
        self.front = nn.ModuleDict({m: Front(f, width, kernels.get(m, 1)) for m, f in streams.items()})

    def forward(self, streams: Mapping[str, Batch]) -> dict[str, Tensor]:
        """-> name: (b n d), in the order of the config."""
        start = origin(streams)
        return {m: self._embed(m, streams[m], start) for m in self.front}

    def _embed(self, name: str, batch: Batch, start: Tensor) -> Tensor:
        values = batch.values
        if name == "text":
            values = functional.dropout(values, self.dropouts.text, self.training)
        rows: Tensor = self.front[name](values, batch.present) * self.width**0.5
        if self.positions != "none":
            if self.positions == "seconds":
                positions = second_positions(batch.times, batch.present, start, self.rate)
            else:
                positions = index_positions(batch.present)
            rows = rows + sinusoid(positions, self.width).to(rows.dtype)
        return functional.dropout(rows, self.dropouts.embedding, self.training) * batch.present[..., None]


def check_numbers(model: str, streams: Mapping[str, int], kernels: Mapping[str, int], width: int, heads: int) -> None:
    """What the configs of the transformers have in common; raises `ValueError` naming the model."""
    if not streams:
        raise ValueError(f"{model}: expected a stream or more, got none")
    if unknown := set(kernels) - set(streams):
        raise ValueError(f"{model}: kernels for streams that it does not have: {sorted(unknown)}")
    if width % heads:
        raise ValueError(f"{model}: width {width} is not a multiple of {heads} heads")


def check_choice(model: str, name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raises `ValueError` unless the value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{model}: {name} must be one of {', '.join(allowed)}, got {value!r}")


class FeedForward(nn.Module):
    """x + W2 ReLU(W1 LN(x)), width 4d."""

    def __init__(self, width: int, dropouts: Dropouts) -> None:
        super().__init__()
        self.dropouts = dropouts
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.shrink = nn.Linear(4 * width, width)
        for layer in (self.expand, self.shrink):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, rows: Tensor) -> Tensor:
        inner = functional.dropout(self.expand(self.norm(rows)).relu(), self.dropouts.relu, self.training)  # (b n 4d)
        return rows + functional.dropout(self.shrink(inner), self.dropouts.residual, self.training)


class EncoderLayer(nn.Module):
    """Attention of target rows to source rows (the same layer norm for both), then feed-forward."""

    def __init__(self, width: int, heads: int, dropouts: Dropouts) -> None:
        super().__init__()
        self.residual_dropout = dropouts.residual
        self.norm = nn.LayerNorm(width)
        self.attention = MultiheadAttention(width, heads, dropouts.attention)
        self.feed_forward = FeedForward(width, dropouts)

    def forward(self, target: Tensor, source: Tensor, present: Tensor, want_map: bool = False) -> tuple[Tensor, Tensor | None]:
        """target (b i d), source (b j d), present (b j) or (b i j) -> (b i d), weights (b h i j) or None."""
        attended, weights = self.attention(self.norm(target), self.norm(source), present, want_map)
        attended = functional.dropout(attended, self.residual_dropout, self.training)
        return self.feed_forward(target + attended), weights


class Encoder(nn.Module):
    """Layers and a final layer norm. Given a source, every layer looks at that same source (MulT's low-level features); else at itself."""

    def __init__(self, width: int, heads: int, layers: int, dropouts: Dropouts) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, heads, dropouts) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, target: Tensor, shown: Tensor, source: Tensor | None, present: Tensor, want_map: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """target (b i d) with its rows' presence `shown` (b i); source (b j d) or None; present (b j) or (b i j).

        Returns (b i d), zero in absent rows, and the maps (layer b h i j) if wanted.
        """
        rows, maps = target, []
        for layer in self.layers:
            rows, weights = layer(rows, rows if source is None else source, present, want_map)
            rows = rows * shown[..., None]
            maps.append(weights)
        rows = self.norm(rows) * shown[..., None]
        return rows, torch.stack([zero_where_not(m, shown[:, None, :, None]) for m in maps]) if want_map else None


class Head(nn.Module):
    """o = W_o (h + W_b ReLU(W_a h))."""

    def __init__(self, features: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.first = nn.Linear(features, features)
        self.second = nn.Linear(features, features)
        self.out = nn.Linear(features, outputs)

    def forward(self, features: Tensor) -> Tensor:
        inner = functional.dropout(self.first(features).relu(), self.dropout, self.training)
        logits: Tensor = self.out(features + self.second(inner))
        return logits
