"""Speed of the two COVAREP providers, side by side with librosa's pYIN, its YIN and MFCC, and openSMILE's eGeMAPS on the same sound.

OMP_NUM_THREADS=1 python benchmarks/covarep.py SOUND [--runs 7] [--opensmile-python PYTHON] [--seconds 60]

SOUND is any file that soundfile reads, at 16 kHz; it is repeated to so many seconds. All take turns within one run, on one thread, and the
table gives medians in seconds a second of sound: processor time (what a busy machine distorts least) and wall time, and each as a ratio
to pYIN of the same run. openSMILE runs in an environment of its own, which the option names: `pip install opensmile`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import librosa
import numpy as np
import soundfile

from emofuse.extractors.covarep.voice import CovarepCompatVoice, CovarepVoice
from emofuse.pipeline.ports import ClipInfo, Frame, Samples

RATE = 16000
OPENSMILE = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy, opensmile
signal = numpy.load(sys.argv[1])
smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors, num_workers=1)
smile.process_signal(signal[:16000], 16000)
wall, processor = time.perf_counter(), time.process_time()
smile.process_signal(signal, 16000)
print(json.dumps([time.perf_counter() - wall, time.process_time() - processor]))
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


def timed(task: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - processor


def opensmile_times(python: str, signal: np.ndarray, folder: Path) -> tuple[float, float]:
    path = folder / "covarep_benchmark_signal.npy"
    np.save(path, signal)
    done = subprocess.run([python, "-c", OPENSMILE, str(path)], capture_output=True, text=True, check=True)
    path.unlink()
    wall, processor = json.loads(done.stdout.strip().splitlines()[-1])
    return wall, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sound", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--opensmile-python")
    options = parser.parse_args()
    signal, rate = soundfile.read(options.sound, dtype="float32", always_2d=True)
    if rate != RATE:
        sys.exit(f"{options.sound}: expected 16000 Hz, got {rate}")
    signal = np.resize(signal[:, 0], int(options.seconds * RATE))
    clip = Sounding(signal)
    settings = {"sr": RATE, "fmin": 50, "fmax": 500, "frame_length": 1024, "hop_length": 160}
    tasks: dict[str, Callable[[], tuple[float, float]]] = {
        "librosa pYIN (F0, VUV)": lambda: timed(lambda: librosa.pyin(signal, **settings)),
        "emofuse covarep (76 columns)": lambda: timed(lambda: CovarepVoice()(clip, {})),
        "emofuse covarep-compat (74)": lambda: timed(lambda: CovarepCompatVoice()(clip, {})),
        "librosa YIN + MFCC (21)": lambda: timed(
            lambda: (librosa.yin(signal, **settings), librosa.feature.mfcc(y=signal, sr=RATE, n_mfcc=20, n_fft=400, hop_length=160))
        ),
    }
    if options.opensmile_python:
        tasks["openSMILE eGeMAPSv02 LLD (25)"] = lambda: opensmile_times(options.opensmile_python, signal, Path("/tmp"))
    for task in tasks.values():
        task()
    runs = [{name: task() for name, task in tasks.items()} for _ in range(options.runs)]
    base = "librosa pYIN (F0, VUV)"
    print(f"{options.seconds:.0f} s of {options.sound.name}, medians of {options.runs} runs, one thread\n")
    print("| what | processor s a second | wall s a second | processor, to pYIN | wall, to pYIN |\n|---|---|---|---|---|")
    for name in tasks:
        wall, processor = (statistics.median(run[name][i] for run in runs) / options.seconds for i in (0, 1))
        ratios = (statistics.median(run[name][i] / run[base][i] for run in runs) for i in (1, 0))
        print(f"| {name} | {processor:.4f} | {wall:.4f} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")


if __name__ == "__main__":
    main()
