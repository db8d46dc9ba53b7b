"""Words out of ELAN's annotation files (.eaf): the tiers that are named like words, as in a TextGrid (transcript_textgrid.py)."""

from __future__ import annotations

from pathlib import Path

from emofuse.pipeline.errors import FormatError, TranscriptError
from emofuse.pipeline.formats.eaf import read_tiers

from .cues import Cue
from .transcript_textgrid import cues_of_tiers


def read_eaf(text: str, path: Path) -> tuple[Cue, ...]:
    """`text` is not looked at: the file says its own encoding. Raises `TranscriptError` in one line."""
    try:
        return cues_of_tiers(read_tiers(path), path)
    except FormatError as error:
        raise TranscriptError(str(error)) from None
