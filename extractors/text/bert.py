"""BERT's encoder (Devlin et al. 2019) in torch and nothing else, for the encoder that emofuse comes with.

transformers gives the same numbers (the tests compare them) and takes longer to import than a short clip takes to analyze. Any other
encoder of the family is read through it (hub_encoder.py). Names of tensors are those of transformers' `BertModel`, so that adapters fit.

Letters: b texts, t sub-words, h heads, d width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.timed import Floats32

from .encoded import Encoded

if TYPE_CHECKING:  # torch is imported only when the encoder is loaded
    from torch import Tensor

WEIGHTS = "model.safetensors"
EXPECTED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}


@dataclass(frozen=True)
class EncoderConfig:
    """The numbers of config.json that the computation needs."""

    layers: int
    heads: int
    positions: int
    epsilon: float
    padding: int

    @classmethod
    def read(cls, path: Path) -> EncoderConfig:
        """Raises `WeightsError` for a config of anything but a plain BERT."""
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            for name, value in EXPECTED.items():
                if facts.get(name, value) != value:
                    raise ValueError(f"{name} {facts[name]}")
            return cls(
                layers=int(facts["num_hidden_layers"]),
                heads=int(facts["num_attention_heads"]),
                positions=int(facts["max_position_embeddings"]),
                epsilon=float(facts["layer_norm_eps"]),
                padding=int(facts.get("pad_token_id", 0)),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"{path}: expected the config of a BERT with gelu and absolute positions, got {error}") from None


class BertEncoder:
    """Texts as lists of words -> hidden states of their sub-words (an `Encoder` of encoded.py).

    tensors  of `BertModel`, by name; they are used as they are, on their device
    """

    unknown = "[UNK]"

    def __init__(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        from tokenizers import Tokenizer

        self._config = EncoderConfig.read(folder / "config.json")
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the package raises nothing narrower
            raise WeightsError(f"{folder / 'tokenizer.json'}: cannot be read as a tokenizer: {error}") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tensors = tensors
        self.width = int(tensors["embeddings.word_embeddings.weight"].shape[1])
        self.room = self._config.positions - self._tokenizer.num_special_tokens_to_add(False)

    @classmethod
    def read(cls, path: Path) -> dict[str, Tensor]:
        """The tensors of a file of weights by name, float32, of any shape; raises `WeightsError`."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return {name: tensor.float() for name, tensor in load_file(path).items()}
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path}: cannot be loaded as a BERT-family encoder: {error}") from None

    def pieces(self, words: Sequence[str]) -> list[int]:
        """How many sub-words each word has."""
        encoded = self._tokenizer.encode_batch([[word] for word in words], is_pretokenized=True, add_special_tokens=False)
        return [len(one.ids) for one in encoded]

    def encode(self, texts: Sequence[list[str]]) -> list[Encoded]:
        """Of each text, its sub-words' last hidden states and the word that each belongs to."""
        import torch

        read = self._tokenizer.encode_batch(list(texts), is_pretokenized=True)
        longest = max(len(one.ids) for one in read)
        tokens = torch.full((len(read), longest), self._config.padding)
        present = torch.zeros((len(read), longest), dtype=torch.bool)
        for b, one in enumerate(read):
            tokens[b, : len(one.ids)] = torch.tensor(one.ids)
            present[b, : len(one.ids)] = True
        device = self._tensors["embeddings.word_embeddings.weight"].device
        with torch.inference_mode():
            hidden: Floats32 = self._hidden(tokens.to(device), present.to(device)).cpu().numpy()
        words = [np.array([-1 if word is None else word for word in one.word_ids]) for one in read]
        return [Encoded(hidden[b, : len(whose)], whose) for b, whose in enumerate(words)]

    def _hidden(self, tokens: Tensor, present: Tensor) -> Tensor:
        """(b t) token numbers, which of them are no padding -> (b t d) last hidden states."""
        from torch.nn import functional

        heads, tensors = self._config.heads, self._tensors

        def linear(name: str, x: Tensor) -> Tensor:
            return functional.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

        def norm(name: str, x: Tensor) -> Tensor:
            return functional.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], self._config.epsilon)

        where = "embeddings"
        x = tensors[f"{where}.word_embeddings.weight"][tokens] + tensors[f"{where}.token_type_embeddings.weight"][0]
        x = norm(f"{where}.LayerNorm", x + tensors[f"{where}.position_embeddings.weight"][: tokens.shape[1]])  # (b t d)
        mask = None if bool(present.all()) else present[:, None, None, :].expand(-1, 1, tokens.shape[1], -1)  # (b 1 t t)
        for layer in range(self._config.layers):
            here = f"encoder.layer.{layer}"
            apart = (*x.shape[:2], heads, -1)
            query, key, value = (
                linear(f"{here}.attention.self.{name}", x).view(apart).transpose(1, 2) for name in ("query", "key", "value")
            )  # (b h t d/h)
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
            x = norm(f"{here}.attention.output.LayerNorm", linear(f"{here}.attention.output.dense", attended) + x)
            deeper = functional.gelu(linear(f"{here}.intermediate.dense", x))
            x = norm(f"{here}.output.LayerNorm", linear(f"{here}.output.dense", deeper) + x)
        return x
