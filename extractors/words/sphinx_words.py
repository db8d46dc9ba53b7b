"""Words from the offline recogniser: pocketsphinx with its own US English model, no download, no network.

Sound is cut at its pauses into stretches of at most 15 s (voice_activity.py), each decoded on its own in three passes (lexicon tree,
flat lexicon, best path over the word lattice); a word's probability is its posterior in that lattice. Cost and memory grow with
one stretch, not with the clip. A baseline, not a rival of Whisper: its measured word error rate stands in docs/words.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from emofuse.pipeline.errors import NoStream, WeightsError
from emofuse.pipeline.media import Media, Medium
from emofuse.pipeline.timed import Provenance, TimedSequence

from ..provider import Provider, Request, Status
from .sphinx import FILLERS, decode, make_decoder, model_folder, sample_of, version, weights
from .voice_activity import speech_stretches
from .word_rows import COLUMNS, LABELS, WordRow, words_stream

LONGEST = 15.0
# pocketsphinx prunes by what a loop of bare phones makes of the next frames; where sound is poor that prunes the right word. Without
# it, on jfk with six small disturbances, 22 RAVDESS and 10 GRID clips: 118 errors for 128, for 1.4 times the processor time.
LOOKAHEAD = 0


class SphinxWords(Provider):
    """Extractor of the words stream: `SphinxWords()(clip, {})`. English only; words in lower case, without punctuation or digits.

    Raises `WeightsError` where pocketsphinx or its model is not installed. A clip without audio or speech gives an empty stream
    that says so.
    """

    name = "pocketsphinx"
    stream = "words"
    help = "a small recogniser of US English that needs no download and is often wrong"
    columns: tuple[str, ...] = COLUMNS
    media: frozenset[Medium] = frozenset({"audio"})
    needs: tuple[str, ...] = ()

    def __init__(self) -> None:
        model_folder()
        self._decoder: Any = None

    @classmethod
    def make(cls, request: Request) -> SphinxWords:
        return cls()

    @classmethod
    def status(cls, request: Request) -> Status:
        """Whether it would run here; it never needs the network."""
        try:
            model_folder()
        except WeightsError as error:
            return Status.missing(str(error))
        return Status.here(f"pocketsphinx {version()} with its own US English model")

    @property
    def provenance(self) -> Provenance:
        options = {"language": "en", "longest_stretch_seconds": LONGEST, "pl_window": LOOKAHEAD}
        return Provenance(extractor=self.name, version=version(), weights=weights(), options=options)

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        if self._decoder is None:
            self._decoder = make_decoder(pl_window=LOOKAHEAD)
        rows: list[WordRow] = []
        stretches = 0
        try:
            for stretch in speech_stretches(clip.samples(), LONGEST):
                stretches += 1
                for segment in decode(self._decoder, stretch):
                    if segment.word[0] in FILLERS:
                        continue
                    span = stretch.span_of(sample_of(segment.start_frame), sample_of(segment.end_frame + 1))
                    # "the(2)" is the second pronunciation of "the".
                    word = re.sub(r"\(\d+\)$", "", segment.word)
                    rows.append(WordRow(span.start, span.end, word, _probability(segment.prob)))
        except NoStream as error:
            return TimedSequence.empty(self.stream, COLUMNS, self.provenance, str(error), LABELS)
        reason = "no speech was found in the sound" if not stretches else "speech-like sound, but no word was recognised in it"
        return words_stream(rows, self.provenance, reason)


def _probability(posterior: float) -> float:
    """Rounding in the log domain can leave a posterior a hair above 1; NaN where the lattice had none."""
    return float(np.clip(posterior, 0.0, 1.0)) if math.isfinite(posterior) else math.nan
