"""What the pipeline knows of the floors above it (Protocols), and what comes out of them (results).

Shapes: (h w 3) pixels, (n) samples, (layer head i j) attention with i = target row and j = source row. Seconds throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import StreamError
from .timed import Floats32, Floats64, Provenance, Span, TimedSequence

EMOTIONS: tuple[str, ...] = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
STREAMS: tuple[str, ...] = ("words", "text", "face", "voice")
MODALITIES: tuple[str, ...] = ("text", "face", "voice")
SAMPLE_RATE = 16000

Medium = Literal["audio", "video"]


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded video frame, upright: seconds [start, end) on the container's clock; image (h w 3) uint8 RGB."""

    start: float
    end: float
    image: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Samples:
    """One contiguous block of sound: seconds of its first sample; values (n) float32 mono at 16 kHz, -1..1.

    `filled` marks silence put in by request where the clip has no sound (before a late start, in a gap, after the end).
    """

    start: float
    values: Floats32
    filled: bool = False

    @property
    def end(self) -> float:
        return self.start + len(self.values) / SAMPLE_RATE


@dataclass(frozen=True)
class VideoInfo:
    """The video stream as the container describes it; width and height are the coded frame's, before rotation (degrees)."""

    codec: str
    width: int
    height: int
    rotation: int
    frame_rate: float | None
    pixel_format: str | None = None


@dataclass(frozen=True)
class AudioInfo:
    """The audio stream as the container describes it."""

    codec: str
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class ClipInfo:
    """What a look at the container tells, without decoding. `duration` is seconds from the container's start, None if unknown."""

    path: str
    container: str
    duration: float | None
    video: VideoInfo | None
    audio: AudioInfo | None


class Media(Protocol):
    """What an extractor may ask of a clip: a `Clip`, or its share of one decoding pass over it."""

    @property
    def info(self) -> ClipInfo: ...

    def frames(self) -> Iterator[Frame]:
        """Frames in order of time; raises `NoStream` where the clip has no video."""
        ...

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        """Sound in order of time; raises `NoStream` where the clip has no audio."""
        ...


class Extractor(Protocol):
    """Makes one stream of a clip. Calling does not change it; calling twice gives the same.

    name     the provider ("librosa"), as on the command line
    stream   what it makes: words, text, face or voice
    columns  numeric columns that it fills
    media    which media it reads, so that all extractors can share one decoding pass
    needs    streams that must be there before it (text needs words)
    """

    @property
    def name(self) -> str: ...
    @property
    def stream(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def media(self) -> frozenset[Medium]: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def provenance(self) -> Provenance: ...

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence: ...


@dataclass(frozen=True)
class FaceChoice:
    """Which of the faces in view was read, and why.

    face_id     the face
    by          "only" (no other is in view), "lips" (they move with the voice), "size" (it is shown largest), "request"
    confidence  0..1: that this is the one who speaks; None where that was not weighed
    faces       every face_id in view
    """

    face_id: int
    by: str
    confidence: float | None
    faces: tuple[int, ...]


class FaceChooser(Protocol):
    """Says which of several faces speaks, and how sure that is (0..1); None where it cannot tell anything of these rows.

    face    the rows of the span, of several faces
    voiced  where there is voice
    """

    def __call__(self, face: TimedSequence, voiced: Sequence[Span], within: Span) -> tuple[int, float] | None: ...


@dataclass(frozen=True, eq=False)
class Utterance:
    """One stretch of a clip with the rows of each stream that lie in it (absent streams are empty and say why).

    `rows` gives, for each stream, the index of each row in the whole clip's stream; `face` says whose face is read.
    """

    span: Span
    text: str
    streams: Mapping[str, TimedSequence]
    rows: Mapping[str, NDArray[np.intp]] = field(default_factory=dict)
    face: FaceChoice | None = None


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention map of one utterance: who (target rows) looked at whom (source rows).

    kind       "cross" between streams, "self" within one, "memory" in the readout's own stacks
    target     stream whose rows ask;  source: stream whose rows are looked at
    weights    (layer head i j) float32, before dropout; rows sum to 1 over j
    *_start/*_end  (i) and (j) float64 seconds of the rows on the clip's clock
    """

    kind: str
    target: str
    source: str
    weights: Floats32
    target_start: Floats64
    target_end: Floats64
    source_start: Floats64
    source_end: Floats64

    def __post_init__(self) -> None:
        shape = self.weights.shape
        if len(shape) != 4 or shape[2:] != (len(self.target_start), len(self.source_start)):
            expected = f"(layer, head, {len(self.target_start)}, {len(self.source_start)})"
            raise StreamError(f"attention {self.target} <- {self.source}: expected {expected}, got {shape}")


@dataclass(frozen=True, eq=False)
class Prediction:
    """A model's answer for one utterance.

    probabilities  emotion -> 0..1, summing to 1, in the order of EMOTIONS
    sentiment      -3..3, None where the model has no such head
    confidence     0..1: the calibrated probability that the most probable emotion is right
    attention      every map that the model made (empty unless it was asked for)
    """

    probabilities: Mapping[str, float]
    sentiment: float | None
    confidence: float
    attention: tuple[Attention, ...] = ()


class FusionModel(Protocol):
    """Streams of an utterance in, emotions and attention out. Torch may live inside; numpy comes out.

    wants   stream -> columns that it reads, in order; a stream that lacks one is a `CheckpointError` naming both lists
    """

    @property
    def name(self) -> str: ...
    @property
    def wants(self) -> Mapping[str, tuple[str, ...]]: ...
    @property
    def provenance(self) -> Provenance: ...

    def predict(self, utterances: Sequence[Utterance], *, attention: bool = True) -> list[Prediction]:
        """One prediction an utterance, in order. Absent streams are legal; an utterance with none gives `CheckpointError`."""
        ...


@dataclass(frozen=True)
class Quality:
    """What an utterance's answer rests on: flags (short names) and, for each absent or poor stream, the reason in words."""

    flags: tuple[str, ...]
    reasons: Mapping[str, str]
    coverage: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class AnalyzedUtterance:
    """One utterance with its answer (None where no stream was there to answer from) and whose face it was read from."""

    index: int
    span: Span
    text: str
    prediction: Prediction | None
    quality: Quality
    face: FaceChoice | None = None


@dataclass(frozen=True, eq=False)
class AttentionRow:
    """One element (a word, a video frame, a voice frame) and the shares of attention paid to it within its utterance.

    `shares[x]` is what stream x's rows, as targets, pay to this element: mean over heads and targets of the last crossmodal layer;
    over one utterance, source and x it sums to 1 (attention over joined streams is renormalised within the source). A model that
    looks in hops has shares hop_1, hop_2, ... instead. `overall` is the mean of the shares. None: no such stream there.
    """

    utterance: int | None
    stream: str
    index: int
    start: float
    end: float
    label: str
    shares: Mapping[str, float | None]
    overall: float | None


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything that an export or a report needs of one clip, and nothing more."""

    info: ClipInfo
    streams: Mapping[str, TimedSequence]
    model: Provenance
    utterances: tuple[AnalyzedUtterance, ...]
    summary: Prediction | None
    attention: Sequence[AttentionRow]
    reasons: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """What a notebook shows: the table of utterances and the timeline."""
        from .views.notebook import html

        return html(self)
