"""Influence: how much an utterance's answer rests on each word, each half second of face and voice, and each stream.

A part is taken away and the model is asked again. The influence of the part is the change in the log odds of the answer,

    influence = log odds(answer | everything) - log odds(answer | everything but the part),

with calibrated probabilities under an even prior: positive where the part speaks for the answer, negative where it speaks against it. The
rows of a part are removed before the model prepares them, so nothing computed over the whole utterance still holds them. A word is taken
out of the sentence, and the remaining words are embedded again if an `Embed` is given; without one, only the word's own row goes, and its
neighbours still know of it. What remains of an utterance with no rows at all is the even prior.

This is occlusion (Zeiler and Fergus 2014; "leave one out" in Li, Monroe and Jurafsky 2016). It says what one part adds to all the others:
two parts that say the same can each have little influence. docs/influence.md compares it with attention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..attention_rows import AttentionRows
from ..ports import FusionModel
from ..results import Prediction, Utterance, UtteranceInfluence
from ..streams import EMOTIONS
from ..timed import Floats64, Span, TimedSequence

Embed = Callable[[TimedSequence], TimedSequence]
"""Words stream -> text stream with one row per word, as the clip's own text provider makes it."""

STEP = 0.5
"""Seconds of a part of face or voice."""
FINE_SECONDS = 120.0
"""Utterances of a clip up to this length in total are read in parts of `STEP`; longer clips in proportionally longer parts."""
LONGEST_STEP = 5.0
APART = 3600.0
"""Seconds between the copies of a sentence that are embedded in one call: no pause rule joins them."""
LEAST = 1e-6
"""Probabilities are kept this far from 0 and 1, so that log odds are finite."""


@dataclass(frozen=True)
class InfluenceOptions:
    """embed: to embed the other words again when a word is taken away; prior: what the model multiplies its probabilities by."""

    embed: Embed | None = None
    prior: Mapping[str, float] | None = None


@dataclass(frozen=True, eq=False)
class Influence:
    """What one utterance's answer rests on, in natural log odds of `answer`.

    answer   the most probable emotion under an even prior
    streams  stream -> influence of all its rows together; only streams that have rows
    rows     stream -> (n) influence of the part that each of the utterance's rows lies in
    step     seconds of a part of face and voice
    embedded whether the remaining words were embedded again when a word was taken away
    """

    answer: str
    streams: Mapping[str, float]
    rows: Mapping[str, Floats64]
    step: float
    embedded: bool


def step_for(seconds: float) -> float:
    """Seconds of a part, for utterances of so many seconds in total: the number of parts of a clip is bounded."""
    return float(np.clip(STEP * seconds / FINE_SECONDS, STEP, LONGEST_STEP))


def influence_of(
    utterance: Utterance,
    model: FusionModel,
    *,
    words: TimedSequence | None = None,
    embed: Embed | None = None,
    prior: Mapping[str, float] | None = None,
    step: float = STEP,
) -> Influence | None:
    """The influence of every part of an utterance; None if it has no row that the model reads.

    words  the utterance's words, one for each row of its text stream, and `embed`: to embed them again without one of them
    prior  the prior that the model multiplies its probabilities by, which is taken out again; None: even
    step   seconds of a part of face and voice
    Costs one prediction per word, per `step` of face and voice, and per stream, made in one batched call.
    """
    present = [name for name in model.wants if len(utterance.streams.get(name, ()))]
    if not present:
        return None
    parts = {name: parts_of(utterance.streams[name], step if name != "text" else 0.0, utterance.span) for name in present}
    text = utterance.streams.get("text")
    again = embed is not None and words is not None and text is not None and "text" in parts and len(words) == len(text)
    spoken = _without_words(words, embed) if again and words is not None and embed is not None else None

    variants = [utterance]
    if spoken is not None:
        variants.append(_with(utterance, "text", spoken[0]))
    for name in present:
        variants.append(_with(utterance, name, utterance.streams[name].rows(np.zeros(0, np.intp))))
        for k in range(parts[name].max() + 1):
            if name == "text" and spoken is not None:
                variants.append(_with(utterance, name, spoken[1 + k]))
            else:
                variants.append(_with(utterance, name, utterance.streams[name].rows(np.flatnonzero(parts[name] != k))))
    answered = iter(_answers(variants, present, model, prior))

    whole = next(answered)
    answer = int(np.argmax(whole))
    words_base = odds(next(answered)[answer]) if spoken is not None else odds(whole[answer])
    streams: dict[str, float] = {}
    rows: dict[str, Floats64] = {}
    for name in present:
        streams[name] = odds(whole[answer]) - odds(next(answered)[answer])
        base = words_base if name == "text" else odds(whole[answer])
        change = np.array([base - odds(next(answered)[answer]) for _ in range(parts[name].max() + 1)])
        rows[name] = change[parts[name]]
    return Influence(EMOTIONS[answer], streams, rows, step, spoken is not None)


