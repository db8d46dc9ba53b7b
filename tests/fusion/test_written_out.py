"""Each model's whole forward pass, written out again in NumPy from the papers' equations and compared to rounding, in float64.

One utterance, row by row and head by head, with nothing of the package but the weights: no masks, no batches, no fused kernels. The forms
are the defaults and, for PMR, MCR, delta-attention and RRNN, the equations as printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from emofuse.fusion.batch import Batch
from emofuse.fusion.outputs import Output

Array = NDArray[np.float64]
Small = Callable[..., nn.Module]
StreamsOf = Callable[..., dict[str, Batch]]
InFloat64 = Callable[[Mapping[str, Batch]], dict[str, Batch]]
ORDER = ("text", "face", "voice")
LENGTHS = {"text": 5, "face": 7, "voice": 9}
HEADS = 2
RATE = 10.0


class Weights:
    """A state dict as NumPy, seen from one of its prefixes."""

    def __init__(self, tensors: Mapping[str, Array], prefix: str = "") -> None:
        self.tensors, self.prefix = tensors, prefix

    def at(self, *parts: object) -> Weights:
        return Weights(self.tensors, self.prefix + "".join(f"{part}." for part in parts))

    def __call__(self, name: str) -> Array:
        return self.tensors[self.prefix + name]

    def has(self, name: str) -> bool:
        return self.prefix + name in self.tensors


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def linear(w: Weights, x: Array) -> Array:
    return np.asarray(x @ w("weight").T + (w("bias") if w.has("bias") else 0))


def norm(w: Weights, x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w("weight") + (w("bias") if w.has("bias") else 0))


def feed_forward(w: Weights, x: Array) -> Array:
    return x + linear(w.at("shrink"), np.maximum(linear(w.at("expand"), norm(w.at("norm"), x)), 0))


def convolution(w: Weights, x: Array) -> Array:
    """(n f) -> (n d): zeros beyond both ends."""
    kernel = w("convolution.weight")  # (d f taps)
    half = kernel.shape[2] // 2
    out = np.zeros((len(x), len(kernel)))
    for i in range(len(x)):
        for tap in range(kernel.shape[2]):
            if 0 <= i + tap - half < len(x):
                out[i] += kernel[:, :, tap] @ x[i + tap - half]
    return out + (w("convolution.bias") if w.has("convolution.bias") else 0)


def attention(w: Weights, target: Array, source: Array, heads: int = HEADS) -> Array:
    """Eq. 1-3 of MulT, a head and a target row at a time."""
    d = target.shape[1]
    parts = [(w("in_weight")[k * d : (k + 1) * d], w("in_bias")[k * d : (k + 1) * d]) for k in range(3)]
    q, k, v = (x @ weight.T + bias for x, (weight, bias) in zip((target, source, source), parts, strict=True))
    e = d // heads
    out = np.zeros_like(target)
    for h in range(heads):
        columns = slice(h * e, (h + 1) * e)
        for i in range(len(target)):
            out[i, columns] = softmax(k[:, columns] @ q[i, columns] / np.sqrt(e)) @ v[:, columns]
    return linear(w.at("out"), out)


def encoder(w: Weights, rows: Array, source: Array | None = None) -> Array:
    """Layers until there are no more; `source` stays what it is (MulT's low-level features)."""
    k = 0
    while w.has(f"layers.{k}.norm.weight"):
        layer = w.at("layers", k)
        looked_at = rows if source is None else source
        rows = rows + attention(layer.at("attention"), norm(layer.at("norm"), rows), norm(layer.at("norm"), looked_at))
        rows = feed_forward(layer.at("feed_forward"), rows)
        k += 1
    return norm(w.at("norm"), rows)


def head(w: Weights, features: Array) -> Array:
    return linear(w.at("out"), features + linear(w.at("second"), np.maximum(linear(w.at("first"), features), 0)))


def sinusoid(position: float, d: int) -> Array:
    half = d // 2
    angles = np.array([position * 10000 ** (-k / max(half - 1, 1)) for k in range(half)])
    return np.concatenate([np.sin(angles), np.cos(angles)])


def embedded(rows: Array, positions: Array) -> Array:
    d = rows.shape[1]
    return np.asarray(rows * np.sqrt(d) + np.array([sinusoid(p, d) for p in positions]))


def positions_of(times: Mapping[str, Array], by: str) -> dict[str, Array]:
    first = min(t[0] for t in times.values())
    return {m: np.asarray(1 + (t - first) * RATE if by == "seconds" else 1 + np.arange(len(t)), np.float64) for m, t in times.items()}


# --- the models: weights, rows (n f) and times (n) by stream -> logits ---


def mult(w: Weights, x: Mapping[str, Array], times: Mapping[str, Array], by: str, last: bool) -> Array:
    positions = positions_of(times, by)
    z = {m: embedded(convolution(w.at("front", m), x[m]), positions[m]) for m in ORDER}
    features = []
    for t in ORDER:
        crossed = [encoder(w.at("cross", f"{t}_from_{s}"), z[t], z[s]) for s in ORDER if s != t]
        rows = encoder(w.at("memory", t), embedded(np.concatenate(crossed, 1), positions[t]))
        features.append(rows[-1] if last else rows.mean(0))
    return head(w.at("head"), np.concatenate(features))


def branch_scores(w: Weights, versions: list[Array], flat: bool, bounded: bool = True) -> Array:
    """PMR's attention layer, MCR's eq. 9-10: softmax over versions."""
    bound = np.tanh if bounded else np.asarray
    scores = []
    for k, rows in enumerate(versions):
        seen = rows.reshape(1, -1) if flat else rows
        scores.append((bound(linear(w.at("inner", k), seen)) @ w("score.weight")[0]).mean())
    return softmax(np.array(scores))


def mru(w: Weights, target: Array, source: Array, residual: bool) -> Array:
    own_rows = norm(w.at("target_norm"), target)
    cross = attention(w.at("cross"), own_rows, norm(w.at("source_norm"), source)) + (target if residual else 0)
    own = attention(w.at("own"), own_rows, own_rows) + (target if residual else 0)
    gate = sigmoid(linear(w.at("gate"), np.concatenate([own, cross], 1)))
    return feed_forward(w.at("feed_forward"), gate * own + (1 - gate) * cross)


def pmr(w: Weights, x: Mapping[str, Array], times: Mapping[str, Array], by: str, flat: bool, residual: bool) -> Array:
    positions = positions_of(times, by)
    z = {m: embedded(convolution(w.at("fronts.front", m), x[m]), positions[m]) for m in ORDER}
    hub = np.concatenate([z[m] for m in ORDER])
    layer = 0
    while w.has(f"layers.{layer}.branches.score.weight"):
        here = w.at("layers", layer)
        z = {m: mru(here.at("streams", m), z[m], hub, residual) for m in ORDER}
        versions = [mru(here.at("hub", m), hub, z[m], residual) for m in ORDER]
        shares = branch_scores(here.at("branches"), versions, flat)
        hub = feed_forward(here.at("feed_forward"), np.einsum("k,knd->nd", shares, np.array(versions)))
        layer += 1
    assert layer == 2
    return head(w.at("head"), encoder(w.at("final"), np.concatenate([hub, *(z[m] for m in ORDER)])).mean(0))


def alphas(sources: list[Array], printed: bool) -> list[Array]:
    """Eq. 3, over the rows of both sources."""
    sums = np.concatenate([s.sum(1) for s in sources])
    if not printed:
        sums = 1.75 * (sums - sums.mean()) / np.sqrt(sums.var() + sources[0].shape[1])
    return np.split(softmax(sums), [len(sources[0])])


def read_at(w: Weights, logits: Array, n: int, printed: bool) -> Array:
    """E (i j') of one source -> as of another's n rows (i n): a convolution over its rows, or interpolation and three taps."""
    if printed:
        return np.asarray(logits @ w("convolution.weight").T + w("convolution.bias"))
    here, there = np.linspace(0, 1, n), np.linspace(0, 1, logits.shape[1])
    moved = np.array([np.interp(here, there, row) for row in logits])
    taps = w("smooth.weight")[0, 0]
    wide = np.pad(moved, ((0, 0), (1, 1)))
    return np.asarray(taps[0] * wide[:, :-2] + taps[1] * wide[:, 1:-1] + taps[2] * wide[:, 2:])


def cmu(w: Weights, target: Array, sources: list[Array], printed: bool) -> Array:
    d = target.shape[1]
    q = norm(w.at("query_norm"), linear(w.at("query"), target))
    k = [norm(w.at("key_norms", i), linear(w.at("keys", i), s)) for i, s in enumerate(sources)]
    v = [norm(w.at("value_norms", i), linear(w.at("values", i), s)) for i, s in enumerate(sources)]
    e = [q @ key.T / np.sqrt(d) for key in k]
    z = norm(w.at("residual_norm"), target)
    for i, alpha in enumerate(alphas(sources, printed)):
        logits = e[i] + alpha * read_at(w.at("alignments", i), e[1 - i], len(sources[i]), printed)
        z = z + np.array([softmax(row) for row in logits]) @ v[i]
    return feed_forward(w.at("feed_forward"), z)


def scu(w: Weights, target: Array, joined: Array, printed: bool) -> Array:
    own_rows = norm(w.at("target_norm"), target)
    branches = [attention(w.at("cross"), own_rows, norm(w.at("source_norm"), joined)), attention(w.at("own"), own_rows, own_rows)]
    if not printed:
        branches = [target + b for b in branches]
    gamma = branch_scores(w.at("branches"), branches, flat=printed, bounded=not printed)
    return feed_forward(w.at("feed_forward"), gamma[0] * branches[0] + gamma[1] * branches[1])


def mcr(w: Weights, x: Mapping[str, Array], times: Mapping[str, Array], printed: bool) -> Array:
    positions = positions_of(times, "index")
    z = {m: embedded(convolution(w.at("fronts.front", m), x[m]), positions[m]) for m in ORDER}
    others = {t: [s for s in ORDER if s != t] for t in ORDER}
    sources, joined = dict(z), {t: np.concatenate([z[s] for s in others[t]]) for t in ORDER}
    for layer in range(2):
        z = {
            t: cmu(w.at("mutual", layer, t), z[t], [sources[s] for s in others[t]], printed)
            + scu(w.at("source", layer, t), z[t], joined[t], printed)
            for t in ORDER
        }
        if layer == 1:
            break
        here = w.at("update", layer)
        for m in ORDER:
            f = feed_forward(here.at("feed_forward", m), sources[m])
            mu = sigmoid(linear(here.at("keep_source", m), f) + linear(here.at("keep_target", m), z[m]) + here.at("keep_bias", m)("bias"))
            sources[m] = (1 - mu) * np.tanh(z[m]) + mu * f
        for t in ORDER:
            both = np.concatenate([sources[s] for s in others[t]])
            joined[t] = sigmoid(linear(here.at("join", t), both) + here.at("join_bias", t)("bias")) * np.tanh(both)
    return head(w.at("head"), encoder(w.at("final"), np.concatenate([z[m] for m in ORDER])).mean(0))


def lstm(w: Weights, x: Array, suffix: str) -> Array:
    """One direction of torch's LSTM, a row at a time: input, forget, cell and output gates in that order."""
    ih, hh = w(f"weight_ih_l0{suffix}"), w(f"weight_hh_l0{suffix}")
    bias = w(f"bias_ih_l0{suffix}") + w(f"bias_hh_l0{suffix}")
    h, c, out = np.zeros(hh.shape[1]), np.zeros(hh.shape[1]), []
    for row in x:
        i, f, g, o = np.split(ih @ row + hh @ h + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def rrnn(w: Weights, x: Mapping[str, Array], gates: bool, view: bool, start: str, tied: bool) -> Array:
    h = {
        m: np.concatenate([lstm(w.at("encoders", m, "lstm"), x[m], ""), lstm(w.at("encoders", m, "lstm"), x[m][::-1], "_reverse")[::-1]], 1)
        for m in ORDER
    }
    memory = sum((rows.mean(0) for rows in h.values()), np.zeros(8)) * (start == "mean")
    for hop in range(2):
        contexts = []
        for m in ORDER:
            here = w.at("attention", 0 if tied else hop, m)
            scores = (np.tanh(linear(here.at("rows"), h[m])) * np.tanh(linear(here.at("memory"), memory))) @ here("score.weight")[0]
            context = softmax(scores) @ h[m]
            if gates and view:
                context = sigmoid(linear(w.at("view_gates", m), np.concatenate([memory, context]))) * context
            contexts.append(context)
        joined = np.concatenate(contexts)
        both = np.concatenate([memory, joined])
        if not gates:
            memory = np.tanh(linear(w.at("update"), both))
            continue
        kept, keep = sigmoid(linear(w.at("joined_gate"), both)), sigmoid(linear(w.at("memory_gate"), both))
        memory = (1 - keep) * memory + keep * np.tanh(linear(w.at("update"), np.concatenate([memory, kept * joined])))
    return linear(w.at("out"), np.maximum(linear(w.at("decode"), memory), 0))


def delta(w: Weights, x: Mapping[str, Array], printed: bool, window: int = 2, heads: int = HEADS) -> Array:
    common = []
    for m in ORDER:
        rows = convolution(w.at("fronts", m), x[m])
        here, (n, c) = w.at("attention", m), rows.shape
        q, k, v = linear(here.at("project"), rows).reshape(n, 3, heads, c).transpose(1, 2, 0, 3)
        attended = np.zeros((n, heads * c))
        for h in range(heads):
            for i in range(n):
                column = [j if printed else max(-window, min(window, j - i)) + window for j in range(n)]
                change = np.array([(rows[j] - rows[i]) @ here("columns")[:, column[j]] for j in range(n)])
                attended[i, h * c : (h + 1) * c] = softmax((k[h] @ q[h, i] + change) / np.sqrt(c)) @ v[h]
        y = linear(here.at("out"), attended) + (0 if printed else linear(here.at("skip"), rows))
        encoded = convolution(w.at("encoders", m, "second"), np.maximum(convolution(w.at("encoders", m, "first"), y), 0))
        common.append(encoded + (0 if printed else linear(w.at("skips", m), y)))
    q, k, v = np.split(linear(w.at("project"), np.concatenate(common)), 3, axis=1)
    z = np.array([softmax(row) for row in q @ k.T / np.sqrt(q.shape[1])]) @ v
    if not printed:
        z = feed_forward(w.at("feed_forward"), z)
    return linear(w.at("out"), z.mean(0))


FLAT = {"branch_attention": "flat", "lengths": LENGTHS, "branch_residual": False, "positions": "index"}
PRINTED_MCR = {**FLAT, "alpha_scale": "paper", "alignment": "learned", "row_biases": True, "bounded_score": False}
PRINTED_DELTA = {"offsets": "absolute", "lengths": LENGTHS, "attention_skip": False, "fused_skip": False, "fused_feed_forward": False}
Forward = Callable[[Weights, Mapping[str, Array], Mapping[str, Array]], Array]
CASES: list[tuple[str, dict[str, Any], Forward]] = [
    ("mult", {}, lambda w, x, t: mult(w, x, t, "seconds", last=False)),
    ("mult", {"positions": "index", "readout": "last"}, lambda w, x, t: mult(w, x, t, "index", last=True)),
    ("pmr", {}, lambda w, x, t: pmr(w, x, t, "seconds", flat=False, residual=True)),
    ("pmr", FLAT, lambda w, x, t: pmr(w, x, t, "index", flat=True, residual=False)),
    ("mcr", {"positions": "index", "alignment": "index"}, lambda w, x, t: mcr(w, x, t, printed=False)),
    ("mcr", PRINTED_MCR, lambda w, x, t: mcr(w, x, t, printed=True)),
    ("delta", {}, lambda w, x, t: delta(w, x, printed=False)),
    ("delta", PRINTED_DELTA, lambda w, x, t: delta(w, x, printed=True)),
    ("rrnn", {}, lambda w, x, t: rrnn(w, x, gates=True, view=True, start="mean", tied=False)),
    ("rrnn", {"view_gates": False}, lambda w, x, t: rrnn(w, x, gates=True, view=False, start="mean", tied=False)),
    ("rrnn", {"gates": False, "tied": True}, lambda w, x, t: rrnn(w, x, gates=False, view=False, start="mean", tied=True)),
    ("rrnn", {"start": "zero"}, lambda w, x, t: rrnn(w, x, gates=True, view=True, start="zero", tied=False)),
]


@pytest.mark.parametrize(("model", "numbers", "forward"), CASES, ids=[f"{model}-{k}" for k, (model, *_) in enumerate(CASES)])
def test_the_equations_written_out_give_the_same_numbers(
    small: Small, streams_of: StreamsOf, in_float64: InFloat64, model: str, numbers: dict[str, Any], forward: Forward
) -> None:
    module, streams = small(model, **numbers).double(), in_float64(streams_of(21, size=1))
    assert tuple(streams) == ORDER and all(batch.present.all() for batch in streams.values())
    with torch.no_grad():
        output: Output = module(streams)
        mapped: Output = module(streams, maps=("cross", "self", "memory"))
    weights = Weights({name: tensor.numpy() for name, tensor in module.state_dict().items()})
    written = forward(weights, {m: b.values[0].numpy() for m, b in streams.items()}, {m: b.times[0].numpy() for m, b in streams.items()})
    np.testing.assert_allclose(output.logits[0].numpy(), written, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mapped.logits[0].numpy(), written, rtol=0, atol=1e-12)
