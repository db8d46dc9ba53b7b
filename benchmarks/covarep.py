"""Speed of the two COVAREP providers, side by side with librosa's pYIN, its YIN and MFCC, and openSMILE's eGeMAPS on the same sounds.

OMP_NUM_THREADS=1 python benchmarks/covarep.py SOUND... [--runs 3] [--seconds 15] [--opensmile-python PYTHON]

SOUND is any file that soundfile reads, or one of ../shared/reference/covarep; it is mixed, brought to 16 kHz and repeated to so many
seconds. All take turns within a run, on one thread, after a first turn that is not counted (imports and tables: 0.9 s of processor time
for ours). The table gives medians of processor time, what a busy machine distorts least, in seconds per second of sound, and in brackets
the median ratio to pYIN of the same run. openSMILE runs in an environment of its own, which the option names: `pip install opensmile`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import librosa
import numpy as np
import soundfile

from emofuse.extractors.voice.covarep.voice import CovarepCompatVoice, CovarepVoice
from emofuse.pipeline.media import ClipInfo, Frame, Samples

RATE = 16000
PYIN = "librosa pYIN (F0, VUV)"
OPENSMILE = """
import sys, time, warnings
warnings.simplefilter("ignore")
import numpy, opensmile
signal = numpy.load(sys.argv[1])
smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors, num_workers=1)
smile.process_signal(signal[:16000], 16000)
processor = time.process_time()
smile.process_signal(signal, 16000)
print(time.process_time() - processor)
"""


class Sounding:
    """A clip of this sound."""

    info = ClipInfo(path="benchmark", container="none", duration=None, video=None, audio=None)

    def __init__(self, signal: np.ndarray) -> None:
        self.signal = signal

    def frames(self) -> Iterator[Frame]:
        return iter(())

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        for first in range(0, len(self.signal), 4096):
            yield Samples(first / RATE, self.signal[first : first + 4096])


def timed(task: Callable[[], object]) -> float:
    """Its processor seconds."""
    processor = time.process_time()
    task()
    return time.process_time() - processor


def opensmile_time(python: str, signal: np.ndarray) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signal.npy"
        np.save(path, signal)
        done = subprocess.run([python, "-c", OPENSMILE, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def loaded(path: Path, seconds: float) -> np.ndarray:
    """So many seconds of a file at 16 kHz, repeated as it needs."""
    if path.suffix == ".npz":
        with np.load(path) as reference:
            signal, rate = reference["samples"].astype(np.float32) / 32768, int(reference["sample_rate"])
    else:
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
        signal = channels.mean(axis=1)
    if rate != RATE:
        signal = librosa.resample(signal, orig_sr=rate, target_sr=RATE)
    return np.resize(signal, int(seconds * RATE))


def tasks_on(signal: np.ndarray, opensmile_python: str | None) -> dict[str, Callable[[], float]]:
    """What is timed: the processor seconds of each on this sound."""
    clip = Sounding(signal)
    settings = {"sr": RATE, "fmin": 50, "fmax": 500, "frame_length": 1024, "hop_length": 160}
    tasks: dict[str, Callable[[], float]] = {
        PYIN: lambda: timed(lambda: librosa.pyin(signal, **settings)),
        "emofuse covarep (76 columns)": lambda: timed(lambda: CovarepVoice()(clip, {})),
        "emofuse covarep-compat (74)": lambda: timed(lambda: CovarepCompatVoice()(clip, {})),
        "librosa YIN + MFCC (21)": lambda: timed(
            lambda: (librosa.yin(signal, **settings), librosa.feature.mfcc(y=signal, sr=RATE, n_mfcc=20, n_fft=400, hop_length=160))
        ),
    }
    if opensmile_python:
        tasks["openSMILE eGeMAPSv02 LLD (25)"] = lambda: opensmile_time(opensmile_python, signal)
    return tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--opensmile-python")
    options = parser.parse_args()
    cells: dict[str, list[str]] = {}
    for path in options.sounds:
        tasks = tasks_on(loaded(path, options.seconds), options.opensmile_python)
        for task in tasks.values():
            task()
        runs = [{name: task() for name, task in tasks.items()} for _ in range(options.runs)]
        for name in tasks:
            processor = statistics.median(run[name] for run in runs) / options.seconds
            ratio = statistics.median(run[name] / run[PYIN] for run in runs)
            cells.setdefault(name, []).append(f"{processor:.3f} ({ratio:.2f})")
    print(f"{options.seconds:.0f} s of each, medians of {options.runs} runs; load of the machine {os.getloadavg()[0]:.1f}\n")
    print("| what | " + " | ".join(path.name for path in options.sounds) + " |\n|---" + "|---" * len(options.sounds) + "|")
    for name, row in cells.items():
        print(f"| {name} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
