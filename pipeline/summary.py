"""A clip as a whole, from its utterances and its streams: its answer, its length, and why a stream says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from .clip import Clip, DecodeEnd, MediumEnd
from .errors import ClipError
from .extraction import Extraction
from .media import Medium
from .ports import FusionModel
from .results import AnalyzedUtterance, Prediction
from .streams import EMOTIONS, MODALITIES
from .timed import TimedSequence


def reasons(streams: Mapping[str, TimedSequence], utterances: Sequence[AnalyzedUtterance], model: FusionModel) -> dict[str, str]:
    """Why a stream is empty, has gaps, is absent from every utterance, or was not read."""
    reasons = {name: stream.reason for name, stream in streams.items() if stream.reason}
    for name in MODALITIES:
        if name in streams and name not in reasons and utterances and all(f"no_{name}" in u.quality.flags for u in utterances):
            reasons[name] = utterances[0].quality.reasons[name] + (" (and so in every utterance)" if len(utterances) > 1 else "")
    for name in MODALITIES:
        if name in streams and name not in model.wants and name not in reasons:
            reasons[name] = f"extracted, but the model {model.name} does not read it"
    return reasons


def decoded_to_the_end(clip: Clip, extraction: Extraction) -> DecodeEnd:
    """How decoding ended, for the media that were decoded.

    Where the container does not say how long it is, or says more than the decoded part has, the media that no extractor read are decoded
    too: sound that ends before the pictures is no truncated clip. What cannot be decoded is left out.
    """
    media: dict[Medium, MediumEnd] = dict(extraction.end.media) if extraction.end is not None else {}
    present: dict[Medium, bool] = {"audio": clip.info.audio is not None, "video": clip.info.video is not None}
    unread = {medium for medium, is_present in present.items() if is_present and medium not in media}
    if unread and (clip.info.duration is None or (media and ends_early(clip, DecodeEnd(media)))):
        with suppress(ClipError):
            for item in clip.decode(frames="video" in unread, samples="audio" in unread):
                if isinstance(item, DecodeEnd):
                    media |= item.media
    return DecodeEnd(media)


def length_of(clip: Clip, extraction: Extraction, decoded: DecodeEnd) -> float:
    """Seconds of the clip: to its last frame or sample, whatever was extracted from it.

    The container's duration stands for media that were not decoded, unless decoding showed that the clip ends before it.
    A row of a stream that lasts longer (a word of a transcript) makes the clip longer.
    """
    ends = [stream.span.end for stream in extraction.streams.values() if len(stream)]
    ends += [medium.end for medium in decoded.media.values()]
    whole = {medium for medium, info in (("audio", clip.info.audio), ("video", clip.info.video)) if info is not None} <= set(decoded.media)
    if not (decoded.media and whole) and not ends_early(clip, decoded):
        ends.append(clip.info.duration or 0.0)
    return max(ends, default=0.0)


def ends_early(clip: Clip, decoded: DecodeEnd) -> bool:
    """Whether decoding stopped in an error, or well before the container's own length: a truncated or broken file."""
    if decoded.breaks_off:
        return True
    if clip.info.duration is None or not decoded.media:
        return False
    return decoded.end < clip.info.duration - max(1.0, 0.05 * clip.info.duration)


def summary(utterances: Sequence[AnalyzedUtterance]) -> Prediction | None:
    """The clip as a whole: its utterances' answers, weighted by their seconds; None where no utterance has one."""
    answered = [(u.span.duration or 1e-3, u.prediction) for u in utterances if u.prediction is not None]
    if not answered:
        return None
    weights = np.array([w for w, _ in answered]) / sum(w for w, _ in answered)

    def mean(values: Sequence[float]) -> float:
        return float(np.dot(weights, values))

    probabilities: Mapping[str, float] = {e: mean([p.probabilities[e] for _, p in answered]) for e in EMOTIONS}
    sentiments = [p.sentiment for _, p in answered if p.sentiment is not None]
    return Prediction(
        probabilities=probabilities,
        sentiment=mean(sentiments) if len(sentiments) == len(answered) else None,
        confidence=max(probabilities.values()),
    )
