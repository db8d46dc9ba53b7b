"""The whole promise of a batch, with the real extractors and the real model: at least 160 good clips and 50 hostile ones.

    python benchmarks/batch_kills.py SCRATCH [--kills 10] [--good 160]

1. an unbroken run;  2. a run that is killed with -9 at random moments and resumed: the same bytes, timings apart, and no finished stage
again;  3. every good clip alone, in one process without workers: the same bytes as in the batch.
Prints what was compared and how it came out; exits with 1 if anything differs. Clips are pieces of our samples and, where ../shared lies
beside the checkout, of its clips.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pyarrow.parquet as pq

from emofuse.assembly import Assembly
from emofuse.options import Options
from emofuse.pipeline.batch.manifest import TIMINGS
from emofuse.writing import write_analysis

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/batch"))
import hostile  # noqa: E402

RECORD_TIMINGS = ("attempts", "seconds", "peak_memory")


def make_good(folder: Path, count: int) -> None:
    """Pieces of 1.2 s at different places, each with bytes of its own."""
    folder.mkdir(parents=True)
    shared = ROOT.parent / "shared/clips"
    sources = [(ROOT / "samples" / name, length) for name, length in (("smile.mp4", 8.6), ("late.mkv", 7.9), ("voice_only.flac", 7.8))]
    sources += [(path, 3.0) for path in sorted((shared / "grid").glob("*.*"))]
    places = [(source, at / 100) for source, length in sources for at in range(0, int((length - 1.2) * 100), 15)]
    random.Random(0).shuffle(places)
    assert len(places) >= count, f"{len(places)} pieces"
    for i, (source, at) in enumerate(places[:count]):
        target = folder / f"part {i % 7}" / f"{source.stem} {i:03}{'.wav' if source.suffix == '.flac' else '.mp4'}"
        target.parent.mkdir(exist_ok=True)
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-ss", str(at), "-i", str(source), "-t", "1.2", "-dn", str(target)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def contents(out: Path) -> dict[str, Any]:
    """Every file's hash; of what holds timings, the content without them."""
    files: dict[str, Any] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = os.fsencode(path.relative_to(out)).decode(errors="backslashreplace")
        if name == "manifest.parquet":
            files[name] = [{k: v for k, v in row.items() if k not in TIMINGS} for row in pq.read_table(path).to_pylist()]
        elif name == "manifest.csv":
            with path.open(newline="") as file:
                files[name] = [{k: v for k, v in row.items() if k not in TIMINGS} for row in csv.DictReader(file)]
        elif "/records/" in name:
            files[name] = {k: v for k, v in json.loads(path.read_text()).items() if k not in RECORD_TIMINGS}
        else:
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return files


def kept(out: Path) -> set[str]:
    return {str(p.relative_to(out)) for kind in ("streams", "answers") for p in (out / ".emofuse" / kind).rglob("*.parquet")}


