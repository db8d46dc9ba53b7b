"""A checkpoint adapted to labelled clips, on disk: its answers follow the change of its last layer, whatever the model."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.fusion.adaptation import Change
from emofuse.fusion.adapted import LabelledClip, adapt
from emofuse.fusion.batch import Scaling
from emofuse.fusion.checkpoints import Checkpoint, StreamInput, load
from emofuse.fusion.last_layer import centred, changed, last_layer, prepared, read_utterances
from emofuse.fusion.predictor import Predictor
from emofuse.pipeline.baseline import Tally
from emofuse.pipeline.errors import CheckpointError, DatasetError
from emofuse.pipeline.results import Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

COLUMNS = {"text": 6, "face": 5, "voice": 4}  # as tests/fusion/conftest.py makes them
CARD = {"training_data": "none: random weights", "licence": "MIT", "numbers": {"uar": 1}, "intended_use": "tests", "limits": "all"}
SUBSETS = ({"text": 3}, {"voice": 5}, {"text": 4, "face": 2}, {"text": 2, "face": 5, "voice": 3})

Small = Callable[[str], torch.nn.Module]


def checkpoint_of(module: torch.nn.Module, name: str) -> Checkpoint:
    streams = {
        s: StreamInput(tuple(f"{s}_{i}" for i in range(f)), Scaling(np.full(f, 0.5), np.full(f, 2.0), limit=100.0), baseline=s != "text")
        for s, f in COLUMNS.items()
    }
    tasks = {"emotion": EMOTIONS, "sentiment": ("sentiment",)}
    return Checkpoint(name, module.config, streams, tasks, 1.5, CARD, temperatures={"text": 0.7, "text+face": 2.0})  # type: ignore[arg-type]


def utterance(seed: int, rows: dict[str, int], size: float = 1.0) -> Utterance:
    random = np.random.default_rng(seed)
    streams = {}
    for s, n in rows.items():
        start = np.arange(n, dtype=np.float64) / 2
        values = size * random.normal(size=(n, COLUMNS[s])).astype(np.float32)
        streams[s] = TimedSequence(s, tuple(f"{s}_{i}" for i in range(COLUMNS[s])), values, start, start + 0.5, Provenance("made", "1"))
    return Utterance(Span(0, 10), "", streams)


def probabilities(checkpoint: Checkpoint, module: torch.nn.Module, utterances: list[Utterance]) -> np.ndarray:
    told = Predictor(checkpoint, module).predict(utterances, attention=False)
    return np.array([[one.probabilities[e] for e in EMOTIONS] for one in told])


def test_the_changed_checkpoint_answers_as_the_change_says(small: Small, model_name: str) -> None:
    module = small(model_name)
    checkpoint, random = checkpoint_of(module, model_name), np.random.default_rng(3)
    utterances = [utterance(i, rows) for i, rows in enumerate(SUBSETS)]
    scalings = {name: read.scaling for name, read in checkpoint.streams.items()}
    read = read_utterances(checkpoint, module, [prepared(checkpoint, u) for u in utterances], scalings)
    np.testing.assert_allclose(read.temperatures, [0.7, 1.5, 2.0, 1.5])
    change = Change(random.normal(size=(7, read.features.shape[1])), random.normal(size=7), 0.5)
    new, other = changed(checkpoint, module, change, scalings, CARD)
    moved = (read.logits + read.features @ change.weights.T + change.offsets) * 0.5 / read.temperatures[:, None]
    expected = torch.from_numpy(moved).softmax(1).numpy()
    np.testing.assert_allclose(probabilities(new, other, utterances), expected, atol=2e-5)  # float32 in the module
    before = [one.sentiment for one in Predictor(checkpoint, module).predict(utterances, attention=False)]
    assert before == [one.sentiment for one in Predictor(new, other).predict(utterances, attention=False)], "only emotions change"
    assert torch.equal(last_layer(module).weight, last_layer(small(model_name)).weight), "the base stays as it was"


def test_a_baseline_in_the_standardisation_is_the_persons_baseline(small: Small) -> None:
    module = small("rrnn")
    checkpoint = checkpoint_of(module, "rrnn")
    others = [utterance(i, {"voice": 4, "face": 3}, 3.0) for i in range(5)]
    tallies = {
        s: Tally.all_of(checkpoint.streams[s].columns, (checkpoint.streams[s].tally(u.streams[s]) for u in others))
        for s in ("voice", "face")
    }
    one = utterance(9, {"text": 3, "voice": 6, "face": 4})
    usual = replace(one, usual={name: tally.usual() for name, tally in tallies.items()})
    streams = {
        name: replace(read, scaling=centred(read, tallies[name])) if name in tallies else read for name, read in checkpoint.streams.items()
    }
    centred_told = probabilities(replace(checkpoint, streams=streams), module, [one])
    np.testing.assert_allclose(centred_told, probabilities(checkpoint, module, [usual]), atol=1e-6)
    assert np.abs(centred_told - probabilities(checkpoint, module, [one])).max() > 1e-3


def clips_of(checkpoint: Checkpoint, module: torch.nn.Module, count: int, label: Callable[[int, np.ndarray], str]) -> list[LabelledClip]:
    """Clips of two utterances each; `label` gives a clip's label from its number and the base's logarithms of probabilities (7)."""
    clips = []
    for i in range(count):
        pieces = (utterance(100 + 2 * i, {"text": 4, "voice": 5}, 3.0), utterance(101 + 2 * i, {"text": 3}, 3.0))
        told = np.log(probabilities(checkpoint, module, list(pieces))).mean(0)
        clips.append(LabelledClip(f"clip{i}", pieces, label(i, told), f"s{i % 4}"))
    return clips


@pytest.fixture
def base(small: Small, tmp_path: Path) -> tuple[Checkpoint, torch.nn.Module]:
    """A small RRNN that is sure of its answers."""
    module = small("rrnn")
    with torch.no_grad():
        last_layer(module).weight.mul_(6)
    return replace(checkpoint_of(module, "rrnn"), sha256="ba5e"), module


def other_name(_: int, told: np.ndarray) -> str:
    """Everybody here calls each emotion by the next one's name."""
    return EMOTIONS[(int(told.argmax()) + 1) % len(EMOTIONS)]


