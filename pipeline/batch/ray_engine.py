"""The engine of a cluster: Ray actors that load models once, wherever Ray finds room. Install emofuse[ray] on every node.

A task runs at least once: where a node or an actor dies, its task goes to another. Its result is there exactly once, because every stage is
kept by its key and a record replaces itself. All nodes must see the clips and the output folder under the same path or address.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..codec import decode, encode
from ..errors import EmofuseError, UsageError
from .events import Event, Listener, Outcome, Probed, Started, WorkerLost
from .local import Allowance, plausible_length
from .stages import Stages
from .task import Record, Task

TRIES = 3  # a clip that takes its actor along so often is to blame itself
POLL = 0.5
PULSE = 5.0
MOVED = ("moved", "")


class Actor:
    """One worker of a cluster. `factory` is "module:function" and makes `Stages` out of `arguments`, on the node."""

    def __init__(self, factory: str, arguments: tuple[str, ...]) -> None:
        module, _, name = factory.partition(":")
        self._stages: Stages = getattr(import_module(module), name)(*arguments)
        self._begun: float | None = None
        self._record: Record | None = None
        self._length: float | None = None

    def run(self, task: str) -> str:
        self._begun, self._record, self._length = time.monotonic(), None, None
        try:
            return json.dumps(encode(self._stages.run(decode(Task, json.loads(task)), self._tell)))
        finally:
            self._begun = None

    def pulse(self) -> str:
        """Seconds that the task in hand has taken, the clip's length, and its record; while `run` runs."""
        seconds = None if self._begun is None else time.monotonic() - self._begun
        return json.dumps({"seconds": seconds, "length": self._length, "record": encode(self._record)})

    def _tell(self, event: Event) -> None:
        if isinstance(event, Started):
            self._record = event.record
        elif isinstance(event, Probed):
            self._length = event.length


@dataclass(eq=False)
class _Actor:
    """A task in an actor's hand."""

    actor: Any
    task: Task
    asked: float
    pulse: Any = None
    record: Record | None = None
    killed: tuple[str, str] | None = None


