"""MCR: modality co-reinforcement (Yang et al., "Target and source modality co-reinforcement", Knowledge-Based Systems 2023).

Letters: b utterances, i target row, j source row, d width, h heads, t a target stream with sources s1 and s2 (the other streams). In
each layer every target is reinforced by two units that read the same rows, and the sources are then updated from the targets:

    CMU (eq. 2-5)    Q = LN(Z W_q), K_s = LN(S_s W_k), V_s = LN(S_s W_v); E_s = Q K_s^T / sqrt(d); a = softmax over all source rows
                     of the row's sum in S; A_1 = softmax(E_1 + a_1 * E_2 read at source 1's rows), A_2 likewise;
                     Z_a = FFN(LN(Z) + A_1 V_1 + A_2 V_2)
    SCU (eq. 6-11)   c = Z + cross(LN Z, LN J), o = Z + self(LN Z), J = [S_s1; S_s2]; gamma = softmax of their scores;
                     Z_b = FFN(gamma_c c + gamma_o o)
    merge            Z <- Z_a + Z_b
    SUM (eq. 12-16)  F = FFN(S); mu = sigmoid(F W' + Z W + b); S <- (1 - mu) * tanh(Z) + mu * F, Z the target of the same stream;
                     J <- sigmoid([S_s1; S_s2] W_t + b) * tanh([S_s1; S_s2])           (in all layers but the last)

Reading E_2 at source 1's rows is linear in its columns, so A_1 is plain attention with the keys K_1 + a_1 * (R K_2) (exact: R the
reading as a matrix); no (i j) matrix beyond attention's own is made.

What the paper leaves open or prints otherwise. Eq. 4-5 read by a convolution whose weights span time: `alignment="learned"`, for fixed
`lengths`; the default reads at the other stream's seconds ("index": at evenly spread rows), then smooths by three learned taps that
begin as the identity. Eq. 9 flattens (T d) numbers: `branch_attention="flat"`, fixed lengths, feasible for short streams only; the
default is pooled over rows (branches.py), with a tanh (`bounded_score=False`: as printed, a linear score). Eq. 13 and 15 have a bias
for every row: `row_biases`, fixed lengths. The residual in SCU is not printed (`branch_residual`). CMU has one head as printed
(`mutual_heads`).

How sharp a is depends on the size of S. The front end multiplies its rows by sqrt(d), MulT's habit, of which MCR's text says nothing;
the sums of such rows deviate by about 20, and their softmax picks a single row. By default (`alpha_scale="deviation"`) the sums are
divided by sqrt(v + d) / 1.75, with v their variance over the utterance's source rows: a then spreads over about a fifth of the rows,
whatever their number and size (`effective_rows`), and d keeps rows that hardly differ from being told apart. "paper" takes the sums as
printed. "rows" takes them as printed and multiplies a by the number of source rows; checkpoints trained before this was corrected need
it, and their smoothing taps have a bias that eq. 4-5 lack. a reads raw S: after a layer norm all sums would be 0.

A model of one stream takes that stream as its own source, a model of two has one source and no mutual term. With fewer `targets` than
streams, SUM updates a stream that is no target from that stream's embedding, since no reinforced rows of it exist.

Maps: "cross": target <- source (CMU), target <- both sources joined (SCU); in deeper layers a source's row j still stands for its
row j, updated by SUM. "self": a target within itself (SCU), and CMU's in a model of one stream; "memory": the last encoder
over all targets. Gates: "alpha_T_S" (layer b j), before "rows" scales it, summing to 1 over the sources of T; "gamma_T" (layer b 2),
sources first; "mu_S" (layer b n d) and "phi_T" (layer b j d), SUM's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import MultiheadAttention, attend, last_present, present_mean, present_softmax
from .batch import Batch, same_size
from .branches import FORMS, BranchAttention, check_flat, check_lengths, laid_out, slots, weighted
from .outputs import Output, Recorder
from .resampling import Resampling, index_times
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

SHARPNESS = 1.75
"""Deviation of what alpha's softmax reads: normally distributed sums of n rows spread over about n exp(-1.75^2 / 2) = 0.22 n of them."""


