"""PMR: progressive modality reinforcement through a message hub (Lv et al., CVPR 2021).

Letters: b utterances, n rows, d width, m a stream, s number of streams, C the hub: all streams' rows joined in time. In each layer
every stream is reinforced from the hub, then every reinforced stream writes a new version of the hub, and an attention layer over
these s versions makes the next hub:

    unit(X <- S):  c = X + cross(LN X, LN S)    a = X + self(LN X)    G = sigmoid(W [a; c] + b)    FFN(G * a + (1 - G) * c)
    Z_m <- unit(Z_m <- C)      Y_m = unit(C <- Z_m)      w = softmax_m mean_n u^T tanh(W_m Y_m + b_m)      C <- FFN(sum_m w_m Y_m)

and at the end an encoder reads [C; streams]. Each of the 2 s units of a layer has its own weights.

What the paper leaves open or prints otherwise: the attention layer over whole flattened sequences (`branch_attention="flat"`, fixed
`lengths`) is too large for real lengths, the pooled one is the default (branches.py); the branches' residual is not printed, and
without it (`branch_residual=False`) a prototype did not learn our synthetic task; the readout is the mean over present rows; positions
are seconds ("index": the paper's). An absent stream's version of the hub takes no part in w.

Maps: "cross", stream <- hub, first layer: there the hub's rows are still the streams' own rows, so a weight points at a word or a
frame. "memory": the same in deeper layers (the hub's rows are mixtures by then), hub <- stream, and the last encoder over [C; streams].
"self": within a stream; within the hub (the heads of its s units one after the other). Gates: "STREAM_from_hub", "hub_from_STREAM"
(layer b n d), G above, 1 = listened to itself alone; "branches" (layer b s), w above.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import MultiheadAttention, last_present, present_mean
from .batch import Batch, same_size
from .branches import FORMS, BranchAttention, check_flat, check_lengths, slots, weighted
from .outputs import Map, Output
from .transformer import Dropouts, Encoder, FeedForward, Fronts, Head, check_choice, check_numbers


@dataclass(frozen=True)
class PMRAblation:
    """What to leave out of a PMR; the defaults leave out nothing.

    gate        "learned"; "even" (both branches by half), "self" (no crossmodal branch), "cross" (no self branch)
    hub_update  False: the hub stays the streams' embeddings
    reinforced  streams that the hub reinforces, None = all
    order       "serial": the hub reads the streams just reinforced (the paper); "parallel": the layer's inputs
    """

    gate: Literal["learned", "even", "self", "cross"] = "learned"
    hub_update: bool = True
    reinforced: tuple[str, ...] | None = None
    order: Literal["serial", "parallel"] = "serial"

    def __post_init__(self) -> None:
        if self.reinforced is not None:
            object.__setattr__(self, "reinforced", tuple(self.reinforced))
        check_choice("pmr", "gate", self.gate, ("learned", "even", "self", "cross"))
        check_choice("pmr", "order", self.order, ("serial", "parallel"))


@dataclass(frozen=True)
class PMRConfig:
    """The numbers of a PMR. The paper's are not known to us; these are MCR's for MOSI.

    streams           name -> columns; their order is the order of the hub
    branch_attention  "pooled", or the paper's "flat" (needs `lengths`, rows * width <= 8192), or "mean", "sum"
    lengths           rows of each stream in the fixed layout of the flat form
    rate              positions per second
    """

    streams: Mapping[str, int]
    outputs: int
    width: int = 40
    heads: int = 10
    layers: int = 3
    final_layers: int = 1
    kernels: Mapping[str, int] = field(default_factory=dict)
    dropouts: Dropouts = field(default_factory=Dropouts)
    branch_attention: Literal["pooled", "flat", "mean", "sum"] = "pooled"
    lengths: Mapping[str, int] | None = None
    branch_residual: bool = True
    positions: Literal["seconds", "index", "none"] = "seconds"
    rate: float = 10.0
    readout: Literal["mean", "last"] = "mean"
    ablation: PMRAblation = field(default_factory=PMRAblation)

    def __post_init__(self) -> None:
        if isinstance(self.dropouts, Mapping):  # as JSON has it
            object.__setattr__(self, "dropouts", Dropouts(**self.dropouts))
        if isinstance(self.ablation, Mapping):
            object.__setattr__(self, "ablation", PMRAblation(**self.ablation))
        check_numbers("pmr", self.streams, self.kernels, self.width, self.heads)
        check_choice("pmr", "branch_attention", self.branch_attention, FORMS)
        check_choice("pmr", "positions", self.positions, ("seconds", "index", "none"))
        check_choice("pmr", "readout", self.readout, ("mean", "last"))
        if self.branch_attention == "flat":
            check_lengths("pmr", self.lengths or {}, self.streams)
            check_flat("pmr", sum((self.lengths or {}).values()), self.width)
        if unknown := set(self.ablation.reinforced or ()) - set(self.streams):
            raise ValueError(f"pmr: reinforced streams that it does not have: {sorted(unknown)}")


@dataclass(frozen=True, eq=False)
class Reinforced:
    """A unit's answer: rows (b i d), gate (b i d) or None, and the maps (b h i j) if wanted."""

    rows: Tensor
    gate: Tensor | None
    cross: Tensor | None
    own: Tensor | None


