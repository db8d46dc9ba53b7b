"""Many clips with the extractors and the model that `Options` choose: what `emofuse analyze FOLDER` and `emofuse.analyze_folder` call."""

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
from emofuse.pipeline.batch.discovery import Discovery, discover
from emofuse.pipeline.batch.events import Listener, Problem, Remarked, Totals, ignore
from emofuse.pipeline.batch.local import Allowance, LocalEngine
from emofuse.pipeline.batch.people import assigned
from emofuse.pipeline.batch.ray_engine import RayEngine
from emofuse.pipeline.batch.remote import address_of, discover_remote, open_store, refuse_network
from emofuse.pipeline.batch.run import BatchOptions, Engine, run_batch
from emofuse.pipeline.batch.stages import Stages
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.codec import decode, encode
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.extraction import Extraction
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.person import KnownPerson, PersonSums
from emofuse.pipeline.ports import Extractor
from emofuse.pipeline.results import Analysis
from emofuse.pipeline.shared_pass import Progress
from emofuse.pipeline.timed import Provenance
from emofuse.writing import fill_analysis

from .assembly import Assembly
from .options import Options

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
    """`pipeline.batch.stages.Setup` by an `Assembly`. What makes streams is loaded by the first clip that lacks one, the model by the
    first that lacks its answer: looking for what is finished loads neither, and no torch."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._assembly = Assembly(job.options)
        self.limits = job.options.reading
        _ = self._assembly.choices

    @property
    def configuration(self) -> Mapping[str, Any]:
        values = {**encode(self._job.options), "device": self._assembly.device}
        if (recording := self._assembly.recording) is not None:
            values["baseline"] = sha256_of(recording)  # what is in it decides, not where it lies
        return {**_known(values), "writing": encode(self._job.writing)}

    @cached_property
    def requests(self) -> Mapping[str, Any]:
        """Stream -> provider and `Request`. A file's place is left out: its name and content are in the provenance."""
        by_stream: dict[str, Any] = {}
        for stream, choice in self._assembly.choices.items():
            if choice.provider is not None:
                request: Request = self._assembly.request(choice)
                asked = {**_known(asdict(request)), **({"argument": None} if choice.provider.one_clip else {})}
                by_stream[stream] = {"provider": choice.name, **asked}
        return by_stream

    @property
    def model(self) -> Provenance:
        return self._assembly.model_provenance

    def extractors(self, clip: Path) -> Sequence[Extractor]:
        return self._assembly.extractors(clip)

    def tally(self, clip: Clip, extraction: Extraction, person: str) -> PersonSums:
        return self._assembly.tally(clip, extraction, person)

    def fuse(self, clip: Clip, extraction: Extraction, progress: Progress | None, person: KnownPerson | None = None) -> Analysis:
        return self._assembly.fuse(clip, extraction, progress, person=person)

    def write(self, analysis: Analysis, folder: Path, home: Path | None) -> Mapping[str, str]:
        refused = fill_analysis(analysis, folder, home=home, **self._job.writing)
        return {name: str(why) for name, why in refused.items()}


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in NOT_IN_THE_KEY}


def stages(out: str, job: str) -> Stages:
    """What a worker of a cluster runs on its node (`RayEngine`'s factory)."""
    return Stages(AssemblySetup(Job.from_json(job)), open_store(out), version=__version__)


def find(paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, follow_links: bool = False) -> Discovery:
    """Clips in local folders and at addresses."""
    local = [Path(p) for p in paths if address_of(p) is None]
    parts = [discover(local, out=Path(out) if address_of(out) is None else None, follow_links=follow_links)]
    parts += [discover_remote(address) for p in paths if (address := address_of(p)) is not None]
    return Discovery(*(tuple(item for part in parts for item in getattr(part, name)) for name in ("clips", "passed_over", "problems")))


