"""How much an utterance's answer rests on: what is absent, what is poor, and why."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .results import Quality, Utterance
from .speech import SPEECH, speech_share
from .streams import MODALITIES
from .timed import Span, TimedSequence
from .turns import TURN_SURE

FACE_SEEN = 0.5  # share of the utterance in which the face is seen, below which the face is called sparse
SPEAKER_SURE = 0.5  # confidence that the face read is the one who speaks, below which it is called unsure
WORDS_SURE = 0.6  # mean probability of the words, below which they do not count as text: measured, most are then wrong (docs/words.md)
VOICE_HEARD = 0.1  # share of the voice's rows that are voiced, or of the time that is speech, below which there is hardly a voice


def quality(utterance: Utterance, streams: Mapping[str, TimedSequence], unlike: Mapping[str, float] | None = None) -> Quality:
    """Flags, reasons and coverage (share of the utterance's seconds that each modality's rows cover, 0..1).

    Flags: no_text, no_face, no_voice, sparse_face, uncertain_words, several_faces, unsure_face, weak_voice, unsure_speaker, abstain (every
    stream is absent or poor: the answer is not to be used), unlike_voice and unlike_face (`unlike`, stream -> `Prediction.unlike`,
    is above 1).
    """
    flags: list[str] = []
    reasons: dict[str, str] = {}
    coverage: dict[str, float] = {}
    for name in MODALITIES:
        rows = utterance.streams.get(name)
        if rows is None:
            flags.append(f"no_{name}")
            reasons[name] = "left out by request"
            continue
        coverage[name] = covered(rows, utterance)
        if not len(rows):
            flags.append(f"no_{name}")
            reasons[name] = rows.reason
    face, words = utterance.streams.get("face"), streams.get("words")
    if face is not None and len(face):
        if coverage["face"] < FACE_SEEN:
            flags.append("sparse_face")
            reasons["face"] = f"a face is seen in {coverage['face']:.0%} of this time"
        choice = utterance.face
        if choice is not None and len(choice.faces) > 1:
            flags.append("several_faces")
            if choice.confidence is not None and choice.confidence < SPEAKER_SURE:
                flags.append("unsure_face")
                reasons.setdefault("face", f"which of {len(choice.faces)} faces speaks is unsure (confidence {choice.confidence:.2f})")
    if (sure := words_sure(words, utterance.span)) < WORDS_SURE:
        flags.append("uncertain_words")
        reasons["text"] = f"the recogniser gives these words a mean probability of {sure:.2f}: below {WORDS_SURE} they do not count as text"
    if weak := _weak(utterance.streams.get("voice"), streams.get(SPEECH), utterance.span):
        flags.append("weak_voice")
        reasons.setdefault("voice", weak)
    if utterance.speaker_confidence is not None and utterance.speaker_confidence < TURN_SURE:
        flags.append("unsure_speaker")
        reasons["speaker"] = f"who speaks is unsure (confidence {utterance.speaker_confidence:.2f})"
    for name, far in (unlike or {}).items():
        if far > 1:
            flags.append(f"unlike_{name}")
            reasons.setdefault(name, f"{far:.2f} times as far from what the model learned from as 99 of 100 validation utterances are")
    poor = ({"no_text"}, {"no_face", "sparse_face"}, {"no_voice", "weak_voice"})
    if all(kinds & set(flags) for kinds in poor):
        flags.append("abstain")
        reasons["answer"] = "no words that count, no face for most of the time and hardly a voice: the answer is not to be used"
    return Quality(tuple(flags), reasons, coverage)


def covered(rows: TimedSequence, utterance: Utterance) -> float:
    """Share of the utterance's seconds that lie in at least one row."""
    if not len(rows) or utterance.span.duration == 0:
        return 0.0
    start = np.clip(rows.start, utterance.span.start, utterance.span.end)
    end = np.maximum.accumulate(np.clip(rows.end, utterance.span.start, utterance.span.end))
    start[1:] = np.maximum(start[1:], end[:-1])
    return float(min(1.0, np.maximum(0.0, end - start).sum() / utterance.span.duration))


def words_sure(words: TimedSequence | None, span: Span) -> float:
    """Mean probability of the words in a span; 1 where there is none, or nobody says how sure it is."""
    if words is None or "probability" not in words.columns:
        return 1.0
    sure = words.column("probability", words.inside(span))
    return 1.0 if np.isnan(sure).all() else float(np.nanmean(sure))


def voiced_share(voice: TimedSequence | None) -> float:
    """Share of the rows that are voiced; 1 where there is no voice stream or it does not say."""
    if voice is None or not len(voice) or "VUV" not in voice.columns:
        return 1.0
    return float((np.nan_to_num(voice.column("VUV")) > 0.5).mean())


def _weak(voice: TimedSequence | None, speech: TimedSequence | None, span: Span) -> str:
    """Why there is hardly a voice in this span; "" where there is one, or nothing says."""
    if (heard := voiced_share(voice)) < VOICE_HEARD:
        return f"{heard:.0%} of this sound is voiced"
    if voice is not None and len(voice) and speech is not None and (heard := speech_share(speech, span)) < VOICE_HEARD:
        return f"{heard:.0%} of this sound is speech"
    return ""
