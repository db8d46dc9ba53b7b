"""What a simple reader makes of a voice provider's rows, with strangers, without and with the person's baseline.

    python benchmarks/voice_readers.py --data ../shared/data/speech --cache CACHE --providers whisper librosa

Of each clip the mean of every column over the rows within 20 dB of its loudest (by `rms`); linear discriminants with a covariance shrunk
by 0.4. Baseline of n others: n other clips of the same person, drawn by a seed, whatever their emotion, believed n / (n + 2), both in
training and in testing (pipeline/baseline.py). RAVDESS: eight classes, five folds of whole actors. Across corpora: all of RAVDESS teaches,
EmoDB is read, and the other way round, in the six emotions that both have. Nothing is chosen on what is reported.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import recall_score

from emofuse.extractors import EXTRACTORS, Request
from emofuse.pipeline.baseline import SHRINKAGE
from training.sound import Sound

LOUD = 10 ** (-20 / 20)
FOLDS = 5
OTHERS = (0, 1, 5, 20, 10_000)
RAVDESS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
EMODB = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral"}
SHARED = ("anger", "disgust", "fear", "happiness", "sadness", "neutral")
Floats = NDArray[np.float64]
Names = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Clips:
    """Of each clip: means of the provider's columns (n c), emotion and speaker (n)."""

    means: Floats
    emotion: Names
    speaker: Names

    def only(self, emotions: Sequence[str]) -> Clips:
        """The clips of these emotions."""
        chosen = np.isin(self.emotion, emotions)
        return Clips(self.means[chosen], self.emotion[chosen], self.speaker[chosen])


def clips_of(corpus: str, provider: str, data: Path, cache: Path) -> Clips:
    """Extracted once, then read from the cache."""
    files = sorted((data / corpus).rglob("*.flac"))
    path = cache / f"{corpus}-{provider}.npy"
    if not path.exists():
        (kind,) = [p for p in EXTRACTORS["voice"] if p.name == provider]
        extractor = kind.make(Request())
        rows = []
        for file in files:
            values, _ = soundfile.read(file, dtype="float32")
            stream = extractor(Sound(values), {})
            level = stream.column("rms")
            with np.errstate(invalid="ignore"):
                rows.append(np.nanmean(stream.values[level >= LOUD * level.max()], axis=0))
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, np.nan_to_num(np.array(rows, np.float64)))
    ravdess = corpus == "ravdess"
    emotion = [RAVDESS[f.stem.split("-")[2]] if ravdess else EMODB[f.stem[5]] for f in files]
    speaker = [f.stem.split("-")[6] if ravdess else f.stem[:2] for f in files]
    return Clips(np.load(path), np.array(emotion), np.array(speaker))


def against_baseline(clips: Clips, others: int, everybody: Floats, seed: int) -> Floats:
    """(n c): each clip's means less its person's share of the difference from everybody, of so many other clips of that person."""
    random = np.random.default_rng(seed)
    moved = clips.means.copy()
    for i, speaker in enumerate(clips.speaker):
        pool = np.flatnonzero(clips.speaker == speaker)
        pool = pool[pool != i]
        n = min(others, len(pool))
        if n:
            usual = clips.means[random.choice(pool, n, replace=False)].mean(0)
            moved[i] -= n / (n + SHRINKAGE) * (usual - everybody)
    return moved


def accuracies(train: Clips, test: Clips, others: int, seed: int) -> tuple[float, float]:
    """Accuracy and UAR on `test`; a baseline of as many others in training as in testing."""
    everybody = train.means.mean(0)
    x, z = against_baseline(train, others, everybody, seed), against_baseline(test, others, everybody, seed + 1)
    mean, deviation = x.mean(0), x.std(0) + 1e-8
    reader = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.4, priors=None).fit((x - mean) / deviation, train.emotion)
    answers = reader.predict((z - mean) / deviation)
    return float((answers == test.emotion).mean()), float(recall_score(test.emotion, answers, average="macro", zero_division=0))


def folds(clips: Clips, others: int) -> tuple[float, float]:
    """Means over five folds of whole actors, drawn as in benchmarks/ravdess_voice.py."""
    actors = np.random.default_rng(0).permutation(np.unique(clips.speaker.astype(int)))
    scores = []
    for number, fold in enumerate(np.array_split(actors, FOLDS)):
        test = np.isin(clips.speaker.astype(int), fold)
        parts = [Clips(clips.means[chosen], clips.emotion[chosen], clips.speaker[chosen]) for chosen in (~test, test)]
        scores.append(accuracies(*parts, others, number))
    accuracy, recall = np.mean(scores, axis=0)
    return float(accuracy), float(recall)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--cache", type=Path, required=True)
    arguments.add_argument("--providers", nargs="+", default=["whisper", "librosa"])
    given = arguments.parse_args()
    print("| provider | task | " + " | ".join(f"{n if n < 1000 else 'all'} others" for n in OTHERS) + " |")
    print("|---" * (len(OTHERS) + 2) + "|")
    for provider in given.providers:
        ravdess, emodb = (clips_of(corpus, provider, given.data, given.cache) for corpus in ("ravdess", "emodb"))
        shared = ravdess.only(SHARED), emodb.only(SHARED)
        tasks = {
            "RAVDESS, 8 classes, five folds: accuracy": lambda n, r=ravdess: folds(r, n)[0],
            "RAVDESS -> EmoDB, 6 classes: UAR": lambda n, s=shared: accuracies(s[0], s[1], n, 11)[1],
            "EmoDB -> RAVDESS, 6 classes: UAR": lambda n, s=shared: accuracies(s[1], s[0], n, 11)[1],
        }
        for task, score in tasks.items():
            print(f"| {provider} | {task} | " + " | ".join(f"{100 * score(n):.1f}" for n in OTHERS) + " |", flush=True)


if __name__ == "__main__":
    main()
