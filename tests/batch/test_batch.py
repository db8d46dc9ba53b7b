"""A batch on light stand-ins: what is done is not done again, what goes wrong costs one clip, and what is there is whole."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from emofuse.pipeline.batch.local import Allowance
from emofuse.pipeline.batch.manifest import SCHEMA, TIMINGS
from emofuse.pipeline.batch.run import BatchOptions
from emofuse.pipeline.batch.store import LocalStore, read_records
from emofuse.pipeline.formats.tables import unsafe_text

WORDS = ("alpha", "be", "gamma", "delta", "epsilon", "be", "eta", "theta", "iota", "kappa")


def make_clips(folder: Path, n: int) -> None:
    folder.mkdir(parents=True)
    for i in range(n):
        (folder / f"clip{i:03}.mp4").write_text("fine " + " ".join(WORDS[j % len(WORDS)] * (1 + i % 3) for j in range(i, i + 4)) + f" {i}")


def job(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"log": str(tmp_path / "log"), "pause": 0.0, **more}


def stages(tmp_path: Path) -> Counter[str]:
    """How often each stage began, and the log begins anew."""
    log = tmp_path / "log"
    counts = Counter(line.split("\t")[0] for line in log.read_text().splitlines()) if log.exists() else Counter[str]()
    log.unlink(missing_ok=True)
    return counts


def manifest(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "manifest.parquet").to_pylist()
    return rows


def contents(out: Path) -> dict[str, Any]:
    """Every file's hash; of what holds timings, the content without them."""
    files: dict[str, Any] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = path.relative_to(out).as_posix()
        if name == "manifest.parquet":
            files[name] = [{k: v for k, v in row.items() if k not in TIMINGS} for row in manifest(out)]
        elif name == "manifest.csv":
            with path.open(newline="") as file:
                files[name] = [{k: v for k, v in row.items() if k not in TIMINGS} for row in csv.DictReader(file)]
        elif "/records/" in name:
            record = json.loads(path.read_text())
            files[name] = {k: v for k, v in record.items() if k not in ("attempts", "seconds", "peak_memory")}
        else:
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return files


def test_a_rerun_does_nothing_and_changes_nothing(light: ModuleType, tmp_path: Path) -> None:
    make_clips(tmp_path / "clips", 4)
    totals, events = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    assert (totals.done, totals.failed, totals.clips) == (4, 0, 4)
    assert stages(tmp_path) == {"words": 4, "text": 4, "voice": 4, "fusion": 4, "write": 4}
    assert [e for e, _ in events if e in ("plan", "end")] == ["plan", "end"]
    before = contents(tmp_path / "out")
    totals, _ = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    assert (totals.done, totals.kept) == (0, 4)
    assert not stages(tmp_path)
    assert contents(tmp_path / "out") == before
    assert not list((tmp_path / "out/.emofuse").glob("tmp/*"))

    # Another model reads the streams that are there.
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path, model="other"))
    assert stages(tmp_path) == {"fusion": 4, "write": 4}
    # Another option of one stream makes that stream again and no other.
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path, gain=2.0))
    assert stages(tmp_path) == {"voice": 4, "fusion": 4, "write": 4}
    # Back to what was: nothing is computed, the results are written, byte for byte what they were.
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    assert stages(tmp_path) == {"write": 4}
    after = contents(tmp_path / "out")
    assert {k: v for k, v in after.items() if not k.startswith(".emofuse")} == {
        k: v for k, v in before.items() if not k.startswith(".emofuse")
    }

    # A renamed clip costs a write; a changed one its own stages; a new one joins.
    (tmp_path / "clips/clip001.mp4").rename(tmp_path / "clips/renamed.mp4")
    (tmp_path / "clips/clip002.mp4").write_text("fine changed words here")
    (tmp_path / "clips/clip009.mp4").write_text("fine and new")
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    assert stages(tmp_path) == {"words": 2, "text": 2, "voice": 2, "fusion": 2, "write": 3}
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir() and not p.name.startswith(".")) == [
        *("clip000", "clip002", "clip003", "clip009", "renamed")
    ]
    assert json.loads((tmp_path / "out/renamed/analysis.json").read_text())["clip"]["name"] == "renamed.mp4"
    # --force asks nobody.
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path), BatchOptions(force=True))
    assert stages(tmp_path) == {"words": 5, "text": 5, "voice": 5, "fusion": 5, "write": 5}


