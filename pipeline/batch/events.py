"""What a batch tells whoever listens, in the order in which it happens. `NAME` is the event's name in `--json-lines`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ..codec import decode, encode
from .task import Record

Kind = Literal["done", "failed", "kept", "failed before", "lost", "planned", "tallied"]


@dataclass(frozen=True)
class Outcome:
    """A clip's record, and how it came about.

    kind  done, failed; kept: nothing had to be done; failed before: left alone; lost: its worker died; planned: a dry run;
          tallied: its part of its person's baseline is there, and no more was asked
    plan  of a dry run, what would be done
    ran   stages that ran, in order; stages found in the cache are not among them
    tally key of that part
    """

    record: Record
    kind: Kind
    ran: tuple[str, ...] = ()
    plan: str = ""
    tally: str | None = None


@dataclass
class Totals:
    """How a batch went. `failed` counts what failed now and what failed before and was not tried again; `waiting` what was not begun;
    `refused` clips that are done but for a format that cannot hold them; `problems` what was told as a `Problem`."""

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
    problems: int = 0


@dataclass(frozen=True)
class Problem:
    """A path that was named and yields nothing, or something in the output folder that cannot be used."""

    NAME: ClassVar[str] = "problem"
    path: str
    reason: str


@dataclass(frozen=True)
class Remarked:
    """Something that a reader of the results must know of the batch as a whole; nothing is wrong."""

    NAME: ClassVar[str] = "remark"
    text: str


@dataclass(frozen=True)
class Planned:
    """The batch begins: clips of this shard and their bytes, files that are no clips, and clips in all shards."""

    NAME: ClassVar[str] = "plan"
    clips: int
    bytes: int
    passed_over: int
    of: int


@dataclass(frozen=True)
class Started:
    """Work on a clip begins, for the `attempt`-th time."""

    NAME: ClassVar[str] = "started"
    id: str
    path: str
    attempt: int
    record: Record


@dataclass(frozen=True)
class Probed:
    """The clip was opened: its length in seconds as the container says it, None if it does not."""

    NAME: ClassVar[str] = "probed"
    id: str
    path: str
    length: float | None


@dataclass(frozen=True)
class Progressed:
    """A stage has come to this second of the clip."""

    NAME: ClassVar[str] = "progress"
    id: str
    path: str
    stage: str
    at: float


@dataclass(frozen=True)
class WorkerLost:
    """A worker died on a clip: why, and of how many tries this was."""

    NAME: ClassVar[str] = "worker"
    id: str
    path: str
    reason: str
    attempt: int = 1
    pid: int | None = None


@dataclass(frozen=True)
class Finished:
    """A clip is settled: its `Outcome`."""

    NAME: ClassVar[str] = "outcome"
    id: str
    path: str
    kind: Kind
    record: Record
    ran: tuple[str, ...] = ()
    plan: str = ""


@dataclass(frozen=True)
class Ended:
    """The batch is over."""

    NAME: ClassVar[str] = "end"
    totals: Totals


Event = Problem | Remarked | Planned | Started | Probed | Progressed | WorkerLost | Finished | Ended
Listener = Callable[[Event], None]


def event_document(event: Event) -> dict[str, Any]:
    """An event as JSON values: its name under `event`, and its fields."""
    return {"event": event.NAME, **encode(event)}


def event_of(document: dict[str, Any]) -> Event:
    """An event of a worker, as `event_document` wrote it."""
    facts = dict(document)
    name = facts.pop("event")
    if name == Started.NAME:
        return decode(Started, facts)
    return decode(Probed, facts) if name == Probed.NAME else decode(Progressed, facts)


def ignore(event: Event) -> None:
    """Listens to nothing."""