def drawn(i: int, told: np.ndarray) -> str:
    """An emotion drawn as the base expects it."""
    return EMOTIONS[int(np.random.default_rng(i).choice(7, p=np.exp(told) / np.exp(told).sum()))]


def test_clips_that_teach_make_a_checkpoint_that_is_right_on_others(base: tuple[Checkpoint, torch.nn.Module], tmp_path: Path) -> None:
    checkpoint, module = base
    clips = clips_of(checkpoint, module, 32, other_name)
    report = adapt(checkpoint, module, "the base", clips[:20], tmp_path / "out")
    assert report.helps and report.speakers == 4 and list(report.by) == ["clip", "speaker"]
    for rows in report.by.values():
        shown = {row.score: row for row in rows}
        assert shown["accuracy"].before < 0.2 < 0.4 < shown["accuracy"].after
        assert shown["log loss"].difference.high < 0
    written, adapted = load(tmp_path / "out" / "best.safetensors")
    told = [probabilities(written, adapted, list(clip.utterances)) for clip in clips[20:]]
    right = [EMOTIONS[int(np.log(p).mean(0).argmax())] == clip.emotion for p, clip in zip(told, clips[20:], strict=True)]
    assert np.mean(right) > 0.4, right
    assert written.card["adapted"]["base_sha256"] == "ba5e" and written.card["adapted"]["base"] == "the base"
    assert "uar" not in written.card["numbers"], "the base's numbers are not this checkpoint's"
    page = (tmp_path / "out" / "card.md").read_text()
    assert "20 clips" in page and "It helps on clips that it did not learn from." in page and "ba5e" in page
    with (tmp_path / "out" / "leave_one_out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 and {row["left_out"] for row in rows} == {"clip", "speaker"}
    by_clip = [row for row in rows if row["left_out"] == "clip"]
    after = {row.score: row.after for row in report.by["clip"]}
    assert np.mean([row["after"] == row["label"] for row in by_clip]) == pytest.approx(after["accuracy"])
    assert -np.mean(np.log([float(row["p_label_after"]) for row in by_clip])) == pytest.approx(after["log loss"], abs=1e-3)


def test_the_same_clips_make_the_same_bytes(base: tuple[Checkpoint, torch.nn.Module], tmp_path: Path) -> None:
    checkpoint, module = base
    clips = clips_of(checkpoint, module, 8, other_name)
    for name in ("one", "two"):
        adapt(checkpoint, module, "the base", clips, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["best.json", "best.safetensors", "card.md", "leave_one_out.csv"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_where_nothing_helps_the_base_stays_as_it_is(base: tuple[Checkpoint, torch.nn.Module], tmp_path: Path) -> None:
    """The clips are as the base expects them: there is nothing to learn."""
    checkpoint, module = base
    clips = clips_of(checkpoint, module, 10, drawn)
    report = adapt(checkpoint, module, "the base", clips, tmp_path / "out")
    assert not report.changed and not report.helps
    assert report.verdict == "Nothing that these clips can teach helped: this is the base as it is."
    written, same = load(tmp_path / "out" / "best.safetensors")
    assert all(torch.equal(same.state_dict()[key], tensor) for key, tensor in module.state_dict().items())
    assert written.temperatures == checkpoint.temperatures
    assert json.loads((tmp_path / "out" / "best.json").read_text())["card"]["adapted"]["verdict"] == report.verdict


def test_clips_without_a_stream_that_the_model_reads_are_left_out(base: tuple[Checkpoint, torch.nn.Module], tmp_path: Path) -> None:
    checkpoint, module = base
    clips = clips_of(checkpoint, module, 8, other_name)
    silent = LabelledClip("silent", (Utterance(Span(0, 1), "", {}),), "anger", "s0")
    assert adapt(checkpoint, module, "the base", [*clips, silent], tmp_path / "out").left_out == ("silent",)
    with pytest.raises(DatasetError, match="at least 6 labelled clips, got 5"):
        adapt(checkpoint, module, "the base", [*clips[:5], silent], tmp_path / "few")
    assert not (tmp_path / "few").exists()


def test_a_model_without_emotions_is_refused(base: tuple[Checkpoint, torch.nn.Module], tmp_path: Path) -> None:
    checkpoint, module = base
    other = replace(checkpoint, tasks={"mood": EMOTIONS, "sentiment": ("sentiment",)})
    with pytest.raises(CheckpointError, match="expected the task emotion, got mood, sentiment"):
        adapt(other, module, "the base", [], tmp_path / "out")
