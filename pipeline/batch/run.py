"""The whole batch: from what was found to a folder of results, its manifest and its tables. Which engine works is the caller's choice."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import ClipError
from ..formats.result_folder import result_name
from .combined import write_combined
from .discovery import Candidate, Discovery
from .index import write_index
from .manifest import write_manifest
from .remote import address_of, is_there, size_and_change
from .stages import Outcome
from .store import Store, read_records, record_name, write_record
from .task import Record, Task, task_id

MANIFEST_SECONDS = 30.0
# Names in the output folder that are not clips.
TABLES = ("manifest.parquet", "manifest.csv", "emotions.parquet", "emotions.csv", "index.html")

Notice = Callable[[str, Mapping[str, Any]], None]


class Engine(Protocol):
    """Does tasks somewhere. A task that is None means: none for now, ask again."""

    def run(self, tasks: Iterable[Task | None], notice: Notice, stopping: Callable[[], bool]) -> Iterator[Outcome]: ...


@dataclass(frozen=True)
class Order:
    """What is asked of a batch beside its clips.

    force         do everything again, whatever is there
    retry_failed  try again what failed before with the same configuration
    limit         begin at most so many clips
    shard         (i, n): only the i-th of n parts, i from 1; a clip's part follows from its place in the folder alone
    look          change nothing, only tell what would be done
    """

    force: bool = False
    retry_failed: bool = False
    limit: int | None = None
    shard: tuple[int, int] = (1, 1)
    look: bool = False


@dataclass
class Totals:
    """How it went. `failed` counts what failed now and what failed before and was not tried again; `waiting` what was not begun; `refused`
    clips that are done but for a format that cannot hold them."""

    clips: int = 0
    done: int = 0
    kept: int = 0
    failed: int = 0
    refused: int = 0
    waiting: int = 0
    bytes: int = 0
    seconds: float = 0.0
    stopped: bool = False
    reasons: dict[str, int] = field(default_factory=dict)


def run_batch(
    found: Discovery, store: Store, engine: Engine, order: Order, notice: Notice, stopping: Callable[[], bool] = lambda: False
) -> Totals:
    """Every clip's outcome is told through `notice` (outcome) as it comes, after plan and before end.

    Raises what the engine raises: weights that are missing, workers that do not start, a folder that cannot be written.
    """
    begin = time.monotonic()
    found = replace(found, clips=tuple(sorted(found.clips, key=lambda clip: clip.path)))
    if not order.look:
        store.sweep()
    records = {record.id: record for record in read_records(store)}
    names = output_names(found.clips, records, store)
    mine = [c for c in found.clips if part_of(c, order.shard[1]) == order.shard[0]]
    sizes = {task_id(c.path): _size(c.path) for c in mine}
    totals = Totals(clips=len(mine), waiting=len(mine))
    notice("plan", {"clips": len(mine), "bytes": sum(sizes.values()), "passed_over": len(found.passed_over), "of": len(found.clips)})
    written = time.monotonic()

    def take(outcome: Outcome) -> None:
        record = outcome.record
        totals.waiting -= 1
        totals.bytes += sizes[record.id]
        if outcome.how in ("kept", "done") or order.look:
            totals.done += outcome.how == "done"
            totals.kept += outcome.how == "kept"
        totals.refused += record.state == "done" and bool(record.refused)
        if record.state == "failed":
            totals.failed += 1
            totals.reasons[record.reason or ""] = totals.reasons.get(record.reason or "", 0) + 1
        records[record.id] = record
        facts = {"id": record.id, "path": record.path, "how": outcome.how, "record": record, "ran": outcome.ran}
        notice("outcome", facts)

    refused = {c.path: c for c in mine if c.reason is not None}
    for candidate in refused.values():
        record = Record(task_id(candidate.path), candidate.path, names[candidate.path], "failed", candidate.reason, candidate.message)
        if not order.look:
            write_record(store, record)
        take(Outcome(record, "failed" if not order.look else f"fails: {candidate.reason}"))
    begun = _Begun()
    tasks = _tasks([c for c in mine if c.reason is None], names, order, begun)
    for outcome in engine.run(tasks, notice, stopping):
        if outcome.how == "lost":  # its worker died: nobody else has written it down
            outcome = Outcome(outcome.record, "failed", outcome.ran)
            write_record(store, outcome.record)
        begun.settle(outcome)
        take(outcome)
        if not order.look and time.monotonic() - written > MANIFEST_SECONDS:
            write_manifest(store, _with_waiting(records, found, names))
            written = time.monotonic()
    totals.stopped = stopping() and totals.waiting > 0
    if not order.look:
        _finish(found, names, store)
    totals.seconds = time.monotonic() - begin
    notice("end", {"totals": totals})
    return totals


class _Begun:
    """How many clips were begun in earnest: given out and not found done already."""

    def __init__(self) -> None:
        self.out = 0
        self.worked = 0

    def settle(self, outcome: Outcome) -> None:
        self.out -= 1
        self.worked += outcome.how not in ("kept", "failed before")


def _tasks(clips: Sequence[Candidate], names: Mapping[str, str], order: Order, begun: _Begun) -> Iterator[Task | None]:
    for clip in clips:
        while order.limit is not None and begun.worked + begun.out >= order.limit:
            if not begun.out:
                return
            yield None
        begun.out += 1
        yield Task(
            id=task_id(clip.path),
            path=clip.path,
            output=names[clip.path],
            force=order.force,
            retry_failed=order.retry_failed,
            look=order.look,
        )


def _finish(found: Discovery, names: Mapping[str, str], store: Store) -> None:
    """The tables over all that is there, other shards' clips included; what a renamed clip left behind goes."""
    records = {record.id: record for record in read_records(store)}
    here = {task_id(c.path) for c in found.clips}
    done = {r.sha256: r for r in records.values() if r.state == "done" and r.id in here}
    for record in [r for r in records.values() if r.id not in here and r.sha256 in done and not is_there(r.path)]:
        if record.output not in names.values():
            store.remove(record.output)
        store.remove(record_name(record.id))
        del records[record.id]
    write_combined(store, list(records.values()))
    everything = _with_waiting(records, found, names)
    write_manifest(store, everything)
    write_index(store, everything)


