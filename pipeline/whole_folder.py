"""Folders that appear whole or not at all: filled under a hidden name, flushed to disk, then given their name in one rename."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from .errors import OutputError


def whole_folder(folder: Path, fill: Callable[[Path], None], beside: Path | None = None) -> tuple[Path, ...]:
    """Fill a hidden folder (in `beside`, on the same file system; by default next to the target), flush it, give it the target's name.

    Returns the files, in order of name; raises `OutputError` where the place cannot be written.
    """
    hidden: Path | None = None
    beside = beside or folder.parent
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(beside)
        hidden = Path(tempfile.mkdtemp(prefix=_prefix(), dir=beside))
        hidden.chmod(0o755)
        fill(hidden)
        files = sorted(path for path in hidden.rglob("*") if path.is_file())
        for path in files:
            _flush(path)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=_prefix(), dir=beside))
            os.rename(folder, old / "old")
            os.rename(hidden, folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(hidden, folder)
        _flush(folder.parent)
        return tuple(folder / path.relative_to(hidden) for path in files)
    except OSError as error:
        raise OutputError(f"{folder}: expected a folder that can be written, got {error.strerror or error}") from None
    finally:
        if hidden is not None and hidden.exists():
            shutil.rmtree(hidden, ignore_errors=True)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _prefix() -> str:
    return f".emofuse-{os.uname().nodename}-{os.getpid()}-"


def sweep(folder: Path) -> None:
    """Clear away what processes of this machine left half-written here that were killed."""
    pattern = re.compile(rf"\.emofuse-{re.escape(os.uname().nodename)}-(\d+)-\w+")
    for entry in list(os.scandir(folder)):
        match = pattern.fullmatch(entry.name)
        if match and entry.is_dir(follow_symlinks=False) and not _lives(int(match[1])):
            shutil.rmtree(entry.path, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
