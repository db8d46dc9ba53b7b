"""`emofuse train` and `emofuse evaluate` as a user runs them, on a folder of streams with a labels CSV."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from emofuse.cli.main import main
from emofuse.pipeline.formats.parquet import write_stream
from emofuse.pipeline.timed import Provenance, TimedSequence

RECIPE = """
name = "tiny"
[data]
form = "streams"
[streams.text]
width = 2
[streams.voice]
[tasks.emotion]
kind = "classes"
labels = ["anger", "happiness"]
[model]
name = "late-lstm"
hidden = 8
[training]
epochs = 12
batch = 8
rate = 0.02
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of ten utterances, one second each; the sign of text's first column is the emotion."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(2)
    (folder / "recipe.toml").write_text(RECIPE)
    with (folder / "labels.csv").open("w", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(("clip", "start", "end", "emotion", "split", "speaker"))
        for clip, split in enumerate(("train", "train", "valid", "test")):
            emotions = random.integers(0, 2, 10)
            for name, rows in (("text", 3), ("voice", 5)):
                n = 10 * rows
                values = random.normal(scale=0.2, size=(n, 2)).astype(np.float32)
                if name == "text":
                    values[:, 0] += np.repeat(2 * emotions - 1, rows)
                start = np.arange(n, dtype=np.float64) / rows
                stream = TimedSequence(name, (f"{name}_a", f"{name}_b"), values, start, start + 1 / rows, Provenance("test", "1"))
                (folder / f"clip{clip}" / "streams").mkdir(parents=True, exist_ok=True)
                write_stream(stream, folder / f"clip{clip}" / "streams" / f"{name}.parquet")
            for i, emotion in enumerate(emotions):
                labels.writerow((f"clip{clip}", i, i + 1, ("anger", "happiness")[emotion], split, f"s{clip}"))
    return folder


def test_train_then_evaluate(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [str(data / "recipe.toml"), "--data", str(data), "--out", str(run), "--device", "cpu"]
    trained = CliRunner().invoke(main, ["train", *arguments], catch_exceptions=False)
    assert trained.exit_code == 0, trained.output
    assert trained.stdout.splitlines()[0] == str(run / "best.safetensors")
    assert "all epoch 12: loss" in trained.stderr
    evaluated = CliRunner().invoke(main, ["evaluate", str(run), "--data", str(data), "--device", "cpu", "--json"], catch_exceptions=False)
    assert evaluated.exit_code == 0, evaluated.output
    evaluation = json.loads(evaluated.stdout)
    assert (evaluation["split"], evaluation["utterances"], evaluation["speakers"]) == ("test", 10, 1)
    assert evaluation["tasks"]["emotion"]["scores"]["accuracy"] > evaluation["tasks"]["emotion"]["baseline"]["accuracy"]
    table = CliRunner().invoke(
        main, ["evaluate", str(run / "best.safetensors"), "--data", str(data), "--split", "valid", "--device", "cpu"]
    )
    assert table.exit_code == 0 and "majority" in table.stdout and "uar" in table.stdout


def test_a_killed_training_resumed_equals_an_unbroken_one(data: Path, tmp_path: Path) -> None:
    def command(out: Path, *more: str) -> list[str]:
        where = ["--data", str(data), "--out", str(out), "--device", "cpu", "--epochs", "60"]
        return [sys.executable, "-m", "emofuse", "train", str(data / "recipe.toml"), *where, *more]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = subprocess.Popen(command(broken), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (broken / "state.safetensors").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (broken / "best.json").exists()
    subprocess.run(command(broken, "--resume"), env=environment, check=True, capture_output=True)
    subprocess.run(command(whole), env=environment, check=True, capture_output=True)
    assert (broken / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing.toml"], 2, "recipe nothing.toml: no such file, and no recipe of that name; there are cremad-rrnn"),
        (["mosi-mult"], 1, "no such file"),
        (["{data}/recipe.toml", "--hide", "face"], 2, "--hide face: the recipe has text, voice"),
        (["{data}/recipe.toml", "--device", "cuda:99"], 2, "cuda:99"),
    ],
)
def test_what_cannot_be_is_one_line(data: Path, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    given = [a.format(data=data) for a in arguments]
    at = str(tmp_path / "none.pkl") if given[0] == "mosi-mult" else str(data)
    done = CliRunner().invoke(main, ["train", *given, "--data", at, "--out", str(tmp_path / "run")], catch_exceptions=False)
    assert done.exit_code == code, done.output
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.shared
@pytest.mark.slow
def test_acted_clips_are_extracted_once(tmp_path: Path, shared: Path) -> None:
    """Two RAVDESS clips each of three actors: the second command must find their streams and extract nothing."""
    clips = tmp_path / "clips"
    clips.mkdir()
    source = shared / "data" / "speech" / "ravdess"
    for actor in ("02", "03", "04"):
        for emotion in ("05", "03"):
            recording = next(source.rglob(f"03-01-{emotion}-01-01-01-{actor}.*"))
            (clips / recording.name).symlink_to(recording)
    text = RECIPE.replace('form = "streams"', 'form = "ravdess"').replace("[streams.text]\nwidth = 2\n", "")
    text += '[splits]\nby = "speaker"\nvalid = ["03"]\ntest = ["04"]\n'
    (tmp_path / "recipe.toml").write_text(text)
    kept = tmp_path / "extracted"
    common = ["train", str(tmp_path / "recipe.toml"), "--data", str(clips), "--voice", "librosa", "--offline", "--device", "cpu"]
    stamps: list[dict[Path, int]] = []
    for name in ("one", "two"):
        arguments = [*common, "--epochs", "1", "--extracted", str(kept), "--out", str(tmp_path / name)]
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        stamps.append({p: p.stat().st_mtime_ns for p in kept.rglob("*.parquet")})
    assert len(stamps[0]) == 6
    assert stamps[0] == stamps[1]
