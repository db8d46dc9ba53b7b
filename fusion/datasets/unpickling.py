"""Reads a pickle of numpy arrays, text, bytes, numbers and containers without running anything in it.

A pickle is a program for a stack machine, and Python's own machine calls whatever function the program names. This one knows the
stack's moves (from `pickletools`, which only takes a file apart) and a handful of names, which it carries out itself: a numpy array, its
dtype, a numpy scalar, a set, an OrderedDict, and the encoding of old byte strings. Every other name is refused, by name.

It runs in a child process with bounds on memory and time, because a small pickle can describe a huge object; arrays come back as a plain
.npz. `read_arrays(path)` gives "train/text" -> array, nested keys joined by a slash.
"""

from __future__ import annotations

import os
import pickletools
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import DatasetError

SECONDS = 600
BYTES = 32 * 2**30
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
BYTE_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
VALUES = BYTE_STRINGS | {
    *("INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}


class Name:
    """A global that the pickle names; nothing is imported."""

    def __init__(self, module: str, name: str) -> None:
        self.text = f"{module}.{name}".replace("numpy.core.", "numpy._core.").replace("__builtin__.", "builtins.")


class Made:
    """An object under construction: the value of a dtype or an array stands in it once its BUILD has come."""

    def __init__(self, kind: str, value: Any) -> None:
        self.kind, self.value = kind, value


class Within:
    """A file that is never asked for more than it has: room for the 4 GB of text that a short pickle may claim would be made at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, self._size - self._file.tell()))

    def readline(self) -> bytes:
        return self._file.readline()

    def tell(self) -> int:
        return self._file.tell()


def unpickled(path: Path) -> Any:
    """The object; raises `DatasetError` naming the first thing that is not allowed, or where the file breaks off."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        at = marks.pop()
        items = stack[at:]
        del stack[at:]
        return items

    with path.open("rb") as file:
        try:
            for opcode, found, _ in pickletools.genops(cast(Any, Within(file))):
                kind, argument = opcode.name, cast(Any, found)
                if kind in CONSTANTS:
                    stack.append(CONSTANTS[kind]())
                elif kind in BYTE_STRINGS:
                    stack.append(argument.encode("latin-1") if isinstance(argument, str) else argument)
                elif kind in VALUES:
                    stack.append(argument)
                elif kind in ("PROTO", "FRAME"):
                    continue
                elif kind == "MARK":
                    marks.append(len(stack))
                elif kind in ("PUT", "BINPUT", "LONG_BINPUT"):
                    memo[int(argument)] = stack[-1]
                elif kind == "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                elif kind in ("GET", "BINGET", "LONG_BINGET"):
                    stack.append(memo[int(argument)])
                elif kind in ("TUPLE", "LIST"):
                    items = since_mark()
                    stack.append(tuple(items) if kind == "TUPLE" else items)
                elif kind in ("TUPLE1", "TUPLE2", "TUPLE3"):
                    count = int(kind[-1])
                    stack[-count:] = [tuple(stack[-count:])]
                elif kind == "DICT":
                    items = since_mark()
                    stack.append(dict(zip(items[::2], items[1::2], strict=True)))
                elif kind == "APPEND":
                    item = stack.pop()
                    stack[-1].append(item)
                elif kind == "APPENDS":
                    items = since_mark()
                    stack[-1].extend(items)
                elif kind == "ADDITEMS":
                    items = since_mark()
                    stack[-1].update(items)
                elif kind == "SETITEM":
                    key, item = stack[-2:]
                    del stack[-2:]
                    stack[-1][_key(key)] = item
                elif kind == "SETITEMS":
                    items = since_mark()
                    stack[-1].update((_key(k), v) for k, v in zip(items[::2], items[1::2], strict=True))
                elif kind == "POP":
                    stack.pop()
                elif kind == "GLOBAL":
                    stack.append(Name(*argument.split(" ", 1)))
                elif kind == "STACK_GLOBAL":
                    stack[-2:] = [Name(stack[-2], stack[-1])]
                elif kind == "REDUCE":
                    arguments = stack.pop()
                    stack[-1] = _called(stack[-1], arguments, path)
                elif kind == "BUILD":
                    state = stack.pop()
                    _built(stack[-1], state, path)
                elif kind == "STOP":
                    return _plain(stack.pop(), path)
                else:
                    raise DatasetError(f"{path}: refused: the pickle uses {kind}, which arrays, text and numbers do not need")
        except (IndexError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DatasetError(f"{path}: not a pickle of arrays, text, numbers and containers: {type(error).__name__} {error}") from error
    raise DatasetError(f"{path}: the pickle breaks off")


def _key(key: Any) -> Any:
    return key.decode("latin-1") if isinstance(key, bytes) else key


def _called(name: Any, arguments: Any, path: Path) -> Any:
    """The few calls that are carried out, by our own hands."""
    text = name.text if isinstance(name, Name) else type(name).__name__
    if text == "numpy._core.multiarray._reconstruct" and getattr(arguments[0], "text", "") == "numpy.ndarray":
        return Made("array", None)
    if text == "numpy.dtype":
        code = arguments[0]
        return Made("dtype", np.dtype(code.decode("ascii") if isinstance(code, bytes) else str(code)))
    if text == "numpy._core.multiarray.scalar":
        dtype = arguments[0].value
        if dtype.hasobject:
            raise DatasetError(f"{path}: refused: a numpy scalar that holds a Python object")
        return np.frombuffer(_bytes(arguments[1]), dtype)[0].item()
    if text == "_codecs.encode":
        return str(arguments[0]).encode("latin-1")
    if text == "builtins.set":
        return set(arguments[0])
    if text == "collections.OrderedDict" and not arguments:
        return {}
    if text == "numpy._core.numeric._frombuffer":
        data, dtype, shape, order = arguments
        return Made("array", np.frombuffer(_bytes(data), dtype.value).reshape(shape, order=order))
    raise DatasetError(f"{path}: refused: the pickle wants to call {text}; only numpy arrays, text, bytes, numbers and containers are read")


def _built(made: Any, state: Any, path: Path) -> None:
    if not isinstance(made, Made):
        raise DatasetError(
            f"{path}: refused: the pickle sets the state of a {made.text if isinstance(made, Name) else type(made).__name__}"
        )
    if made.kind == "dtype":
        order = _key(state[1])
        if state[2] is not None or state[3] is not None:
            raise DatasetError(f"{path}: refused: a numpy array with fields")
        if order in ("<", ">"):
            made.value = made.value.newbyteorder(order)
        return
    _, shape, dtype, fortran, data = state
    if dtype.value.hasobject:
        made.value = np.empty(len(data), object)
        made.value[:] = data
    else:
        made.value = np.frombuffer(_bytes(data), dtype.value)
    made.value = made.value.reshape(shape, order="F" if fortran else "C")


def _bytes(data: Any) -> bytes:
    return data.encode("latin-1") if isinstance(data, str) else bytes(data)


def _plain(found: Any, path: Path) -> Any:
    """Finished objects in the place of those under construction."""
    if isinstance(found, Made):
        if found.value is None:
            raise DatasetError(f"{path}: an array without content")
        if found.kind == "array" and found.value.dtype == object:
            return np.array([_text(item, path) for item in found.value.ravel()]).reshape(found.value.shape)
        return found.value
    if isinstance(found, dict):
        return {key: _plain(item, path) for key, item in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(item, path) for item in found]
    if isinstance(found, Name):
        raise DatasetError(f"{path}: refused: the pickle holds {found.text}")
    return found


def _text(item: Any, path: Path) -> str:
    if isinstance(item, bytes):
        return item.decode("utf-8", "replace")
    if isinstance(item, str | int | float):
        return str(item)
    raise DatasetError(f"{path}: refused: an array of Python objects ({type(item).__name__}); text and numbers are read")


def _flat(found: Any, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Nested dictionaries -> "a/b" -> array; lists of numbers or text become arrays, others are left out."""
    if isinstance(found, dict):
        flat: dict[str, NDArray[Any]] = {}
        for key, item in found.items():
            flat |= _flat(item, f"{prefix}/{key}" if prefix else str(key))
        return flat
    if isinstance(found, list):
        plain = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in found]
        if not all(isinstance(item, str | int | float) for item in plain):
            return {}
        found = np.array(plain)
    if isinstance(found, np.ndarray) and not found.dtype.hasobject:
        return {prefix: np.char.decode(found, "utf-8", "replace") if found.dtype.kind == "S" else found}
    return {}


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array in a pickle of nested dictionaries; raises `DatasetError` in one line."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    with tempfile.TemporaryDirectory(prefix="emofuse-") as folder:
        out = Path(folder) / "arrays.npz"
        # -m by this module's own name, so that an installed wheel and a checkout both find it
        command = [sys.executable, "-m", __name__, str(path), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise DatasetError(f"{path}: reading the pickle took more than {SECONDS} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"the reading process ended with {done.returncode}"]
            raise DatasetError(lines[-1] if str(path) in lines[-1] else f"{path}: {lines[-1]}")
        with np.load(out, allow_pickle=False) as found:
            return {key: found[key] for key in found.files}


def _main(path: Path, out: Path) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    try:
        arrays = _flat(unpickled(path))
    except DatasetError as error:
        sys.exit(str(error))
    with out.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stubs take a keyword for allow_pickle


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
