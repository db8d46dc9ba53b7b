"""Words from a transcript that the user hands in, each with its time.

Words that the file itself times keep those times. A cue of several words is aligned to the sound within its span; a text without times
is aligned to the whole clip (both: align.py). Where that cannot be done (no audio, another language, words that are not what
is said) a cue's words share its span in proportion to their length, and the stream's notes say how many did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.errors import NoStream, TranscriptError, WeightsError
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.media import Media, Medium, Samples
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

from ..provider import Provider, Request, Status
from .align import Aligner, Alignment, fill_between
from .cues import Cue
from .recording import Recording, Stretch, together
from .silero import spoken_stretches
from .transcripts import SUFFIXES, Transcript, best_of, read_transcript
from .word_rows import COLUMNS, WordRow, words_stream

SECONDS_A_WORD = 2.0
LONG_PAUSE = 1.0  # seconds without speech in a cue from which its words are also aligned to the speech alone


class TranscriptWords(Provider):
    """Extractor of the words stream from a transcript file.

    path            SRT, WebVTT, Whisper JSON, TextGrid, ELAN, CSV or plain text, known by its extension
    acoustic_model  folder of a wav2vec2-like CTC model to align with (any language that it knows); without it pocketsphinx aligns
    tier            names of the tiers of a TextGrid or ELAN file to read, separated by commas; None: found by structure and name

    Raises `TranscriptError` (one line: file, line, what was expected) for a file that cannot be read, and for a text without times
    that does not go with the sound.
    """

    name = "transcript"
    stream = "words"
    argument = ":FILE"
    help = f"your transcript ({' '.join(SUFFIXES)}), or a folder with one for each clip; untimed words are aligned to the sound"
    auto = False
    one_clip = True
    columns: tuple[str, ...] = COLUMNS
    needs: tuple[str, ...] = ()

    def __init__(self, path: str | Path, acoustic_model: str | Path | None = None, tier: str | None = None) -> None:
        self._path = Path(path)
        self._transcript: Transcript = read_transcript(self._path, tier)
        self._sha256 = sha256_of(self._path)
        self._aligner: Aligner | None = None if self._transcript.timed else _aligner(acoustic_model)

    @classmethod
    def accepts(cls, requested: str) -> bool:
        return Path(requested).exists() or Path(requested).suffix.lower() in SUFFIXES

    @classmethod
    def make(cls, request: Request) -> TranscriptWords:
        return cls(request.argument, request.acoustic_model, request.tier)

    @classmethod
    def file_for(cls, clip: Path, folder: Path) -> Path:
        """The transcript in a folder that has the clip's name; raises `TranscriptError` where there is none or several."""
        files = sorted(path for path in folder.iterdir() if path.stem == clip.stem and path.suffix.lower() in SUFFIXES)
        return best_of(files, folder, clip.stem)

    @classmethod
    def status(cls, request: Request) -> Status:
        """It reads a local file; alignment is offline too."""
        return Status.here("reads the transcript file that you name")

    @property
    def media(self) -> frozenset[Medium]:
        """The sound is only needed where the file does not time every word."""
        return frozenset() if self._aligner is None else frozenset({"audio"})

    @property
    def provenance(self) -> Provenance:
        return self._provenance({})

    def _provenance(self, notes: Mapping[str, Any]) -> Provenance:
        aligner = self._aligner
        options = {"file": self._path.name, "file_sha256": self._sha256, "format": self._transcript.format}
        if aligner is not None:
            options["aligner"] = f"{aligner.name} {aligner.version}"
        return Provenance(
            extractor=self.name,
            version="1",
            weights={} if aligner is None else dict(aligner.weights),
            options=options,
            notes={**self._transcript.notes, **notes},
        )

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        recording: Recording | None = None
        notes: dict[str, Any] = {}
        if self._aligner is not None:
            try:
                recording = Recording.of(clip.samples())
            except NoStream as error:
                notes["not_aligned"] = str(error)
        counts = {"given": 0, "aligned": 0, "spread": 0}
        rows: list[WordRow] = []
        for cue in self._transcript.cues:
            cue = _closed(cue, clip.info.duration)
            how, spans = self._timed(cue, recording, notes)
            counts[how] += len(spans)
            for k, (word, span) in enumerate(zip(cue.words, spans, strict=True)):
                rows.append(WordRow(span.start, span.end, word, cue.probability(k), cue.speaker))
        notes["times"] = counts
        if counts["spread"]:
            notes["spread"] = "words that could not be aligned share the free part of their cue's span in proportion to their length"
        return words_stream(rows, self._provenance(notes), "the transcript holds no words")

    def _timed(self, cue: Cue, recording: Recording | None, notes: dict[str, Any]) -> tuple[str, tuple[Span, ...]]:
        if cue.start is None or cue.end is None:
            if recording is None or self._aligner is None:
                raise TranscriptError(f"{self._path}: expected a clip with sound to align a text without times to, got none")
            try:
                alignment = self._aligner.align_text(cue.words, recording)
            except TranscriptError as error:
                raise TranscriptError(f"{self._path}: {error}") from None
            notes["alignment"] = {"score": alignment.fit, **alignment.notes}
            return "aligned", alignment.spans
        span = Span(cue.start, cue.end)
        if len(cue.words) == 1:
            return "given", (span,)
        if recording is not None and self._aligner is not None:
            sound = recording.cut(span)
            tried = (self._aligned(cue.words, sound), self._aligned(cue.words, _without_pauses(sound)))
            if aligned := [alignment for alignment in tried if alignment is not None]:
                return "aligned", max(aligned, key=lambda alignment: alignment.fit).spans
        known = [Span(*times) if times else None for times in cue.known] or [None] * len(cue.words)
        return "spread", fill_between(cue.words, known, span)

    def _aligned(self, words: Sequence[str], sound: Stretch | None) -> Alignment | None:
        # Less than a frame of sound cannot hold two words.
        if self._aligner is None or sound is None or sound.seconds <= 0.05 * len(words):
            return None
        try:
            return self._aligner.align(words, sound)
        except TranscriptError:
            return None


def _without_pauses(sound: Stretch) -> Stretch | None:
    """The speech in a cue's sound, because noise in a long pause can be taken for words; None where there is hardly a pause."""
    if sound.seconds < LONG_PAUSE:
        return None
    blocks = (Samples(start, values.astype(np.float32) / np.float32(32767)) for start, values in sound.pieces)
    try:
        speech = together([stretch.sound for stretch in spoken_stretches(blocks)])
    except WeightsError:  # without faster-whisper there is no Silero to ask
        return None
    return speech if speech.seconds <= sound.seconds - LONG_PAUSE else None


def _closed(cue: Cue, length: float | None) -> Cue:
    """A cue that the file leaves open ends with the clip, or where a slow speaker would have said it."""
    if cue.start is None or cue.closed:
        return cue
    longest = cue.start + SECONDS_A_WORD * len(cue.words)
    return replace(cue, end=max(cue.start, min(longest, length if length is not None else longest)))


def _aligner(acoustic_model: str | Path | None) -> Aligner:
    if acoustic_model is not None:
        from .align_ctc import CtcAligner

        return CtcAligner(acoustic_model)
    from .align_sphinx import SphinxAligner

    return SphinxAligner()
