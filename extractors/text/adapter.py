"""A low-rank adapter of a BERT-family encoder (Hu et al. 2022, LoRA): what training added to each weight matrix, as two thin ones.

    W' = W + up @ down        up (outputs rank), down (rank inputs), for every matrix named in the file

`merge` adds them to the encoder's own matrices once, at load, so that an adapted encoder costs what the plain one costs. The file is
safetensors (half precision): "NAME.down" and "NAME.up" for a matrix NAME of the encoder, and "heads.*", the heads that the adapter was
trained with. The JSON beside it says of which encoder it is (SHA-256), how it was trained and what it scored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofuse.pipeline.errors import WeightsError

DOWN, UP, HEADS = ".down", ".up", "heads."


@dataclass(frozen=True, eq=False)
class Adapter:
    """tensors: name -> torch tensor, as in the file; encoder: SHA-256 of the weights that it belongs to; facts: the rest of the JSON."""

    tensors: Mapping[str, Any]
    encoder: str
    facts: Mapping[str, Any]

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of the encoder's matrices that it changes."""
        return tuple(sorted(name.removesuffix(DOWN) for name in self.tensors if name.endswith(DOWN)))

    @property
    def heads(self) -> dict[str, Any]:
        """The heads' tensors by name, float32."""
        return {name.removeprefix(HEADS): value.float() for name, value in self.tensors.items() if name.startswith(HEADS)}


def read_adapter(path: Path) -> Adapter:
    """The adapter in `path` (safetensors) and the JSON beside it. Raises `WeightsError` where one is missing or not what it should be."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        tensors = load_file(path)
        return Adapter(tensors, str(about["encoder_sha256"]), about)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(f"{path}: expected an adapter (safetensors) and its JSON, got {type(error).__name__}: {error}") from None


def encoder_of(path: Path) -> str:
    """SHA-256 of the weights that the adapter in `path` belongs to, by its JSON; raises `WeightsError`."""
    try:
        return str(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["encoder_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: expected an adapter (safetensors) and its JSON, got {type(error).__name__}: {error}") from None


def merge(parameters: Mapping[str, Any], adapter: Adapter) -> None:
    """Adds the adapter to an encoder's matrices (name -> tensor), in place; raises `WeightsError` where a matrix or its shape does not
    fit."""
    import torch

    with torch.no_grad():
        for name in adapter.matrices:
            down, up = adapter.tensors[name + DOWN].float(), adapter.tensors[name + UP].float()
            weight = parameters.get(f"{name}.weight")
            if weight is None or tuple(weight.shape) != (up.shape[0], down.shape[1]):
                actual = "no such matrix" if weight is None else f"a matrix {tuple(weight.shape)}"
                raise WeightsError(f"adapter: expected {name} ({up.shape[0]}, {down.shape[1]}) in the encoder, got {actual}")
            weight += (up @ down).to(weight.dtype)