@dataclass(frozen=True)
class MCRAblation:
    """What to leave out of an MCR (table of the paper's ablations); the defaults leave out nothing.

    mutual_unit, source_unit  whether CMU and SCU are there;  mutual: eq. 4-5's second term (False: a = 0)
    source_update  "selective" (the paper); "plain" (F + Z, J joined as it is), "feed_forward" (F alone), "none" (low-level features)
    order          "parallel" (the paper), "serial": SCU reads what CMU made
    targets        streams that are reinforced and read at the end, None = all
    """

    mutual_unit: bool = True
    source_unit: bool = True
    mutual: bool = True
    source_update: Literal["selective", "plain", "feed_forward", "none"] = "selective"
    order: Literal["parallel", "serial"] = "parallel"
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.targets is not None:
            object.__setattr__(self, "targets", tuple(self.targets))
        if not (self.mutual_unit or self.source_unit):
            raise ValueError("mcr: without both units nothing is reinforced")
        check_choice("mcr", "source_update", self.source_update, ("selective", "plain", "feed_forward", "none"))
        check_choice("mcr", "order", self.order, ("parallel", "serial"))


@dataclass(frozen=True)
class MCRConfig:
    """The numbers of an MCR; defaults are the paper's for MOSI (heads 8, layers 4 for MOSEI; its kernels are 3, for IEMOCAP's voice 5).

    streams    name -> columns, one to three
    lengths    rows of each stream, for the forms whose weights span time: alignment "learned" (eq. 4-5), branch_attention "flat"
               (eq. 9, as far as memory goes: branches.py), row_biases (eq. 13, 15)
    rate       positions per second
    """

    streams: Mapping[str, int]
    outputs: int
    width: int = 40
    heads: int = 10
    layers: int = 3
    final_layers: int = 1
    kernels: Mapping[str, int] = field(default_factory=dict)
    dropouts: Dropouts = field(default_factory=Dropouts)
    mutual_heads: int = 1
    alignment: Literal["seconds", "index", "learned"] = "seconds"
    alpha_scale: Literal["deviation", "paper", "rows"] = "deviation"
    branch_attention: Literal["pooled", "flat", "mean", "sum"] = "pooled"
    bounded_score: bool = True
    branch_residual: bool = True
    row_biases: bool = False
    lengths: Mapping[str, int] | None = None
    positions: Literal["seconds", "index", "reference", "none"] = "seconds"
    rate: float = 10.0
    readout: Literal["mean", "last"] = "mean"
    ablation: MCRAblation = field(default_factory=MCRAblation)

    def __post_init__(self) -> None:
        from_tables(self, dropouts=Dropouts.of, ablation=lambda table: MCRAblation(**table))
        check_streams("mcr", self.streams, self.kernels)
        check_heads("mcr", self.width, self.heads)
        check_heads("mcr", self.width, self.mutual_heads, "mutual heads")
        if len(self.streams) > 3:
            raise ValueError(f"mcr: a target has one or two sources, so three streams at most, got {list(self.streams)}")
        check_choice("mcr", "alignment", self.alignment, ("seconds", "index", "learned"))
        check_choice("mcr", "alpha_scale", self.alpha_scale, ("deviation", "paper", "rows"))
        check_choice("mcr", "branch_attention", self.branch_attention, FORMS)
        check_choice("mcr", "positions", self.positions, POSITIONS)
        check_choice("mcr", "readout", self.readout, ("mean", "last"))
        if self.alignment == "learned" or self.branch_attention == "flat" or self.row_biases:
            check_lengths("mcr", self.lengths or {}, self.streams)
        if self.branch_attention == "flat":
            check_flat("mcr", [self.rows_of(t) for t in self.targets for _ in range(2 * self.layers)], self.width)
        if self.targets != tuple(m for m in self.streams if m in self.targets) or not self.targets:
            raise ValueError(f"mcr: targets must be some of {', '.join(self.streams)}, in that order, got {self.targets}")

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self.streams) if self.ablation.targets is None else self.ablation.targets

    def sources(self, target: str) -> tuple[str, ...]:
        """The other streams; a stream alone is its own source."""
        return tuple(m for m in self.streams if m != target) or (target,)

    def rows_of(self, *streams: str) -> int:
        """Rows of these streams joined, in the fixed layout; 0 without one."""
        return sum((self.lengths or {}).get(m, 0) for m in streams)

    @property
    def all_sources(self) -> tuple[str, ...]:
        """Streams that are a source of some target."""
        return tuple(m for m in self.streams if any(m in self.sources(t) for t in self.targets))


