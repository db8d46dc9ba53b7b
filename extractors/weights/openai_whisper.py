"""Weights for openai-whisper: where they may lie, and how they are opened without trusting them.

openai's checkpoints are pickles; one is opened only if its SHA-256 stands in whisper's own table, and then by whisper itself, with
weights_only. A transformers folder is safetensors, which cannot run code; its tensors are copied by name and shape into whisper's
module, so that one decoder and one word timing serve both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from operator import index
from pathlib import Path
from typing import Any, Protocol

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import check_sha256, sha256_of

from ..provider import Status
from .catalogue import whisper_folder
from .ctranslate2 import layers, read_model, whisper_tensors
from .download import fetch, hub_file
from .whisper import folder_of, local_folder

_ALIASES = {"large": "large-v3", "turbo": "large-v3-turbo"}
_LAYER_NAMES = (
    ("self_attn_layer_norm", "attn_ln"),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("final_layer_norm", "mlp_ln"),
    ("self_attn", "attn"),
    ("encoder_attn", "cross_attn"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("layers.", "blocks."),
    ("encoder.embed_positions.weight", "encoder.positional_embedding"),
    ("decoder.embed_positions.weight", "decoder.positional_embedding"),
    ("embed_tokens", "token_embedding"),
    ("encoder.layer_norm", "encoder.ln_post"),
    ("decoder.layer_norm", "decoder.ln"),
)


class WhisperWeights(Protocol):
    """Weights that are on this machine and are the right ones."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> Mapping[str, str]: ...

    def load(self, device: str) -> Any:
        """A `whisper.model.Whisper` on this device."""
        ...


@dataclass(frozen=True)
class OpenaiWeights:
    """One of openai's own checkpoints; its hash was found in whisper's table."""

    name: str
    path: Path
    digest: str

    @property
    def sha256(self) -> Mapping[str, str]:
        return {self.path.name: self.digest}

    def load(self, device: str) -> Any:
        import whisper

        check_sha256(self.path, self.digest)
        model = whisper.load_model(str(self.path), device="cpu")
        model.set_alignment_heads(whisper._ALIGNMENT_HEADS[self.name])
        return model.eval().to(device)


@dataclass(frozen=True)
class TransformersWeights:
    """A folder as transformers saves a whisper model: config.json and safetensors."""

    name: str
    folder: Path
    sha256: Mapping[str, str]

    def load(self, device: str) -> Any:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from whisper.model import ModelDimensions

        config = _whisper_config(self.folder)
        number = partial(_number, self.folder / "config.json", config)
        width, ffn = number("d_model", 1 << 13), (number("encoder_ffn_dim", 1 << 15), number("decoder_ffn_dim", 1 << 15))
        if set(ffn) != {4 * width}:
            raise WeightsError(f"{self.folder}: expected feed-forward layers of {4 * width}, got {ffn[0]} and {ffn[1]}")
        dimensions = ModelDimensions(
            n_mels=number("num_mel_bins", 1 << 10),
            n_audio_ctx=number("max_source_positions", 1 << 14),
            n_audio_state=width,
            n_audio_head=number("encoder_attention_heads", width),
            n_audio_layer=number("encoder_layers", 100),
            n_vocab=number("vocab_size", 1 << 20),
            n_text_ctx=number("max_target_positions", 1 << 14),
            n_text_state=width,
            n_text_head=number("decoder_attention_heads", width),
            n_text_layer=number("decoder_layers", 100),
        )
        tensors: dict[str, torch.Tensor] = {}
        try:
            for file in self.sha256:
                tensors.update(load_file(self.folder / file))
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{self.folder}: expected safetensors, {error}") from None
        held = sum(tensor.numel() for tensor in tensors.values())
        if (claimed := _least_numbers(dimensions)) > held:  # before the model is built: a claim takes no memory
            raise WeightsError(f"{self.folder}: expected tensors of {claimed} numbers at least for this config.json, got {held}")
        model = _built(self.folder, dimensions)
        state = {whisper_name(name): tensor.float() for name, tensor in tensors.items() if not name.startswith("proj_out.")}
        try:
            model.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"{self.folder}: not whisper's tensors: {' '.join(str(error).split())[:200]}") from None
        generation = self.folder / "generation_config.json"
        _set_alignment_heads(model, generation, _object(generation).get("alignment_heads") if generation.is_file() else None)
        return model.eval().to(device)


