"""The encoder of a Whisper, from whichever form of it is here: CTranslate2's folder, openai's checkpoint or a transformers folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.timed import Floats32

from ..provider import Status
from ..weights.ctranslate2 import layers, read_model, whisper_tensors
from ..weights.openai_whisper import find_weights, weights_status
from ..weights.whisper import folder_of, local_folder


@dataclass(frozen=True, eq=False)
class EncoderWeights:
    """An encoder's tensors under openai-whisper's names (float32), its heads and layers, and the file that it came from."""

    name: str
    sha256: Mapping[str, str]
    tensors: Mapping[str, Floats32]
    heads: int
    layers: int

    def fingerprint(self, layers: int) -> str:
        """SHA-256 of the first `layers` layers' numbers in half precision, which is what Whisper is published in: the same whichever
        form of the same weights was read."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            parts = name.split(".")
            if parts[0] in ("conv1", "conv2") or (parts[0] == "blocks" and int(parts[1]) < layers):
                digest.update(name.encode() + b"\0" + self.tensors[name].astype(np.float16).tobytes())
        return digest.hexdigest()


def encoder_status(model: str) -> Status:
    """Whether this Whisper is here. Looks at file names only."""
    if (folder := local_folder(model)) is not None:
        return Status.here(f"Whisper {model} in {folder}")
    return weights_status(model)


def encoder_weights(model: str, *, offline: bool) -> EncoderWeights:
    """By name (tiny.en), folder or file; raises `WeightsError` where it is missing, unknown or damaged."""
    if local_folder(model) is not None:
        return _from_ctranslate2(model, folder_of(model) / "model.bin")
    weights = find_weights(model, offline=offline)
    encoder = weights.load("cpu").encoder
    heads = encoder.blocks[0].attn.n_head
    tensors = {name: tensor.float().numpy() for name, tensor in encoder.state_dict().items()}
    return EncoderWeights(_short(weights.name), weights.sha256, tensors, heads, len(encoder.blocks))


def _from_ctranslate2(model: str, path: Path) -> EncoderWeights:
    read = read_model(path, "encoder/")
    tensors = whisper_tensors(read, "encoder")
    heads = int(read.array("encoder/num_heads", ()))
    width = tensors["positional_embedding"].shape[1]
    if heads < 1 or width % heads:
        raise WeightsError(f"{path}: expected heads that divide the width {width}, got {heads}")
    return EncoderWeights(_short(model), {path.name: sha256_of(path)}, tensors, heads, layers(read, "encoder"))


def _short(name: str) -> str:
    """A model's name without its place: it becomes part of the columns' names."""
    return Path(name).name.removeprefix("whisper-")
