"""The whole batch: from what was found to a folder of results, its manifest and its tables. Which engine works is the caller's choice."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from ..errors import ClipError
from ..formats.result_folder import result_name
from .cache import Cache
from .combined import write_combined
from .discovery import Candidate, Discovery
from .events import Ended, Finished, Listener, Outcome, Planned, Problem, Totals
from .index import write_index
from .manifest import write_manifest
from .queue import Queue
from .remote import address_of, is_there, size_and_change
from .store import NAMES, Store, is_ours, owner_of, owner_path, read_records, record_name, to_bytes, write_record
from .task import TABLES, Record, Task, is_folder_name, task_id

MANIFEST_SECONDS = 30.0


class Engine(Protocol):
    """Does tasks somewhere. A task that is None means: none for now, ask again."""

    def run(self, tasks: Iterable[Task | None], tell: Listener, stopping: Callable[[], bool]) -> Iterator[Outcome]: ...


@dataclass(frozen=True)
class BatchOptions:
    """What is asked of a batch beside its clips.

    force         do everything again, whatever is there
    retry_failed  try again what failed before with the same configuration
    limit         begin at most so many clips
    shard         (i, n): only the i-th of n parts, i from 1; a clip's part follows from its place in the folder alone, or from its person
    dry_run       change nothing, only tell what would be done
    """

    force: bool = False
    retry_failed: bool = False
    limit: int | None = None
    shard: tuple[int, int] = (1, 1)
    dry_run: bool = False


def run_batch(
    discovery: Discovery,
    store: Store,
    engine: Engine,
    options: BatchOptions,
    tell: Listener,
    stopping: Callable[[], bool] = lambda: False,
) -> Totals:
    """Every clip's outcome is told as `Finished` as it comes, after `Planned` and before `Ended`.

    Raises what the engine raises: weights that are missing, workers that do not start, a folder that cannot be written.
    """
    begin = time.monotonic()
    discovery = replace(discovery, clips=tuple(sorted(discovery.clips, key=lambda clip: clip.path)))
    batch = _Batch(discovery, store, options, tell)
    batch.refuse()
    queue = Queue([c for c in batch.selected if c.reason is None], batch.names, options, Cache(store))
    for outcome in engine.run(queue.tasks(), tell, stopping):
        if outcome.kind == "lost":  # its worker died: nobody else has written it down
            outcome = Outcome(outcome.record, "failed", outcome.ran)
            write_record(store, outcome.record)
        if (settled := queue.settle(outcome)) is not None:
            batch.take(settled)
    totals = batch.totals
    totals.stopped = stopping() and totals.waiting > 0
    batch.finish()
    totals.seconds = time.monotonic() - begin
    tell(Ended(totals))
    return totals


class _Batch:
    """One batch in the middle of things: which clips are this shard's, what is known of all, and how it went so far."""

    def __init__(self, discovery: Discovery, store: Store, options: BatchOptions, tell: Listener) -> None:
        self._discovery, self._store, self._options, self._tell = discovery, store, options, tell
        if not options.dry_run:
            store.sweep()
        self._records, self.names = reserved_names(discovery.clips, store, dry_run=options.dry_run)
        self.selected = [c for c in discovery.clips if part_of(c, options.shard[1]) == options.shard[0]]
        self._sizes = {task_id(c.path): _size(c.path) for c in self.selected}
        self.totals = Totals(clips=len(self.selected), waiting=len(self.selected))
        tell(Planned(len(self.selected), sum(self._sizes.values()), len(discovery.passed_over), len(discovery.clips)))
        self._written = time.monotonic()

    def refuse(self) -> None:
        """Settle the clips that were refused before they were opened."""
        for clip in (c for c in self.selected if c.reason is not None):
            record = Record(task_id(clip.path), clip.path, self.names[clip.path], "failed", clip.reason, clip.message)
            if self._options.dry_run:
                self.take(Outcome(record, "planned", plan=f"fails: {clip.reason}"))
            else:
                write_record(self._store, record)
                self.take(Outcome(record, "failed"))

    def take(self, outcome: Outcome) -> None:
        """Count an outcome and tell it; the manifest follows every half minute."""
        record, totals = outcome.record, self.totals
        totals.waiting -= 1
        totals.bytes += self._sizes[record.id]
        totals.done += outcome.kind == "done"
        totals.kept += outcome.kind == "kept"
        totals.refused += record.state == "done" and bool(record.refused)
        if record.state == "failed":
            totals.failed += 1
            totals.reasons[record.reason or ""] = totals.reasons.get(record.reason or "", 0) + 1
        self._records[record.id] = record
        self._tell(Finished(record.id, record.path, outcome.kind, record, outcome.ran, outcome.plan))
        if not self._options.dry_run and time.monotonic() - self._written > MANIFEST_SECONDS:
            write_manifest(self._store, _with_waiting(self._records, self._discovery, self.names))
            self._written = time.monotonic()

    def finish(self) -> None:
        """The tables over all that is there, other shards' clips included; what a renamed clip left behind goes."""
        if self._options.dry_run:
            return
        store = self._store
        records = {record.id: record for record in read_records(store)}
        task_ids = {task_id(c.path) for c in self._discovery.clips}
        done = {r.sha256 for r in records.values() if r.state == "done" and r.id in task_ids}
        for record in [r for r in records.values() if r.id not in task_ids and r.sha256 in done and not is_there(r.path)]:
            if record.output not in self.names.values() and is_ours(store, record):
                store.remove(record.output)
            store.remove(record_name(record.id))
            del records[record.id]
        for record, reason in write_combined(store, list(records.values())):
            self.totals.problems += 1
            self._tell(Problem(f"{record.output}/analysis.json", reason))
        everything = _with_waiting(records, self._discovery, self.names)
        write_manifest(store, everything)
        write_index(store, everything)