def test_what_goes_wrong_costs_one_clip_and_has_a_reason(light: ModuleType, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    make_clips(clips, 4)
    for name in ("crash", "hang", "eat", "bug", "broken", "killed"):
        (clips / f"bad {name}.mp4").write_text(name)
    (clips / "list.mp4").write_text("#EXTM3U\nhttp://127.0.0.1/a.ts\n")
    allowance = Allowance(seconds_base=12.0, seconds_factor=0.0, memory=400 << 20)  # a good clip takes a second on a loaded machine
    totals, _ = light.batch(clips, tmp_path / "out", job(tmp_path), workers=2, allowance=allowance)
    assert (totals.clips, totals.done, totals.failed) == (11, 4, 7)
    rows = {row["name"]: row for row in manifest(tmp_path / "out")}
    assert {name: row["reason"] for name, row in rows.items() if row["state"] == "failed"} == {
        "bad crash.mp4": "worker_crashed",
        "bad hang.mp4": "timed_out",
        "bad eat.mp4": "out_of_memory",
        "bad killed.mp4": "out_of_memory",
        "bad bug.mp4": "internal_error",
        "bad broken.mp4": "not_media",
        "list.mp4": "not_media",
    }
    assert all(row["message"] and row["name"] in row["message"] for row in rows.values() if row["state"] == "failed")
    assert "signal 11" in rows["bad crash.mp4"]["message"]
    (crash,) = (tmp_path / "out/.emofuse/crashes").iterdir()
    assert "KeyError" in crash.read_text()
    stages(tmp_path)

    # The good ones' bytes are those of a run alone.
    for name in ("clip000", "clip003"):
        alone = tmp_path / "alone" / name
        light.batch(clips / f"{name}.mp4", alone, job(tmp_path))
        files = {p.relative_to(alone): p.read_bytes() for p in (alone / name).rglob("*") if p.is_file()}
        assert len(files) >= 6
        assert files == {p: (tmp_path / "out" / p).read_bytes() for p in files}
    stages(tmp_path)

    # What failed is left alone unless asked for, and counts as failed all the same.
    totals, _ = light.batch(clips, tmp_path / "out", job(tmp_path), workers=1)
    assert (totals.kept, totals.failed) == (4, 7) and not stages(tmp_path)
    (clips / "bad hang.mp4").unlink()
    (clips / "bad eat.mp4").unlink()
    light.batch(clips, tmp_path / "out", job(tmp_path), BatchOptions(retry_failed=True), workers=1)
    assert stages(tmp_path)["voice"] == 4, "crash, bug, and killed twice: a worker killed from outside is no proof against its clip"
    assert {row["name"]: row["attempts"] for row in manifest(tmp_path / "out")}["bad crash.mp4"] == 2


def test_loading_models_is_not_the_clips_time(light: ModuleType, tmp_path: Path) -> None:
    make_clips(tmp_path / "clips", 2)
    allowance = Allowance(seconds_base=3.0, seconds_factor=0.0, stall_base=3.0)
    totals, events = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path, loading=5.0), workers=1, allowance=allowance)
    assert totals.done == 2 and "worker" not in {name for name, _ in events}


