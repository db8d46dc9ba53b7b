"""The stream `speech`: what the recogniser's voice activity heard, and what else rests on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emofuse.pipeline.quality import quality
from emofuse.pipeline.speaker_face import voiced_spans
from emofuse.pipeline.speech import speech_share, with_speech
from emofuse.pipeline.timed import Provenance, Span, TimedSequence
from emofuse.pipeline.utterances import segment, utterance

BY = Provenance("recogniser", "1", notes={"speech": [[1.0, 2.0], [2.5, 4.0], [8.0, 9.0]], "language": "en"})


def no_words(by: Provenance = BY) -> TimedSequence:
    return TimedSequence.empty("words", ("probability",), by, "no word was recognised", ("word", "speaker"))


def loud_throughout(seconds: float = 10.0) -> TimedSequence:
    start = np.arange(round(seconds * 10)) / 10
    rms = 0.2 + 0.1 * (np.arange(len(start)) % 2)[:, None]
    return TimedSequence("voice", ("rms",), rms.astype(np.float32), start, start + 0.1, Provenance("test", "1"))


def test_the_spans_in_the_words_notes_are_an_annotation_tier() -> None:
    speech = with_speech({"words": no_words()})["speech"]
    assert list(zip(speech.start, speech.end, strict=True)) == [(1.0, 2.0), (2.5, 4.0), (8.0, 9.0)]
    assert speech.columns == () and set(speech.labels["label"]) == {"speech"}
    assert speech.provenance == replace(BY, notes={})


def test_words_that_say_nothing_of_speech_give_no_such_stream() -> None:
    transcript = no_words(Provenance("transcript", "1"))
    assert set(with_speech({"words": transcript})) == {"words"} and with_speech({}) == {}
    silent = with_speech({"words": no_words(replace(BY, notes={"speech": []}))})["speech"]
    assert len(silent) == 0 and silent.reason == "no speech was found in the sound"


def test_without_words_utterances_lie_where_speech_was_heard_and_not_where_it_is_loud() -> None:
    streams = with_speech({"words": no_words(), "voice": loud_throughout()})
    segments = segment(streams, 10.0)
    assert segments.by == "voice"
    assert np.allclose([(s.start, s.end) for s in segments.spans], [(0.8, 4.2), (7.8, 9.2)])  # 0.5 s is no pause; 0.2 s of air
    assert voiced_spans(streams) == (Span(1.0, 2.0), Span(2.5, 4.0), Span(8.0, 9.0))
    assert [s.start for s in segment({"voice": loud_throughout()}, 10.0).spans] == [0.0]


def test_loud_sound_without_speech_is_a_weak_voice() -> None:
    streams = with_speech({"words": no_words(), "voice": loud_throughout()})
    music = quality(utterance(Span(4.5, 7.5), streams), streams)
    assert "weak_voice" in music.flags and music.reasons["voice"] == "0% of this sound is speech"
    assert "weak_voice" not in quality(utterance(Span(0.0, 4.0), streams), streams).flags


@pytest.mark.parametrize(("span", "share"), [(Span(0, 10), 0.35), (Span(2.0, 2.5), 0.0), (Span(1.5, 3.0), 2 / 3), (Span(1, 1), 0.0)])
def test_the_share_of_speech_in_a_span(span: Span, share: float) -> None:
    assert speech_share(with_speech({"words": no_words()})["speech"], span) == pytest.approx(share)
