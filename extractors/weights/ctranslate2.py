"""Reads the model.bin of CTranslate2 (https://github.com/OpenNMT/CTranslate2) as numpy arrays, without CTranslate2.

The file is plain data; integers are little-endian (CTranslate2, python/ctranslate2/specs/model_spec.py, `_serialize`):

    uint32 binary version (6)  string specification  uint32 revision
    uint32 count, then per variable: string name, uint8 rank, uint32 dimensions, uint8 type, uint32 bytes, data
    uint32 count, then per alias: string alias, string name of a variable
    string = uint16 length, text, NUL (the length counts the NUL)

Every number is checked against what is left of the file before it is used, so a malformed file costs one line and no memory.
`whisper_tensors` gives the arrays of a Whisper model the names that openai-whisper's modules use, so that one file serves both programs.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.timed import Floats32

BINARY_VERSION = 6
MAX_VARIABLES, MAX_NAME, MAX_RANK = 100_000, 512, 8
_TYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_WHISPER_SPECIFICATION = "WhisperSpec"


@dataclass(frozen=True, eq=False)
class CTranslate2Model:
    """What a model.bin holds: arrays by name (float16 widened to float32; integers as they are), aliases included."""

    path: Path
    specification: str
    revision: int
    arrays: Mapping[str, NDArray[Any]]

    def array(self, name: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """The array of that name, of any shape that fits `shape` (None: any length). Raises `WeightsError` if it is missing or does not
        fit."""
        array = self.arrays.get(name)
        if array is None:
            raise WeightsError(f"{self.path}: expected a variable {name}, found none among {len(self.arrays)}")
        if len(array.shape) != len(shape) or any(want is not None and want != got for want, got in zip(shape, array.shape, strict=True)):
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise WeightsError(f"{self.path}: {name}: expected shape ({wanted}), got {array.shape}")
        return array

    def floats(self, name: str, shape: tuple[int | None, ...]) -> Floats32:
        """The array as float32, of any shape that fits `shape`; an int8 matrix (n k) is divided by its `..._scale` (n)."""
        array = self.array(name, shape)
        if array.dtype == np.int8:
            scale = self.floats(f"{name}_scale", (array.shape[0],))
            return np.asarray(array / scale.reshape(-1, *[1] * (array.ndim - 1)), np.float32)
        if array.dtype != np.float32:
            raise WeightsError(f"{self.path}: {name}: expected floating-point numbers or int8, got {array.dtype}")
        return array


def read_model(path: Path, prefix: str = "") -> CTranslate2Model:
    """The variables whose names begin with `prefix` ("encoder/"; "" for all).

    The whole file is checked, but only those are copied. Raises `WeightsError`, in one line, for a file that is not a model.bin of
    binary version 6, is cut off, or has anything behind its end.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).model(prefix)
    except (OSError, ValueError) as error:  # mmap: ValueError for an empty file
        raise WeightsError(f"{path}: expected a CTranslate2 model.bin, {error}") from None