@dataclass(frozen=True)
class CTranslate2Weights:
    """A folder as CTranslate2 converts Whisper (whisper.py): the file that serves faster-whisper serves openai-whisper too."""

    name: str
    folder: Path
    sha256: Mapping[str, str]

    def load(self, device: str) -> Any:
        import torch
        from whisper.model import ModelDimensions

        model_file = read_model(self.folder / "model.bin")
        state = {f"{part}.{name}": array for part in ("encoder", "decoder") for name, array in whisper_tensors(model_file, part).items()}
        width, mels, _ = state["encoder.conv1.weight"].shape
        words, text_width = state["decoder.token_embedding.weight"].shape
        model = _built(
            self.folder,
            ModelDimensions(
                n_mels=mels,
                n_audio_ctx=len(state["encoder.positional_embedding"]),
                n_audio_state=width,
                n_audio_head=int(model_file.array("encoder/num_heads", ())),
                n_audio_layer=layers(model_file, "encoder"),
                n_vocab=words,
                n_text_ctx=len(state["decoder.positional_embedding"]),
                n_text_state=text_width,
                n_text_head=int(model_file.array("decoder/num_heads", ())),
                n_text_layer=layers(model_file, "decoder"),
            ),
        )
        try:
            model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()}, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"{self.folder}: not whisper's tensors: {' '.join(str(error).split())[:200]}") from None
        config = self.folder / "config.json"
        _set_alignment_heads(model, config, _object(config).get("alignment_heads"))
        return model.eval().to(device)


def _least_numbers(dimensions: Any) -> int:
    """How many numbers a Whisper of these dimensions has at least: attention, feed-forward layers, the table of tokens."""
    d = dimensions
    blocks = 12 * d.n_audio_layer * d.n_audio_state**2 + 16 * d.n_text_layer * d.n_text_state**2
    return int(blocks + d.n_vocab * d.n_text_state + d.n_text_ctx * d.n_text_state)


def _built(folder: Path, dimensions: Any) -> Any:
    """A `whisper.model.Whisper` of these dimensions; raises `WeightsError` for those that no such model can have."""
    from whisper.model import Whisper

    if dimensions.n_audio_state % dimensions.n_audio_head or dimensions.n_text_state % dimensions.n_text_head:
        raise WeightsError(f"{folder}: expected heads that divide the width of the model, got {dimensions}")
    try:
        return Whisper(dimensions)
    except (RuntimeError, ValueError, AssertionError, ZeroDivisionError) as error:
        raise WeightsError(f"{folder}: expected the dimensions of a whisper model, {' '.join(str(error).split())[:200]}") from None


def _set_alignment_heads(model: Any, path: Path, heads: object) -> None:
    """The cross-attention heads (layer, head) that tell words' times; None leaves whisper's default, the upper half of the layers.

    Raises `WeightsError` naming `path` for heads that the model does not have.
    """
    if heads:
        import torch

        mask = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
        try:
            pairs = [(index(layer), index(head)) for layer, head in heads]  # type: ignore[attr-defined]
            if any(not (0 <= layer < mask.shape[0] and 0 <= head < mask.shape[1]) for layer, head in pairs):
                raise ValueError
        except (TypeError, ValueError):
            raise WeightsError(f"{path}: expected alignment_heads as pairs of a layer and a head, got {str(heads)[:80]}") from None
        for layer, head in pairs:
            mask[layer, head] = True
        model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)


def whisper_name(name: str) -> str:
    """transformers' name of a tensor -> openai's."""
    name = name.removeprefix("model.")
    for theirs, ours in _LAYER_NAMES:
        name = name.replace(theirs, ours)
    return name


def weights_status(model: str) -> Status:
    """Whether these weights are here. Looks at file names only: opens no socket, hashes nothing, imports no torch."""
    path = Path(model)
    if path.exists():
        return Status.here(f"whisper from {path}")
    path_here = _local(model) or local_folder(model)
    if path_here is not None:
        return Status.here(f"whisper {model} at {path_here}")
    if "/" in model or not re.fullmatch(r"[a-z0-9.\-]+", model):
        return Status.missing(f"whisper: {model} is neither a file or folder here nor in the hub's cache")
    where = whisper_folder() / f"{_ALIASES.get(model, model)}.pt"
    return Status.missing(f"whisper {model}: no {where}; it would come from openaipublic.azureedge.net", fetchable=True)


