"""Whether attention points: how much of it goes to the rows where an utterance's evidence was placed, against their even share.

For a stream, what its rows are paid is read off the maps between streams ("cross"): the mean over layers, heads and the target rows that
are there, brought to sum to 1 over the stream's rows (and over several maps of the same stream). Letters: n rows of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emofuse.fusion.batch import Batch, Scaling
from emofuse.fusion.outputs import Map, Output
from emofuse.pipeline.timed import Floats64

from .composer import Member, collate

AT_ONCE = 32
BRIEF = 0.15
"""Share of the rows up to which placed evidence counts as brief."""


@dataclass(frozen=True)
class Pointing:
    """How attention lies over one stream of a set of utterances.

    utterances   with placed evidence in this stream
    times_even   mean of: share of the attention on the evidence / share of the rows that it takes
    brief        the same for evidence of at most 15 % of the rows
    longer       and for longer evidence
    top_two      share of utterances of which an evidence row is among the two highest
    perplexity   median of exp(entropy) / rows: 1 is even
    border       mean of: share of the first and the last row / 2 * rows: 1 is even (of utterances without placed evidence in this stream)
    """

    utterances: int
    times_even: float
    brief: float
    longer: float
    top_two: float
    perplexity: float
    border: float


def pointing(module: nn.Module, members: Sequence[Member], scalings: dict[str, Scaling]) -> dict[str, Pointing]:
    """Stream -> how attention lies over it; streams without placed evidence are left out."""
    attention: dict[str, list[tuple[Floats64, NDArray[np.bool_]]]] = {name: [] for name in scalings}
    for first in range(0, len(members), AT_ONCE):
        chunk = members[first : first + AT_ONCE]
        streams = collate(chunk, scalings).streams
        module.eval()
        with torch.inference_mode():
            output: Output = module(streams, maps=("cross",))
        for name in scalings:
            paid = shares(output.maps, name, streams)
            for b, member in enumerate(chunk):
                present = streams[name].present[b].numpy()
                if present.any() and paid is not None and np.isfinite(paid[b]).all() and paid[b].sum() > 0:
                    attention[name].append((paid[b][present], marked(member, name, streams[name].times[b].numpy()[present])))
    return {name: summed for name, rows in attention.items() if (summed := summary(rows)) is not None}


def shares(maps: Sequence[Map], name: str, streams: dict[str, Batch]) -> Floats64 | None:
    """(b n) what each row of a stream is paid, summing to 1 (0 where it is never looked at); None where no map looks at it."""
    totals = []
    for attention_map in maps:
        if name not in attention_map.source.split("+") or attention_map.target == attention_map.source == name:
            continue
        weights = attention_map.weights.double().mean((0, 2))  # (b i j)
        rows = weights.sum(1) / (weights.sum(2) > 0).sum(1).clamp(min=1)[:, None]  # absent targets pay nothing
        parts = torch.split(rows, [streams[part].present.shape[1] for part in attention_map.source.split("+")], 1)
        totals.append(parts[attention_map.source.split("+").index(name)])
    if not totals:
        return None
    paid = torch.stack(totals).mean(0)
    return np.asarray((paid / paid.sum(1, keepdim=True).clamp(min=1e-12)).numpy())


def marked(member: Member, name: str, times: Floats64) -> NDArray[np.bool_]:
    """(n) which of a stream's rows are its placed evidence; none where it has no place."""
    if name == "text":
        return np.isin(np.arange(len(times)), np.arange(*member.phrase)) if member.phrase else np.zeros(len(times), bool)
    row = member.face if name == "face" else member.voice
    if row is None or row.evidence is None:
        return np.zeros(len(times), bool)
    seconds = member.voice.seconds if member.voice is not None else row.seconds
    stretch = seconds / row.seconds
    return np.asarray((times >= row.evidence[0] * stretch) & (times < row.evidence[1] * stretch))


def summary(rows: Sequence[tuple[Floats64, NDArray[np.bool_]]]) -> Pointing | None:
    """Of (share (n), evidence (n)) of utterances; None where none has placed evidence."""
    partial = [(paid, evidence) for paid, evidence in rows if evidence.any() and not evidence.all()]
    if not partial:
        return None
    ratios = np.array([paid[evidence].sum() / evidence.mean() for paid, evidence in partial])
    brief = np.array([evidence.mean() <= BRIEF for _, evidence in partial])
    top = [bool(evidence[np.argsort(paid)[-2:]].any()) for paid, evidence in partial]
    spread = [np.exp(-(paid * np.log(np.maximum(paid, 1e-12))).sum()) / len(paid) for paid, _ in partial]
    edges = [(paid[0] + paid[-1]) / 2 * len(paid) for paid, evidence in rows if not evidence.any() and len(paid) > 2]
    return Pointing(
        utterances=len(partial),
        times_even=mean_of(ratios),
        brief=mean_of(ratios[brief]),
        longer=mean_of(ratios[~brief]),
        top_two=mean_of(np.array(top)),
        perplexity=round(float(np.median(spread)), 3),
        border=mean_of(np.array(edges)),
    )


def mean_of(values: NDArray[np.floating] | NDArray[np.bool_]) -> float:
    """The mean of (n) numbers, rounded to 3 places; NaN of none."""
    return round(float(values.mean()), 3) if len(values) else float("nan")
