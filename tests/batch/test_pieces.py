"""The pieces of a batch one by one: discovery, codec, cached answers, the promises in its docs, pace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import imageio_ffmpeg
import numpy as np
import pytest

from emofuse.cli.batch import OPTIONS, shard_of
from emofuse.cli.batch_progress import Pace, clock
from emofuse.pipeline.attention_rows import AttentionRow, AttentionRows
from emofuse.pipeline.batch.cache import Cache
from emofuse.pipeline.batch.discovery import Candidate, discover
from emofuse.pipeline.batch.local import LocalEngine
from emofuse.pipeline.batch.manifest import SCHEMA, TIMINGS
from emofuse.pipeline.batch.remote import open_store
from emofuse.pipeline.batch.run import BatchOptions, part_of, run_batch
from emofuse.pipeline.batch.store import LocalStore
from emofuse.pipeline.batch.task import REASONS, reason_of
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.codec import decode, encode
from emofuse.pipeline.errors import EmofuseError, StreamError, UsageError
from emofuse.pipeline.results import Attention
from emofuse.pipeline.streams import MODALITIES

DOCS = Path(__file__).parents[2] / "docs/batch.md"
RIFF = b"RIFF\x00\x00\x00\x00WAVEfmt " + b"\x00" * 100


@dataclass(frozen=True)
class Inner:
    numbers: tuple[float, ...]
    name: str | None = None


@dataclass(frozen=True, eq=False)
class Outer:
    inner: Inner
    by_name: dict[str, Inner]
    array: np.ndarray = field(default_factory=lambda: np.zeros(2))  # type: ignore[type-arg]


def test_dataclasses_come_back_bit_for_bit() -> None:
    inner = Inner((0.1 + 0.2, 1e-310, -0.0), "ä\udcff")
    assert decode(Inner, encode(inner)) == inner
    assert str(decode(Inner, encode(inner)).numbers) == str(inner.numbers), "the sign of zero too"
    with pytest.raises(StreamError, match="got extra too"):
        decode(Inner, {"numbers": [], "extra": 1})
    with pytest.raises(StreamError, match="got object"):
        encode(object())


def test_an_answer_comes_back_whole(light: ModuleType, tmp_path: Path) -> None:
    """Whatever fields `Analysis` and what is in it will have: what is kept is what was made."""
    clip = tmp_path / "clip.mp4"
    clip.write_text("fine words of several lengths")
    setup = light.LightSetup({"log": str(tmp_path / "log"), "pause": 0.0})
    from emofuse.pipeline.extraction import extract

    opened = light.TextClip(clip)
    extraction = extract(opened, setup.extractors(clip))
    analysis = setup.fuse(opened, extraction, None)
    # A row of a model that looks in hops, one that nothing attended to, and a map.
    first, second, *others = analysis.attention
    hop = replace(first, shares={**first.shares, "hop_1": 0.1 + 0.2, "hop_2": 1 / 3})
    nothing = replace(second, shares=dict.fromkeys(MODALITIES), overall=None, utterance=None)
    analysis = replace(analysis, attention=AttentionRows.of((hop, nothing, *others), analysis.streams))
    assert encode(list(analysis.attention)) == encode([hop, nothing, *others])
    assert any(u.prediction is not None and u.prediction.attention for u in analysis.utterances), "maps are among it"
    store = LocalStore(tmp_path / "out")
    cache = Cache(store)
    cache.keep_answer("ab" * 32, analysis)
    answer = cache.answer("ab" * 32, dict(extraction.streams), opened.info)
    assert answer is not None
    assert encode(answer) == encode(analysis)
    assert isinstance(answer.attention[0], AttentionRow)
    maps = [m for u in answer.utterances if u.prediction is not None for m in u.prediction.attention]
    assert maps and all(isinstance(m, Attention) and m.weights.dtype == np.float32 for m in maps)
    (kept,) = (tmp_path / "out/.emofuse/answers").rglob("*.parquet")
    kept.write_bytes(kept.read_bytes()[:-20])
    assert cache.answer("ab" * 32, {}, opened.info) is None, "what is damaged is not there"
    store.close()


FORMS = {
    "h264": ("-c:v", "libx264"),
    "hevc": ("-c:v", "libx265", "-x265-params", "log-level=none"),
    "m4v": ("-c:v", "mpeg4"),
    "gif": (),
    "mpegts": ("-c:v", "mpeg2video"),
    "mpeg": ("-c:v", "mpeg2video"),
    "avi": ("-c:v", "mpeg4"),
    "mp4": ("-c:v", "mpeg4"),
    "ivf": ("-c:v", "libvpx"),
    "yuv4mpegpipe": ("-pix_fmt", "yuv420p"),
    "rm": ("-c:v", "rv10"),
    "wav": (),
    "w64": (),
    "mp3": (),
    "mp2": (),
    "adts": (),
    "ac3": (),
    "aiff": (),
    "caf": (),
    "au": (),
    "flac": (),
    "wv": (),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_when_named_is_found_in_a_folder_whatever_its_name(tmp_path: Path, form: str) -> None:
    source = "testsrc=s=352x288:r=25:d=0.4" if FORMS[form] or form == "gif" else "sine=d=1"
    path = tmp_path / "folder/without suffix"
    path.parent.mkdir()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", source, *FORMS[form], "-f", form]
    subprocess.run([*command, str(path)], check=True)
    assert Clip(path).info.video or Clip(path).info.audio
    assert [c.relative for c in discover([path.parent]).clips] == [path.name]


def test_a_broken_file_with_the_name_of_a_clip_is_told(tmp_path: Path) -> None:
    for suffix in ("264", "h264", "hevc", "h265", "GIF", "m4v", "ac3"):
        (tmp_path / f"cut.{suffix}").write_bytes(b"cut")
    assert len(discover([tmp_path]).clips) == 7


NO_CLIPS = {
    "subtitles in UTF-16": "1\n00:00:00,000 --> 00:00:01,000\nhello\n".encode("utf-16"),
    "subtitles in UTF-16, big end first": "\ufeff1\n00:00".encode("utf-16-be"),
    "a picture of a phone": b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(400),
    "a WebP picture": b"RIFF\x24\0\0\0WEBPVP8 " + bytes(400),
    "a sound font": b"RIFF\x24\0\0\0sfbkLIST" + bytes(400),
    "an icon": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + bytes(400),
    "a font": b"\0\1\0\0\0\x12\1\0" + bytes(400),
    "a JPEG picture": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(400),
    "zeros": bytes(400),
    "nothing": b"",
}


@pytest.mark.parametrize("what", NO_CLIPS)
def test_pictures_texts_and_fonts_beside_the_clips_are_passed_over(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_bytes(NO_CLIPS[what])
    discovery = discover([tmp_path])
    assert not discovery.clips and len(discovery.passed_over) == 1


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    (folder / "deep/er").mkdir(parents=True)
    elsewhere.mkdir()
    (folder / "deep/er/no suffix").write_bytes(RIFF)
    (folder / "photo.mp4").write_bytes(b"\x89PNG....")
    (folder / "notes.txt").write_text("hello")
    (folder / "rows.xml").write_text("<?xml version='1.0'?><rows/>")
    (folder / ".hidden.wav").write_bytes(RIFF)
    (folder / "new\nline.wav").write_bytes(RIFF)
    (folder / "-dash.wav").write_bytes(RIFF)
    (elsewhere / "private.wav").write_bytes(RIFF)
    (folder / "link.wav").symlink_to(elsewhere / "private.wav")
    (folder / "inside.wav").symlink_to(folder / "-dash.wav")
    (folder / "dangling.wav").symlink_to(folder / "gone.wav")
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    for name, text in {
        "songs.m3u8": "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n",
        "script.bin": "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "net.mp4": "[InternetShortcut]\nURL=http://127.0.0.1/x\n",
        "dash.mpd": "<?xml version='1.0'?><MPD></MPD>",
        "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\n",
    }.items():
        (folder / name).write_text(text)
    discovery = discover([folder], out=folder / "out")
    told = {c.relative: c.reason for c in discovery.clips}
    assert told == {
        "deep/er/no suffix": None,
        "photo.mp4": None,
        "new\nline.wav": None,
        "-dash.wav": None,
        "link.wav": "outside_folder",
        **dict.fromkeys(("songs.m3u8", "script.bin", "net.mp4", "dash.mpd", "session"), "not_media"),
    }
    assert {Path(p).name for p in discovery.passed_over} == {"notes.txt", "rows.xml", "inside.wav", "dangling.wav"}
    assert all(c.message and "\n" not in c.reason for c in discovery.clips if c.reason)
    followed = {c.relative: c.reason for c in discover([folder], follow_links=True).clips}
    assert followed["link.wav"] is None and "up/elsewhere/private.wav" in followed
    assert not any(relative.startswith("up/folder") for relative in followed), "no circles"


def test_a_shard_follows_from_the_place_alone() -> None:
    here, there = (Candidate(f"{root}/day/a.wav", "a.wav", "day/a.wav") for root in ("/mnt/one", "/data/two"))
    assert part_of(here, 5) == part_of(there, 5)
    parts = [part_of(Candidate("", "", f"clip{i}.wav"), 4) for i in range(400)]
    assert set(parts) == {1, 2, 3, 4} and min(parts.count(p) for p in (1, 2, 3, 4)) > 60


def test_shard_option() -> None:
    assert shard_of("2/8") == (2, 8) and shard_of(None) == (1, 1)
    for wrong in ("0/3", "4/3", "1", "a/b", "1/", "/2", "-1/2", "1/2/3"):
        with pytest.raises(UsageError, match="expected I/N"):
            shard_of(wrong)


def test_the_docs_list_every_reason_column_and_option() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for reason, meaning in REASONS.items():
        assert f"| {reason} | {meaning} |" in text
    heads = {name.strip() for line in text.splitlines() if line.startswith("| ") for name in line.split("|")[1].split(",")}
    assert set(SCHEMA.names) <= heads
    for name in OPTIONS:
        assert f"`--{name.replace('_', '-')}" in text
    assert set(TIMINGS) <= set(SCHEMA.names)


def test_every_error_has_a_reason() -> None:
    def leaves(kind: type[EmofuseError]) -> list[type[EmofuseError]]:
        return [kind, *(leaf for sub in kind.__subclasses__() for leaf in leaves(sub))]

    assert len(leaves(EmofuseError)) > 10
    assert {reason_of(kind("x")) for kind in leaves(EmofuseError)} <= set(REASONS) - {"internal_error"}
    assert reason_of(ZeroDivisionError()) == "internal_error" and reason_of(MemoryError()) == "out_of_memory"


def test_pace_is_by_bytes_and_leaves_out_what_was_there() -> None:
    pace = Pace(clips=10, size=1000, now=0.0)
    pace.settle("kept", 500)
    assert pace.text(1.0) == "1/10 clips"
    pace.settle("done", 100)
    assert pace.text(60.0) == "2/10 clips, 60 per hour, 0:04:00 left", "400 bytes of 100 per minute"
    assert clock(3725.4) == "1:02:05"


def test_a_kept_worker_goes_on_with_another_folder(light: ModuleType, tmp_path: Path) -> None:
    """As `emofuse serve` has it: loaded once, each clip's results in a folder of its own; one that died while idle is replaced."""
    job = json.dumps({"log": os.devnull, "pause": 0.0})
    command = [sys.executable, "-P", str(light.__file__), "worker", str(tmp_path / "home"), job]
    engine = LocalEngine(command, workers=1, keep=True)
    numbers = []
    for name in ("one", "two", "three"):
        folder, out = tmp_path / name, tmp_path / f"out {name}"
        folder.mkdir()
        (folder / "clip.mp4").write_text(f"fine words of {name}")
        engine.out, store = str(out), open_store(str(out))
        totals = run_batch(discover([folder], out=out), store, engine, BatchOptions(), lambda event: None)
        store.close()
        assert totals.done == 1 and (out / "clip" / "analysis.json").is_file()
        (worker,) = engine._workers
        numbers.append(worker.process.pid)
        if name == "two":
            os.kill(worker.process.pid, signal.SIGKILL)
            os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT)
    assert numbers[0] == numbers[1] != numbers[2]
    assert not list((tmp_path / "home").glob("*/*.json"))
    engine.close()
    assert engine._workers == [] and worker.process.poll() is not None