def test_limit_shards_and_a_look(light: ModuleType, tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    make_clips(clips, 7)
    totals, events = light.batch(clips, out, job(tmp_path), BatchOptions(dry_run=True))
    assert {f["plan"] for e, f in events if e == "outcome"} == {"new: to extract words, text, voice"}
    assert not out.exists() and not stages(tmp_path), "a look leaves no trace"
    totals, _ = light.batch(clips, out, job(tmp_path), BatchOptions(limit=2))
    assert (totals.done, totals.waiting) == (2, 5)
    assert Counter(row["state"] for row in manifest(out)) == {"done": 2, "waiting": 5}
    totals, _ = light.batch(clips, out, job(tmp_path), BatchOptions(limit=2))
    assert (totals.done, totals.kept) == (2, 2), "the limit counts what is begun, not what is there"
    done = [light.batch(clips, out, job(tmp_path), BatchOptions(shard=(i, 3)))[0] for i in (1, 2, 3)]
    assert sum(t.clips for t in done) == 7 and sum(t.done for t in done) == 3
    assert all(row["state"] == "done" for row in manifest(out)), "each shard's manifest shows all"
    light.batch(clips, tmp_path / "whole", job(tmp_path))
    assert contents(out) == contents(tmp_path / "whole"), "in parts or at once, the same"


def test_stopping_finishes_what_is_in_hand(light: ModuleType, tmp_path: Path) -> None:
    make_clips(tmp_path / "clips", 5)

    def stopping() -> bool:
        return (tmp_path / "log").exists()

    totals, _ = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path, pause=0.1), workers=1, stopping=stopping)
    assert totals.stopped and totals.done == 1 and totals.waiting == 4
    assert Counter(row["state"] for row in manifest(tmp_path / "out")) == {"done": 1, "waiting": 4}


