"""Transcript files that a user hands in, read into cues: SubRip, WebVTT, Whisper JSON, Praat TextGrid, ELAN, CSV,
plain text.

What the file says about its words' times is kept as it is (cues.py); finding a time for each word is somebody else's work
(transcript_words.py). Times are taken as seconds of the clip's own clock, which is what a player shows while one writes subtitles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emofuse.pipeline.errors import TranscriptError

from .cues import Cue
from .transcript_eaf import read_eaf
from .transcript_forms import read_csv, read_srt, read_text, read_vtt
from .transcript_textgrid import read_textgrid
from .transcript_whisper import read_whisper

MOST_BYTES = 64 * 1024 * 1024
READERS: Mapping[str, tuple[str, Callable[[str, Path], tuple[Cue, ...]]]] = {
    ".srt": ("SRT", read_srt),
    ".vtt": ("WebVTT", read_vtt),
    ".json": ("Whisper JSON", read_whisper),
    ".textgrid": ("TextGrid", read_textgrid),
    ".eaf": ("ELAN", read_eaf),
    ".csv": ("CSV", read_csv),
    ".tsv": ("CSV", read_csv),
    ".txt": ("text", read_text),
}
SUFFIXES = tuple(READERS)


@dataclass(frozen=True)
class Transcript:
    """Cues in the file's order, the format that they were read as, and facts for the notes (an encoding that was guessed)."""

    cues: tuple[Cue, ...]
    form: str
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        """Whether the file itself gives every single word its time."""
        return all(cue.start is not None and len(cue.words) == 1 for cue in self.cues)


def read_transcript(path: Path) -> Transcript:
    """Reads a transcript by its extension; raises `TranscriptError` naming the file, the line and what was expected there."""
    if path.suffix.lower() not in READERS:
        raise TranscriptError(f"{path}: expected a transcript named {', '.join(READERS)}, got {path.suffix or 'no extension'}")
    form, reader = READERS[path.suffix.lower()]
    text, notes = read_text_file(path)
    cues = reader(text, path)
    if not cues:
        raise TranscriptError(f"{path}: expected words in this {form} transcript, found none")
    return Transcript(cues, form, notes)


def read_text_file(path: Path) -> tuple[str, dict[str, str]]:
    """The file's text by its byte order mark, else as UTF-8, else as Windows-1252 (which is noted)."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise TranscriptError(f"{path}: expected a transcript of at most {MOST_BYTES} bytes, got {size}")
        data = path.read_bytes()
    except OSError as error:
        raise TranscriptError(f"{path}: cannot be read: {error.strerror or error}") from None
    marks = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    marked = next((encoding for mark, encoding in marks.items() if data.startswith(mark)), None)
    if marked is None and b"\0" in data[:4096]:
        raise TranscriptError(f"{path}: expected text, got binary data (or UTF-16 without its byte order mark)")
    notes: dict[str, str] = {}
    try:
        text = data.decode(marked or "utf-8")
    except UnicodeDecodeError as error:
        if marked is not None:
            raise TranscriptError(
                f"{path}: line {_line(error.object, error.start)}: expected {marked} as its first bytes say, got other bytes"
            ) from None
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError as second:
            raise TranscriptError(
                f"{path}: line {_line(second.object, second.start)}: expected UTF-8 or Windows-1252 text, got other bytes"
            ) from None
        notes["encoding"] = "cp1252 (not valid UTF-8)"
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1
