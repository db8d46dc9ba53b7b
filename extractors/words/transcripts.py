"""Transcript files that a user hands in, read into cues: SubRip, WebVTT, Whisper JSON, Praat TextGrid, ELAN, CSV, plain text.

What the file says about its words' times is kept as it is (cues.py); finding a time for each word is somebody else's work
(transcript_words.py). Times are taken as seconds of the clip's own clock, which is what a player shows while one writes subtitles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from emofuse.pipeline.errors import TranscriptError
from emofuse.pipeline.formats.text_file import read_text

from .cues import Cue, Skipped
from .transcript_forms import read_csv, read_plain, read_srt, read_vtt
from .transcript_tiers import read_eaf, read_textgrid
from .transcript_whisper import read_whisper


class Reader(Protocol):
    def __call__(self, text: str, path: Path, skipped: Skipped) -> tuple[Cue, ...]: ...


READERS: Mapping[str, tuple[str, Reader]] = {
    ".srt": ("SRT", read_srt),
    ".vtt": ("WebVTT", read_vtt),
    ".json": ("Whisper JSON", read_whisper),
    ".csv": ("CSV", read_csv),
    ".tsv": ("CSV", read_csv),
    ".txt": ("text", read_plain),
}
TIERS = {".textgrid": "TextGrid", ".eaf": "ELAN"}
"""Annotation files: their words are one of several tiers."""
SUFFIXES = (".srt", ".vtt", ".json", *TIERS, ".csv", ".tsv", ".txt")
WHISPERS_FILES = (".json", ".tsv", ".vtt", ".srt", ".txt")
"""What the whisper command writes of one recording, the file that says most first."""


@dataclass(frozen=True)
class Transcript:
    """Cues in the file's order, the format that they were read as, and facts for the notes (an encoding that was guessed)."""

    cues: tuple[Cue, ...]
    format: str
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        """Whether the file itself gives every single word its time."""
        return all(cue.start is not None and cue.closed and len(cue.words) == 1 for cue in self.cues)


def read_transcript(path: Path, tier: str | None = None) -> Transcript:
    """Reads a transcript by its extension; one cue that cannot be costs that cue, and is in the notes.

    tier  names of the tiers of an annotation file to read, separated by commas; None: they are found by structure and name
    Raises `TranscriptError` naming the file, the line and what was expected there.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise TranscriptError(f"{path}: expected a transcript named {', '.join(SUFFIXES)}, got {path.suffix or 'no extension'}")
    skipped = Skipped()
    remarks: list[str] = []
    notes: dict[str, Any] = {}
    if suffix in TIERS:
        format_name = TIERS[suffix]
        of_tiers = read_eaf(path, skipped, tier) if suffix == ".eaf" else read_textgrid(path, skipped, tier)
        cues, notes["tiers"] = of_tiers.cues, list(of_tiers.tiers)
        remarks += of_tiers.remarks
    else:
        format_name, reader = READERS[suffix]
        decoded = read_text(path, TranscriptError)
        cues = reader(decoded.text, path, skipped)
        if decoded.remark:
            notes["encoding"] = f"{decoded.encoding} (not valid UTF-8)"
            remarks.append(decoded.remark)
    if not cues:
        raise skipped.none_left(format_name, str(path))
    if remarks := [*remarks, *(f"{path.name}: {line}" for line in skipped.remarks())]:
        notes["remarks"] = remarks
    return Transcript(cues, format_name, notes)


def best_of(files: Sequence[Path], folder: Path, stem: str) -> Path:
    """The one transcript among files of a clip's name, in their folder. The files that whisper writes side by side are one transcript.

    Raises `TranscriptError` for none, for several, and for a link that leads out of the folder.
    """
    suffixes = {path.suffix.lower() for path in files}
    if len(files) > 1 and len(suffixes) == len(files) and suffixes <= set(WHISPERS_FILES):
        files = sorted(files, key=lambda path: WHISPERS_FILES.index(path.suffix.lower()))[:1]
    if len(files) != 1:
        raise TranscriptError(f"{folder}: expected one transcript named {stem} ({', '.join(SUFFIXES)}), found {len(files)}")
    if not files[0].resolve().is_relative_to(folder.resolve()):
        raise TranscriptError(f"{files[0]}: expected a transcript in {folder}, got a link to a file outside of it")
    return files[0]
