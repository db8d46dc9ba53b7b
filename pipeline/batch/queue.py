"""Which task comes next. A clip whose person has others waits for them: first every clip's part of the baseline, then the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ..errors import OutputError
from ..person import PersonSums
from .cache import Cache
from .discovery import Candidate, Person
from .events import Outcome
from .keys import key_of
from .task import Task, task_id


class Asked(Protocol):
    """What a queue must know of `BatchOptions`."""

    @property
    def force(self) -> bool: ...
    @property
    def retry_failed(self) -> bool: ...
    @property
    def limit(self) -> int | None: ...
    @property
    def dry_run(self) -> bool: ...


@dataclass(eq=False)
class _Clips:
    """A person's clips: those whose tallies are awaited, and the tallies that are there, by task."""

    awaited: set[str] = field(default_factory=set)
    tallies: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)


class Queue:
    """Gives out tasks one at a time, and takes in what came of them.

    A clip without a person is one task. A person's clips are two each: tallies, then, when all of these are there or have failed,
    results against the sums of all tallies. `limit` counts clips of which any stage ran.
    """

    def __init__(self, clips: Sequence[Candidate], names: Mapping[str, str], asked: Asked, cache: Cache) -> None:
        self._asked, self._cache = asked, cache
        self._people: dict[Person, _Clips] = {}
        self._person_of: dict[str, _Clips] = {}
        self._first = deque(self._task(clip, names) for clip in clips)
        self._second: deque[Task] = deque()
        self._out: set[str] = set()
        self._begun: set[str] = set()
        self._ran: dict[str, tuple[str, ...]] = {}

    def tasks(self) -> Iterator[Task | None]:
        """Every task; None where the next one waits for what is out. Ends where nothing is left, or the limit is reached."""
        while self._second or self._first or self._out:
            task = self._next()
            if task is not None:
                self._out.add(task.id)
                yield task
            elif self._out:
                yield None
            else:
                return

    def settle(self, outcome: Outcome) -> Outcome | None:
        """Take in what came of a task; None where the clip is not settled by it. Raises `OutputError` where tallies cannot be read."""
        id = outcome.record.id
        self._out.discard(id)
        worked = "extract" in outcome.ran or "baseline" in outcome.ran if outcome.kind == "tallied" else True
        if worked and outcome.kind not in ("kept", "failed before"):
            self._begun.add(id)
        person = self._person_of.get(id)
        if person is not None and id in person.awaited:
            self._tallied(person, outcome)
        if outcome.kind == "tallied":
            self._ran[id] = outcome.ran
            return None
        return replace(outcome, ran=(*self._ran.pop(id, ()), *outcome.ran))

    def _task(self, clip: Candidate, names: Mapping[str, str]) -> Task:
        asked = self._asked
        task = Task(task_id(clip.path), clip.path, names[clip.path], asked.force, asked.retry_failed, asked.dry_run)
        if clip.person is None:
            return task
        task = replace(task, goal="tally", person=clip.person.name)
        person = self._person_of[task.id] = self._people.setdefault(clip.person, _Clips())
        person.awaited.add(task.id)
        person.tasks[task.id] = task
        return task

    def _next(self) -> Task | None:
        for waiting in (self._second, self._first):
            for task in waiting:
                if self._may_begin(task):
                    waiting.remove(task)
                    return task
                if waiting is self._first:
                    break  # none of them was begun: they are all alike to the limit
        return None

    def _may_begin(self, task: Task) -> bool:
        limit = self._asked.limit
        return limit is None or task.id in self._begun or len(self._begun | self._out) < limit

    def _tallied(self, person: _Clips, outcome: Outcome) -> None:
        id = outcome.record.id
        person.awaited.discard(id)
        if outcome.kind == "tallied" and outcome.tally is not None:
            person.tallies[id] = outcome.tally
            person.tasks[id] = replace(person.tasks[id], goal="result", continued="baseline" in outcome.ran)
        if not person.awaited and person.tallies:
            key = self._summed(sorted(set(person.tallies.values())))
            self._second += [replace(person.tasks[id], baseline=key) for id in person.tasks if id in person.tallies]

    def _summed(self, tallies: Sequence[str]) -> str:
        """Key of the sums over all of a person's clips, which are kept; two copies of one clip count once."""
        key = key_of({"stage": "person", "tallies": list(tallies)})
        if not self._asked.dry_run and self._cache.sums(key) is None:
            self._cache.keep_sums(key, PersonSums.together(self._read(tally) for tally in tallies))
        return key

    def _read(self, key: str) -> PersonSums:
        sums = self._cache.sums(key)
        if sums is None:
            raise OutputError(f"expected the sums {key[:16]} of a clip, which was there a moment ago")
        return sums
