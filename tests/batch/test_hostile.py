"""Files that mean harm, through discovery, decoding process and stages: each ends with its reason, and nothing else happens."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from emofuse.pipeline.batch.discovery import discover
from emofuse.pipeline.batch.local import plausible_length
from emofuse.pipeline.batch.run import BatchOptions, run_batch
from emofuse.pipeline.batch.stages import Stages
from emofuse.pipeline.batch.store import LocalStore, read_records
from emofuse.pipeline.batch.task import REASONS, Record
from emofuse.pipeline.hashing import FileState


@dataclass(frozen=True)
class Media:
    """An extractor that reads all frames and all sound, and counts."""

    light: ModuleType

    def extractors(self, clip: Path) -> list[Any]:
        return [Reader("voice", frozenset({"audio"})), Reader("face", frozenset({"video"}))]


class Reader:
    columns: tuple[str, ...] = ("start",)
    needs: tuple[str, ...] = ()
    name = "reader"

    def __init__(self, stream: str, media: frozenset[str]) -> None:
        from emofuse.pipeline.timed import Provenance

        self.stream, self.media = stream, media
        self.provenance = Provenance("reader", "1")

    def __call__(self, clip: Any, upstream: Any) -> Any:
        import numpy as np

        from emofuse.pipeline.timed import TimedSequence

        items = clip.frames() if self.stream == "face" else clip.samples()
        rows = np.array([(item.start, item.end) for item in items], np.float64).reshape(-1, 2)
        values = rows[:, :1].astype(np.float32)
        return TimedSequence(
            self.stream, self.columns, values, rows[:, 0], rows[:, 1], self.provenance, reason="" if len(rows) else "nothing"
        )


@pytest.fixture
def stages_of(light: ModuleType, tmp_path: Path) -> Any:
    """Stages over real decoding and light everything else."""
    base: Any = light.LightSetup

    class Setup(base):  # type: ignore[misc]
        def extractors(self, clip: Path) -> Sequence[Any]:
            return Media(light).extractors(clip)

        def fuse(self, clip: Any, extraction: Any, progress: Any, sums: Any = None) -> Any:
            from emofuse.pipeline.attention.fuse import fuse

            return fuse(clip, extraction, Silent())

    return lambda store: Stages(Setup({"log": str(tmp_path / "log"), "pause": 0.0}), store, version="light")


class Silent:
    """A model that wants nothing and so is never asked."""

    name = "silent"

    def __init__(self) -> None:
        from emofuse.pipeline.timed import Provenance

        self.wants: dict[str, tuple[str, ...]] = {}
        self.provenance = Provenance("silent", "1")

    def predict(self, utterances: Sequence[Any], *, attention: bool = True) -> list[Any]:
        raise AssertionError("asked although it reads nothing")


@dataclass(frozen=True)
class SideBySide:
    """An engine of threads: most of the time is spent waiting for decoding processes."""

    stages: Stages

    def run(self, tasks: Any, tell: Any, stopping: Any) -> Iterator[Any]:
        from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

        running: set[Any] = set()
        with ThreadPoolExecutor(4) as pool:
            for task in tasks:  # None: the next one waits for what is out
                if task is not None:
                    running.add(pool.submit(self.stages.run, task))
                if running and (task is None or len(running) >= 4):
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)


def go(hostile: ModuleType, stages_of: Any, tmp_path: Path, keep: Any) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    expected = {name: reason for name, reason in hostile.make(clips).items() if keep(name)}
    for path in sorted(clips.rglob("*")):
        if not path.is_dir() and os.path.relpath(path, clips) not in expected:
            path.unlink()
    assert len(expected) >= 15
    before = {p: p.stat().st_mtime_ns for p in clips.rglob("*") if p.is_file() and not p.is_symlink()}
    threads = threading.active_count()
    store = LocalStore(out)
    run_batch(discover([clips]), store, SideBySide(stages_of(store)), BatchOptions(), lambda event: None)
    store.close()
    records = {os.path.relpath(r.path, clips): r for r in read_records(LocalStore(out))}
    wrong = {
        name: (reason, records.get(name))
        for name, reason in expected.items()
        if name not in records or reason not in ("any", records[name].reason or records[name].state)
    }
    assert not wrong
    for record in records.values():
        assert record.state == "done" or (record.reason in REASONS and record.reason != "internal_error" and record.message)
    assert {p: p.stat().st_mtime_ns for p in before} == before, "no clip was touched"
    assert not list(tmp_path.rglob("hacked*")) and not Path("/tmp/emofuse-was-here").exists() and not Path("hacked").exists()
    folders = {p.name for p in out.iterdir() if p.is_dir()} - {".emofuse"}
    assert {r.output for r in records.values() if r.state == "done"} == folders, "and every folder is somebody's"
    assert threading.active_count() == threads


def test_links_claims_and_names(hostile: ModuleType, stages_of: Any, tmp_path: Path) -> None:
    words = ("x15000", "hours", "fps", "outside", "device", "pipe", "list", "concat", "dash", "touch", "caf", "up", "fast", "program")
    go(hostile, stages_of, tmp_path, lambda name: any(word in name for word in words))


@pytest.mark.slow
def test_every_hostile_file_gets_its_reason(hostile: ModuleType, stages_of: Any, tmp_path: Path) -> None:
    go(hostile, stages_of, tmp_path, lambda name: True)


def test_a_header_that_claims_ten_hours_buys_no_time() -> None:
    small = Record("", "", "", "running", file=FileState(200_000, 0))
    assert plausible_length(36_000.0, small) == 800.0
    assert plausible_length(3.0, small) == 3.0
    assert plausible_length(None, small) == 800.0 and plausible_length(None, None) == 0.0
