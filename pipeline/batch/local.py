"""The engine of this machine: N worker processes. A crash, a time-out or too much memory costs one clip; its worker is replaced."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any

from .. import errors
from ..codec import decode, encode
from ..errors import EmofuseError
from .events import Listener, Outcome, Probed, Started, WorkerLost, event_of
from .task import Record, Task

TICK = 0.2
LEAST_BYTES = 250.0  # of a second of any recording; speech codecs at their lowest have more
KILLS = 2  # times that a clip's worker may be killed from outside before the clip is passed over
THREADS = "1"
STARTING = 600.0  # wall seconds that a worker may take to load its models
STARTS = 3  # workers that may die in a row before one of them is ready


@dataclass(frozen=True)
class Allowance:
    """What one clip may cost.

    seconds_base, seconds_factor  wall seconds: base + factor times the clip's length (`plausible_length`)
    stall_base, stall_factor      the same without any sign of progress (a recogniser may think long over what it has heard)
    memory                        bytes of resident memory of a worker and its decoding processes; None: not watched
    """

    seconds_base: float = 600.0
    seconds_factor: float = 120.0
    stall_base: float = 1800.0
    stall_factor: float = 15.0
    memory: int | None = None


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    ready: bool = False
    task: Task | None = None
    record: Record | None = None
    begun: float = 0.0
    heard: float = 0.0
    length: float | None = None
    buffer: bytes = b""
    killed: tuple[str, str] | None = None  # reason and message, where we did it
    ending: bool = False
    given: int = field(default=0)


class LocalEngine:
    """Runs tasks on worker processes started by `command`, which must end in `worker.serve`.

    The numeric libraries of each worker have one thread: a number that followed the workers' would change last digits of results.
    """

    def __init__(self, command: Sequence[str], *, workers: int, allowance: Allowance | None = None, keep: bool = False) -> None:
        """`keep`: idle workers stay for the next `run`, with all that they have loaded, until `close`; `out` says where results go."""
        self.out: str | None = None
        self._keep = keep
        self._command = list(command)
        self._count = workers
        self._allowance = allowance or Allowance()
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._deaths = 0
        self._killed: dict[str, int] = {}

    def run(self, tasks: Iterable[Task | None], tell: Listener, stopping: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
        """Outcomes as they come, in no order. Once `stopping()` is true nothing new begins, and what is in hand is finished.

        A task that is None means: none for now, ask again later.

        Raises `EmofuseError` where no worker can be started or where what went wrong would go wrong for every clip.
        """
        waiting = iter(tasks)
        done: deque[Outcome] = deque()
        for worker in [w for w in self._workers if w.process.poll() is not None]:
            self._forget(worker)  # it died while nobody needed it
        exhausted = False
        try:
            while True:
                while not exhausted and not stopping() and self._has_room():
                    try:
                        task = next(waiting)
                    except StopIteration:
                        exhausted = True
                        break
                    if task is None:
                        break
                    self._give(self._free(), task)
                busy = [w for w in self._workers if w.task is not None]
                if not busy and (exhausted or stopping()):
                    break
                self._hear(tell, done)
                self._watch()
                while done:
                    yield done.popleft()
        finally:
            self._shut_down([w for w in self._workers if w.task is not None] if self._keep else list(self._workers))

    def close(self) -> None:
        """Ends the workers that were kept."""
        self._shut_down(list(self._workers))

    def _has_room(self) -> bool:
        return len(self._workers) < self._count or any(w.task is None and not w.ending for w in self._workers)

    def _free(self) -> _Worker:
        """A worker without a task, or a new one. It need not have loaded its models: its first task waits for it in the pipe."""
        return next((w for w in self._workers if w.task is None and not w.ending), None) or self._start()

    def _start(self) -> _Worker:
        settings = {name: THREADS for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
        errors_file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the worker)
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors_file,
            env={**os.environ, **settings},
            start_new_session=True,  # the terminal's Ctrl-C reaches us and not them; their decoding processes die with them
        )
        worker = _Worker(process, errors_file, heard=time.monotonic())
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._workers.append(worker)
        return worker

    def _give(self, worker: _Worker, task: Task) -> None:
        worker.task, worker.record, worker.length = task, None, None
        worker.begun = worker.heard = time.monotonic()
        self._tell(worker, {"task": encode(task), **({} if self.out is None else {"out": self.out})})

    def _tell(self, worker: _Worker, message: object) -> None:
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(json.dumps(message, ensure_ascii=True).encode() + b"\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; that is seen where it is listened to

    def _hear(self, tell: Listener, done: deque[Outcome]) -> None:
        for key, _ in self._selector.select(TICK):
            worker: _Worker = key.data
            assert worker.process.stdout is not None
            part = worker.process.stdout.read()
            if part:
                worker.heard = time.monotonic()
                *lines, worker.buffer = (worker.buffer + part).split(b"\n")
                for line in lines:
                    self._message(worker, json.loads(line), tell, done)
            elif part == b"":
                self._died(worker, tell, done)

    def _message(self, worker: _Worker, message: dict[str, Any], tell: Listener, done: deque[Outcome]) -> None:
        event = message["event"]
        if event == "ready":
            worker.ready, self._deaths = True, 0
            worker.begun = time.monotonic()  # loading models is not the clip's time
        elif event == "fatal":
            kind = getattr(errors, message["error"], EmofuseError)
            raise kind(message["message"])
        elif event == "outcome":
            worker.task = None
            worker.given += 1
            done.append(decode(Outcome, message["outcome"]))
            self._replace_if_over_memory(worker)
        else:
            told = event_of(message)
            if isinstance(told, Started):
                worker.record = told.record
            elif isinstance(told, Probed):
                worker.length = told.length
            tell(told)

    def _died(self, worker: _Worker, tell: Listener, done: deque[Outcome]) -> None:
        code = worker.process.wait()
        task, last_words = worker.task, _last_line(worker.errors)
        self._forget(worker)
        if worker.ending and task is None:
            return
        if not worker.ready:
            self._deaths += 1
            if self._deaths >= STARTS:
                raise EmofuseError(f"expected workers that start, but {STARTS} died in a row ({_how(code)}{last_words})")
            if task is not None:
                self._give(self._start(), task)
            return
        if task is None:
            return
        from_outside = worker.killed is None and code == -signal.SIGKILL
        reason, message = worker.killed or _reason(code, last_words)
        tries = self._killed[task.id] = self._killed.get(task.id, 0) + 1
        tell(WorkerLost(task.id, task.path, reason, tries, worker.process.pid))
        if from_outside and tries < KILLS:
            self._give(self._start(), task)  # whoever the system took for its memory is not to blame for it
            return
        record = worker.record or Record(task.id, task.path, task.output, "waiting", attempts=1)
        record = replace(record, state="failed", reason=reason, message=f"{task.path}: {message}", output=task.output, files={})
        done.append(Outcome(record, "lost"))

    def _watch(self) -> None:
        """Kill what takes too long or too much."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.task is None or worker.killed is not None:
                continue
            if not worker.ready:
                if now - worker.begun > STARTING:
                    self._kill(worker, "worker_crashed", f"was not ready after {STARTING:.0f} s")
                continue
            a = self._allowance
            length = plausible_length(worker.length, worker.record)
            may = a.seconds_base + a.seconds_factor * length
            silent = a.stall_base + a.stall_factor * length
            if now - worker.begun > may:
                self._kill(worker, "timed_out", f"took longer than the {may:.0f} s that it may take")
            elif now - worker.heard > silent:
                self._kill(worker, "timed_out", f"gave no sign of progress for {silent:.0f} s")
            elif a.memory is not None and (used := resident(worker.process.pid)) > a.memory:
                self._kill(worker, "out_of_memory", f"used {used >> 20} MiB, more than the {a.memory >> 20} MiB that a worker may use")

    def _kill(self, worker: _Worker, reason: str, message: str) -> None:
        worker.killed = (reason, message)
        _kill_group(worker.process)

    def _replace_if_over_memory(self, worker: _Worker) -> None:
        """A worker that kept four fifths of what it may use after a clip is done with would soon cost an innocent one."""
        memory = self._allowance.memory
        if memory is not None and resident(worker.process.pid) > 0.8 * memory:
            worker.ending = True
            self._tell(worker, {"farewell": True})

    def _forget(self, worker: _Worker) -> None:
        for pipe in (worker.process.stdout, worker.process.stdin):
            if pipe is not None:
                if pipe is worker.process.stdout:
                    self._selector.unregister(pipe)
                with suppress(BrokenPipeError):
                    pipe.close()
        _kill_group(worker.process)  # a decoding process that outlived its worker
        worker.errors.close()
        self._workers.remove(worker)

    def _shut_down(self, workers: Sequence[_Worker]) -> None:
        """Idle workers end by themselves; the others (we are being torn down) are killed."""
        for worker in workers:
            if worker.task is None:
                self._tell(worker, {"farewell": True})
            else:
                _kill_group(worker.process)
        for worker in workers:
            try:
                worker.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                _kill_group(worker.process)
                worker.process.wait()
            self._forget(worker)


def plausible_length(claimed: float | None, record: Record | None) -> float:
    """Seconds that a clip may be long: what its container says, but no more than its bytes can hold. A header may claim ten hours."""
    held = (record.bytes or 0) / LEAST_BYTES if record is not None else 0.0
    return min(claimed if claimed is not None else held, held)


def _reason(code: int, last_words: str) -> tuple[str, str]:
    if code == -signal.SIGKILL:
        return "out_of_memory", "the worker was killed from outside (signal 9), which is what the system does where memory runs out"
    return "worker_crashed", f"the worker process died ({_how(code)}{last_words})"


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit status {code}"


def _last_line(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
    lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1].strip()[:300]}" if lines else ""


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def resident(pid: int) -> int:
    """Bytes of resident memory of a process and its children (Linux; 0 elsewhere)."""
    total, waiting = 0, [pid]
    while waiting:
        pid = waiting.pop()
        try:
            with open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children") as file:
                    waiting += [int(child) for child in file.read().split()]
        except (OSError, ValueError, IndexError):
            continue
    return total
