"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from emofuse.options import Options

Function = TypeVar("Function", bound=Callable[..., Any])

_PROVIDERS = (
    (
        "words",
        "pocketsphinx, whisper[:MODEL], a transcript file (srt, vtt, json, TextGrid, eaf, csv, txt) or a folder of them by clip name.",
    ),
    ("text", "minilm, glove (GloVe 6B, 50 columns), glove:FILE, or any BERT-family encoder by name or folder."),
    ("face", "compact, pyfeat, mediapipe[:face_landmarker.task], or a file: OpenFace or Fex CSV, .parquet, .csd (or a folder of them)."),
    ("voice", "covarep, covarep-compat, librosa, torchaudio, or a file: .csd, .parquet, .csv."),
)


def provider_options(function: Function) -> Function:
    """--words --text --face --voice --offline --device --language --acoustic-model."""
    function = click.option("--acoustic-model", metavar="FOLDER", help="CTC model to align transcripts with (default: pocketsphinx).")(
        function
    )
    function = click.option("--language", metavar="CODE", help="Language of the speech for whisper (default: it guesses).")(function)
    function = click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps.")(function)
    function = click.option("--offline", is_flag=True, help="Never open a network connection.")(function)
    for stream, what in reversed(_PROVIDERS):
        function = click.option(f"--{stream}", default="auto", show_default=True, metavar="PROVIDER", help=f"auto, none, {what}")(function)
    return function


def options_from(values: dict[str, Any]) -> Options:
    return Options(
        **{name: values[name] for name in ("words", "text", "face", "voice", "offline", "device", "language", "acoustic_model")},
        model=values.get("model"),
        face_id=values.get("face_id"),
        prior=values.get("prior"),
    )
