"""`emofuse adapt` as a user runs it, on streams that lie in the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from emofuse.cli.main import main
from emofuse.fusion import MODELS
from emofuse.fusion.batch import Scaling
from emofuse.fusion.checkpoints import Checkpoint, StreamInput, load, save
from emofuse.fusion.predictor import Predictor
from emofuse.pipeline.formats.parquet import read_stream, write_stream
from emofuse.pipeline.results import Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

CARD = {"training_data": {"nothing": "random weights"}, "licence": "MIT", "numbers": {}, "intended_use": "tests", "limits": ["all"]}
WORDS = {"anger": "cross", "fear": "scared"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    kind = MODELS["late-lstm"]()
    config: Any = kind.config(streams={"voice": 2}, outputs=7, hidden=4, dropout=0.0)
    module = kind.module(config)
    streams = {"voice": StreamInput(("level", "pitch"), Scaling(np.zeros(2, np.float32), np.ones(2, np.float32)))}
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save(path, Checkpoint("late-lstm", config, streams, {"emotion": EMOTIONS}, 1.0, CARD), module)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve clips of three speakers: high pitch is called scared, low pitch cross."""
    folder, random = tmp_path / "data", np.random.default_rng(0)
    lines = ["clip,label,speaker"]
    for i in range(12):
        emotion, start = ("anger", "fear")[i % 2], np.arange(20, dtype=np.float64) / 10
        values = random.normal(scale=0.5, size=(20, 2)).astype(np.float32)
        values[:, 1] += 4 * (i % 2) - 2
        (folder / f"c{i}" / "streams").mkdir(parents=True)
        write_stream(
            TimedSequence("voice", ("level", "pitch"), values, start, start + 0.1, Provenance("test", "1")),
            folder / f"c{i}" / "streams" / "voice.parquet",
        )
        lines.append(f"c{i},{WORDS[emotion]},s{i // 4}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


RENAMED = ("--rename", "cross=anger", "--rename", "scared=fear")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["adapt", *map(str, arguments)], catch_exceptions=False)


def test_adapt_prints_a_table_and_writes_a_checkpoint_that_is_right(base: Path, data: Path, tmp_path: Path) -> None:
    done = run(base.with_suffix(".json"), "--data", data, "--out", tmp_path / "out", *RENAMED)
    assert done.exit_code == 0, done.output
    for said in ("12 clips: 6 anger, 6 fear; 3 speakers", "left out: one clip at a time", "left out: one speaker at a time", "It helps on"):
        assert said in done.stdout, done.stdout
    checkpoint, module = load(tmp_path / "out" / "best.safetensors")
    assert checkpoint.card["adapted"]["base_sha256"] == load(base)[0].sha256
    for i in range(12):
        voice = read_stream(data / f"c{i}" / "streams" / "voice.parquet")
        (told,) = Predictor(checkpoint, module).predict([Utterance(Span(0, 2), "", {"voice": voice})], attention=False)
        assert max(told.probabilities, key=lambda e: told.probabilities[e]) == ("anger", "fear")[i % 2]


def test_the_report_as_json(base: Path, data: Path, tmp_path: Path) -> None:
    done = run(base, "--data", data, "--out", tmp_path / "out", *RENAMED, "--json")
    report = json.loads(done.stdout)
    assert report["helps"] and report["clips"] == {"anger": 6, "fear": 6} and report["speakers"] == 3
    rows = report["leave_one_out"]["speaker"]["accuracy"]
    assert rows["after"] - rows["before"] == pytest.approx(rows["difference"]["value"])


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        ((), 1, "c0: expected the label anger, .*, got 'cross'; --rename cross=EMOTION says which it is"),
        (("--rename", "cross"), 2, "--rename cross: expected LABEL=EMOTION"),
        (("--rename", "cross=anger", "--rename", "scared=terror"), 1, "c1: expected the label .*, got 'terror'"),
        (("--rename", "cross=anger", "--rename", "scared=anger"), 1, "at least two emotions, got anger alone"),
        (("--rename", "cross=none", "--rename", "scared=none"), 1, "at least 6 labelled clips, got 0"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_in_one_line(
    arguments: tuple[str, ...], status: int, expected: str, base: Path, data: Path, tmp_path: Path
) -> None:
    import re

    done = run(base, "--data", data, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == status and re.search(expected, done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


def test_clips_of_the_test_split_are_left_alone(base: Path, data: Path, tmp_path: Path) -> None:
    labels = (data / "labels.csv").read_text().splitlines()
    split = [labels[0] + ",split", *(f"{line},{'test' if i % 3 == 0 else ''}" for i, line in enumerate(labels[1:]))]
    (data / "labels.csv").write_text("\n".join(split) + "\n")
    done = run(base, "--data", data, "--out", tmp_path / "out", *RENAMED)
    assert "4 clips of the split test are left alone" in done.stderr and "8 clips: 4 anger, 4 fear" in done.stdout


def test_a_run_is_not_adapted_onto_itself(base: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(base, "--data", data, "--out", out, *RENAMED).exit_code == 0
    again = run(out, "--data", data, "--out", out, *RENAMED)
    assert again.exit_code == 2 and "expected another folder" in again.stderr
    assert run(out, "--data", data, "--out", tmp_path / "more", *RENAMED).exit_code == 0, "an adapted one can be adapted"