def _with_waiting(records: Mapping[str, Record], discovery: Discovery, names: Mapping[str, str]) -> list[Record]:
    waiting = {task_id(c.path): Record(task_id(c.path), c.path, names[c.path], "waiting") for c in discovery.clips}
    return list({**waiting, **records}.values())


def reserved_names(clips: Sequence[Candidate], store: Store, *, dry_run: bool = False) -> tuple[dict[str, Record], dict[str, str]]:
    """What is known of all clips by id, and each clip's folder by path. While names are given, no other batch gives any here."""
    if dry_run:
        records = {record.id: record for record in read_records(store)}
        return records, output_names(clips, records, store, _given_names(store))
    with store.locked():
        records = {record.id: record for record in read_records(store)}
        before = _given_names(store)
        names = output_names(clips, records, store, before)
        others = {name: path for name, path in before.items() if path not in names and is_there(path)}
        given = {**others, **{name: path for path, name in names.items()}}
        if given != before:
            store.write(NAMES, to_bytes(given))
    return records, names


def _given_names(store: Store) -> dict[str, str]:
    """Folder -> path of the clip that it was given to, by this or another batch; what is no name is left out."""
    try:
        document = json.loads(store.read(NAMES) or b"{}")
        return {name: path for name, path in document.items() if is_folder_name(name) and isinstance(path, str) and "\0" not in path}
    except (ValueError, AttributeError, RecursionError):
        return {}


def output_names(clips: Sequence[Candidate], records: Mapping[str, Record], store: Store, reserved: Mapping[str, str]) -> dict[str, str]:
    """Path -> name of its result folder. Given in order of path, so that every shard and every rerun comes to the same names.

    A clip keeps the name that it has, unless that folder is another's. A name is free again when the clip that had it is gone from its
    place. Two names never differ by case alone, and a folder that holds something else is not touched.
    """
    paths = {c.path for c in clips}
    holders = {**{name: path for name, path in reserved.items()}, **{r.output: r.path for r in records.values()}}
    taken = {name.casefold(): path for name, path in holders.items() if path in paths or is_there(path)}
    names = set(store.names("."))
    existing = {name.casefold(): name for name in names}
    kept = {path: name for name, path in reserved.items() if path in paths}
    given: dict[str, str] = {}
    for clip in clips:
        before = records.get(task_id(clip.path))
        name = before.output if before is not None else kept.get(clip.path)
        if name is not None and taken.get(name.casefold()) == clip.path and (name not in names or _may_take(store, name, clip, before)):
            given[clip.path] = name
            continue
        n = 1
        while True:
            name = result_name(Path(clip.path), n)
            folded = name.casefold()
            free = folded not in TABLES and taken.get(folded, clip.path) == clip.path
            if free and (folded not in existing or (name in names and _may_take(store, name, clip, before))):
                break
            n += 1
        taken[folded] = clip.path
        given[clip.path] = name
    return given


def _may_take(store: Store, name: str, clip: Candidate, before: Record | None) -> bool:
    """Whether a folder that is there holds this clip's results (also those of `emofuse analyze CLIP`, of which no record speaks)."""
    if before is not None and before.output == name:
        return is_ours(store, before)
    return owner_of(store, name) == owner_path(clip.path)


def part_of(clip: Candidate, parts: int) -> int:
    """Which of `parts` a clip is in, from 1, by its place under the folder that was named; clips of one person are in one part."""
    relative, person = clip.relative, clip.person
    if person is not None:
        relative = f"{PurePosixPath(relative).parent}/" if person.folder else f"/{person.name}"
    digest = hashlib.sha256(relative.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % parts + 1


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size if address_of(path) is None else size_and_change(path)[0]
    except (OSError, ValueError, ClipError):
        return 0
