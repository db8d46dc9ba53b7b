"""Folders that appear whole or not at all: filled under a hidden name, flushed to disk, then given their name in one rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from .errors import EmofuseError


def whole_folder(folder: Path, fill: Callable[[Path], None], beside: Path | None = None) -> tuple[Path, ...]:
    """Fill a hidden folder (in `beside`, on the same file system; by default next to the target), flush it, give it the target's name.

    Returns the files, in order of name; raises `EmofuseError` where the place cannot be written.
    """
    hidden: Path | None = None
    beside = beside or folder.parent
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=".emofuse-", dir=beside))
        hidden.chmod(0o755)
        fill(hidden)
        files = sorted(path for path in hidden.rglob("*") if path.is_file())
        for path in files:
            _flush(path)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=".emofuse-old-", dir=beside))
            os.rename(folder, old / "old")
            os.rename(hidden, folder)
            shutil.rmtree(old)
        else:
            os.rename(hidden, folder)
        _flush(folder.parent)
        return tuple(folder / path.relative_to(hidden) for path in files)
    except OSError as error:
        raise EmofuseError(f"{folder}: expected a folder that can be written, got {error.strerror or error}") from None
    finally:
        if hidden is not None and hidden.exists():
            shutil.rmtree(hidden, ignore_errors=True)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
