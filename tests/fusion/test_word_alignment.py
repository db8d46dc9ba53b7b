"""Streams laid onto words: means over spans, gaps, and models that read aligned input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from emofuse.assembly import Assembly
from emofuse.fusion.batch import Batch, Scaling
from emofuse.fusion.dcca import paired
from emofuse.fusion.word_alignment import aligned_batch, onto_words, word_means
from emofuse.options import Options
from emofuse.pipeline.errors import StreamError, UsageError
from emofuse.pipeline.extraction import Extraction
from emofuse.pipeline.timed import Provenance, TimedSequence

BY = Provenance("test", "1")


def stream(name: str, values: list[list[float]], start: list[float], step: float = 0.1) -> TimedSequence:
    begin = np.array(start, np.float64)
    columns = tuple(f"{name}_{i}" for i in range(len(values[0])))
    return TimedSequence(name, columns, np.array(values, np.float32), begin, np.asarray(begin + step), BY)


WORDS = stream("text", [[1.0], [2.0], [3.0]], [0.0, 1.0, 2.0], step=0.5)
VOICE = stream("voice", [[1, 10], [3, np.nan], [5, 30], [7, np.nan], [100, 100]], [0.0, 0.2, 2.0, 2.3, 2.9])


def test_each_word_has_the_mean_of_its_rows() -> None:
    means, measured = word_means(VOICE, WORDS)
    assert measured.tolist() == [True, False, True]
    np.testing.assert_array_equal(means, np.array([[2, 10], [np.nan, np.nan], [6, 30]], np.float32))  # the last row lies in no word


def test_a_word_without_rows_has_none() -> None:
    aligned = onto_words(VOICE, WORDS)
    assert aligned.start.tolist() == [0, 2] and aligned.end.tolist() == [0.5, 2.5]
    assert aligned.values[:, 0].tolist() == [2, 6]
    assert len(onto_words(VOICE.shifted(50), WORDS)) == 0
    nothing = TimedSequence.empty("voice", VOICE.columns, BY, "silent")
    assert onto_words(nothing, WORDS).reason == "silent"
    silent = WORDS.rows(np.zeros(0, np.intp))
    assert len(onto_words(VOICE, silent)) == 0


def test_aligning_twice_changes_nothing_and_the_provenance_says_so() -> None:
    once = onto_words(VOICE, WORDS)
    twice = onto_words(once, WORDS)
    np.testing.assert_array_equal(once.values, twice.values)
    assert once.start.tolist() == twice.start.tolist()
    assert once.provenance.options["align"] == "words" and once.provenance.extractor == "test"


def test_faces_are_averaged_apart() -> None:
    start = np.array([0.0, 0.0, 0.2, 0.2, 2.0])
    values = np.array([[0, 1], [1, 10], [0, 3], [1, 30], [1, 50]], np.float32)
    face = TimedSequence("face", ("face_id", "x"), values, start, start + 0.1, BY)
    aligned = onto_words(face, WORDS)
    assert aligned.values.tolist() == [[0, 2], [1, 20], [1, 50]]
    assert aligned.start.tolist() == [0, 0, 2]


def test_the_option_aligns_face_and_voice_after_extraction_and_needs_words() -> None:
    assembly = Assembly(Options(align="words"))
    extraction = Extraction({"words": WORDS.select(()), "text": WORDS, "voice": VOICE}, None, {})
    streams = assembly._aligned(extraction).streams
    assert streams["voice"].start.tolist() == [0, 2] and streams["text"] is WORDS
    assert Assembly(Options())._aligned(extraction) is extraction
    with pytest.raises(UsageError, match="no words to average over"):
        assembly._aligned(Extraction({"voice": VOICE}, None, {}))
    with pytest.raises(UsageError, match="align: expected none or words, got 'frames'"):
        Options(align="frames")


def test_a_row_belongs_where_its_middle_lies() -> None:
    late = stream("voice", [[1.0], [2.0]], [0.44, 0.46])  # middles 0.49 and 0.51; the first word ends at 0.5
    assert word_means(late, WORDS)[0][0].tolist() == [1]


def test_aligned_batches_keep_row_for_row_what_belongs_together() -> None:
    short = WORDS.rows(np.arange(2))
    scaling = Scaling(np.array([1.0, 10.0], np.float32), np.array([1.0, 10.0], np.float32))
    batch = aligned_batch([VOICE, VOICE], [WORDS, short], scaling)
    assert batch.present.tolist() == [[True, False, True], [True, False, False]]
    assert batch.values[0].tolist() == [[1, 0], [0, 0], [5, 2]]
    assert batch.times[0].tolist() == [0.25, 1.25, 2.25]
    text = Batch.of([WORDS, short])
    rows = {"text": text.values, "voice": batch.values[..., :1]}
    words, voice = paired(rows, {"text": text, "voice": batch}, "rows")
    assert words.flatten().tolist() == [1, 3, 1] and voice.flatten().tolist() == [1, 5, 1]
    with pytest.raises(StreamError, match="got 1 streams and 2 word streams"):
        aligned_batch([VOICE], [WORDS, short])


def test_models_read_aligned_input(small: Callable[..., torch.nn.Module], model_name: str) -> None:
    text = stream("text", [[0.1 * i] * 6 for i in range(4)], [0.0, 1.0, 2.0, 3.0], step=0.8)
    face = stream("face", [[0.01 * i] * 5 for i in range(100)], [0.04 * i for i in range(100)], step=0.04)
    voice = stream("voice", [[-0.01 * i] * 4 for i in range(15)], [0.1 * i for i in range(15)])
    streams = {s.name: aligned_batch([s], [text]) for s in (text, face, voice)}
    assert streams["voice"].present.tolist() == [[True, True, False, False]]
    assert {b.present.shape[1] for b in streams.values()} == {4}
    with torch.no_grad():
        assert small(model_name)(streams).logits.isfinite().all()
