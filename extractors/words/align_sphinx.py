"""Forced alignment with pocketsphinx: offline, US English, 10 ms frames.

Every token becomes one or more dictionary words; a number or initials with several readings becomes one word with several
pronunciations, and the Viterbi search picks the one that was said (pauses, breath and noise may lie between words). Long sound
is first recognised with a trigram model of the text itself and cut at anchors (anchors.py), so that a slip stays local and cost
grows with length.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import TranscriptError
from emofuse.pipeline.timed import Floats64, Span

from .align import Alignment, fill_between, spread
from .anchors import Cutting, Piece, cut_at_anchors
from .letter_sounds import letter_sounds
from .recording import Recording, Stretch, together
from .spelling import Reading, readings
from .sphinx import FILLERS, decode, make_decoder, model_folder, sample_of, version, weights
from .voice_activity import speech_stretches

# The recogniser's word beam is narrower than its state beam, which loses the one path there is (pocketsphinx pull request 464).
BEAM = 1e-200
# Senone scores are kept in 10 bits less than the log domain that `ascore` is taken back from.
SCORE_UNIT = 1024
DIRECT = 120.0  # seconds of speech that are tried in one go; the search costs words times frames, so longer sound is cut first
# Measured (docs/words.md): a right text scores -1.0 to -5.0 nats a frame (the worst being shouted), a wrong one -3.7 to -7.6 with a
# median of -5.9. Below the first number a text is refused; below the second, over any 8 words, it is worth looking closer.
WORST_FIT = -5.2
POOR_FIT = -4.4
WINDOW = 8
MOST_UNALIGNED = 0.5  # share of the words beyond which text and sound do not go together


class SphinxAligner:
    """`Aligner` for English text. Raises `WeightsError` where pocketsphinx or its model is not installed."""

    name = "pocketsphinx"

    def __init__(self) -> None:
        model_folder()
        self._decoder: Any = None
        self._added: list[tuple[str, str]] = []

    @property
    def version(self) -> str:
        return version()

    @property
    def weights(self) -> Mapping[str, str]:
        return weights()

    def align(self, tokens: Sequence[str], stretch: Stretch) -> Alignment:
        spoken = [self._dictionary_words(token) for token in tokens]
        _require_sound(tokens, spoken)
        names = [name for words in spoken for name in words]
        decoder = self._ready_decoder()
        decoder.set_align_text(" ".join(names))
        try:
            segments = [s for s in decode(decoder, stretch) if s.word[0] not in FILLERS]
        except RuntimeError:
            segments = []
        if [_bare(s.word) for s in segments] != names:
            raise TranscriptError(
                f"alignment: the {len(tokens)} words from {tokens[0]!r} to {tokens[-1]!r} were not found in {stretch.seconds:.1f} s"
            )
        spans: list[Span | None] = []
        segment = 0
        for words in spoken:
            of_word = segments[segment : segment + len(words)]
            segment += len(words)
            spans.append(stretch.span_of(sample_of(of_word[0].start_frame), sample_of(of_word[-1].end_frame + 1)) if of_word else None)
        scores = np.array([SCORE_UNIT * math.log(max(s.ascore, 1e-300)) for s in segments])
        frames = np.array([s.end_frame + 1 - s.start_frame for s in segments])
        fit = float(scores.sum() / frames.sum())
        if fit < WORST_FIT:
            raise TranscriptError(
                f"alignment: the {len(tokens)} words from {tokens[0]!r} to {tokens[-1]!r} are not what is said"
                f" (score {fit:.1f} a frame, {WORST_FIT} or better expected)"
            )
        return Alignment(fill_between(tokens, spans, stretch.span), fit, _poorest(scores, frames))

    def align_text(self, tokens: Sequence[str], recording: Recording) -> Alignment:
        stretches = list(speech_stretches(recording.blocks()))
        if not stretches:
            raise TranscriptError(f"alignment: expected speech for {len(tokens)} words, found none in {recording.seconds:.1f} s of sound")
        spoken = [self._dictionary_words(token) for token in tokens]
        _require_sound(tokens, spoken)
        if sum(stretch.seconds for stretch in stretches) <= DIRECT:
            whole = self._tried(tokens, together(stretches))
            if whole is not None and whole.poorest >= POOR_FIT:
                return whole
        spans: list[Span] = []
        unaligned: list[list[float]] = []
        lost = 0
        fits: list[tuple[float, int]] = []
        cutting = self._cut(spoken, stretches)
        for piece in cutting.pieces:
            of_piece, sound = tokens[piece.word : piece.end], together(stretches[piece.first : piece.last])
            if not of_piece:
                continue
            alignment = self._tried(of_piece, sound)
            surely = [stretches[k] for k in range(piece.first, piece.last) if k in cutting.anchored]
            if alignment is None and 0 < len(surely) < piece.last - piece.first:
                # Something else is said in the other stretches: the text leaves it out.
                alignment = self._tried(of_piece, together(surely))
            if alignment is not None:
                fits.append((alignment.fit, len(of_piece)))
                spans += alignment.spans
            else:
                unaligned.append([sound.span.start, sound.span.end])
                lost += len(of_piece)
                spans += spread(of_piece, sound.span)
        if lost > MOST_UNALIGNED * len(tokens):
            raise TranscriptError(
                f"alignment: text and sound do not go together: {lost} of {len(tokens)} words were not found in the sound"
            )
        fit = sum(f * n for f, n in fits) / sum(n for _, n in fits)
        notes: dict[str, Any] = {"pieces": len(cutting.pieces)}
        if unaligned:
            notes["spread_evenly"] = unaligned
        return Alignment(tuple(spans), fit, fit, notes)

    def _tried(self, tokens: Sequence[str], stretch: Stretch) -> Alignment | None:
        """The alignment, or None where the words do not fit into the sound at all."""
        try:
            return self.align(tokens, stretch)
        except TranscriptError:
            return None

    def _cut(self, spoken: Sequence[tuple[str, ...]], stretches: Sequence[Stretch]) -> Cutting:
        """Text (as dictionary words of each token) and stretches cut together at anchors."""
        if len(stretches) == 1:
            return Cutting((Piece(0, 1, 0, len(spoken)),), frozenset())
        names = [name for words in spoken for name in words]
        token_of = [k for k, words in enumerate(spoken) for _ in words]
        # The aligner's beams let everything through; recognising needs the usual ones, and anchors need only its first pass.
        decoder = make_decoder(lm=None, bestpath=False, fwdflat=False)
        for name, sounds in self._added:
            decoder.add_word(name, sounds, False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "text.lm"
            _write_trigrams(names, path)
            decoder.add_lm_file("text", str(path))
        decoder.activate_search("text")
        recognised = [[_bare(s.word) for s in decode(decoder, stretch) if s.word[0] not in FILLERS] for stretch in stretches]
        cutting = cut_at_anchors(names, recognised)
        pieces = []
        for piece in cutting.pieces:
            # A token of several words is never cut in two: it goes where its first word goes.
            word = 0 if piece.word == 0 else token_of[piece.word - 1] + 1
            end = len(spoken) if piece.end == len(names) else (token_of[piece.end - 1] + 1 if piece.end else 0)
            pieces.append(Piece(piece.first, piece.last, word, end))
        return Cutting(tuple(pieces), cutting.anchored)

    def _ready_decoder(self) -> Any:
        if self._decoder is None:
            self._decoder = make_decoder(lm=None, bestpath=False, beam=BEAM, pbeam=BEAM, wbeam=BEAM)
        return self._decoder

    def _dictionary_words(self, token: str) -> tuple[str, ...]:
        """Names of dictionary words that say the token, put into the dictionary where they are missing; () where it has no sound."""
        ways = readings(token)
        if not ways:
            return ()
        if len(ways) == 1:
            for word in ways[0]:
                if self._ready_decoder().lookup_word(word) is None:
                    self._add(word, " ".join(letter_sounds(word)))
            return ways[0]
        # One word with as many pronunciations as the token has readings.
        name = "~" + "_".join(ways[0])
        if self._ready_decoder().lookup_word(name) is None:
            for k, way in enumerate(ways):
                self._add(name if k == 0 else f"{name}({k + 1})", self._sounds(way))
        return (name,)

    def _add(self, name: str, sounds: str) -> None:
        self._ready_decoder().add_word(name, sounds, False)
        self._added.append((name, sounds))

    def _sounds(self, way: Reading) -> str:
        decoder = self._ready_decoder()
        return " ".join(decoder.lookup_word(word) or " ".join(letter_sounds(word)) for word in way)


def _poorest(scores: Floats64, frames: NDArray[np.int64]) -> float:
    """The lowest score a frame over any WINDOW words in a row (over all, where there are fewer)."""
    window = np.ones(min(WINDOW, len(scores)))
    return float((np.convolve(scores, window, "valid") / np.convolve(frames, window, "valid")).min())


def _write_trigrams(words: Sequence[str], path: Path) -> None:
    """A trigram model of this text alone, in ARPA form."""
    from pocketsphinx.lm import ArpaBoLM

    # Lines only mark where a sentence may begin and end; a stretch can begin anywhere.
    lines = [" ".join(words[k : k + 20]) for k in range(0, len(words), 20)]
    model = ArpaBoLM(text="\n".join(lines), add_start=True)
    model.compute()
    with path.open("w", encoding="utf-8") as file:
        model.write(file)


def _bare(word: str) -> str:
    return re.sub(r"\(\d+\)$", "", word)


def _require_sound(tokens: Sequence[str], spoken: Sequence[tuple[str, ...]]) -> None:
    if not any(spoken):
        raise TranscriptError(
            f"alignment: expected English words, none of the {len(tokens)} tokens from {tokens[0]!r} on can be pronounced"
        )
