"""SHA-256 of files: what weights are checked with, and what names a clip or a table in a provenance."""

from __future__ import annotations

import hashlib
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
