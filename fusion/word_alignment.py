"""Streams laid onto words: the mean of a stream's rows over each word's span, as the "aligned" settings of the papers have it.

The models need no alignment; this is for comparing with aligned results, and for DCCA row by row (dcca.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence

from .batch import Batch, Scaling


def word_means(stream: TimedSequence, words: TimedSequence) -> tuple[Floats32, NDArray[np.bool_]]:
    """Values (w d), the mean over the rows whose middle lies in each word's [start, end), and which words have such a row (w).

    A column that is not measured (NaN) in any of a word's rows stays NaN; a word without rows is all NaN.
    """
    middle = (stream.start + stream.end) / 2
    inside = (middle >= words.start[:, None]) & (middle < words.end[:, None])  # (w n)
    measured = ~np.isnan(stream.values)
    sums = inside.astype(np.float64) @ np.where(measured, stream.values, 0).astype(np.float64)
    counts = inside.astype(np.float64) @ measured.astype(np.float64)
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return means.astype(np.float32), np.asarray(inside.any(axis=1))


def onto_words(stream: TimedSequence, words: TimedSequence) -> TimedSequence:
    """A stream with one row per word, at the word's time; words in which the stream has no row are left out."""
    means, found = word_means(stream, words)
    made = Provenance(stream.provenance.extractor, stream.provenance.version, stream.provenance.weights, stream.provenance.options)
    aligned = TimedSequence(stream.name, stream.columns, means, words.start, words.end, made, reason=stream.reason or "no words")
    return aligned.rows(np.flatnonzero(found), reason=f"no row of {stream.name} lies in a word")


def aligned_batch(streams: Sequence[TimedSequence], words: Sequence[TimedSequence], scaling: Scaling | None = None) -> Batch:
    """One stream of several utterances with exactly one row per word, absent where the stream has none: row i is word i in every stream.

    Raises `StreamError` where the numbers of utterances differ.
    """
    if len(streams) != len(words):
        raise StreamError(f"alignment: expected the words of each utterance, got {len(streams)} streams and {len(words)} word streams")
    frame = Batch.of([w.select(()) for w in words])
    values = np.zeros((*frame.present.shape, len(streams[0].columns)), np.float32)
    present = np.zeros(tuple(frame.present.shape), bool)
    for b, (stream, said) in enumerate(zip(streams, words, strict=True)):
        means, found = word_means(stream, said)
        values[b, : len(said)] = np.nan_to_num(scaling.apply(means) if scaling else means, nan=0.0)
        present[b, : len(said)] = found
    return Batch(torch.from_numpy(values), frame.times, torch.from_numpy(present))
