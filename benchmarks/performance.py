"""`make bench`: what users feel, against what they would use instead, in one run.

    python benchmarks/performance.py [--only start decode ...] [--check] [--out benchmarks/results.json]

Prints a Markdown table, writes the numbers to results.json and two pictures to docs/pictures/. With --check it compares each ratio with
the one in results.json and ends with 1 where one has become more than a fifth worse; nothing is written then. Machines are noisy: the
tasks of a comparison take turns, ratios are what counts, and the load is printed with them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import decode as decode_benchmark
import fusion_speed
import model_growth
import numpy as np
from measure import ROOT, Row, medians, processes, talking_clip, wall

RESULTS = Path(__file__).with_name("results.json")
PICTURES = ROOT / "docs" / "pictures"
WORSE = 1.2  # a ratio this much worse than before is a regression

STREAMS = """
import json, sys, time
from pathlib import Path
def high_water():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
from emofuse.assembly import Assembly
from emofuse.options import Options
from emofuse.pipeline.profile import Profile
options = Options(offline=True, **json.loads(sys.argv[1]))
assembly = Assembly(options)
assembly.analyze(sys.argv[2])  # loads everything
loaded = high_water()
found = []
for path in sys.argv[3:]:
    profile = Profile()
    begin = time.perf_counter()
    analysis = assembly.analyze(path, profile=profile)
    found.append({"seconds": time.perf_counter() - begin, "length": analysis.facts.length, "stages": profile.stages,
                  "passes": profile.passes, "loaded": loaded, "peak": high_water()})
print(json.dumps(found))
"""


def analyzed(options: dict[str, str], *clips: Path) -> list[dict[str, object]]:
    """Facts of each clip's analysis in one fresh process, after a first clip that loads everything."""
    first = ROOT / "samples" / "smile.mp4"
    command = [sys.executable, "-c", STREAMS, json.dumps(options), str(first), *map(str, clips)]
    results: list[dict[str, object]] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    )
    return results


def start(folder: Path) -> Iterator[Row]:
    emofuse = [sys.executable, "-m", "emofuse"]
    helped = processes({"help": [*emofuse, "--help"], "python": [sys.executable, "-c", "pass"]}, 5)
    more = helped["help"].wall - helped["python"].wall
    yield Row("start", "emofuse --help", helped["help"].wall, "s", helped["python"].wall, "python -c pass, s", more, ("<=", 0.2))
    sample = ROOT / "samples" / "smile.mp4"
    analyze = [*emofuse, "analyze", str(sample), "--offline", "--out", str(folder / "out")]
    cost = processes({"analyze": analyze, "torch": [sys.executable, "-c", "import torch"]}, 3)
    ours, theirs = cost["analyze"], cost["torch"]
    name, rival = "analyze the sample (8.6 s) as a process, report written", "python -c 'import torch', s"
    yield Row("start", name, ours.wall, "s", theirs.wall, rival, ours.wall / theirs.wall, ("<=", 4))
    ratio = ours.processor / theirs.processor
    yield Row("start", "the same, processor seconds", ours.processor, "s", theirs.processor, rival, ratio, None)
    clip = talking_clip(folder, 3)
    second = float(statistics.median(float(str(facts["seconds"])) for facts in analyzed({}, clip, clip, clip)))
    yield Row("start", "a second clip of 3 s in the same process, without report", second, "s", None, "", second, ("<=", 1))


def batches(folder: Path) -> Iterator[Row]:
    import batch

    engine = 1000 * batch.overhead(folder / "engine", 60)["first"]
    yield Row("batch", "the engine's processor time per clip", engine, "ms", None, "", engine, ("<=", 50))
    one, two = batch.real(folder / "clips", 8)
    name, hourly = "clips of 8 s per hour, all streams, two workers, start included", float(str(two["clips_an_hour"]))
    yield Row("batch", name, hourly, "", 1232, "before", hourly / 1232, (">=", 2))
    faster = hourly / float(str(one["clips_an_hour"]))
    yield Row("batch", "two workers against one", faster, "times", None, "", faster, (">=", 1.7))
    again = [sys.executable, "-m", "emofuse", "analyze", str(folder / "clips" / "real"), "--offline", "--no-report", "--workers", "1"]
    finished = [*again, "--out", str(folder / "clips" / "real 1")]
    cost = processes({"again": finished, "torch": [sys.executable, "-c", "import torch"]}, 3)
    ratio = cost["again"].processor / cost["torch"].processor
    name, rival = "the finished batch again, processor seconds", "python -c 'import torch', s"
    yield Row("batch", name, cost["again"].processor, "s", cost["torch"].processor, rival, ratio, ("<=", 1))


