"""Where speech was heard, as a stream of its own: the recogniser's voice activity, made once for each clip while it makes the words.

The detector runs inside the recogniser, since what is not speech must never reach it; it leaves the spans in the notes of the words. The
stream `speech` has a row per span with the text column `label` ("speech"), so every format writes it as an annotation tier. It says where
utterances lie in a clip without words, when there is a voice for a face to move its lips to, and how much of an utterance is speech.
Words from a transcript or another recogniser say nothing of it, and then there is no such stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .timed import Span, TimedSequence

SPEECH = "speech"
LABEL = "label"


def with_speech(streams: Mapping[str, TimedSequence]) -> dict[str, TimedSequence]:
    """The streams of a clip, and `speech` among them where the words say where it is."""
    words = streams.get("words")
    if words is None or SPEECH in streams or SPEECH not in words.provenance.notes:
        return dict(streams)
    return {**streams, SPEECH: _stream(words)}


def _stream(words: TimedSequence) -> TimedSequence:
    spans = [(float(start), float(end)) for start, end in words.provenance.notes[SPEECH]]
    provenance = replace(words.provenance, notes={})
    if not spans:
        return TimedSequence.empty(SPEECH, (), provenance, "no speech was found in the sound", (LABEL,))
    start, end = np.array(spans, np.float64).T
    values = np.zeros((len(spans), 0), np.float32)
    return TimedSequence(SPEECH, (), values, start, end, provenance, {LABEL: (SPEECH,) * len(spans)})


def speech_share(speech: TimedSequence, span: Span) -> float:
    """Share of a span's seconds that is speech, 0..1; 0 for a span of no length."""
    inside = np.minimum(speech.end, span.end) - np.maximum(speech.start, span.start)
    return float(np.maximum(inside, 0.0).sum() / span.duration) if span.duration else 0.0
