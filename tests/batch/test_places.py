"""Clips and results at an address: fsspec's memory file system stands for s3 and its kin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from emofuse.pipeline.batch.remote import RemoteStore, address_of, discover_remote, open_store, refuse_network
from emofuse.pipeline.batch.run import BatchOptions
from emofuse.pipeline.batch.store import LocalStore, read_records
from emofuse.pipeline.errors import UsageError


@pytest.fixture
def bucket() -> Iterator[Any]:
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def fill(fs: Any) -> None:
    for i in range(3):
        fs.pipe_file(f"/bucket/clips/day {i}/clip{i}.mp4", f"fine words of number {i}".encode())
    fs.pipe_file("/bucket/clips/notes.txt", b"not a clip")
    fs.pipe_file("/bucket/clips/list.mp4", b"#EXTM3U\nhttp://127.0.0.1/a.ts\n")
    fs.pipe_file("/bucket/clips/broken.mp4", b"broken")
    fs.pipe_file("/bucket/clips/.hidden/clip.mp4", b"fine")
    fs.pipe_file("/bucket/clips/old/analysis.json", b"{}")
    fs.pipe_file("/bucket/clips/old/clip.mp4", b"fine")


def test_a_path_that_path_took_a_slash_from_is_an_address_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert address_of(Path("s3://bucket/a b")) == "s3://bucket/a b" == address_of("s3://bucket/a b")
    assert address_of("/data/s3:/x") is None and address_of("clip.mp4") is None and address_of("c:clip.mp4") is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:/bucket").write_text("a file of that name")
    assert address_of("s3:/bucket") is None, "what is there is what was meant"
    assert isinstance(open_store("memory://x"), RemoteStore) and isinstance(open_store("/tmp/x"), LocalStore)


def test_offline_means_no_network() -> None:
    refuse_network("memory://bucket", offline=True)
    refuse_network("s3://bucket", offline=False)
    with pytest.raises(UsageError, match="--offline was given"):
        refuse_network("s3://bucket", offline=True)


def test_discovery_at_an_address_is_that_of_a_folder(bucket: Any) -> None:
    fill(bucket)
    discovery = discover_remote("memory://bucket/clips")
    assert {c.path: c.reason for c in discovery.clips} == {
        **{f"memory://bucket/clips/day {i}/clip{i}.mp4": None for i in range(3)},
        "memory://bucket/clips/list.mp4": "not_media",
        "memory://bucket/clips/broken.mp4": None,
    }
    assert discovery.passed_over == ("memory://bucket/clips/notes.txt",)
    assert {c.relative for c in discovery.clips} >= {"day 0/clip0.mp4"}
    assert discover_remote("memory://nowhere").problems


def test_results_at_an_address_are_those_of_a_folder(light: ModuleType, bucket: Any, tmp_path: Path) -> None:
    fill(bucket)
    job = {"log": str(tmp_path / "log"), "pause": 0.0}
    totals, _ = light.batch("memory://bucket/clips", "memory://bucket/out", job)
    assert (totals.done, totals.failed) == (3, 2)
    began = (tmp_path / "log").read_text()
    assert began.count("voice") == 3
    # The same clips in a local folder: every file of every result but for the clip's place.
    local = tmp_path / "clips"
    bucket.get("/bucket/clips", str(local), recursive=True)
    light.batch(local, tmp_path / "out", job)
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").glob("clip*/**/*") if p.is_file()}
    assert len(names) >= 18
    for name in names:
        here, there = (tmp_path / "out" / name).read_bytes(), bucket.cat_file(f"/bucket/out/{name}")
        if name.endswith("analysis.json"):
            one, other = json.loads(here), json.loads(there)
            assert other["clip"].pop("path").startswith("memory://bucket/clips/day") and one["clip"].pop("path")
            assert one == other
        else:
            assert here == there, name
    # A rerun does nothing; a changed clip is seen; nothing is left behind on this machine.
    (tmp_path / "log").unlink()
    totals, _ = light.batch("memory://bucket/clips", "memory://bucket/out", job)
    assert (totals.kept, totals.failed) == (3, 2) and not (tmp_path / "log").exists()
    bucket.pipe_file("/bucket/clips/day 1/clip1.mp4", b"fine but other words")
    store = open_store("memory://bucket/out")
    totals, _ = light.batch("memory://bucket/clips", "memory://bucket/out", job)
    assert (totals.done, totals.kept) == (1, 2)
    assert {r.state for r in read_records(store)} == {"done", "failed"}
    # A moved clip costs a write, and what it left goes.
    bucket.mv("/bucket/clips/day 2/clip2.mp4", "/bucket/clips/moved.mp4")
    (tmp_path / "log").unlink()
    light.batch("memory://bucket/clips", "memory://bucket/out", job)
    assert (tmp_path / "log").read_text() == "write\tmoved.mp4\n"
    assert "clip2" not in store.names(".") and "moved" in store.names(".")
    light.batch("memory://bucket/clips", "memory://bucket/out", job, BatchOptions(force=True))
    assert (tmp_path / "log").read_text().count("voice") == 3
