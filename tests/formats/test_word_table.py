"""Words with what was measured while they were said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import emofuse
from emofuse.fusion.word_alignment import word_means
from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.formats.session import Session
from emofuse.pipeline.formats.word_table import means_in, words_table
from emofuse.pipeline.timed import Provenance, TimedSequence


def test_each_word_has_the_means_of_its_own_rows(session: Session) -> None:
    table = words_table([session])
    assert table["word"].tolist() == ['"so"', "=1+1", "naïve, 音 <b>", "item [1]:"]
    assert table["clip"].tolist() == ["a clip"] * 4 and table["utterance"].tolist() == [0, 0, 0, 1]
    assert table["emotion"].tolist() == ["happiness"] * 3 + [""]
    # The first utterance was read from face 1, whose AU12 is 0 throughout; the second word is said while it is seen, the first is not.
    np.testing.assert_array_equal(table["AU12"], [np.nan, 0, 0, np.nan])
    assert table["face_happiness"].iloc[1] == 0.5
    # The third word holds the last voice rows, from 0.70 s on, whose middles are 0.7 (by the skin of a float), 0.71 and 0.72.
    voice = session.streams["voice"]
    middle = (voice.start + voice.end) / 2
    expected = voice.values[(middle >= 0.7) & (middle < 1.0), 0].mean()
    assert table["f0"].iloc[2] == pytest.approx(expected)


def test_sums_that_run_on_agree_with_sums_word_by_word() -> None:
    random = np.random.default_rng(5)
    start = np.sort(random.uniform(0, 50, 4000))
    values = random.normal(1e3, 1, (4000, 3)).astype(np.float32)
    values[random.uniform(size=values.shape) < 0.1] = np.nan
    by = Provenance("test", "1")
    stream = TimedSequence("voice", ("a", "b", "c"), values, start, start + random.uniform(0, 0.1, 4000), by)
    begin = np.sort(random.uniform(0, 50, 200))
    words = TimedSequence("words", (), np.zeros((200, 0), np.float32), begin, begin + random.uniform(0, 0.5, 200), by)
    np.testing.assert_allclose(means_in(stream, words.start, words.end), word_means(stream, words)[0], rtol=1e-6)


def test_covarep_s_pitch_counts_only_where_there_is_voice(session: Session) -> None:
    values = np.array([[100, 1], [400, 0], [120, 1]], np.float32)
    at = np.array([0.26, 0.27, 0.28])
    voice = TimedSequence("voice", ("F0", "VUV"), values, at, at + 0.01, Provenance("test", "1"))
    table = words_table([replace(session, streams={**session.streams, "voice": voice})])
    assert table["F0"].iloc[0] == 110


def test_other_columns_are_had_by_name_and_unknown_ones_are_refused(session: Session) -> None:
    assert "Yaw" in words_table([session], ["Yaw"]).columns and "AU12" not in words_table([session], ["Yaw"]).columns
    with pytest.raises(StreamError, match="columns AU99 wanted"):
        words_table([session], ["AU99"])


def test_a_clip_without_words_adds_no_row_and_clips_are_joined(session: Session, silent: Session) -> None:
    assert len(words_table([silent])) == 0
    both = words_table([session, silent, session])
    assert len(both) == 8 and both.index.tolist() == list(range(8))
    assert callable(emofuse.words_table)
