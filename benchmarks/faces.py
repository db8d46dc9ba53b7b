"""Speed of the compact face provider, decoding included, against MediaPipe's Face Landmarker on the same clips; memory over length.

python benchmarks/faces.py CLIP ... [--teacher face_landmarker.task --teacher-python PYTHON] [--runs 5] [--minutes 10]

Frames per second are whole runs from the file to the finished stream (models loaded beforehand), medians. MediaPipe runs in an
environment of its own, in its video mode (which tracks), over frames that OpenCV decodes there. py-feat runs on random weights at its real
size (its own are not on every machine) and is told of one face in every frame, since noise finds none: what it computes, not what it
sees; over the first frames only, since it needs about a second for each. Memory is the peak of a fresh process
over a clip that repeats the first one for so many minutes, against the same over 20 seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

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
from emofuse.extractors.face.compact.extractor import Compact
from emofuse.pipeline.clip import Clip
torch.set_num_threads(int(sys.argv[2]))
notes = Compact()(Clip(Path(sys.argv[1])), {}).provenance.notes
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, notes["frames"])
"""


def processor_seconds() -> tuple[float, float]:
    """Of this process, and of its children that have ended (the decoders): what a frame costs whoever else is computing."""
    return time.process_time(), sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def milliseconds_since(before: tuple[float, float], frames: int) -> tuple[float, float]:
    """Processor time per frame since then: own, and the decoders'."""
    own, children = processor_seconds()
    return 1000 * (own - before[0]) / frames, 1000 * (children - before[1]) / frames


def ours(paths: list[Path], runs: int, threads: int) -> None:
    import torch

    from emofuse.extractors.face.compact.extractor import Compact
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
            cost.append(milliseconds_since(cpu, notes["frames"]))
            share = 100 * notes["frames_with_face"] / notes["frames"]
        own, decoder = (min(c[i] for c in cost) for i in (0, 1))
        rate = f"{statistics.median(rates):.0f} | {max(rates):.0f}"
        print(f"| compact | {path.name} | {rate} | {own:.1f} + {decoder:.1f} | {share:.0f} % |", flush=True)


def rival(paths: list[Path], runs: int, teacher: Path, python: Path) -> None:
    options = [str(python), "-c", RIVAL, str(teacher), str(runs), *map(str, paths)]
    done = subprocess.run(options, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        path, rate, share, cost = line.split("\t")
        print(f"| MediaPipe | {Path(path).name} | {float(rate):.0f} | | {float(cost):.1f} | {100 * float(share):.0f} % |", flush=True)


class First:
    """The first frames of a clip."""

    def __init__(self, clip: Any, count: int) -> None:
        self.clip, self.count, self.info = clip, count, clip.info

    def frames(self) -> Iterator[Any]:
        return islice(self.clip.frames(), self.count)


def pyfeat(paths: list[Path], count: int, threads: int) -> None:
    """py-feat's Detectorv2 through our provider, with the layer sizes of its published configuration (ConvNeXt V2 tiny, 20 AUs)."""
    import huggingface_hub.constants
    import torch
    from feat.face_detectors.Retinaface.Retinaface_model import RETINAFACE_R34_CFG, RetinaFace
    from feat.multitask.model_v2 import MEGraphAUv2, ModelV2Config
    from safetensors.torch import save_file

    from emofuse.extractors.face.pyfeat_face import PyfeatFace
    from emofuse.pipeline.clip import Clip

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = ModelV2Config(
        n_au=20,
        n_emotion=7,
        n_blendshape=52,
        mesh_normalized=True,
        use_head_v3=True,
        drop_mefl=True,
        emotion_use_au_prob=True,
        pretrained=False,
    )
    random = {
        ("py-feat/retinaface_r34", "model.safetensors"): (RetinaFace(RETINAFACE_R34_CFG), {}),
        ("py-feat/face_multitask_v2", "face_multitask_v28.safetensors"): (MEGraphAUv2(config), {"config": json.dumps(asdict(config))}),
    }
    with tempfile.TemporaryDirectory() as hub:
        for (repository, name), (network, about) in random.items():
            folder = Path(hub) / f"models--{repository.replace('/', '--')}"
            (folder / "snapshots" / "0").mkdir(parents=True)
            (folder / "refs").mkdir()
            (folder / "refs" / "main").write_text("0")
            state = {key: value.contiguous() for key, value in network.state_dict().items()}
            save_file(state, folder / "snapshots" / "0" / name, metadata=about)
        huggingface_hub.constants.HF_HUB_CACHE = hub
        provider = PyfeatFace()
    detector = provider._detector
    finds = detector.face_detector

    def one_face(frames: Any) -> list[Any]:
        finds(frames)
        height, width = frames.shape[-2:]
        return [[[width * 0.3, height * 0.2, width * 0.7, height * 0.8, 0.99]] for _ in frames]

    vars(detector)["face_detector"] = one_face
    for path in paths:
        start, cpu = time.perf_counter(), processor_seconds()
        face = provider(First(Clip(path), count), {})  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
        assert len(face) == count
        print(
            f"| py-feat, random weights | {path.name}, {count} frames | {count / seconds:.1f} | | "
            f"{sum(milliseconds_since(cpu, count)):.0f} | |",
            flush=True,
        )


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
    parser.add_argument("--pyfeat-frames", type=int, default=0, help="frames of the first clip for py-feat on random weights")
    parser.add_argument("--minutes", type=float, default=0.0, help="also measure memory over a clip this long")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the run")
    print("| provider | clip | frames/s, median | best | CPU ms per frame | frames with a face |\n|---|---|---|---|---|---|")
    ours(arguments.clips, arguments.runs, arguments.threads)
    if arguments.teacher and arguments.teacher_python:
        rival(arguments.clips, arguments.runs, arguments.teacher, arguments.teacher_python)
    if arguments.pyfeat_frames:
        pyfeat(arguments.clips[:1], arguments.pyfeat_frames, arguments.threads)
    if arguments.minutes:
        memory(arguments.clips[0], arguments.minutes, arguments.threads)


if __name__ == "__main__":
    main()
