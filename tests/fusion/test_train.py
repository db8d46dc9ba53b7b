"""Training on data small enough to know: it learns, resumes as if unbroken, keeps splits apart, and names what is wrong."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emofuse.fusion.checkpoints import build, load
from emofuse.fusion.datasets.examples import Dataset, Example
from emofuse.fusion.evaluate import evaluate
from emofuse.fusion.recipe import Recipe, TaskPart, find, shipped
from emofuse.fusion.tasks import task_of
from emofuse.fusion.train import model_config, train
from emofuse.fusion.training_data import inputs_of, parts_of, shuffled
from emofuse.pipeline.errors import DatasetError, UsageError
from emofuse.pipeline.timed import Provenance, TimedSequence

MADE = Provenance("synthetic", "1")
CLASSES = ("anger", "happiness", "neutral")


def stream(name: str, values: Any) -> TimedSequence:
    rows = np.asarray(values, np.float32)
    start = np.arange(len(rows), dtype=np.float64) * 0.3
    columns = tuple(f"{name}_{j}" for j in range(rows.shape[1]))
    return TimedSequence(name, columns, rows, start, start + 0.3, MADE)


def synthetic(size: int = 60, seed: int = 0) -> Dataset:
    """Sentiment is the sum of text's and voice's first column, averaged over rows; the emotion follows from it. Six speakers."""
    random = np.random.default_rng(seed)
    examples = []
    for i in range(size):
        said, heard = random.normal(size=2)
        text, voice = random.normal(scale=0.1, size=(random.integers(2, 5), 3)), random.normal(scale=0.1, size=(random.integers(3, 8), 2))
        text[:, 0] += said
        voice[:, 0] += heard
        sentiment = float(said + heard)
        emotion = "anger" if sentiment < -0.7 else "happiness" if sentiment > 0.7 else "neutral"
        split = ("train", "train", "train", "valid", "test")[i % 5]
        labels: dict[str, float | str] = {"sentiment": sentiment, "emotion": emotion}
        examples.append(Example(f"u{i}", {"text": stream("text", text), "voice": stream("voice", voice)}, labels, split, f"s{i % 6}"))
    return Dataset("synthetic", tuple(examples))


MODELS: dict[str, dict[str, Any]] = {
    "mult": {"width": 8, "heads": 2, "layers": 1, "memory_layers": 1},
    "delta": {"channels": 8, "heads": 2, "width": 8, "encoded": 4, "fused": 8},
    "rrnn": {"hidden": 8, "attention": 8},
    "late-lstm": {"hidden": 8},
}
STAGES = [{"name": n, "epochs": 2, "batch": 16, "rate": 0.01} for n in ("streams", "encoders", "fused", "joint")]


def recipe(model: str = "late-lstm", /, **changes: Any) -> Recipe:
    table: dict[str, Any] = {
        "name": "tiny",
        "data": {"form": "streams"},
        "streams": {"text": {"width": 3}, "voice": {"width": 2}},
        "tasks": {"sentiment": {"kind": "regress"}},
        "model": {"name": model, **MODELS[model]},
        "training": {"epochs": 3, "batch": 8, "rate": 0.01, "seed": 7},
    }
    return Recipe.of(table | changes, "test")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "best.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def losses(folder: Path) -> list[tuple[str, ...]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [tuple(value for key, value in row.items() if key != "seconds") for row in csv.DictReader(file)]


def test_training_beats_the_mean_and_writes_a_run(tmp_path: Path) -> None:
    data, chosen = synthetic(200), recipe(training={"epochs": 25, "batch": 16, "rate": 0.01, "seed": 1})
    rows: list[dict[str, Any]] = []
    run = train(chosen, data, tmp_path / "run", device="cpu", progress=rows.append)
    assert len(rows) == len(run.history) == 25
    sentiment = evaluate(tmp_path / "run", data, device="cpu").tasks["sentiment"]
    assert sentiment["scores"]["mae"] < 0.5 * sentiment["baseline"]["mae"]
    assert sentiment["intervals"]["mae"]["low"] <= sentiment["scores"]["mae"] <= sentiment["intervals"]["mae"]["high"]
    for name in ("recipe.json", "metrics.csv", "best.safetensors", "best.json", "state.safetensors", "evaluation_test.json"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    for name in ("curves.png", "confusion.png", "confusion_test.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
    checkpoint, _ = load(tmp_path / "run" / "best.safetensors")
    assert checkpoint.tasks == {"sentiment": ("sentiment",)}
    assert checkpoint.card["numbers"]["utterances"] == {"train": 120, "valid": 40, "test": 40}


class Killed(BaseException):
    """As a kill would: not an Exception, so that nothing swallows it."""


VARIED = {  # everything that is drawn or moves with the epoch
    "augment": {"voice": {"offset": 0.3, "noise": 0.2, "mask_columns": 0.1, "mask_rows": 0.3}},
    "training": {"epochs": 3, "batch": 8, "rate": 0.01, "seed": 7, "schedule": "one-cycle"},
}


@pytest.mark.parametrize(
    ("model", "changes", "after"),
    [("mult", {}, 2), ("rrnn", VARIED, 1), ("delta", {"stages": STAGES}, 3), ("delta", {"stages": STAGES}, 4)],
)
def test_a_run_resumed_after_a_kill_equals_an_unbroken_one(tmp_path: Path, model: str, changes: dict[str, Any], after: int) -> None:
    data, chosen = synthetic(), recipe(model, **changes)
    train(chosen, data, tmp_path / "whole", device="cpu")
    seen: list[Any] = []

    def kill(row: dict[str, Any]) -> None:
        seen.append(row)
        if len(seen) == after:
            raise Killed

    with pytest.raises(Killed):
        train(chosen, data, tmp_path / "broken", device="cpu", progress=kill)
    assert not (tmp_path / "broken" / "best.safetensors").exists()
    torch.rand(5)  # the world's random numbers have moved on meanwhile
    train(chosen, data, tmp_path / "broken", device="cpu", resume=True)
    assert same(tmp_path / "whole", tmp_path / "broken")
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken")


def test_the_seed_settles_the_run(tmp_path: Path) -> None:
    data = synthetic()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(recipe(training={"epochs": 1, "batch": 8, "rate": 0.01, "seed": seed}), data, tmp_path / name, device="cpu")
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_training_leaves_the_callers_random_numbers_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train(recipe(), synthetic(), tmp_path / "run", device="cpu")
    assert torch.equal(torch.rand(2), expected)


def test_the_test_split_does_not_touch_training(tmp_path: Path) -> None:
    data = synthetic()
    spoilt = [
        dataclasses.replace(
            e, streams={"text": stream("text", [[99.0, 9, 9]]), "voice": stream("voice", [[9.0, 9]])}, labels={"sentiment": 3.0}
        )
        if e.split == "test"
        else e
        for e in data.examples
    ]
    train(recipe(), data, tmp_path / "a", device="cpu")
    train(recipe(), Dataset("spoilt", tuple(spoilt)), tmp_path / "b", device="cpu")
    assert same(tmp_path / "a", tmp_path / "b")


def test_a_hidden_stream_changes_nothing(tmp_path: Path) -> None:
    data = synthetic()
    louder = [dataclasses.replace(e, streams={**e.streams, "voice": stream("voice", [[50.0, -50.0]])}) for e in data.examples]
    chosen = recipe(data={"form": "streams", "hide": ["voice"]})
    train(chosen, data, tmp_path / "a", device="cpu")
    train(chosen, Dataset("louder", tuple(louder)), tmp_path / "b", device="cpu")
    assert same(tmp_path / "a", tmp_path / "b")


def test_stages_move_their_own_weights_only(tmp_path: Path) -> None:
    data = synthetic()

    def trained(stages: list[dict[str, Any]], name: str) -> dict[str, torch.Tensor]:
        train(recipe("delta", stages=stages), data, tmp_path / name, device="cpu")
        return weights(tmp_path / name)

    one, two, three = (trained(STAGES[:count], str(count)) for count in (1, 2, 3))
    for earlier, later, part in ((one, two, ("encoders",)), (two, three, ("skips", "project", "feed_forward", "out"))):
        moved = {key for key in earlier if not torch.equal(earlier[key], later[key])}
        assert moved and all(key.split(".")[0] in part for key in moved)


def test_early_stopping_and_the_plateau(tmp_path: Path) -> None:
    numbers = {"epochs": 40, "batch": 8, "rate": 0.05, "stop": 3, "plateau": 1, "factor": 0.5}
    run = train(recipe(training=numbers), synthetic(), tmp_path / "run", device="cpu")
    valid = [row["valid_loss"] for row in run.history]
    assert len(valid) < 40
    assert int(np.argmin(valid)) == len(valid) - 4  # three epochs without a lower one, then the end
    assert run.history[-1]["rate"] < 0.05


def test_mixed_precision_on_the_cpu(tmp_path: Path) -> None:
    run = train(
        recipe(training={"epochs": 2, "batch": 8, "rate": 0.01, "precision": "bfloat16"}), synthetic(), tmp_path / "run", device="cpu"
    )
    assert all(np.isfinite(row["train_loss"]) for row in run.history)
    with pytest.raises(UsageError, match="float16 needs a GPU"):
        chosen = recipe(training={"epochs": 1, "batch": 8, "rate": 0.01, "precision": "float16"})
        train(chosen, synthetic(), tmp_path / "other", device="cpu")


def test_classes_get_a_temperature_and_a_majority_baseline(tmp_path: Path) -> None:
    tasks = {"emotion": {"kind": "classes", "labels": list(CLASSES)}, "sentiment": {"kind": "regress", "weight": 0.5}}
    run = train(recipe("mult", tasks=tasks), synthetic(), tmp_path / "run", device="cpu")
    assert run.checkpoint.tasks == {"emotion": CLASSES, "sentiment": ("sentiment",)}
    assert 1 / 3 <= run.checkpoint.temperature <= 3
    baseline = run.validation["emotion"]["baseline"]
    assert sum(map(sum, baseline["confusion"])) == 12
    assert sum(any(row[k] for row in baseline["confusion"]) for k in range(3)) == 1  # one class is all that it answers


def test_folds_keep_speakers_apart_and_test_everyone_once() -> None:
    data, tested = synthetic(), []
    for fold in range(3):
        chosen = recipe(splits={"by": "speaker", "folds": 3, "fold": fold})
        parts = parts_of(chosen, data, {"sentiment": task_of("sentiment", chosen.tasks["sentiment"])})
        speakers = [set(parts[split].speakers) for split in ("train", "valid", "test")]
        assert all(speakers) and sum(map(len, speakers)) == 6
        tested += sorted(parts["test"].names)
    assert sorted(tested) == sorted(e.name for e in data.examples)


def test_standardisation_knows_the_training_split_only() -> None:
    data, chosen = synthetic(), recipe()
    parts = parts_of(chosen, data, {"sentiment": task_of("sentiment", chosen.tasks["sentiment"])})
    rows = np.concatenate([e.streams["text"].values for e in data.examples if e.split == "train"])
    np.testing.assert_allclose(inputs_of(chosen, data, parts["train"])["text"].scaling.mean, rows.mean(0), rtol=1e-5)


@pytest.mark.parametrize("name", list(shipped()))
def test_a_shipped_recipe_reads_back_and_fits_its_model(name: str) -> None:
    recipe_file = find(name)
    assert Recipe.of(json.loads(json.dumps(recipe_file.to_json())), name) == recipe_file
    widths = {stream_name: part.width or 5 for stream_name, part in recipe_file.streams.items()}
    example = Example("u", {s: stream(s, np.ones((2, width))) for s, width in widths.items()}, {})
    tasks = {task: task_of(task, part) for task, part in recipe_file.tasks.items()}
    data = Dataset(name, (example,))
    inputs = inputs_of(recipe_file, data, dataclasses.replace(parts_of(recipe(), synthetic(), {})["train"], streams=()))
    config = model_config(recipe_file, inputs, tasks)
    assert config.streams == widths
    assert (
        config.outputs
        == {"mosi": 1, "mosei": 6 if recipe_file.tasks.get("emotion") else 1, "iemocap": 8, "cremad": 6, "ravdess": 8, "seven": 8}[
            name.split("-")[0]
        ]
    )


def of_its_shape(recipe: Recipe, size: int = 30) -> Dataset:
    """Made-up utterances with the recipe's streams, widths (5 where any will do) and labels; five speakers, all three splits."""
    random = np.random.default_rng(1)
    examples = []
    for i in range(size):
        streams = {
            name: stream(name, random.normal(size=(int(random.integers(3, 7)), part.width or 5))) for name, part in recipe.streams.items()
        }
        streams = {name: dataclasses.replace(s, columns=recipe.streams[name].columns or s.columns) for name, s in streams.items()}
        labels: dict[str, float | str] = {}
        for name, part in recipe.tasks.items():
            if part.kind == "classes":
                labels[part.column or name] = part.labels[i % len(part.labels)]
            else:
                labels |= {label: float(random.integers(-1, 3)) for label in (part.labels or (part.column or name,))}
        examples.append(Example(f"u{i}", streams, labels, ("train", "train", "train", "valid", "test")[i % 5], f"s{i % 5}"))
    return Dataset(recipe.name, tuple(examples))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(shipped()))
