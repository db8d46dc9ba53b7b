"""RRNN: recursive attention with gating (Beard et al., "Multi-modal sequence fusion via recursive attention", CoNLL 2018).

Letters: b utterances, n rows, k steps of one stream, s number of streams, r = 2H the width of an encoded row, a the attention's width.
Each stream is read by its own bidirectional LSTM (eq. 1-3). A memory m (b r) then looks at every stream in turn, several hops: it
scores each row (eq. 5-6), takes a softmax over time (eq. 7; the paper prints a plain sum below the line, which need not be positive),
reads one context per stream (eq. 8), and is updated through gates (eq. 9-13). What it has gathered is decoded.

Ambiguities, settled: the first memory is the sum of the streams' means (`start="mean"`; "zero", the paper's other wording, makes the
first hop uniform); eq. 11's gates, which the paper defines and never uses, scale each stream's context before they are joined
(`view_gates`); without `gates` every gate is 1. Options that the paper mentions: several `heads` score the same relation and their
contexts are averaged; `score="add"` relates memory and row by a sum inside one tanh (concatenative attention) in place of a product. The
model reads order, not seconds: cost grows linearly with length and no weight spans time, so this is the paper's own form at any length.

Maps: kind "cross", target "utterance" (the memory), one for each stream; layers are hops. A BiLSTM row knows its neighbours,
so a weight points at a place, give or take some rows. Gates: "view" (hop b s r), "joined" (hop b s r), "memory" (hop b r).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .attention import present_mean, present_softmax
from .batch import Batch, same_size
from .outputs import Output, Recorder


@dataclass(frozen=True)
class RRNNConfig:
    """The numbers of an RRNN; defaults are the paper's for CREMA-D and RAVDESS (512 for MOSEI).

    streams    name -> columns, one or more
    hidden     H, LSTM units in each direction;  attention: a, at most 2H
    tied       whether all hops share their attention weights
    heads      distributions over time for each stream and hop;  score: "product" (eq. 5) or "add"
    """

    streams: Mapping[str, int]
    outputs: int
    hidden: int = 128
    attention: int = 128
    hops: int = 3
    tied: bool = False
    start: Literal["mean", "zero"] = "mean"
    gates: bool = True
    view_gates: bool = True
    dropout: float = 0.2
    heads: int = 1
    score: Literal["product", "add"] = "product"

    def __post_init__(self) -> None:
        if not self.streams:
            raise ValueError("rrnn: expected a stream or more, got none")
        if self.attention > 2 * self.hidden:
            raise ValueError(f"rrnn: the attention's width must be at most 2 * hidden = {2 * self.hidden}, got {self.attention}")
        if self.heads < 1 or self.score not in ("product", "add"):
            raise ValueError(f"rrnn: expected heads >= 1 and score product or add, got {self.heads} and {self.score!r}")
        if self.hops < 0 or self.start not in ("mean", "zero"):
            raise ValueError(f"rrnn: expected hops >= 0 and start mean or zero, got {self.hops} and {self.start!r}")


class Encoder(nn.Module):
    """One bidirectional LSTM over a stream's present rows, wherever the padding stands."""

    def __init__(self, columns: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(columns, hidden, batch_first=True, bidirectional=True)
        self.dropout = dropout

    def forward(self, batch: Batch) -> Tensor:
        """-> (b n r), zero in absent rows."""
        order = torch.argsort(~batch.present, dim=1, stable=True)  # present rows to the front, in their order
        shown = torch.where(batch.present[..., None], batch.values, torch.zeros_like(batch.values))
        front = shown.gather(1, order[..., None].expand_as(shown))
        lengths = batch.present.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(front, lengths, batch_first=True, enforce_sorted=False)
        encoded, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=front.shape[1])
        back = torch.argsort(order, dim=1)
        encoded = encoded.gather(1, back[..., None].expand_as(encoded))
        return functional.dropout(encoded, self.dropout, self.training) * batch.present[..., None]


