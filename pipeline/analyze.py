"""The whole story: a clip's streams, its utterances, what the model says of each, and what that rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import numpy as np

from .attention.maps import KeptMaps, small
from .attention.rows import AttentionRows
from .attention.timeline import pay
from .clip import Clip, DecodeEnd, MediumEnd
from .errors import ClipError
from .extraction import Extraction, extract
from .ports import EMOTIONS, MODALITIES, Analysis, AnalyzedUtterance, Attention, Extractor, FaceChooser, FusionModel, Medium, Prediction
from .quality import quality
from .shared_pass import Progress
from .speaker_face import FaceSelector
from .timed import TimedSequence
from .utterances import Cutting, cut, utterance

KeepMaps = bool | Literal["small"]
TOGETHER = 8  # utterances given to the model at once: their attention maps are in memory together


def analyze(
    clip: Clip,
    extractors: Sequence[Extractor],
    model: FusionModel,
    *,
    cutting: Cutting | None = None,
    keep_maps: KeepMaps = False,
    progress: Progress | None = None,
    chooser: FaceChooser | None = None,
    face_id: int | None = None,
) -> Analysis:
    """From a clip to emotions and attention.

    keep_maps   what is kept of every utterance's attention maps beside the timeline: nothing, "small" (`attention_maps.small`: enough to
                draw, whatever the clip's length), or True: all, as the model made them (for long clips a large file)
    progress    called with (stage, seconds of the clip) as the work goes on
    chooser     says which of several faces speaks; without one, the face shown largest is read
    face_id     read this face and no other; `UsageError` where the clip has no such face
    Raises the errors of the clip, the extractors and the model, all `EmofuseError`s.
    """
    extraction = extract(clip, extractors, progress)
    return read(clip, extraction, model, cutting=cutting, keep_maps=keep_maps, progress=progress, chooser=chooser, face_id=face_id)


def read(
    clip: Clip,
    extraction: Extraction,
    model: FusionModel,
    *,
    cutting: Cutting | None = None,
    keep_maps: KeepMaps = False,
    progress: Progress | None = None,
    chooser: FaceChooser | None = None,
    face_id: int | None = None,
) -> Analysis:
    """The second half of `analyze`: streams that are already there, to emotions and attention. A few utterances are in memory at once."""
    streams = extraction.streams
    decoded = decoded_to_the_end(clip, extraction)
    length = length_of(clip, extraction, decoded)
    borders = cut(streams, length, cutting)
    whose = FaceSelector.of(streams, chooser, face_id)
    answered: list[AnalyzedUtterance] = []
    rows, kept = AttentionRows.nothing(streams), KeptMaps()
    for first in range(0, len(borders.spans), TOGETHER):
        batch = [utterance(span, streams, whose) for span in borders.spans[first : first + TOGETHER]]
        readable = [i for i, piece in enumerate(batch) if any(len(piece.streams.get(name, ())) for name in model.wants)]
        predictions = dict(zip(readable, model.predict([batch[i] for i in readable], attention=True) if readable else (), strict=True))
        for i, piece in enumerate(batch):
            prediction = predictions.get(i)
            pay(rows, first + i, piece, prediction)
            if prediction is not None:
                counts = {name: len(index) for name, index in piece.rows.items()}
                if keep_maps:
                    kept.add(first + i, prediction.attention if keep_maps is True else small(prediction.attention, counts))
                prediction = replace(prediction, attention=())
            answered.append(AnalyzedUtterance(first + i, piece.span, piece.text, prediction, quality(piece, streams), piece.face))
            if progress is not None:
                progress("fusion", piece.span.end)
        rows.let_go()
        for stream in streams.values():
            stream.let_go()
    answered = with_maps(answered, kept.maps())
    return Analysis(
        info=clip.info,
        streams=streams,
        model=model.provenance,
        utterances=tuple(answered),
        summary=summary(answered),
        attention=rows,
        reasons=reasons(streams, answered, model),
        facts={
            "length": length,
            "cut_by": borders.by,
            "broken_packets": extraction.end.broken_packets if extraction.end else 0,
            "ends_early": _is_early(clip, decoded),
        },
    )


def with_maps(utterances: Sequence[AnalyzedUtterance], maps: Mapping[int, tuple[Attention, ...]]) -> list[AnalyzedUtterance]:
    """The same utterances, each with its attention maps."""
    return [
        u if u.prediction is None or u.index not in maps else replace(u, prediction=replace(u.prediction, attention=maps[u.index]))
        for u in utterances
    ]


def reasons(streams: Mapping[str, TimedSequence], utterances: Sequence[AnalyzedUtterance], model: FusionModel) -> dict[str, str]:
    """Why a stream is empty, has gaps, is absent from every utterance, or was not read."""
    found = {name: stream.reason for name, stream in streams.items() if stream.reason}
    for name in MODALITIES:
        if name in streams and name not in found and utterances and all(f"no_{name}" in u.quality.flags for u in utterances):
            found[name] = utterances[0].quality.reasons[name] + (" (and so in every utterance)" if len(utterances) > 1 else "")
    for name in MODALITIES:
        if name in streams and name not in model.wants and name not in found:
            found[name] = f"extracted, but the model {model.name} does not read it"
    return found


def decoded_to_the_end(clip: Clip, extraction: Extraction) -> DecodeEnd:
    """How decoding ended, for the media that were decoded.

    Where the container does not say how long it is, or says more than the decoded part has, the media that no extractor read are decoded
    too: sound that ends before the pictures is no truncated clip. What cannot be decoded is left out.
    """
    media: dict[Medium, MediumEnd] = dict(extraction.end.media) if extraction.end is not None else {}
    present: dict[Medium, bool] = {"audio": clip.info.audio is not None, "video": clip.info.video is not None}
    unread = {medium for medium, there in present.items() if there and medium not in media}
    if unread and (clip.info.duration is None or (media and _is_early(clip, DecodeEnd(media)))):
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
    if not (decoded.media and whole) and not _is_early(clip, decoded):
        ends.append(clip.info.duration or 0.0)
    return max(ends, default=0.0)


def _is_early(clip: Clip, decoded: DecodeEnd) -> bool:
    """Whether decoding stopped well before the container's own length: a truncated or broken file."""
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
        confidence=mean([p.confidence for _, p in answered]),
    )