def record_influence(
    rows: AttentionRows,
    utterance: Utterance,
    model: FusionModel,
    streams: Mapping[str, TimedSequence],
    options: InfluenceOptions,
    step: float,
) -> UtteranceInfluence | None:
    """Compute an utterance's influence, write it into the clip's rows, and return what is said of the utterance as a whole."""
    words = streams.get("words")
    spoken = None if words is None else words.rows(words.inside(utterance.span))
    influence = influence_of(utterance, model, words=spoken, embed=options.embed, prior=options.prior, step=step)
    if influence is None:
        return None
    for name, values in influence.rows.items():
        rows.streams[name].influence[utterance.rows[name]] = values
    return UtteranceInfluence(influence.answer, influence.streams, influence.step, influence.embedded)


def parts_of(stream: TimedSequence, step: float, span: Span) -> NDArray[np.intp]:
    """(n) number of the part that each row lies in, from 0 without gaps: equal parts of about `step` seconds, or one for each row if 0."""
    if step <= 0:
        return np.arange(len(stream))
    count = max(1, round(span.duration / step))
    middle = (stream.start + stream.end) / 2
    slot = np.clip(np.floor((middle - span.start) / max(span.duration, 1e-9) * count), 0, count - 1).astype(np.intp)
    return np.unique(slot, return_inverse=True)[1].reshape(-1).astype(np.intp)


def odds(probability: float) -> float:
    """Natural log odds."""
    p = min(max(float(probability), LEAST), 1 - LEAST)
    return float(np.log(p / (1 - p)))


def _with(utterance: Utterance, name: str, stream: TimedSequence) -> Utterance:
    return replace(utterance, streams={**utterance.streams, name: stream})


def _answers(
    variants: Sequence[Utterance], present: Sequence[str], model: FusionModel, prior: Mapping[str, float] | None
) -> list[Floats64]:
    """(7) probabilities of each variant under an even prior; the even prior itself where no row is left."""
    readable = [i for i, variant in enumerate(variants) if any(len(variant.streams[name]) for name in present)]
    predictions = dict(zip(readable, model.predict([variants[i] for i in readable], attention=False), strict=True))
    even = np.full(len(EMOTIONS), 1 / len(EMOTIONS))
    return [_even(predictions[i], prior) if i in predictions else even for i in range(len(variants))]


def _even(prediction: Prediction, prior: Mapping[str, float] | None) -> Floats64:
    values = np.array([prediction.probabilities[e] / (prior[e] if prior else 1.0) for e in EMOTIONS])
    return np.asarray(values / values.sum())


def _without_words(words: TimedSequence, embed: Embed) -> list[TimedSequence]:
    """Text rows of the words, then of the words without the first, without the second, ...: embedded in one call, at their own times."""
    n = len(words)
    kept = [np.arange(n), *(np.delete(np.arange(n), k) for k in range(n))]
    index = np.concatenate(kept)
    shift = np.repeat(np.arange(n + 1) * APART, [len(rows) for rows in kept])
    copies = replace(
        words,
        values=words.values[index],
        start=words.start[index] + shift,
        end=words.end[index] + shift,
        labels={name: tuple(texts[i] for i in index) for name, texts in words.labels.items()},
    )
    text = embed(copies)
    borders = np.cumsum([0, *(len(rows) for rows in kept)])
    variants = []
    for rows, first, last in zip(kept, borders, borders[1:], strict=False):
        piece = text.rows(np.arange(first, last))
        variants.append(replace(piece, start=words.start[rows], end=words.end[rows]))
    return variants