def pipeline(folder: Path) -> Iterator[Row]:
    clip = talking_clip(folder, 20)
    for what, options, target in (("without the recogniser", {"words": "none"}, 4), ("with it", {}, 2)):
        runs = sorted(analyzed(options, clip, clip, clip), key=lambda facts: float(str(facts["seconds"])))
        facts = runs[1]
        speed = facts["length"] / facts["seconds"]  # type: ignore[operator]
        floor = f"decoded {facts['passes']} time"
        name = f"20 s at 512x512 and 25 frames per second, {what}"
        yield Row("pipeline", name, facts["seconds"], "s", facts["length"], "s of clip", speed, (">=", target), floor)  # type: ignore[arg-type]
        alone = max(slowest_alone(options, stream, clip) for stream in ("face", "voice", *(["words"] if not options else [])))
        extracted = extraction_seconds(facts["stages"])  # type: ignore[arg-type]
        yield Row("pipeline", f"extraction {what}", extracted, "s", alone, "slowest extractor alone, s", extracted / alone, ("<=", 1.25))
    draw_overlap(facts["stages"], PICTURES / "performance_overlap.png")  # type: ignore[arg-type]


def extraction_seconds(stages: dict[str, tuple[float, float]]) -> float:
    own = [span for name, span in stages.items() if name in ("words", "text", "face", "voice")]
    return max(end for _, end in own) - min(start for start, _ in own)


def slowest_alone(options: dict[str, str], stream: str, clip: Path) -> float:
    """Seconds of one stream's extraction with no other beside it."""
    kept = {stream, "text"} if stream == "words" else {stream}  # words alone are nothing that a model reads
    others = {name: "none" for name in ("words", "text", "face", "voice") if name not in kept}
    stages = analyzed(options | others, clip)[0]["stages"]
    start, end = stages[stream]  # type: ignore[index]
    return float(end - start)


def memory(folder: Path) -> Iterator[Row]:
    clips = [talking_clip(folder, seconds, 256) for seconds in (20, 180)]
    short, long = (analyzed({"words": "none"}, clip)[0] for clip in clips)
    above = (long["peak"] - long["loaded"]) / 2**20  # type: ignore[operator]
    rival = (short["peak"] - short["loaded"]) / 2**20  # type: ignore[operator]
    yield Row("memory", "peak above the loaded weights, 3 minutes", above, "GiB", rival, "20 s, GiB", above, ("<=", 1.5))


def decoding(folder: Path) -> Iterator[Row]:
    clip = decode_benchmark.make(folder / "decode.mp4", 20)
    seconds = medians({"ours": lambda: decode_benchmark.ours(clip), "PyAV": lambda: decode_benchmark.pyav(clip)}, 5)
    ratio = seconds["ours"] / seconds["PyAV"]
    floor = "0.15 s of ours is the start of the decoding process"
    yield Row("decode", "500 frames of 512x512", seconds["ours"], "s", seconds["PyAV"], "PyAV's own loop, s", ratio, ("<=", 1.3), floor)


def fusion(folder: Path) -> Iterator[Row]:
    yield from fusion_speed.rows()
    yield from model_growth.rows(PICTURES / "performance_growth.png")


