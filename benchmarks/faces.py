"""Speed of the compact face provider, decoding included, against MediaPipe's Face Landmarker on the same clips; memory over length.

python benchmarks/faces.py CLIP ... [--teacher face_landmarker.task --teacher-python PYTHON] [--runs 5] [--minutes 10]

Frames a second are whole runs from the file to the finished stream (models loaded beforehand), medians. MediaPipe runs in an
environment of its own, in its video mode (which tracks), over frames that OpenCV decodes there. Memory is the peak of a fresh process
over a clip that repeats the first one for so many minutes, against the same over 20 seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

RIVAL = """
import sys, time, statistics, cv2, mediapipe as mp
model, runs, paths = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
vision = mp.tasks.vision
def once(path):
    options = vision.FaceLandmarkerOptions(base_options=mp.tasks.BaseOptions(model_asset_path=model), running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True, output_facial_transformation_matrixes=True, num_faces=2)
    landmarker = vision.FaceLandmarker.create_from_options(options)
    start, cpu, n, hits = time.perf_counter(), time.process_time(), 0, 0
    capture = cv2.VideoCapture(path)
    while True:
        ok, frame = capture.read()
        if not ok: break
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        hits += bool(landmarker.detect_for_video(image, n * 40).face_landmarks)
        n += 1
    return n / (time.perf_counter() - start), hits / n, 1000 * (time.process_time() - cpu) / n
for path in paths:
    rates = [once(path) for _ in range(runs)]
    print(path, statistics.median(r[0] for r in rates), rates[0][1], min(r[2] for r in rates), sep="\\t")
"""

MEMORY = """
import resource, sys, torch
from pathlib import Path
from emofuse.extractors.compact.extractor import Compact
from emofuse.pipeline.clip import Clip
torch.set_num_threads(int(sys.argv[2]))
notes = Compact()(Clip(Path(sys.argv[1])), {}).provenance.notes
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, notes["frames"])
"""


def processor_seconds() -> float:
    """Of this process and of its children that have ended (the decoders): what a frame costs whoever else is computing."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def ours(paths: list[Path], runs: int, threads: int) -> None:
    import torch

    from emofuse.extractors.compact.extractor import Compact
    from emofuse.pipeline.clip import Clip

    torch.set_num_threads(threads)
    provider = Compact()
    for path in paths:
        rates, cost = [], []
        share = 0.0
        for _ in range(runs):
            start, cpu = time.perf_counter(), processor_seconds()
            notes = provider(Clip(path), {}).provenance.notes
            rates.append(notes["frames"] / (time.perf_counter() - start))
            cost.append(1000 * (processor_seconds() - cpu) / notes["frames"])
            share = 100 * notes["frames_with_face"] / notes["frames"]
        print(
            f"| compact | {path.name} | {statistics.median(rates):.0f} | {max(rates):.0f} | {min(cost):.1f} | {share:.0f} % |", flush=True
        )


def rival(paths: list[Path], runs: int, teacher: Path, python: Path) -> None:
    options = [str(python), "-c", RIVAL, str(teacher), str(runs), *map(str, paths)]
    done = subprocess.run(options, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        path, rate, share, cost = line.split("\t")
        print(f"| MediaPipe | {Path(path).name} | {float(rate):.0f} | | {float(cost):.1f} | {100 * float(share):.0f} % |", flush=True)


def memory(path: Path, minutes: float, threads: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for seconds in (20.0, 60 * minutes):
            long = Path(folder) / f"{seconds:.0f}.mp4"
            source = ffmpeg.input(str(path), stream_loop=-1, t=seconds)
            ffmpeg.output(source, str(long), c="copy").run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True, overwrite_output=True)
            done = subprocess.run([sys.executable, "-c", MEMORY, str(long), str(threads)], capture_output=True, text=True, check=True)
            own, child, frames = (int(x) for x in done.stdout.split())
            print(f"memory over {seconds:.0f} s ({frames} frames): {own / 1024:.0f} MiB, its decoder {child / 1024:.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of the compact face provider.")
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--teacher-python", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=0.0, help="also measure memory over a clip this long")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the run")
    print("| provider | clip | frames/s, median | best | CPU ms a frame | frames with a face |\n|---|---|---|---|---|---|")
    ours(arguments.clips, arguments.runs, arguments.threads)
    if arguments.teacher and arguments.teacher_python:
        rival(arguments.clips, arguments.runs, arguments.teacher, arguments.teacher_python)
    if arguments.minutes:
        memory(arguments.clips[0], arguments.minutes, arguments.threads)


if __name__ == "__main__":
    main()
