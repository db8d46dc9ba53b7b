"""Features for the first checkpoint (emofuse.fusion.first_checkpoint): words of GoEmotions and MELD, voices of RAVDESS.

    python benchmarks/first_checkpoint_features.py --data ../shared/data --out CACHE

Writes CACHE/text_{train,dev,test}.npz and CACHE/voice_{train,dev,test}.npz. Each holds `values` (rows, columns) float16, `lengths`
(examples), `labels` (examples; index into EMOTIONS), `columns`, and for text `source` and `damaged` (examples), for voice `actor`,
`statement`, `seconds`. Texts keep the official splits; those with more than one label are left out; training texts are capped by
class (CAP) because two thirds of them are neutral or happy. 40 % of the training texts are damaged as a recogniser would do it: lower
case, no punctuation, one word in seven missing; the test texts come in both forms. RAVDESS: actors 17-20 test, 15-16 validation.
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
import torch

from emofuse.extractors.bert_text import BertText
from emofuse.extractors.librosa_voice import LibrosaVoice
from emofuse.pipeline.ports import EMOTIONS, SAMPLE_RATE, ClipInfo, Frame, Samples

GOEMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
MELD = {"joy": "happiness"}
RAVDESS = {
    "01": "neutral",
    "02": "neutral",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
TEST_ACTORS, DEV_ACTORS = {17, 18, 19, 20}, {15, 16}
CAP = {"goemotions": 3000, "meld": 2500}
DEV_TEST_TEXTS = 2000
MOST_WORDS = 64
QUOTES = str.maketrans({"\x91": "'", "\x92": "'", "\x93": '"', "\x94": '"', "\x85": "...", "\x96": "-", "\x97": "-", "’": "'", "‘": "'"})


@dataclass(frozen=True)
class Text:
    words: tuple[str, ...]
    label: int
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


def damage(text: Text, generator: np.random.Generator) -> Text:
    """As a recogniser hears it: lower case, no punctuation, one word in seven missing."""
    words = [w.lower().strip(string.punctuation) for w in text.words if generator.random() > 1 / 7]
    return Text(tuple(w for w in words if w) or (text.words[0].lower(),), text.label, text.source, True)


def texts(data: Path, split: str, generator: np.random.Generator) -> list[Text]:
    found: list[Text] = []
    for source, read in (
        ("goemotions", goemotions(data / "text" / f"goemotions_ekman_{split}.tsv")),
        ("meld", meld(data / "text" / f"meld_{split}.csv")),
    ):
        here = [t for t in read if t.words]
        order = generator.permutation(len(here))
        taken = [0] * len(EMOTIONS)
        chosen = []
        for i in order:
            label = here[i].label
            if (split == "train" and taken[label] < CAP[source]) or (split != "train" and len(chosen) < DEV_TEST_TEXTS):
                taken[label] += 1
                chosen.append(here[i])
        found += chosen
    if split == "train":
        return [damage(t, generator) if generator.random() < 0.4 else t for t in found]
    return found + [damage(t, generator) for t in found] if split == "test" else found


def embedded(encoder: BertText, sentences: list[tuple[str, ...]]) -> list[np.ndarray]:
    """(words, 384) for each utterance, as the text provider reads it; a new speaker for each keeps neighbours apart."""
    words = [w for s in sentences for w in s]
    speakers = [str(i) for i, s in enumerate(sentences) for _ in s]
    start = np.arange(len(words), dtype=np.float64)
    rows = encoder.embed(words, start, start + 1, speakers)
    return np.split(rows, np.cumsum([len(s) for s in sentences])[:-1])


@dataclass(frozen=True)
class SoundFile:
    """A FLAC file as the media that an extractor asks for."""

    info: ClipInfo
    path: Path

    def frames(self) -> Iterator[Frame]:
        yield from ()

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        import soundfile

        values, rate = soundfile.read(self.path, dtype="float32")
        assert rate == SAMPLE_RATE and values.ndim == 1, self.path
        yield Samples(0.0, np.asarray(values, np.float32))


def write(path: Path, rows: list[np.ndarray], columns: tuple[str, ...], **facts: Any) -> None:
    arrays: dict[str, Any] = {"values": np.concatenate(rows).astype(np.float16), "lengths": np.array([len(r) for r in rows])}
    arrays |= {"columns": np.array(columns)} | {k: np.array(v) for k, v in facts.items()}
    np.savez(path, **arrays)
    print(path, len(rows), "examples", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    extractor = LibrosaVoice()
    voices: dict[str, list[tuple[np.ndarray, int, int, int]]] = {"train": [], "dev": [], "test": []}
    for path in sorted((options.data / "speech" / "ravdess").rglob("*.flac")):
        _, _, emotion, _, statement, _, actor = path.stem.split("-")
        stream = extractor(SoundFile(ClipInfo(str(path), "flac", None, None, None), path), {})
        split = "test" if int(actor) in TEST_ACTORS else "dev" if int(actor) in DEV_ACTORS else "train"
        voices[split].append((stream.values, EMOTIONS.index(RAVDESS[emotion]), int(actor), int(statement)))
    for split, found in voices.items():
        values, labels, actors, statements = zip(*found, strict=True)
        write(options.out / f"voice_{split}.npz", list(values), extractor.columns, labels=labels, actor=actors, statement=statements)

    torch.set_num_threads(1)
    encoder = BertText("minilm", offline=True)
    minilm = encoder.columns
    write(options.out / "statements.npz", embedded(encoder, [tuple(s.split()) for s in STATEMENTS.values()]), minilm)
    generator = np.random.default_rng(1)
    for split in ("dev", "test", "train"):
        chosen = texts(options.data, split, generator)
        chosen.sort(key=lambda t: len(t.words))  # little padding; the trainer shuffles
        rows: list[np.ndarray] = []
        for i in range(0, len(chosen), 64):
            rows += embedded(encoder, [t.words[:MOST_WORDS] for t in chosen[i : i + 64]])
        facts = {"labels": [t.label for t in chosen], "source": [t.source for t in chosen], "damaged": [t.damaged for t in chosen]}
        write(options.out / f"text_{split}.npz", rows, minilm, **facts)


if __name__ == "__main__":
    main()