@dataclass(frozen=True, eq=False)
class Rows:
    """A stream as the units see it: values (b n d), present (b n), times (b n), slots (b n) in its fixed layout (None without one)."""

    values: Tensor
    present: Tensor
    times: Tensor
    where: Tensor | None

    def of(self, values: Tensor) -> Rows:
        """Other values (b n d) at the same rows; absent rows become 0."""
        return Rows(values * self.present[..., None], self.present, self.times, self.where)


class Alignment(nn.Module):
    """Eq. 4-5's reading of one source's keys at another source's rows, R above; "learned" adds its bias to the logits."""

    def __init__(self, config: MCRConfig, read: str, at: str) -> None:
        super().__init__()
        self.learned = config.alignment == "learned"
        if self.learned:
            self.convolution = nn.Linear(config.rows_of(read), config.rows_of(at))
        else:
            self.smooth = nn.Conv1d(1, 1, 3, padding=1, bias=config.alpha_scale == "rows")
            with torch.no_grad():
                self.smooth.weight.copy_(torch.tensor([[[0.0, 1.0, 0.0]]]))
                if self.smooth.bias is not None:
                    self.smooth.bias.zero_()

    def forward(self, keys: Tensor, read: Rows, at: Rows) -> tuple[Tensor, Tensor | None]:
        """keys (b j' d) of `read` -> as of `at` (b j d), and what to add to the logits (b j)."""
        if self.learned:
            assert read.where is not None and at.where is not None
            fixed = laid_out(keys * read.present[..., None], read.where, self.convolution.in_features)  # (b T' d)
            moved = functional.linear(fixed.transpose(1, 2), self.convolution.weight).transpose(1, 2)  # (b T d)
            slot = at.where.clamp(max=self.convolution.out_features - 1)
            return moved.gather(1, slot[..., None].expand(-1, -1, keys.shape[2])) * at.present[..., None], self.convolution.bias[slot]
        moved = Resampling.at(read.times, read.present, at.times)(keys) * at.present[..., None]
        b, n, width = moved.shape
        smooth: Tensor = self.smooth(moved.transpose(1, 2).reshape(b * width, 1, n))  # the same taps for every feature
        return smooth.reshape(b, width, n).transpose(1, 2) * at.present[..., None], None


def selective_weights(sources: Sequence[Rows], scale: str = "paper") -> list[Tensor]:
    """Eq. 3: softmax over the present rows of all sources of each row's sum, scaled as `alpha_scale` says; one (b j) per source."""
    present = torch.cat([s.present for s in sources], 1)  # (b j)
    sums = torch.cat([s.values.sum(2) for s in sources], 1) * present
    if scale == "deviation":
        count = present.sum(1, keepdim=True).clamp(min=1)
        centred = (sums - sums.sum(1, keepdim=True) / count) * present
        variance = centred.square().sum(1, keepdim=True) / count  # (b 1)
        sums = SHARPNESS * centred / (variance + sources[0].values.shape[2]).sqrt()
    weights = present_softmax(sums, present)
    return list(torch.split(weights, [s.present.shape[1] for s in sources], 1))


def effective_rows(weights: Tensor) -> Tensor:
    """Over how many rows weights (... j) that sum to 1 are spread: exp(entropy), (...), 1 for a single row, j for even ones."""
    entropy: Tensor = torch.special.entr(weights).sum(-1)
    return entropy.exp()


@dataclass(frozen=True, eq=False)
class Mutual:
    """CMU's answer: Z_a (b i d), and by source eq. 3's weights (b j) and the maps (b h i j) if wanted."""

    rows: Tensor
    alphas: Mapping[str, Tensor]
    maps: Mapping[str, Tensor]


