"""The output folder of a batch. Whatever is killed at whatever moment: what has its final name is whole.

    OUT/NAME/                  one clip's results, as docs/results.md describes them
    OUT/manifest.*, emotions.* the batch's tables
    OUT/.emofuse/records/      one small JSON file per clip: the truth that the manifest is made from
    OUT/.emofuse/names.json    result folder -> clip: names that are given, so that two batches at once never share one
    OUT/.emofuse/streams/      streams by key;  answers/ what a model said, by key;  probes/ what a clip is and how its decoding ended
    OUT/.emofuse/tmp/          what is being written; one folder per process, locked while it lives
    OUT/.emofuse/crashes/      tracebacks of bugs

A file is written under tmp/, flushed to disk and renamed. The record comes last, so a result that has one is complete.

Nothing in the folder is believed: it may come from somebody else. A record whose `output` is no plain name is no record, and a folder is a
clip's only if its analysis.json, or the hashes of all its files, say so.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Protocol, get_args

from ..codec import decode, encode
from ..errors import OutputError, StreamError
from ..formats.document import DOCUMENT
from ..hashing import sha256_of
from ..whole_folder import whole_folder
from .task import Record, ResultFile, State, is_folder_name

HIDDEN = ".emofuse"
NAMES = f"{HIDDEN}/names.json"
TRIES = 100


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

    def files(self, folder: str) -> Mapping[str, ResultFile]:
        """Every file under a result folder by its name in it; none where there is no such folder."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else is in here at the same time, where the store can see to that."""
        ...

    def local_path(self, name: str) -> Path | None:
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
        path = self.out / name
        try:
            # A pipe would be waited for; what is read here is small.
            return path.read_bytes() if path.is_file() else None
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def write(self, name: str, data: bytes) -> None:
        with self._clear_errors():
            handle, temporary = tempfile.mkstemp(dir=self.scratch())
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        self.put(name, Path(temporary))

    def put(self, name: str, file: Path) -> None:
        target = self._inside(name)
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
        whole_folder(self._inside(name), fill, beside=self.scratch())

    def files(self, folder: str) -> Mapping[str, ResultFile]:
        root = self.out / folder
        if root.is_symlink():
            return {}
        files = {}
        for path in sorted(root.rglob("*")):
            if path.is_symlink() or not path.is_dir():
                regular = path.is_file() and not path.is_symlink()
                files[path.relative_to(root).as_posix()] = (
                    ResultFile(path.stat().st_size, sha256_of(path)) if regular else ResultFile(0, "no regular file")
                )
        return files

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._clear_errors():
            lock_path = self._inside(f"{HIDDEN}/lock")
            lock_path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.fdopen(os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), "rb")
        with lock:
            with suppress(OSError):  # a file system without locks: one batch at a time, as docs/batch.md says
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def local_path(self, name: str) -> Path | None:
        return self.out / name

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.out / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, name: str) -> None:
        path = self._inside(name)
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
            folder = self._inside(f"{HIDDEN}/tmp/x").parent
            made = _made_in(folder)
            # Locked before it has its name: a sweep would take an unlocked one for that of a process that is gone.
            self._lock = (made / "unlocked").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            os.rename(made / "unlocked", made / "lock")
            return made

    def sweep(self) -> None:
        folder = self._inside(f"{HIDDEN}/tmp/x").parent
        scratch = self.__dict__.get("_scratch")
        for name in self.names(f"{HIDDEN}/tmp"):
            lock = folder / name / "lock"
            if folder / name == scratch or (folder / name).is_symlink() or lock.is_symlink() or not lock.is_file():
                continue
            # The owner holds the lock while it lives; the system lets go of it however the owner ended.
            with suppress(OSError), lock.open("rb+") as opened:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder / name, ignore_errors=True)

    def close(self) -> None:
        """Give this process's scratch folder back."""
        scratch = self.__dict__.pop("_scratch", None)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
            with suppress(OSError):
                scratch.parent.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _inside(self, name: str) -> Path:
        """The path of a name to be written or removed; raises `OutputError` where a link leads out of the output folder."""
        path = self.out / name
        if ".." in path.relative_to(self.out).parts or not path.parent.resolve().is_relative_to(self.out.resolve()):
            raise OutputError(f"{path}: expected a place inside {self.out}, but a link leads out of it")
        return path

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.out}: expected a folder that can be written, got {error.strerror or error}") from None


def _made_in(folder: Path) -> Path:
    """A new scratch folder. Another process may be removing the folder that holds them all, as it does when it was the last."""
    for _ in range(TRIES):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return Path(tempfile.mkdtemp(prefix=f"{os.uname().nodename}-{os.getpid()}-", dir=folder))
    raise FileNotFoundError(errno.ENOENT, "it was removed again and again", str(folder))


def record_name(id: str) -> str:
    return f"{HIDDEN}/records/{id}.json"


def read_record(store: Store, id: str) -> Record | None:
    """A clip's record; None where there is none, or where what is there is no record (a foreign or damaged file)."""
    data = store.read(record_name(id))
    try:
        record = None if data is None else decode(Record, json.loads(data))
        return record if record is not None and _is_sound(record, id) else None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, StreamError):
        return None


def _is_sound(record: Record, id: str) -> bool:
    """Whether the values are of the kinds that they should be; what they say is another matter."""
    texts = (record.id, record.path, record.output, record.state)
    known = record.state in get_args(State) and record.id == id and all(isinstance(text, str) for text in texts)
    whole = record.state != "done" or all(isinstance(v, int | float) for v in (record.length, record.utterances, record.attempts))
    plain = all(isinstance(text, str) for text in record.remarks) and all(isinstance(n, int) for n in record.flags.values())
    return known and whole and plain and "\0" not in record.path and is_folder_name(record.output)


def write_record(store: Store, record: Record) -> None:
    store.write(record_name(record.id), to_bytes(encode(record)))


def read_records(store: Store) -> list[Record]:
    """All records, in order of path."""
    records = [read_record(store, name.removesuffix(".json")) for name in store.names(f"{HIDDEN}/records")]
    return sorted((record for record in records if record is not None), key=lambda record: record.path)


def to_bytes(document: object) -> bytes:
    """JSON as ASCII: a name that is no valid text (lone surrogates) survives."""
    return (json.dumps(document, ensure_ascii=True, allow_nan=False, sort_keys=True) + "\n").encode("ascii")


def owner_of(store: Store, folder: str) -> str | None:
    """The path of the clip whose results a folder holds, as its analysis.json says; None where it does not say."""
    try:
        path = json.loads(store.read(f"{folder}/{DOCUMENT}") or b"null")["clip"]["path"]
        return path if isinstance(path, str) else None
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        return None


def is_whole(store: Store, record: Record) -> bool:
    """Whether every file of a finished result is there as it was written."""
    files = store.files(record.output)
    return bool(record.files) and all(files.get(name) == file for name, file in record.files.items())


def is_ours(store: Store, record: Record) -> bool:
    """Whether a folder may be replaced or removed on this record's word: its analysis.json names the clip, or, where that is damaged or
    gone, nothing else is in it but files that the record lists, as it lists them."""
    owner = owner_of(store, record.output)
    if owner is not None:
        return owner == owner_path(record.path)
    files = store.files(record.output)
    return bool(record.files) and all(name == DOCUMENT or record.files.get(name) == file for name, file in files.items())


def owner_path(path: str) -> str:
    """A clip's path as its analysis.json has it: links resolved; an address as it is."""
    return path if "://" in path else os.path.realpath(path)
