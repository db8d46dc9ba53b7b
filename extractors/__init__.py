"""One file (or folder) a stream provider. `EXTRACTORS` lists them: stream -> provider -> how to ask for it and how to make it.

A new provider is one new file and one line here. Within a stream the order is the order of preference of `auto`. Importing this
package imports no library: each provider's module does, when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emofuse.pipeline.ports import Extractor

from .weights import Status


@dataclass(frozen=True)
class Request:
    """What a user wants of a provider: the part after the colon (`whisper:small`), where to compute, whether the network may be used."""

    argument: str = ""
    device: str = "cpu"
    offline: bool = True
    language: str | None = None


@dataclass(frozen=True)
class Provider:
    """How to ask a provider whether it can run here, and how to make it. `auto` says whether the automatic choice may take it."""

    status: Callable[[Request], Status]
    make: Callable[[Request], Extractor]
    auto: bool = True


def _whisper_status(request: Request) -> Status:
    from .whisper_words import WhisperWords

    return WhisperWords.status(request.argument or "base", offline=request.offline)


def _whisper(request: Request) -> Extractor:
    from .whisper_words import WhisperWords

    return WhisperWords(request.argument or "base", device=request.device, offline=request.offline, language=request.language)


def _sphinx_status(request: Request) -> Status:
    from .sphinx_words import SphinxWords

    return SphinxWords.status(offline=request.offline)


def _sphinx(request: Request) -> Extractor:
    from .sphinx_words import SphinxWords

    return SphinxWords()


def _transcript_status(request: Request) -> Status:
    return Status(usable=True, fetchable=False, reason="reads the file that you name")


def _transcript(request: Request) -> Extractor:
    from .transcript_words import TranscriptWords

    return TranscriptWords(request.argument)


def _minilm_status(request: Request) -> Status:
    from .bert_text import BertText

    return BertText.status("minilm", offline=request.offline)


def _minilm(request: Request) -> Extractor:
    from .bert_text import BertText

    return BertText("minilm", device=request.device, offline=True)


def _bert_status(request: Request) -> Status:
    from .bert_text import BertText

    return BertText.status(request.argument or "bert-base-uncased", offline=request.offline)


def _bert(request: Request) -> Extractor:
    from .bert_text import BertText

    return BertText(request.argument or "bert-base-uncased", device=request.device, offline=request.offline)


def _glove_status(request: Request) -> Status:
    return Status(usable=True, fetchable=False, reason="reads the GloVe text or zip file that you name")


def _glove(request: Request) -> Extractor:
    from .glove_text import GloveText

    return GloveText(request.argument)


def _librosa_status(request: Request) -> Status:
    from .librosa_voice import LibrosaVoice

    return LibrosaVoice.status(offline=request.offline)


def _librosa(request: Request) -> Extractor:
    from .librosa_voice import LibrosaVoice

    return LibrosaVoice()


def _torchaudio_status(request: Request) -> Status:
    from .torchaudio_voice import TorchaudioVoice

    return TorchaudioVoice.status(offline=request.offline)


def _torchaudio(request: Request) -> Extractor:
    from .torchaudio_voice import TorchaudioVoice

    return TorchaudioVoice(device=request.device)


def _pyfeat_status(request: Request) -> Status:
    from .pyfeat_face import PyfeatFace

    return PyfeatFace.status(offline=request.offline)


def _pyfeat(request: Request) -> Extractor:
    from .pyfeat_face import PyfeatFace

    return PyfeatFace(device=request.device, offline=request.offline)


EXTRACTORS: Mapping[str, Mapping[str, Provider]] = {
    "words": {
        "whisper": Provider(_whisper_status, _whisper),
        "pocketsphinx": Provider(_sphinx_status, _sphinx),
        "transcript": Provider(_transcript_status, _transcript, auto=False),
    },
    "text": {
        "minilm": Provider(_minilm_status, _minilm),
        "bert": Provider(_bert_status, _bert, auto=False),
        "glove": Provider(_glove_status, _glove, auto=False),
    },
    "face": {
        "pyfeat": Provider(_pyfeat_status, _pyfeat),
    },
    "voice": {
        "librosa": Provider(_librosa_status, _librosa),
        "torchaudio": Provider(_torchaudio_status, _torchaudio),
    },
}
