"""`emofuse serve`: a page on this machine to drop clips on. Each clip goes through `emofuse.batch.run`, as on the command line.

Only programs of this machine that know the address can talk to it: it listens on 127.0.0.1, the address holds a secret, and requests whose
Host or Origin is another are refused (so no web page can, by a name that leads to 127.0.0.1 either). Clips and results lie in a folder of
their own, readable by this user alone; they go when the reader says so, and all of them when the server ends.
"""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofuse.pipeline.batch.events import Event, Finished, Listener, Probed, Progressed
from emofuse.pipeline.errors import EmofuseError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

Work = Callable[[Path, Path, Listener, Callable[[], bool]], None]
"""(clip, folder for the results, tell, stopping): what is done with a clip; `emofuse.batch.run` for all but tests."""

MEDIA = {
    **{suffix: f"video/{kind}" for suffix, kind in ((".mp4", "mp4"), (".m4v", "mp4"), (".mov", "quicktime"), (".webm", "webm"))},
    **{
        suffix: f"audio/{kind}" for suffix, kind in ((".flac", "flac"), (".mp3", "mpeg"), (".m4a", "mp4"), (".wav", "wav"), (".ogg", "ogg"))
    },
}
RESULTS = {".html": "text/html; charset=utf-8", ".json": "application/json", ".csv": "text/csv; charset=utf-8", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class Bounds:
    """What may be asked: bytes of a clip, clips held at a time."""

    clip_bytes: int = 500 << 20
    clips: int = 50


@dataclass
class Clip:
    """One clip that was dropped, and how far it is: waiting, running, done or failed."""

    id: str
    name: str
    folder: Path
    state: str = "waiting"
    stages: dict[str, float] = field(default_factory=dict)
    length: float | None = None
    message: str = ""
    report: str | None = None
    gone: bool = False

    def to_json(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in ("id", "name", "state", "length", "message", "report")}
        return {**told, "at": min(self.stages.values(), default=0.0), "stages": dict(self.stages)}


class Desk:
    """The clips that are here. One is worked on at a time; the others wait."""

    def __init__(self, folder: Path, work: Work) -> None:
        self._folder = folder
        self._work = work
        self._lock = threading.Lock()
        self._hands = ThreadPoolExecutor(1)
        self.clips: dict[str, Clip] = {}

    def place(self, name: str) -> Clip:
        """Room for a clip that is about to come."""
        clip = Clip(secrets.token_hex(8), name, Path())
        clip.folder = self._folder / clip.id
        (clip.folder / "clip").mkdir(parents=True)
        return clip

    def submit(self, clip: Clip) -> None:
        with self._lock:
            self.clips[clip.id] = clip
        self._hands.submit(self._run, clip)

    def delete(self, id: str) -> bool:
        """Forget a clip and everything of it; one that is being worked on goes as soon as its work has ended."""
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
        self._hands.shutdown(wait=True, cancel_futures=True)

    def _run(self, clip: Clip) -> None:
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

        try:
            self._work(clip.folder / "clip" / clip.name, out, tell, lambda: clip.gone)
        except EmofuseError as error:
            clip.message = str(error)
        except Exception as error:
            clip.message = f"a bug of emofuse: {type(error).__name__}: {error}"
        found = sorted(out.glob("*/report.html"))
        clip.message = clip.message.replace(f"{clip.folder / 'clip'}/", "")
        clip.report = found[0].relative_to(clip.folder).as_posix() if found else None
        clip.state = "done" if found else "failed"
        if not found and not clip.message:
            clip.message = "nothing came of it"
        if clip.gone:
            shutil.rmtree(clip.folder, ignore_errors=True)


def safe_name(name: str) -> str:
    """A file name of what a browser says a file is called: one part, no control characters, not hidden, not long."""
    name = re.sub(r"[\x00-\x1f\x7f]", "", name.replace("\\", "/").rsplit("/", 1)[-1]).strip().lstrip(".-")
    stem, dot, suffix = name.rpartition(".")
    found = f"{stem[:80]}.{suffix[:8]}" if dot and stem else name[:80]
    while len(found.encode("utf-8", "replace")) > 200:
        found = found[1:]
    return found.encode("utf-8", "replace").decode() or "clip"


def application(desk: Desk, *, secret: str, hosts: frozenset[str], bounds: Bounds) -> Starlette:
    """The server's answers; `hosts` are the names (with port) that it may be called by."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
    from starlette.routing import Route

    from emofuse.pipeline.views.report.page import own, page

    async def door(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        origin = request.headers.get("origin")
        if request.headers.get("host") not in hosts or (origin is not None and origin.removeprefix("http://") not in hosts):
            return PlainTextResponse("this server answers to its own address alone", 403)
        if not secrets.compare_digest(request.url.path.split("/")[1].encode(), secret.encode()):
            return PlainTextResponse("not found", 404)
        response = await answer(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"  # with none at all a page's own requests would have no Origin
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["X-Frame-Options"] = "DENY"
        return response

    async def front(request: Request) -> Response:
        data = {"bytes": bounds.clip_bytes}
        text = page("serve.html.j2", data, scripts=(own("serve.js"),), style=own("page.css") + own("index.css"), connect="'self'")
        return HTMLResponse(text, headers={"Cache-Control": "no-store"})

    async def listing(request: Request) -> Response:
        return JSONResponse([clip.to_json() for clip in list(desk.clips.values())], headers={"Cache-Control": "no-store"})

    async def receive(request: Request) -> Response:
        if request.headers.get("x-emofuse") != "1":
            return PlainTextResponse("only the page may send clips", 403)
        if len(desk.clips) >= bounds.clips:
            return PlainTextResponse(f"{bounds.clips} clips are here already: delete some first", 409)
        clip = desk.place(safe_name(request.query_params.get("name", "clip")))
        try:
            whole = await save(request.stream(), clip.folder / "clip" / clip.name, bounds.clip_bytes)
        except BaseException:  # the sender went away
            shutil.rmtree(clip.folder, ignore_errors=True)
            raise
        if not whole:
            shutil.rmtree(clip.folder, ignore_errors=True)
            return PlainTextResponse(f"larger than {bounds.clip_bytes >> 20} MiB", 413)
        desk.submit(clip)
        return JSONResponse(clip.to_json(), 201)

    async def remove(request: Request) -> Response:
        if request.headers.get("x-emofuse") != "1":
            return PlainTextResponse("only the page may delete clips", 403)
        return PlainTextResponse("gone") if desk.delete(request.path_params["id"]) else PlainTextResponse("not found", 404)

    async def file(request: Request) -> Response:
        clip = desk.clips.get(request.path_params["id"])
        path = None if clip is None else (clip.folder / request.path_params["path"]).resolve()
        if clip is None or path is None or not path.is_relative_to(clip.folder.resolve()) or not path.is_file():
            return PlainTextResponse("not found", 404)
        parts = path.relative_to(clip.folder.resolve()).parts
        kinds = {**MEDIA, **RESULTS} if parts[0] == "results" else MEDIA  # a clip is never a page, whatever it is called
        kind = kinds.get(path.suffix.lower(), "application/octet-stream")
        return FileResponse(path, media_type=kind, headers={"Cache-Control": "no-store"})

    routes = [
        Route(f"/{secret}/", front),
        Route(f"/{secret}/clips", listing, methods=["GET"]),
        Route(f"/{secret}/clips", receive, methods=["POST"]),
        Route(f"/{secret}/clips/{{id}}", remove, methods=["DELETE"]),
        Route(f"/{secret}/clips/{{id}}/{{path:path}}", file, methods=["GET"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=door)])


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


def clip_work(options: Any, *, seconds: float) -> Work:
    """What the command line does with a clip in a batch, in a process of its own with a bound on its time."""
    from emofuse.batch import Job, run

    job = Job(options, {"report": True})

    def work(clip: Path, out: Path, tell: Listener, stopping: Callable[[], bool]) -> None:
        run([clip], out, job, workers=1, seconds=seconds, tell=tell, stopping=stopping)

    return work
