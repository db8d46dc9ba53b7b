"""Arrays that lie in a file: the same numbers as in memory, no name, little memory, one line where no room is left."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from emofuse.pipeline import spool
from emofuse.pipeline.errors import EmofuseError
from emofuse.pipeline.spool import Spool, on_disk, parts, release, spooled
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

ROWS = np.random.default_rng(1).normal(size=(1000, 3)).astype(np.float32)


def resident() -> int:
    """Bytes of this process in memory, mapped files among them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("in_memory", [0, 5000, 1 << 30])
def test_a_spool_holds_what_was_put_in_wherever_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_memory: int) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", in_memory)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = Spool((3,))
    for first in range(0, 1000, 7):
        made.add(ROWS[first : first + 7])
    array = made.array()
    assert not list(tmp_path.iterdir()), "a file without a name"
    assert np.array_equal(array, ROWS) and array.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    seen = [array[part].copy() for part in parts(array, 100)]
    assert len(seen) == 125 and np.array_equal(np.concatenate(seen), ROWS)
    assert np.array_equal(array, ROWS), "what is let go of comes back"


def test_an_empty_spool_and_rows_without_columns() -> None:
    assert Spool((4,)).array().shape == (0, 4)
    made = Spool((0,))
    made.add(np.zeros((5, 0)))
    assert made.array().shape == (5, 0)


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
def test_what_is_written_anywhere_stays_written(monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", in_memory)
    monkeypatch.setattr(spool, "PART", 1000)
    array = on_disk((700, 2), np.float64, np.nan)
    assert array.shape == (700, 2) and np.isnan(array).all()
    array[[3, 699]] = 5.0
    release(array[1:])
    assert np.flatnonzero(array[:, 1] == 5).tolist() == [3, 699] and np.isnan(array[4:699]).all()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_walking_over_a_long_array_takes_the_memory_of_a_part() -> None:
    made = Spool((1024,))
    for k in range(64):
        made.add(np.full((256, 1024), k, np.float32))  # 64 MB
    array = made.array()
    before, most, total = resident(), 0, 0.0
    for part in parts(array):
        total += float(array[part].sum())
        most = max(most, resident() - before)
    assert total == 256 * 1024 * sum(range(64))
    assert most < 16 << 20
    array.sum()
    assert resident() - before > 48 << 20, "without letting go all of it is in memory: the measure can tell"
    release(array[5:10])
    assert resident() - before < 16 << 20


def test_a_long_array_goes_into_a_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spooled(ROWS) is ROWS, "short ones stay"
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    kept = spooled(ROWS)
    assert kept is not ROWS and np.array_equal(kept, ROWS)
    assert spooled(kept[5:]).base is kept[5:].base, "what lies in a file is not put into another"


def test_no_room_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(EmofuseError, match="gone: expected room for what a long clip needs, got No such file or directory"):
        Spool().add(ROWS)
    monkeypatch.setattr(spool, "nameless_file", lambda: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(EmofuseError, match=r"got No space left on device .*TMPDIR"):
        on_disk((100_000,), np.float64, 0.0)
    full = Spool()
    with pytest.raises(EmofuseError, match="got No space left on device"):
        full.add(np.zeros(1 << 20))


def test_long_streams_lie_on_a_disk_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    assert spool.spool_folder() == "/var/tmp" or not os.access("/var/tmp", os.W_OK)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert spool.spool_folder() == str(tmp_path)


def test_rows_inside_are_those_whose_middle_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a look at every row, over rows of very different lengths that overlap."""
    draw = np.random.default_rng(2)
    start = np.sort(draw.choice(np.round(draw.uniform(0, 100, 300), 1), 500))
    end = start + draw.choice([0.0, 0.01, 3.0, 40.0], 500)
    stream = TimedSequence("voice", ("a",), np.zeros((500, 1), np.float32), start, end, Provenance("test", "1"))
    middle = (start + end) / 2
    for a, b in np.sort(draw.uniform(-10, 140, (200, 2))):
        assert np.array_equal(stream.inside(Span(a, b)), np.flatnonzero((middle >= a) & (middle < b)))
    assert not len(stream.rows(np.zeros(0, np.intp)).inside(Span(0, 1)))


def test_columns_of_a_stream_in_a_file_are_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    monkeypatch.setattr(spool, "PART", 64)
    made = Spool((3,))
    made.add(ROWS)
    start = np.arange(1000.0)
    stream = TimedSequence("voice", ("a", "b", "c"), made.array(), start, start + 1, Provenance("test", "1"))
    assert np.array_equal(stream.column("b"), ROWS[:, 1])
    assert np.array_equal(stream.column("b", np.array([5, 7])), ROWS[[5, 7], 1])
    assert np.array_equal(stream.select(("c", "a")).values, ROWS[:, [2, 0]])
    assert stream.select(()).values.shape == (1000, 0)
    assert np.array_equal(stream.with_columns(("d",), ROWS[:, :1]).values, np.concatenate([ROWS, ROWS[:, :1]], axis=1))
