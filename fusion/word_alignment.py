"""Streams laid onto words: the mean of a stream's rows over each word's span, as the "aligned" settings of the papers have it.

The models need no alignment; this is for comparing with aligned results, and for DCCA row by row (dcca.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.pipeline.columns import FACE_ID
from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.formats.word_table import means_in
from emofuse.pipeline.timed import Floats32, TimedSequence

from .batch import Batch, Scaling


def word_means(stream: TimedSequence, words: TimedSequence) -> tuple[Floats32, NDArray[np.bool_]]:
    """Values (w d), the mean over the rows whose middle lies in each word's [start, end), and which words have such a row (w).

    A column that is not measured (NaN) in any of a word's rows stays NaN; a word without rows is all NaN.
    """
    middle = np.sort((stream.start + stream.end) / 2)
    has_rows = np.searchsorted(middle, words.end, "left") > np.searchsorted(middle, words.start, "left")
    return means_in(stream, words.start, words.end), has_rows


def onto_words(stream: TimedSequence, words: TimedSequence) -> TimedSequence:
    """A stream with one row per word, at the word's time; words in which the stream has no row are left out. Faces are averaged apart: a
    stream with the column `face_id` has one row per word and face. The provenance says so."""
    faces = np.unique(stream.column(FACE_ID)) if FACE_ID in stream.columns and len(stream) else [None]
    values, spans = [], []
    for face in faces:
        means, measured = word_means(stream if face is None else stream.rows(np.flatnonzero(stream.column(FACE_ID) == face)), words)
        values.append(means[measured])
        spans.append(np.stack([words.start[measured], words.end[measured]], 1))
    rows, times = np.concatenate(values), np.concatenate(spans)
    order = np.argsort(times[:, 0], kind="stable")
    made = replace(stream.provenance, options={**stream.provenance.options, "align": "words"})
    reason = "" if len(rows) else stream.reason or (f"no row of {stream.name} lies in a word" if len(words) else "no words")
    return TimedSequence(stream.name, stream.columns, rows[order], times[order, 0], times[order, 1], made, reason=reason)


def aligned_batch(streams: Sequence[TimedSequence], words: Sequence[TimedSequence], scaling: Scaling | None = None) -> Batch:
    """One stream of several utterances with exactly one row per word, absent where the stream has none: row i is word i in every stream.

    Raises `StreamError` where the numbers of utterances differ.
    """
    if len(streams) != len(words):
        raise StreamError(f"alignment: expected the words of each utterance, got {len(streams)} streams and {len(words)} word streams")
    frame = Batch.of([w.select(()) for w in words])
    values = np.zeros((*frame.present.shape, len(streams[0].columns)), np.float32)
    present = np.zeros(tuple(frame.present.shape), bool)
    for b, (stream, spoken) in enumerate(zip(streams, words, strict=True)):
        means, measured = word_means(stream, spoken)
        values[b, : len(spoken)] = np.nan_to_num(scaling.apply(means) if scaling else means, nan=0.0)
        present[b, : len(spoken)] = measured
    return Batch(torch.from_numpy(values), frame.times, torch.from_numpy(present))
