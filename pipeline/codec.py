"""Frozen dataclasses to plain JSON values and back, by their fields and type hints: a field that is added is carried without a word here.

Floats are written as Python writes them and come back bit for bit. Arrays travel as base64 of their bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .errors import StreamError

T = TypeVar("T")


def encode(value: Any) -> Any:
    """Plain JSON values; raises `StreamError` naming a type that has no form in JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        return {"dtype": array.dtype.str, "shape": list(array.shape), "base64": base64.b64encode(array.tobytes()).decode()}
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, (frozenset, set)):
        return sorted(encode(v) for v in value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [encode(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise StreamError(f"expected a value with a form in JSON, got {type(value).__name__}")


def decode(kind: type[T], value: Any) -> T:
    """A value of type `kind` out of what `encode` made of one; unknown fields of a dataclass are a `StreamError` naming them."""
    decoded: T = _decode(kind, value)
    return decoded


def _decode(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        names = {f.name for f in dataclasses.fields(kind)}
        if unknown := set(value) - names:
            raise StreamError(f"{kind.__name__}: expected the fields {', '.join(sorted(names))}; got {', '.join(sorted(unknown))} too")
        return kind(**{name: _decode(hints[name], value[name]) for name in names if name in value})
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and str in arguments):
            return value
        (only,) = [a for a in arguments if a is not type(None)]
        return _decode(only, value)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(_decode(arguments[0], v) for v in value)
        return tuple(_decode(a, v) for a, v in zip(arguments, value, strict=True))
    if origin is np.ndarray:
        return np.frombuffer(base64.b64decode(value["base64"]), np.dtype(value["dtype"])).reshape(value["shape"])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {k: _decode(arguments[1], v) for k, v in value.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return [_decode(arguments[0], v) for v in value]
    if kind is float and value is not None:
        return float(value)
    if kind is Path and value is not None:
        return Path(value)
    return value
