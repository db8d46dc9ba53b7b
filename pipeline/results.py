"""What a model says of a clip, and what that rests on: answers, attention maps, and the whole as one `Analysis`.

Shapes: (layer head i j) attention with i = target row and j = source row. Seconds on the clip's clock throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .attention_rows import AttentionRows
from .baseline import Usual
from .clip import MediumEnd
from .errors import StreamError
from .media import ClipInfo, Medium
from .timed import Floats32, Floats64, Provenance, Span, TimedSequence
from .turns import SpeakerFacts

CutBy = Literal["words", "voice", "windows"]
AttentionKind = Literal["cross", "self", "memory"]


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


@dataclass(frozen=True, eq=False)
class Utterance:
    """One stretch of a clip with the rows of each stream that lie in it (absent streams are empty and say why).

    `rows` gives, for each stream, the index of each row in the whole clip's stream; `face` says whose face is read.
    `usual` is, for each stream, what is usual for this person (baseline.py), where that is to be read. `speaker` is who speaks, "" where
    that is not known (turns.py), with how sure that is (0..1; None: not weighed).
    """

    span: Span
    text: str
    streams: Mapping[str, TimedSequence]
    rows: Mapping[str, NDArray[np.intp]] = field(default_factory=dict)
    face: FaceChoice | None = None
    usual: Mapping[str, Usual] = field(default_factory=dict)
    speaker: str = ""
    speaker_confidence: float | None = None


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention map of one utterance: who (target rows) looked at whom (source rows).

    kind       "cross" between streams, "self" within one, "memory" in the readout's own stacks
    target     stream whose rows ask;  source: stream whose rows are looked at
    weights    (layer head i j) float32, before dropout; rows sum to 1 over j
    *_start/*_end  (i) and (j) float64 seconds of the rows on the clip's clock
    """

    kind: AttentionKind
    target: str
    source: str
    weights: Floats32
    target_start: Floats64
    target_end: Floats64
    source_start: Floats64
    source_end: Floats64

    def __post_init__(self) -> None:
        if self.kind not in get_args(AttentionKind):
            raise StreamError(f"attention: expected a kind of {', '.join(get_args(AttentionKind))}, got {self.kind!r}")
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
    gates          the model's gates, a number per layer (or hop) each, by the names of docs/models/; empty for models without, and unless
                   attention was asked for
    unlike         stream -> how far the utterance lies from those that the model learned from, in units of what is still usual: above 1 it
                   is unlike them; empty for models that do not know, and unless attention was asked for
    """

    probabilities: Mapping[str, float]
    sentiment: float | None
    confidence: float
    attention: tuple[Attention, ...] = field(default=(), repr=False)  # whole maps: pages of numbers
    gates: Mapping[str, tuple[float, ...]] = field(default_factory=dict, repr=False)
    unlike: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Quality:
    """What an utterance's answer rests on: flags (short names) and, for each absent or poor stream, the reason in words."""

    flags: tuple[str, ...]
    reasons: Mapping[str, str]
    coverage: Mapping[str, float]


@dataclass(frozen=True)
class UtteranceInfluence:
    """How much an utterance's answer rests on each of its streams as a whole (attention/influence.py; rows have theirs in `AttentionRows`).

    on        the emotion whose log odds are meant: the most probable one under an even prior
    streams   stream -> change in natural log odds when all its rows are taken away
    step      seconds of a part of face and voice
    embedded  whether the other words were embedded again when a word was taken away
    """

    on: str
    streams: Mapping[str, float]
    step: float
    embedded: bool


@dataclass(frozen=True, eq=False)
class AnalyzedUtterance:
    """One utterance with its answer (None where no stream was there to answer from), whose face it was read from, and who speaks ("":
    not known; `speaker_confidence` 0..1, None: not weighed)."""

    index: int
    span: Span
    text: str
    prediction: Prediction | None
    quality: Quality
    face: FaceChoice | None = None
    influence: UtteranceInfluence | None = None
    speaker: str = ""
    speaker_confidence: float | None = None


@dataclass(frozen=True)
class BaselineFacts:
    """Which baseline one stream was read against.

    stream      face or voice
    source      where it came from: other utterances of the clip or of a person, or a recording's name
    utterances  how many of them counted, at the median of the utterances; short ones count in part
    share       how far they were believed, 0..1, at that median: n / (n + 2)
    seconds     of their rows, at that median
    clips       how many other clips they are from: 0 for the clip itself, 1 for a recording
    key         hash of what those clips were estimated from; None where the clip itself or a recording is the source
    """

    stream: str
    source: str
    utterances: float
    share: float
    seconds: float = 0.0
    clips: int = 0
    key: str | None = None


@dataclass(frozen=True)
class ClipFacts:
    """What was learned of the clip while it was read.

    length          seconds to its last frame, sample or word
    cut_by          what the utterances were cut by
    broken_packets  packets that could not be decoded
    ends_early      whether decoding stopped well before the container's own length
    sha256          hex digest of the clip's bytes; None where nobody has computed it yet
    decoded         how the decoding of each medium ended: what was given, left out, estimated
    baseline        what each stream was read against; () where the model reads no baselines or none was to be read
    speakers        who speaks in the clip, and how that is known; () where nobody asked
    """

    length: float
    cut_by: CutBy
    broken_packets: int = 0
    ends_early: bool = False
    sha256: str | None = None
    decoded: Mapping[Medium, MediumEnd] = field(default_factory=dict)
    baseline: tuple[BaselineFacts, ...] = ()
    speakers: tuple[SpeakerFacts, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the results must know of how the clip was read, a line each."""
        return tuple(line for medium, end in sorted(self.decoded.items()) for line in end.remarks(medium))


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything that an export or a report needs of one clip, and nothing more."""

    info: ClipInfo
    streams: Mapping[str, TimedSequence]
    model: Provenance
    utterances: tuple[AnalyzedUtterance, ...]
    summary: Prediction | None
    attention: AttentionRows
    reasons: Mapping[str, str]
    facts: ClipFacts

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the results must know of how the clip and its files were read, a line each."""
        of_streams = [str(line) for stream in self.streams.values() for line in stream.provenance.notes.get("remarks", ())]
        return (*self.facts.remarks, *of_streams)