class _Reader:
    """A place in the file that moves on with each item read."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._at = 0

    def model(self, prefix: str) -> CTranslate2Model:
        version = self._number("<I", "the binary version")
        if version != BINARY_VERSION:
            raise self._malformed(f"binary version {BINARY_VERSION}", str(version))
        specification = self._string("the specification's name")
        revision = self._number("<I", "the revision")
        arrays: dict[str, NDArray[Any]] = {}
        names: set[str] = set()
        for _ in range(self._count("variables")):
            name, array = self._variable(prefix)
            if name in names:
                raise self._malformed("each variable once", f"{name} twice")
            names.add(name)
            if array is not None:
                arrays[name] = array
        for _ in range(self._count("aliases")):
            alias, name = self._string("an alias"), self._string("an alias's variable")
            if name not in names or alias in names:
                raise self._malformed("aliases of variables", f"{alias} for {name}")
            names.add(alias)
            if alias.startswith(prefix) and name in arrays:
                arrays[alias] = arrays[name]
        if self._at != len(self._data):
            raise self._malformed("the end of the file after the aliases", f"{len(self._data) - self._at} more bytes")
        return CTranslate2Model(self._path, specification, revision, arrays)

    def _variable(self, prefix: str) -> tuple[str, NDArray[Any] | None]:
        name = self._string("a variable's name")
        rank = self._number("<B", f"the rank of {name}")
        if rank > MAX_RANK:
            raise self._malformed(f"{name} of at most {MAX_RANK} dimensions", str(rank))
        shape = tuple(self._number("<I", f"the dimensions of {name}") for _ in range(rank))
        kind = self._number("<B", f"the type of {name}")
        if kind not in _TYPES:
            raise self._malformed(f"{name} of a type of {', '.join(map(str, _TYPES))}", str(kind))
        dtype = np.dtype(_TYPES[kind])
        size = self._number("<I", f"the size of {name}")
        if size != math.prod(shape) * dtype.itemsize:
            raise self._malformed(f"{name} of shape {shape}, {math.prod(shape) * dtype.itemsize} bytes", f"{size} bytes")
        begin = self._skip(size, name)
        if not name.startswith(prefix):
            return name, None
        values = np.frombuffer(self._data[begin : begin + size], dtype).reshape(shape)  # the slice is a copy: it outlives the map
        if dtype.kind == "f":
            values = values.astype(np.float32)
            if not np.isfinite(values).all():
                raise self._malformed(f"finite numbers in {name}", "infinity or NaN")
        values.setflags(write=False)
        return name, values

    def _count(self, what: str) -> int:
        count = self._number("<I", f"the number of {what}")
        if count > MAX_VARIABLES:
            raise self._malformed(f"at most {MAX_VARIABLES} {what}", str(count))
        return count

    def _string(self, what: str) -> str:
        length = self._number("<H", f"the length of {what}")
        if not 1 <= length <= MAX_NAME:
            raise self._malformed(f"{what} of 1 to {MAX_NAME} bytes", str(length))
        begin = self._skip(length, what)
        text = self._data[begin : begin + length]
        if text[-1] != 0 or not all(0x20 <= byte < 0x7F for byte in text[:-1]):
            raise self._malformed(f"{what} in ASCII with a NUL behind it", repr(text[:40]))
        return text[:-1].decode("ascii")

    def _number(self, form: str, what: str) -> int:
        begin = self._skip(struct.calcsize(form), what)
        return int(struct.unpack_from(form, self._data, begin)[0])

    def _skip(self, size: int, what: str) -> int:
        begin = self._at
        if size > len(self._data) - begin:
            raise self._malformed(f"{size} bytes of {what}", f"{len(self._data) - begin} to the end of the file")
        self._at = begin + size
        return begin

    def _malformed(self, expected: str, got: str) -> WeightsError:
        return WeightsError(f"{self._path}: not a CTranslate2 model.bin: at byte {self._at} expected {expected}, got {got}")


def whisper_tensors(model: CTranslate2Model, part: str) -> dict[str, Floats32]:
    """The arrays, of any shape, of a Whisper model's "encoder" or "decoder" under openai-whisper's names, without the leading "encoder."
    or "decoder.".

    They fill `whisper.model.AudioEncoder` or `TextDecoder` strictly; the encoder's positions stand under `positional_embedding`, as
    the module's buffer. Raises `WeightsError` for another model, a missing variable or a shape that does not fit.
    """
    if model.specification != _WHISPER_SPECIFICATION:
        raise WeightsError(f"{model.path}: expected the specification {_WHISPER_SPECIFICATION}, got {model.specification}")
    positions = model.floats(f"{part}/position_encodings/encodings", (None, None))
    width = positions.shape[1]
    tensors = {"positional_embedding": positions}
    if part == "encoder":
        tensors |= _convolution(model, "conv1", None, width) | _convolution(model, "conv2", width, width)
        tensors |= _norm(model, "encoder/layer_norm", "ln_post", width)
    else:
        tensors["token_embedding.weight"] = model.floats("decoder/embeddings/weight", (None, width))
        tensors |= _norm(model, "decoder/layer_norm", "ln", width)
    for layer in range(layers(model, part)):
        tensors |= _block(model, f"{part}/layer_{layer}", f"blocks.{layer}", width, cross=part == "decoder")
    return tensors


def layers(model: CTranslate2Model, part: str) -> int:
    """How many layers the encoder or decoder has, numbered from 0 without a gap; raises `WeightsError` for none."""
    pattern = re.compile(rf"{part}/layer_(\d{{1,3}})/")
    numbers = {int(match[1]) for name in model.arrays if (match := pattern.match(name))}
    if not numbers or numbers != set(range(len(numbers))):
        raise WeightsError(f"{model.path}: expected {part} layers numbered from 0, got {sorted(numbers)}")
    return len(numbers)


def _block(model: CTranslate2Model, theirs: str, ours: str, width: int, *, cross: bool) -> dict[str, Floats32]:
    tensors = _norm(model, f"{theirs}/self_attention/layer_norm", f"{ours}.attn_ln", width)
    tensors |= _stacked(model, f"{theirs}/self_attention/linear_0", [f"{ours}.attn.{k}" for k in ("query", "key", "value")], width)
    tensors |= _linear(model, f"{theirs}/self_attention/linear_1", f"{ours}.attn.out", width, width)
    if cross:
        tensors |= _norm(model, f"{theirs}/attention/layer_norm", f"{ours}.cross_attn_ln", width)
        tensors |= _linear(model, f"{theirs}/attention/linear_0", f"{ours}.cross_attn.query", width, width)
        tensors |= _stacked(model, f"{theirs}/attention/linear_1", [f"{ours}.cross_attn.{k}" for k in ("key", "value")], width)
        tensors |= _linear(model, f"{theirs}/attention/linear_2", f"{ours}.cross_attn.out", width, width)
    tensors |= _norm(model, f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln", width)
    tensors |= _linear(model, f"{theirs}/ffn/linear_0", f"{ours}.mlp.0", 4 * width, width)
    return tensors | _linear(model, f"{theirs}/ffn/linear_1", f"{ours}.mlp.2", width, 4 * width)


def _stacked(model: CTranslate2Model, theirs: str, ours: list[str], width: int) -> dict[str, Floats32]:
    """Several projections stacked in one; Whisper's key has no bias, which the file holds as zeros."""
    weight = model.floats(f"{theirs}/weight", (len(ours) * width, width))
    bias = model.floats(f"{theirs}/bias", (len(ours) * width,))
    tensors: dict[str, Floats32] = {}
    for i, name in enumerate(ours):
        rows = slice(i * width, (i + 1) * width)
        tensors[f"{name}.weight"] = weight[rows]
        if not name.endswith("key"):
            tensors[f"{name}.bias"] = bias[rows]
        elif bias[rows].any():
            raise WeightsError(f"{model.path}: {theirs}: expected no bias of the key, as in Whisper")
    return tensors


def _linear(model: CTranslate2Model, theirs: str, ours: str, outputs: int, inputs: int) -> dict[str, Floats32]:
    return {
        f"{ours}.weight": model.floats(f"{theirs}/weight", (outputs, inputs)),
        f"{ours}.bias": model.floats(f"{theirs}/bias", (outputs,)),
    }


def _norm(model: CTranslate2Model, theirs: str, ours: str, width: int) -> dict[str, Floats32]:
    return {f"{ours}.weight": model.floats(f"{theirs}/gamma", (width,)), f"{ours}.bias": model.floats(f"{theirs}/beta", (width,))}


def _convolution(model: CTranslate2Model, name: str, inputs: int | None, width: int) -> dict[str, Floats32]:
    return {
        f"{name}.weight": model.floats(f"encoder/{name}/weight", (width, inputs, 3)),
        f"{name}.bias": model.floats(f"encoder/{name}/bias", (width,)),
    }
