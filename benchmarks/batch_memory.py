"""Peak memory and processor time over a clip's length: one worker's work on a sample clip that is repeated, its pictures not encoded again.

    python benchmarks/batch_memory.py SCRATCH 3 30 180 [--words none --face none ...] [--formats csv,eaf] >> benchmarks/memory.jsonl
    python benchmarks/batch_memory_picture.py benchmarks/memory.jsonl docs/pictures/memory.png

Each length runs in a process of its own. It does the sample first, so that what loading takes is not counted, and then the clip: streams,
fusion, tables and the report page. It prints the peak of its resident memory (files that it reads mapped are counted, the decoding process
is not), processor seconds with the decoding process's, and the wall seconds of each stage. The table goes to stdout as lines of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "samples/smile.mp4"

ONE = """
import json, resource, sys
from pathlib import Path
from emofuse.batch import AssemblySetup, Job
from emofuse.options import Options
from emofuse.pipeline.batch.stages import Stages, peak_memory, forget_peak
from emofuse.pipeline.batch.store import LocalStore
from emofuse.pipeline.batch.task import Task, task_id
from emofuse import __version__
clip, warm, out, options = sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])
def cpu():
    a, b = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return a.ru_utime + a.ru_stime + b.ru_utime + b.ru_stime
writing = {"report": True, "formats": options.pop("formats")}
stages = Stages(AssemblySetup(Job(Options(offline=True, **options), writing)), LocalStore(out), version=__version__)
stages.run(Task(task_id(warm), warm, "warm"))
before = peak_memory()
begin = cpu()
outcome = stages.run(Task(task_id(clip), clip, "clip"))
r = outcome.record
print(json.dumps({"state": r.state, "message": r.message, "length": r.length, "peak": r.peak_memory, "warm": before,
                  "cpu": cpu() - begin, "seconds": dict(r.seconds)}))
"""


def loop(minutes: float, folder: Path) -> Path:
    """The sample, again and again, in a form that browsers play: for the report no film has to be made of it."""
    target = folder / f"{minutes:g} min.mp4"
    if not target.exists():
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-stream_loop", "-1", "-i", str(SAMPLE), "-t", str(60 * minutes)]
        subprocess.run([*command, "-c:v", "copy", "-c:a", "aac", str(target)], check=True, stdin=subprocess.DEVNULL)
    return target


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("minutes", type=float, nargs="+")
    for stream in ("words", "text", "face", "voice"):
        parser.add_argument(f"--{stream}", default="auto")
    parser.add_argument("--formats", default="")
    arguments = parser.parse_args()
    formats = [name for name in arguments.formats.split(",") if name]
    options = {stream: getattr(arguments, stream) for stream in ("words", "text", "face", "voice")}
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    for minutes in arguments.minutes:
        clip = loop(minutes, arguments.scratch)
        out = arguments.scratch / "out"
        subprocess.run(["rm", "-rf", str(out)], check=True)
        asked = json.dumps({**options, "formats": formats})
        command = [sys.executable, "-W", "ignore", "-c", ONE, str(clip), str(SAMPLE), str(out), asked]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        print(json.dumps({"minutes": minutes, **options, "formats": formats, **json.loads(done.stdout.splitlines()[-1])}), flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
