"""`emofuse analyze FOLDER` as a user and as a program sees it; the work itself is done by stand-ins."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

import emofuse.batch
from emofuse.cli.main import main
from emofuse.pipeline.batch.stages import Stages
from emofuse.pipeline.batch.store import LocalStore

QUIET = ("--offline", "--words", "none", "--text", "none", "--face", "none", "--voice", "librosa")


@pytest.fixture
def run(light: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    stores: list[LocalStore] = []

    def engine(job: Any, out: Any, **_: Any) -> Any:
        setup = light.LightSetup({"log": str(tmp_path / "log"), "pause": 0.0, "formats": list(job.writing["formats"])})
        stores.append(LocalStore(Path(out)))
        return light.InThisProcess(Stages(setup, stores[-1], version="light", open_clip=light.TextClip))

    monkeypatch.setattr(emofuse.batch, "local_engine", engine)

    def analyze(*arguments: str | Path) -> Result:
        done = CliRunner().invoke(main, ["analyze", *QUIET, "--out", str(tmp_path / "out"), *(str(a) for a in arguments)])
        while stores:
            stores.pop().close()
        return done

    (tmp_path / "clips").mkdir()
    for i in range(3):
        (tmp_path / f"clips/clip{i}.mp4").write_text(f"fine words of number {i}")
    return analyze


def test_exit_codes_lines_and_events(run: Any, tmp_path: Path) -> None:
    done = run(tmp_path / "clips")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 3 and f"{tmp_path / 'out'}/clip0" in done.stdout
    (line,) = done.stderr.splitlines()  # a pipe gets no bar and no colour
    assert re.fullmatch(rf"3 done of 3 clips in \d+ s; see {tmp_path / 'out'}/manifest.csv", line)
    (tmp_path / "clips/bad\nname.mp4").write_text("broken")
    done = run(tmp_path / "clips", "--json-lines")
    assert done.exit_code == 1
    events = [json.loads(line) for line in done.stdout.splitlines()]
    told = [e["event"] for e in events]
    assert told[0] == "plan" and told[-1] == "end" and told.count("outcome") == 4 and told.count("started") == 1
    assert [e["kind"] for e in events if e["event"] == "outcome"].count("kept") == 3
    assert events[-1]["totals"]["reasons"] == {"not_media": 1}
    assert r"bad\nname.mp4" in done.stderr and "[not_media]" in done.stderr and len(done.stderr.splitlines()) == 3
    assert run(tmp_path / "clips").exit_code == 1, "what failed before still counts"
    done = run(tmp_path / "clips", "--dry-run", "--retry-failed")
    assert done.exit_code == 1 and "kept\t" in done.stdout and "nothing changed" in done.stderr
    for wrong in (("--shard", "3/2"), ("--limit", "0"), ("--workers", "-1"), ("--engine", "magic"), ("--device", "abacus")):
        assert run(tmp_path / "clips", *wrong).exit_code == 2
    assert run("s3://bucket/clips").exit_code == 2, "--offline was given"
    (tmp_path / "bare").mkdir()
    done = run(tmp_path / "bare", tmp_path / "nowhere")
    assert done.exit_code == 2 and "a folder without clips" in done.stderr and "no such file" in done.stderr


def test_a_format_that_cannot_hold_a_clip_is_told_every_time(run: Any, tmp_path: Path) -> None:
    why = "expected a face stream to write as OpenFace's table, found words, text, voice, utterances"
    for _ in ("done now", "kept"):
        done = run(tmp_path / "clips", "--formats", "srt,openface", "--json-lines")
        assert done.exit_code == 1
        assert len([line for line in done.stderr.splitlines() if why in line]) == 3
        assert "3 cannot be written in a format that was asked for: see the column refused" in done.stderr
        totals = json.loads(done.stdout.splitlines()[-1])["totals"]
        assert (totals["failed"], totals["refused"], totals["done"] + totals["kept"]) == (0, 3, 3)
        with (tmp_path / "out/manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["state"] for row in rows} == {"done"} and all(row["refused"].startswith("openface: clip") for row in rows)
    assert (tmp_path / "out/clip0/clip0.srt").exists(), "what can be written is"
    assert run(tmp_path / "clips", "--formats", "srt").exit_code == 0


def test_remarks_and_flags_are_said_a_line_per_clip_and_kept(run: Any, tmp_path: Path) -> None:
    """What `analyze CLIP` says of a clip a batch says too; what was said once is in the manifest."""
    (tmp_path / "clips/odd.mp4").write_text("odd words")
    (tmp_path / "clips/photo.png").write_bytes(b"\x89PNG")
    done = run(tmp_path / "clips")
    assert [line for line in done.stderr.splitlines() if "odd" in line] == [
        rf"emofuse: {tmp_path}/clips/odd.mp4: a row is\nodd; a row is\nodd; a row is\nodd"
    ]
    assert "emofuse: 1 other file is no recording" in done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "odd.mp4" in line)
    flagged = line.split("; flagged: ")[1]
    assert "no_face 1" in flagged
    done = run(tmp_path / "clips")
    assert "odd" not in done.stderr and line.replace("; flagged", " (as it was); flagged") in done.stdout
    with (tmp_path / "out/manifest.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["odd.mp4"]["remarks"].count("a row is") == 3 and rows["odd.mp4"]["flags"] == flagged
    assert rows["clip0.mp4"]["remarks"] == ""


def test_ctrl_c_stops_after_the_clip_in_hand_and_says_how_to_go_on(run: Any, light: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    write = light.LightSetup.write

    def interrupted(self: Any, *arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return write(self, *arguments)

    monkeypatch.setattr(light.LightSetup, "write", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    done = run(tmp_path / "clips")
    assert done.exit_code == 130
    assert "finishing the running clips" in done.stderr and "2 clips are waiting: the same command goes on" in done.stderr
    assert (tmp_path / "out/clip0/analysis.json").exists() and not (tmp_path / "out/clip1").exists()
    monkeypatch.setattr(light.LightSetup, "write", write)
    assert run(tmp_path / "clips").exit_code == 0
    assert signal.getsignal(signal.SIGINT) is handler, "our handler goes when the batch does"
