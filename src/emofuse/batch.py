"""Many clips with the extractors and the model that `Options` choose: what `emofuse analyze FOLDER` calls.

>>> run(["recordings"], Path("results"), Options(offline=True), workers=2)  # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from emofuse import __version__
from emofuse.extractors import Request
from emofuse.pipeline.batch.codec import decode, encode
from emofuse.pipeline.batch.discovery import discover
from emofuse.pipeline.batch.local import Allowance, LocalEngine
from emofuse.pipeline.batch.run import Engine, Order, Totals, run_batch
from emofuse.pipeline.batch.store import LocalStore
from emofuse.pipeline.clip import Clip, Limits
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.extraction import Extraction
from emofuse.pipeline.ports import Analysis, Extractor
from emofuse.pipeline.results import fill_analysis
from emofuse.pipeline.shared_pass import Progress
from emofuse.pipeline.timed import Provenance

from .assembly import Assembly, Options

# What may differ between two runs without changing a result. All else that can be asked for is part of the key.
NOT_IN_THE_KEY = frozenset({"offline"})
WORKER_MEMORY = 3 << 30  # what a worker is taken to need when their number is chosen: models 1 GB, a clip, its decoding


@dataclass(frozen=True)
class Job:
    """All that a worker must know to make a result, as one value: its JSON goes to the worker and, but for a few names, into the key.

    options   who makes the streams, which model reads them
    writing   keyword arguments of `fill_analysis`: which files a result folder gets
    """

    options: Options = field(default_factory=Options)
    writing: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(encode(self), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Job:
        return decode(cls, json.loads(text))


class AssemblySetup:
    """`pipeline.batch.stages.Setup` by an `Assembly`. Loads the model when it is made; extractors with the first clip."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._assembly = Assembly(job.options)
        self.limits = job.options.limits or Limits()
        _ = self._assembly.choices

    @property
    def configuration(self) -> Mapping[str, Any]:
        return {**_known({**encode(self._job.options), "device": self._assembly.device}), "writing": encode(self._job.writing)}

    @cached_property
    def requests(self) -> Mapping[str, Any]:
        """Stream -> provider and `Request`. A file's place is left out: its name and content are in the provenance."""
        found: dict[str, Any] = {}
        for stream, choice in self._assembly.choices.items():
            if choice.provider is not None:
                request: Request = self._assembly.request(choice)
                asked = {**_known(asdict(request)), **({"argument": None} if choice.provider in ("transcript", "file") else {})}
                found[stream] = {"provider": choice.provider, **asked}
        return found

    @property
    def model(self) -> Provenance:
        return self._assembly.model.provenance

    def extractors(self, clip: Path) -> Sequence[Extractor]:
        return self._assembly.extractors(clip)

    def read(self, clip: Clip, extraction: Extraction, progress: Progress | None) -> Analysis:
        return self._assembly.read(clip, extraction, progress)

    def write(self, analysis: Analysis, folder: Path, home: Path | None) -> None:
        fill_analysis(analysis, folder, version=__version__, home=home, **self._job.writing)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in NOT_IN_THE_KEY}


def local_engine(job: Job, out: Path, *, workers: int | None, seconds: float | None, memory: int | None) -> LocalEngine:
    """Worker processes on this machine; None lets the machine decide: a worker a core as far as memory goes, on a GPU one.

    seconds  wall seconds that a clip may take, whatever its length;  memory: bytes that a worker may use
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    available = free_memory()
    if workers is None:
        on_gpu = Assembly(job.options).device != "cpu"
        workers = 1 if on_gpu else max(1, min(cores, available // WORKER_MEMORY))
    allowance = Allowance(memory=memory or max(2 << 30, int(0.9 * available / workers)))
    if seconds is not None:
        allowance = replace(allowance, seconds_base=seconds, seconds_factor=0.0)
    return LocalEngine(worker_command(job, out), workers=workers, threads=max(1, cores // workers), allowance=allowance)


def worker_command(job: Job, out: Path) -> list[str]:
    # -P: a file named av.py in the folder that emofuse is called from must not be imported.
    return [sys.executable, "-P", "-m", "emofuse.worker", str(out.absolute()), job.to_json()]


def free_memory() -> int:
    """Bytes that programs may still take; all of the machine's where it does not say (outside Linux)."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def run(
    paths: Sequence[str | os.PathLike[str]],
    out: Path,
    job: Job,
    *,
    order: Order | None = None,
    workers: int | None = None,
    seconds: float | None = None,
    memory: int | None = None,
    follow_links: bool = False,
    engine: Engine | None = None,
    notice: Callable[[str, Mapping[str, Any]], None] = lambda event, facts: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Totals:
    """Analyse every clip under `paths` into `out`, as docs/batch.md describes; raises `UsageError` where there is no clip at all.

    notice    called with plan, started, probed, progress, outcome, worker, end and their facts
    stopping  once it is true, nothing new is begun
    """
    order = order or Order()
    found = discover([Path(p) for p in paths], out=out, follow_links=follow_links)
    for path, reason in found.problems:
        notice("problem", {"path": path, "reason": reason})
    if not found.clips:
        raise UsageError("no clip in what was named")
    store = LocalStore(out)
    try:
        engine = engine or local_engine(job, out, workers=1 if order.look else workers, seconds=seconds, memory=memory)
        return run_batch(found, store, engine, order, notice, stopping)
    finally:
        store.close()
