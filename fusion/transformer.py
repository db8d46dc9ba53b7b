"""The blocks that MulT, PMR and MCR share: front-end, feed-forward, encoder layer, head (fusion of Tsai et al. 2019 as released).

Letters: b batch, n rows, i target, j source, d width, f columns, o outputs. Pre-layer-norm throughout; the residual is the raw input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import MultiheadAttention, zero_where_not
from .batch import Batch, origin
from .time_encoding import index_positions, reference_positions, second_positions, sinusoid


@dataclass(frozen=True)
class Dropouts:
    """Where dropout acts: on a stream's raw columns (by stream, 0 where not named), embeddings, attention weights, residual branches,
    inside feed-forwards, in the head."""

    columns: Mapping[str, float] = field(default_factory=dict)
    embedding: float = 0.1
    attention: float = 0.1
    residual: float = 0.1
    relu: float = 0.1
    output: float = 0.0

    def __post_init__(self) -> None:
        shares = {name: share for name, share in vars(self).items() if name != "columns"}
        for name, share in (shares | {f"columns.{m}": share for m, share in self.columns.items()}).items():
            if not 0 <= share < 1:
                raise ValueError(f"dropout {name}: expected 0 <= share < 1, got {share}")

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Dropouts:
        """From a recipe or a checkpoint; the key `text` stands for `columns = { text = .. }`, as older checkpoints have it."""
        numbers: dict[str, Any] = dict(table)
        columns = {"text": numbers.pop("text")} if "text" in numbers else {}
        columns |= dict(numbers.pop("columns", {}))
        return cls(**numbers, columns=columns)


def from_tables(config: Any, **kinds: Callable[[Any], Any]) -> None:
    """Fields of a frozen config that came as tables (a recipe's, a checkpoint's) become what `kinds` makes of them."""
    for name, make in kinds.items():
        value = getattr(config, name)
        if isinstance(value, Mapping):
            object.__setattr__(config, name, make(value))


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


class FrontEnds(nn.ModuleDict):
    """A `Front` for each stream, with dropout on its raw columns before."""

    def __init__(self, streams: Mapping[str, int], width: int, kernels: Mapping[str, int], dropouts: Dropouts) -> None:
        super().__init__({m: Front(f, width, kernels.get(m, 1)) for m, f in streams.items()})
        self.dropouts = dropouts

    def forward(self, streams: Mapping[str, Batch]) -> dict[str, Tensor]:
        """-> name: (b n d), in the order of the config."""
        projected = {}
        for name, front in self.items():
            dropped = functional.dropout(streams[name].values, self.dropouts.columns.get(name, 0.0), self.training)
            projected[name] = front(dropped, streams[name].present)
        return projected


POSITIONS = ("seconds", "index", "reference", "none")


class Embedding(nn.Module):
    """sqrt(d) * rows + where they lie, without weights.

    positions  "seconds" since the utterance's first row * rate; "index", the count of present rows; "reference", the released MulT's
               rule (its own index, 0 where a row's first feature is 0); "none"
    """

    def __init__(self, positions: str, rate: float) -> None:
        super().__init__()
        self.positions, self.rate = positions, rate

    def forward(self, rows: Tensor, batch: Batch, start: Tensor) -> Tensor:
        """rows (b n d) of a stream, start (b 1) the utterance's first second -> (b n d)."""
        width = rows.shape[2]
        embedded: Tensor = rows * width**0.5
        if self.positions == "seconds":
            embedded = embedded + sinusoid(second_positions(batch.times, batch.present, start, self.rate), width).to(rows.dtype)
        elif self.positions == "index":
            embedded = embedded + sinusoid(index_positions(batch.present), width).to(rows.dtype)
        elif self.positions == "reference":
            embedded = embedded + sinusoid(reference_positions(embedded), width)
        return embedded


class Fronts(nn.Module):
    """Every stream to width d on one clock: sqrt(d) * convolution + position, dropout, zero where absent."""

    def __init__(
        self, streams: Mapping[str, int], width: int, kernels: Mapping[str, int], dropouts: Dropouts, positions: str, rate: float
    ) -> None:
        super().__init__()
        self.dropouts = dropouts
        self.front = FrontEnds(streams, width, kernels, dropouts)
        self.embedding = Embedding(positions, rate)

    def forward(self, streams: Mapping[str, Batch]) -> dict[str, Tensor]:
        """-> name: (b n d), in the order of the config."""
        start = origin(streams)
        embedded = {m: self.embedding(rows, streams[m], start) for m, rows in self.front(streams).items()}
        return {m: masked_dropout(e, self.dropouts.embedding, streams[m].present, self.training) for m, e in embedded.items()}


def masked_dropout(rows: Tensor, share: float, present: Tensor, training: bool) -> Tensor:
    """(b n d), present (b n) -> (b n d), zero where absent."""
    return functional.dropout(rows, share, training) * present[..., None]


def check_streams(model: str, streams: Mapping[str, int], kernels: Mapping[str, int], least: int = 1) -> None:
    """Raises `ValueError` for too few streams, or kernels of others."""
    if len(streams) < least:
        raise ValueError(f"{model}: expected {'a stream' if least == 1 else f'{least} streams'} or more, got {list(streams) or 'none'}")
    if unknown := set(kernels) - set(streams):
        raise ValueError(f"{model}: kernels for streams that it does not have: {sorted(unknown)}")


def check_heads(model: str, width: int, heads: int, name: str = "heads") -> None:
    """Raises `ValueError` unless the heads share the width evenly."""
    if heads < 1 or width % heads:
        raise ValueError(f"{model}: width {width} is not a multiple of {heads} {name}")


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
        """(b n d) -> (b n d)."""
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

    def forward(
        self, target: Tensor, source: Tensor, *, source_present: Tensor, values: Tensor | None = None, want_map: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """target (b i d), source and values (b j d), source_present (b j) or (b i j) -> (b i d), weights (b h i j) or None."""
        read = None if values is None else self.norm(values)
        attended, weights = self.attention(
            self.norm(target), self.norm(source), source_present=source_present, values=read, want_map=want_map
        )
        attended = functional.dropout(attended, self.residual_dropout, self.training)
        return self.feed_forward(target + attended), weights


class Encoder(nn.Module):
    """Layers and a final layer norm. Given a source, every layer looks at it (MulT's low-level features); else at the rows themselves."""

    def __init__(self, width: int, heads: int, layers: int, dropouts: Dropouts) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, heads, dropouts) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        target: Tensor,
        *,
        target_present: Tensor,
        source: Tensor | Sequence[Tensor] | None = None,
        source_present: Tensor | None = None,
        values: Tensor | None = None,
        want_map: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """target (b i d), target_present (b i); source (b j d), or one for each layer, source_present (b j) or (b i j), both the target's
        where not given.

        values (b j d): as in `MultiheadAttention`. Returns (b i d), zero in absent rows, and the maps (layer b h i j) if wanted.
        """
        allowed = target_present if source_present is None else source_present
        rows, maps = target, []
        for k, layer in enumerate(self.layers):
            looked_at = rows if source is None else source if isinstance(source, Tensor) else source[k]
            rows, weights = layer(rows, looked_at, source_present=allowed, values=values, want_map=want_map)
            rows = rows * target_present[..., None]
            maps.append(weights)
        rows = self.norm(rows) * target_present[..., None]
        return rows, torch.stack([zero_where_not(m, target_present[:, None, :, None]) for m in maps]) if want_map else None


class Head(nn.Module):
    """o = W_o (h + W_b ReLU(W_a h))."""

    def __init__(self, features: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.first = nn.Linear(features, features)
        self.second = nn.Linear(features, features)
        self.out = nn.Linear(features, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(b c) features -> (b o) logits."""
        inner = functional.dropout(self.first(features).relu(), self.dropout, self.training)
        logits: Tensor = self.out(features + self.second(inner))
        return logits
