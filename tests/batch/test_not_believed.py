"""A results folder may come from anybody: nothing outside it is touched, nobody's folder is taken, and what is damaged is made again."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from emofuse.pipeline.batch.cache import Cache
from emofuse.pipeline.batch.content import state_of
from emofuse.pipeline.batch.discovery import discover
from emofuse.pipeline.batch.run import BatchOptions, reserved_names, run_batch
from emofuse.pipeline.batch.stages import Stages
from emofuse.pipeline.batch.store import LocalStore, read_record, read_records, record_name, to_bytes, write_record
from emofuse.pipeline.batch.task import Record, is_folder_name, task_id
from emofuse.pipeline.codec import encode
from emofuse.pipeline.errors import ClipChanged, OutputError

WORK = {"pause": 0.0}


@pytest.fixture
def work(light: ModuleType, tmp_path: Path) -> Any:
    """A folder with clips, and a batch over it."""
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("one", "two"):
        (clips / f"{name}.mp4").write_text(f"fine words of {name}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")

    def run(**more: Any) -> Any:
        return light.batch(clips, tmp_path / "out", {"log": str(tmp_path / "log"), **WORK}, **more)

    return run


def forged(tmp_path: Path, **changes: Any) -> None:
    """A record as somebody else may write it: that of a finished clip, changed."""
    store = LocalStore(tmp_path / "out")
    record = next(r for r in read_records(store) if r.state == "done")
    document = {**encode(record), **changes}
    path = tmp_path / "out/.emofuse/records" / f"{document['id']}.json"
    path.write_bytes(to_bytes(document))


@pytest.mark.parametrize("output", ["../mine", "{tmp}/mine", "x/../../mine", ".", "..", ".emofuse", "emotions.csv", "", "a/b", "one\0"])
@pytest.mark.parametrize("whose", ["a clip that is gone", "a clip that is here"])
def test_a_record_whose_output_is_no_plain_name_is_no_record(work: Any, tmp_path: Path, output: str, whose: str) -> None:
    work()
    output = output.format(tmp=tmp_path)
    if whose == "a clip that is gone":
        gone = "/nowhere/at all.wav"
        forged(tmp_path, id=task_id(gone), path=gone, output=output)
    else:
        forged(tmp_path, output=output)
    work()
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == [".emofuse", "one", "two"]
    assert all(is_folder_name(r.output) for r in read_records(LocalStore(tmp_path / "out")))


def test_a_folder_is_a_clips_only_if_its_document_says_so(work: Any, tmp_path: Path) -> None:
    work()
    victim = tmp_path / "out/victim"
    victim.mkdir()
    (victim / "thesis.txt").write_text("years of work")
    gone = "/nowhere/gone.wav"
    forged(tmp_path, id=task_id(gone), path=gone, output="victim")
    forged(tmp_path, output="victim")
    work()
    assert [p.name for p in victim.iterdir()] == ["thesis.txt"], "neither removed nor replaced"
    assert {r.output for r in read_records(LocalStore(tmp_path / "out"))} == {"one", "two"}
    # A folder with another clip's results is another's too.
    forged(tmp_path, output="two")
    work()
    for name in ("one", "two"):
        assert json.loads((tmp_path / "out" / name / "analysis.json").read_text())["clip"]["name"] == f"{name}.mp4"


@pytest.mark.parametrize("place", [".emofuse", ".emofuse/tmp", ".emofuse/records", ".emofuse/streams"])
def test_links_in_a_results_folder_lead_nowhere(work: Any, tmp_path: Path, place: str) -> None:
    """A folder of somebody else's whose inner folders are links: what they lead to keeps every file, also what looks half-written."""
    out, mine = tmp_path / "out", tmp_path / "mine"
    (mine / "host-1-abc").mkdir()
    (mine / "host-1-abc/lock").write_bytes(b"")
    (mine / "host-1-abc/thesis.txt").write_text("years of work")
    (out / place).parent.mkdir(parents=True, exist_ok=True)
    (out / place).symlink_to(mine, target_is_directory=True)
    before = sorted(str(p) for p in mine.rglob("*"))
    with pytest.raises(OutputError, match="a link leads out of it"):
        work()
    assert sorted(str(p) for p in mine.rglob("*")) == before


