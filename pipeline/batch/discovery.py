"""Which files are clips: by their first bytes, not by their names. What looks like a clip by its name alone, or leads elsewhere, is told.

Inside a folder every file is looked at. Hidden files, results of earlier runs, and links that leave the folder are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Of whatever the decoder opens (decoding/container.py): what it reads of a file that is named, it reads of one in a folder.
_SIGNATURES = (
    b"\x1aE\xdf\xa3",
    b"FLV",
    b"OggS",
    b"fLaC",
    b"ID3",
    b"\x00\x00\x01\xba",
    b"\x00\x00\x01\xb3",
    b"\x00\x00\x01\xb0",
    b"GIF87a",
    b"GIF89a",
    b"0&\xb2u",
    b"caff",
    b"YUV4MPEG2",
    b"DKIF",
    b".RMF",
    b".ra\xfd",
    b".snd",
    b"#!AMR",
    b"wvpk",
    b"nut/multimedia",
    b"riff\x2e\x91\xcf\x11",
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",
    b"\x1f\x07\x00",
)
# Containers of many things: the four bytes at the eighth say whether it is a recording. Others are pictures, fonts, cursors.
_FAMILIES = {
    b"RIFF": (b"AVI ", b"AVIX", b"AVI\x19", b"AMV ", b"WAVE"),
    b"RIFX": (b"WAVE",),
    b"RF64": (b"WAVE",),
    b"BW64": (b"WAVE",),
    b"FORM": (b"AIFF", b"AIFC"),
}
_STILLS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"crx ")
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# Texts that name other files or addresses; a player would open those.
_PLAYLISTS = (
    b"#EXTM3U",
    b"ffconcat version",
    b"[playlist]",
    b"[InternetShortcut]",
    b"<?xml",
    b"<MPD",
    b"<smil",
    b"<ASX",
    b"<asx",
    b"v=0\r\no=",
    b"v=0\no=",
)
# What a name may claim to be: such a file is opened although its first bytes are no recording's, so that it gets a reason.
_CLIP_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".ogv", ".ogg", ".oga"),
    *(".opus", ".wav", ".w64", ".flac", ".mp3", ".m4a", ".aac", ".wma", ".wmv", ".asf", ".aiff", ".aif", ".amr", ".caf", ".mxf", ".dv"),
    *(".nut", ".rm", ".3gp", ".3g2", ".mj2", ".au", ".m3u8", ".m3u", ".mpd", ".pls", ".asx", ".sdp", ".ffconcat"),
    *(".h264", ".264", ".avc", ".hevc", ".265", ".h265", ".m2v", ".ac3", ".eac3", ".y4m", ".ivf", ".wv", ".mka", ".mp2", ".f4v", ".gif"),
)


@dataclass(frozen=True)
class Person:
    """Whose clips some are. Two folders of one name are two people.

    name    as a table, a file's name or a folder says it
    folder  tells people apart who are called the same
    """

    name: str
    folder: str = ""


@dataclass(frozen=True)
class Candidate:
    """A file to look at; `reason` and `message` where it is refused before it is opened.

    path      absolute;  named: as the user would write it
    relative  its path under the folder that was named, with slashes: the same on every machine that sees the folder
    person    whose clip it is (people.py); None where nobody says
    """

    path: str
    named: str
    relative: str
    reason: str | None = None
    message: str | None = None
    person: Person | None = None


@dataclass(frozen=True)
class Discovery:
    """Clips in the order of what was named, files that are no clips (ignored), and paths that yield nothing, with the reason."""

    clips: tuple[Candidate, ...]
    passed_over: tuple[str, ...]
    problems: tuple[tuple[str, str], ...]


def discover(paths: Sequence[Path], *, out: Path | None = None, follow_links: bool = False) -> Discovery:
    """Clips under `paths`: files as they were named, folders with all that is in them; each file once.

    out           a folder to stay out of, where results go
    follow_links  take files that links in a folder lead to, wherever they are
    """
    clips: dict[str, Candidate] = {}
    passed_over: list[str] = []
    problems: list[tuple[str, str]] = []
    for path in paths:
        if path.is_dir():
            before = len(clips)
            for file in _walk(path, out, follow_links):
                candidate = _judge(file, path, follow_links)
                if candidate is None:
                    passed_over.append(str(file))
                else:
                    clips.setdefault(candidate.path, candidate)
            if len(clips) == before:
                problems.append((str(path), "a folder without clips"))
        elif os.path.lexists(path):
            absolute = os.path.abspath(path)
            clips.setdefault(absolute, Candidate(absolute, str(path), path.name))
        else:
            problems.append((str(path), "no such file or folder"))
    return Discovery(tuple(clips.values()), tuple(passed_over), tuple(problems))


def _walk(folder: Path, out: Path | None, follow_links: bool) -> list[Path]:
    files: list[Path] = []
    seen: set[str] = set()
    away = os.path.realpath(out) if out is not None else None
    for parent, folders, names in os.walk(folder, followlinks=follow_links):
        real = os.path.realpath(parent)
        # Results of an earlier run are not clips; a link back to a folder above is not walked twice.
        if "analysis.json" in names or real == away or real in seen:
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted(d for d in folders if not d.startswith("."))
        files += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
    return files


def _judge(file: Path, root: Path, follow_links: bool) -> Candidate | None:
    path, relative = os.path.abspath(file), file.relative_to(root).as_posix()
    if file.is_symlink() and not follow_links:
        target = os.path.realpath(file)
        if not Path(target).is_relative_to(os.path.realpath(root)):
            return Candidate(
                path, str(file), relative, "outside_folder", f"{file}: a link that leads out of {root} (--follow-links takes it)"
            )
        return None  # what it leads to is found by itself
    if not file.is_file():
        # A pipe or a device is never opened; under a clip's name it is told what it is.
        return Candidate(path, str(file), relative) if file.suffix.lower() in _CLIP_SUFFIXES else None
    try:
        with file.open("rb") as opened:
            verdict = judge_head(file.name, opened.read(400))
    except OSError:
        verdict = ("", "")  # named by its error when it is opened
    if verdict is None:
        return None
    reason, message = verdict
    return Candidate(path, str(file), relative, reason or None, f"{file}: {message}" if reason else None)


def judge_head(name: str, head: bytes) -> tuple[str, str] | None:
    """By a file's first 400 bytes and its name: None if it is no clip, else a reason to refuse it and a message, both empty if none."""
    suffix, text = Path(name).suffix.lower(), head.lstrip()
    if _is_media(head):
        return "", ""
    if text[:20].startswith(_PLAYLISTS) and (suffix in _CLIP_SUFFIXES or not text.startswith(b"<?xml")):
        return "not_media", "expected a recording, got a text that names other files or addresses; those are not opened"
    # Opened although it is no recording by its first bytes, so that the reason is the right one.
    return ("", "") if suffix in _CLIP_SUFFIXES else None


