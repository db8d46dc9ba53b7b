"""MulT: crossmodal transformers for unaligned streams (Tsai et al., ACL 2019), with masks, times in seconds and maps as output.

Letters: b utterances, n rows, i target, j source, d width, h heads, s number of streams. For each ordered pair of streams the target's
rows attend, layer after layer, to the source's front-end embedding (layer 0, so a weight points at a frame or a word at every depth);
the pairs of one target are joined along features ((s-1)d) and pass a self-attention encoder ("memory") and a readout; the readouts are
joined and pass the head. Equations 1-8 of the paper; residuals follow the released code (yaohungt/Multimodal-Transformer).

Differences from the released code, all of them the default: rows that are absent are masked (there: attended), positions are seconds
(there: index, where feature 0 is not zero), no causal mask (there: on), mean readout over present rows (there: row -1, padding or not).
`positions="reference", causal=True|False, readout="last"` with every row marked present is the released model, to rounding; its dropout
too is drawn as there, anew for every pair and apart for target, keys and values.

Ablations (the paper's table 3): `targets` keeps some of the targets ("[V, A -> L]" is ("text",)); `source="intermediate"` lets layer k of a
pair look at the source after k layers of its own self-attention (the paper's "high-level" sources), in place of its embedding; a model of
one stream is that stream's self-attention encoder alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn

from .attention import last_present, present_mean
from .batch import Batch, origin, same_size
from .outputs import Output, Recorder
from .transformer import (
    POSITIONS,
    Dropouts,
    Embedding,
    Encoder,
    EncoderLayer,
    FrontEnds,
    Head,
    check_choice,
    check_heads,
    check_streams,
    from_tables,
    masked_dropout,
)


@dataclass(frozen=True)
class MulTConfig:
    """The numbers of a MulT.

    streams         name -> columns, one or more; their order is the order of everything
    outputs         width of the logits
    memory_layers   None = max(layers, 3), as released
    kernels         front-end kernel per stream, odd; 1 where not named
    rate            positions per second (positions="seconds"): the shortest period is 2 pi / rate seconds
    targets         streams that are reinforced and read, None = all
    source          what a target looks at: the source's "embedding" (the paper), or its "intermediate" layers
    """

    streams: Mapping[str, int]
    outputs: int
    width: int = 40
    heads: int = 4
    layers: int = 2
    memory_layers: int | None = None
    kernels: Mapping[str, int] = field(default_factory=dict)
    dropouts: Dropouts = field(default_factory=Dropouts)
    positions: Literal["seconds", "index", "reference", "none"] = "seconds"
    rate: float = 10.0
    readout: Literal["mean", "last"] = "mean"
    causal: bool = False
    targets: tuple[str, ...] | None = None
    source: Literal["embedding", "intermediate"] = "embedding"

    def __post_init__(self) -> None:
        from_tables(self, dropouts=Dropouts.of)
        if self.targets is not None:
            object.__setattr__(self, "targets", tuple(self.targets))
        check_streams("mult", self.streams, self.kernels)
        check_heads("mult", self.width, self.heads)
        check_choice("mult", "positions", self.positions, POSITIONS)
        check_choice("mult", "readout", self.readout, ("mean", "last"))
        check_choice("mult", "source", self.source, ("embedding", "intermediate"))
        if self.source == "intermediate" and self.layers < 2:
            raise ValueError(f"mult: intermediate sources need two layers or more, got {self.layers}")
        if not self.reinforced or self.reinforced != tuple(m for m in self.streams if m in self.reinforced):
            raise ValueError(f"mult: targets must be some of {', '.join(self.streams)}, in that order, got {self.targets}")

    @property
    def reinforced(self) -> tuple[str, ...]:
        """The streams that are targets."""
        return tuple(self.streams) if self.targets is None else self.targets

    def sources(self, target: str) -> tuple[str, ...]:
        """The other streams."""
        return tuple(m for m in self.streams if m != target)


class MulT(nn.Module):
    """See the module's docstring; the contract is in outputs.py. Kinds of maps: "cross" (target <- source), "memory" (target <- target)."""

    def __init__(self, config: MulTConfig) -> None:
        super().__init__()
        self.config = config
        targets, width, dropouts = config.reinforced, config.width, config.dropouts
        joined = max(1, len(config.streams) - 1) * width
        self.front = FrontEnds(config.streams, width, config.kernels, dropouts)
        self.embedding = Embedding(config.positions, config.rate)
        self.cross = nn.ModuleDict(
            {_pair(t, s): Encoder(width, config.heads, config.layers, dropouts) for t in targets for s in config.sources(t)}
        )
        if config.source == "intermediate":
            used = [m for m in config.streams if any(m in config.sources(t) for t in targets)]
            self.levels = nn.ModuleDict(
                {m: nn.ModuleList(EncoderLayer(width, config.heads, dropouts) for _ in range(config.layers - 1)) for m in used}
            )
        memory_layers = max(config.layers, 3) if config.memory_layers is None else config.memory_layers
        self.memory = nn.ModuleDict({t: Encoder(joined, config.heads, memory_layers, dropouts) for t in targets})
        self.head = Head(len(targets) * joined, config.outputs, dropouts.output)

    def forward(self, streams: Mapping[str, Batch], maps: Collection[str] = ()) -> Output:
        same_size(streams, self.config.streams)
        recorder, start = Recorder(maps), origin(streams)
        embedded = {m: self.embedding(rows, streams[m], start) for m, rows in self.front(streams).items()}  # (b n d) each
        levels = self._levels(embedded, streams)
        features = torch.cat([self._readout(t, embedded, levels, streams, start, recorder) for t in self.config.reinforced], dim=1)
        return recorder.output(self.head(features), features)

    def _levels(self, embedded: Mapping[str, Tensor], streams: Mapping[str, Batch]) -> dict[str, list[Tensor]]:
        """Each source's rows (b j d) before and after each of its own layers; empty unless `source` is "intermediate"."""
        levels: dict[str, list[Tensor]] = {}
        if self.config.source == "intermediate":
            for m, layers in self.levels.items():
                present = streams[m].present
                levels[m] = [self._dropped(embedded[m], present)]
                for layer in cast(nn.ModuleList, layers):
                    rows, _ = layer(levels[m][-1], levels[m][-1], source_present=present)
                    levels[m].append(rows * present[..., None])
        return levels

    def _readout(
        self,
        target: str,
        embedded: Mapping[str, Tensor],
        levels: Mapping[str, Sequence[Tensor]],
        streams: Mapping[str, Batch],
        start: Tensor,
        recorder: Recorder,
    ) -> Tensor:
        """A target reinforced from every source, joined, encoded and read: (b (s-1)d)."""
        batch = streams[target]
        present = batch.present
        crossed = [self._crossed(target, s, embedded, levels, streams, recorder) for s in self.config.sources(target)]
        joined = self.embedding(torch.cat(crossed, dim=2), batch, start) if crossed else embedded[target]  # (b i (s-1)d)
        rows, weights = self.memory[target](
            self._dropped(joined, present),
            target_present=present,
            source_present=self._allowed(present, present),
            want_map=recorder.wants("memory"),
        )
        recorder.stack("memory", target, target, weights)
        return present_mean(rows, present) if self.config.readout == "mean" else last_present(rows, present)

    def _crossed(
        self,
        target: str,
        source: str,
        embedded: Mapping[str, Tensor],
        levels: Mapping[str, Sequence[Tensor]],
        streams: Mapping[str, Batch],
        recorder: Recorder,
    ) -> Tensor:
        """The target's rows after one pair's encoder (b i d). Dropout is drawn apart for the target, the keys and the values."""
        present, source_present = streams[target].present, streams[source].present
        rows, weights = self.cross[_pair(target, source)](
            self._dropped(embedded[target], present),
            target_present=present,
            source=levels.get(source) or self._dropped(embedded[source], source_present),
            source_present=self._allowed(present, source_present),
            values=self._dropped(embedded[source], source_present) if self._drops and not levels else None,
            want_map=recorder.wants("cross"),
        )
        recorder.stack("cross", target, source, weights)
        crossed: Tensor = rows
        return crossed

    @property
    def _drops(self) -> bool:
        return self.training and self.config.dropouts.embedding > 0

    def _dropped(self, rows: Tensor, present: Tensor) -> Tensor:
        return masked_dropout(rows, self.config.dropouts.embedding, present, self.training)

    def _allowed(self, target: Tensor, source: Tensor) -> Tensor:
        """What each target row may look at, from both sides' presence: (b j), or (b i j) with the released code's causal rule."""
        return source[:, None, :] & causal_mask(target, source) if self.config.causal else source


def _pair(target: str, source: str) -> str:
    return f"{target}_from_{source}"


def causal_mask(target: Tensor, source: Tensor) -> Tensor:
    """Presence (b i) and (b j) -> (b i j): the released code lets row i of n_t see row j of n_s iff j <= i + |n_s - n_t|.

    Rows are counted among those present, so padding and company in a batch change nothing.
    """
    i, j = target.cumsum(1)[:, :, None], source.cumsum(1)[:, None, :]
    apart = (source.sum(1) - target.sum(1)).abs()[:, None, None]
    return j <= i + apart


def convert_reference(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """State dict (any shapes) of the released MulT -> ours. `names` maps its letters to our streams, e.g. {"l": "text", "a": "voice"}.

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
