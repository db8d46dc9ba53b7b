"""The labelled texts: GoEmotions, MELD and CMU-MOSI as words with labels, in their official splits.

Emotions are indices into EMOTIONS (pipeline/ports.py). Texts without a word are left out and counted.
"""

from __future__ import annotations

import csv
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas

from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.streams import EMOTIONS

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
GOEMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
MELD = {"joy": "happiness"}
MOSI_SPLITS = {"train": "train", "dev": "valid", "test": "test"}
QUOTES = str.maketrans({"\x91": "'", "\x92": "'", "\x93": '"', "\x94": '"', "\x85": "...", "\x96": "-", "\x97": "-", "’": "'", "‘": "'"})


@dataclass(frozen=True)
class Comment:
    """Words of GoEmotions and the emotions, one or more, that its readers saw."""

    words: tuple[str, ...]
    emotions: tuple[int, ...]


@dataclass(frozen=True)
class Line:
    """Words of MELD and their one emotion."""

    words: tuple[str, ...]
    emotion: int


@dataclass(frozen=True)
class Opinion:
    """Words of CMU-MOSI and their sentiment, -3..3."""

    words: tuple[str, ...]
    sentiment: float


@dataclass(frozen=True)
class Corpora:
    """One split of all three."""

    goemotions: tuple[Comment, ...]
    meld: tuple[Line, ...]
    mosi: tuple[Opinion, ...]

    def __len__(self) -> int:
        return len(self.goemotions) + len(self.meld) + len(self.mosi)

    def first(self, share: float) -> Corpora:
        """The first `share` of each, for a quick run."""
        cut = [max(8, int(len(part) * share)) for part in (self.goemotions, self.meld, self.mosi)]
        return Corpora(self.goemotions[: cut[0]], self.meld[: cut[1]], self.mosi[: cut[2]])


def words_of(text: str) -> tuple[str, ...]:
    """Words with their punctuation; typographic and broken (cp1252) quotes become plain ones."""
    return tuple(text.translate(QUOTES).split())


def read_goemotions(path: Path) -> tuple[Comment, ...]:
    read = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(
        Comment(words_of(text), tuple(EMOTIONS.index(GOEMOTIONS[int(i)]) for i in labels.split(",")))
        for text, labels, _ in read
        if words_of(text)
    )


def read_meld(path: Path) -> tuple[Line, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(words_of(row["Utterance"]), row["Emotion"]) for row in csv.DictReader(file)]
    return tuple(Line(words, EMOTIONS.index(MELD.get(label, label))) for words, label in rows if words)


def read_mosi(path: Path, split: Split) -> tuple[Opinion, ...]:
    table = pandas.read_parquet(path)
    rows = table[table["split"] == MOSI_SPLITS[split]]
    read = zip(rows["transcript"], rows["sentiment"], strict=True)
    return tuple(Opinion(words_of(text), float(sentiment)) for text, sentiment in read if words_of(text))


def read_corpora(data: Path, split: Split) -> Corpora:
    """One split from the folder that holds text/ and mosi/. Raises `UsageError` where a file is missing."""
    text = data / "text"
    try:
        return Corpora(
            read_goemotions(text / f"goemotions_ekman_{split}.tsv"),
            read_meld(text / f"meld_{split}.csv"),
            read_mosi(data / "mosi" / "mosi_utterances.parquet", split),
        )
    except FileNotFoundError as error:
        raise UsageError(f"corpora: expected text/ and mosi/ under {data}, but {error.filename} is not there") from None


def damaged(words: tuple[str, ...], vocabulary: tuple[str, ...], random: np.random.Generator) -> tuple[str, ...]:
    """As a recogniser hears it: lower case, no punctuation, one word in seven missing, one in eight another word."""
    heard = [w for w in words if random.random() > 1 / 7]
    replaced = [vocabulary[int(random.integers(len(vocabulary)))] if random.random() < 1 / 8 else w for w in heard]
    return bare(tuple(replaced)) or (words[0].lower(),)


def bare(words: tuple[str, ...]) -> tuple[str, ...]:
    """Lower case, without punctuation round the words: a transcript that has none."""
    stripped = (w.lower().strip(string.punctuation) for w in words)
    return tuple(w for w in stripped if w)