def test_a_result_folder_that_is_a_link_is_replaced_and_not_what_it_leads_to(work: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/one").symlink_to(tmp_path / "mine", target_is_directory=True)
    work()
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"
    assert not (tmp_path / "mine/analysis.json").exists() and (tmp_path / "out/one-2/analysis.json").is_file()


@pytest.mark.parametrize("name", ["analysis.json", "emotions.csv", "attention_maps.npz", "streams/voice.parquet", "transcript.srt"])
@pytest.mark.parametrize("how", ["empty", "one bit", "gone", "a folder", "not JSON"])
def test_a_damaged_result_is_made_again(work: Any, tmp_path: Path, name: str, how: str) -> None:
    work()
    path = tmp_path / "out/two" / name
    whole = path.read_bytes()
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how != "gone":
        bent = bytearray(whole)
        bent[len(bent) // 2] ^= 4
        path.write_bytes({"empty": b"", "one bit": bytes(bent), "not JSON": b"[" * 100_000}[how])
    (tmp_path / "log").unlink()
    totals, _ = work()
    assert (totals.done, totals.kept, totals.failed) == (1, 1, 0)
    assert path.read_bytes() == whole, "byte for byte what it was"
    assert (tmp_path / "log").read_text() == "write\ttwo.mp4\n", "and nothing was computed for it"
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == [".emofuse", "one", "two"]


def test_a_broken_document_of_another_shard_costs_its_rows_and_not_the_batch(work: Any, tmp_path: Path) -> None:
    work()
    (tmp_path / "clips/two.mp4").rename(tmp_path / "two.mp4")  # not of this batch any more, but still there
    store = LocalStore(tmp_path / "out")
    there = str(tmp_path / "two.mp4")
    before = next(r for r in read_records(store) if r.output == "two")
    store.remove(record_name(before.id))
    record = replace(before, path=there, id=task_id(there))
    store.write(record_name(record.id), to_bytes(encode(record)))
    store.close()
    for broken in ("", "[]", '{"clip": {"name": 3}}', "[" * 100_000):
        (tmp_path / "out/two/analysis.json").write_text(broken)
        totals, events = work()
        assert totals.problems == 1 and [f["path"] for e, f in events if e == "problem"] == ["two/analysis.json"]
        assert "two" not in (tmp_path / "out/emotions.csv").read_text() and (tmp_path / "out/manifest.csv").exists()


def test_a_bit_that_a_disk_turned_in_a_kept_stream_is_noticed(work: Any, light: ModuleType, tmp_path: Path) -> None:
    work()
    before = (tmp_path / "out/one/attention.csv").read_bytes()
    for kept in (tmp_path / "out/.emofuse").rglob("*.parquet"):
        bent = bytearray(kept.read_bytes())
        bent[8] ^= 1
        kept.write_bytes(bent)
    (tmp_path / "out/one/emotions.csv").unlink()
    (tmp_path / "log").unlink()
    work()
    assert (tmp_path / "out/one/attention.csv").read_bytes() == before
    stages = [line.split("\t")[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(stages) == ["fusion", "text", "voice", "words", "write"], "nothing damaged was used"


@pytest.mark.parametrize("record", ['{"id": 1}', "null", "[]", "[" * 100_000, '{"state": "done"}', "\xff", '{"bytes": 1}'])
def test_what_is_no_record_counts_as_none(work: Any, tmp_path: Path, record: str) -> None:
    work()
    for path in (tmp_path / "out/.emofuse/records").iterdir():
        path.write_bytes(record.encode("latin-1"))
    (tmp_path / "out/.emofuse/names.json").write_bytes(record.encode("latin-1"))
    totals, _ = work()
    assert totals.done == 2 and totals.failed == 0


def test_two_batches_at_once_share_a_folder_and_no_name(light: ModuleType, tmp_path: Path) -> None:
    """Both have clips of the same names; whichever comes first, each clip has a folder of its own."""
    out, barrier, failures = tmp_path / "out", threading.Barrier(2), []
    for side in "ab":
        (tmp_path / side).mkdir()
        for n in range(4):
            (tmp_path / side / f"x{n}.mp4").write_text(f"fine words of {side} {n}")

    def batch(side: str) -> None:
        try:
            barrier.wait()
            light.batch(tmp_path / side, out, {"log": str(tmp_path / "log"), **WORK})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=batch, args=(side,)) for side in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    owners = {p.parent.name: json.loads(p.read_text())["clip"]["path"] for p in out.glob("*/analysis.json")}
    assert sorted(owners) == sorted(f"x{n}{suffix}" for n in range(4) for suffix in ("", "-2"))
    assert sorted(owners.values()) == sorted(str(tmp_path / side / f"x{n}.mp4") for side in "ab" for n in range(4))
    assert {r.output: r.path for r in read_records(LocalStore(out))} == owners


def test_a_scratch_folder_survives_the_other_batches_sweep_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever moment they come at: before it is locked, and before it is there."""
    one, other = LocalStore(tmp_path / "out"), LocalStore(tmp_path / "out")
    flock, mkdtemp = fcntl.flock, tempfile.mkdtemp

    def late_flock(file: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        other.sweep()
        flock(file, how)

    def late_mkdtemp(*, prefix: str, dir: Path) -> str:
        monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
        dir.rmdir()
        return mkdtemp(prefix=prefix, dir=dir)

    monkeypatch.setattr(fcntl, "flock", late_flock)
    monkeypatch.setattr(tempfile, "mkdtemp", late_mkdtemp)
    one.write("file", b"whole")
    other.sweep()
    one.write("file", b"whole again")
    assert (tmp_path / "out/file").read_bytes() == b"whole again"
    one.close()
    other.close()
    assert not (tmp_path / "out/.emofuse/tmp").exists()


def test_names_are_given_out_before_anything_is_written(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "out")
    for side in "ab":
        (tmp_path / side).mkdir()
        (tmp_path / side / "x.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    first = reserved_names(discover([tmp_path / "a"]).clips, store)[1]
    second = reserved_names(discover([tmp_path / "b"]).clips, store)[1]
    assert list(first.values()) == ["x"] and list(second.values()) == ["x-2"]
    (tmp_path / "a/x.wav").unlink()
    (tmp_path / "c").mkdir()
    (tmp_path / "c/x.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    assert list(reserved_names(discover([tmp_path / "c"]).clips, store)[1].values()) == ["x"], "free again: its clip is gone"
    store.close()


@pytest.mark.parametrize("moment", ["voice", "fusion", "write"])
def test_a_clip_that_is_replaced_while_it_is_read_is_read_again(
    light: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    (clips / "one.mp4").write_text("fine first content")
    note, left = light.note, [True]

    def swapped(log: str, stage: str, path: Path) -> None:
        if stage == moment and left:
            left.pop()
            (tmp_path / "new").write_text("fine and second content with more words")
            os.utime(tmp_path / "new", ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
            os.replace(tmp_path / "new", path)
        note(log, stage, path)

    monkeypatch.setattr(light, "note", swapped)
    totals, _ = light.batch(clips, out, {"log": str(tmp_path / "log"), **WORK})
    assert totals.done == 1
    document = json.loads((out / "one/analysis.json").read_text())
    import hashlib

    assert document["clip"]["sha256"] == hashlib.sha256((clips / "one.mp4").read_bytes()).hexdigest()
    assert document["streams"]["words"]["rows"] == 7
    # The first content was never kept under the second's hash, nor the second's under the first's.
    monkeypatch.setattr(light, "note", note)
    (clips / "copy.mp4").write_text("fine first content")
    light.batch(clips, out, {"log": str(tmp_path / "log"), **WORK})
    assert json.loads((out / "copy/analysis.json").read_text())["streams"]["words"]["rows"] == 3


def test_a_clip_that_never_rests_fails_with_its_reason(light: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/one.mp4").write_text("fine words")
    note = light.note

    def growing(log: str, stage: str, path: Path) -> None:
        with path.open("a") as file:
            file.write(" more")
        note(log, stage, path)

    monkeypatch.setattr(light, "note", growing)
    totals, _ = light.batch(tmp_path / "clips", tmp_path / "out", {"log": str(tmp_path / "log"), **WORK})
    assert totals.reasons == {"changed": 1} and not (tmp_path / "out/one").exists()


def test_a_time_of_change_that_was_set_back_deceives_nobody(work: Any, tmp_path: Path) -> None:
    work()
    clip = tmp_path / "clips/one.mp4"
    before = clip.stat()
    clip.write_text("fine WORDS of one")  # as many bytes
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert clip.stat().st_size == before.st_size and state_of(str(clip)) != state_of(str(tmp_path / "clips/two.mp4"))
    totals, _ = work()
    assert (totals.done, totals.kept) == (1, 1)


def test_the_same_bytes_in_another_file_are_hashed_once_more_and_not_each_time(work: Any, tmp_path: Path) -> None:
    work()
    clip = tmp_path / "clips/one.mp4"
    (tmp_path / "copy").write_bytes(clip.read_bytes())
    os.replace(tmp_path / "copy", clip)
    totals, _ = work()
    assert totals.kept == 2
    record = read_record(LocalStore(tmp_path / "out"), task_id(str(clip)))
    assert record is not None and record.file == state_of(str(clip))


@pytest.mark.parametrize("where", ["keep_stream", "keep_answer", "write", "record"])
def test_a_full_disk_ends_the_run_and_costs_no_clip(
    light: ModuleType, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*arguments: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if where in ("keep_stream", "keep_answer"):
        monkeypatch.setattr(f"emofuse.pipeline.batch.cache.{'write_stream' if where == 'keep_stream' else 'write_maps'}", full)
    elif where == "write":
        monkeypatch.setattr(light.LightSetup, "write", full)
    else:
        monkeypatch.setattr("emofuse.pipeline.batch.store.os.replace", full)
    with pytest.raises(OutputError):
        work()
    assert all(r.state != "failed" for r in read_records(LocalStore(tmp_path / "out")))
    monkeypatch.undo()
    totals, _ = work()
    assert (totals.done, totals.failed) == (2, 0)


def test_a_link_out_of_the_folder_is_refused_for_every_write_and_removal(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("mine")
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    for name in ("../elsewhere/file", "link/file", "x/../../elsewhere/file"):
        with pytest.raises(OutputError):
            store.write(name, b"")
        with pytest.raises(OutputError):
            store.remove(name)
    store.remove("link")
    assert (tmp_path / "elsewhere/file").read_text() == "mine" and not (tmp_path / "out/link").exists()
    store.close()


def test_the_kept_probe_is_checked_too(tmp_path: Path) -> None:
    from emofuse.pipeline.clip import MediumEnd

    store = LocalStore(tmp_path / "out")
    cache = Cache(store)
    cache.keep_end("ab", MediumEnd(3.0, 0))
    assert cache.end("ab") == MediumEnd(3.0, 0)
    (path,) = (tmp_path / "out/.emofuse/probes").rglob("*.json")
    path.write_text(path.read_text().replace("3.0", "9.0"))
    assert cache.end("ab") is None
    store.close()


def test_a_worker_says_that_a_clip_changed(light: ModuleType, tmp_path: Path) -> None:
    """`ClipChanged` is the clip's and no bug: it has a reason of its own, whoever raises it."""
    from emofuse.pipeline.batch.task import reason_of

    assert reason_of(ClipChanged("x")) == "changed"
    record = Record("0" * 16, "/x", "x", "failed", "changed")
    store = LocalStore(tmp_path / "out")
    write_record(store, record)
    assert read_record(store, "0" * 16) == record
    stages = Stages(light.LightSetup({"log": "", **WORK}), store, version="light", open_clip=light.TextClip)
    engine = light.InThisProcess(stages)
    run_batch(discover([]), store, engine, BatchOptions(), lambda event: None)
    store.close()


def test_a_clip_that_vanished_is_unreadable_and_a_pipe_is_no_media(tmp_path: Path) -> None:
    from emofuse.pipeline.batch.task import reason_of
    from emofuse.pipeline.errors import ClipError

    with pytest.raises(ClipError) as gone:
        state_of(str(tmp_path / "gone.wav"))
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(ClipError) as pipe:
        state_of(str(tmp_path / "pipe.wav"))
    assert (reason_of(gone.value), reason_of(pipe.value)) == ("unreadable", "not_media")
