"""From a clip's streams to its emotions and to what they rest on: a few utterances at a time, whatever the clip's length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

from ..attention_rows import AttentionRows
from ..clip import Clip
from ..errors import UsageError
from ..extraction import Extraction
from ..person import BaselineSource, PersonBaselines
from ..ports import FaceChooser, FusionModel
from ..quality import quality
from ..results import Analysis, AnalyzedUtterance, Attention, ClipFacts, Prediction, Utterance
from ..shared_pass import Progress
from ..speaker_face import FaceSelector
from ..summary import decoded_to_the_end, ends_early, length_of, reasons, summary
from ..timed import TimedSequence
from ..turns import SpeakerFinder, speaker_facts
from ..utterances import Segmentation, segment, utterance
from .influence import InfluenceOptions, record_influence, step_for
from .maps import MapStore, small, with_maps
from .timeline import record

Maps = Literal["none", "small", "all"]
TOGETHER = 8  # utterances given to the model at once: their attention maps are in memory together


def fuse(
    clip: Clip,
    extraction: Extraction,
    model: FusionModel,
    *,
    segmentation: Segmentation | None = None,
    maps: Maps = "none",
    progress: Progress | None = None,
    chooser: FaceChooser | None = None,
    face_id: int | None = None,
    influence: InfluenceOptions | None = None,
    baseline: BaselineSource | None = None,
) -> Analysis:
    """A clip's streams to emotions and attention; a few utterances are in memory at once.

    maps      what is kept of every utterance's attention maps beside the timeline: "none", "small" (`maps.small`: enough to draw,
              whatever the clip's length), or "all", as the model made them (for long clips a large file)
    progress  called with (stage, seconds of the clip) as the work goes on
    chooser   says which of several faces speaks; without one, the face shown largest is read
    influence how to compute the influence of each part on the answers; None: not at all
    baseline  where what is usual for the person comes from; None: every person is read as anybody
    face_id   read this face and no other; `UsageError` where the clip has no such face
    Raises the model's errors, all `EmofuseError`s.
    """
    if maps not in get_args(Maps):
        raise UsageError(f"attention maps: expected one of {', '.join(get_args(Maps))}, got {maps!r}")
    streams, decoded = extraction.streams, decoded_to_the_end(clip, extraction)
    length = length_of(clip, extraction, decoded)
    segments = segment(streams, length, segmentation)
    faces = FaceSelector.of(streams, chooser, face_id)
    recorder = _Recorder(streams, model, maps, influence, step_for(sum(span.duration for span in segments.spans)))
    cut = partial(utterance, streams=streams, whose=faces, speakers=SpeakerFinder(streams))
    baselines = PersonBaselines(baseline, (cut(span) for span in segments.spans)) if baseline is not None else None
    for first in range(0, len(segments.spans), TOGETHER):
        batch = [cut(span) for span in segments.spans[first : first + TOGETHER]]
        batch = batch if baselines is None else [baselines.known(piece) for piece in batch]
        for number, (piece, prediction) in enumerate(zip(batch, answers(model, batch), strict=True), first):
            recorder.add(number, piece, prediction)
            if progress is not None:
                progress("fusion", piece.span.end)
        recorder.release()
    analyzed = with_maps(recorder.analyzed, recorder.store.maps())
    return Analysis(
        info=clip.info,
        streams=streams,
        model=model.provenance,
        utterances=tuple(analyzed),
        summary=summary(analyzed),
        attention=recorder.rows,
        reasons=reasons(streams, analyzed, model),
        facts=ClipFacts(
            length=length,
            cut_by=segments.by,
            broken_packets=extraction.end.broken_packets if extraction.end else 0,
            ends_early=ends_early(clip, decoded),
            decoded=decoded.media,
            baseline=baselines.facts() if baselines is not None else (),
            speakers=speaker_facts(streams),
        ),
    )


class _Recorder:
    """Collects what is said of each utterance: its answer, its attention and its influence."""

    def __init__(
        self, streams: Mapping[str, TimedSequence], model: FusionModel, maps: Maps, influence: InfluenceOptions | None, step: float
    ) -> None:
        self.rows, self.store = AttentionRows.empty(streams), MapStore()
        self.analyzed: list[AnalyzedUtterance] = []
        self._maps: Maps = maps
        self._streams, self._model, self._influence, self._step = streams, model, influence, step

    def add(self, number: int, piece: Utterance, prediction: Prediction | None) -> None:
        record(self.rows, number, piece, prediction)
        parts = None
        if prediction is not None:
            self.store.add(number, kept(prediction.attention, piece, self._maps))
            prediction = replace(prediction, attention=())
            if self._influence is not None:
                parts = record_influence(self.rows, piece, self._model, self._streams, self._influence, self._step)
        rests_on = quality(piece, self._streams, None if prediction is None else prediction.unlike)
        whose = (piece.face, parts, piece.speaker, piece.speaker_confidence)
        self.analyzed.append(AnalyzedUtterance(number, piece.span, piece.text, prediction, rests_on, *whose))

    def release(self) -> None:
        """Give back the memory of what lies in files."""
        self.rows.release()
        for stream in self._streams.values():
            stream.release()


def answers(model: FusionModel, batch: Sequence[Utterance]) -> list[Prediction | None]:
    """What the model says of each utterance; None where no stream that it reads has rows."""
    readable = [i for i, piece in enumerate(batch) if any(len(piece.streams.get(name, ())) for name in model.wants)]
    predictions: list[Prediction | None] = [None] * len(batch)
    if readable:
        for i, prediction in zip(readable, model.predict([batch[i] for i in readable], attention=True), strict=True):
            predictions[i] = prediction
    return predictions


def kept(attention: Sequence[Attention], piece: Utterance, maps: Maps) -> Sequence[Attention]:
    """Those of an utterance's maps that are to be kept."""
    if maps == "small":
        return small(attention, {name: len(index) for name, index in piece.rows.items()})
    return attention if maps == "all" else ()
