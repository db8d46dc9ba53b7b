"""What a simple reader makes of a voice provider's rows, with strangers, without and with the person's baseline.

    python -m benchmarks.voice_readers --data ../shared/data/speech --cache CACHE --providers whisper covarep whisper+covarep

Of each clip the mean of every column over the rows within 20 dB of its loudest (by `rms`). Two readers: linear discriminants with a
covariance shrunk by 0.4, and a support vector machine (radial kernel, C 10, gamma 1 / columns, classes balanced). Of joined providers
(A+B) the means lie side by side. Baseline of n others: n other clips of the same person, drawn by a seed, whatever their emotion,
believed n / (n + 2), both in training and in testing (pipeline/baseline.py). RAVDESS: eight classes, five folds of whole
actors. Across corpora: all of RAVDESS teaches, EmoDB is read, and the other way round, in the six emotions that both have. Nothing is
chosen on what is reported.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import recall_score
from sklearn.svm import SVC

from emofuse.extractors import EXTRACTORS, Request
from emofuse.pipeline.baseline import SHRINKAGE
from emofuse.pipeline.ports import Extractor
from emofuse.pipeline.timed import Floats32
from training.sound import Sound

LOUD = 10 ** (-20 / 20)
FOLDS = 5
OTHERS = (0, 1, 5, 20, 10_000)
READERS = ("discriminants", "svm")
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
        return self.where(np.isin(self.emotion, emotions))

    def where(self, chosen: NDArray[np.bool_]) -> Clips:
        """The clips that are chosen (n)."""
        return Clips(self.means[chosen], self.emotion[chosen], self.speaker[chosen])


def provider_of(name: str) -> Extractor:
    """A voice provider by its name."""
    (kind,) = [provider for provider in EXTRACTORS["voice"] if provider.name == name]
    return kind.make(Request(offline=True))


def mean_row(extractor: Extractor, sound: Floats32) -> Floats:
    """(c) the mean of every column over the rows within 20 dB of the loudest; NaN where none was measured."""
    stream = extractor(Sound(sound), {})
    level = stream.column("rms")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(stream.values[level >= LOUD * np.nanmax(level)].astype(np.float64), axis=0)


def files_of(corpus: str, data: Path) -> list[Path]:
    return sorted((data / corpus).rglob("*.flac"))


def labelled(files: Sequence[Path], means: Floats) -> Clips:
    """Clips with what their names say."""
    acted = [RAVDESS[f.stem.split("-")[2]] if "-" in f.stem else EMODB[f.stem[5]] for f in files]
    speaker = [f.stem.split("-")[6] if "-" in f.stem else f.stem[:2] for f in files]
    return Clips(means, np.array(acted), np.array(speaker))


def clips_of(corpus: str, provider: str, data: Path, cache: Path, every: int = 1) -> Clips:
    """Every so many-th clip of a corpus, in an order drawn by a seed; extracted once, then read from the cache."""
    files = files_of(corpus, data)
    taken = np.sort(np.random.default_rng(0).permutation(len(files))[::every])
    files = [files[i] for i in taken]
    parts = []
    for name in provider.split("+"):
        path, whole = (cache / f"{corpus}-{name}{part}.npy" for part in (f"-{every}" if every > 1 else "", ""))
        if not path.exists() and not whole.exists():
            extractor = provider_of(name)
            rows = [mean_row(extractor, soundfile.read(file, dtype="float32")[0]) for file in files]
            cache.mkdir(parents=True, exist_ok=True)
            np.save(path, np.nan_to_num(np.array(rows, np.float64)))
        parts.append(np.load(path) if path.exists() else np.load(whole)[taken])
    return labelled(files, np.concatenate(parts, axis=1))


def against_baseline(clips: Clips, others: int, everybody: Floats, seed: int, *, one_sided: bool = False) -> Floats:
    """(n c): each clip's means less its person's share of the difference from everybody, of so many other clips of that person; if
    `one_sided`, four fifths of these are of one emotion, another for each clip."""
    random = np.random.default_rng(seed)
    moved = clips.means.copy()
    for i, speaker in enumerate(clips.speaker):
        pool = np.flatnonzero(clips.speaker == speaker)
        pool = pool[pool != i]
        n = min(others, len(pool))
        if n:
            share = None
            if one_sided:
                same = clips.emotion[pool] == clips.emotion[random.choice(pool)]
                share = np.where(same, 0.8 / same.sum(), 0.2 / max(1, (~same).sum()))
                n, share = min(n, int((share > 0).sum())), share / share.sum()
            usual = clips.means[random.choice(pool, n, replace=False, p=share)].mean(0)
            moved[i] -= n / (n + SHRINKAGE) * (usual - everybody)
    return moved


def reader_of(name: str) -> Any:
    """A reader of standardised columns, its settings chosen on nothing that is reported."""
    if name == "svm":
        return SVC(kernel="rbf", C=10.0, gamma="auto", class_weight="balanced")
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.4, priors=None)


def accuracies(
    train: Clips, test: Clips, others: int, seed: int, reader: str = "discriminants", *, one_sided: bool = False
) -> tuple[float, float]:
    """Accuracy and UAR on `test`; a baseline of as many others in training as in testing, there of mostly one emotion if `one_sided`."""
    everybody = train.means.mean(0)
    x = against_baseline(train, others, everybody, seed)
    z = against_baseline(test, others, everybody, seed + 1, one_sided=one_sided)
    mean, deviation = x.mean(0), x.std(0) + 1e-8
    answers = reader_of(reader).fit((x - mean) / deviation, train.emotion).predict((z - mean) / deviation)
    return float((answers == test.emotion).mean()), float(recall_score(test.emotion, answers, average="macro", zero_division=0))


def fold_actors(clips: Clips) -> list[Names]:
    """Whose clips are tested in each of the five folds, drawn as in benchmarks/ravdess_voice.py."""
    return np.array_split(np.random.default_rng(0).permutation(np.unique(clips.speaker)), FOLDS)


def folds(clips: Clips, others: int, reader: str, *, one_sided: bool = False) -> tuple[float, float]:
    """Means over five folds of whole actors."""
    scores = []
    for number, fold in enumerate(fold_actors(clips)):
        test = np.isin(clips.speaker, fold)
        scores.append(accuracies(clips.where(~test), clips.where(test), others, number, reader, one_sided=one_sided))
    accuracy, recall = np.mean(scores, axis=0)
    return float(accuracy), float(recall)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--cache", type=Path, required=True)
    arguments.add_argument("--providers", nargs="+", default=["whisper", "librosa"])
    arguments.add_argument("--every", type=int, default=1, help="use every so many-th clip only")
    arguments.add_argument("--readers", nargs="+", default=list(READERS), choices=READERS)
    arguments.add_argument("--one-sided", action="store_true", help="four fifths of a tested clip's others are of one emotion")
    given = arguments.parse_args()
    print("| provider | reader | task | " + " | ".join(f"{n if n < 1000 else 'all'} others" for n in OTHERS) + " |")
    print("|---" * (len(OTHERS) + 3) + "|")
    for provider in given.providers:
        ravdess, emodb = (clips_of(corpus, provider, given.data, given.cache, given.every) for corpus in ("ravdess", "emodb"))
        shared = ravdess.only(SHARED), emodb.only(SHARED)
        for reader in given.readers:
            sided = given.one_sided
            tasks = {
                "RAVDESS, 8 classes, five folds: accuracy": [folds(ravdess, n, reader, one_sided=sided)[0] for n in OTHERS],
                "RAVDESS -> EmoDB, 6 classes: UAR": [accuracies(*shared, n, 11, reader, one_sided=sided)[1] for n in OTHERS],
                "EmoDB -> RAVDESS, 6 classes: UAR": [accuracies(*shared[::-1], n, 11, reader, one_sided=sided)[1] for n in OTHERS],
            }
            for task, scores in tasks.items():
                print(f"| {provider} | {reader} | {task} | " + " | ".join(f"{100 * score:.1f}" for score in scores) + " |", flush=True)


if __name__ == "__main__":
    main()
