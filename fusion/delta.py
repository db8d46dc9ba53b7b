"""HDA: hierarchical delta-attention (Panchal, arXiv 2011.10916).

Letters: b utterances, n rows, i target row, j source row, h heads, c channels of the front, w window, r width of a stream's encoding,
F all streams joined in time. Each stream attends to itself with a bias that grows with the change between two rows; small encoders
(trained by DCCA, dcca.py) bring the streams to a common width; one attention reads them together:

    x = Conv(input)                                             eq. 9     (b n c)
    A = softmax((Q K^T + D) / sqrt(c)), D_ij = (x_j - x_i) . W[:, offset(i, j)]; Z_h = A V        eq. 10-11, D for all heads
    Y = [Z_1 .. Z_h] W_o + x W_skip                             eq. 12    (b n width)
    F = [Conv(ReLU(Conv(Y_m))) + Y_m W_fused]_time              eq. 13-14 (b F r)
    Z = FFN(softmax(Q_F K_F^T / sqrt(t)) V_F)                   eq. 15-16 (b F t)
    logits = linear(mean over rows of Z)                        eq. 17

What the paper leaves open or prints otherwise. Its D is (x_j - x_i) W with W (c n), which is a row of n numbers where one is needed:
`offsets="steps"` (default) takes W's column by the rows' distance, cut at +-w, any length ("seconds": the distance in seconds * rate);
"absolute" takes it by the source's place in time, for fixed `lengths`. One column for all would leave only a bias of the sources.
Sizes are never stated. W_skip (`attention_skip`) and W_fused (`fused_skip`; announced in the paper's section 4, missing from eq. 14)
are ours, and so is the FFN (`fused_feed_forward`): without it a prototype learned no agreement between streams from averaged
attention. `look="past"` and `band` are the paper's causal reading and its sliding window. Nothing in F says where or in which stream a
row lies; `fused_positions="seconds"` adds the time.

Maps: "self": each stream to itself; "cross": the joined streams to themselves (off the diagonal blocks: between streams; "memory" in a
model of one stream). Its rows are encoder rows: two convolutions and one self-attention after the input's. Gates: "delta_STREAM"
(layer b i j), D before the scale, if self maps are asked for. Cost: the square of each stream's rows and of all rows, once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import attend, present_mean
from .batch import Batch, origin, same_size
from .branches import check_lengths, slots
from .outputs import Output, Recorder
from .time_encoding import second_positions, sinusoid
from .transformer import Dropouts, FeedForward, Front, check_choice, check_streams

STAGES = ("streams", "encoders", "fused")
"""What the paper trains one after the other, each frozen afterwards."""


@dataclass(frozen=True)
class HDAConfig:
    """The numbers of an HDA. The paper's form as far as it is stated: offsets "absolute" with `lengths`, both skips and
    `fused_feed_forward` off.

    streams   name -> columns, one or more;  kernels: the front's per stream, odd, 3 where not named
    channels  c;  width: of Y;  encoded: r;  fused: t;  window: w
    band      a row looks at rows at most so many steps away; None = all
    rate      positions per second, for offsets and fused_positions in "seconds"
    readout   "fused" (the paper's model); "encoded": no fused attention, the mean of the encoded rows is read (self-attended + CCA);
              "attended": neither encoders nor fusion, the means of the streams' Y side by side (with one stream: its unimodal row)
    """

    streams: Mapping[str, int]
    outputs: int
    channels: int = 40
    heads: int = 4
    width: int = 64
    encoded: int = 32
    fused: int = 32
    window: int = 8
    kernels: Mapping[str, int] = field(default_factory=dict)
    offsets: Literal["steps", "seconds", "absolute"] = "steps"
    lengths: Mapping[str, int] | None = None
    look: Literal["full", "past"] = "full"
    band: int | None = None
    attention_skip: bool = True
    fused_skip: bool = True
    fused_feed_forward: bool = True
    fused_positions: Literal["none", "seconds"] = "none"
    readout: Literal["fused", "encoded", "attended"] = "fused"
    rate: float = 10.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_streams("delta", self.streams, self.kernels)
        check_choice("delta", "offsets", self.offsets, ("steps", "seconds", "absolute"))
        check_choice("delta", "look", self.look, ("full", "past"))
        check_choice("delta", "fused_positions", self.fused_positions, ("none", "seconds"))
        check_choice("delta", "readout", self.readout, ("fused", "encoded", "attended"))
        if self.offsets == "absolute":
            check_lengths("delta", self.lengths or {}, self.streams)
        if self.window < 0 or (self.band is not None and self.band < 0):
            raise ValueError(f"delta: expected window and band >= 0, got {self.window} and {self.band}")


def relative_bias(rows: Tensor, columns: Tensor, index: Tensor) -> Tensor:
    """D_ij = (x_j - x_i) . W[:, index_ij]: rows (b n c), W (c k), index (b i j) -> (b i j)."""
    along = rows @ columns  # (b n k): every row on every column
    of_source = along.gather(2, index.transpose(1, 2)).transpose(1, 2)  # x_j . W[:, index_ij]
    of_target = along.gather(2, index)  # x_i . W[:, index_ij]
    return of_source - of_target


class DeltaAttention(nn.Module):
    """Eq. 10-12 for one stream."""

    def __init__(self, config: HDAConfig, name: str) -> None:
        super().__init__()
        self.config, channels = config, config.channels
        self.project = nn.Linear(channels, 3 * config.heads * channels)  # queries, keys, values, each head c wide
        columns = (config.lengths or {})[name] if config.offsets == "absolute" else 2 * config.window + 1
        self.columns = nn.Parameter(torch.randn(channels, columns) / channels**0.5)
        self.out = nn.Linear(config.heads * channels, config.width, bias=False)
        if config.attention_skip:
            self.skip = nn.Linear(channels, config.width, bias=False)

    def forward(self, rows: Tensor, batch: Batch, want_map: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
        """x (b n c) -> Y (b n width), D (b i j), and the weights (b h i j) if wanted."""
        b, n, channels = rows.shape
        query, key, value = self.project(rows).reshape(b, n, 3, self.config.heads, channels).permute(2, 0, 3, 1, 4)  # (b h n c) each
        steps = batch.present.cumsum(1)
        apart = steps[:, None, :] - steps[:, :, None]  # (b i j): how far j lies after i
        bias = relative_bias(rows, self.columns, self._index(apart, batch))
        allowed = batch.present[:, None, :].expand(b, n, n)
        if self.config.look == "past":
            allowed = allowed & (apart <= 0)
        if self.config.band is not None:
            allowed = allowed & (apart.abs() <= self.config.band)
        dropout = self.config.dropout if self.training else 0.0
        heads, weights = attend(query, key, value, allowed[:, None], want_map, dropout, bias[:, None] / channels**0.5)
        attended = self.out(heads.transpose(1, 2).flatten(2))
        if self.config.attention_skip:
            attended = attended + self.skip(rows)
        attended = functional.dropout(attended, self.config.dropout, self.training) * batch.present[..., None]
        return attended, bias, None if weights is None else weights * batch.present[:, None, :, None]

    def _index(self, apart: Tensor, batch: Batch) -> Tensor:
        """(b i j): the column of W for each pair of rows."""
        window = self.config.window
        if self.config.offsets == "absolute":
            slot = slots([batch.present], [self.columns.shape[1]]).clamp(max=self.columns.shape[1] - 1)
            return slot[:, None, :].expand_as(apart)
        if self.config.offsets == "seconds":
            apart = ((batch.times[:, None, :] - batch.times[:, :, None]) * self.config.rate).round().long()
        return apart.clamp(-window, window) + window


class StreamEncoder(nn.Module):
    """E of eq. 13: two convolutions to the width that the streams share."""

    def __init__(self, config: HDAConfig) -> None:
        super().__init__()
        self.first = Front(config.width, config.width, 3, bias=True)
        self.second = Front(config.width, config.encoded, 3, bias=True)

    def forward(self, rows: Tensor, present: Tensor) -> Tensor:
        """(b n width), present (b n) -> (b n r)."""
        encoded: Tensor = self.second(self.first(rows, present).relu(), present)
        return encoded


class HDA(nn.Module):
    """See the module's docstring; the contract is in outputs.py. `stage_parameters` names what each stage of training moves."""

    def __init__(self, config: HDAConfig) -> None:
        super().__init__()
        self.config, names = config, list(config.streams)
        self.fronts = nn.ModuleDict({m: Front(f, config.channels, config.kernels.get(m, 3), bias=True) for m, f in config.streams.items()})
        self.attention = nn.ModuleDict({m: DeltaAttention(config, m) for m in names})
        widths = {"fused": config.fused, "encoded": config.encoded, "attended": len(names) * config.width}
        if config.readout != "attended":
            self.encoders = nn.ModuleDict({m: StreamEncoder(config) for m in names})
            if config.fused_skip:
                self.skips = nn.ModuleDict({m: nn.Linear(config.width, config.encoded, bias=False) for m in names})
        if config.readout == "fused":
            self.project = nn.Linear(config.encoded, 3 * config.fused)  # queries, keys, values
            if config.fused_feed_forward:
                self.feed_forward = FeedForward(config.fused, Dropouts(relu=config.dropout, residual=config.dropout))
        self.out = nn.Linear(widths[config.readout], config.outputs)

    def attended(self, streams: Mapping[str, Batch], recorder: Recorder | None = None) -> dict[str, Tensor]:
        """Y (b n width) by stream (eq. 9-12); maps and D go to the recorder where it wants maps of kind "self"."""
        same_size(streams, self.config.streams)
        want_map, rows = recorder is not None and recorder.wants("self"), {}
        for m in self.config.streams:
            front = self.fronts[m](streams[m].values, streams[m].present)
            rows[m], bias, weights = self.attention[m](front, streams[m], want_map)
            if recorder is not None and want_map:
                recorder.map("self", m, m, weights)
                recorder.gate(f"delta_{m}", bias)
        return rows

    def encoded(self, rows: Mapping[str, Tensor], streams: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Y by stream -> E(Y) (b n r) by stream: what DCCA correlates (eq. 13)."""
        return {m: self.encoders[m](rows[m], streams[m].present) for m in rows}

    def forward(self, streams: Mapping[str, Batch], maps: Collection[str] = ()) -> Output:
        recorder = Recorder(maps)
        rows = self.attended(streams, recorder)
        features = self._features(rows, streams, recorder)
        return recorder.output(self.out(features), features)

    def _features(self, rows: Mapping[str, Tensor], streams: Mapping[str, Batch], recorder: Recorder) -> Tensor:
        """Y by stream -> what the head reads (b c), as `readout` says."""
        if self.config.readout == "attended":
            return torch.cat([present_mean(rows[m], streams[m].present) for m in rows], 1)
        common = self._common(rows, streams)
        joined = torch.cat(list(common.values()), 1)  # (b F r)
        present = torch.cat([streams[m].present for m in common], 1)
        if self.config.readout == "encoded":
            return present_mean(joined, present)
        return present_mean(self._fused(joined, present, recorder), present)

    def _common(self, rows: Mapping[str, Tensor], streams: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Y by stream -> the rows that are joined (b n r) by stream: encodings, skips and positions (eq. 13-14)."""
        common = self.encoded(rows, streams)
        if self.config.fused_skip:
            common = {m: common[m] + self.skips[m](rows[m]) for m in common}
        if self.config.fused_positions == "seconds":
            start = origin(streams)
            for m, encoded in common.items():
                positions = second_positions(streams[m].times, streams[m].present, start, self.config.rate)
                common[m] = encoded + sinusoid(positions, self.config.encoded).to(encoded.dtype)
        return common

    def _fused(self, joined: Tensor, present: Tensor, recorder: Recorder) -> Tensor:
        """Eq. 15-16: joined rows (b F r) -> Z (b F t)."""
        query, key, value = self.project(joined)[:, None].chunk(3, dim=3)  # (b 1 F t) each
        names = "+".join(self.config.streams)
        kind = "cross" if len(self.config.streams) > 1 else "memory"
        dropout = self.config.dropout if self.training else 0.0
        attended, weights = attend(query, key, value, present[:, None, None], recorder.wants(kind), dropout)
        recorder.map(kind, names, names, None if weights is None else weights * present[:, None, :, None])
        fused: Tensor = attended[:, 0]
        return self.feed_forward(fused) if self.config.fused_feed_forward else fused


class StageHeads(nn.Module):
    """The first stage's heads: each stream's own answer from its Y alone. Thrown away after that stage."""

    def __init__(self, config: HDAConfig) -> None:
        super().__init__()
        self.out = nn.ModuleDict({m: nn.Linear(config.width, config.outputs) for m in config.streams})

    def forward(self, rows: Mapping[str, Tensor], streams: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Y by stream -> logits (b o) by stream."""
        return {m: out(present_mean(rows[m], streams[m].present)) for m, out in self.out.items()}


def stage_parameters(module: HDA, stage: str) -> Iterator[nn.Parameter]:
    """What a stage of the paper's training moves: "streams" (with `StageHeads`), then "encoders" (by DCCA), then "fused"."""
    check_choice("delta", "stage", stage, STAGES)
    parts = {"fronts": "streams", "attention": "streams", "encoders": "encoders"}
    return (p for name, p in module.named_parameters() if parts.get(name.partition(".")[0], "fused") == stage)