class RayEngine:
    """Runs tasks on actors of a Ray cluster.

    factory, arguments  what makes the `Stages` on a node: see `Actor`
    address             of the cluster ("auto", "ray://host:10001"); None starts one on this machine
    workers             actors; None: as many as the cluster's CPUs (or GPUs) hold
    cpus, gpus          that an actor takes up
    """

    def __init__(
        self,
        factory: str,
        arguments: tuple[str, ...],
        *,
        address: str | None = None,
        workers: int | None = None,
        cpus: float = 1,
        gpus: float = 0,
        allowance: Allowance | None = None,
    ) -> None:
        self._factory = factory
        self._arguments = arguments
        self._address = address
        self._workers = workers
        self._cpus = cpus
        self._gpus = gpus
        self._allowance = allowance or Allowance()
        self._again: deque[Task] = deque()
        self._tries: dict[str, int] = {}
        self._worked = False

    def run(self, tasks: Iterable[Task | None], tell: Listener, stopping: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
        """As `LocalEngine.run`. Raises `UsageError` where Ray is not installed, `EmofuseError` where no cluster is reached."""
        ray = _ray()
        started_here = self._connect(ray)
        make = ray.remote(Actor).options(num_cpus=self._cpus, num_gpus=self._gpus, max_concurrency=2, max_restarts=0)
        count, counted = self._room(ray), time.monotonic()
        waiting, exhausted = iter(tasks), False
        idle: list[Any] = []
        hands: dict[Any, _Actor] = {}
        try:
            while True:
                while (idle or len(hands) < count) and not stopping():
                    try:
                        task = self._again.popleft() if self._again else None if exhausted else next(waiting)
                    except StopIteration:
                        exhausted = True
                        continue
                    if task is None:
                        break
                    actor = idle.pop() if idle else make.remote(self._factory, self._arguments)
                    hands[actor.run.remote(json.dumps(encode(task)))] = _Actor(actor, task, time.monotonic())
                if not hands and (stopping() or (exhausted and not self._again)):
                    break
                ready, _ = ray.wait(list(hands), num_returns=1, timeout=POLL) if hands else ([], [])
                for reference in ready:
                    hand = hands.pop(reference)
                    outcome = self._outcome(ray, reference, hand, tell)
                    if outcome is None:
                        self._again.append(hand.task)
                        continue
                    if outcome.kind != "lost":
                        idle.append(hand.actor)
                    yield outcome
                for hand in hands.values():
                    self._watch(ray, hand, spare=bool(idle))
                if ready or time.monotonic() - counted > PULSE:  # nodes come and go
                    count, counted = self._room(ray), time.monotonic()
        finally:
            for actor in [*idle, *(hand.actor for hand in hands.values())]:
                ray.kill(actor)
            if started_here:
                ray.shutdown()

    def _connect(self, ray: Any) -> bool:
        """Whether the connection is ours to close."""
        if ray.is_initialized():
            return False
        try:
            ray.init(address=self._address, log_to_driver=False, include_dashboard=None if self._address else False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise EmofuseError(f"--address {self._address}: expected a Ray cluster, got {str(error).splitlines()[0]}") from None
        return True

    def _room(self, ray: Any) -> int:
        have = ray.cluster_resources()
        by_cpu = have.get("CPU", 0) / self._cpus if self._cpus else float("inf")
        by_gpu = have.get("GPU", 0) / self._gpus if self._gpus else float("inf")
        room = int(min(by_cpu, by_gpu))
        if room < 1 and not self._worked:
            raise EmofuseError(f"expected a cluster with {self._cpus} CPU and {self._gpus} GPU for a worker, got {have}")
        return room if self._workers is None else min(room, self._workers)

    def _outcome(self, ray: Any, reference: Any, hand: _Actor, tell: Listener) -> Outcome | None:
        """None where the task is to be done again by another actor."""
        errors = ray.exceptions
        try:
            outcome = decode(Outcome, json.loads(ray.get(reference)))
            self._worked = True
            return outcome
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, EmofuseError):
                raise cause from None
            raise
        except errors.OutOfMemoryError:
            reason, message = "out_of_memory", "Ray stopped the worker because its node ran out of memory"
        except (errors.RayActorError, errors.WorkerCrashedError, errors.ObjectLostError, errors.NodeDiedError) as error:
            reason, message = hand.killed or ("worker_crashed", f"the worker died: {str(error).splitlines()[0][:200]}")
        if hand.killed == MOVED:
            return None
        tries = self._tries[hand.task.id] = self._tries.get(hand.task.id, 0) + 1
        tell(WorkerLost(hand.task.id, hand.task.path, reason, tries))
        if hand.killed is None and tries < TRIES:
            return None
        record = hand.record or Record(hand.task.id, hand.task.path, hand.task.output, "waiting", attempts=tries)
        failed = {"state": "failed", "reason": reason, "message": f"{hand.task.path}: {message}", "output": hand.task.output}
        return Outcome(decode(Record, {**encode(record), **failed}), "lost")

    def _watch(self, ray: Any, hand: _Actor, *, spare: bool) -> None:
        """Kill an actor whose clip takes longer than it may; take a task back from one that finds no room while others are idle."""
        now = time.monotonic()
        if hand.killed is not None or now - hand.asked < PULSE:
            return
        if hand.pulse is None:
            hand.pulse, hand.asked = hand.actor.pulse.remote(), now
            return
        ready, _ = ray.wait([hand.pulse], timeout=0)
        if not ready:
            if spare and now - hand.asked > 2 * PULSE:  # asked for on a node that is gone, in the place of one that idles
                hand.killed = MOVED
                ray.kill(hand.actor)
            return
        pulse, hand.pulse = hand.pulse, None
        try:
            facts = json.loads(ray.get(pulse))
        except ray.exceptions.RayError:
            return
        hand.record = decode(Record, facts["record"]) if facts["record"] else None
        may = self._allowance.seconds_base + self._allowance.seconds_factor * plausible_length(facts["length"], hand.record)
        if facts["seconds"] is not None and facts["seconds"] > may:
            hand.killed = ("timed_out", f"took longer than the {may:.0f} s that it may take")
            ray.kill(hand.actor)


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UsageError("--engine ray: expected Ray to be installed (pip install 'emofuse[ray]')") from None
    return ray
