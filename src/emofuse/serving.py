"""`emofuse serve`: a page on this machine to drop clips on. Each clip goes through `emofuse.batch.run`, as on the command line.

Only programs of this machine that know the address can talk to it: it listens on 127.0.0.1, the address holds a secret, and requests whose
Host or Origin is another are refused (so no web page can, by a name that leads to 127.0.0.1 either). Clips and results lie in a folder of
their own, readable by this user alone; they go when the reader says so, and all of them when the server ends.
"""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofuse.pipeline.batch.events import Event, Finished, Listener, Probed, Progressed
from emofuse.pipeline.errors import EmofuseError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from emofuse.pipeline.batch.local import LocalEngine

Work = Callable[[Path, Path, Listener, Callable[[], bool]], None]
"""(clip, folder for the results, tell, stopping): what is done with a clip; `emofuse.batch.run` for all but tests."""

MEDIA = {
    **{suffix: f"video/{kind}" for suffix, kind in ((".mp4", "mp4"), (".m4v", "mp4"), (".mov", "quicktime"), (".webm", "webm"))},
    **{
        suffix: f"audio/{kind}" for suffix, kind in ((".flac", "flac"), (".mp3", "mpeg"), (".m4a", "mp4"), (".wav", "wav"), (".ogg", "ogg"))
    },
}
RESULTS = {".html": "text/html; charset=utf-8", ".json": "application/json", ".csv": "text/csv; charset=utf-8", ".jpg": "image/jpeg"}


NOT_STORED = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Bounds:
    """What may be asked: bytes of a clip, clips held at a time."""

    clip_bytes: int = 500 << 20
    clips: int = 50


class Deleted(Exception):
    """The clip that was worked on was deleted."""


SHOWN = ("id", "name", "state", "length", "message", "report", "answered", "emotion", "probability")
"""What the page is told of a clip, beside how far it is."""


@dataclass
class DroppedClip:
    """One clip that was dropped, and how far it is: waiting, running, done or failed."""

    id: str
    name: str
    folder: Path
    state: str = "waiting"
    stages: dict[str, float] = field(default_factory=dict)
    length: float | None = None
    message: str = ""
    report: str | None = None
    answered: bool = False
    emotion: str | None = None
    probability: float | None = None
    gone: bool = False

    def to_json(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in SHOWN}
        return {**told, "at": min(self.stages.values(), default=0.0), "stages": dict(self.stages)}


class ClipRegistry:
    """The clips that are here. One is worked on at a time; the others wait."""

    def __init__(self, folder: Path, work: Work) -> None:
        self._folder = folder
        self._work = work
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(1)
        self._coming = 0
        self.clips: dict[str, DroppedClip] = {}

    def reserve(self, name: str, most: int) -> DroppedClip | None:
        """Room for a clip that is about to come, to be followed by `submit` or `refuse`; None where `most` clips are here or coming."""
        with self._lock:
            if len(self.clips) + self._coming >= most:
                return None
            self._coming += 1
        clip = DroppedClip(secrets.token_hex(8), name, Path())
        clip.folder = self._folder / clip.id
        (clip.folder / "clip").mkdir(parents=True)
        return clip

    def refuse(self, clip: DroppedClip) -> None:
        """Nothing of a clip that did not come whole is kept."""
        with self._lock:
            self._coming -= 1
        shutil.rmtree(clip.folder, ignore_errors=True)

    def submit(self, clip: DroppedClip) -> None:
        with self._lock:
            self._coming -= 1
            self.clips[clip.id] = clip
        self._workers.submit(self._run, clip)

    def delete(self, id: str) -> bool:
        """Forget a clip and everything of it; work on it is stopped."""
        with self._lock:
            clip = self.clips.pop(id, None)
        if clip is None:
            return False
        clip.gone = True
        if clip.state != "running":
            shutil.rmtree(clip.folder, ignore_errors=True)
        return True

    def close(self) -> None:
        for id in list(self.clips):
            self.delete(id)
        self._workers.shutdown(wait=True, cancel_futures=True)
        if isinstance(self._work, ClipWork):
            self._work.close()

    def _run(self, clip: DroppedClip) -> None:
        if clip.gone:
            return
        clip.state = "running"
        out = clip.folder / "results"

        def tell(event: Event) -> None:
            if isinstance(event, Probed):
                clip.length = event.length
            elif isinstance(event, Progressed):
                clip.stages[event.stage] = float(event.at)
            elif isinstance(event, Finished) and event.record.state == "failed":
                clip.message = event.record.message or event.record.reason or ""
            elif isinstance(event, Finished) and event.record.state == "done":
                clip.answered, clip.emotion, clip.probability = True, event.record.emotion, event.record.probability

        try:
            self._work(clip.folder / "clip" / clip.name, out, tell, lambda: clip.gone)
        except Deleted:
            pass
        except EmofuseError as error:
            clip.message = str(error)
        except Exception as error:
            clip.message = f"a bug of emofuse: {type(error).__name__}: {error}"
        reports = sorted(out.glob("*/report.html"))
        clip.message = clip.message.replace(f"{clip.folder / 'clip'}/", "")
        clip.report = reports[0].relative_to(clip.folder).as_posix() if reports else None
        clip.state = "done" if reports else "failed"
        if not reports and not clip.message:
            clip.message = "nothing came of it"
        if clip.gone:
            shutil.rmtree(clip.folder, ignore_errors=True)