def _is_media(head: bytes) -> bool:
    """Whether these are the first bytes of a recording's container. A guess for walking folders, not a verdict."""
    if head.startswith(_SIGNATURES) or head[8:12] in _FAMILIES.get(head[:4], ()):
        return True
    if head[4:8] in _BOXES:
        return not (head[4:8] == b"ftyp" and head[8:12] in _STILLS)
    # MPEG transport streams, with a time before each packet or without.
    if any(len(head) > first + step and head[first] == head[first + step] == 0x47 for first, step in ((0, 188), (4, 192))):
        return True
    return _is_raw_sound(head) or _is_raw_video(head)


def _is_raw_sound(head: bytes) -> bool:
    """MPEG audio or AAC; AC-3. FF FE and FF FF are also how a text in UTF-16 and much else begins, and Layer I, which nobody uses."""
    mpeg = len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] < 0xFE
    return mpeg or (len(head) > 5 and head.startswith(b"\x0b\x77") and head[5] >> 3 <= 16)


def _is_raw_video(head: bytes) -> bool:
    """H.264, HEVC or MPEG-4 without a container: a start code, and a unit that a stream begins with."""
    after = head.removeprefix(b"\0")
    if not after.startswith(b"\0\0\1") or len(after) < 8:
        return False
    first, second = after[3], after[4]
    if first <= 0x1F and after[4:7] == b"\0\0\1":  # a video object, and its layer
        return 0x20 <= after[7] <= 0x2F
    # Access unit delimiter, supplement, parameters of the sequence; with those of the video, the same of HEVC.
    return first in (0x09, 0x06, 0x27, 0x47, 0x67) or (second == 1 and first in (0x40, 0x42, 0x46, 0x4E))