class ReinforcementUnit(nn.Module):
    """A sequence reinforced from another: crossmodal and self attention, gated, then feed-forward."""

    def __init__(self, config: PMRConfig) -> None:
        super().__init__()
        width, self.config = config.width, config
        gate = config.ablation.gate
        self.target_norm = nn.LayerNorm(width)
        if gate != "self":
            self.source_norm = nn.LayerNorm(width)
            self.cross = MultiheadAttention(width, config.heads, config.dropouts.attention)
        if gate != "cross":
            self.own = MultiheadAttention(width, config.heads, config.dropouts.attention)
        if gate == "learned":
            self.gate = nn.Linear(2 * width, width)
        self.feed_forward = FeedForward(width, config.dropouts)

    def forward(self, target: Tensor, shown: Tensor, source: Tensor, present: Tensor, maps: Collection[str] = ()) -> Reinforced:
        """target (b i d) and its presence `shown` (b i), source (b j d) and its `present` (b j); maps of "cross", "self"."""
        normed, gate = self.target_norm(target), self.config.ablation.gate
        crossed = own = mix = cross_map = own_map = None
        if gate != "self":
            crossed, cross_map = self.cross(normed, self.source_norm(source), present, "cross" in maps)
            crossed = self._added(crossed, target)
        if gate != "cross":
            own, own_map = self.own(normed, normed, shown, "self" in maps)
            own = self._added(own, target)
        if crossed is None:
            rows = own
        elif own is None:
            rows = crossed
        else:
            mix = self.gate(torch.cat([own, crossed], 2)).sigmoid() if gate == "learned" else torch.full_like(own, 0.5)
            rows = mix * own + (1 - mix) * crossed
        rows = self.feed_forward(rows) * shown[..., None]
        mask = shown[:, None, :, None]
        return Reinforced(
            rows,
            None if mix is None else mix * shown[..., None],
            None if cross_map is None else cross_map * mask,
            None if own_map is None else own_map * mask,
        )

    def _added(self, attended: Tensor, target: Tensor) -> Tensor:
        attended = functional.dropout(attended, self.config.dropouts.residual, self.training)
        return target + attended if self.config.branch_residual else attended


class Layer(nn.Module):
    """One round: streams from the hub, hub from the streams."""

    def __init__(self, config: PMRConfig) -> None:
        super().__init__()
        self.config = config
        reinforced = config.streams if config.ablation.reinforced is None else config.ablation.reinforced
        self.streams = nn.ModuleDict({m: ReinforcementUnit(config) for m in config.streams if m in reinforced})
        if config.ablation.hub_update:
            self.hub = nn.ModuleDict({m: ReinforcementUnit(config) for m in config.streams})
            rows = sum((config.lengths or {}).values())
            self.branches = BranchAttention(len(config.streams), config.width, config.branch_attention, rows)
            self.feed_forward = FeedForward(config.width, config.dropouts)

    def forward(
        self, rows: Mapping[str, Tensor], hub: Tensor, present: Mapping[str, Tensor], where: Tensor | None, maps: Collection[str]
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Reinforced], dict[str, Reinforced], Tensor | None]:
        """Streams (b n d) and hub -> the next ones, the units' answers (streams, hub), the branches' weights (b s)."""
        everyone = torch.cat([present[m] for m in rows], 1)
        to_streams = {m: unit(rows[m], present[m], hub, everyone, maps) for m, unit in self.streams.items()}
        after = {m: to_streams[m].rows if m in to_streams else old for m, old in rows.items()}
        if not self.config.ablation.hub_update:
            return after, hub, to_streams, {}, None
        read = after if self.config.ablation.order == "serial" else rows
        to_hub = {m: unit(hub, everyone, read[m], present[m], maps) for m, unit in self.hub.items()}
        versions = [answer.rows for answer in to_hub.values()]
        shown = torch.stack([present[m].any(1) for m in rows], 1)  # (b s)
        weights = self.branches(versions, everyone, shown, where)
        hub = self.feed_forward(weighted(versions, weights)) * everyone[..., None]
        return after, hub, to_streams, to_hub, weights