def safe_name(name: str) -> str:
    """A file name of what a browser says a file is called: one part, no control characters, not hidden, not long."""
    name = re.sub(r"[\x00-\x1f\x7f]", "", name.replace("\\", "/").rsplit("/", 1)[-1]).strip().lstrip(".-")
    stem, dot, suffix = name.rpartition(".")
    shortened = f"{stem[:80]}.{suffix[:8]}" if dot and stem else name[:80]
    while len(shortened.encode("utf-8", "replace")) > 200:
        shortened = shortened[1:]
    return shortened.encode("utf-8", "replace").decode() or "clip"


class ClipServer:
    """The server's answers. `hosts` are the names (with port) that it may be called by."""

    def __init__(self, registry: ClipRegistry, *, secret: str, hosts: frozenset[str], bounds: Bounds) -> None:
        self._registry, self._secret, self._hosts, self._bounds = registry, secret, hosts, bounds

    def application(self) -> Starlette:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.base import BaseHTTPMiddleware
        from starlette.routing import Route

        at = f"/{self._secret}"
        routes = [
            Route(f"{at}/", self.front),
            Route(f"{at}/clips", self.listing, methods=["GET"]),
            Route(f"{at}/clips", self.receive, methods=["POST"]),
            Route(f"{at}/clips/{{id}}", self.remove, methods=["DELETE"]),
            Route(f"{at}/clips/{{id}}/{{path:path}}", self.file, methods=["GET"]),
        ]
        return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=self.door)])

    async def door(self, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """Every request goes through here: another Host or Origin, or no secret, gets nothing."""
        origin = request.headers.get("origin")
        if request.headers.get("host") not in self._hosts or (origin is not None and origin.removeprefix("http://") not in self._hosts):
            return plain("this server answers to its own address alone", 403)
        if not secrets.compare_digest(request.url.path.split("/")[1].encode("utf-8", "replace"), self._secret.encode()):
            return plain("not found", 404)
        response = await answer(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"  # with none at all a page's own requests would have no Origin
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["X-Frame-Options"] = "DENY"
        return response

    async def front(self, request: Request) -> Response:
        from starlette.responses import HTMLResponse

        from emofuse.pipeline.palette import palette
        from emofuse.pipeline.views.report.page import asset, page

        data = {"bytes": self._bounds.clip_bytes, "palette": asdict(palette())}
        scripts, style = (asset("shared.js"), asset("serve.js")), asset("page.css") + asset("index.css")
        text = page("serve.html.j2", data, scripts=scripts, style=style, connect="'self'")
        return HTMLResponse(text, headers=NOT_STORED)

    async def listing(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        return JSONResponse([clip.to_json() for clip in list(self._registry.clips.values())], headers=NOT_STORED)

    async def receive(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        if request.headers.get("x-emofuse") != "1":
            return plain("only the page may send clips", 403)
        clip = self._registry.reserve(safe_name(request.query_params.get("name", "clip")), self._bounds.clips)
        if clip is None:
            return plain(f"{self._bounds.clips} clips are here already: delete some first", 409)
        try:
            whole = await save(request.stream(), clip.folder / "clip" / clip.name, self._bounds.clip_bytes)
        except OSError as error:
            self._registry.refuse(clip)
            return plain(f"no room for this clip: {error.strerror or error}", 507)
        except BaseException:  # the sender went away
            self._registry.refuse(clip)
            raise
        if not whole:
            self._registry.refuse(clip)
            return plain(f"larger than {self._bounds.clip_bytes >> 20} MiB", 413)
        self._registry.submit(clip)
        return JSONResponse(clip.to_json(), 201)

    async def remove(self, request: Request) -> Response:
        if request.headers.get("x-emofuse") != "1":
            return plain("only the page may delete clips", 403)
        return plain("gone", 200) if self._registry.delete(request.path_params["id"]) else plain("not found", 404)

    async def file(self, request: Request) -> Response:
        from starlette.responses import FileResponse

        clip = self._registry.clips.get(request.path_params["id"])
        path = None if clip is None else inside(clip.folder, request.path_params["path"])
        if clip is None or path is None:
            return plain("not found", 404)
        parts = path.relative_to(clip.folder.resolve()).parts
        kinds = {**MEDIA, **RESULTS} if parts[0] == "results" else MEDIA  # a clip is never a page, whatever it is called
        kind = kinds.get(path.suffix.lower(), "application/octet-stream")
        return FileResponse(path, media_type=kind, headers=NOT_STORED)


def plain(text: str, status: int) -> Response:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(text, status)


def inside(folder: Path, name: str) -> Path | None:
    """The file of this name in a folder, links resolved; None where there is none, or it is elsewhere, or no name at all."""
    try:
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError):  # too long, or with a zero byte
        return None


async def save(parts: AsyncIterator[bytes], path: Path, most: int) -> bool:
    """Writes what comes; False, and no more written, where it is more than `most` bytes."""
    size = 0
    with path.open("wb") as file:
        async for part in parts:
            size += len(part)
            if size > most:
                return False
            file.write(part)
    return True


class ClipWork:
    """What the command line does with a clip in a batch, in a process of its own with a bound on its time (`Work`).

    The process stays for the clips that follow, so that models are loaded once. Of a clip it keeps nothing outside of that clip's folder.

    home   a folder for it
    """

    def __init__(self, options: Any, *, seconds: float, home: Path) -> None:
        from emofuse.batch import Job

        self._job, self._seconds, self._home = Job(options, {"report": True}), seconds, home
        self._engine: LocalEngine | None = None

    def __call__(self, clip: Path, out: Path, tell: Listener, stopping: Callable[[], bool]) -> None:
        from emofuse.batch import local_engine, run

        def gone() -> bool:
            """Asked several times a second: an exception out of it ends the worker with what it has in hand."""
            if stopping():
                raise Deleted
            return False

        if self._engine is None:
            self._engine = local_engine(self._job, self._home, workers=1, seconds=self._seconds, memory=None, keep=True)
        self._engine.out = str(out.resolve())
        run([clip], out, self._job, engine=self._engine, tell=tell, stopping=gone)

    def close(self) -> None:
        """Ends the process."""
        if self._engine is not None:
            self._engine.close()


@contextmanager
def folder_that_goes() -> Iterator[Path]:
    """A temporary folder that is gone afterwards however this process ends, killed or not: a small process beside it waits for that."""
    folder = Path(tempfile.mkdtemp(prefix="emofuse-serve-"))
    watcher = subprocess.Popen([sys.executable, "-I", "-S", "-c", WATCHER, str(folder)], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait()


# Its standard input ends with the server; workers end with it too, a moment later.
WATCHER = """
import signal, shutil, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
sys.stdin.buffer.read()
import os
for wait in range(40):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    if not os.path.exists(sys.argv[1]) and wait > 1:
        break
    time.sleep(0.25 if os.path.exists(sys.argv[1]) else 0.05)
"""


def patient_protocol(seconds: float = 10.0, most: int = 64) -> type[Any]:
    """uvicorn's HTTP protocol, that waits for a whole request's headers for so many seconds, and for so many connections at a time.

    Whoever opens more than `most` connections without asking anything loses the oldest of them; the user's own request gets through.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    waiting: dict[Any, None] = {}

    class Patient(H11Protocol):
        _timer: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def _wait(self) -> None:
            waiting[self] = None
            self._timer = self.loop.call_later(seconds, self._give_up)
            if len(waiting) > most:
                next(iter(waiting))._give_up()

        def _give_up(self) -> None:
            self._stop_waiting()
            if self.transport is not None and not self.transport.is_closing():
                self.transport.abort()

        def _stop_waiting(self) -> None:
            waiting.pop(self, None)
            if self._timer is not None:
                self._timer.cancel()

        def handle_events(self) -> None:
            super().handle_events()
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.transport is not None and not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
                self._stop_waiting()
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

    return Patient
