"""One clip: hash, extract, fuse, write. Each finished stage is kept by its key, so that none runs twice, whoever was killed in between.

A clip whose person has others has a stage of its own between extraction and fusion: what it says of the person's baseline (`tally`). Its
result then depends on the sums over all of the person's clips, by their hash.

Which extractors and which model these are is the caller's business (`Setup`); it must say in JSON all that it was asked for, so that
everything that changes a result changes its key.
"""

from __future__ import annotations

import errno
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..clip import Clip
from ..errors import ClipChanged, EmofuseError, OutputError, WeightsError
from ..extraction import Extraction
from ..person import KnownPerson
from ..ports import Extractor
from ..results import Analysis
from .cache import Cache
from .content import content_of, expect_unchanged, state_of
from .events import Listener, Outcome, Probed, Progressed, Started, ignore
from .extracting import Extracting
from .keys import key_of, stream_keys
from .memory import forget_peak, peak_memory
from .remote import address_of, fetched_clip
from .setup import OpenClip, Setup
from .store import HIDDEN, Store, is_whole, read_record, write_record
from .task import Record, Task, reason_of

TRIES = 3  # readings of a clip that is replaced each time
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass
class _Work:
    """One task in the middle of things."""

    task: Task
    held: ExitStack  # a fetched clip goes when the task is over
    clip: Clip
    record: Record
    tell: Listener
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

    def progress(self, stage: str, at: float) -> None:
        self.tell(Progressed(self.task.id, self.task.path, stage, at))

    def sound(self) -> None:
        """Raises `ClipChanged` where the clip is no longer the file that was hashed."""
        assert self.record.file is not None
        expect_unchanged(self.task.path, self.record.file)

    @property
    def afresh(self) -> bool:
        """Whether nothing that is kept of its streams is to be used."""
        return self.task.force and not self.task.continued

    @property
    def sha256(self) -> str:
        assert self.record.sha256 is not None
        return self.record.sha256


