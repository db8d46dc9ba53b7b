"""Forced alignment: when was each word of a known text said?

Two aligners with one face: `SphinxAligner` (align_sphinx.py; offline, US English) and `CtcAligner` (align_ctc.py; any wav2vec2-like
CTC model in a local folder). Both take tokens as written, find out how they are said (spelling.py), and answer with a span
for every token. The papers aligned their transcripts with P2FA, which does the same thing with another acoustic model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from emofuse.pipeline.timed import Span

from .recording import Recording, Stretch


@dataclass(frozen=True)
class Alignment:
    """A span for each token, in order, and how it came about.

    fit      mean log score a frame over the spoken frames, 0 being the best the model can give; comparable within one aligner only
    poorest  the same over the worst few words in a row: far below `fit`, something is in the text that is not in the sound
    notes    facts for the stream's provenance: tokens without a sound, stretches that could not be aligned
    """

    spans: tuple[Span, ...]
    fit: float
    poorest: float
    notes: Mapping[str, Any] = field(default_factory=dict)


class Aligner(Protocol):
    """Finds the words of a text in sound; raises `TranscriptError` (one line) where text and sound do not go together."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def weights(self) -> Mapping[str, str]: ...

    def align(self, tokens: Sequence[str], stretch: Stretch) -> Alignment:
        """Tokens that are all said, in order, within one stretch of at most about a minute."""
        ...

    def align_text(self, tokens: Sequence[str], recording: Recording) -> Alignment:
        """Tokens that are said in order somewhere in a recording of any length."""
        ...


def spread(tokens: Sequence[str], span: Span) -> tuple[Span, ...]:
    """Spans for tokens of which only the common span is known: in proportion to their length in letters and digits."""
    lengths = [max(1, sum(character.isalnum() for character in token)) for token in tokens]
    total = sum(lengths)
    edges = [span.start]
    done = 0
    for length in lengths:
        done += length
        edges.append(span.start + span.duration * done / total)
    # The last edge is the cue's end itself, not its sum with rounding.
    edges[-1] = span.end
    return tuple(Span(a, max(a, b)) for a, b in pairwise(edges))


def fill_between(tokens: Sequence[str], spans: Sequence[Span | None], whole: Span) -> tuple[Span, ...]:
    """Gives tokens without a span the room between their neighbours, shared by length; `whole` bounds the first and the last."""
    filled: list[Span] = []
    token = 0
    while token < len(spans):
        known = spans[token]
        if known is not None:
            filled.append(known)
            token += 1
            continue
        end = token
        while end < len(spans) and spans[end] is None:
            end += 1
        after = spans[end] if end < len(spans) else None
        start_second = filled[-1].end if filled else whole.start
        end_second = max(start_second, after.start if after is not None else whole.end)
        filled += spread(tokens[token:end], Span(start_second, end_second))
        token = end
    return tuple(filled)
