"""A clip's bytes: their hash, and whether the file is still the one that was hashed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import ClipChanged, ClipError, NotMedia
from ..hashing import FileState, sha256_of
from .remote import address_of, size_and_change


def state_of(path: str) -> FileState:
    """What is known of a clip, local or at an address, without reading it. Raises `ClipError` where there is no file that can be read."""
    if (address := address_of(path)) is not None:
        return FileState(*size_and_change(address))
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise ClipError(f"{path}: expected a local media file, got no such file") from None
    except (OSError, ValueError) as error:
        raise ClipError(f"{path}: cannot be read ({error})") from None
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        raise NotMedia(f"{path}: expected a local media file, got no regular file")
    return FileState.of(status)


def expect_unchanged(path: str, state: FileState) -> None:
    """Raises `ClipChanged` where the clip is no longer the file that it was when it had this state."""
    if state_of(path) != state:
        raise ClipChanged(f"{path}: expected a file that stays as it is while it is read, but it was replaced or written to")


def content_of(path: str, state: FileState, local: Path) -> str:
    """Hex SHA-256 of a clip's bytes, which lie at `local`; raises `ClipChanged` where they changed meanwhile."""
    try:
        digest = sha256_of(local)
    except OSError as error:
        raise ClipError(f"{path}: cannot be read ({error})") from None
    expect_unchanged(path, state)
    return digest