class Stages:
    """Does tasks, one after the other. `version` is emofuse's."""

    def __init__(self, setup: Setup, store: Store, *, version: str, open_clip: OpenClip = Clip) -> None:
        self._setup = setup
        self._open = open_clip
        self._store = store
        self._cache = Cache(store)
        self._version = version

    def run(self, task: Task, tell: Listener = ignore) -> Outcome:
        """Never raises for what is wrong with the clip: that is in the record. Raises `WeightsError`, and `OutputError` where the output
        folder or the disk has no room. A clip that is replaced while it is read is read again."""
        for attempt in range(1, TRIES + 1):
            before = read_record(self._store, task.id)
            with ExitStack() as held:
                try:
                    return self._settle(task, before, held, tell)
                except ClipChanged as error:
                    if attempt == TRIES:
                        record = before or Record(task.id, task.path, task.output, "waiting")
                        return self._failed(_Work(task, held, self._opened(task), record, tell), reason_of(error), str(error))
        raise AssertionError("unreachable")

    def _opened(self, task: Task) -> Clip:
        return self._open(task.path, self._setup.limits, None)

    def _settle(self, task: Task, before: Record | None, held: ExitStack, tell: Listener) -> Outcome:
        work = _Work(task, held, self._opened(task), before or Record(task.id, task.path, task.output, "waiting"), tell)
        try:
            return self._run(work, before)
        except (WeightsError, OutputError):
            raise  # every clip would fail of it
        except ClipChanged:
            raise
        except (EmofuseError, MemoryError) as error:
            if work.record.file is not None:
                _judge_change(work)  # what was read is not the clip that was hashed: its error may be another's
            return self._failed(work, reason_of(error), str(error) or type(error).__name__)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise OutputError(f"expected room on the disk, got {error.strerror} ({error.filename or task.path})") from None
            self._store.write(f"{HIDDEN}/crashes/{task.id}.txt", traceback.format_exc().encode("utf-8", "backslashreplace"))
            return self._failed(work, "internal_error", f"{task.path}: {type(error).__name__}: {error}")

    def _failed(self, work: _Work, reason: str, message: str) -> Outcome:
        record = replace(
            work.record,
            state="failed",
            person=work.task.person,
            reason=reason,
            message=message,
            refused={},
            remarks=(),
            flags={},
            files={},
            output=work.task.output,
            emofuse=self._version,
            seconds=_rounded(work.seconds),
            peak_memory=peak_memory(),
        )
        if work.task.dry_run:
            return Outcome(record, "planned", plan=f"fails: {reason}")
        write_record(self._store, record)
        return Outcome(record, "failed", tuple(work.ran))

    def _run(self, work: _Work, before: Record | None) -> Outcome:
        task, path = work.task, Path(work.task.path)
        forget_peak()
        known = self._known(work, before)
        work.record = replace(known, key=key_of(["unread", known.sha256, self._setup.configuration, self._version]))
        if (kept := self._failed_before(work, before)) is not None:
            return kept  # it failed before its extractors could say what they are
        extractors = self._setup.extractors(path)
        keys = stream_keys(work.sha256, extractors, self._setup.requests, asdict(self._setup.limits), self._version)
        if task.goal == "tally":
            return self._tally(work, before, extractors, keys)
        fusion_key = self._fusion_key(work, keys)
        work.record = replace(known, key=key_of([fusion_key, self._setup.configuration, self._version]))
        if (kept := self._failed_before(work, before) or self._kept(work, before)) is not None:
            return kept
        if task.dry_run:
            return Outcome(work.record, "planned", plan=self._plan(keys, fusion_key, before, work.sha256))
        self._start(work, before)
        analysis = self._analysis(work, extractors, keys, fusion_key)
        return self._written(work, analysis)

    def _start(self, work: _Work, before: Record | None) -> None:
        """Say that the clip is being worked on, and have its bytes. What this run's tally took is part of the same attempt."""
        task = work.task
        if task.continued and before is not None:
            work.seconds = {**before.seconds, **work.seconds}
        work.record = replace(
            work.record,
            state="running",
            attempts=work.record.attempts + (not task.continued),
            reason=None,
            message=None,
            output=task.output,
            files={},
            person=task.person,
        )
        write_record(self._store, work.record)
        work.tell(Started(task.id, task.path, work.record.attempts, work.record))
        self._have(work)

    def _tally(self, work: _Work, before: Record | None, extractors: Sequence[Extractor], keys: Mapping[str, str]) -> Outcome:
        """The clip's streams, and what they say of its person's baseline: kept under the key that the outcome names."""
        task = work.task
        key = self._key("tally", work, keys)
        work.record = replace(work.record, key=key_of([key, self._setup.configuration, self._version]))
        if (kept := self._failed_before(work, before)) is not None:
            return kept
        if task.dry_run or (not task.force and self._cache.sums(key) is not None):
            return Outcome(before or work.record, "tallied", tuple(work.ran), tally=key)
        self._start(work, before)
        clip, extraction = self._extraction(work, extractors, keys)
        assert task.person is not None
        with work.stage("baseline"):
            sums = self._setup.tally(clip, extraction, task.person)
        work.sound()
        self._cache.keep_sums(key, sums)
        record = replace(work.record, state="waiting", emofuse=self._version, seconds=_rounded(work.seconds), peak_memory=peak_memory())
        write_record(self._store, record)
        return Outcome(record, "tallied", tuple(work.ran), tally=key)

    def _known(self, work: _Work, before: Record | None) -> Record:
        """The clip's record with its content: read only if the file is not the one that the record speaks of."""
        path, state = work.task.path, state_of(work.task.path)
        work.record = replace(work.record, path=path, file=state)
        if before is not None and before.file == state and before.sha256 is not None and not work.afresh:
            sha256 = before.sha256
        else:
            with work.stage("hash"):
                self._have(work)
                sha256 = content_of(path, state, work.clip.path)
        same = before is not None and before.sha256 == sha256
        return replace(work.record, sha256=sha256, attempts=before.attempts if same and before else 0)

    def _fusion_key(self, work: _Work, keys: Mapping[str, str]) -> str:
        task = work.task
        person = {} if task.baseline is None else {"person": task.person, "baseline": task.baseline}
        return self._key("fusion", work, keys, **person)

    def _key(self, stage: str, work: _Work, keys: Mapping[str, str], **more: object) -> str:
        facts = {"stage": stage, "clip": work.sha256, "streams": keys, **more}
        if stage == "tally":
            facts["person"] = work.task.person
        return key_of({**facts, "model": self._setup.model.to_json(), "configuration": self._setup.configuration})

    def _failed_before(self, work: _Work, before: Record | None) -> Outcome | None:
        again = work.task.force or work.task.retry_failed
        if before is None or before.state != "failed" or before.key != work.record.key or again:
            return None
        return Outcome(before, "failed before")

    def _kept(self, work: _Work, before: Record | None) -> Outcome | None:
        """Where this very result lies where it is to lie, every file of it with its bytes and its hash."""
        if before is None or work.task.force or before.state != "done":
            return None
        if (before.key, before.output) != (work.record.key, work.task.output) or not is_whole(self._store, before):
            return None
        record = replace(before, file=work.record.file)  # the same bytes in another file: not to be hashed each time
        if record != before and not work.task.dry_run:
            write_record(self._store, record)
        return Outcome(record, "kept")

    def _have(self, work: _Work) -> None:
        """The clip's bytes on this machine: those at an address are fetched, once."""
        address = address_of(work.task.path)
        if address is not None and not work.clip.path.is_file():
            local = work.held.enter_context(fetched_clip(address, self._store.scratch()))
            work.clip = self._open(local, self._setup.limits, None)

    def _plan(self, keys: Mapping[str, str], fusion_key: str, before: Record | None, sha256: str) -> str:
        if f"{fusion_key}.parquet" in self._store.names(f"{HIDDEN}/answers/{fusion_key[:2]}"):
            return "to write (extracted and fused already)"
        missing = [s for s, k in keys.items() if f"{k}.parquet" not in self._store.names(f"{HIDDEN}/streams/{k[:2]}")]
        if not missing:
            return "to fuse (extracted already)"
        new = before is None or before.sha256 is None
        what = "new" if new else "unfinished" if before is not None and before.sha256 == sha256 else "changed"
        return f"{what}: to extract {', '.join(missing)}"

    def _extraction(self, work: _Work, extractors: Sequence[Extractor], keys: Mapping[str, str]) -> tuple[Clip, Extraction]:
        """The opened clip and its streams."""
        force, clip = work.afresh, work.clip
        extracting = Extracting(self._cache, work.sha256, self._version, extractors, keys, force, work.sound, work.stage, work.progress)
        info = extracting.info(clip)
        work.clip = clip = self._open(clip.path, clip.limits, info)
        work.tell(Probed(work.task.id, work.task.path, info.duration))
        return clip, extracting.run(clip)

    def _analysis(self, work: _Work, extractors: Sequence[Extractor], keys: Mapping[str, str], fusion_key: str) -> Analysis:
        clip, extraction = self._extraction(work, extractors, keys)
        kept = None if work.task.force else self._cache.answer(fusion_key, dict(extraction.streams), clip.info)
        if kept is not None:
            return kept
        person = self._person(work.task)
        with work.stage("fusion"):
            analysis = self._setup.fuse(clip, extraction, work.progress, person)
        work.sound()
        self._cache.keep_answer(fusion_key, analysis)
        return analysis

    def _person(self, task: Task) -> KnownPerson | None:
        """What is known of the person whose clip it is; raises `OutputError` where the sums were taken away meanwhile."""
        if task.person is None or task.baseline is None:
            return None
        sums = self._cache.sums(task.baseline)
        if sums is None:
            raise OutputError(f"{task.path}: expected the baseline of {task.person} that this run wrote; it is gone or damaged")
        return KnownPerson(task.person, sums, task.baseline)

    def _written(self, work: _Work, analysis: Analysis) -> Outcome:
        """The result folder, and after it the record."""
        task = work.task
        # The clip goes by the place that it was named by, and is not read once more for its hash.
        facts = replace(analysis.facts, sha256=work.sha256)
        analysis = replace(analysis, info=replace(analysis.info, path=task.path), facts=facts)
        refused: dict[str, str] = {}

        def fill(folder: Path) -> None:
            refused.update(self._setup.write(analysis, folder, self._store.local_path(task.output)))
            work.sound()  # the report reads the clip once more

        with work.stage("write"):
            self._store.put_folder(task.output, fill)
        record = replace(
            work.record,
            state="done",
            **summary_of(analysis),
            refused=refused,
            files=self._store.files(task.output),
            emofuse=self._version,
            seconds=_rounded(work.seconds),
            peak_memory=peak_memory(),
        )
        write_record(self._store, record)
        return Outcome(record, "done", tuple(work.ran))


def _judge_change(work: _Work) -> None:
    """Raises `ClipChanged` where the clip was replaced by another file; one that is gone is not."""
    try:
        work.sound()
    except ClipChanged:
        raise
    except EmofuseError:
        return


def summary_of(analysis: Analysis) -> dict[str, Any]:
    """The record's fields that tell what was found."""
    best = None
    if analysis.summary is not None:
        probabilities = analysis.summary.probabilities
        best = max(probabilities, key=lambda emotion: probabilities[emotion])
    return {
        "remarks": analysis.remarks,
        "flags": dict(sorted(Counter(flag for one in analysis.utterances for flag in one.quality.flags).items())),
        "length": float(analysis.facts.length),
        "utterances": len(analysis.utterances),
        "emotion": best,
        "probability": None if best is None or analysis.summary is None else float(analysis.summary.probabilities[best]),
    }


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(value, 4) for stage, value in seconds.items()}
