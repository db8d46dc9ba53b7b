"""Arrays that do not stay in memory: what is long lies in a nameless temporary file, mapped, and is read as an ordinary numpy array.

A `Spool` takes rows as they come; `on_disk` is filled in any order. What is short stays in memory. The system reads a file's pages in when
they are looked at, and they count as the process's memory until `release` hands them back: whoever walks over a long array does so in
`parts` and lets go of each. The file has no name: it is gone with the array, or with the process, however that ends.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .errors import EmofuseError

IN_MEMORY = 4 << 20
"""Bytes that an array may have without a file: the voice of two minutes."""
PART = 4 << 20
"""Bytes that are looked at together."""

Array = NDArray[Any]


class Spool:
    """Rows of one shape, (n *shape), appended to; `array` is called once, at the end. Raises `EmofuseError` where no room is left."""

    def __init__(self, shape: Sequence[int] = (), dtype: DTypeLike = np.float32) -> None:
        self._shape = tuple(shape)
        self._dtype = np.dtype(dtype)
        self._pieces: list[Array] = []
        self._file: IO[bytes] | None = None
        self._bytes = 0
        self.rows = 0

    def add(self, rows: ArrayLike) -> None:
        """(k *shape) more rows."""
        copied = np.array(rows, self._dtype, order="C")  # a copy: what it is a piece of may go
        self.rows += len(copied)
        self._bytes += copied.nbytes
        if self._file is None and self._bytes <= IN_MEMORY:
            self._pieces.append(copied)
            return
        if self._file is None:
            self._file = nameless_file()
            self._write(*self._pieces)
            self._pieces.clear()
        self._write(copied)

    def array(self) -> Array:
        """(rows *shape), not to be written to."""
        if self._file is None:
            array = np.concatenate([np.zeros((0, *self._shape), self._dtype), *self._pieces])
            self._pieces.clear()
        else:
            with self._file as file:
                self._write(flush=True)
                mapped = mmap.mmap(file.fileno(), self._bytes, access=mmap.ACCESS_READ)
            array = np.frombuffer(mapped, self._dtype).reshape(self.rows, *self._shape)
        array.setflags(write=False)
        return array

    def __del__(self) -> None:
        if self._file is not None:  # whoever was filling it gave up
            self._file.close()

    def _write(self, *arrays: Array, flush: bool = False) -> None:
        assert self._file is not None
        try:
            for array in arrays:
                self._file.write(array.data.cast("B") if array.size else b"")
            if flush:
                self._file.flush()
        except OSError as error:
            raise no_room(error) from None


def on_disk(shape: Sequence[int], dtype: DTypeLike, fill: float) -> Array:
    """An array that may be written to anywhere; `fill` is in it at first. Raises `EmofuseError` where no room is left."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if size <= IN_MEMORY:
        return np.full(shape, fill, kind)
    with nameless_file() as file:
        try:
            block = np.full(min(size, PART) // kind.itemsize, fill, kind).tobytes()
            for first in range(0, size, len(block)):
                file.write(block[: size - first])
            file.flush()  # the room is taken here, and not found missing when a page is written to
        except OSError as error:
            raise no_room(error) from None
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_WRITE)
    return np.frombuffer(mapped, kind).reshape(shape)


def spooled(array: Array) -> Array:
    """The same array, in a file where it is long and not in one yet."""
    if array.nbytes <= IN_MEMORY or _mapped(array) is not None:
        return array
    made = Spool(array.shape[1:], array.dtype)
    for part in parts(array):
        made.add(array[part])
    return made.array()


def release(array: NDArray[Any]) -> None:
    """Give back the memory of an array (any shape) that lies in a file; its values stay. Other arrays are left alone."""
    if (mapped := _mapped(array)) is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _mapped(array: NDArray[Any]) -> mmap.mmap | None:
    """The file that an array lies in; None where it is in memory."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None


def parts(array: Array, size: int | None = None) -> Iterator[slice]:
    """Slices of rows, of at most about `size` bytes (None: `PART`), that cover an array; each is let go of when the next is asked for."""
    row = max(1, array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64)))
    step = max(1, (size or PART) // row)
    for first in range(0, len(array), step):
        yield slice(first, min(len(array), first + step))
        release(array)


def nameless_file() -> IO[bytes]:
    """A temporary file that nobody else sees, in `spool_folder()`."""
    try:
        return tempfile.TemporaryFile(dir=spool_folder())
    except OSError as error:
        raise no_room(error) from None


def spool_folder() -> str:
    """Where long arrays lie: TMPDIR where it is set, else /var/tmp, which is on a disk; /tmp is memory on many machines."""
    chosen = tempfile.tempdir is not None or any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    return tempfile.gettempdir() if chosen or not os.access("/var/tmp", os.W_OK) else "/var/tmp"


def no_room(error: OSError) -> EmofuseError:
    return EmofuseError(
        f"{spool_folder()}: expected room for what a long clip needs, got {error.strerror or error} (set TMPDIR to use another folder)"
    )
