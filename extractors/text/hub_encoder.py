"""An encoder of the BERT family as transformers loads it: from a local folder in the hub's form, safetensors only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.timed import Floats32

from .encoded import Encoded


class HubEncoder:
    """An `Encoder` (encoded.py) by transformers, on a torch device; raises `WeightsError` where the folder does not hold one."""

    def __init__(self, folder: Path, device: Any) -> None:
        import torch

        self._torch: Any = torch
        self._device = device
        self._tokenizer, model = load_encoder(folder, torch.float32)
        self._model: Any = model.to(device).eval()
        self.width = int(model.config.hidden_size)
        self.room = self._positions()
        self.unknown = str(self._tokenizer.unk_token or self._tokenizer.mask_token or ".")

    def pieces(self, words: Sequence[str]) -> list[int]:
        """How many sub-words each word has."""
        chunk = [[word] for word in words]
        return [len(ids) for ids in self._tokenizer(chunk, is_split_into_words=True, add_special_tokens=False)["input_ids"]]

    def encode(self, texts: Sequence[list[str]]) -> list[Encoded]:
        """Of each text, its sub-words' last hidden states and the word that each belongs to."""
        tokens = self._tokenizer(list(texts), is_split_into_words=True, padding=True, return_tensors="pt")
        with self._torch.inference_mode():
            hidden: Floats32 = self._model(**tokens.to(self._device)).last_hidden_state.float().cpu().numpy()  # (b t d)
        words = [np.array([-1 if word is None else word for word in tokens.word_ids(b)]) for b in range(len(texts))]
        return [Encoded(hidden[b], whose) for b, whose in enumerate(words)]

    def _positions(self) -> int:
        """Sub-words that fit beside the special tokens."""
        config = self._model.config
        positions = int(config.max_position_embeddings)
        if "roberta" in config.model_type or config.model_type in {"camembert", "xmod", "mpnet"}:
            positions -= int(config.pad_token_id) + 1  # these count positions from the padding's number on
        return min(positions, int(self._tokenizer.model_max_length)) - int(self._tokenizer.num_special_tokens_to_add())


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no load reports: the library never prints."""
    import transformers.utils.logging

    logging: Any = transformers.utils.logging
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_encoder(folder: Path, dtype: Any) -> tuple[Any, Any]:
    """Tokenizer and model from a local folder; raises `WeightsError` where a file is missing or the weights do not fill the model."""
    with _quiet_transformers():
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            byte_level = {"add_prefix_space": True} if (folder / "merges.txt").is_file() or "roberta" in config.model_type else {}
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True, **byte_level)
            model, report = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(f"{folder}: cannot be loaded as a BERT-family encoder: {first}") from error
    if not tokenizer.is_fast:
        raise WeightsError(f"{folder}: expected a fast tokenizer (tokenizer.json), which alone tells a word's sub-words")
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise WeightsError(f"{folder}: {len(missing)} of the encoder's weights are missing, the first is {missing[0]}")
    return tokenizer, model
