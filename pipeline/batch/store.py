"""The output folder of a batch. Whatever is killed at whatever moment: what has its final name is whole.

    OUT/NAME/                  one clip's results, as docs/results.md describes them
    OUT/manifest.*, emotions.* the batch's tables
    OUT/.emofuse/records/      one small JSON file a clip: the truth that the manifest is made from
    OUT/.emofuse/streams/      streams by key;  answers/ what a model said, by key;  probes/ what a clip is and how its decoding ended
    OUT/.emofuse/tmp/          what is being written; a folder a process, locked while it lives
    OUT/.emofuse/crashes/      tracebacks of bugs

A file is written under tmp/, flushed to disk and renamed. The record comes last, so a result that has one is complete.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Protocol

from ..codec import decode, encode
from ..errors import EmofuseError, StreamError
from ..whole_folder import whole_folder
from .task import Record

HIDDEN = ".emofuse"


class Store(Protocol):
    """What a batch asks of the place where results go. Names are relative, with slashes."""

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None where there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """The whole file, or nothing new."""
        ...

    def put(self, name: str, file: Path) -> None:
        """The same with a local file in `scratch()`, which is gone afterwards."""
        ...

    def fetched(self, name: str) -> AbstractContextManager[Path | None]:
        """A local path to read the file at, or None where there is none."""
        ...

    def put_folder(self, name: str, fill: Callable[[Path], None]) -> None:
        """A result folder that `fill` makes; what was there is replaced."""
        ...

    def place(self, name: str) -> Path | None:
        """Where a result can be found on this machine; None where only the store can reach it."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names in a folder, in order; none where there is no such folder."""
        ...

    def remove(self, name: str) -> None:
        """A file or a folder with all that is in it; nothing where there is none."""
        ...

    def scratch(self) -> Path:
        """A local folder of this process for what is not finished."""
        ...

    def sweep(self) -> None:
        """Clear away what processes left that were killed."""
        ...

    def close(self) -> None:
        """Give this process's scratch folder back."""
        ...


class LocalStore:
    """A `Store` in a local folder (or one that is mounted). Nothing is made before something is written."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._lock: IO[bytes] | None = None

    def read(self, name: str) -> bytes | None:
        try:
            return (self.out / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, data: bytes) -> None:
        with self._clear_errors():
            handle, temporary = tempfile.mkstemp(dir=self.scratch())
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        self.put(name, Path(temporary))

    def put(self, name: str, file: Path) -> None:
        target = self.out / name
        with self._clear_errors():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
            file.chmod(0o644)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path | None]:
        path = self.out / name
        yield path if path.is_file() else None

    def put_folder(self, name: str, fill: Callable[[Path], None]) -> None:
        whole_folder(self.out / name, fill, beside=self.scratch())

    def place(self, name: str) -> Path | None:
        return self.out / name

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.out / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, name: str) -> None:
        path = self.out / name
        if path.is_dir() and not path.is_symlink():
            aside = Path(tempfile.mkdtemp(dir=self.scratch()))
            os.rename(path, aside / "gone")  # a folder that is half deleted has no result's name
            shutil.rmtree(aside, ignore_errors=True)
        else:
            with suppress(FileNotFoundError):
                path.unlink()

    def scratch(self) -> Path:
        return self._scratch

    @cached_property
    def _scratch(self) -> Path:
        with self._clear_errors():
            folder = self.out / HIDDEN / "tmp"
            folder.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=f"{os.uname().nodename}-{os.getpid()}-", dir=folder))
            self._lock = (made / "lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            return made

    def sweep(self) -> None:
        folder = self.out / HIDDEN / "tmp"
        own = self.__dict__.get("_scratch")
        for name in self.names(f"{HIDDEN}/tmp"):
            if folder / name == own:
                continue
            # The owner holds the lock while it lives; the system lets go of it however the owner ended.
            with suppress(OSError), (folder / name / "lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder / name, ignore_errors=True)

    def close(self) -> None:
        """Give this process's scratch folder back."""
        own = self.__dict__.pop("_scratch", None)
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)
            with suppress(OSError):
                own.parent.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EmofuseError(f"{self.out}: expected a folder that can be written, got {error.strerror or error}") from None


def record_name(id: str) -> str:
    return f"{HIDDEN}/records/{id}.json"


def read_record(store: Store, id: str) -> Record | None:
    """A clip's record; None where there is none, or where what is there is no record (a foreign or damaged file)."""
    data = store.read(record_name(id))
    try:
        return None if data is None else decode(Record, json.loads(data))
    except (ValueError, TypeError, AttributeError, StreamError):
        return None


def write_record(store: Store, record: Record) -> None:
    store.write(record_name(record.id), to_bytes(encode(record)))


def read_records(store: Store) -> list[Record]:
    """All records, in order of path."""
    found = [read_record(store, name.removesuffix(".json")) for name in store.names(f"{HIDDEN}/records")]
    return sorted((record for record in found if record is not None), key=lambda record: record.path)


def to_bytes(document: object) -> bytes:
    """JSON as ASCII: a name that is no valid text (lone surrogates) survives."""
    return (json.dumps(document, ensure_ascii=True, allow_nan=False, sort_keys=True) + "\n").encode("ascii")