class PMR(nn.Module):
    """See the module's docstring; the contract is in outputs.py."""

    def __init__(self, config: PMRConfig) -> None:
        super().__init__()
        self.config = config
        self.fronts = Fronts(config.streams, config.width, config.kernels, config.dropouts, config.positions, config.rate)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.final = Encoder(config.width, config.heads, config.final_layers, config.dropouts)
        self.head = Head(config.width, config.outputs, config.dropouts.output)

    def forward(self, streams: Mapping[str, Batch], maps: Collection[str] = ()) -> Output:
        same_size(streams, self.config.streams)
        rows = self.fronts(streams)
        present = {m: streams[m].present for m in rows}
        everyone = torch.cat([present[m] for m in rows], 1)  # (b C)
        where = None
        if self.config.branch_attention == "flat" and self.config.lengths is not None:
            where = slots([present[m] for m in rows], [self.config.lengths[m] for m in rows])
        hub = torch.cat(list(rows.values()), 1)  # (b C d)
        # deeper crossmodal maps are of kind "memory"
        wanted = {kind for kind in ("cross", "self") if kind in maps or (kind == "cross" and "memory" in maps)}
        to_streams, to_hub, branches = [], [], []
        for layer in self.layers:
            rows, hub, for_streams, for_hub, weights = layer(rows, hub, present, where, wanted)
            to_streams.append(for_streams)
            to_hub.append(for_hub)
            if weights is not None:
                branches.append(weights)
            if "memory" not in maps:
                wanted.discard("cross")  # only the first layer's were asked for
        joined = torch.cat([hub, *rows.values()], 1)  # (b 2C d)
        shown = torch.cat([everyone, everyone], 1)
        joined, last = self.final(joined, shown, None, shown, "memory" in maps)
        features = present_mean(joined, shown) if self.config.readout == "mean" else last_present(joined, shown)
        gates = {f"{m}_from_hub": [answers[m].gate for answers in to_streams] for m in self.config.streams if m in to_streams[0]}
        gates |= {f"hub_from_{m}": [answers[m].gate for answers in to_hub] for m in to_hub[0]}
        stacked = {name: torch.stack(kept) for name, found in gates.items() if (kept := [g for g in found if g is not None])}
        if branches:
            stacked["branches"] = torch.stack(branches)
        found_maps = tuple(self._maps(to_streams, to_hub, last, maps))
        return Output(logits=self.head(features), features=features, maps=found_maps, gates=stacked)

    def _maps(
        self,
        to_streams: Sequence[Mapping[str, Reinforced]],
        to_hub: Sequence[Mapping[str, Reinforced]],
        last: Tensor | None,
        maps: Collection[str],
    ) -> list[Map]:
        """The units' maps by kind, layers stacked."""
        hub, found = "+".join(self.config.streams), []
        for m in to_streams[0]:
            crossed = [c for answers in to_streams if (c := answers[m].cross) is not None]
            if crossed and "cross" in maps:
                found.append(Map("cross", m, hub, crossed[0][None]))
            if len(crossed) > 1 and "memory" in maps:
                found.append(Map("memory", m, hub, torch.stack(crossed[1:])))
            if own := [s for answers in to_streams if (s := answers[m].own) is not None]:
                found.append(Map("self", m, m, torch.stack(own)))
        for m in to_hub[0]:
            crossed = [c for answers in to_hub if (c := answers[m].cross) is not None]
            if crossed and "memory" in maps:
                found.append(Map("memory", hub, m, torch.stack(crossed)))
        owns = [[s for a in answers.values() if (s := a.own) is not None] for answers in to_hub]
        if owns[0]:
            found.append(Map("self", hub, hub, torch.stack([torch.cat(own, 1) for own in owns])))
        if last is not None:
            found.append(Map("memory", f"{hub}+{hub}", f"{hub}+{hub}", last))
        return found
