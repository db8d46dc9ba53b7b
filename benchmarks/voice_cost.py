"""Processor seconds per second of sound of each voice provider, beside openSMILE's eGeMAPS, on one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.voice_cost --data ../shared/data/speech --opensmile-python PYTHON

Two sounds: short clips, each read by itself (every 60th of RAVDESS), and the same clips end to end as one long sound. Processor time of
the process, so that a busy machine matters little; loading and a first turn are not counted; the least of so many runs. openSMILE runs in
an environment of its own (`pip install opensmile`), which the option names; without it its line is left out. It is no dependency of
emofuse: its licence is for research only.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.voice_readers import files_of
from emofuse.extractors import EXTRACTORS, Request
from emofuse.pipeline.media import SAMPLE_RATE
from emofuse.pipeline.timed import Floats32
from training.sound import Sound

PROVIDERS = ("covarep", "covarep-compat", "whisper", "whisper+covarep", "librosa", "torchaudio")
EVERY = 60
OPENSMILE = """
import sys, time, warnings
warnings.simplefilter("ignore")
import numpy, opensmile
with numpy.load(sys.argv[1]) as loaded:
    sounds = [loaded[name] for name in loaded.files]
smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors, num_workers=1)
smile.process_signal(sounds[0], 16000)
costs = []
for _ in range(int(sys.argv[2])):
    before = time.process_time()
    for sound in sounds:
        smile.process_signal(sound, 16000)
    costs.append(time.process_time() - before)
print(min(costs))
"""


def cost(provider: str, sounds: Sequence[Floats32], runs: int) -> float:
    """Processor seconds over all sounds, the least of `runs`."""
    kind = next(p for p in EXTRACTORS["voice"] if p.name == provider or p.accepts(provider))
    extractor = kind.make(Request(argument="" if kind.name == provider else provider, offline=True))
    extractor(Sound(sounds[0]), {})
    costs = []
    for _ in range(runs):
        before = time.process_time()
        for sound in sounds:
            extractor(Sound(sound), {})
        costs.append(time.process_time() - before)
    return min(costs)


def opensmile_cost(python: str, sounds: Sequence[Floats32], runs: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sounds.npz"
        np.savez(path, *sounds)
        done = subprocess.run([python, "-c", OPENSMILE, str(path), str(runs)], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--opensmile-python", metavar="PYTHON")
    arguments.add_argument("--providers", nargs="+", default=list(PROVIDERS))
    arguments.add_argument("--runs", type=int, default=2)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    clips = [soundfile.read(file, dtype="float32")[0] for file in files_of("ravdess", given.data)[::EVERY]]
    long = [np.concatenate(clips)]
    seconds = sum(map(len, clips)) / SAMPLE_RATE
    print(f"{len(clips)} clips, {seconds:.0f} s\n| provider | short clips | one long sound |\n|---|---|---|", flush=True)
    for provider in given.providers:
        found = [cost(provider, sounds, given.runs) / seconds for sounds in (clips, long)]
        print(f"| {provider} | {found[0]:.3f} | {found[1]:.3f} |", flush=True)
    if given.opensmile_python:
        found = [opensmile_cost(given.opensmile_python, sounds, given.runs) / seconds for sounds in (clips, long)]
        print(f"| openSMILE eGeMAPSv02, low-level descriptors | {found[0]:.3f} | {found[1]:.3f} |")


if __name__ == "__main__":
    main()
