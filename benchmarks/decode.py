"""Decoding: `Clip.frames()` against PyAV's own loop over the same frames, and memory over length. Prints a table; medians of five runs.

python benchmarks/decode.py [CLIP]        (default: a 20 s test picture with sound, made with ffmpeg)
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import ffmpeg
import imageio_ffmpeg

from emofuse.pipeline.clip import Clip

RUNS = 5


def make(path: Path, seconds: int) -> Path:
    video = ffmpeg.input(f"testsrc2=size=512x512:rate=25:duration={seconds}", f="lavfi")
    sound = ffmpeg.input(f"sine=frequency=300:sample_rate=44100:duration={seconds}", f="lavfi")
    output = ffmpeg.output(video, sound, str(path), vcodec="libx264", preset="veryfast", pix_fmt="yuv420p", acodec="aac")
    output.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True, overwrite_output=True)
    return path


def ours(path: Path) -> int:
    return sum(1 for _ in Clip(path).frames())


def pyav(path: Path) -> int:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(frame.to_ndarray(format="rgb24").shape[2] == 3 for frame in container.decode(video=0))


def seconds(function, path: Path) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    function(path)
    return time.perf_counter() - start


def peak_mib(path: Path) -> float:
    """Peak resident memory of a fresh process that reads every frame and sample of a clip."""
    code = (
        "import sys, resource\nfrom emofuse.pipeline.clip import Clip\n"
        "for _ in Clip(sys.argv[1]).decode(frames=True, samples=True): pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return sum(int(x) for x in done.stdout.split()) / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(sys.argv[1]) if len(sys.argv) > 1 else make(Path(folder, "clip.mp4"), 20)
        frames = ours(clip)
        pairs = [(seconds(ours, clip), seconds(pyav, clip)) for _ in range(RUNS)]
        mine, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
        print(f"{clip.name}: {frames} frames")
        print(f"Clip.frames()      {frames / mine:8.0f} frames/s")
        print(f"PyAV's loop        {frames / theirs:8.0f} frames/s")
        print(f"ratio of times     {statistics.median(a / b for a, b in pairs):8.2f}")
        for length in (10, 60):
            print(f"peak memory, {length:3d} s {peak_mib(make(Path(folder, f'{length}.mp4'), length)):8.0f} MiB (reader and decoder)")


if __name__ == "__main__":
    main()
