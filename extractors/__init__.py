"""One file (or folder) a stream provider. `EXTRACTORS` lists them: stream -> provider -> how to ask for it and how to make it.

A new provider is one new file and one line here. Within a stream the order is the order of preference of `auto`. The providers' modules
import no library at their top: their constructors do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emofuse.pipeline.ports import Extractor

from .face.compact.extractor import Compact
from .face.mediapipe_face import MediapipeFace
from .face.pyfeat_face import PyfeatFace
from .stream_file import StreamFile
from .text.bert_text import BertText
from .text.glove_text import GloveText
from .voice.covarep.voice import CovarepCompatVoice, CovarepVoice
from .voice.librosa_voice import LibrosaVoice
from .voice.torchaudio_voice import TorchaudioVoice
from .weights.local import Status
from .words.sphinx_words import SphinxWords
from .words.transcript_words import TranscriptWords
from .words.whisper_words import WhisperWords


@dataclass(frozen=True)
class Request:
    """What a user wants of a provider: the part after the colon (`whisper:small`), where to compute, whether the network may be used,
    the language of the speech, the folder of a CTC acoustic model to align transcripts with, and the columns that the model reads of this
    stream (() where no model reads)."""

    argument: str = ""
    device: str = "cpu"
    offline: bool = True
    language: str | None = None
    acoustic_model: str | None = None
    wanted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provider:
    """How to ask a provider whether it can run here, and how to make it.

    columns  the numeric columns that it fills, where they are known before it is made; () where the weights decide
    auto     whether the automatic choice may take it
    """

    status: Callable[[Request], Status]
    make: Callable[[Request], Extractor]
    columns: tuple[str, ...] = ()
    auto: bool = True


def _file(stream: str) -> Provider:
    return Provider(_reads_a_file, lambda r: StreamFile(stream, r.argument, r.wanted), auto=False)


def _reads_a_file(request: Request) -> Status:
    return Status(usable=True, fetchable=False, reason="reads the file that you name")


EXTRACTORS: Mapping[str, Mapping[str, Provider]] = {
    "words": {
        "whisper": Provider(
            lambda r: WhisperWords.status(r.argument or "base", offline=r.offline),
            lambda r: WhisperWords(r.argument or "base", device=r.device, offline=r.offline, language=r.language),
        ),
        "pocketsphinx": Provider(lambda r: SphinxWords.status(offline=r.offline), lambda r: SphinxWords()),
        "transcript": Provider(_reads_a_file, lambda r: TranscriptWords(r.argument, r.acoustic_model), auto=False),
        "file": _file("words"),
    },
    "text": {
        "minilm": Provider(
            lambda r: BertText.status("minilm", offline=r.offline), lambda r: BertText("minilm", device=r.device, offline=r.offline)
        ),
        "bert": Provider(
            lambda r: BertText.status(r.argument or "bert-base-uncased", offline=r.offline),
            lambda r: BertText(r.argument or "bert-base-uncased", device=r.device, offline=r.offline),
            auto=False,
        ),
        "glove": Provider(
            lambda r: GloveText.status(r.argument or None, offline=r.offline), lambda r: GloveText(r.argument or None), auto=False
        ),
        "file": _file("text"),
    },
    "face": {
        # py-feat measures four more action units, but takes about a second a frame on a CPU, and its weights are for research use only.
        "compact": Provider(lambda r: Compact.status(offline=r.offline), lambda r: Compact(device=r.device), Compact.columns),
        "pyfeat": Provider(
            lambda r: PyfeatFace.status(offline=r.offline), lambda r: PyfeatFace(device=r.device, offline=r.offline), PyfeatFace.columns
        ),
        "mediapipe": Provider(
            lambda r: MediapipeFace.status(r.argument, offline=r.offline),
            lambda r: MediapipeFace(r.argument, offline=r.offline),
            MediapipeFace.columns,
            auto=False,
        ),
        "file": _file("face"),
    },
    "voice": {
        "covarep": Provider(
            lambda r: CovarepVoice.status(offline=r.offline), lambda r: CovarepVoice(device=r.device), CovarepVoice.columns
        ),
        "librosa": Provider(lambda r: LibrosaVoice.status(offline=r.offline), lambda r: LibrosaVoice(), LibrosaVoice.columns),
        "torchaudio": Provider(
            lambda r: TorchaudioVoice.status(offline=r.offline), lambda r: TorchaudioVoice(device=r.device), TorchaudioVoice.columns
        ),
        "covarep-compat": Provider(
            lambda r: CovarepCompatVoice.status(offline=r.offline), lambda r: CovarepCompatVoice(), CovarepCompatVoice.columns
        ),
        "file": _file("voice"),
    },
}
