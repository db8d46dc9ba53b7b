"""Attention as a timeline: for every word, video frame and voice frame, the share of attention paid to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .ports import MODALITIES, Attention, AttentionRow, Prediction, Utterance
from .timed import Floats64, TimedSequence


def shares(source: str, attention: Sequence[Attention]) -> tuple[dict[str, Floats64], Floats64 | None]:
    """What each target pays to each row of one source, and the whole.

    Returns ({target: (j)}, (j) or None). A target's share is the mean over heads and target rows of the last crossmodal layer, so it
    sums to 1 over the source's rows. The whole is the mean over targets; where the source has no partner, it is the
    last layer of its own stack (kind "self" or "memory"), and where there is none either, None.
    """
    by_target = {a.target: _mean_of_last_layer(a) for a in attention if a.kind == "cross" and a.source == source and a.target in MODALITIES}
    if by_target:
        return by_target, np.mean(list(by_target.values()), axis=0)
    own = [a for a in attention if a.kind in ("self", "memory") and a.source == source and a.target == source]
    return {}, _mean_of_last_layer(own[-1]) if own else None


def _mean_of_last_layer(attention: Attention) -> Floats64:
    return np.asarray(attention.weights[-1].mean(axis=(0, 1), dtype=np.float64))


def utterance_rows(
    number: int, utterance: Utterance, prediction: Prediction | None, streams: Mapping[str, TimedSequence]
) -> Iterator[AttentionRow]:
    """One row for each element of each modality inside an utterance."""
    for source in MODALITIES:
        stream, index = streams.get(source), utterance.rows.get(source)
        if stream is None or index is None or not len(index):
            continue
        by_target, whole = shares(source, prediction.attention) if prediction is not None else ({}, None)
        for j, row in enumerate(index):
            yield AttentionRow(
                utterance=number,
                stream=source,
                index=int(row),
                start=float(stream.start[row]),
                end=float(stream.end[row]),
                label=label_of(stream, int(row)),
                shares={x: float(by_target[x][j]) if x in by_target else None for x in MODALITIES},
                overall=float(whole[j]) if whole is not None else None,
            )


def rows_outside(streams: Mapping[str, TimedSequence], seen: Mapping[str, set[int]]) -> Iterator[AttentionRow]:
    """The elements that lie in no utterance, or belong to a face that was not chosen: nothing attended to them."""
    for source in MODALITIES:
        stream = streams.get(source)
        for row in range(len(stream)) if stream is not None else ():
            if stream is not None and row not in seen.get(source, ()):
                yield AttentionRow(
                    utterance=None,
                    stream=source,
                    index=row,
                    start=float(stream.start[row]),
                    end=float(stream.end[row]),
                    label=label_of(stream, row),
                    shares=dict.fromkeys(MODALITIES),
                    overall=None,
                )


def label_of(stream: TimedSequence, row: int) -> str:
    """A word's text, a face's number; nothing for voice."""
    if "word" in stream.labels:
        return stream.labels["word"][row]
    if stream.name == "face" and "face_id" in stream.columns:
        return f"face {stream.column('face_id')[row]:.0f}"
    return ""