class CMU(nn.Module):
    """The crossmodal mutual attention unit, eq. 2-5."""

    def __init__(self, config: MCRConfig, target: str) -> None:
        super().__init__()
        width, self.config = config.width, config
        sources = config.sources(target)
        self.residual_norm = nn.LayerNorm(width)
        self.query, self.query_norm = nn.Linear(width, width, bias=False), nn.LayerNorm(width)
        self.mutual = len(sources) == 2 and config.ablation.mutual
        self.keys = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in sources)
        # without the mutual term a bias would add the same number to every key's logit, which softmax does not see
        self.key_norms = nn.ModuleList(nn.LayerNorm(width, bias=self.mutual) for _ in sources)
        self.values = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in sources)
        self.value_norms = nn.ModuleList(nn.LayerNorm(width) for _ in sources)
        if self.mutual:
            first, second = sources
            self.alignments = nn.ModuleList((Alignment(config, read=second, at=first), Alignment(config, read=first, at=second)))
        self.feed_forward = FeedForward(width, config.dropouts)

    def forward(self, target: Rows, sources: Mapping[str, Rows], want_map: bool = False) -> Mutual:
        """Sources by stream, in the config's order."""
        query = self._split(self.query_norm(self.query(target.values)))
        read = list(sources.values())
        keys = [norm(key(s.values)) for s, key, norm in zip(read, self.keys, self.key_norms, strict=True)]
        alphas = selective_weights(read, self.config.alpha_scale)
        rows, maps = self.residual_norm(target.values), {}
        dropout = self.config.dropouts.attention if self.training else 0.0
        for k, (name, source) in enumerate(sources.items()):
            key, bias = self._borrowing(k, keys, read, alphas) if self.mutual else (keys[k], None)
            value = self.value_norms[k](self.values[k](source.values))
            allowed = source.present[:, None, None]
            attended, weights = attend(query, self._split(key), self._split(value), allowed, want_map, dropout, bias)
            rows = rows + functional.dropout(attended.transpose(1, 2).flatten(2), self.config.dropouts.residual, self.training)
            if weights is not None:
                maps[name] = weights * target.present[:, None, :, None]
        return Mutual(self.feed_forward(rows), dict(zip(sources, alphas, strict=True)), maps)

    def _borrowing(self, k: int, keys: Sequence[Tensor], sources: Sequence[Rows], alphas: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Eq. 4-5: source k's keys K + a * (R K') (b j d), and what R's bias adds to the logits (b 1 1 j) or None."""
        alpha = alphas[k]  # (b j)
        if self.config.alpha_scale == "rows":
            count = torch.stack([s.present.sum(1) for s in sources]).sum(0).clamp(min=1)[:, None]  # (b 1)
            alpha = alpha * count
        moved, offset = self.alignments[k](keys[1 - k], sources[1 - k], sources[k])
        return keys[k] + alpha[..., None] * moved, None if offset is None else (alpha * offset)[:, None, None]

    def _split(self, rows: Tensor) -> Tensor:
        b, n, width = rows.shape
        return rows.reshape(b, n, self.config.mutual_heads, width // self.config.mutual_heads).transpose(1, 2)  # (b h n e)


@dataclass(frozen=True, eq=False)
class Integrated:
    """SCU's answer: Z_b (b i d), gamma (b 2), the crossmodal and the self map (b h i j) if wanted."""

    rows: Tensor
    gamma: Tensor
    cross: Tensor | None
    own: Tensor | None


class SCU(nn.Module):
    """The self- and crossmodal attention unit over the joined sources, eq. 6-11."""

    def __init__(self, config: MCRConfig, target: str) -> None:
        super().__init__()
        width, self.config = config.width, config
        self.target_norm, self.source_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross = MultiheadAttention(width, config.heads, config.dropouts.attention)
        self.own = MultiheadAttention(width, config.heads, config.dropouts.attention)
        self.branches = BranchAttention(2, width, config.branch_attention, config.rows_of(target), config.bounded_score)
        self.feed_forward = FeedForward(width, config.dropouts)

    def forward(self, target: Rows, joined: Rows, maps: Collection[str] = ()) -> Integrated:
        """The target and its joined sources; maps of "cross", "self"."""
        normed, present = self.target_norm(target.values), target.present
        source = self.source_norm(joined.values)
        crossed, cross_map = self.cross(normed, source, source_present=joined.present, want_map="cross" in maps)
        own, own_map = self.own(normed, normed, source_present=present, want_map="self" in maps)
        branches = [functional.dropout(b, self.config.dropouts.residual, self.training) for b in (crossed, own)]
        if self.config.branch_residual:
            branches = [target.values + b for b in branches]
        branches = [b * present[..., None] for b in branches]
        something = torch.stack([joined.present.any(1), present.any(1)], 1)  # sources that are absent have nothing to say
        gamma = self.branches(branches, present, something, target.where)
        mask = present[:, None, :, None]
        cross_map, own_map = (None if m is None else m * mask for m in (cross_map, own_map))
        return Integrated(self.feed_forward(weighted(branches, gamma)), gamma, cross_map, own_map)


class Bias(nn.Module):
    """One bias for all rows, or (the paper's) one for each slot of a fixed layout of `length` rows."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.by_row = length > 0
        self.bias = nn.Parameter(torch.zeros(max(1, length), width))

    def forward(self, rows: Rows) -> Tensor:
        """-> (b n d), or (1 d) for all."""
        if not self.by_row or rows.where is None:
            return self.bias
        return self.bias[rows.where.clamp(max=len(self.bias) - 1)]


@dataclass(frozen=True, eq=False)
class Updated:
    """SUM's answer: the sources by stream, each target's joined sources, and the gates by name (b n d)."""

    sources: Mapping[str, Rows]
    joined: Mapping[str, Rows]
    gates: Mapping[str, Tensor]


class SUM(nn.Module):
    """The source modality update module, eq. 12-16: sources from the targets of the same streams, and each target's joined sources."""

    def __init__(self, config: MCRConfig) -> None:
        super().__init__()
        width, self.config, names = config.width, config, config.all_sources
        rows = config.rows_of if config.row_biases else lambda *_: 0
        self.feed_forward = nn.ModuleDict({m: FeedForward(width, config.dropouts) for m in names})
        if config.ablation.source_update == "selective":
            self.keep_source = nn.ModuleDict({m: nn.Linear(width, width, bias=False) for m in names})
            self.keep_target = nn.ModuleDict({m: nn.Linear(width, width, bias=False) for m in names})
            self.keep_bias = nn.ModuleDict({m: Bias(width, rows(m)) for m in names})
            if config.ablation.source_unit:
                self.join = nn.ModuleDict({t: nn.Linear(width, width, bias=False) for t in config.targets})
                self.join_bias = nn.ModuleDict({t: Bias(width, rows(*config.sources(t))) for t in config.targets})

    def forward(self, sources: Mapping[str, Rows], targets: Mapping[str, Rows], joined: Mapping[str, Rows]) -> Updated:
        """Sources and targets by stream; each target's joined sources as they were (for their presence and slots)."""
        after, gates = {}, {}
        update = self.config.ablation.source_update
        for m in self.config.all_sources:
            values = self.feed_forward[m](sources[m].values)
            target = targets[m].values
            if update == "selective":
                keep = (self.keep_source[m](values) + self.keep_target[m](target) + self.keep_bias[m](sources[m])).sigmoid()  # eq. 13
                gates[f"mu_{m}"] = keep * sources[m].present[..., None]
                values = (1 - keep) * target.tanh() + keep * values  # eq. 14
            elif update == "plain":
                values = values + target
            after[m] = sources[m].of(values)
        both = {t: rows.of(torch.cat([after[m].values for m in self.config.sources(t)], 1)) for t, rows in joined.items()}
        if update == "selective" and self.config.ablation.source_unit:
            for t, rows in both.items():
                phi = (self.join[t](rows.values) + self.join_bias[t](rows)).sigmoid()  # eq. 15
                gates[f"phi_{t}"] = phi * rows.present[..., None]
                both[t] = rows.of(phi * rows.values.tanh())  # eq. 16
        return Updated(after, both, gates)


@dataclass(frozen=True, eq=False)
class State:
    """Between two layers: the streams as targets, as sources, and each target's sources joined."""

    targets: Mapping[str, Rows]
    sources: Mapping[str, Rows]
    joined: Mapping[str, Rows]


class MCR(nn.Module):
    """See the module's docstring; the contract is in outputs.py. The maps' units are "CMU" and "SCU"."""

    def __init__(self, config: MCRConfig) -> None:
        super().__init__()
        self.config = config
        ablation = config.ablation
        self.fronts = Fronts(config.streams, config.width, config.kernels, config.dropouts, config.positions, config.rate)
        rounds = range(config.layers)
        if ablation.mutual_unit:
            self.mutual = nn.ModuleList(nn.ModuleDict({t: CMU(config, t) for t in config.targets}) for _ in rounds)
        if ablation.source_unit:
            self.source = nn.ModuleList(nn.ModuleDict({t: SCU(config, t) for t in config.targets}) for _ in rounds)
        if ablation.source_update != "none":
            # what the last layer's update would make is read by nobody
            self.update = nn.ModuleList(SUM(config) for _ in rounds[:-1])
        self.final = Encoder(config.width, config.heads, config.final_layers, config.dropouts)
        self.head = Head(config.width, config.outputs, config.dropouts.output)

    def forward(self, streams: Mapping[str, Batch], maps: Collection[str] = ()) -> Output:
        same_size(streams, self.config.streams)
        config, recorder, state = self.config, Recorder(maps), self._start(streams)
        for layer in range(config.layers):
            targets = {**state.targets, **{t: self._reinforced(layer, t, state, recorder) for t in config.targets}}
            state = State(targets, state.sources, state.joined)
            if config.ablation.source_update != "none" and layer < config.layers - 1:
                updated: Updated = self.update[layer](state.sources, state.targets, state.joined)
                for name, gate in updated.gates.items():
                    recorder.gate(name, gate)
                state = State(targets, updated.sources, updated.joined)
        rows = torch.cat([state.targets[t].values for t in config.targets], 1)
        present = torch.cat([state.targets[t].present for t in config.targets], 1)
        rows, weights = self.final(rows, target_present=present, want_map=recorder.wants("memory"))
        recorder.stack("memory", "+".join(config.targets), "+".join(config.targets), weights)
        features = present_mean(rows, present) if config.readout == "mean" else last_present(rows, present)
        return recorder.output(self.head(features), features)

    def _start(self, streams: Mapping[str, Batch]) -> State:
        rows = {m: self._rows([m], values, streams) for m, values in self.fronts(streams).items()}
        joined = {}
        for t in self.config.targets:
            names = self.config.sources(t)
            joined[t] = self._rows(names, torch.cat([rows[m].values for m in names], 1), streams)
        return State(rows, rows, joined)

    def _rows(self, names: Sequence[str], values: Tensor, streams: Mapping[str, Batch]) -> Rows:
        """One stream, or several joined in time."""
        present = [streams[m].present for m in names]
        times = [index_times(streams[m].present) if self.config.alignment == "index" else streams[m].times for m in names]
        where = None if self.config.lengths is None else slots(present, [self.config.lengths[m] for m in names])
        return Rows(values, torch.cat(present, 1), torch.cat(times, 1), where)

    def _reinforced(self, layer: int, target: str, state: State, recorder: Recorder) -> Rows:
        """A target after its units, merged: Z_a + Z_b."""
        rows, made = state.targets[target], []
        if self.config.ablation.mutual_unit:
            made.append(self._mutual(layer, target, state, recorder))
        if self.config.ablation.source_unit:
            serial = made and self.config.ablation.order == "serial"
            made.append(self._integrated(layer, target, rows.of(made.pop()) if serial else rows, state, recorder))
        return rows.of(torch.stack(made).sum(0))

    def _mutual(self, layer: int, target: str, state: State, recorder: Recorder) -> Tensor:
        """Z_a (b i d) of one CMU."""
        names = self.config.sources(target)
        kind = "self" if names == (target,) else "cross"
        unit = cast(nn.ModuleDict, self.mutual[layer])[target]
        answer: Mutual = unit(state.targets[target], {m: state.sources[m] for m in names}, recorder.wants(kind))
        for m in names:
            recorder.map(kind, target, m, answer.maps.get(m), "CMU")
            recorder.gate(f"alpha_{target}_{m}", answer.alphas[m])
        return answer.rows

    def _integrated(self, layer: int, target: str, rows: Rows, state: State, recorder: Recorder) -> Tensor:
        """Z_b (b i d) of one SCU."""
        names = self.config.sources(target)
        unit = cast(nn.ModuleDict, self.source[layer])[target]
        answer: Integrated = unit(rows, state.joined[target], recorder.kinds)
        if names != (target,):
            recorder.map("cross", target, "+".join(names), answer.cross, "SCU")
        recorder.map("self", target, target, answer.own, "SCU")
        recorder.gate(f"gamma_{target}", answer.gamma)
        return answer.rows
