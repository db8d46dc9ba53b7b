"""MulT: crossmodal transformers for unaligned streams (Tsai et al., ACL 2019), with masks, times in seconds and maps as output.

Letters: b utterances, n rows, i target, j source, d width, h heads, s number of streams. For each ordered pair of streams the target's
rows attend, layer after layer, to the source's front-end embedding (layer 0, so a weight points at a frame or a word at every depth);
the pairs of one target are joined along features ((s-1)d) and pass a self-attention encoder ("memory") and a readout; the readouts are
joined and pass the head. Equations 1-8 of the paper; residuals follow the released code (yaohungt/Multimodal-Transformer).

Differences from the released code, all of them the default: rows that are absent are masked (there: attended), positions are seconds
(there: index, where feature 0 is not zero), no causal mask (there: on), mean readout over present rows (there: row -1, padding or not).
`positions="reference", causal=True|False, readout="last"` with every row marked present is the released model, to rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import last_present, present_mean
from .batch import Batch, origin, same_size
from .outputs import Map, Output
from .time_encoding import reference_positions, second_positions, sinusoid
from .transformer import Dropouts, Encoder, Front, Head


@dataclass(frozen=True)
class MulTConfig:
    """The numbers of a MulT.

    streams         name -> columns, two or more; their order is the order of everything
    outputs         width of the logits
    memory_layers   None = max(layers, 3), as released
    kernels         front-end kernel per stream, odd; 1 where not named
    rate            positions per second (positions="seconds"): the shortest period is 2 pi / rate seconds
    """

    streams: Mapping[str, int]
    outputs: int
    width: int = 40
    heads: int = 4
    layers: int = 2
    memory_layers: int | None = None
    kernels: Mapping[str, int] = field(default_factory=dict)
    dropouts: Dropouts = field(default_factory=Dropouts)
    positions: Literal["seconds", "reference", "none"] = "seconds"
    rate: float = 10.0
    readout: Literal["mean", "last"] = "mean"
    causal: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.dropouts, Mapping):  # as JSON has it
            object.__setattr__(self, "dropouts", Dropouts(**self.dropouts))
        if len(self.streams) < 2:
            raise ValueError(f"mult: crossmodal attention needs two streams or more, got {list(self.streams)}")
        if unknown := set(self.kernels) - set(self.streams):
            raise ValueError(f"mult: kernels for streams that it does not have: {sorted(unknown)}")
        if self.width % self.heads:
            raise ValueError(f"mult: width {self.width} is not a multiple of {self.heads} heads")
        choices = {"positions": ("seconds", "reference", "none"), "readout": ("mean", "last")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"mult: {name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")


class MulT(nn.Module):
    """See the module's docstring; the contract is in outputs.py. Kinds of maps: "cross" (target <- source), "memory" (target <- target)."""

    def __init__(self, config: MulTConfig) -> None:
        super().__init__()
        self.config = config
        names, width = list(config.streams), config.width
        joined = (len(names) - 1) * width
        self.front = nn.ModuleDict({m: Front(f, width, config.kernels.get(m, 1)) for m, f in config.streams.items()})
        self.cross = nn.ModuleDict(
            {_pair(t, s): Encoder(width, config.heads, config.layers, config.dropouts) for t in names for s in names if s != t}
        )
        memory_layers = max(config.layers, 3) if config.memory_layers is None else config.memory_layers
        self.memory = nn.ModuleDict({t: Encoder(joined, config.heads, memory_layers, config.dropouts) for t in names})
        self.head = Head(len(names) * joined, config.outputs, config.dropouts.output)

    def forward(self, streams: Mapping[str, Batch], maps: Collection[str] = ()) -> Output:
        same_size(streams, self.config.streams)
        start = origin(streams)
        projected = {m: self._project(m, streams[m]) for m in self.config.streams}  # (b n d) each
        embedded = {m: self._embed(projected[m], streams[m], start) for m in projected}
        found: list[Map] = []
        readouts = []
        for t in self.config.streams:
            present = streams[t].present
            crossed = []
            for s in self.config.streams:
                if s == t:
                    continue
                allowed = self._allowed(present, streams[s].present)
                rows, weights = self.cross[_pair(t, s)](embedded[t], present, embedded[s], allowed, "cross" in maps)  # (b i d)
                crossed.append(rows)
                if weights is not None:
                    found.append(Map("cross", t, s, weights))
            joined = self._embed(torch.cat(crossed, dim=2), streams[t], start)  # (b i (s-1)d)
            rows, weights = self.memory[t](joined, present, None, self._allowed(present, present), "memory" in maps)
            if weights is not None:
                found.append(Map("memory", t, t, weights))
            readouts.append(present_mean(rows, present) if self.config.readout == "mean" else last_present(rows, present))
        features = torch.cat(readouts, dim=1)  # (b s(s-1)d)
        return Output(logits=self.head(features), features=features, maps=tuple(found))

    def _project(self, name: str, batch: Batch) -> Tensor:
        values = batch.values
        if name == "text":
            values = functional.dropout(values, self.config.dropouts.text, self.training)
        projected: Tensor = self.front[name](values, batch.present)
        return projected

    def _embed(self, rows: Tensor, batch: Batch, start: Tensor) -> Tensor:
        """sqrt(d) * rows + position, zero where absent."""
        width = rows.shape[2]
        embedded = rows * width**0.5
        if self.config.positions == "seconds":
            positions = second_positions(batch.times, batch.present, start, self.config.rate)
            embedded = embedded + sinusoid(positions, width).to(rows.dtype)
        elif self.config.positions == "reference":
            embedded = embedded + sinusoid(reference_positions(rows), width)
        embedded = functional.dropout(embedded, self.config.dropouts.embedding, self.training)
        return embedded * batch.present[..., None]

    def _allowed(self, target: Tensor, source: Tensor) -> Tensor:
        """What each target row may look at: (b j), or (b i j) with the released code's causal rule."""
        if not self.config.causal:
            return source
        return source[:, None, :] & causal_mask(target.shape[1], source.shape[1]).to(source.device)


