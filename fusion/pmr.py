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

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import MultiheadAttention, last_present, present_mean
from .batch import Batch, same_size
from .branches import FORMS, BranchAttention, check_flat, check_lengths, slots, weighted
from .outputs import Output, Recorder
from .transformer import (
    POSITIONS,
    Dropouts,
    Encoder,
    FeedForward,
    Fronts,
    Head,
    check_choice,
    check_heads,
    check_streams,
    from_tables,
)


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
    branch_attention  "pooled", or the paper's "flat" (needs `lengths`, and memory: branches.py), or "mean", "sum"
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
    positions: Literal["seconds", "index", "reference", "none"] = "seconds"
    rate: float = 10.0
    readout: Literal["mean", "last"] = "mean"
    ablation: PMRAblation = field(default_factory=PMRAblation)

    def __post_init__(self) -> None:
        from_tables(self, dropouts=Dropouts.of, ablation=lambda table: PMRAblation(**table))
        check_streams("pmr", self.streams, self.kernels)
        check_heads("pmr", self.width, self.heads)
        check_choice("pmr", "branch_attention", self.branch_attention, FORMS)
        check_choice("pmr", "positions", self.positions, POSITIONS)
        check_choice("pmr", "readout", self.readout, ("mean", "last"))
        if self.branch_attention == "flat":
            check_lengths("pmr", self.lengths or {}, self.streams)
            check_flat("pmr", [sum((self.lengths or {}).values())] * len(self.streams) * self.layers, self.width)
        if unknown := set(self.ablation.reinforced or ()) - set(self.streams):
            raise ValueError(f"pmr: reinforced streams that it does not have: {sorted(unknown)}")


@dataclass(frozen=True, eq=False)
class Reinforced:
    """A unit's answer: rows (b i d), gate (b i d) or None, and the maps (b h i j) if wanted."""

    rows: Tensor
    gate: Tensor | None
    cross: Tensor | None
    own: Tensor | None