def settled(out: Path) -> set[str]:
    """Clips whose record says that they are done with."""
    records = [json.loads(p.read_text()) for p in (out / ".emofuse/records").glob("*.json")]
    return {r["path"] for r in records if r["state"] in ("done", "failed")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--good", type=int, default=160)
    parser.add_argument("--alone", type=int, help="compare only so many clips with runs alone (default: all)")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    scratch = arguments.scratch
    expected = made(scratch, arguments.good)
    command = [sys.executable, "-W", "ignore", "-m", "emofuse", "analyze", str(scratch / "clips"), "--offline", "--json-lines"]
    command += ["--timeout", "600", "--workers", str(arguments.workers), "--out"]
    unbroken = scratch / "unbroken"
    if not (unbroken / "manifest.parquet").exists():
        subprocess.run([*command, str(unbroken)], stdout=(scratch / "unbroken.jsonl").open("w"), check=False)
    table = pq.read_table(unbroken / "manifest.parquet").to_pylist()
    took = sum(row["seconds"] for row in table) / arguments.workers
    rows = {os.path.relpath(r["path"], scratch / "clips"): r for r in table}
    states = Counter(r["reason"] or r["state"] for r in rows.values())
    work = f"{arguments.workers} workers, {took:.0f} s each"
    print(f"{len(rows)} clips, {len(expected)} of them hostile, {work}: {dict(states)}", flush=True)
    wrong = unexpected(expected, rows)
    differ, twice, lost = killed(scratch, command, arguments.kills, took)
    unequal = compared_alone(scratch, [*rows.values()][: arguments.alone])
    good = sum("/good/" in row["path"] and row["state"] == "done" for row in rows.values())
    sys.exit(1 if wrong or differ or twice or lost or unequal or good < arguments.good else 0)


def made(scratch: Path, good: int) -> dict[str, str]:
    """Writes the clips where they are not there yet; the hostile ones with the reason that each must fail with."""
    clips = scratch / "clips"
    if not clips.exists():
        making = scratch / "making"
        shutil.rmtree(making, ignore_errors=True)
        make_good(making / "good", good)
        (scratch / "expected.json").write_text(json.dumps(hostile.make(making / "hostile", mutations=18)))
        making.rename(clips)
    expected: dict[str, str] = json.loads((scratch / "expected.json").read_text())
    return expected


def unexpected(expected: dict[str, str], rows: dict[str, dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Hostile clips whose reason is not the expected one: name, expected, got."""
    wrong = []
    for name, reason in expected.items():
        row = rows.get(f"hostile/{name}".encode("utf-8", "backslashreplace").decode())
        got = "no row" if row is None else row["reason"] or row["state"]
        if row is None or reason not in ("any", got) or (row["state"] == "failed" and not row["message"]):
            wrong.append((name, reason, got))
    print(f"hostile clips whose reason is not the expected one: {wrong}", flush=True)
    return wrong


def killed(scratch: Path, command: list[str], kills: int, took: float) -> tuple[list[str], list[str], int]:
    """Files that differ from the unbroken run after so many kills, clips that were begun again though settled, stages that were lost."""
    unbroken, broken, log_path = scratch / "unbroken", scratch / "broken", scratch / "broken.jsonl"
    chance = random.Random(7)
    shutil.rmtree(broken, ignore_errors=True)
    twice: list[str] = []
    lost = 0
    with log_path.open("w") as log:
        for kill in range(kills + 1):
            before_clips, before_stages = settled(broken), kept(broken)
            process = subprocess.Popen([*command, str(broken)], stdout=log, stderr=subprocess.DEVNULL)
            if kill < kills:
                # Loading the models is no work: the kills shall fall into the work and leave some of it for the end.
                before = log_path.read_text().count('"started"')
                while process.poll() is None and log_path.read_text().count('"started"') == before:
                    time.sleep(0.05)
                time.sleep(chance.uniform(0, 1.6 * took / (kills + 1)))
                process.kill()
            process.wait()
            log.flush()
            lost += len(before_stages - kept(broken))
            events = [json.loads(line) for line in log_path.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
            start = max((i for i, e in enumerate(events) if e["event"] == "plan"), default=0)
            twice += [e["path"] for e in events[start:] if e["event"] == "started" and e["path"] in before_clips]
            print(f"life {kill + 1}: {len(before_clips)} clips settled and {len(before_stages)} stages kept before it", flush=True)
    first, second = contents(unbroken), contents(broken)
    differ = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    counts = f"{len(first)} files, {len(differ)} differ {differ[:5]}; begun again: {len(twice)}; lost: {lost}"
    print(f"killed and resumed: {counts}", flush=True)
    return differ, twice, lost


def compared_alone(scratch: Path, rows: list[dict[str, Any]]) -> list[str]:
    """Files of good clips that differ from those of the clip analyzed alone, in this process."""
    assembly, alone = Assembly(Options(offline=True)), scratch / "alone"
    shutil.rmtree(alone, ignore_errors=True)
    compared, unequal = 0, []
    filled: Counter[str] = Counter()
    for row in rows:
        if row["state"] != "done" or "/good/" not in row["path"]:
            continue
        analysis = assembly.analyze(row["path"])
        filled.update(name for name, stream in analysis.streams.items() if len(stream))
        write_analysis(analysis, alone / row["output"])
        for file in sorted(p for p in (alone / row["output"]).rglob("*") if p.is_file()):
            compared += 1
            if file.read_bytes() != (scratch / "unbroken" / file.relative_to(alone)).read_bytes():
                unequal.append(str(file.relative_to(alone)))
    clips = len(list(alone.iterdir()))
    print(f"alone against in the batch: {clips} clips, {compared} files: {len(unequal)} differ {unequal[:5]}", flush=True)
    print(f"of these clips so many have rows of: {dict(filled)}", flush=True)
    return unequal


if __name__ == "__main__":
    main()
