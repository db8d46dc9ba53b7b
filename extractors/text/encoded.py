"""What an encoder of text is to the text provider, whoever computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.timed import Floats32


@dataclass(frozen=True, eq=False)
class Encoded:
    """One text's hidden states (t d), and of each sub-word the index of its word, -1 for what belongs to none."""

    hidden: Floats32
    words: NDArray[np.int64]


class Encoder(Protocol):
    """width: columns;  room: sub-words that fit into a text;  unknown: what stands for a word that has no sub-word."""

    width: int
    room: int
    unknown: str

    def pieces(self, words: Sequence[str]) -> list[int]:
        """How many sub-words each word has."""
        ...

    def encode(self, texts: Sequence[list[str]]) -> list[Encoded]:
        """Texts as lists of words, none longer than `room`."""
        ...
