"""One file (or folder) for each provider of a stream. `EXTRACTORS` lists them all: stream -> providers.

A new provider is one new file and one line here. The order matters twice: `auto` takes the first that can run, and a path or a model's
name goes to the first that accepts it. No module named here imports a heavy library at its top: constructors do.
"""

from __future__ import annotations

from collections.abc import Mapping

from .face.compact.extractor import Compact
from .face.mediapipe_face import MediapipeFace
from .face.pyfeat_face import PyfeatFace
from .provider import Provider, Request, Status
from .speakers.rttm_file import RttmSpeakers
from .speakers.voices import VoiceSpeakers
from .stream_file import FaceFile, TextFile, VoiceFile, WordsFile
from .text.bert_text import BertText, MinilmText, PlainMinilmText
from .text.glove_text import GloveText
from .voice.covarep.voice import CovarepCompatVoice, CovarepVoice
from .voice.joined_voice import JoinedVoice
from .voice.librosa_voice import LibrosaVoice
from .voice.torchaudio_voice import TorchaudioVoice
from .voice.whisper_voice import WhisperVoice
from .words.openai_whisper_words import OpenaiWhisperWords
from .words.sphinx_words import SphinxWords
from .words.transcript_words import TranscriptWords
from .words.whisper_words import WhisperWords

__all__ = ["EXTRACTORS", "Provider", "Request", "Status", "provider_table"]

EXTRACTORS: Mapping[str, tuple[type[Provider], ...]] = {
    "words": (WhisperWords, SphinxWords, OpenaiWhisperWords, WordsFile, TranscriptWords),
    "text": (MinilmText, PlainMinilmText, TextFile, GloveText, BertText),
    "face": (Compact, PyfeatFace, MediapipeFace, FaceFile),  # py-feat is slow, and its weights are for research use only
    # what Whisper hears comes with COVAREP's columns, so that people have pitch and voice quality to look at
    "voice": (CovarepVoice, LibrosaVoice, TorchaudioVoice, CovarepCompatVoice, JoinedVoice, WhisperVoice, VoiceFile),
    "speakers": (VoiceSpeakers, RttmSpeakers),
}


def provider_table() -> str:
    """All providers as a Markdown table: the one in docs/providers.md."""
    rows = ["| option | value | what it is | chosen by `auto` |", "|---|---|---|---|"]
    for stream, providers in EXTRACTORS.items():
        for provider in providers:
            value = f"`{provider.name}{provider.argument}`"
            rows.append(f"| `--{stream}` | {value} | {provider.help} | {'yes' if provider.auto else 'no'} |")
    return "\n".join(rows) + "\n"
