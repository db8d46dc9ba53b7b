"""What somebody else wrote cannot make a reader read elsewhere, or take more than the file is worth."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.conversion import load
from emofuse.fusion.datasets.unpickling import read_arrays
from emofuse.pipeline.errors import DatasetError, FormatError
from emofuse.pipeline.formats.csd import read_csd
from emofuse.pipeline.formats.registry import FORMATS, WRITABLE, write_formats
from emofuse.pipeline.formats.session import Session
from emofuse.pipeline.timed import Provenance, TimedSequence

h5py = pytest.importorskip("h5py")


def csd(path: Path, fill: Any) -> Path:
    """A .csd whose one video is filled by `fill(group)`."""
    with h5py.File(path, "w") as file:
        fill(file.create_group("voice/data/clip"))
    return path


def intervals(group: Any, rows: int = 4) -> None:
    group["intervals"] = np.stack([np.arange(rows), np.arange(rows) + 1.0], axis=1)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.bin"
    path.write_bytes(b"TOPSECRET-PASSWORD-OF-SOMEBODY!!" * 4)
    return path


def outside_storage(group: Any, secret: Path) -> None:
    intervals(group)
    group.create_dataset("features", (4, 2), "<f4", external=[(str(secret), 0, 32)])


def outside_intervals(group: Any, secret: Path) -> None:
    group["features"] = np.zeros((4, 2), np.float32)
    group.create_dataset("intervals", (4, 2), "<f8", external=[(str(secret), 0, 64)])


def outside_link(group: Any, secret: Path) -> None:
    intervals(group)
    group["features"] = h5py.ExternalLink(f"{secret}.h5", "/x")


def soft_link(group: Any, secret: Path) -> None:
    intervals(group)
    group["kept"] = np.zeros((4, 2), np.float32)
    group["features"] = h5py.SoftLink("/voice/data/clip/kept")


def linked_video(group: Any, secret: Path) -> None:
    intervals(group)
    group["features"] = np.zeros((4, 2), np.float32)
    group.parent["other"] = h5py.ExternalLink(f"{secret}.h5", "/")


def virtual(group: Any, secret: Path) -> None:
    intervals(group)
    layout = h5py.VirtualLayout((4, 2), "<f4")
    layout[:] = h5py.VirtualSource(f"{secret}.h5", "x", (4, 2))
    group.create_virtual_dataset("features", layout)


def filled(group: Any, secret: Path) -> None:
    intervals(group)
    group.create_dataset("features", (1 << 34, 200), "<f4", chunks=(1024, 200), fillvalue=1.0)


def filled_intervals(group: Any, secret: Path) -> None:
    group["features"] = np.zeros((4, 2), np.float32)
    group.create_dataset("intervals", (1 << 30, 2), "<f8", chunks=(1024, 2), fillvalue=0.0)


def packed(group: Any, secret: Path) -> None:
    intervals(group)
    group.create_dataset("features", (1 << 22, 16), "<f4", data=np.zeros((1 << 22, 16), np.float32), compression=9)


@pytest.mark.parametrize(
    "fill", [outside_storage, outside_intervals, outside_link, soft_link, linked_video, virtual, filled, filled_intervals, packed]
)
def test_hdf5_that_reads_elsewhere_or_claims_what_it_does_not_hold_is_refused(fill: Any, secret: Path, tmp_path: Path) -> None:
    with h5py.File(f"{secret}.h5", "w") as file:
        file["x"] = np.frombuffer(secret.read_bytes(), "<f4")[:8].reshape(4, 2)
    path = csd(tmp_path / "voice.csd", lambda group: fill(group, secret))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError, match="refused"):
        read_csd(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes: nothing of that size was made"


def test_metadata_that_lead_elsewhere_are_refused_too(secret: Path, tmp_path: Path) -> None:
    def fill(group: Any) -> None:
        intervals(group)
        group["features"] = np.zeros((4, 2), np.float32)
        group.file.create_group("voice/metadata").create_dataset("creator", (32,), "S1", external=[(str(secret), 0, 32)])

    with pytest.raises(FormatError, match="another file"):
        read_csd(csd(tmp_path / "voice.csd", fill))


def test_a_file_that_holds_its_own_data_is_read_as_before(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(50_000, 30)).astype(np.float32)

    def fill(group: Any) -> None:
        intervals(group, len(values))
        group.create_dataset("features", data=values, compression=4)

    (session,) = read_csd(csd(tmp_path / "voice.csd", fill))
    np.testing.assert_array_equal(session.streams["voice"].values, values)


def test_a_data_set_may_claim_200_times_what_it_stores_and_no_more(tmp_path: Path) -> None:
    """However large the rest of the file is."""
    random = np.random.default_rng(2).normal(size=(120_000, 1)).astype(np.float32)
    mostly_zero = np.zeros((1_200_000, 1), np.float32)
    mostly_zero[:6000] = random[:6000]  # 4.8 MB in about 30 kB

    def fill(group: Any) -> None:
        intervals(group, len(mostly_zero))
        group.create_dataset("features", data=mostly_zero, compression=9, chunks=(60_000, 1))
        assert 100 < mostly_zero.nbytes / group["features"].id.get_storage_size() < 190

    (session,) = read_csd(csd(tmp_path / "voice.csd", fill))
    np.testing.assert_array_equal(session.streams["voice"].values, mostly_zero)

    def claim(group: Any) -> None:
        intervals(group, 500_000)
        group["beside"] = random
        group.create_dataset("features", (500_000, 1), "<f4", chunks=(60_000, 1), fillvalue=1.0)

    with pytest.raises(FormatError, match="features claims 2000000 bytes"):
        read_csd(csd(tmp_path / "voice.csd", claim))


@pytest.mark.parametrize("name", ["a.csv", "a.openface.csv", "a.parquet", "a.srt", "a.csd", "a.pkl", "a.eaf"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(FormatError, match="expected a regular file or a folder, got a pipe"):
        load(tmp_path / name)


# Pickles


def nested(levels: int, shape: str) -> bytes:
    """Lists or dictionaries that hold the one before twice: a few hundred bytes that claim 2 ** levels parts."""
    out = io.BytesIO()
    out.write(pickle.PROTO + b"\x04")
    if shape == "list":
        out.write(b"]\x94K\x01a")
        for level in range(levels):
            out.write(b"]\x94(" + b"h" + bytes([level]) + b"h" + bytes([level]) + b"e")
    else:
        out.write(b"}\x94\x8c\x01xK\x01s")
        for level in range(levels):
            out.write(b"}\x94(\x8c\x01ah" + bytes([level]) + b"\x8c\x01bh" + bytes([level]) + b"u")
    out.write(b".")
    return out.getvalue()


@pytest.mark.parametrize("shape", ["list", "dict"])
def test_a_short_pickle_that_claims_a_huge_object_costs_little(shape: str, tmp_path: Path) -> None:
    data = nested(60, shape)
    assert len(data) < 2000 and sum(1 for _ in pickletools.genops(data)) > 100
    path = tmp_path / "bomb.pkl"
    path.write_bytes(data)
    code = (  # a process of its own: getrusage knows the largest child that a process ever had, and this one has had others
        "import resource, sys; from pathlib import Path\n"
        "from emofuse.fusion.datasets.unpickling import DatasetError, read_arrays\n"
        "try: print(max([a.size for a in read_arrays(Path(sys.argv[1])).values()], default=0))\n"
        "except DatasetError as error: print(0, str(error).count('\\n'))\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=50)
    read, kilobytes = done.stdout.splitlines()
    assert read in ("0", "0 0", "1") and int(kilobytes) < 1_500_000, done


def test_one_long_text_among_many_short_ones_does_not_make_all_of_them_long(tmp_path: Path) -> None:
    path = tmp_path / "wide.pkl"
    path.write_bytes(pickle.dumps({"train": {"raw_text": ["x" * 300_000, *(["a"] * 3000)]}}))
    with pytest.raises(DatasetError, match=r"within 10\d\d MiB, but it needs more|takes more"):
        read_arrays(path)


def test_what_a_pickle_holds_twice_and_in_a_circle_is_read(tmp_path: Path) -> None:
    one: dict[str, Any] = {"values": np.arange(6.0).reshape(2, 3)}
    path = tmp_path / "twice.pkl"
    path.write_bytes(pickle.dumps({"train": one, "valid": one}))
    arrays = read_arrays(path)
    np.testing.assert_array_equal(arrays["train/values"], arrays["valid/values"])
    one["again"] = one
    path.write_bytes(pickle.dumps(one))
    with pytest.raises(DatasetError):
        read_arrays(path)


def test_a_machine_with_limits_of_its_own_reads_pickles(tmp_path: Path) -> None:
    """As on a login node: what `ulimit -v` and `ulimit -t` allow is less than we would take."""
    path = tmp_path / "small.pkl"
    path.write_bytes(pickle.dumps({"train": {"values": np.arange(4.0)}}))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (40, 50)); resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "from emofuse.fusion.datasets.unpickling import read_arrays; print(read_arrays(Path(sys.argv[1]))['train/values'].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.strip() == "[0.0, 1.0, 2.0, 3.0]", done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_reading_child_ends_with_its_parent_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "slow.pkl"
    path.write_bytes(pickle.dumps({"train": {"raw_text": ["x" * 60_000, *(["a"] * 3000)]}}))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "emofuse", "convert", str(path), str(tmp_path / "out"), "--to", "csv"]
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(scratch)}, stderr=subprocess.DEVNULL)
    child = ""
    deadline = time.monotonic() + 60
    while not child and process.poll() is None and time.monotonic() < deadline:
        child = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True).stdout.strip()
        time.sleep(0.02)
    assert child, "the reader had started"
    process.send_signal(number)
    process.wait(30)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
    if number != signal.SIGKILL:
        assert not list(scratch.iterdir())


# What is written


def session(name: str) -> Session:
    by = Provenance("test", "1")
    start = np.arange(3.0)
    texts = {"word": ("=1+1", "b", "c"), "speaker": ("",) * 3}
    words = TimedSequence("words", (), np.zeros((3, 0), np.float32), start, start + 0.5, by, texts)
    voice = TimedSequence("voice", ("rms",), np.ones((3, 1), np.float32), start, start + 1, by)
    return Session(name, {"words": words, "voice": voice}, 3.0, f"/{name}.wav")


@pytest.mark.parametrize("name", ["n" * 250, "ä" * 125, "caf\udce9", "a/b", "new\nline", "..", "x" * 238 + "é"])
def test_no_name_of_a_clip_costs_more_than_a_format(name: str, tmp_path: Path) -> None:
    refused = write_formats(WRITABLE, session(name), tmp_path)
    assert set(refused) <= set(WRITABLE) - {"csv", "parquet"}
    assert all("\n" not in str(error) for error in refused.values() if "\n" not in name)
    assert (tmp_path / "csd").is_dir() or "csd" in refused
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) > 3 and all(p.is_relative_to(tmp_path) for p in written)


def test_a_library_that_fails_costs_one_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(sessions: Any, path: Path) -> None:
        raise OSError(36, "File name too long")

    changed = {**FORMATS, "srt": replace(FORMATS["srt"], write=fails)}
    monkeypatch.setattr("emofuse.pipeline.formats.registry.FORMATS", changed)
    refused = write_formats(("srt", "csv"), session("clip"), tmp_path)
    assert list(refused) == ["srt"] and (tmp_path / "csv").is_dir()


def test_a_full_disk_is_no_formats_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(sessions: Any, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("emofuse.pipeline.formats.registry.FORMATS", {**FORMATS, "srt": replace(FORMATS["srt"], write=full)})
    with pytest.raises(OSError, match="No space"):
        write_formats(("srt",), session("clip"), tmp_path)


def test_no_cell_of_a_bids_table_opens_a_formula(tmp_path: Path) -> None:
    write_formats(("bids",), session("clip"), tmp_path)
    tables = list(tmp_path.rglob("*.tsv"))
    assert tables
    cells = [cell for path in tables for line in path.read_text().splitlines() for cell in line.split("\t")]
    assert "'=1+1" in cells and not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