def _with_waiting(records: Mapping[str, Record], found: Discovery, names: Mapping[str, str]) -> list[Record]:
    waiting = {task_id(c.path): Record(task_id(c.path), c.path, names[c.path], "waiting") for c in found.clips}
    return list({**waiting, **records}.values())


def output_names(clips: Sequence[Candidate], records: Mapping[str, Record], store: Store) -> dict[str, str]:
    """Path -> name of its result folder. Given in order of path, so that every shard and every rerun comes to the same names.

    A clip keeps the name that it has. A name is free again when the clip that had it is gone from its place. Two names never differ by
    case alone, and a folder that holds something else is left in peace.
    """
    here = {c.path for c in clips}
    taken = {r.output.casefold(): r.path for r in records.values() if r.path in here or is_there(r.path)}
    foreign = {name.casefold() for name in store.names(".")} - {r.output.casefold() for r in records.values()}
    given: dict[str, str] = {}
    for clip in clips:
        before = records.get(task_id(clip.path))
        if before is not None:
            given[clip.path] = before.output
            continue
        n = 1
        while True:
            name = result_name(Path(clip.path), n)
            folded = name.casefold()
            if folded not in TABLES and folded not in taken and (folded not in foreign or store_owner(store, name) == clip.path):
                break
            n += 1
        taken[folded] = clip.path
        given[clip.path] = name
    return given


def store_owner(store: Store, name: str) -> str | None:
    """Whose results a folder holds that no record speaks of (a single clip was analyzed into this folder before)."""
    try:
        path: str = json.loads(store.read(f"{name}/analysis.json") or b"null")["clip"]["path"]
        return path
    except (ValueError, KeyError, TypeError, OSError):
        return None


def part_of(clip: Candidate, parts: int) -> int:
    """Which of `parts` a clip is in, from 1, by its place under the folder that was named."""
    digest = hashlib.sha256(clip.place.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % parts + 1


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size if address_of(path) is None else size_and_change(path)[0]
    except (OSError, ValueError, ClipError):
        return 0
