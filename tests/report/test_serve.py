"""`emofuse serve`: only the page may send and delete, bounds hold, nothing outside a clip's folder goes out, deleting deletes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emofuse.pipeline.batch.events import Probed, Progressed
from emofuse.pipeline.errors import NotMedia
from emofuse.serving import Bounds, ClipRegistry, ClipServer, folder_that_goes, patient_protocol, safe_name

uvicorn = pytest.importorskip("uvicorn", reason="needs emofuse[serve]")
SECRET = "s3cret"


def pretend(clip: Path, out: Path, tell: Callable[[Any], None], stopping: Callable[[], bool]) -> None:
    """In place of the models: a report that names the clip, or an error for what calls itself bad."""
    tell(Probed("", str(clip), 4.0))
    tell(Progressed("", str(clip), "face", 2.0))
    if clip.name == "bad.mp4":
        raise NotMedia(f"{clip}: expected a local media file")
    while "slow" in clip.name and not stopping():
        time.sleep(0.01)
    (out / "x").mkdir(parents=True)
    (out / "x/report.html").write_text(f"<!doctype html><link rel=icon href=data:,><title>{len(clip.read_bytes())} bytes</title>")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    from emofuse.cli.serve import bound

    folder = tmp_path_factory.mktemp("serve")
    listening = bound(0)
    port = listening.getsockname()[1]
    registry = ClipRegistry(folder, pretend)
    hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
    app = ClipServer(registry, secret=SECRET, hosts=hosts, bounds=Bounds(clip_bytes=1000, clips=4)).application()
    running = uvicorn.Server(uvicorn.Config(app, http=patient_protocol(2.0, 8), log_level="warning"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    yield SimpleNamespace(port=port, registry=registry, folder=folder)
    running.should_exit = True
    thread.join(10)
    registry.close()
    listening.close()
    assert list(folder.iterdir()) == [], "nothing is left when it ends"


def ask(server: Any, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def clips(server: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(ask(server, "GET", f"/{SECRET}/clips")[1])
    return listed


def send(server: Any, name: str, content: bytes = b"x" * 10) -> dict[str, Any]:
    """Sends a clip and waits until it is done or failed."""
    status, body, _ = ask(server, "POST", f"/{SECRET}/clips?name={name}", content, X_Emofuse="1")
    assert status == 201, body
    id = json.loads(body)["id"]
    clip: dict[str, Any] = {}
    for _ in range(500):
        clip = next(c for c in clips(server) if c["id"] == id)
        if clip["state"] in ("done", "failed"):
            return clip
        time.sleep(0.02)
    raise AssertionError(clip)


@pytest.fixture(autouse=True)
def cleared(server: SimpleNamespace) -> Iterator[None]:
    yield
    for id in list(server.registry.clips):
        server.registry.delete(id)


def test_a_clip_comes_gets_a_report_and_goes(server: SimpleNamespace) -> None:
    clip = send(server, "a%20b.mp4")
    assert (clip["state"], clip["name"], clip["length"], clip["at"]) == ("done", "a b.mp4", 4.0, 2.0)
    status, body, headers = ask(server, "GET", f"/{SECRET}/clips/{clip['id']}/{clip['report']}")
    assert status == 200 and b"10 bytes" in body and headers["content-type"].startswith("text/html")
    status, body, headers = ask(server, "GET", f"/{SECRET}/clips/{clip['id']}/clip/a%20b.mp4", Range="bytes=2-4")
    assert status == 206 and body == b"xxx" and headers["content-type"] == "video/mp4", "a player can seek in it"
    assert ask(server, "DELETE", f"/{SECRET}/clips/{clip['id']}", X_Emofuse="1")[0] == 200
    assert clips(server) == [] and not (server.folder / clip["id"]).exists()


def test_a_failure_is_told_without_the_servers_paths(server: SimpleNamespace) -> None:
    clip = send(server, "bad.mp4")
    assert clip["state"] == "failed" and clip["message"] == "bad.mp4: expected a local media file"


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"Host": "evil.example"}, f"/{SECRET}/clips", 403),
        ({"Host": "127.0.0.1:1"}, f"/{SECRET}/clips", 403),
        ({"Origin": "http://evil.example"}, f"/{SECRET}/clips", 403),
        ({"Origin": "null"}, f"/{SECRET}/clips", 403),
        ({}, "/wrong/clips", 404),
        ({}, "/", 404),
    ],
)
def test_others_are_refused(server: SimpleNamespace, headers: dict[str, str], path: str, status: int) -> None:
    assert ask(server, "GET", path, None, **headers)[0] == status


def test_a_plain_form_cannot_send_or_delete(server: SimpleNamespace) -> None:
    assert ask(server, "POST", f"/{SECRET}/clips?name=a.mp4", b"x")[0] == 403
    clip = send(server, "a.mp4")
    assert ask(server, "DELETE", f"/{SECRET}/clips/{clip['id']}")[0] == 403
    assert len(clips(server)) == 1


def test_size_and_number_are_bounded(server: SimpleNamespace) -> None:
    assert ask(server, "POST", f"/{SECRET}/clips?name=a.mp4", b"x" * 1001, X_Emofuse="1")[0] == 413
    assert list(server.folder.iterdir()) == [], "nothing of it is kept"
    for i in range(4):
        send(server, f"{i}.mp4", b"x" * 1000)
    assert ask(server, "POST", f"/{SECRET}/clips?name=a.mp4", b"x", X_Emofuse="1")[0] == 409


def test_nothing_outside_a_clips_folder_is_handed_out(server: SimpleNamespace) -> None:
    (server.folder / "secret.txt").write_text("no")
    clip = send(server, "page.html", b"<script>1</script>")
    for path in ("../secret.txt", "clip/../../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "//etc/passwd"):
        assert ask(server, "GET", f"/{SECRET}/clips/{clip['id']}/{path}")[0] == 404
    (server.folder / clip["id"] / "link").symlink_to("/etc/passwd")
    assert ask(server, "GET", f"/{SECRET}/clips/{clip['id']}/link")[0] == 404
    (server.folder / "secret.txt").unlink()
    status, _, headers = ask(server, "GET", f"/{SECRET}/clips/{clip['id']}/clip/page.html")
    assert status == 200 and headers["content-type"] == "application/octet-stream", "a clip is never a page"


def test_one_that_is_being_worked_on_goes_when_it_is_deleted(server: SimpleNamespace) -> None:
    status, body, _ = ask(server, "POST", f"/{SECRET}/clips?name=slow.mp4", b"x", X_Emofuse="1")
    id = json.loads(body)["id"]
    while server.registry.clips[id].state != "running":
        time.sleep(0.01)
    assert status == 201 and ask(server, "DELETE", f"/{SECRET}/clips/{id}", X_Emofuse="1")[0] == 200
    for _ in range(500):
        if not (server.folder / id).exists():
            return
        time.sleep(0.02)
    raise AssertionError("its folder is still there")


def test_limits_hold_for_clips_that_come_at_once(server: SimpleNamespace) -> None:
    """Room is given when a clip begins to come, not when it is whole."""
    connections = []
    for n in range(4):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.putrequest("POST", f"/{SECRET}/clips?name={n}.mp4")
        connection.putheader("X-Emofuse", "1")
        connection.putheader("Content-Length", "10")
        connection.endheaders()
        connection.send(b"x")
        connections.append(connection)
    deadline = time.monotonic() + 10
    while len(list(server.folder.iterdir())) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ask(server, "POST", f"/{SECRET}/clips?name=fifth.mp4", b"x", X_Emofuse="1")[0] == 409
    connections.pop().close()  # the sender went away: its room is free again
    deadline = time.monotonic() + 10
    while len(list(server.folder.iterdir())) > 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ask(server, "POST", f"/{SECRET}/clips?name=fifth.mp4", b"x", X_Emofuse="1")[0] == 201
    for connection in connections:
        connection.close()


def test_whoever_asks_nothing_keeps_nobody_waiting(server: SimpleNamespace) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(60)]
    for connection in idle:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
    begin = time.monotonic()
    assert ask(server, "GET", f"/{SECRET}/clips")[0] == 200, "the user's own request gets through"
    for connection in idle:
        connection.settimeout(10)
        with suppress(ConnectionError):
            assert connection.recv(100) == b"", "none of them is answered, and each is closed in time"
        connection.close()
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("path", ["%00", "clip/%00.mp4", "x" * 5000, "/".join(["y" * 100] * 60), "%ff%fe", "clip"])
def test_no_path_makes_the_server_fail(server: SimpleNamespace, path: str) -> None:
    clip = send(server, "a.mp4")
    assert ask(server, "GET", f"/{SECRET}/clips/{clip['id']}/{path}")[0] == 404


def test_work_on_a_deleted_clip_is_stopped_in_the_middle(tmp_path: Path) -> None:
    """What `ClipWork` hands to a batch as `stopping` ends it at once, and not after the clip."""
    from emofuse import batch
    from emofuse.options import Options
    from emofuse.serving import ClipWork

    seen: list[str] = []

    def long(paths: Any, out: Any, job: Any, *, stopping: Callable[[], bool], **_: Any) -> None:
        seen.append("begun")
        while not stopping():
            time.sleep(0.01)
        seen.append("told politely")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "run", long)
        registry = ClipRegistry(tmp_path, ClipWork(Options(offline=True), seconds=60, home=tmp_path / "worker"))
        clip = registry.reserve("a.mp4", 5)
        assert clip is not None
        registry.submit(clip)
        while not seen:
            time.sleep(0.01)
        registry.delete(clip.id)
        registry.close()
    assert seen == ["begun"] and not clip.folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_the_folder_goes_however_the_server_ends(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import time; from emofuse.serving import folder_that_goes\n"
        "with folder_that_goes() as folder:\n"
        "    (folder / 'clip.mp4').write_text('private'); print(folder, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert (folder / "clip.mp4").is_file()
        process.send_signal(number)
        process.wait()
    deadline = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()


def test_the_folder_goes_when_all_is_well() -> None:
    with folder_that_goes() as folder:
        assert folder.is_dir()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\talk.mp4", "talk.mp4"),
        (".hidden.mp4", "hidden.mp4"),
        ("--out.mp4", "out.mp4"),
        ("a\x00\nb.mp4", "ab.mp4"),
        ("", "clip"),
        ("..", "clip"),
        ("x" * 300 + ".mp4", "x" * 80 + ".mp4"),
        ("naïve <b>.mp4", "naïve <b>.mp4"),
    ],
)
def test_a_name_becomes_one_plain_file_name(given: str, kept: str) -> None:
    assert safe_name(given) == kept


def test_the_page_sends_a_clip_and_links_its_report(
    server: SimpleNamespace, browser: Any, wait: Callable[..., None], serious_faults: Callable[[], list[Any]], tmp_path: Path
) -> None:
    name = "<img src=x onerror=window.bad=1>.mp4"
    (tmp_path / name).write_bytes(b"y" * 33)
    (tmp_path / "big.mp4").write_bytes(b"y" * 3300)
    browser.get_log("browser")  # what other pages said before this one is not its fault
    browser.get(f"http://127.0.0.1:{server.port}/{SECRET}/")
    browser.find_element("id", "files").send_keys(f"{tmp_path / name}\n{tmp_path / 'big.mp4'}")
    wait(browser, "document.querySelector('#clips a')")
    assert browser.find_element("css selector", "#clips td.name").text == name
    wait(browser, "document.getElementById('said').textContent.startsWith('big.mp4: larger than')")
    assert browser.execute_script("return typeof window.bad") == "undefined"
    assert serious_faults() == []
    browser.find_element("css selector", "#clips a").click()
    wait(browser, "document.title === '33 bytes'")
    browser.back()
    wait(browser, "document.querySelector('#clips button')")
    browser.find_element("css selector", "#clips button").click()
    wait(browser, "document.querySelectorAll('#clips tbody tr').length === 0")
    assert server.registry.clips == {}
    assert [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []


@pytest.mark.slow
def test_a_real_clip_gets_the_command_lines_results(samples: Path, tmp_path: Path) -> None:
    from emofuse.options import Options
    from emofuse.serving import ClipWork

    clip = tmp_path / "voice_only.flac"
    clip.write_bytes((samples / "voice_only.flac").read_bytes())
    told: list[str] = []
    work = ClipWork(Options(offline=True), seconds=600, home=tmp_path / "worker")
    processes: set[int] = set()
    for out in (tmp_path / "out", tmp_path / "out again"):  # nothing of the first is known to the second
        work(clip, out, lambda event: told.append(event.NAME), lambda: False)
        assert (out / "voice_only/report.html").is_file() and {"probed", "progress", "outcome"} <= set(told)
        told.clear()
        assert work._engine is not None
        processes |= {worker.process.pid for worker in work._engine._workers}
    work.close()
    assert len(processes) == 1, "one process, loaded once"


@pytest.mark.slow
def test_the_command_serves_one_clip_and_leaves_nothing_when_it_is_ended(samples: Path, tmp_path: Path) -> None:
    options = ["--offline", "--words", "none", "--face", "none", "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-m", "emofuse", "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        port, secret = int(address.split(":")[2].split("/")[0]), address.split("/")[3]
        there = SimpleNamespace(port=port)
        body = (samples / "voice_only.flac").read_bytes()
        assert ask(there, "POST", f"/{secret}/clips?name=a.flac", body, X_Emofuse="1")[0] == 201
        (clip,) = json.loads(ask(there, "GET", f"/{secret}/clips")[1])
        while clip["state"] not in ("done", "failed"):
            time.sleep(0.5)
            (clip,) = json.loads(ask(there, "GET", f"/{secret}/clips")[1])
        assert clip["state"] == "done", clip["message"]
        page = ask(there, "GET", f"/{secret}/clips/{clip['id']}/{clip['report']}")[1]
        assert b'"src":"../../clip/a.flac"' in page
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert [p for p in tmp_path.iterdir() if p.name.startswith("emofuse-serve-")] == []