class Attention(nn.Module):
    """Eq. 5-8 for one stream and hop."""

    def __init__(self, width: int, attention: int, heads: int = 1, additive: bool = False) -> None:
        super().__init__()
        self.additive = additive
        self.rows = nn.Linear(width, attention, bias=False)
        self.memory = nn.Linear(width, attention, bias=False)
        self.score = nn.Linear(attention, heads, bias=False)

    def forward(self, rows: Tensor, memory: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """rows (b n r), memory (b r), present (b n) -> context (b r), weights (b h n)."""
        seen, asked = self.rows(rows), self.memory(memory)[:, None]  # (b n a), (b 1 a)
        relation = (seen + asked).tanh() if self.additive else seen.tanh() * asked.tanh()  # (b n a), eq. 5
        weights = present_softmax(self.score(relation).transpose(1, 2), present[:, None])  # eq. 6-7
        return torch.einsum("bhn,bnr->bhr", weights, rows).mean(1), weights  # eq. 8


class Recursion(nn.Module):
    """Eq. 4-13 and the decoder: a memory that looks at views, hop after hop. `width` is that of the views' rows and of the memory."""

    def __init__(self, config: RRNNConfig, views: Sequence[str], width: int) -> None:
        super().__init__()
        self.config, number = config, len(views)
        sets = 1 if config.tied and config.hops else config.hops
        self.attention = nn.ModuleList(
            nn.ModuleDict({m: Attention(width, config.attention, config.heads, config.score == "add") for m in views}) for _ in range(sets)
        )
        if config.hops:
            self.update = nn.Linear((1 + number) * width, width)  # eq. 12: W_um, W_uw, b_u
        if config.hops and config.gates:
            self.joined_gate = nn.Linear((1 + number) * width, number * width)  # eq. 9
            self.memory_gate = nn.Linear((1 + number) * width, width)  # eq. 10
            if config.view_gates:
                self.view_gates = nn.ModuleDict({m: nn.Linear(2 * width, width) for m in views})  # eq. 11
        self.decode = nn.Linear(width, config.attention)
        self.out = nn.Linear(config.attention, config.outputs)

    def forward(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor], maps: Collection[str] = ()) -> Output:
        """encoded: view -> (b n width); present: view -> (b n)."""
        recorder = Recorder(maps)
        memory = torch.stack([present_mean(rows, present[m]) for m, rows in encoded.items()]).sum(0)
        if self.config.start == "zero" and self.config.hops:
            memory = torch.zeros_like(memory)
        for hop in range(self.config.hops):
            attention = cast(nn.ModuleDict, self.attention[0 if self.config.tied else hop])
            contexts, view = [], []
            for m, rows in encoded.items():
                context, weights = attention[m](rows, memory, present[m])
                recorder.map("cross", "utterance", m, weights[:, :, None, :])
                if self.config.gates and self.config.view_gates:
                    gate = self.view_gates[m](torch.cat([memory, context], 1)).sigmoid()  # (b r)
                    view.append(gate)
                    context = gate * context
                contexts.append(context)
            recorder.gate("view", torch.stack(view, 1) if view else None)
            memory, used = self._updated(memory, torch.cat(contexts, 1))
            for name, gate in used.items():
                recorder.gate(name, gate)
        return recorder.output(self.out(self.decode(memory).relu()), memory)

    def _updated(self, memory: Tensor, joined: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """memory (b r), joined contexts (b s*r) -> the next memory (eq. 9-13) and the gates used."""
        if not self.config.gates:
            return self.update(torch.cat([memory, joined], 1)).tanh(), {}
        both = torch.cat([memory, joined], 1)
        joined_gate = self.joined_gate(both).sigmoid()  # (b s*r), eq. 9
        memory_gate = self.memory_gate(both).sigmoid()  # (b r), eq. 10
        update = self.update(torch.cat([memory, joined_gate * joined], 1)).tanh()  # eq. 12
        memory = (1 - memory_gate) * memory + memory_gate * update  # eq. 13
        return memory, {"joined": joined_gate.unflatten(1, (-1, memory.shape[1])), "memory": memory_gate}


def flattened(module: nn.Module, part: str) -> None:
    """State dicts name the weights of `part` as if they were the module's own, as checkpoints have them."""

    def shorten(_: nn.Module, state: dict[str, Any], prefix: str, __: Any) -> None:
        for key in [key for key in state if key.startswith(f"{prefix}{part}.")]:
            state[prefix + key.removeprefix(f"{prefix}{part}.")] = state.pop(key)

    def lengthen(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
        inside = dict(getattr(module, part).named_parameters())
        for key in [key for key in state if key.removeprefix(prefix) in inside]:
            state[f"{prefix}{part}.{key.removeprefix(prefix)}"] = state.pop(key)

    module.register_state_dict_post_hook(shorten)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(lengthen)  # type: ignore[no-untyped-call]


class RRNN(nn.Module):
    """See the module's docstring; the contract is in outputs.py."""

    def __init__(self, config: RRNNConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleDict({m: Encoder(f, config.hidden, config.dropout) for m, f in config.streams.items()})
        self.recursion = Recursion(config, list(config.streams), 2 * config.hidden)
        flattened(self, "recursion")

    def forward(self, streams: Mapping[str, Batch], maps: Collection[str] = ()) -> Output:
        same_size(streams, self.config.streams)
        encoded = {m: self.encoders[m](streams[m]) for m in self.config.streams}  # (b n r) each
        answer: Output = self.recursion(encoded, {m: streams[m].present for m in encoded}, maps)
        return answer
