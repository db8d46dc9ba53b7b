"""Reads a pickle of numpy arrays, text, bytes, numbers and containers without running anything in it.

A pickle is a program for a stack machine, and Python's own machine calls whatever function the program names. This one knows the
stack's moves (from `pickletools`, which only takes a file apart) and a handful of names, which it carries out itself: a numpy array, its
dtype, a numpy scalar, a set, an OrderedDict, and the encoding of old byte strings. Every other name is refused, by name.

It runs in a child process with bounds on memory and time, because a small pickle can describe a huge object: 1 GiB and 60 s, and more
only for what the file itself holds. The child ends with its parent. Arrays come back as a plain .npz.
`read_arrays(path)` gives "train/text" -> array, nested keys joined by a slash.
"""

from __future__ import annotations

import os
import pickletools
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import DatasetError

SECONDS = 60
BYTES = 2**30
"""What any pickle may take, whatever it claims; a large file more, by its own bytes: data sets hold tens of gigabytes."""
BYTES_PER_BYTE = 4
BYTES_PER_SECOND = 10 * 2**20
MOST_ENTRIES = 100_000
"""Of all dictionaries together, where one that is held twice counts twice."""
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


class Machine:
    """The stack machine, without what would run anything: `step` carries out one opcode."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def step(self, kind: str, argument: Any) -> None:
        """Raises `DatasetError` for an opcode that arrays, text and numbers do not need."""
        if kind in CONSTANTS:
            self.stack.append(CONSTANTS[kind]())
        elif kind in BYTE_STRINGS:
            self.stack.append(argument.encode("latin-1") if isinstance(argument, str) else argument)
        elif kind in VALUES:
            self.stack.append(argument)
        elif kind in OPERATIONS:
            OPERATIONS[kind](self, argument)
        else:
            raise DatasetError(f"{self._path}: refused: the pickle uses {kind}, which arrays, text and numbers do not need")

    def _since_mark(self) -> list[Any]:
        at = self._marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def nothing(self, argument: Any) -> None:
        return

    def mark(self, argument: Any) -> None:
        self._marks.append(len(self.stack))

    def put(self, argument: Any) -> None:
        self._memo[int(argument)] = self.stack[-1]

    def memoize(self, argument: Any) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def get(self, argument: Any) -> None:
        self.stack.append(self._memo[int(argument)])

    def pop(self, argument: Any) -> None:
        self.stack.pop()

    def list(self, argument: Any) -> None:
        self.stack.append(self._since_mark())

    def tuple(self, argument: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def tuple_of(self, count: int) -> None:
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def dict(self, argument: Any) -> None:
        items = self._since_mark()
        self.stack.append(dict(zip(items[::2], items[1::2], strict=True)))

    def append(self, argument: Any) -> None:
        item = self.stack.pop()
        self.stack[-1].append(item)

    def extend(self, argument: Any) -> None:
        items = self._since_mark()
        self.stack[-1].extend(items)

    def add(self, argument: Any) -> None:
        items = self._since_mark()
        self.stack[-1].update(items)

    def set_item(self, argument: Any) -> None:
        key, item = self.stack[-2:]
        del self.stack[-2:]
        self.stack[-1][_key(key)] = item

    def set_items(self, argument: Any) -> None:
        items = self._since_mark()
        self.stack[-1].update((_key(k), v) for k, v in zip(items[::2], items[1::2], strict=True))

    def name(self, argument: Any) -> None:
        self.stack.append(Name(*argument.split(" ", 1)))

    def stack_name(self, argument: Any) -> None:
        self.stack[-2:] = [Name(self.stack[-2], self.stack[-1])]

    def call(self, argument: Any) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _called(self.stack[-1], arguments, self._path)

    def build(self, argument: Any) -> None:
        state = self.stack.pop()
        _built(self.stack[-1], state, self._path)


OPERATIONS: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), Machine.nothing),
    "MARK": Machine.mark,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine.put),
    "MEMOIZE": Machine.memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.get),
    "POP": Machine.pop,
    "LIST": Machine.list,
    "TUPLE": Machine.tuple,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "DICT": Machine.dict,
    "APPEND": Machine.append,
    "APPENDS": Machine.extend,
    "ADDITEMS": Machine.add,
    "SETITEM": Machine.set_item,
    "SETITEMS": Machine.set_items,
    "GLOBAL": Machine.name,
    "STACK_GLOBAL": Machine.stack_name,
    "REDUCE": Machine.call,
    "BUILD": Machine.build,
}


def unpickled(path: Path) -> Any:
    """The object; raises `DatasetError` naming the first thing that is not allowed, or where the file breaks off."""
    machine = Machine(path)
    with path.open("rb") as file:
        try:
            for opcode, argument, _ in pickletools.genops(cast(Any, Within(file))):
                if opcode.name == "STOP":
                    return _plain(machine.stack.pop(), path)
                machine.step(opcode.name, argument)
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


def _plain(unpickled: Any, path: Path) -> Any:
    """Finished objects in the place of those under construction. What a pickle holds twice is made once."""
    made: dict[int, Any] = {}

    def plain(item: Any) -> Any:
        if not isinstance(item, (dict, list, tuple)):
            return _finished(item, path)
        if id(item) in made:
            return made[id(item)]
        if isinstance(item, dict):
            entries: dict[Any, Any] = {}
            made[id(item)] = entries  # before its parts: a pickle may hold a dictionary within itself
            entries.update((key, plain(value)) for key, value in item.items())
            return entries
        parts: list[Any] = []
        made[id(item)] = parts
        parts.extend(plain(value) for value in item)
        return parts

    return plain(unpickled)


def _finished(value: Any, path: Path) -> Any:
    if isinstance(value, Made):
        if value.value is None:
            raise DatasetError(f"{path}: an array without content")
        if value.kind == "array" and value.value.dtype == object:
            return np.array([_text(item, path) for item in value.value.ravel()]).reshape(value.value.shape)
        return value.value
    if isinstance(value, Name):
        raise DatasetError(f"{path}: refused: the pickle holds {value.text}")
    return value


def _text(item: Any, path: Path) -> str:
    if isinstance(item, bytes):
        return item.decode("utf-8", "replace")
    if isinstance(item, str | int | float):
        return str(item)
    raise DatasetError(f"{path}: refused: an array of Python objects ({type(item).__name__}); text and numbers are read")


def _flat(whole: Any) -> dict[str, NDArray[Any]]:
    """Nested dictionaries -> "a/b" -> array; lists of numbers or text become arrays, others are left out. A dictionary that is held twice
    counts twice, so the number of entries is bounded, not only that of arrays."""
    flat: dict[str, NDArray[Any]] = {}
    waiting, entries = [("", whole)], 0
    while waiting:
        prefix, item = waiting.pop()
        if isinstance(item, dict):
            entries += len(item)
            if entries > MOST_ENTRIES:
                raise ValueError(f"expected at most {MOST_ENTRIES} entries")
            waiting.extend((f"{prefix}/{key}" if prefix else str(key), part) for key, part in reversed(item.items()))
        elif (array := _array(item)) is not None:
            flat[prefix] = array
    return flat


def _array(item: Any) -> NDArray[Any] | None:
    if isinstance(item, list):
        parts = [part.decode("utf-8", "replace") if isinstance(part, bytes) else part for part in item]
        if not all(isinstance(part, str | int | float) for part in parts):
            return None
        item = np.array(parts)
    if isinstance(item, np.ndarray) and not item.dtype.hasobject:
        return np.char.decode(item, "utf-8", "replace") if item.dtype.kind == "S" else item
    return None


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array, of any shape, in a pickle of nested dictionaries; raises `DatasetError` in one line."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    with tempfile.TemporaryDirectory(prefix="emofuse-") as folder:
        out = Path(folder) / "arrays.npz"
        # -m by this module's own name, so that an installed wheel and a checkout both find it
        size = path.stat().st_size
        seconds, memory = SECONDS + size // BYTES_PER_SECOND, BYTES + BYTES_PER_BYTE * size
        command = [sys.executable, "-m", __name__, str(path), str(out), str(os.getpid()), str(seconds), str(memory)]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=one_thread)
        except subprocess.TimeoutExpired:
            raise DatasetError(f"{path}: expected a pickle that is read within {seconds} s, but it takes longer") from None
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGXFSZ):
            raise DatasetError(f"{path}: expected a pickle that is read within {seconds} s and {memory >> 20} MiB, but it takes more")
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"the reading process ended with {done.returncode}"]
            raise DatasetError(lines[-1] if str(path) in lines[-1] else f"{path}: {lines[-1]}")
        with np.load(out, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}


def _main(path: Path, out: Path, parent: int, seconds: int, memory: int) -> None:
    import resource

    from emofuse.pipeline.child_process import bound, bound_memory, die_with_parent

    die_with_parent(parent)
    bound(resource.RLIMIT_CPU, seconds)
    bound(resource.RLIMIT_FSIZE, memory)
    bound_memory(memory)
    try:
        arrays = _flat(unpickled(path))
        with out.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # the stubs take a keyword for allow_pickle
    except DatasetError as error:
        sys.exit(str(error))
    except MemoryError:
        sys.exit(f"{path}: expected a pickle that is read within {memory >> 20} MiB, but it needs more")
    except (OSError, ValueError) as error:
        sys.exit(f"{path}: not a pickle of arrays, text, numbers and containers: {type(error).__name__} {error}")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]), *(int(number) for number in sys.argv[3:6]))
