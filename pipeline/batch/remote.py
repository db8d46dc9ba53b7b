"""Clips and results at an address (s3://, gs://, memory://, anything that fsspec opens): shared storage for many machines.

There is no renaming of folders there. A file is put in one piece; a result folder file by file, and its record last: while it is being
put, the record says `running`, so that nobody takes it for finished. Clips are copied to a local folder, decoded there, and removed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ClipError, EmofuseError, OutputError, UsageError
from .discovery import Candidate, Discovery, judge_head
from .store import LocalStore, Store
from .task import ResultFile

_ADDRESS = re.compile(r"^([a-z][a-z0-9+.-]+):/{1,2}(.+)$")
_ON_THIS_MACHINE = ("memory", "file", "local")


def address_of(path: str | os.PathLike[str]) -> str | None:
    """`s3://bucket/folder` for an address (`Path` takes one of its slashes), None for a local path."""
    match = _ADDRESS.match(os.fspath(path))
    return f"{match[1]}://{match[2]}" if match and not os.path.lexists(path) else None


def refuse_network(address: str, offline: bool) -> None:
    """Raises `UsageError` where an address needs the network and it must not be used."""
    if offline and address.split("://")[0] not in _ON_THIS_MACHINE:
        raise UsageError(f"{address}: --offline was given, and this is an address on a network")


def open_store(destination: str) -> Store:
    """The output folder: a local path, or an address."""
    address = address_of(destination)
    return RemoteStore(address) if address is not None else LocalStore(Path(destination))


def discover_remote(address: str) -> Discovery:
    """Clips under an address, by their first bytes; as `discovery.discover` does for folders."""
    fs, root = _filesystem(address)
    protocol = address.split("://")[0]
    clips: list[Candidate] = []
    passed_over: list[str] = []
    with _clear_errors(address):
        names = sorted(fs.find(root))
        results = {str(PurePosixPath(name).parent) for name in names if name.endswith("/analysis.json")}
        for name in names:
            relative = name.removeprefix(root).lstrip("/") or PurePosixPath(name).name
            inside = {str(parent) for parent in PurePosixPath(name).parents}
            if inside & results or any(part.startswith(".") for part in relative.split("/")):
                continue
            full = f"{protocol}://{name.lstrip('/')}" if protocol != "file" else f"file://{name}"
            verdict = judge_head(name, fs.read_block(name, 0, 400))
            if verdict is None:
                passed_over.append(full)
            else:
                reason, message = verdict
                clips.append(Candidate(full, full, relative, reason or None, f"{full}: {message}" if reason else None))
    problems = () if clips else ((address, "a folder without clips"),)
    return Discovery(tuple(clips), tuple(passed_over), problems)


@contextmanager
def fetched_clip(address: str, scratch: Path) -> Iterator[Path]:
    """A local copy of a clip, for as long as it is needed. Raises `ClipError` where it cannot be had."""
    fs, name = _filesystem(address)
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        target = folder / (PurePosixPath(name).name or "clip")
        try:
            fs.get_file(name, str(target))
        except Exception as error:  # each file system has errors of its own
            raise ClipError(f"{address}: cannot be fetched ({type(error).__name__}: {error})") from None
        yield target
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def size_and_change(address: str) -> tuple[int, int]:
    """Bytes, and a number that differs once the content was replaced (from what the file system tells: time, tag, version)."""
    fs, name = _filesystem(address)
    try:
        return int(fs.size(name) or 0), int(hashlib.sha256(str(fs.ukey(name)).encode()).hexdigest()[:15], 16)
    except Exception as error:
        raise ClipError(f"{address}: cannot be read ({type(error).__name__}: {error})") from None


def is_there(path: str) -> bool:
    """Whether a clip is still at its path or address."""
    address = address_of(path)
    if address is None:
        return os.path.lexists(path)
    fs, name = _filesystem(address)
    try:
        return bool(fs.exists(name))
    except OSError:
        return True  # who cannot be asked is not gone


class RemoteStore:
    """A `Store` at an address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._fs, self._root = _filesystem(address)

    def local_path(self, name: str) -> Path | None:
        return None

    def read(self, name: str) -> bytes | None:
        try:
            data: bytes = self._fs.cat_file(self._at(name))
            return data
        except (FileNotFoundError, IsADirectoryError):
            return None

    def write(self, name: str, data: bytes) -> None:
        with _clear_errors(self.address):
            self._fs.makedirs(self._at(name).rsplit("/", 1)[0], exist_ok=True)
            self._fs.pipe_file(self._at(name), data)

    def put(self, name: str, file: Path) -> None:
        with _clear_errors(self.address):
            self._fs.makedirs(self._at(name).rsplit("/", 1)[0], exist_ok=True)
            self._fs.put_file(str(file), self._at(name))
        file.unlink()

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path | None]:
        handle, local = tempfile.mkstemp(dir=self.scratch())
        os.close(handle)
        try:
            self._fs.get_file(self._at(name), local)
            yield Path(local)
        except FileNotFoundError:
            yield None
        finally:
            with suppress(FileNotFoundError):
                os.unlink(local)

    def put_folder(self, name: str, fill: Callable[[Path], None]) -> None:
        local = Path(tempfile.mkdtemp(dir=self.scratch()))
        fill(local)
        files = sorted(p for p in local.rglob("*") if p.is_file())
        keep = {self._at(f"{name}/{p.relative_to(local).as_posix()}") for p in files}
        for path in files:
            self.put(f"{name}/{path.relative_to(local).as_posix()}", path)
        with _clear_errors(self.address):
            for old in set(self._fs.find(self._at(name))) - keep:
                self._fs.rm_file(old)
        shutil.rmtree(local, ignore_errors=True)

    def names(self, folder: str) -> list[str]:
        at = self._at(folder) if folder != "." else self._root
        try:
            self._fs.invalidate_cache(at)
            return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in self._fs.ls(at, detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def files(self, folder: str) -> Mapping[str, ResultFile]:
        root = self._at(folder)
        try:
            self._fs.invalidate_cache(root)
            entries = self._fs.find(root, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        # Reading every result over the network to hash it would cost more than making it: sizes alone are compared.
        return {
            name.removeprefix(root).lstrip("/"): ResultFile(int(facts.get("size") or 0), None) for name, facts in sorted(entries.items())
        }

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield  # object stores have no locks: one batch at a time into one address

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm(self._at(name), recursive=True)

    def scratch(self) -> Path:
        return self._scratch

    @cached_property
    def _scratch(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="emofuse-"))

    def sweep(self) -> None:
        """What is not finished lies on the machines that work, in their temporary folders."""

    def close(self) -> None:
        scratch = self.__dict__.pop("_scratch", None)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _filesystem(address: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise EmofuseError(f"{address}: addresses need fsspec (pip install emofuse[ray])") from None
    try:
        fs, root = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{address}: {error}") from None
    return fs, root


@contextmanager
def _clear_errors(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{address}: expected a folder that can be read and written, got {error}") from None
