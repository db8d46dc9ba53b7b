"""What a file holds, as a hash, and whether it is still the file that it was: for clips, for weights, and for a provenance."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from .errors import WeightsError


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content, read in blocks; raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str) -> str:
    """The file's SHA-256; raises `WeightsError` if it is not the expected one."""
    digest = sha256_of(path)
    if digest != expected:
        raise WeightsError(f"{path}: expected SHA-256 {expected}, got {digest}")
    return digest


@dataclass(frozen=True)
class FileState:
    """What tells without reading that a file is the same as before: bytes, time of change, inode, and the inode's own time of change.

    A file that was replaced has another inode; one whose time of change was set back (`touch -r`) has another `changed_ns`.
    """

    bytes: int
    modified_ns: int
    inode: int | None = None
    changed_ns: int | None = None

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> FileState | None:
        """Of the local file at a path; None where there is none, or none that can be looked at."""
        try:
            return cls.of(os.stat(path))
        except (OSError, ValueError):
            return None