def test_two_clips_of_one_name_and_one_content(light: ModuleType, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    for place in ("a/x.mp4", "b/x.mkv", "c/X.mp4", "c/manifest.csv.mp4", f"d/{'n' * 240}.mp4"):
        (clips / place).parent.mkdir(parents=True, exist_ok=True)
        (clips / place).write_text("fine same content")
    light.batch(clips, tmp_path / "out", job(tmp_path))
    assert stages(tmp_path)["voice"] == 1, "one content is extracted once"
    outputs = {row["name"]: row["output"] for row in manifest(tmp_path / "out")}
    assert outputs == {
        **{"x.mp4": "x", "x.mkv": "x-2", "X.mp4": "X-3", "manifest.csv.mp4": "manifest.csv-2"},
        f"{'n' * 240}.mp4": "n" * 200,
    }
    for name, output in outputs.items():
        assert json.loads((tmp_path / "out" / output / "analysis.json").read_text())["clip"]["name"] == name


def test_the_manifest_and_the_joined_emotions_say_the_same_in_both_forms(light: ModuleType, tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    make_clips(clips, 3)
    (clips / "=cmd|calc.mp4").write_text("fine =SUM(A1) words")
    (clips / "-2+3.mp4").write_text("broken")
    light.batch(clips, out, job(tmp_path))
    assert '"name":"=cmd|calc.mp4"' in (out / "index.html").read_text(encoding="utf-8")
    with (out / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == SCHEMA.names
    assert [row["path"] for row in rows] == sorted(row["path"] for row in manifest(out))
    assert {row["name"] for row in rows} >= {"'=cmd|calc.mp4", "'-2+3.mp4"}, "no cell opens with what a spreadsheet would run"
    assert not [c for row in rows for c in row.values() if c.startswith(("=", "+", "@", "\t", "-"))]
    joined = pq.read_table(out / "emotions.parquet").to_pylist()
    with (out / "emotions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(joined) == len(lines) == sum((row["utterances"] or 0) + 1 for row in manifest(out) if row["state"] == "done")
    assert not [c for row in lines for c in row.values() if c.startswith(("=", "+", "@", "\t", "-"))]
    for row in joined:
        with (out / row["output"] / "emotions.csv").open(newline="") as file:
            alone = {r["utterance"]: r for r in csv.DictReader(file)}
        one = alone["clip" if row["utterance"] is None else str(row["utterance"])]
        assert float(one["happiness"]) == pytest.approx(row["happiness"], abs=1e-6)
        assert float(one["start"]) == row["start"] and float(one["end"]) == row["end"]
        assert (row["text"], row["flags"]) == (unsafe_text(one["text"]), one["flags"]), "the clip's row too: a filter on flags finds it"


def kept_stages(out: Path) -> set[Path]:
    return {p for kind in ("streams", "answers", "baselines") for p in (out / ".emofuse" / kind).rglob("*.[pj]*")}


def kill_and_resume(light: ModuleType, tmp_path: Path, clips: int, kills: int, seed: int, **more: Any) -> None:
    """The whole promise: killed at random moments and resumed, the folder is the unbroken run's, and no finished stage ran twice."""
    chance = random.Random(seed)
    make_clips(tmp_path / "clips", clips)
    (tmp_path / "clips/bad.mp4").write_text("broken")
    light.batch(tmp_path / "clips", tmp_path / "unbroken", job(tmp_path, **more))
    stages(tmp_path)
    out, work = tmp_path / "out", job(tmp_path, pause=0.02, **more)
    command = [sys.executable, "-P", light.__file__, "batch", str(tmp_path / "clips"), str(out), json.dumps(work)]
    twice: list[str] = []
    log = tmp_path / "log"
    for _ in range(kills):
        finished = {r.path: r for r in read_records(LocalStore(out)) if r.state in ("done", "failed")}
        streams = kept_stages(out)
        before = log.read_text().splitlines() if log.exists() else []
        process = subprocess.Popen(command, start_new_session=True)
        deadline = time.monotonic() + 30
        while (
            (len(log.read_text().splitlines()) if log.exists() else 0) == len(before)
            and process.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(0.005)  # so that every life gets to work
        time.sleep(chance.uniform(0, 0.4))
        children = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True).stdout.split()
        process.kill()
        process.wait()
        for child in children:  # half of the time the workers die in the same moment, else they notice
            if chance.random() < 0.5:
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
        for child in children:
            while Path(f"/proc/{child}").exists():
                time.sleep(0.005)
        new = log.read_text().splitlines()[len(before) :] if log.exists() else []
        twice += [line for line in new if any(Path(p).name == line.split("\t")[1] for p in finished)]
        assert streams <= kept_stages(out), "what was kept stays"
        for record in read_records(LocalStore(out)):
            if record.state == "done":
                assert len(list((out / record.output).rglob("*.*"))) >= 7, "a finished clip is whole"
    light.batch(tmp_path / "clips", out, work)
    assert not twice
    assert contents(out) == contents(tmp_path / "unbroken")
    begun = Counter(log.read_text().splitlines())
    # A stage may begin again only if it was killed before its end: at most one per worker and kill.
    again = sum(count - 1 for line, count in begun.items() if line.split("\t")[0] in ("words", "text", "voice", "baseline", "fusion"))
    assert again <= 3 * 2 * kills, "three streams of two workers' clips were in hand at each kill"


def test_killed_and_resumed_it_ends_as_if_nothing_had_happened(light: ModuleType, tmp_path: Path) -> None:
    kill_and_resume(light, tmp_path, clips=12, kills=2, seed=1)


def test_killed_with_people_s_clips_waiting_for_each_other_it_ends_as_if_nothing_had_happened(light: ModuleType, tmp_path: Path) -> None:
    kill_and_resume(light, tmp_path, clips=12, kills=3, seed=3, people=r"name:clip0(\d)")


@pytest.mark.slow
def test_killed_ten_times_it_ends_as_if_nothing_had_happened(light: ModuleType, tmp_path: Path) -> None:
    kill_and_resume(light, tmp_path, clips=80, kills=10, seed=2)


def test_results_of_one_clip_that_were_there_before_are_taken_over(light: ModuleType, tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    make_clips(clips, 1)
    (out / "clip000").mkdir(parents=True)
    (out / "clip000/thesis.txt").write_text("not ours")
    light.batch(clips, out, job(tmp_path))
    assert (out / "clip000/thesis.txt").exists() and (out / "clip000-2/analysis.json").exists()
    shutil.rmtree(out / "clip000-2")
    light.batch(clips, out, job(tmp_path))
    assert (out / "clip000-2/analysis.json").exists(), "a result that somebody removed is written again"
