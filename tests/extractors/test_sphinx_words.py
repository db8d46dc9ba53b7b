"""The offline recogniser: true times, real probabilities, the same answer twice, cost cut at pauses."""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from emofuse.extractors.provider import Request
from emofuse.extractors.words.align_sphinx import SphinxAligner
from emofuse.extractors.words.recording import Recording
from emofuse.extractors.words.sphinx_words import SphinxWords
from emofuse.extractors.words.voice_activity import speech_stretches
from emofuse.pipeline.media import SAMPLE_RATE, Samples
from emofuse.pipeline.ports import Extractor
from emofuse.pipeline.timed import Floats32, TimedSequence

SAID = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
JFK = SAID.split()


@pytest.fixture(scope="module")
def recogniser() -> Extractor:
    return SphinxWords()


@pytest.fixture(scope="module")
def heard(recogniser: Extractor, jfk: Floats32, clip_of: Any) -> TimedSequence:
    return recogniser(clip_of(Samples(0.0, jfk)), {})


@pytest.mark.shared
def test_words_are_timed_right_where_they_are_right(heard: TimedSequence, jfk: Floats32) -> None:
    truth = SphinxAligner().align_text(JFK, Recording.of([Samples(0.0, jfk)])).spans
    matching = SequenceMatcher(None, heard.labels["word"], JFK, autojunk=False).get_matching_blocks()
    pairs = [(block.a + k, block.b + k) for block in matching for k in range(block.size)]
    assert len(pairs) >= 14  # of 22: a recogniser of 2006
    errors = [abs(heard.start[i] - truth[j].start) for i, j in pairs]
    assert np.median(errors) <= 0.02
    assert max(errors) <= 0.15
    # The pauses of this speech, as one hears them: after "Americans", after "ask not", after "for you".
    assert 2.0 < truth[4].end < 2.4 and 3.2 < truth[5].start < 3.5 and 5.3 < truth[7].start < 5.6 and 8.0 < truth[14].start < 8.4


@pytest.mark.shared
def test_a_late_start_shifts_the_times_and_nothing_else(recogniser: Extractor, jfk: Floats32, clip_of: Any) -> None:
    part = jfk[: 4 * SAMPLE_RATE]
    heard = recogniser(clip_of(Samples(0.0, part)), {})
    assert len(heard) >= 5
    blocks = [Samples(8.6 + k / SAMPLE_RATE, part[k : k + 4096]) for k in range(0, len(part), 4096)]
    late = recogniser(clip_of(*blocks), {})
    assert late.labels == heard.labels
    np.testing.assert_array_equal(late.values, heard.values)
    np.testing.assert_allclose(late.start, heard.start + 8.6, atol=1e-9)
    np.testing.assert_allclose(late.end, heard.end + 8.6, atol=1e-9)


@pytest.mark.shared
def test_probabilities_are_posteriors(heard: TimedSequence) -> None:
    probability = heard.column("probability")
    assert ((probability >= 0) & (probability <= 1)).all()
    assert probability.std() > 0.1
    right = np.array([word in JFK for word in heard.labels["word"]])
    assert right.any() and not right.all()
    assert probability[right].mean() > probability[~right].mean()


@pytest.mark.shared
def test_words_carry_no_markers_and_no_fillers(heard: TimedSequence) -> None:
    assert all(word.replace("'", "").isalpha() for word in heard.labels["word"])
    assert (np.diff(heard.start) >= 0).all() and (heard.end > heard.start).all()


def test_the_same_sound_gives_the_same_words_whatever_came_before(recogniser: Extractor, say: Callable[..., Any], clip_of: Any) -> None:
    clip = clip_of(Samples(0.0, say("Nobody has ever seen her make a mistake.").values))
    first = recogniser(clip, {})
    recogniser(clip_of(Samples(0.0, say("The wind turns and brings rain from the sea.", "rms").values)), {})
    again = recogniser(clip, {})
    assert again.labels == first.labels
    np.testing.assert_array_equal(again.values, first.values)


