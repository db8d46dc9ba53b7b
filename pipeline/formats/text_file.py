"""Text files of unknown encoding, read whole and bounded: transcripts, subtitles, annotation files.

The encoding is the one that the byte order mark says, else UTF-8, else a guess: Windows-1252 where letters beyond ASCII stand alone,
otherwise by charset-normalizer. A guess is never made in silence: `DecodedText.remark` says it.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import EmofuseError

MOST_BYTES = 64 * 2**20
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# In this order where the detector cannot tell them apart.
_GUESSES = ("cp1252", "cp1251", "gb18030", "big5", "cp932", "cp949", "cp1253", "cp1250", "cp1254", "cp1255", "cp1256", "koi8_r")
_NEAR = 0.05
_TOGETHER = 0.5
"""Share of the bytes beyond ASCII that stand together from which on the alphabet is in question, and not only accents and quotes."""
_DETECTOR_BYTES = 1 << 16
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class DecodedText:
    """A file's text with line ends as line feeds, and, where its encoding was guessed, a word about that ("" otherwise)."""

    text: str
    encoding: str
    remark: str = ""


def read_bytes(path: Path, error: type[EmofuseError], most: int = MOST_BYTES) -> bytes:
    """A regular file's bytes; raises `error` in one line for what is no file, cannot be read, or is too large."""
    try:
        # Without waiting: a named pipe would keep its reader for ever.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as problem:
        raise error(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise error(f"{path}: expected a regular file, got a folder, a pipe or a device")
    with os.fdopen(number, "rb") as file:
        try:
            data = file.read(most + 1)
        except OSError as problem:
            raise error(f"{path}: cannot be read: {problem.strerror or problem}") from None
    if len(data) > most:
        raise error(f"{path}: expected at most {most} bytes, got more")
    return data


def read_text(path: Path, error: type[EmofuseError], most: int = MOST_BYTES) -> DecodedText:
    """A file's text; raises `error` naming the line where it is none."""
    data = read_bytes(path, error, most)
    marked = next((encoding for mark, encoding in _MARKS.items() if data.startswith(mark)), None)
    if marked is None and b"\0" in data[:4096]:
        raise error(f"{path}: expected text, got binary data (or UTF-16 without its byte order mark)")
    try:
        return DecodedText(_lines(data.decode(marked or "utf-8")), marked or "utf-8")
    except UnicodeDecodeError as problem:
        line = problem.object.count(b"\n", 0, problem.start) + 1
    if marked is not None:
        raise error(f"{path}: line {line}: expected {marked} as its first bytes say, got other bytes")
    encoding = guessed(data)
    if encoding is None:
        raise error(f"{path}: line {line}: expected UTF-8 or another encoding that can be told, got other bytes")
    remark = f"{path.name}: not valid UTF-8, read as {encoding}, which is a guess; saved as UTF-8 it needs none"
    return DecodedText(_lines(data.decode(encoding)), encoding, remark)


def guessed(data: bytes) -> str | None:
    """An encoding that the bytes are probably in, and certainly can be decoded by; None where there is none."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", data[:_DETECTOR_BYTES])]
    if sum(run for run in runs if run > 1) < _TOGETHER * sum(runs) and _decodes(data, "cp1252"):
        return "cp1252"
    from charset_normalizer import from_bytes

    # Whole lines, so that no character of two bytes is cut.
    part = data[:_DETECTOR_BYTES] if len(data) <= _DETECTOR_BYTES else data[: data.rfind(b"\n", 0, _DETECTOR_BYTES) + 1]
    matches = list(from_bytes(part, cp_isolation=list(_GUESSES)))
    best = min((match.chaos for match in matches), default=0.0)
    near = {match.encoding for match in matches if match.chaos <= best + _NEAR}
    return next((encoding for encoding in _GUESSES if encoding in near and _decodes(data, encoding)), None)


def whole_characters(text: str) -> tuple[str, int]:
    """A text without halves of characters (lone surrogates, which no file can hold), and how many they were."""
    return _SURROGATE.subn("", text)


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