def find_weights(model: str, *, offline: bool) -> WhisperWeights:
    """Weights by name, checkpoint file or folder; raises `WeightsError` where they are missing, unknown or damaged."""
    import whisper

    path = Path(model)
    if path.is_dir():
        return _folder_weights(model, path) if local_folder(model) is None else _converted(model)
    if path.is_file():
        return _known_checkpoint(path)
    weights = _local(model)
    if weights is not None and weights.is_dir():
        return _folder_weights(model, weights)
    if weights is None and local_folder(model) is not None:
        return _converted(model)
    name = _ALIASES.get(model, model)
    if name not in whisper._MODELS:
        names = ", ".join(sorted(whisper._MODELS))
        raise WeightsError(f"whisper: expected a folder, a .pt file or one of {names}; got {model!r}")
    address = whisper._MODELS[name]
    if weights is None:
        if offline:
            raise WeightsError(f"whisper {name}: no {whisper_folder() / (name + '.pt')}, and offline was asked for")
        weights = whisper_folder() / f"{name}.pt"
        fetch(address, weights, _digest(address), offline=offline)
    return OpenaiWeights(name, weights, check_sha256(weights, _digest(address)))


def _local(model: str) -> Path | None:
    """openai's checkpoint of this name, or the folder of the same model in the hub's cache."""
    name = _ALIASES.get(model, model)
    checkpoint = whisper_folder() / f"{name}.pt"
    if "/" not in name and checkpoint.is_file():
        return checkpoint
    repository = name if "/" in name else f"openai/whisper-{name}"
    if not re.fullmatch(r"[\w.\-]+/[\w.\-]+", repository) or ".." in repository:
        return None
    files = [hub_file(repository, file) for file in ("config.json", "model.safetensors")]
    return files[0].parent if files[0] is not None and files[1] is not None else None


def _converted(model: str) -> CTranslate2Weights:
    folder = folder_of(model)
    return CTranslate2Weights(model, folder, {"model.bin": sha256_of(folder / "model.bin")})


def _folder_weights(name: str, folder: Path) -> TransformersWeights:
    _whisper_config(folder)
    parts = folder / "model.safetensors.index.json"
    placed = _object(parts).get("weight_map") if parts.is_file() else {"": "model.safetensors"}
    if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
        raise WeightsError(f"{parts}: expected a weight_map from tensors to files, got {str(placed)[:80]}")
    files = sorted(set(placed.values()))
    for file in files:
        if Path(file).name != file or not (folder / file).is_file():
            raise WeightsError(f"{folder}: expected {file} beside config.json, found none")
    return TransformersWeights(name, folder, {file: sha256_of(folder / file) for file in files})


def _whisper_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise WeightsError(f"{folder}: expected a whisper model as transformers saves it, found no config.json")
    config = _object(path)
    if config.get("model_type") != "whisper":
        raise WeightsError(f"{path}: expected model_type whisper, got {str(config.get('model_type'))[:80]}")
    return config


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises `WeightsError` for anything else."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: expected JSON, {error}") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _number(path: Path, config: Mapping[str, Any], name: str, most: int) -> int:
    """A whole number of the description; raises `WeightsError` for another value, so that no claim takes memory."""
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise WeightsError(f"{path}: expected {name} as a whole number from 1 to {most}, got {str(value)[:80]}")
    return value


def _known_checkpoint(path: Path) -> OpenaiWeights:
    import whisper

    digest = sha256_of(path)
    for name, address in whisper._MODELS.items():
        if _digest(address) == digest:
            return OpenaiWeights(_ALIASES.get(name, name), path, digest)
    raise WeightsError(
        f"{path}: SHA-256 {digest} is none of openai's checkpoints; a model of your own can be used as a transformers folder (safetensors)"
    )


def _digest(address: str) -> str:
    """The SHA-256 that is part of each address in whisper's table."""
    return str(address.split("/")[-2])
