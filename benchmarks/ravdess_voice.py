"""RAVDESS, voice only, eight classes, speakers apart: a support vector machine on each voice provider's statistics.

    python benchmarks/ravdess_voice.py --data ../shared/data/speech/ravdess --cache CACHE

Five folds of whole actors (seeded). Of every column: mean, deviation, 10th, 50th and 90th percentile over the rows with voice. The
machine's C is chosen by speakers within the training actors; the test actors are touched once per fold. A yardstick for features, not a
model of ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from emofuse.extractors.voice.covarep.voice import CovarepCompatVoice, CovarepVoice
from emofuse.extractors.voice.librosa_voice import LibrosaVoice
from emofuse.pipeline.media import SAMPLE_RATE, AudioInfo, ClipInfo, Frame, Samples
from emofuse.pipeline.ports import Extractor
from emofuse.pipeline.timed import TimedSequence

PROVIDERS: Mapping[str, type[LibrosaVoice] | type[CovarepVoice] | type[CovarepCompatVoice]] = {
    "librosa": LibrosaVoice,
    "covarep": CovarepVoice,
    "covarep-compat": CovarepCompatVoice,
}
FOLDS = 5


@dataclass(frozen=True)
class Sound:
    """A `Media` of one decoded file: the clips of this set have nothing for a container's clock to say."""

    values: NDArray[np.float32]

    @property
    def info(self) -> ClipInfo:
        return ClipInfo("memory", "flac", len(self.values) / SAMPLE_RATE, None, AudioInfo("flac", SAMPLE_RATE, 1))

    def frames(self) -> Iterator[Frame]:
        return iter(())

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        yield Samples(0.0, self.values)


def statistics(stream: TimedSequence) -> NDArray[np.float64]:
    """(5 columns) of one clip; rows with voice only, where the provider says which they are."""
    voiced = np.ones(len(stream), bool)
    for name in ("VUV", "f0"):
        if name in stream.columns:
            voiced = np.nan_to_num(stream.column(name)) > 0
    values = stream.values[voiced] if voiced.sum() >= 5 else stream.values
    known = ~np.isnan(values).all(axis=0)
    table = np.zeros((5, values.shape[1]))
    column = values[:, known]
    table[:, known] = np.vstack([np.nanmean(column, 0), np.nanstd(column, 0), *np.nanpercentile(column, (10, 50, 90), axis=0)])
    return table.ravel()


def features(name: str, files: list[Path], cache: Path) -> NDArray[np.float64]:
    path = cache / f"{name}.npy"
    if not path.exists():
        extractor: Extractor = PROVIDERS[name]()
        rows = []
        for file in files:
            values, rate = soundfile.read(file, dtype="float32")
            assert rate == SAMPLE_RATE and values.ndim == 1, file
            rows.append(statistics(extractor(Sound(values), {})))
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, np.array(rows))
    table: NDArray[np.float64] = np.load(path)
    return table


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--cache", type=Path, required=True)
    arguments.add_argument("--providers", nargs="+", default=list(PROVIDERS), choices=list(PROVIDERS))
    given = arguments.parse_args()
    files = sorted(given.data.rglob("03-01-*.flac"))
    emotion = np.array([int(f.stem.split("-")[2]) for f in files])
    actor = np.array([int(f.stem.split("-")[6]) for f in files])
    actors = np.random.default_rng(0).permutation(np.unique(actor))
    folds = np.array_split(actors, FOLDS)
    majority = np.bincount(emotion).max() / len(files)
    print(f"{len(files)} clips, {len(actors)} actors, {len(np.unique(emotion))} classes; majority {majority:.3f}")
    for name in given.providers:
        x = features(name, files, given.cache)
        scores = []
        for fold in folds:
            test = np.isin(actor, fold)
            machine = make_pipeline(StandardScaler(), SVC())
            choice = GridSearchCV(machine, {"svc__C": [1, 3, 10, 30]}, cv=GroupKFold(5), scoring="balanced_accuracy")
            choice.fit(x[~test], emotion[~test], groups=actor[~test])
            answer = choice.predict(x[test])
            scores.append((float((answer == emotion[test]).mean()), balanced_accuracy_score(emotion[test], answer)))
        mean, spread = np.mean(scores, 0), np.std(scores, 0)
        print(f"{name:<15} accuracy {mean[0]:.3f} +- {spread[0]:.3f}   UAR {mean[1]:.3f} +- {spread[1]:.3f}")


if __name__ == "__main__":
    main()
