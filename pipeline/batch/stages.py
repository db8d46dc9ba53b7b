"""One clip: hash, extract, fuse, write. Each finished stage is kept by its key, so that none runs twice, whoever was killed in between.

Which extractors and which model these are is the caller's business (`Setup`); it must say in JSON all that it was asked for, so that
everything that changes a result changes its key.
"""

from __future__ import annotations

import os
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ..clip import Clip, DecodeEnd, Limits, MediumEnd
from ..errors import ClipError, EmofuseError, NotMedia, WeightsError
from ..extraction import Extraction, extract
from ..hashing import sha256_of
from ..media import ClipInfo, Media, Medium
from ..ports import Extractor
from ..results import Analysis
from ..shared_pass import Progress
from ..timed import Provenance, TimedSequence
from .cache import Cache
from .keys import key_of, stream_keys
from .remote import address_of, fetched_clip, size_and_change
from .store import HIDDEN, Store, read_record, write_record
from .task import Record, Task, reason_of


class Setup(Protocol):
    """What the floors above hand in. Made once a worker; what it loads is kept for the clips that follow.

    limits         what a clip may cost
    configuration  JSON: all that was asked for and that a result may depend on
    requests       stream -> JSON: what was asked of its provider
    """

    @property
    def limits(self) -> Limits: ...
    @property
    def configuration(self) -> Mapping[str, Any]: ...
    @property
    def requests(self) -> Mapping[str, Any]: ...
    @property
    def model(self) -> Provenance: ...

    def extractors(self, clip: Path) -> Sequence[Extractor]: ...
    def fuse(self, clip: Clip, extraction: Extraction, progress: Progress | None) -> Analysis: ...
    def write(self, analysis: Analysis, folder: Path, home: Path | None) -> Mapping[str, str]:
        """All files of the result into a folder that is there and empty, and will be `home` in the end (None: not on this machine).

        Returns formats that were asked for and cannot hold this clip: name -> why."""
        ...


OpenClip = Callable[[str | os.PathLike[str], Limits | None, ClipInfo | None], Clip]
"""How a clip is opened: `Clip` itself, or something that stands in for it."""

Tell = Callable[[str, Mapping[str, Any]], None]
"""Called with an event and its facts: started (attempt, key, length), progress (stage, seconds of the clip)."""


@dataclass(frozen=True)
class Outcome:
    """A clip's record, and how it came: `done`, `failed`, or `kept` (nothing had to be done), or what a look found would be done.

    ran   stages that ran, in order; stages found in the cache are not among them
    """

    record: Record
    how: str
    ran: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Ready:
    """A stream that is there already, in an extractor's place."""

    stream: str
    made: TimedSequence
    media: frozenset[Medium] = frozenset()
    needs: tuple[str, ...] = ()
    name: str = "cache"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.made.columns

    @property
    def provenance(self) -> Provenance:
        return self.made.provenance

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        return self.made


@dataclass
class _Work:
    """One task in the middle of things."""

    task: Task
    held: ExitStack  # a fetched clip goes when the task is over
    clip: Clip
    record: Record
    seconds: dict[str, float] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        self.ran.append(name)
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


