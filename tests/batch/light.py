"""A whole batch without media, models or torch: clips are text files, extractors count letters. Run as a program it is a worker or a batch.

    python light.py worker OUT JOB          what `LocalEngine` starts
    python light.py batch FOLDER OUT JOB    a batch in a process of its own, to be killed

A clip's text tells what happens to it: "fine ...", "crash", "hang", "eat", "bug", "broken", "odd" (has remarks). JOB is JSON: log (a file
that every stage that begins is appended to), pause (seconds per stage takes), loading (seconds before a worker is ready), and what changes
keys: model, gain. With people (pipeline/batch/people.py) the model reads the voice as a departure from what is usual for the person.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.attention.fuse import fuse
from emofuse.pipeline.baseline import Tally
from emofuse.pipeline.batch.discovery import discover
from emofuse.pipeline.batch.events import Listener, Outcome, Totals
from emofuse.pipeline.batch.local import Allowance, LocalEngine
from emofuse.pipeline.batch.people import assigned
from emofuse.pipeline.batch.ray_engine import RayEngine
from emofuse.pipeline.batch.remote import address_of, discover_remote, open_store
from emofuse.pipeline.batch.run import BatchOptions, Engine, run_batch
from emofuse.pipeline.batch.stages import Stages
from emofuse.pipeline.batch.task import Task
from emofuse.pipeline.batch.worker import serve
from emofuse.pipeline.clip import Clip, Limits
from emofuse.pipeline.errors import NotMedia
from emofuse.pipeline.extraction import Extraction
from emofuse.pipeline.media import ClipInfo, Media, Medium
from emofuse.pipeline.person import BaselineSource, ClipTallies, KnownPerson, PersonSums
from emofuse.pipeline.ports import Extractor
from emofuse.pipeline.results import Analysis, Attention, Prediction, Utterance
from emofuse.pipeline.shared_pass import Progress
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, TimedSequence
from emofuse.pipeline.utterances import segment, utterance
from emofuse.writing import fill_analysis


class TextClip(Clip):
    """A text file in a clip's place: a second per word."""

    def _probe(self) -> ClipInfo:
        text = self.path.read_text()
        if text.startswith("broken"):
            raise NotMedia(f"{self.path}: expected a local media file, got a broken one")
        return ClipInfo(str(self.path), "text", float(len(text.split())), None, None)


@dataclass(frozen=True)
class Letters:
    """Makes one row per word, of its letters. Reads the file itself; needs no medium."""

    stream: str
    log: str
    pause: float
    gain: float = 1.0
    needs: tuple[str, ...] = ()
    media: frozenset[Medium] = frozenset()
    name: str = "letters"
    columns: tuple[str, ...] = ("letters",)

    @property
    def provenance(self) -> Provenance:
        return Provenance(self.name, "1", options={"gain": self.gain} if self.stream == "voice" else {})

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        path = Path(clip.info.path)
        note(self.log, self.stream, path)
        time.sleep(self.pause)
        text = path.read_text()
        if self.stream == "voice":
            misbehave(text)
        words = text.split()
        values = np.array([[self.gain * len(word)] for word in words], np.float32).reshape(-1, 1)
        start = np.arange(len(words), dtype=np.float64)
        labels = {"word": tuple(words)} if self.stream in ("words", "text") else {}
        reason = "" if words else "no words"
        provenance = replace(self.provenance, notes={"remarks": ["a row is\nodd"]}) if text.startswith("odd") else self.provenance
        return TimedSequence(self.stream, self.columns, values, start, start + 0.9, provenance, labels, reason)


def misbehave(text: str) -> None:
    if text.startswith("crash"):
        signal.raise_signal(signal.SIGSEGV)  # in this thread: it gets no further
    if text.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if text.startswith("hang"):
        time.sleep(3600)
    if text.startswith("eat"):
        hoard = [np.ones(1 << 22) for _ in range(100)]  # 3.2 GB
        time.sleep(3600 * len(hoard))
    if text.startswith("bug"):
        raise KeyError("a bug")


@dataclass(frozen=True)
class CountingModel:
    """Happy about long words; looks at the voice from the text."""

    log: str
    pause: float
    version: str
    name: str = "counting"
    wants: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"text": ("letters",), "voice": ("letters",)})

    @property
    def provenance(self) -> Provenance:
        return Provenance(self.name, self.version, weights={"counting": self.version})

    def predict(self, utterances: Sequence[Utterance], *, attention: bool = True) -> list[Prediction]:
        time.sleep(self.pause)
        return [self._one(utterance) for utterance in utterances]

    def _one(self, utterance: Utterance) -> Prediction:
        text, voice = utterance.streams["text"], utterance.streams["voice"]
        usual = utterance.usual.get("voice")
        moved = 0.0 if usual is None or not usual.share[0] else float(usual.share[0] * usual.mean[0])
        happy = float(1 / (1 + np.exp(-voice.values.mean() + moved + len(self.version))))
        rest = (1 - happy) / (len(EMOTIONS) - 1)
        weights = np.abs(text.values[:, 0][:, None] - voice.values[:, 0][None]) + 1
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)[None, None]
        maps = (Attention("cross", "text", "voice", weights, text.start, text.end, voice.start, voice.end),)
        return Prediction({e: happy if e == "happiness" else rest for e in EMOTIONS}, None, max(happy, rest), maps)