def _pair(target: str, source: str) -> str:
    return f"{target}_from_{source}"


def causal_mask(targets: int, sources: int) -> Tensor:
    """(i j) bool: the released code lets target i see source j iff j <= i + |sources - targets|."""
    i, j = torch.arange(targets)[:, None], torch.arange(sources)[None, :]
    return j <= i + abs(sources - targets)


def convert_reference(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """State dict of the released MulT -> ours. `names` maps its letters to our streams, e.g. {"l": "text", "a": "voice", "v": "face"}.

    Its unused buffers (`version`, `_float_tensor`) are dropped. Raises `ValueError` for a tensor that has no place here; counts and
    shapes are then checked by `load_state_dict(strict=True)`.
    """
    inside = (
        ("self_attn.in_proj_weight", "attention.in_weight"),
        ("self_attn.in_proj_bias", "attention.in_bias"),
        ("self_attn.out_proj.", "attention.out."),
        ("layer_norms.0.", "norm."),
        ("layer_norms.1.", "feed_forward.norm."),
        ("fc1.", "feed_forward.expand."),
        ("fc2.", "feed_forward.shrink."),
        ("layer_norm.", "norm."),
    )
    heads = {"proj1": "head.first", "proj2": "head.second", "out_layer": "head.out"}
    prefixes = {f"proj_{m}": f"front.{ours}.convolution" for m, ours in names.items()}
    prefixes |= {f"trans_{t}_with_{s}": f"cross.{_pair(names[t], names[s])}" for t in names for s in names if s != t}
    prefixes |= {f"trans_{m}_mem": f"memory.{ours}" for m, ours in names.items()} | heads
    converted = {}
    for key, tensor in weights.items():
        if key.endswith((".version", "_float_tensor")):
            continue
        first, _, rest = key.partition(".")
        if first not in prefixes:
            raise ValueError(f"released MulT weights: {key} has no place among {', '.join(sorted(prefixes))}")
        for theirs, ours in inside:
            if theirs in rest:
                rest = rest.replace(theirs, ours)
                break
        converted[f"{prefixes[first]}.{rest}"] = tensor
    return converted