class Stages:
    """Does tasks, one after the other. `version` is emofuse's."""

    def __init__(self, setup: Setup, store: Store, *, version: str, open_clip: OpenClip = Clip) -> None:
        self._setup = setup
        self._open = open_clip
        self._store = store
        self._cache = Cache(store)
        self._version = version

    def run(self, task: Task, tell: Tell = lambda event, facts: None) -> Outcome:
        """Never raises for what is wrong with the clip: that is in the record. Raises `WeightsError` and what the output folder gives."""
        before = read_record(self._store, task.id)
        with ExitStack() as held:
            return self._settle(task, before, held, tell)

    def _settle(self, task: Task, before: Record | None, held: ExitStack, tell: Tell) -> Outcome:
        work = _Work(
            task, held, self._open(task.path, self._setup.limits, None), before or Record(task.id, task.path, task.output, "waiting")
        )
        try:
            return self._run(work, before, tell)
        except WeightsError:
            raise  # every clip would fail of it
        except (EmofuseError, MemoryError) as error:
            return self._failed(work, reason_of(error), str(error) or type(error).__name__)
        except Exception as error:
            self._store.write(f"{HIDDEN}/crashes/{task.id}.txt", traceback.format_exc().encode("utf-8", "backslashreplace"))
            return self._failed(work, "internal_error", f"{task.path}: {type(error).__name__}: {error}")

    def _failed(self, work: _Work, reason: str, message: str) -> Outcome:
        record = replace(
            work.record,
            state="failed",
            reason=reason,
            message=message,
            refused={},
            output=work.task.output,
            emofuse=self._version,
            seconds=_rounded(work.seconds),
            peak_memory=peak_memory(),
        )
        if work.task.look:
            return Outcome(record, f"fails: {reason}")
        write_record(self._store, record)
        return Outcome(record, "failed", tuple(work.ran))

    def _run(self, work: _Work, before: Record | None, tell: Tell) -> Outcome:
        task, path = work.task, Path(work.task.path)
        forget_peak()
        sha256, size, modified = self._content(work, before)
        same = before is not None and before.sha256 == sha256
        known = replace(
            work.record, path=task.path, sha256=sha256, bytes=size, modified_ns=modified, attempts=before.attempts if same and before else 0
        )
        work.record = replace(known, key=key_of(["unread", sha256, self._setup.configuration, self._version]))
        if (kept := self._failed_before(work, before)) is not None:
            return kept  # it failed before its extractors could say what they are
        extractors = self._setup.extractors(path)
        keys = stream_keys(sha256, extractors, self._setup.requests, asdict(self._setup.limits), self._version)
        fusion_key = key_of(
            {
                "stage": "fusion",
                "clip": sha256,
                "streams": keys,
                "model": self._setup.model.to_json(),
                "configuration": self._setup.configuration,
            }
        )
        work.record = replace(known, key=key_of([fusion_key, self._setup.configuration, self._version]))
        if (kept := self._failed_before(work, before)) is not None:
            return kept
        if before is not None and self._is_done(before, work):
            return Outcome(before, "kept")
        if task.look:
            return Outcome(work.record, self._look(keys, fusion_key, before, same))
        work.record = replace(
            work.record, state="running", attempts=work.record.attempts + 1, reason=None, message=None, output=task.output
        )
        write_record(self._store, work.record)
        tell("started", {"attempt": work.record.attempts, "record": work.record})
        self._have(work)
        analysis = self._analysis(work, extractors, keys, fusion_key, tell)
        # The clip goes by the place that it was named by, and is not read once more for its hash.
        analysis = replace(analysis, info=replace(analysis.info, path=task.path), facts=replace(analysis.facts, sha256=sha256))
        refused: dict[str, str] = {}
        with work.stage("write"):
            place = self._store.place(task.output)
            self._store.put_folder(task.output, lambda folder: refused.update(self._setup.write(analysis, folder, place)))
        record = replace(work.record, state="done", **summary_of(analysis), refused=refused, emofuse=self._version)
        record = replace(record, seconds=_rounded(work.seconds), peak_memory=peak_memory())
        write_record(self._store, record)
        return Outcome(record, "done", tuple(work.ran))

    def _failed_before(self, work: _Work, before: Record | None) -> Outcome | None:
        again = work.task.force or work.task.retry_failed
        if before is None or before.state != "failed" or before.key != work.record.key or again:
            return None
        return Outcome(before, "failed before")

    def _is_done(self, before: Record, work: _Work) -> bool:
        """Whether this very result lies where it is to lie."""
        return (
            not work.task.force
            and before.state == "done"
            and (before.key, before.output) == (work.record.key, work.task.output)
            and self._store.read(f"{before.output}/analysis.json") is not None
        )

    def _content(self, work: _Work, before: Record | None) -> tuple[str, int, int]:
        """SHA-256, bytes and time of change. The content is read only if size or time differ from what the record says."""
        size, modified = _size_and_change(work.task.path)
        unchanged = before is not None and (before.bytes, before.modified_ns) == (size, modified)
        if unchanged and before is not None and before.sha256 is not None and not work.task.force:
            return before.sha256, size, modified
        with work.stage("hash"):
            self._have(work)
            try:
                return sha256_of(work.clip.path), size, modified
            except OSError as error:
                raise ClipError(f"{work.task.path}: cannot be read ({error})") from None

    def _have(self, work: _Work) -> None:
        """The clip's bytes on this machine: those at an address are fetched, once."""
        address = address_of(work.task.path)
        if address is not None and not work.clip.path.is_file():
            local = work.held.enter_context(fetched_clip(address, self._store.scratch()))
            work.clip = self._open(local, self._setup.limits, None)

    def _look(self, keys: Mapping[str, str], fusion_key: str, before: Record | None, same: bool) -> str:
        prefix = f"{HIDDEN}/answers/{fusion_key[:2]}"
        if f"{fusion_key}.parquet" in self._store.names(prefix):
            return "to write (extracted and fused already)"
        missing = [s for s, k in keys.items() if f"{k}.parquet" not in self._store.names(f"{HIDDEN}/streams/{k[:2]}")]
        if not missing:
            return "to fuse (extracted already)"
        what = "new" if before is None or before.sha256 is None else "changed" if not same else "unfinished"
        return f"{what}: to extract {', '.join(missing)}"

    def _analysis(self, work: _Work, extractors: Sequence[Extractor], keys: Mapping[str, str], fusion_key: str, tell: Tell) -> Analysis:
        extraction = self._extraction(work, extractors, keys, tell)
        info = replace(work.clip.info, path=str(work.clip.path))
        found = None if work.task.force else self._cache.answer(fusion_key, dict(extraction.streams), info)
        if found is not None:
            return found
        with work.stage("fusion"):
            analysis = self._setup.fuse(work.clip, extraction, lambda stage, at: tell("progress", {"stage": stage, "at": at}))
        self._cache.keep_answer(fusion_key, analysis)
        return analysis

    def _extraction(self, work: _Work, extractors: Sequence[Extractor], keys: Mapping[str, str], tell: Tell) -> Extraction:
        """Every stream, from the cache where it is there; only what is missing is decoded for and extracted."""
        clip, sha256, force = work.clip, work.record.sha256, work.task.force
        facts = {"clip": sha256, "limits": asdict(clip.limits), "emofuse": self._version}
        info_key = key_of({"stage": "probe", **facts})
        info = None if force else self._cache.info(info_key)
        if info is None:
            info = clip.info
            self._cache.keep_info(info_key, info)
        info = replace(info, path=str(clip.path))
        work.clip = clip = self._open(clip.path, clip.limits, info)
        tell("probed", {"length": info.duration})
        present: set[Medium] = {m for m, found in (("audio", info.audio), ("video", info.video)) if found is not None}  # type: ignore[misc]
        working = [e for e in extractors if not e.media - present]
        media: set[Medium] = set().union(*(e.media for e in working))
        ends_at: dict[Medium, str] = {medium: key_of({"stage": "end", "medium": medium, **facts}) for medium in sorted(media)}
        ends: dict[Medium, MediumEnd] = (
            {} if force else {medium: end for medium, key in ends_at.items() if (end := self._cache.end(key)) is not None}
        )
        ready: dict[str, TimedSequence] = {}
        for extractor in [] if force else working:
            if (stream := self._cache.stream(keys[extractor.stream])) is not None:
                ready[extractor.stream] = stream
        if len(ready) < len(working):
            with work.stage("extract"):
                extraction = self._extract(clip, extractors, keys, ready, tell)
            new: dict[Medium, MediumEnd] = dict(extraction.end.media) if extraction.end is not None else {}
            for medium, end in new.items():
                self._cache.keep_end(ends_at[medium], end)
            ends = {**ends, **new}
            streams = extraction.streams
        else:
            streams = extract(clip, [Ready(e.stream, ready[e.stream]) if e.stream in ready else e for e in extractors]).streams
        if unknown := set(ends_at) - set(ends):  # a run was killed between a stream and the end of its decoding
            with work.stage("extract"):
                for item in clip.decode(frames="video" in unknown, samples="audio" in unknown):
                    if isinstance(item, DecodeEnd):
                        ends = {**ends, **item.media}
            for medium in unknown & set(ends):
                self._cache.keep_end(ends_at[medium], ends[medium])
        return Extraction(streams, DecodeEnd({m: ends[m] for m in ends_at if m in ends}) if ends_at else None, {})

    def _extract(
        self, clip: Clip, extractors: Sequence[Extractor], keys: Mapping[str, str], ready: Mapping[str, TimedSequence], tell: Tell
    ) -> Extraction:
        """Each stream is kept as soon as it is there: what a killed run had finished, the next one does not do again."""

        def keep(stream: TimedSequence) -> None:
            if stream.name not in ready:
                self._cache.keep_stream(keys[stream.name], stream)

        hands = [Ready(e.stream, ready[e.stream]) if e.stream in ready else e for e in extractors]
        return extract(clip, hands, lambda stage, at: tell("progress", {"stage": stage, "at": at}), keep)


def _size_and_change(path: str) -> tuple[int, int]:
    if (address := address_of(path)) is not None:
        return size_and_change(address)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise NotMedia(f"{path}: expected a local media file, got no such file") from None
    except (OSError, ValueError) as error:
        raise ClipError(f"{path}: cannot be read ({error})") from None
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        raise NotMedia(f"{path}: expected a local media file, got no regular file")
    return status.st_size, status.st_mtime_ns


def summary_of(analysis: Analysis) -> dict[str, Any]:
    """The record's fields that tell what was found."""
    best = None
    if analysis.summary is not None:
        probabilities = analysis.summary.probabilities
        best = max(probabilities, key=lambda emotion: probabilities[emotion])
    return {
        "length": float(analysis.facts.length),
        "utterances": len(analysis.utterances),
        "emotion": best,
        "probability": None if best is None or analysis.summary is None else float(analysis.summary.probabilities[best]),
    }


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(value, 4) for stage, value in seconds.items()}


def forget_peak() -> None:
    """Let the process's peak memory count from here (Linux; elsewhere the peak is the process's)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int:
    """Bytes of this process's resident memory at its highest since `forget_peak`."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
