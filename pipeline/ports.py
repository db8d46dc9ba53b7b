"""What the pipeline asks of the floors above it: extractors, a chooser of faces, a fusion model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from .media import Media, Medium
from .results import Prediction, Utterance
from .timed import Provenance, Span, TimedSequence


class Extractor(Protocol):
    """Makes one stream of a clip. Calling does not change it; calling twice gives the same.

    name     the provider ("librosa"), as on the command line
    stream   what it makes: words, text, face, voice or speakers
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


@runtime_checkable
class Preparing(Protocol):
    """An extractor that loads what it needs when it is first called, and can be told to do so before; a second time costs nothing."""

    def prepare(self) -> None: ...


class FaceChooser(Protocol):
    """Says which of several faces speaks, and how sure that is (0..1); None where it cannot tell anything of these rows.

    face    the rows of the span, of several faces
    voiced  where there is voice
    """

    def __call__(self, face: TimedSequence, voiced: Sequence[Span], within: Span) -> tuple[int, float] | None: ...


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
