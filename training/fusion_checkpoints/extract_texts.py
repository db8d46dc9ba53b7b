"""Words for the shipped checkpoints: GoEmotions, MELD, CMU-MOSI and neutral sentences of acted corpora, through the text provider.

    python -m training.fusion_checkpoints.extract_texts --data ../shared/data --out CACHE

Writes CACHE/text_{train,dev,test}.npz, CACHE/mosi_{train,dev,test}.npz and CACHE/spoken.npz: `values` (rows, 384) float16, `lengths`,
`columns`; for text `labels` (index into EMOTIONS), `source` and `damaged`; for mosi `labels` (sentiment, -3..3). Official splits; texts
with more than one emotion are left out; training texts are capped by class (CAP) because two thirds of them are neutral or happy. A
third of the training texts, and a second copy of every test text, are damaged as a recogniser would do it: lower case, no punctuation,
one word in seven missing and one in eight another word. spoken.npz has sentences that acted corpora use for every emotion (RAVDESS,
CREMA-D, TIMIT's two dialect sentences), each also damaged.
"""

from __future__ import annotations

import argparse
import csv
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from numpy.typing import NDArray

from emofuse.extractors.text.bert_text import BertText
from emofuse.pipeline.ports import EMOTIONS

GOEMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
MELD = {"joy": "happiness"}
CAP = {"goemotions": 4000, "meld": 1500}
MOST_TEXTS = {"dev": 1000, "test": 10**6}
"""Of each source in a validation or test split, drawn at random."""
MOST_WORDS = 48
SPOKEN = (
    "Kids are talking by the door",
    "Dogs are sitting by the door",
    "It's eleven o'clock",
    "That is exactly what happened",
    "I'm on my way to the meeting",
    "I wonder what this is about",
    "The airplane is almost full",
    "Maybe tomorrow it will be cold",
    "I would like a new alarm clock",
    "I think I have a doctor's appointment",
    "Don't forget a jacket",
    "I think I've seen this before",
    "The surface is slick",
    "We'll stop in a couple of minutes",
    "She had your dark suit in greasy wash water all year",
    "Don't ask me to carry an oily rag like that",
)
QUOTES = str.maketrans({"\x91": "'", "\x92": "'", "\x93": '"', "\x94": '"', "\x85": "...", "\x96": "-", "\x97": "-", "’": "'", "‘": "'"})


@dataclass(frozen=True)
class Text:
    words: tuple[str, ...]
    label: float
    source: str
    damaged: bool = False


def goemotions(path: Path) -> Iterator[Text]:
    for line in path.read_text(encoding="utf-8").splitlines():
        text, labels, _ = line.split("\t")
        if "," not in labels:
            yield Text(tuple(text.translate(QUOTES).split()), EMOTIONS.index(GOEMOTIONS[int(labels)]), "goemotions")


def meld(path: Path) -> Iterator[Text]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            label = MELD.get(row["Emotion"], row["Emotion"])
            yield Text(tuple(row["Utterance"].translate(QUOTES).split()), EMOTIONS.index(label), "meld")


def damage(text: Text, vocabulary: list[str], random: np.random.Generator) -> Text:
    """As a recogniser hears it: lower case, no punctuation, one word in seven missing, one in eight another."""
    heard = [w for w in text.words if random.random() > 1 / 7]
    words = [vocabulary[int(random.integers(len(vocabulary)))] if random.random() < 1 / 8 else w for w in heard]
    words = [w.lower().strip(string.punctuation) for w in words]
    return Text(tuple(w for w in words if w) or (text.words[0].lower(),), text.label, text.source, True)


def capped(texts: list[Text], cap: int, random: np.random.Generator) -> list[Text]:
    taken = [0] * len(EMOTIONS)
    chosen = []
    for i in random.permutation(len(texts)):
        label = int(texts[i].label)
        if taken[label] < cap:
            taken[label] += 1
            chosen.append(texts[i])
    return chosen


def embedded(encoder: BertText, sentences: list[tuple[str, ...]]) -> list[NDArray[np.float32]]:
    """(words, 384) for each utterance, as the text provider reads it; a new speaker for each keeps neighbours apart."""
    words = [w for s in sentences for w in s]
    speakers = [str(i) for i, s in enumerate(sentences) for _ in s]
    start = np.arange(len(words), dtype=np.float64)
    rows = encoder.embed(words, start, start + 1, speakers)
    return np.split(rows, np.cumsum([len(s) for s in sentences])[:-1])


def write(path: Path, encoder: BertText, texts: list[Text], **facts: Any) -> None:
    texts = sorted(texts, key=lambda t: len(t.words))  # little padding; the trainer shuffles
    rows: list[NDArray[np.float32]] = []
    for i in range(0, len(texts), 64):
        rows += embedded(encoder, [t.words[:MOST_WORDS] for t in texts[i : i + 64]])
    np.savez(
        path,
        values=np.concatenate(rows).astype(np.float16),
        lengths=np.array([len(r) for r in rows]),
        columns=np.array(encoder.columns),
        labels=np.array([t.label for t in texts]),
        source=np.array([t.source for t in texts]),
        damaged=np.array([t.damaged for t in texts]),
    )
    print(path, len(rows), "examples", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--only", choices=("spoken", "mosi", "text_train", "text_dev", "text_test"), help="write this part alone")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    encoder = BertText("minilm", offline=True)
    random = np.random.default_rng(1)
    folder = options.data / "text"
    table = pandas.read_parquet(options.data / "mosi" / "mosi_utterances.parquet")
    splits = ("train", "dev", "test")
    texts = {
        (source, split): [t for t in read if t.words]
        for split in splits
        for source, read in (
            ("goemotions", goemotions(folder / f"goemotions_ekman_{split}.tsv")),
            ("meld", meld(folder / f"meld_{split}.csv")),
        )
    }
    vocabulary = [w for key in sorted(texts) if key[1] == "train" for t in texts[key] for w in t.words]

    def wanted(part: str) -> bool:
        return options.only in (None, part)

    spoken = [Text(tuple(s.split()), EMOTIONS.index("neutral"), s) for s in SPOKEN]
    if wanted("spoken"):
        write(options.out / "spoken.npz", encoder, spoken + [damage(t, vocabulary, random) for t in spoken for _ in range(3)])
    for split, name in zip(splits, ("train", "valid", "test"), strict=True):
        if not wanted("mosi"):
            break
        rows = table[table["split"] == name]
        said = [Text(tuple(t.split()), float(s), "mosi") for t, s in zip(rows["transcript"], rows["sentiment"], strict=True) if t.split()]
        write(options.out / f"mosi_{split}.npz", encoder, said)
    for split in splits:
        if not wanted(f"text_{split}"):
            continue
        random = np.random.default_rng([1, splits.index(split)])
        if split == "train":
            chosen = [t for source in CAP for t in capped(texts[source, split], CAP[source], random)]
            chosen = [damage(t, vocabulary, random) if random.random() < 1 / 3 else t for t in chosen]
        else:
            drawn = [(texts[source, split], random.permutation(len(texts[source, split]))[: MOST_TEXTS[split]]) for source in CAP]
            chosen = [there[i] for there, index in drawn for i in index]
            if split == "test":
                chosen += [damage(t, vocabulary, random) for t in chosen[:400]]
        write(options.out / f"text_{split}.npz", encoder, chosen)


if __name__ == "__main__":
    main()