def ray_engine(job: Job, out: str | os.PathLike[str], *, address: str | None, workers: int | None, seconds: float | None) -> RayEngine:
    """Actors on a Ray cluster; one that computes on a GPU takes up one."""
    gpus = 0 if Assembly(job.options).device == "cpu" else 1
    destination = address_of(out) or os.path.abspath(out)
    return RayEngine(
        "emofuse.batch:stages", (destination, job.to_json()), address=address, workers=workers, gpus=gpus, allowance=allowed(seconds, None)
    )


def allowed(seconds: float | None, memory: int | None) -> Allowance:
    """What a clip may cost; `seconds` whatever its length."""
    return Allowance(memory=memory) if seconds is None else Allowance(seconds_base=seconds, seconds_factor=0.0, memory=memory)


def local_engine(
    job: Job, out: str | os.PathLike[str], *, workers: int | None, seconds: float | None, memory: int | None, keep: bool = False
) -> LocalEngine:
    """Worker processes on this machine; None lets the machine decide: a worker per core as far as memory goes, on a GPU one.

    seconds  wall seconds that a clip may take, whatever its length;  memory: bytes that a worker may use
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    available = free_memory()
    if workers is None:
        on_gpu = Assembly(job.options).device != "cpu"
        workers = 1 if on_gpu else max(1, min(cores, available // WORKER_MEMORY))
    allowance = allowed(seconds, memory or max(2 << 30, int(0.9 * available / workers)))
    return LocalEngine(worker_command(job, out), workers=workers, allowance=allowance, keep=keep)


def worker_command(job: Job, out: str | os.PathLike[str]) -> list[str]:
    # -P: a file named av.py in the folder that emofuse is called from must not be imported.
    return [sys.executable, "-P", "-m", "emofuse.worker", address_of(out) or os.path.abspath(out), job.to_json()]


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
    out: str | os.PathLike[str],
    job: Job,
    *,
    batch: BatchOptions | None = None,
    workers: int | None = None,
    seconds: float | None = None,
    memory: int | None = None,
    follow_links: bool = False,
    people: str | os.PathLike[str] | None = None,
    engine: Engine | None = None,
    tell: Listener = ignore,
    stopping: Callable[[], bool] = lambda: False,
) -> Totals:
    """Analyze every clip under `paths` into `out`, as docs/batch.md describes; raises `UsageError` where there is no clip at all.

    people    whose clip each is: "folder", "name:REGEX" or a table (pipeline/batch/people.py); a person's clips share their baseline
    tell      called with every event (pipeline/batch/events.py)
    stopping  once it is true, nothing new is begun
    """
    batch = batch or BatchOptions()
    for destination in (*paths, out):
        if (address := address_of(destination)) is not None:
            refuse_network(address, job.options.offline)
    discovery = find(paths, out, follow_links=follow_links)
    for path, reason in discovery.problems:
        tell(Problem(path, reason))
    if not discovery.clips:
        raise UsageError("no clip in what was named")
    if people is not None:
        discovery = with_people(discovery, os.fspath(people), job, tell)
    store = open_store(os.fspath(out))
    try:
        engine = engine or local_engine(job, out, workers=1 if batch.dry_run else workers, seconds=seconds, memory=memory)
        return run_batch(discovery, store, engine, batch, tell, stopping)
    finally:
        store.close()


def with_people(discovery: Discovery, rule: str, job: Job, tell: Listener) -> Discovery:
    """The clips with whose they are, where the model reads clips of one person together; what is left out is told."""
    clips = assigned(discovery.clips, rule)
    assembly = Assembly(job.options)
    if not assembly.reads_baseline or assembly.recording is not None:
        why = "a recording is the baseline" if assembly.recording is not None else "no baseline is read by this model with these options"
        tell(Remarked(f"--people changes nothing: {why}"))
        return discovery
    for text in clips.remarks:
        tell(Remarked(text))
    return replace(discovery, clips=clips.clips)