def tallies(one: Utterance) -> dict[str, Tally]:
    return {"voice": Tally.of(one.streams["voice"])}


class LightSetup:
    limits = Limits()

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.job = job
        self._model = CountingModel(job["log"], job["pause"], job.get("model", "1"))

    @property
    def configuration(self) -> Mapping[str, Any]:
        return {"gain": self.job.get("gain", 1.0), "formats": self.job.get("formats")}

    @property
    def requests(self) -> Mapping[str, Any]:
        return {}

    @property
    def model(self) -> Provenance:
        return self._model.provenance

    def extractors(self, clip: Path) -> list[Extractor]:
        log, pause = self.job["log"], self.job["pause"]
        voice = Letters("voice", log, pause, self.job.get("gain", 1.0))
        return [Letters("words", log, pause), Letters("text", log, pause, needs=("words",)), voice]

    def tally(self, clip: Clip, extraction: Extraction, person: str) -> PersonSums:
        note(self.job["log"], "baseline", clip.path)
        time.sleep(self.job["pause"])
        spans = segment(extraction.streams, clip.info.duration or 0.0).spans
        pieces = (utterance(span, extraction.streams) for span in spans)
        return ClipTallies(tallies, pieces).of_person(person)

    def fuse(self, clip: Clip, extraction: Extraction, progress: Progress | None, person: KnownPerson | None = None) -> Analysis:
        note(self.job["log"], "fusion", clip.path)
        source = BaselineSource(tallies, person=person) if self.job.get("people") else None
        return fuse(clip, extraction, self._model, maps="small", progress=progress, baseline=source)

    def write(self, analysis: Analysis, folder: Path, home: Path | None) -> Mapping[str, str]:
        note(self.job["log"], "write", Path(analysis.info.path))
        time.sleep(self.job["pause"])
        refused = fill_analysis(analysis, folder, version="light", home=home, formats=self.job.get("formats", ()))
        return {name: str(why) for name, why in refused.items()}


def stages(out: str, job: str) -> Stages:
    """What an actor of a cluster runs."""
    return Stages(LightSetup(json.loads(job)), open_store(out), version="light", open_clip=TextClip)


def note(log: str, stage: str, path: Path) -> None:
    """One line, whole, whoever else writes at the same time."""
    with open(log, "ab", buffering=0) as file:
        file.write(f"{stage}\t{path.name}\n".encode("utf-8", "surrogateescape"))


@dataclass(frozen=True)
class InThisProcess:
    """An engine for tests in which nothing dies: no worker to start."""

    stages: Stages

    def run(self, tasks: Iterable[Task | None], tell: Listener, stopping: Callable[[], bool]) -> Iterator[Outcome]:
        for task in tasks:
            assert task is not None, "nothing is out while the next task is asked for"
            yield self.stages.run(task, tell)
            if stopping():
                return


def batch(
    folder: str | Path,
    out: str | Path,
    job: Mapping[str, Any],
    order: BatchOptions | None = None,
    *,
    workers: int = 0,
    address: str | None = None,
    allowance: Allowance | None = None,
    **more: Any,
) -> tuple[Totals, list[tuple[str, Mapping[str, Any]]]]:
    """Runs a batch here, with so many worker processes or, with 0, without any. Returns totals and all events.

    `address` of a Ray cluster: the workers are its actors.
    """
    events: list[tuple[str, Mapping[str, Any]]] = []
    text = json.dumps(job)
    store = open_store(str(out))
    engine: Engine
    if address is not None:
        engine = RayEngine("light:stages", (str(out), text), address=address, workers=workers or None, allowance=allowance)
    elif workers:
        command = [sys.executable, "-P", __file__, "worker", str(out), text]
        engine = LocalEngine(command, workers=workers, allowance=allowance)
    else:
        engine = InThisProcess(Stages(LightSetup(job), store, version="light", open_clip=TextClip))
    remote = address_of(folder)
    discovery = discover_remote(remote) if remote is not None else discover([Path(folder)], out=Path(out))
    if job.get("people"):
        discovery = replace(discovery, clips=assigned(discovery.clips, job["people"]).clips)
    try:
        totals = run_batch(
            discovery, store, engine, order or BatchOptions(), lambda event: events.append((event.NAME, vars(event))), **more
        )
    finally:
        store.close()
    return totals, events


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        time.sleep(json.loads(sys.argv[3]).get("loading", 0.0))
        serve(lambda: LightSetup(json.loads(sys.argv[3])), sys.argv[2], version="light", open_clip=TextClip)
    else:
        batch(Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]), workers=2)
