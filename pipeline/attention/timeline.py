"""Attention as a timeline: for every word, video frame and voice frame, the share of attention paid to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..attention_rows import AttentionRows
from ..results import Attention, Prediction, Utterance
from ..timed import Floats64


def shares(source: str, attention: Sequence[Attention], rows: Mapping[str, int]) -> tuple[dict[str, Floats64], Floats64 | None]:
    """What each target pays to each row of one source, and the whole. `rows` says how many rows each stream has in the utterance.

    Returns ({target: (j)}, (j) or None). A target's share is the mean over heads and target rows of the last crossmodal layer. Where a
    map reads streams joined in time ("text+face+voice"), its block of target and source is taken, and renormalised within the source;
    where a model has several maps of one pair, their mean. So a share always sums to 1 over the source's rows. A model that looks at the
    streams from one row for the whole utterance has a target for each of its layers: "hop_1", "hop_2", ...

    The whole is the mean over targets; where the source has no partner, it is the last layer of its own stack (kind "self" or
    "memory"), else what it pays to itself in a joined map, and where there is neither, None.
    """
    paid: dict[str, list[Floats64]] = {}
    for a in attention:
        if a.kind != "cross":
            continue
        for target, i in blocks(a.target, rows):
            layers = {f"hop_{hop}": layer for hop, layer in enumerate(a.weights, 1)} if target == "utterance" else {target: a.weights[-1]}
            for looked_at, j in blocks(a.source, rows):
                for by, layer in layers.items():
                    block = np.asarray(layer[:, i, j].mean(axis=(0, 1), dtype=np.float64))
                    if looked_at == source and block.any():  # next to other streams, all of a block may round to 0
                        paid.setdefault(by, []).append(block / block.sum())
    mean = {by: np.asarray(np.mean(of_layers, axis=0)) for by, of_layers in paid.items()}
    itself = mean.pop(source, None)
    if mean:
        return mean, np.asarray(np.mean(list(mean.values()), axis=0))
    to_itself = [a for a in attention if a.kind in ("self", "memory") and a.source == source and a.target == source]
    return {}, np.asarray(to_itself[-1].weights[-1].mean(axis=(0, 1), dtype=np.float64)) if to_itself else itself


def blocks(name: str, rows: Mapping[str, int]) -> Iterator[tuple[str, slice]]:
    """The streams that a map's side reads ("text", or "text+face" joined in time), each with its rows; those without rows left out."""
    if name == "utterance":
        yield name, slice(0, 1)
        return
    first = 0
    for part in name.split("+"):
        if count := rows.get(part, 0):
            yield part, slice(first, first + count)
            first += count


def record(rows: AttentionRows, number: int, utterance: Utterance, prediction: Prediction | None) -> None:
    """Write what one utterance's maps say of the rows inside it.

    Words that do not count as text, and silence, lie in the utterance too, without attention. Rows of a face that was not read do not.
    """
    counts = {name: len(index) for name, index in utterance.rows.items()}
    for source, attention in rows.streams.items():
        index = utterance.rows.get(source)
        if index is not None and len(index):
            by_target, whole = shares(source, prediction.attention, counts) if prediction is not None else ({}, None)
            attention.record(number, index, by_target, whole)
        elif source != "face":
            attention.record(number, attention.stream.inside(utterance.span), {}, None)
