"""What a batch costs beside its work, and what it brings: processor time per clip of the engine, clips per hour for 1 and 2 workers.

    python benchmarks/batch.py SCRATCH [--clips 200] [--real 16]

The engine's own cost is measured on stand-ins (tests/batch/light.py) whose extractors do next to nothing: what is left is hashing, keys,
records, streams and results written and flushed, and messages between processes. It is given in processor seconds, which other programs
on the machine change little. `--real N` analyses N pieces of a sample clip, each of another length, with 1 and with 2 workers (wall time:
look at the load that is printed beside it).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/batch"))
import light  # noqa: E402


def processor_seconds() -> float:
    """Of this process and of all that it started and that have ended."""
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def overhead(scratch: Path, clips: int) -> dict[str, float]:
    """Processor seconds per clip: the first run, and a rerun that finds everything done. Starting (a run of one) is taken off."""
    seconds: dict[str, float] = {}
    for n in (1, clips):
        folder = scratch / f"light {n}"
        folder.mkdir(parents=True)
        for i in range(n):
            (folder / f"clip{i:05}.mp4").write_text(f"fine words of number {i}")
        job = {"log": os.devnull, "pause": 0.0}
        for run in ("first", "again"):
            before, begin = processor_seconds(), time.monotonic()
            totals, _ = light.batch(folder, scratch / f"out {n}", job, workers=1)
            assert totals.failed == 0 and totals.done + totals.kept == n
            seconds[f"{run} {n}"] = processor_seconds() - before
            seconds[f"{run} {n} wall"] = time.monotonic() - begin
    return {run: (seconds[f"{run} {clips}"] - seconds[f"{run} 1"]) / (clips - 1) for run in ("first", "again")}


def real(scratch: Path, clips: int) -> list[dict[str, object]]:
    """Clips per hour with the real extractors and model, words included."""
    folder = scratch / "real"
    folder.mkdir(parents=True)
    for i in range(clips):
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(ROOT / "samples/smile.mp4"), "-t", str(8.0 - 0.04 * i)]
        subprocess.run([*command, str(folder / f"{i}.mp4")], check=True, stdin=subprocess.DEVNULL)
    rows: list[dict[str, object]] = []
    for workers in (1, 2):
        command = [sys.executable, "-W", "ignore", "-m", "emofuse", "analyze", str(folder), "--offline", "--json-lines", "--no-report"]
        begin, before = time.monotonic(), processor_seconds()
        done = subprocess.run(
            [*command, "--workers", str(workers), "--out", str(scratch / f"real {workers}")], capture_output=True, text=True, check=True
        )
        totals = json.loads(done.stdout.splitlines()[-1])["totals"]
        row = {"workers": workers, "clips": totals["done"], "wall": time.monotonic() - begin, "processor": processor_seconds() - before}
        rows.append({**row, "clips_an_hour": 3600 * totals["done"] / float(row["wall"]), "load": os.getloadavg()[0]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--real", type=int, default=0)
    arguments = parser.parse_args()
    cost = overhead(arguments.scratch, arguments.clips)
    print(f"{1000 * cost['first']:.1f} ms of processor time per clip, {1000 * cost['again']:.2f} ms where all is done already")
    for row in real(arguments.scratch, arguments.real) if arguments.real else []:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