def test_times_are_those_of_the_synthesiser(recogniser: Extractor, say: Callable[..., Any], clip_of: Any) -> None:
    text = "ask not what your country can do for you"
    speech = say(text)
    truth: dict[str, tuple[float, float]] = dict(zip(text.split(), speech.words([3, 3, 3, 3, 6, 3, 2, 3, 2]), strict=True))
    heard = recogniser(clip_of(Samples(3.0, speech.values)), {})
    matched = [(i, word) for i, word in enumerate(heard.labels["word"]) if word in truth]
    assert len(matched) >= 4
    for i, word in matched:
        assert abs(heard.start[i] - 3.0 - truth[word][0]) < 0.1
        assert abs(heard.end[i] - 3.0 - truth[word][1]) < 0.1


def test_a_gap_in_the_sound_shifts_only_what_follows(recogniser: Extractor, say: Callable[..., Any], clip_of: Any) -> None:
    first, second = say("The old harbour wakes before the town does.").values, say("Everyone looks up at the same dark cloud.").values
    gap = 5.0
    whole = recogniser(clip_of(Samples(0.0, first), Samples(len(first) / SAMPLE_RATE + gap, second)), {})
    apart = [recogniser(clip_of(Samples(0.0, values)), {}) for values in (first, second)]
    assert whole.labels["word"] == apart[0].labels["word"] + apart[1].labels["word"]
    expected = np.concatenate([apart[0].start, apart[1].start + len(first) / SAMPLE_RATE + gap])
    np.testing.assert_allclose(whole.start, expected, atol=1e-6)


def test_silence_noise_and_no_audio_are_empty_and_say_why(recogniser: Extractor, clip_of: Any) -> None:
    silence = recogniser(clip_of(Samples(0.0, np.zeros(5 * SAMPLE_RATE, np.float32))), {})
    assert len(silence) == 0 and "no speech" in silence.reason
    none = recogniser(clip_of(), {})
    assert len(none) == 0 and "no audio" in none.reason
    short = recogniser(clip_of(Samples(0.0, np.zeros(7, np.float32))), {})
    assert len(short) == 0


def test_stretches_end_at_pauses_and_are_never_too_long(say: Callable[..., Any]) -> None:
    one = say("Fishing boats come in with their lamps still burning.").values
    pause = np.zeros(SAMPLE_RATE, np.float32)
    blocks = [Samples(2.0, np.concatenate([one, pause, one, pause]))]
    spans = [stretch.span for stretch in speech_stretches(blocks)]
    assert len(spans) == 2
    length = len(one) / SAMPLE_RATE
    assert spans[0].end <= 2.0 + length + 0.35 and spans[1].start >= 2.0 + length + 1.0 - 0.35
    # Nobody pauses here: every sample still comes out exactly once, in stretches of at most 4 s.
    endless = np.tile(one[2000:-6000], 6)
    cut = list(speech_stretches([Samples(0.0, endless)], longest=4.0))
    assert len(cut) > 3 and all(stretch.seconds <= 4.0 for stretch in cut)
    for before, after in pairwise(cut):
        assert before.span.end == pytest.approx(after.span.start, abs=1e-6)


def test_block_sizes_change_nothing(say: Callable[..., Any]) -> None:
    values = say("A woman in a green coat counts the boxes.").values
    whole = list(speech_stretches([Samples(1.0, values)]))
    cut = list(speech_stretches([Samples(1.0 + k / SAMPLE_RATE, values[k : k + 777]) for k in range(0, len(values), 777)]))
    assert [stretch.starts for stretch in cut] == [stretch.starts for stretch in whole]
    np.testing.assert_array_equal(cut[0].values, whole[0].values)


def test_status_needs_no_network() -> None:
    status = SphinxWords.status(Request())
    assert status.usable and not status.fetchable
    assert set(SphinxWords().provenance.weights) >= {"cmudict-en-us.dict", "en-us.lm.bin", "en-us/means"}
