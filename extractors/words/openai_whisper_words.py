"""Words from openai-whisper, the original program, with its own word times, in any of its languages.

Weights come from one of four places, never from an unknown pickle: OpenAI's own checkpoint (tiny, base, small ...) in ~/.cache/whisper,
whose SHA-256 is compared with whisper's own table before whisper opens it (torch.load with weights_only); the same weights in a
transformers folder (safetensors) or as CTranslate2 converts them, copied into whisper's module; or OpenAI's checkpoint fetched now,
only where a network was allowed. Sound is given in stretches of some minutes cut at quiet places, with gaps filled by silence, so
whisper's times are seconds of the clip; words that it hears in filled silence are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np

from emofuse.pipeline.errors import NoStream, UsageError
from emofuse.pipeline.media import SAMPLE_RATE, Media, Medium, Samples
from emofuse.pipeline.timed import Floats32, Provenance, Span, TimedSequence

from ..provider import Provider, Request, Status
from ..weights.whisper import default_model
from .whisper_output import HeardWord, whole_words
from .word_rows import COLUMNS, LABELS, WordRow, words_stream

LONGEST = 300.0  # seconds that whisper is given at once: it holds the whole spectrogram of what it is given
LONG_SILENCE = 30.0  # filled silence of whisper's own window length or more is not given to it at all


class OpenaiWhisperWords(Provider):
    """Extractor of the words stream.

    model     a name of openai's ("base", "small.en", "turbo"), its .pt file, or a transformers or CTranslate2 folder of a whisper model
    device    "cpu", "cuda", "cuda:1"
    offline   never fetch: weights that are not here are a `WeightsError`
    language  "en", "de" ...; None: whisper guesses it from the first 30 s
    """

    name = "openai-whisper"
    stream = "words"
    argument = "[:MODEL]"
    help = "the same through OpenAI's own program; MODEL is a name, a .pt file, or a CTranslate2 or transformers folder"
    auto = False
    columns: tuple[str, ...] = COLUMNS
    media: frozenset[Medium] = frozenset({"audio"})
    needs: tuple[str, ...] = ()

    def __init__(self, model: str = "base", *, device: str = "cpu", offline: bool = True, language: str | None = None) -> None:
        from ..weights.openai_whisper import find_weights

        if language is not None:
            from whisper.tokenizer import LANGUAGES

            if language not in LANGUAGES:
                raise UsageError(f"whisper: expected a language code such as en or de, got {language!r}")
        self._weights = find_weights(model, offline=offline)
        self._device, self._language = device, language
        self._model: Any = None

    @classmethod
    def make(cls, request: Request) -> OpenaiWhisperWords:
        return cls(request.argument or default_model(), device=request.device, offline=request.offline, language=request.language)

    @classmethod
    def status(cls, request: Request) -> Status:
        """Whether these weights are on this machine; opens no socket and imports nothing heavy."""
        if find_spec("whisper") is None:
            return Status.missing("openai-whisper is not installed (pip install openai-whisper)")
        from ..weights.openai_whisper import weights_status

        return weights_status(request.argument or default_model())

    @property
    def provenance(self) -> Provenance:
        return self._provenance({})

    def _provenance(self, notes: Mapping[str, Any]) -> Provenance:
        options = {"model": self._weights.name, "device": self._device, "language": self._language}
        version = metadata.version("openai-whisper")
        return Provenance(extractor=self.name, version=version, weights=dict(self._weights.sha256), options=options, notes=notes)

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        if self._model is None:
            self._model = self._weights.load(self._device)
        language = self._language
        rows: list[WordRow] = []
        filled: list[Span] = []
        dropped = 0
        try:
            for stretch in stretches(clip.samples(fill_silence=True)):
                filled += stretch.filled
                words, language = self._transcribe(stretch.values, language)
                for word in words:
                    start, end = stretch.start + word.start, stretch.start + word.end
                    middle = (start + end) / 2
                    if any(span.start <= middle < span.end for span in stretch.filled):
                        dropped += 1
                    elif word.text:
                        rows.append(WordRow(start, max(start, end), word.text, word.probability))
        except NoStream as error:
            return TimedSequence.empty(self.stream, COLUMNS, self.provenance, str(error), LABELS)
        notes: dict[str, Any] = {"filled_spans": [[span.start, span.end] for span in filled]}
        if language is not None:
            notes["language"] = language
        if dropped:
            notes["words_in_filled_silence_dropped"] = dropped
        return words_stream(rows, self._provenance(notes), "whisper heard no words")

    def _transcribe(self, values: Floats32, language: str | None) -> tuple[list[HeardWord], str | None]:
        """Whisper's words (word, start, end, probability) in one stretch, and its language."""
        import torch
        import whisper

        # Whisper draws at random where its first, greedy answer looks wrong; a fixed seed makes a second call give the same.
        device = torch.device(self._device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            result: dict[str, Any] = whisper.transcribe(
                self._model, values, language=language, word_timestamps=True, fp16=device.type == "cuda", verbose=None
            )
        language = result.get("language", language)
        pieces = [
            [HeardWord(w["word"], float(w["start"]), float(w["end"]), float(w["probability"])) for w in segment.get("words", ())]
            for segment in result["segments"]
        ]
        return [word for segment in pieces for word in whole_words(segment, language)], language


@dataclass(frozen=True, eq=False)
class FilledStretch:
    """Contiguous sound for whisper: second of the first sample, values (n) float32, and which spans of it are filled silence."""

    start: float
    values: Floats32
    filled: tuple[Span, ...]


def stretches(blocks: Iterable[Samples], longest: float = LONGEST) -> Iterator[FilledStretch]:
    """Contiguous blocks (gaps filled) as stretches of at most `longest` seconds, cut at quiet places.

    Silence filled in before the first sound, and in a gap of `LONG_SILENCE` or more, is left out: whisper never sees it.
    """
    held: list[Samples] = []
    silence: list[Samples] = []
    for block in blocks:
        if block.filled:
            silence.append(block)
            continue
        if held and silence and silence[-1].end - silence[0].start < LONG_SILENCE:
            held += silence
        elif held and silence:
            yield _stretch(held)
            held = []
        silence = []
        held.append(block)
        while held[-1].end - held[0].start >= longest:
            whole = _stretch(held)
            cut = _quiet_place(whole.values, longest)
            first, rest = _split(held, whole.start + cut / SAMPLE_RATE)
            yield _stretch(first)
            held = rest
            if not held:
                break
    if held:
        yield _stretch(held)


def _stretch(blocks: list[Samples]) -> FilledStretch:
    filled = tuple(Span(block.start, block.end) for block in blocks if block.filled)
    return FilledStretch(blocks[0].start, np.concatenate([block.values for block in blocks]), filled)


def _split(blocks: list[Samples], second: float) -> tuple[list[Samples], list[Samples]]:
    before: list[Samples] = []
    after: list[Samples] = []
    for block in blocks:
        k = min(max(0, round((second - block.start) * SAMPLE_RATE)), len(block.values))
        if k:
            before.append(Samples(block.start, block.values[:k], block.filled))
        if k < len(block.values):
            after.append(Samples(block.start + k / SAMPLE_RATE, block.values[k:], block.filled))
    return before, after


def _quiet_place(values: Floats32, longest: float) -> int:
    """The sample in the middle of the quietest 0.3 s within the last tenth of `longest` seconds."""
    end = int(longest * SAMPLE_RATE)
    begin = end - end // 10
    power = np.square(values[begin:end], dtype=np.float64).reshape(-1)
    frame = SAMPLE_RATE // 100
    energies = power[: len(power) // frame * frame].reshape(-1, frame).sum(axis=1)
    smooth = np.convolve(energies, np.ones(30), mode="valid") if len(energies) >= 30 else energies
    return begin + (int(np.argmin(smooth)) + min(15, len(energies) // 2)) * frame
