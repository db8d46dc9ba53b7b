"""The encoder with a low-rank adapter that learns, read as the text provider reads words, and three heads on its word rows.

Letters: b texts, c chunks (a sentence, or a whole text), t sub-words (padded), w words of all texts, d width, r rank, o outputs.
A head attends: it weighs a text's word rows by one learned query (softmax over the text's words) and reads their weighted mean, so that
what is emotional about a sentence has to show in rows that can be found again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emofuse.extractors.text.adapter import DOWN, HEADS, UP
from emofuse.extractors.text.bert_text import sentences
from emofuse.extractors.text.hub_encoder import load_encoder
from emofuse.pipeline.streams import EMOTIONS

TASKS = {"goemotions": len(EMOTIONS), "meld": len(EMOTIONS), "mosi": 1}
"""Head -> outputs: independent logits, logits of one class, sentiment."""
MOST_PIECES = 48
"""Sub-words of a chunk that are read in training; longer chunks are cut (measured texts are cut by the text provider's own rule)."""


LAYER = re.compile(r"\blayer\.(\d+)\.")


class LowRank(nn.Module):
    """x W + (x down) up with W frozen; up starts at zero, so training starts from the plain encoder."""

    def __init__(self, base: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        spread = math.sqrt(1 / base.in_features)
        self.down = nn.Parameter(torch.randn(rank, base.in_features, generator=generator) * spread)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, rows: Tensor) -> Tensor:
        """(... in) -> (... out)."""
        plain: Tensor = self.base(rows)
        return plain + (rows @ self.down.T) @ self.up.T


class Head(nn.Module):
    """Attention over a text's words, then one linear map."""

    def __init__(self, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, outputs)
        self.dropout = dropout

    def forward(self, rows: Tensor, present: Tensor) -> Tensor:
        """rows (b w d), present (b w) bool -> (b o)."""
        weights = (rows @ self.query).masked_fill(~present, -torch.inf).softmax(1)
        pooled = (weights[..., None] * rows).sum(1)
        logits: Tensor = self.out(functional.dropout(pooled, self.dropout, self.training))
        return logits


def heads(width: int, dropout: float = 0.1) -> nn.ModuleDict:
    return nn.ModuleDict({task: Head(width, outputs, dropout) for task, outputs in TASKS.items()})


@dataclass(frozen=True, eq=False)
class Chunks:
    """Sub-words of chunks and which word of all texts each belongs to: ids, mask, word (c t), -1 where it is none."""

    ids: Tensor
    mask: Tensor
    word: Tensor


class Encoder(nn.Module):
    """The adapted encoder: texts in, word rows out. `matrices`: LowRank by the name of the encoder's matrix; those of the lowest
    `frozen` layers stay as they are."""

    def __init__(self, folder: Path, rank: int, frozen: int, seed: int) -> None:
        super().__init__()
        self.tokenizer, model = load_encoder(folder, torch.float32)
        self.model: Any = model.requires_grad_(False).eval()
        self.width = int(model.config.hidden_size)
        self.matrices: dict[str, LowRank] = {}
        generator = torch.Generator().manual_seed(seed)
        for name, linear in list(model.named_modules()):
            layer = LAYER.search(name)
            if layer is None or int(layer[1]) < frozen or not isinstance(linear, nn.Linear):
                continue
            adapted = LowRank(linear, rank, generator)
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, adapted)
            self.matrices[name] = adapted

    def tensors(self) -> dict[str, Tensor]:
        """The adapter's matrices (r d) and (d r) as its file holds them."""
        tensors = {}
        for name, matrix in self.matrices.items():
            tensors[name + DOWN], tensors[name + UP] = matrix.down.detach(), matrix.up.detach()
        return tensors

    def forward(self, texts: Sequence[tuple[str, ...]], split: Sequence[bool]) -> tuple[Tensor, Tensor]:
        """Word rows (b w d) and which are present (b w); texts with `split` are read sentence by sentence, the others whole."""
        sizes = [len(text) for text in texts]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        chunks: list[tuple[int, tuple[str, ...]]] = []
        for text, begin, apart in zip(texts, starts, split, strict=False):
            ranges = sentences(text, np.zeros(len(text)), None) if apart else [range(len(text))]
            chunks += [(int(begin) + r.start, text[r.start : r.stop]) for r in ranges]
        total = int(starts[-1])
        summed, counts = torch.zeros(total + 1, self.width), torch.zeros(total + 1)
        for part in self._tokenized(chunks):
            hidden = self.model(input_ids=part.ids, attention_mask=part.mask).last_hidden_state  # (c t d)
            where = torch.where(part.word < 0, total, part.word).flatten()
            summed = summed.index_add(0, where, hidden.flatten(0, 1))
            counts = counts.index_add(0, where, torch.ones(len(where)))
        rows = summed[:total] / counts[:total, None].clamp(min=1)
        read = counts[:total] > 0  # a word past the cut of a long chunk was not read
        return padded(list(torch.split(rows, sizes)), 0), padded(list(torch.split(read, sizes)), 0)

    def _tokenized(self, chunks: list[tuple[int, tuple[str, ...]]], size: int = 8) -> Iterable[Chunks]:
        """Chunks (first word's index, words) of similar length together, so that little is padding."""
        texts = [list(words) for _, words in chunks]
        read = self.tokenizer(texts, is_split_into_words=True, truncation=True, max_length=MOST_PIECES)
        ids = [torch.tensor(row) for row in read["input_ids"]]
        word = [torch.tensor([-1 if k is None else begin + k for k in read.word_ids(i)]) for i, (begin, _) in enumerate(chunks)]
        order = sorted(range(len(chunks)), key=lambda i: len(ids[i]))
        for first in range(0, len(order), size):
            chunk = order[first : first + size]
            mask = [torch.ones_like(ids[i]) for i in chunk]
            yield Chunks(padded([ids[i] for i in chunk], 0), padded(mask, 0), padded([word[i] for i in chunk], -1))


def padded(rows: list[Tensor], value: int) -> Tensor:
    """(c t ...), one row after another, filled up with `value`."""
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def head_tensors(module: nn.ModuleDict) -> dict[str, Tensor]:
    """The heads as the adapter's file holds them: weights (o d) and biases (o)."""
    return {HEADS + name: value.detach() for name, value in module.state_dict().items()}
