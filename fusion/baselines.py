"""What the papers compare with: early and late fusion by LSTM, and (either with one stream in its config) each stream alone.

Letters: b utterances, n rows, g slices, s number of streams, f columns, r = 2H. Neither has attention, so neither gives maps.

Early fusion (EF-LSTM of Tsai et al. 2019, which wants aligned input): the utterance, from its first row to its last, is cut into equal
slices; each stream's rows are averaged in each slice, with a column that says whether there was one; the joined slices pass one
bidirectional LSTM. With `form="attention"` it is Beard et al.'s early fusion (2018, section 4): each stream passes its own LSTM, the
encoded rows are read at the times of the utterance's fastest stream and joined along features, and RRNN's recursion decodes this one
view. Late fusion (LF-LSTM; Beard et al. 2018): a bidirectional LSTM for each stream, one feed-forward layer on its final states, and a
learned linear mix of the streams' answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .batch import Batch, origin, same_size
from .outputs import Output
from .resampling import Resampling
from .rrnn import Encoder, Recursion, RRNNConfig, flattened

JOINED = "joined"


@dataclass(frozen=True)
class EarlyFusionConfig:
    """streams: name -> columns, one or more; hidden: H; slices: g, into which an utterance is cut (form "slices");
    attention, hops: RRNN's, of form "attention"."""

    streams: Mapping[str, int]
    outputs: int
    hidden: int = 64
    slices: int = 50
    dropout: float = 0.2
    form: Literal["slices", "attention"] = "slices"
    attention: int = 64
    hops: int = 3

    def __post_init__(self) -> None:
        if self.form not in ("slices", "attention"):
            raise ValueError(f"early fusion: form must be slices or attention, got {self.form!r}")
        if not self.streams or self.slices < 1:
            raise ValueError(f"early fusion: expected a stream and a slice or more, got {len(self.streams)} and {self.slices}")


@dataclass(frozen=True)
class LateFusionConfig:
    """streams: name -> columns, one or more; hidden: H."""

    streams: Mapping[str, int]
    outputs: int
    hidden: int = 64
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if not self.streams:
            raise ValueError("late fusion: expected a stream or more, got none")


def in_slices(batch: Batch, start: Tensor, end: Tensor, slices: int) -> Tensor:
    """Means of the rows in each of g equal slices of [start, end] (b 1) seconds -> (b g f+1); the last column: 1 where there was a row."""
    length = (end - start).clamp(min=1e-3)
    slice_of = ((batch.times - start) / length * slices).floor().clamp(0, slices - 1).long()  # (b n)
    member = functional.one_hot(slice_of, slices).to(batch.values.dtype) * batch.present[..., None]  # (b n g)
    shown = torch.where(batch.present[..., None], batch.values, torch.zeros_like(batch.values))
    count = member.sum(1)[..., None]  # (b g 1)
    means = torch.einsum("bng,bnf->bgf", member, shown) / count.clamp(min=1)
    return torch.cat([means, (count > 0).to(means.dtype)], dim=2)


def final_states(encoded: Tensor, present: Tensor) -> Tensor:
    """(b n r) of a bidirectional LSTM -> (b r): forward half of the last present row, backward half of the first; 0 where there is none."""
    index = torch.arange(present.shape[1], device=present.device)
    last = torch.where(present, index, -1).amax(1)
    first = torch.where(present, index, present.shape[1]).amin(1).clamp(max=present.shape[1] - 1)
    members = torch.arange(len(encoded), device=encoded.device)
    half = encoded.shape[2] // 2
    states = torch.cat([encoded[members, last.clamp(min=0), :half], encoded[members, first, half:]], dim=1)
    return states * (last >= 0)[:, None]


class EarlyFusion(nn.Module):
    """See the module's docstring; the contract is in outputs.py."""

    def __init__(self, config: EarlyFusionConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(sum(f + 1 for f in config.streams.values()), config.hidden, config.dropout)
        self.out = nn.Linear(2 * config.hidden, config.outputs)

    def forward(self, streams: Mapping[str, Batch], maps: Collection[str] = ()) -> Output:
        same_size(streams, self.config.streams)
        start = origin(streams)
        end = torch.stack([s.times.masked_fill(~s.present, -torch.inf).amax(1) for s in streams.values()]).amax(0)[:, None]
        end = torch.where(torch.isinf(end), start, end)
        joined = torch.cat([in_slices(streams[m], start, end, self.config.slices) for m in self.config.streams], dim=2)
        everywhere = torch.ones(joined.shape[:2], dtype=torch.bool, device=joined.device)
        features = final_states(self.encoder(Batch(joined, torch.zeros_like(joined[..., 0]), everywhere)), everywhere)
        return Output(logits=self.out(features), features=features)


class EarlyAttention(nn.Module):
    """Early fusion in the form that RRNN's paper compares with; see the module's docstring."""

    def __init__(self, config: EarlyFusionConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleDict({m: Encoder(f, config.hidden, config.dropout) for m, f in config.streams.items()})
        recursion = RRNNConfig(config.streams, config.outputs, config.hidden, config.attention, config.hops, dropout=config.dropout)
        self.recursion = Recursion(recursion, [JOINED], 2 * config.hidden * len(config.streams))
        flattened(self, "recursion")

    def forward(self, streams: Mapping[str, Batch], maps: Collection[str] = ()) -> Output:
        same_size(streams, self.config.streams)
        times, present = fastest([streams[m] for m in self.config.streams])
        read = []
        for m in self.config.streams:
            resampled = Resampling.at(streams[m].times, streams[m].present, times)
            read.append(resampled(self.encoders[m](streams[m])))  # (b n r), zeros where the stream is absent
        joined = torch.cat(read, dim=2) * present[..., None]
        answer: Output = self.recursion({JOINED: joined}, {JOINED: present})
        return answer


def fastest(streams: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """Times (b n) and present (b n) of each utterance's stream with the most rows; of equals the first."""
    rows = max(s.values.shape[1] for s in streams)
    pads = [(0, rows - s.values.shape[1]) for s in streams]
    times = torch.stack([functional.pad(s.times, pad) for s, pad in zip(streams, pads, strict=True)])  # (s b n)
    present = torch.stack([functional.pad(s.present, pad) for s, pad in zip(streams, pads, strict=True)])
    chosen = present.sum(2).argmax(0)  # (b)
    utterances = torch.arange(times.shape[1], device=times.device)
    return times[chosen, utterances], present[chosen, utterances]


def early_fusion(config: EarlyFusionConfig) -> nn.Module:
    """The module of either form."""
    return EarlyAttention(config) if config.form == "attention" else EarlyFusion(config)


class LateFusion(nn.Module):
    """See the module's docstring; the contract is in outputs.py."""

    def __init__(self, config: LateFusionConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleDict({m: Encoder(f, config.hidden, config.dropout) for m, f in config.streams.items()})
        self.answer = nn.ModuleDict({m: nn.Linear(2 * config.hidden, config.outputs) for m in config.streams})
        self.mix = nn.Linear(len(config.streams) * config.outputs, config.outputs)

    def forward(self, streams: Mapping[str, Batch], maps: Collection[str] = ()) -> Output:
        same_size(streams, self.config.streams)
        states = {m: final_states(self.encoders[m](streams[m]), streams[m].present) for m in self.config.streams}
        # an absent stream has no say, not even its layer's bias
        answers = [self.answer[m](state) * streams[m].present.any(1, keepdim=True) for m, state in states.items()]
        return Output(logits=self.mix(torch.cat(answers, dim=1)), features=torch.cat(list(states.values()), dim=1))
