"""MulT's computation written plainly, to measure against: every attention map whole, a head-averaged copy of it, one pair after another.

Equations of Tsai et al. 2019 in the released model's order of operations (fusion_spec: pre-layer-norm, raw residual), on the very
parameters of an `emofuse` MulT, so that results must agree. Nothing here is used outside benchmarks/ and tests.
Letters: b utterances, h heads, i target, j source, d width, e = d / h.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from emofuse.fusion.batch import Batch, origin
from emofuse.fusion.mult import MulT
from emofuse.fusion.time_encoding import second_positions, sinusoid
from emofuse.fusion.transformer import Encoder, EncoderLayer


def forward(model: MulT, streams: Mapping[str, Batch]) -> tuple[Tensor, list[Tensor]]:
    """Logits (b o) and the head-averaged maps (b i j), one per layer of every stack. Every row must be present; no dropout."""
    names, width = list(model.config.streams), model.config.width
    start = origin(streams)
    maps: list[Tensor] = []
    rows = {}
    for name in names:
        front = model.front[name].convolution
        values = functional.conv1d(streams[name].values.transpose(1, 2), front.weight, front.bias, padding=front.padding[0])
        rows[name] = values.transpose(1, 2)
    readouts = []
    for target in names:
        crossed = [
            encode(model.cross[f"{target}_from_{source}"], embed(model, rows[target], streams[target], start),
                   embed(model, rows[source], streams[source], start), maps)
            for source in names
            if source != target
        ]  # fmt: skip
        joined = embed(model, torch.cat(crossed, dim=2), streams[target], start)
        assert joined.shape[2] == (len(names) - 1) * width
        readouts.append(encode(model.memory[target], joined, None, maps).mean(1))
    features = torch.cat(readouts, dim=1)
    head = model.head
    return head.out(features + head.second(torch.relu(head.first(features)))), maps


def embed(model: MulT, rows: Tensor, batch: Batch, start: Tensor) -> Tensor:
    positions = second_positions(batch.times, batch.present, start, model.config.rate)
    return rows * rows.shape[2] ** 0.5 + sinusoid(positions, rows.shape[2]).to(rows.dtype)


def encode(stack: Encoder, target: Tensor, source: Tensor | None, maps: list[Tensor]) -> Tensor:
    rows = target
    for layer in stack.layers:
        assert isinstance(layer, EncoderLayer)
        rows = encode_layer(layer, rows, rows if source is None else source, maps)
    return stack.norm(rows)


def encode_layer(layer: EncoderLayer, target: Tensor, source: Tensor, maps: list[Tensor]) -> Tensor:
    attention, heads = layer.attention, layer.attention.heads
    b, i, d = target.shape
    j, e = source.shape[1], d // heads
    seen, shown = layer.norm(target), layer.norm(source)
    weight, bias = attention.in_weight.chunk(3), attention.in_bias.chunk(3)
    query = functional.linear(seen, weight[0], bias[0]) * e**-0.5
    key = functional.linear(shown, weight[1], bias[1])
    value = functional.linear(shown, weight[2], bias[2])
    query = query.reshape(b, i, heads, e).transpose(1, 2).reshape(b * heads, i, e)
    key = key.reshape(b, j, heads, e).transpose(1, 2).reshape(b * heads, j, e)
    value = value.reshape(b, j, heads, e).transpose(1, 2).reshape(b * heads, j, e)
    weights = torch.bmm(query, key.transpose(1, 2)).softmax(-1)  # (b*h i j), whole
    maps.append(weights.reshape(b, heads, i, j).mean(1).detach())
    attended = torch.bmm(weights, value).reshape(b, heads, i, e).transpose(1, 2).reshape(b, i, d)
    rows = target + attention.out(attended)
    inner = layer.feed_forward.expand(layer.feed_forward.norm(rows)).relu()
    return rows + layer.feed_forward.shrink(inner)