class MRU(nn.Module):
    """The modality reinforcement unit: crossmodal and self attention, gated, then feed-forward."""

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

    def forward(
        self, target: Tensor, source: Tensor, *, target_present: Tensor, source_present: Tensor, maps: Collection[str] = ()
    ) -> Reinforced:
        """target (b i d), target_present (b i), source (b j d), source_present (b j); maps of "cross", "self"."""
        normed = self.target_norm(target)
        crossed = own = cross_map = own_map = None
        if self.config.ablation.gate != "self":
            crossed, cross_map = self.cross(normed, self.source_norm(source), source_present=source_present, want_map="cross" in maps)
            crossed = self._added(crossed, target)
        if self.config.ablation.gate != "cross":
            own, own_map = self.own(normed, normed, source_present=target_present, want_map="self" in maps)
            own = self._added(own, target)
        rows, gate = self._mixed(own, crossed)
        rows = self.feed_forward(rows) * target_present[..., None]
        mask = target_present[:, None, :, None]
        return Reinforced(
            rows,
            None if gate is None else gate * target_present[..., None],
            None if cross_map is None else cross_map * mask,
            None if own_map is None else own_map * mask,
        )

    def _mixed(self, own: Tensor | None, crossed: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """G own + (1 - G) crossed, and G; the one that is there where the other was left out."""
        if own is None or crossed is None:
            (rows,) = (branch for branch in (own, crossed) if branch is not None)
            return rows, None
        learned = self.config.ablation.gate == "learned"
        gate = self.gate(torch.cat([own, crossed], 2)).sigmoid() if learned else torch.full_like(own, 0.5)
        return gate * own + (1 - gate) * crossed, gate

    def _added(self, attended: Tensor, target: Tensor) -> Tensor:
        attended = functional.dropout(attended, self.config.dropouts.residual, self.training)
        return target + attended if self.config.branch_residual else attended


@dataclass(frozen=True, eq=False)
class State:
    """Between two layers: the streams' rows (b n d) and presence (b n), the hub (b C d), its presence and slots (flat form)."""

    rows: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    hub: Tensor
    hub_present: Tensor
    hub_slots: Tensor | None


@dataclass(frozen=True, eq=False)
class Reinforcement:
    """What a layer did: the next state, the units' answers by stream, and the weights of the hub's versions (b s) or None."""

    state: State
    streams: Mapping[str, Reinforced]
    hub: Mapping[str, Reinforced]
    branches: Tensor | None


class Layer(nn.Module):
    """One round: streams from the hub, hub from the streams."""

    def __init__(self, config: PMRConfig) -> None:
        super().__init__()
        self.config = config
        reinforced = config.streams if config.ablation.reinforced is None else config.ablation.reinforced
        self.streams = nn.ModuleDict({m: MRU(config) for m in config.streams if m in reinforced})
        if config.ablation.hub_update:
            self.hub = nn.ModuleDict({m: MRU(config) for m in config.streams})
            rows = sum((config.lengths or {}).values())
            self.branches = BranchAttention(len(config.streams), config.width, config.branch_attention, rows)
            self.feed_forward = FeedForward(config.width, config.dropouts)

    def forward(self, state: State, maps: Collection[str]) -> Reinforcement:
        rows, present, hub = state.rows, state.present, state.hub
        to_streams = {
            m: unit(rows[m], hub, target_present=present[m], source_present=state.hub_present, maps=maps)
            for m, unit in self.streams.items()
        }
        after = {m: to_streams[m].rows if m in to_streams else old for m, old in rows.items()}
        if not self.config.ablation.hub_update:
            return Reinforcement(replace(state, rows=after), to_streams, {}, None)
        read = after if self.config.ablation.order == "serial" else rows
        to_hub = {
            m: unit(hub, read[m], target_present=state.hub_present, source_present=present[m], maps=maps) for m, unit in self.hub.items()
        }
        versions = [answer.rows for answer in to_hub.values()]
        something = torch.stack([present[m].any(1) for m in rows], 1)  # (b s): an absent stream's version takes no part
        weights = self.branches(versions, state.hub_present, something, state.hub_slots)
        hub = self.feed_forward(weighted(versions, weights)) * state.hub_present[..., None]
        return Reinforcement(replace(state, rows=after, hub=hub), to_streams, to_hub, weights)


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
        recorder, state = Recorder(maps), self._start(streams)
        for number, layer in enumerate(self.layers):
            crossed = recorder.wants("memory") or (recorder.wants("cross") and number == 0)
            wanted = [kind for kind, yes in (("cross", crossed), ("self", recorder.wants("self"))) if yes]
            done: Reinforcement = layer(state, wanted)
            self._record(recorder, number, done)
            state = done.state
        joined = torch.cat([state.hub, *state.rows.values()], 1)  # (b 2C d)
        present = torch.cat([state.hub_present, state.hub_present], 1)
        joined, weights = self.final(joined, target_present=present, want_map=recorder.wants("memory"))
        both = "+".join(2 * list(self.config.streams))
        recorder.stack("memory", both, both, weights)
        features = present_mean(joined, present) if self.config.readout == "mean" else last_present(joined, present)
        return recorder.output(self.head(features), features)

    def _start(self, streams: Mapping[str, Batch]) -> State:
        rows = self.fronts(streams)
        present = {m: streams[m].present for m in rows}
        where = None
        if self.config.branch_attention == "flat" and self.config.lengths is not None:
            where = slots([present[m] for m in rows], [self.config.lengths[m] for m in rows])
        return State(rows, present, torch.cat(list(rows.values()), 1), torch.cat(list(present.values()), 1), where)

    def _record(self, recorder: Recorder, number: int, done: Reinforcement) -> None:
        """One layer's maps and gates, by the names in the module's docstring."""
        hub = "+".join(self.config.streams)
        for m, answer in done.streams.items():
            recorder.map("memory" if number else "cross", m, hub, answer.cross, "MRU hub to stream")
            recorder.map("self", m, m, answer.own, "MRU hub to stream")
            recorder.gate(f"{m}_from_hub", answer.gate)
        for m, answer in done.hub.items():
            recorder.map("memory", hub, m, answer.cross, "MRU stream to hub")
            recorder.gate(f"hub_from_{m}", answer.gate)
        owns = [answer.own for answer in done.hub.values() if answer.own is not None]
        if owns:
            recorder.map("self", hub, hub, torch.cat(owns, 1), "MRU stream to hub")
        recorder.gate("branches", done.branches)
