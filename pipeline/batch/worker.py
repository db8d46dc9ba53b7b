"""A worker: a process that loads extractors and model once and does one task after the other, told in lines of JSON.

    to it:    {"task": {...}, "out": FOLDER}      (end of input: finish what is in hand and go; no "out": the folder of its start)
    from it:  {"event": "ready"}, {"event": "started" | "probed" | "progress", ...}, {"event": "outcome", ...}, {"event": "fatal", ...}

It is a program of its own rather than a fork or a pickled call: nothing of the parent is in it, and it can be killed at any moment.
A worker whose parent is gone ends at once.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..clip import Clip
from ..codec import decode, encode
from ..errors import EmofuseError
from .events import Event, Listener, Progressed, event_document
from .remote import open_store
from .setup import OpenClip, Setup
from .stages import Stages
from .task import Task

PROGRESS_SECONDS = 0.5


def serve(make: Callable[[], Setup], out: str, *, version: str, open_clip: OpenClip = Clip) -> None:
    """The whole life of a worker on standard input and output. `make` may take long: it loads what is to be loaded."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not land between messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    _offer_to_be_killed()
    lock = threading.Lock()

    def write(message: Mapping[str, Any]) -> None:
        line = json.dumps(message, ensure_ascii=True).encode() + b"\n"
        with lock, suppress(BrokenPipeError):
            answers.write(line)
            answers.flush()

    tasks: queue.Queue[tuple[Task, str | None] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, tasks), daemon=True).start()
    store = open_store(out)
    try:
        setup = make()
        write({"event": "ready", "pid": os.getpid()})
        while (given := tasks.get()) is not None:
            task, elsewhere = given
            place = store if elsewhere is None else open_store(elsewhere)
            try:
                stages = Stages(setup, place, version=version, open_clip=open_clip)
                outcome = stages.run(task, _throttled(lambda event: write(event_document(event))))
            finally:
                if place is not store:
                    place.close()
            write({"event": "outcome", "outcome": encode(outcome)})
    except EmofuseError as error:
        write({"event": "fatal", "error": type(error).__name__, "message": str(error)})
    finally:
        store.close()
    answers.close()
    # Threads of libraries and their exit handlers are not waited for: everything that counts is on the disk.
    os._exit(0)


def _listen(source: BinaryIO, tasks: queue.Queue[tuple[Task, str | None] | None]) -> None:
    for line in source:
        message = json.loads(line)
        if "task" not in message:
            tasks.put(None)  # a farewell: what is in hand is finished first
            continue
        tasks.put((decode(Task, message["task"]), message.get("out")))
    os._exit(1)  # the parent is gone without a farewell


def _throttled(tell: Listener) -> Listener:
    """Passes on every event, but of a stage's progress only one per half second."""
    last: dict[str, float] = {}

    def pass_on(event: Event) -> None:
        if isinstance(event, Progressed):
            now = time.monotonic()
            if now - last.get(event.stage, 0.0) < PROGRESS_SECONDS:
                return
            last[event.stage] = now
        tell(event)

    return pass_on


def _offer_to_be_killed() -> None:
    """Where memory runs out, the system shall take a worker and not the batch (Linux)."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
