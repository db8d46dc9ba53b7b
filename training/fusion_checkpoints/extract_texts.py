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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.extractors.text.bert_text import BertText
from emofuse.pipeline.streams import EMOTIONS

from ..text.corpora import SPLITS, Corpora, damaged, read_corpora
from ..text.shipping import word_rows

CAP = {"goemotions": 4000, "meld": 1500}
MOST_TEXTS = {"dev": 1000, "test": 10**6}
"""Of each source in a validation or test split, drawn at random."""
QUICK = 12
"""With --quick: training texts of each class and source, five times as many in the other splits, and as many of CMU-MOSI."""
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


@dataclass(frozen=True)
class Text:
    words: tuple[str, ...]
    label: float
    source: str
    damaged: bool = False


def emotional(corpora: Corpora) -> dict[str, list[Text]]:
    """Texts with one emotion by source, and MOSI's with their sentiment."""
    return {
        "goemotions": [Text(c.words, c.emotions[0], "goemotions") for c in corpora.goemotions if len(c.emotions) == 1],
        "meld": [Text(line.words, line.emotion, "meld") for line in corpora.meld],
        "mosi": [Text(opinion.words, opinion.sentiment, "mosi") for opinion in corpora.mosi],
    }


def as_heard(text: Text, vocabulary: tuple[str, ...], random: np.random.Generator) -> Text:
    return Text(damaged(text.words, vocabulary, random), text.label, text.source, True)


def capped(texts: list[Text], cap: int, random: np.random.Generator) -> list[Text]:
    taken = [0] * len(EMOTIONS)
    chosen = []
    for i in random.permutation(len(texts)):
        label = int(texts[i].label)
        if taken[label] < cap:
            taken[label] += 1
            chosen.append(texts[i])
    return chosen


def write(path: Path, encoder: BertText, texts: list[Text], **facts: Any) -> None:
    texts = sorted(texts, key=lambda t: len(t.words))  # little padding; the trainer shuffles
    rows: list[NDArray[np.float32]] = []
    for i in range(0, len(texts), 64):
        rows += word_rows(encoder, [t.words[:MOST_WORDS] for t in texts[i : i + 64]])
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
    arguments.add_argument("--quick", action="store_true", help="a few dozen texts: does it run, twice the same?")
    arguments.add_argument("--only", choices=("spoken", "mosi", "text_train", "text_dev", "text_test"), help="write this part alone")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    encoder = BertText("minilm", offline=True)
    random = np.random.default_rng(1)
    cap, most = (dict.fromkeys(CAP, QUICK), dict.fromkeys(MOST_TEXTS, 5 * QUICK)) if options.quick else (CAP, MOST_TEXTS)
    texts = {split: emotional(read_corpora(options.data, split)) for split in SPLITS}
    opinions = 5 * QUICK if options.quick else None
    vocabulary = tuple(w for source in CAP for t in texts["train"][source] for w in t.words)

    def wanted(part: str) -> bool:
        return options.only in (None, part)

    spoken = [Text(tuple(sentence.split()), EMOTIONS.index("neutral"), sentence) for sentence in SPOKEN]
    if wanted("spoken"):
        write(options.out / "spoken.npz", encoder, spoken + [as_heard(t, vocabulary, random) for t in spoken for _ in range(3)])
    for split in SPLITS:
        if wanted("mosi"):
            write(options.out / f"mosi_{split}.npz", encoder, texts[split]["mosi"][:opinions])
    for split in SPLITS:
        if not wanted(f"text_{split}"):
            continue
        random = np.random.default_rng([1, SPLITS.index(split)])
        if split == "train":
            chosen = [t for source in CAP for t in capped(texts[split][source], cap[source], random)]
            chosen = [as_heard(t, vocabulary, random) if random.random() < 1 / 3 else t for t in chosen]
        else:
            drawn = [(texts[split][source], random.permutation(len(texts[split][source]))[: most[split]]) for source in CAP]
            chosen = [texts_of_source[i] for texts_of_source, index in drawn for i in index]
            if split == "test":
                chosen += [as_heard(t, vocabulary, random) for t in chosen[:400]]
        write(options.out / f"text_{split}.npz", encoder, chosen)


if __name__ == "__main__":
    main()
