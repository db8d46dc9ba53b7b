"""Embedded words of the shipped checkpoints' training: emotion-labelled texts, sentences of acted corpora, CMU-MOSI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Texts:
    """rows (n) of (words 384) float16; labels (n): index into EMOTIONS, or sentiment -3..3 for MOSI; source and damaged (n)."""

    columns: tuple[str, ...]
    rows: tuple[NDArray[np.float16], ...]
    labels: NDArray[np.float64]
    source: NDArray[np.str_]
    damaged: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, keep: NDArray[np.bool_]) -> Texts:
        """Those of the n that `keep` (n) marks."""
        index = np.flatnonzero(keep)
        return Texts(self.columns, tuple(self.rows[i] for i in index), self.labels[index], self.source[index], self.damaged[index])


def read_texts(path: Path) -> Texts:
    """One npz of training/fusion_checkpoints/extract_texts.py."""
    with np.load(path, allow_pickle=False) as data:
        rows = tuple(np.split(data["values"], np.cumsum(data["lengths"])[:-1]))
        columns = tuple(str(c) for c in data["columns"])
        return Texts(columns, rows, data["labels"].astype(np.float64), data["source"], data["damaged"])