def voice(folder: Path) -> Iterator[Row]:
    import covarep as covarep_benchmark
    import librosa
    import soundfile

    from emofuse.extractors.voice.covarep.voice import CovarepCompatVoice, CovarepVoice

    signal = np.resize(soundfile.read(ROOT / "samples" / "voice_only.flac", dtype="float32")[0], 30 * 16000)
    clip = covarep_benchmark.Sounding(signal)
    settings = {"sr": 16000, "fmin": 50, "fmax": 500, "frame_length": 1024, "hop_length": 160}
    tasks: dict[str, Callable[[], object]] = {
        "covarep": lambda: CovarepVoice()(clip, {}),
        "covarep-compat": lambda: CovarepCompatVoice()(clip, {}),
        "pYIN": lambda: librosa.pyin(signal, **settings),
    }
    for task in tasks.values():
        task()
    seconds = medians(tasks, 3, time.process_time)
    for name, target in (("covarep", 0.05), ("covarep-compat", 0.1)):
        cost = seconds[name] / 30
        yield Row(
            "voice", f"{name}, processor s per second of sound", cost, "s", seconds["pYIN"] / 30, "librosa pYIN, s", cost, ("<=", target)
        )


def faces(folder: Path) -> Iterator[Row]:
    from emofuse.extractors.face.compact.extractor import Compact
    from emofuse.pipeline.clip import Clip

    clip = talking_clip(folder, 20)
    provider = Compact()
    provider(Clip(clip), {})
    seconds = statistics.median(wall(lambda: provider(Clip(clip), {})) for _ in range(3))
    alone = statistics.median(wall(lambda: decode_benchmark.ours(clip)) for _ in range(3))
    rate = 500 / seconds
    floor = "MediaPipe, in an environment of its own: docs/faces.md"
    yield Row("faces", "compact, file to stream at 512x512", rate, "frames/s", 500 / alone, "decoding alone", rate, (">=", 300), floor)


def draw_overlap(stages: dict[str, tuple[float, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 2.6), layout="constrained")
    ordered = sorted(stages.items(), key=lambda item: item[1], reverse=True)
    for y, (_, (begin, end)) in enumerate(ordered):
        axes.barh(y, end - begin, left=begin, color="#0072b2", height=0.6)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    axes.set_xlabel("seconds since the clip was opened (20 s of 512x512 video, models loaded)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


AREAS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "start": start,
    "batch": batches,
    "pipeline": pipeline,
    "memory": memory,
    "decode": decoding,
    "fusion": fusion,
    "voice": voice,
    "faces": faces,
}


def machine() -> dict[str, object]:
    import torch

    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    load = round(os.getloadavg()[0], 1)
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "torch": torch.__version__,
        "load": load,
    }


def worse(rows: Sequence[Row], before: dict[str, dict[str, object]]) -> list[str]:
    """A line for each ratio that is more than a fifth worse than it was."""
    slower = []
    for row in rows:
        old = before.get(row.what)
        if old is None or row.target is None or math.isnan(row.ratio):
            continue
        was = float(str(old["ratio"]))
        if row.ratio > was * WORSE if row.target[0] == "<=" else row.ratio < was / WORSE:
            slower.append(f"{row.what}: {row.ratio:.2f}, was {was:.2f} (wanted {row.target[0]} {row.target[1]:g})")
    return slower


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(AREAS), default=list(AREAS))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    began = time.time()
    rows: list[Row] = []
    print("| what | ours | against | ratio | target | met | floor and remarks |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for area in options.only:
            for row in AREAS[area](Path(folder)):
                rows.append(row)
                print(row.line(), flush=True)
    facts = machine() | {"seconds": round(time.time() - began)}
    print(f"\n{facts}")
    if options.check:
        before = json.loads(options.out.read_text(encoding="utf-8"))
        slower = worse(rows, {row["what"]: row for row in before["rows"]})
        print("\n".join(slower) or "no ratio is more than a fifth worse than before")
        sys.exit(1 if slower else 0)
    kept = []
    if options.out.exists():  # areas that were not measured now keep what they had
        kept = [row for row in json.loads(options.out.read_text(encoding="utf-8"))["rows"] if row["area"] not in options.only]
    document = {"machine": facts, "rows": kept + [row.document() for row in rows]}
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
