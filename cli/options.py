"""Options that several commands share, and finding the clips among what the user named."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from emofuse.assembly import Options

Function = TypeVar("Function", bound=Callable[..., Any])

_PROVIDERS = (
    ("words", "pocketsphinx, whisper[:MODEL], a transcript file (srt, vtt, json, TextGrid, csv, txt) or a folder of them by clip name."),
    ("text", "minilm, glove:FILE, or any BERT-family encoder by name or folder."),
    ("face", "compact, pyfeat, mediapipe[:face_landmarker.task]."),
    ("voice", "covarep, covarep-compat, librosa, torchaudio."),
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
    )


def find_clips(paths: Sequence[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Clips to look at: files as they were named, and every file of a folder that is not hidden, in order of name.

    Returns the files and, for what yields none (a missing path, an empty folder), the path and the reason. Whether a file
    is a clip is found out by opening it, not by its name; inside folders, what cannot be a clip by its first bytes is passed over.
    """
    clips: list[Path] = []
    problems: list[tuple[Path, str]] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in _walk(path) if looks_like_media(p))
            clips += found
            if not found:
                problems.append((path, "a folder without clips"))
        elif path.exists():
            clips.append(path)
        else:
            problems.append((path, "no such file or folder"))
    return list(dict.fromkeys(clips)), problems


def _walk(folder: Path) -> list[Path]:
    files: list[Path] = []
    for parent, folders, names in os.walk(folder):
        # Results of an earlier run are not clips: a folder with an analysis.json of ours is passed over whole.
        folders[:] = [] if "analysis.json" in names else sorted(d for d in folders if not d.startswith("."))
        files += [] if "analysis.json" in names else [Path(parent, name) for name in names if not name.startswith(".")]
    return files


_SIGNATURES = (
    b"\x1aE\xdf\xa3",
    b"RIFF",
    b"FLV",
    b"OggS",
    b"fLaC",
    b"ID3",
    b"\x00\x00\x01\xba",
    b"\x00\x00\x01\xb3",
    b"FORM",
    b"0&\xb2u",
    b"caff",
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def looks_like_media(path: Path) -> bool:
    """Whether the first bytes are those of a recording's container. A guess for walking folders, not a verdict."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(400)
    except OSError:
        return True  # named by its error when it is opened
    if head.startswith(_SIGNATURES) or head[4:8] in _BOXES:
        return True
    if len(head) > 188 and head[0] == 0x47 and head[188] == 0x47:  # an MPEG transport stream
        return True
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0  # MPEG audio, AAC