def test_a_shipped_recipe_trains(name: str, tmp_path: Path) -> None:
    """One epoch of every phase at the recipe's own sizes moves every weight, and the run can be evaluated."""
    chosen = find(name)
    stages = tuple(dataclasses.replace(stage, epochs=1) for stage in chosen.stages)
    chosen = dataclasses.replace(chosen, training=dataclasses.replace(chosen.training, epochs=1), stages=stages)
    data = of_its_shape(chosen)
    run = train(chosen, data, tmp_path / "run", device="cpu")
    assert [row["phase"] for row in run.history] == ([f"{stage.name} {stage.stream}".rstrip() for stage in stages] or ["all"])
    assert all(np.isfinite(row["train_loss"]) and np.isfinite(row["valid_loss"]) for row in run.history)
    torch.manual_seed(chosen.training.seed)
    first, last = build(run.checkpoint).state_dict(), weights(tmp_path / "run")
    assert [key for key in first if torch.equal(first[key], last[key])] == []
    scores = evaluate(tmp_path / "run", data, device="cpu").tasks
    assert set(scores) == set(chosen.tasks) and all(task["scores"] for task in scores.values())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"trainings": {}}, "unknown key: trainings"),
        ({"training": {"epochs": 1, "batch": 8, "rate": 0.1, "lr": 1}}, "training: unknown key: lr"),
        ({"training": {"epochs": 1, "batch": 8}}, "training: missing key: rate"),
        ({"training": {"epochs": 9, "batch": 8, "rate": 0.1, "keep": "last", "stop": 3}}, "keep last trains all epochs, but stop is 3"),
        ({"training": {"epochs": "many", "batch": 8, "rate": 0.1}}, "training.epochs: expected int, got 'many'"),
        ({"training": {"epochs": 1, "batch": 8, "rate": 0.1, "optimiser": "sgd"}}, "optimiser: expected adam, adamw, got 'sgd'"),
        ({"data": {"form": "streams", "hide": ["face"]}}, "data.hide: no stream face"),
        ({"stages": STAGES}, "only the model delta trains in stages"),
        ({"model": {"width": 3}}, "missing key: model.name"),
    ],
)
def test_a_recipe_that_cannot_be_meant_names_the_key(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        recipe(**changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model": {"name": "late-lstm", "layers": 3}}, "model: unknown key: layers; late-lstm has hidden, dropout"),
        ({"model": {"name": "lstm"}}, "no model 'lstm'"),
        ({"streams": {"text": {"width": 4}, "voice": {}}}, "text: the recipe wants 4 columns, the data have 3"),
        ({"streams": {"text": {}, "face": {}}}, "no utterance has the stream face"),
        ({"tasks": {"arousal": {"kind": "regress"}}}, "u0: expected the label arousal as a number; it has sentiment, emotion"),
        ({"tasks": {"emotion": {"kind": "classes", "labels": ["anger", "neutral"]}}}, "unknown label 'happiness' for emotion"),
        ({"tasks": {"sentiment": {"kind": "guess"}}}, "no kind 'guess'"),
        ({"splits": {"by": "speaker", "valid": ["s1"], "test": ["s9"]}}, "no speaker s9; there are s0"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data_names_what(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises((UsageError, DatasetError), match=match):
        train(recipe(**changes), synthetic(), tmp_path / "run", device="cpu")


def test_a_folder_with_a_run_is_not_written_over(tmp_path: Path) -> None:
    train(recipe(), synthetic(), tmp_path / "run", device="cpu")
    with pytest.raises(UsageError, match="holds a run already"):
        train(recipe(), synthetic(), tmp_path / "run", device="cpu")
    other = dataclasses.replace(recipe(), training=dataclasses.replace(recipe().training, seed=8))
    with pytest.raises(UsageError, match="another recipe; different: training"):
        train(other, synthetic(), tmp_path / "run", device="cpu", resume=True)


def test_losses_of_each_kind_solved_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    cases = [
        (TaskPart("regress"), logits[:, 2:3], torch.tensor([0.5]), 1.5),
        (TaskPart("regress", loss="l2", weight=2.0), logits[:, 2:3], torch.tensor([0.5]), 4.5),
        (TaskPart("classes", labels=("a", "b")), logits[:, :2], torch.tensor([1]), np.log(2)),
        (TaskPart("classes", labels=("a", "b"), loss="l2"), logits[:, :2], torch.tensor([1]), 0.5),
        (TaskPart("multilabel", labels=("a", "b")), logits[:, :2], torch.tensor([[0, 1]]), np.log(2)),
        (TaskPart("questions", labels=("a", "b")), logits, torch.tensor([[0, 1]]), np.log(2)),
        (TaskPart("intensities", labels=("a", "b")), logits[:, 2:], torch.tensor([[1.0, 2.0]]), 0.5),
    ]
    for part, given, target, expected in cases:
        assert task_of("t", part).loss(given, target).item() == pytest.approx(expected)


def test_copies_train_and_nothing_else(tmp_path: Path) -> None:
    plain = synthetic(20)
    copies = tuple(dataclasses.replace(e, name=f"{e.name}-fast", copy_of=e.name) for e in plain.examples)
    data = Dataset("copied", plain.examples + copies)
    parts = parts_of(recipe(), data, {"sentiment": task_of("sentiment", TaskPart("regress"))})
    assert len(parts["train"]) == 24 and sum(name.endswith("-fast") for name in parts["train"].names) == 12
    assert (len(parts["valid"]), len(parts["test"])) == (4, 4)
    assert not any(name.endswith("-fast") for split in ("valid", "test") for name in parts[split].names)


def test_augmentation_changes_training_and_not_validation(tmp_path: Path) -> None:
    """At a rate of nearly nothing the weights stand still: the training loss differs, the validation loss does not."""
    training = {"epochs": 1, "batch": 8, "rate": 1e-12, "seed": 7}
    plain = train(recipe(training=training), synthetic(), tmp_path / "plain", device="cpu").history[0]
    varied = train(recipe(training=training, augment={"text": {"offset": 1.0}}), synthetic(), tmp_path / "varied", device="cpu").history[0]
    assert abs(plain["train_loss"] - varied["train_loss"]) > 1e-4  # 0 exactly if nothing were drawn
    assert plain["valid_loss"] == pytest.approx(varied["valid_loss"], abs=1e-6)


def test_batches_of_like_length_hold_every_utterance_once() -> None:
    rows = [(7 * i) % 23 + 1 for i in range(50)]
    for grouped in (0, 3, 100):
        batches = list(shuffled(rows, 8, torch.Generator().manual_seed(1), grouped))
        assert sorted(i for batch in batches for i in batch) == list(range(50)) and {len(batch) for batch in batches} == {8, 2}
    padded = {
        grouped: sum(len(batch) * max(rows[i] for i in batch) for batch in shuffled(rows, 8, torch.Generator().manual_seed(1), grouped))
        for grouped in (0, 100)
    }
    assert padded[100] < 0.75 * padded[0] and padded[100] >= sum(rows)
    firsts = [next(shuffled(rows, 8, torch.Generator().manual_seed(seed), 100)) for seed in range(8)]
    assert len({min(rows[i] for i in batch) for batch in firsts}) > 2, "short utterances do not always come first"


def test_the_last_epoch_is_kept_and_nobody_need_validate(tmp_path: Path) -> None:
    """At this rate the first epoch has the lowest validation loss: best and last differ. Without validation speakers, they train."""
    training = {"epochs": 3, "batch": 8, "rate": 1.0, "seed": 7}
    best = train(recipe(training=training), synthetic(), tmp_path / "best", device="cpu")
    last = train(recipe(training=training | {"keep": "last"}), synthetic(), tmp_path / "last", device="cpu")
    seen = [row["valid_loss"] for row in best.history]
    assert seen == [row["valid_loss"] for row in last.history] and min(seen) < seen[-1]
    assert not same(tmp_path / "best", tmp_path / "last")
    assert last.validation["sentiment"]["scores"]["mae"] == pytest.approx(seen[-1], abs=1e-5)
    splits = {"by": "speaker", "test": ["s0"]}
    run = train(recipe(training=training | {"keep": "last"}, splits=splits), synthetic(), tmp_path / "none", device="cpu")
    assert run.validation == {} and run.checkpoint.temperature == 1
    assert run.checkpoint.card["numbers"]["utterances"]["valid"] == 0
    assert len(evaluate(tmp_path / "none", synthetic(), device="cpu").tasks["sentiment"]["intervals"]) > 0
    with pytest.raises(UsageError, match="expected speakers for valid and test"):
        train(recipe(training=training, splits=splits), synthetic(), tmp_path / "refused", device="cpu")


def test_a_recall_of_a_class_that_does_not_occur_is_null_in_json(tmp_path: Path) -> None:
    tasks = {"emotion": {"kind": "classes", "labels": ["anger", "happiness", "neutral", "fear"]}}
    run = train(recipe(tasks=tasks, training={"epochs": 1, "batch": 8, "rate": 0.01}), synthetic(), tmp_path / "run", device="cpu")
    assert np.isnan(run.validation["emotion"]["scores"]["recall"][3])

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = (tmp_path / "run" / "best.json").read_text()
    numbers = json.loads(text, parse_constant=refuse)["card"]["numbers"]
    assert numbers["validation"]["emotion"]["scores"]["recall"][3] is None
