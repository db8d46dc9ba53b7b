"""Experiments as commands: settings by dotted keys, the table's numbers, resuming, noise at test time, maps and gates handed out."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from emofuse.fusion.datasets.examples import Dataset
from emofuse.fusion.datasets.made_up import ROWS, SIZES, made_up
from emofuse.fusion.evaluate import Noise, Trained, evaluate, noise_deviations
from emofuse.fusion.experiments import EXPERIMENTS
from emofuse.fusion.experiments.definition import Experiment, NoiseTest, Variant, only
from emofuse.fusion.experiments.running import QUICK_ROWS, Settings, lookup, recipe_of, run_experiment, slug, thinned
from emofuse.fusion.experiments.tables import paired_p, table_of, to_csv, to_latex, to_markdown
from emofuse.fusion.inspection import inspect, source_shares, write_inspection
from emofuse.fusion.recipe import Recipe, find
from emofuse.fusion.settings import parse_settings, with_settings
from emofuse.fusion.tasks import tasks_of
from emofuse.fusion.train import check_memory, model_config, train
from emofuse.fusion.training_data import inputs_of, parts_of
from emofuse.pipeline.errors import UsageError

SMALL = {"width": 8, "heads": 2, "layers": 2}


def few(dataset: Dataset) -> Dataset:
    """Of each stream every tenth row."""
    kept = [dataclasses.replace(e, streams={m: s.rows(np.arange(0, len(s), 10)) for m, s in e.streams.items()}) for e in dataset.examples]
    return Dataset(dataset.name, tuple(kept), dataset.notes)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return few(made_up(find("mosi-mcr"), sizes={"train": 32, "valid": 6, "test": 17}))


def tiny(name: str = "mosi-mcr", **changes: Any) -> Recipe:
    return with_settings(find(name), {f"model.{k}": v for k, v in SMALL.items()} | {"training.epochs": 1} | changes)


# --- settings ---


def test_settings_take_their_place_in_the_recipe() -> None:
    settings = parse_settings(["model.layers=2", "training.rate = 0.5", "model.ablation.mutual=false", "name=other", "streams.face=none"])
    assert settings == {"model.layers": 2, "training.rate": 0.5, "model.ablation.mutual": False, "name": "other", "streams.face": None}
    changed = with_settings(find("mosi-mcr"), settings)
    assert (changed.options["layers"], changed.training.rate, changed.name) == (2, 0.5, "other")
    assert changed.options["ablation"] == {"mutual": False}
    assert list(changed.streams) == ["text", "voice"] and set(changed.options["kernels"]) == {"text", "voice"}
    assert with_settings(find("mosei-delta"), {"stages.1.epochs": 3}).stages[1].epochs == 3


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        (["layers"], "expected KEY=VALUE"),
        (["training.lr=1"], "unknown key: lr"),
        (["streams.hands=none"], "nothing to take away"),
        (["stages.0.epochs=2"], "expected a number below 0"),
        (["training.epochs=none"], "missing key: epochs"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_by_name(pairs: Sequence[str], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        with_settings(find("mosi-mcr"), parse_settings(pairs))


# --- every experiment ---


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_row_of_every_experiment_is_a_model(name: str) -> None:
    """Recipes, settings and metrics fit: every row's config can be made, and every column is a score of its task."""
    experiment = EXPERIMENTS[name]
    assert experiment.name == name and len({slug(v.label) for v in experiment.variants}) == len(experiment.variants)
    for base in experiment.recipes:
        for variant in experiment.variants:
            recipe = recipe_of(experiment, variant, Settings(recipe=base))
            data = Dataset("one", made_up_few(recipe))
            tasks = tasks_of(recipe.tasks)
            parts = parts_of(recipe, data, tasks)
            model_config(recipe, inputs_of(recipe, data, parts["train"]), tasks)
            assert {metric.split(".")[0] for metric in experiment.metrics} <= set(tasks)
            for metric in experiment.metrics:
                task, part = tasks[metric.split(".")[0]], parts["train"]
                scores = task.scores(part.targets[task.name], task.baseline(part.targets[task.name], len(part)))
                assert math.isfinite(lookup({task.name: {"scores": scores}}, metric)), metric


def made_up_few(recipe: Recipe) -> tuple[Any, ...]:
    from emofuse.fusion.datasets.made_up import _example

    splits = ("train", "train", "valid", "test")
    return tuple(_example(recipe, f"u{i}", splits[i % 4], f"s{i % 10}", np.random.default_rng(i)) for i in range(40))


def test_made_up_data_has_mosis_size_and_is_drawn_from_its_seed() -> None:
    recipe, sizes = tiny(), {"train": 100, "valid": 7, "test": 40}
    assert SIZES == {"train": 1284, "valid": 229, "test": 686} and ROWS == {"text": 50, "voice": 375, "face": 500}
    made = made_up(recipe, sizes=sizes)
    assert {split: sum(e.split == split for e in made.examples) for split in sizes} == sizes
    assert 300 < max(len(e.streams["face"]) for e in made.examples) <= ROWS["face"]
    again = made_up(recipe, sizes=sizes).examples[100]
    np.testing.assert_array_equal(again.streams["voice"].values, made.examples[100].streams["voice"].values)
    quick = thinned(made)
    part = made_up(recipe, sizes=sizes, every=20)
    assert [e.name for e in part.examples] == [e.name for split in sizes for e in [e for e in made.examples if e.split == split][::20]]
    np.testing.assert_array_equal(part.examples[1].streams["face"].values, made.examples[20].streams["face"].values)
    assert [e.name for e in thinned(part).examples] == [e.name for e in part.examples]
    assert {split: sum(e.split == split for e in quick.examples) for split in sizes} == {"train": 5, "valid": 4, "test": 4}
    rows = [len(s) for e in quick.examples for s in e.streams.values()]
    assert QUICK_ROWS / 2 < max(rows) <= QUICK_ROWS


# --- the table ---


def test_the_paired_test_is_scipys() -> None:
    random = np.random.default_rng(1)
    one, other = random.normal(size=5), random.normal(0.5, size=5)
    assert paired_p(list(one), list(other)) == pytest.approx(stats.ttest_rel(one, other).pvalue)
    assert math.isnan(paired_p([1.0], [2.0])) and math.isnan(paired_p([1.0, 2.0], [1.0, 2.0]))
    assert paired_p([1.0, 2.0], [2.0, 3.0]) == 0.0


def test_a_table_solved_by_hand() -> None:
    scores = {"whole": {1: {"t.a": 0.5}, 2: {"t.a": 0.7}}, "part & rest": {1: {"t.a": 0.4}, 2: {"t.a": 0.6}}}
    table = table_of("x", ("t.a",), scores)
    assert table.rows["whole"]["t.a"].mean == pytest.approx(0.6)
    assert table.rows["whole"]["t.a"].deviation == pytest.approx(0.1 * 2**0.5)
    lines = list(csv.DictReader(to_csv(table).splitlines()))
    assert float(lines[0]["mean"]) == pytest.approx(0.6) and lines[0]["p"] == "" and lines[1]["seeds"] == "2"
    assert "| whole | 0.6000 ± 0.1414 | 2 |" in to_markdown(table)
    assert r"part \& rest" in to_latex(table) and to_latex(table).count(r"\\") == 3


# --- running ---


EXPERIMENT = Experiment(
    name="tiny",
    paper="nobody, table 0",
    about="for the test",
    recipes=("mosi-mcr",),
    variants=(Variant("MCR", x=2), Variant("language only", only("text"), x=1)),
    metrics=("sentiment.mae", "sentiment.acc7"),
    axis="streams",
    noise=NoiseTest("voice", (0.0, 3.0)),
)


def test_an_experiment_writes_its_table_and_resumes(tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {f"model.{k}": v for k, v in SMALL.items()} | {"training.epochs": 1}
    settings, said = Settings(changes=changes, seeds=2, device="cpu"), []
    table = run_experiment(EXPERIMENT, lambda recipe: data, tmp_path, settings, said.append)
    assert set(table.rows) == {"MCR", "language only"} and table.seeds == {"MCR": 2, "language only": 2} and len(said) == 4
    for name in ("table.csv", "table.md", "table.tex", "sweep.png", "noise.csv", "noise.png"):
        assert (tmp_path / name).stat().st_size > 0
    with (tmp_path / "noise.csv").open(newline="") as file:
        noisy = [row for row in csv.DictReader(file) if row["metric"] == "sentiment.mae"]
    assert [(row["row"], row["noise"]) for row in noisy] == [("MCR", "0.0"), ("MCR", "3.0")]  # the other row has no voice
    assert float(noisy[0]["mean"]) == pytest.approx(table.rows["MCR"]["sentiment.mae"].mean)
    assert noisy[0]["mean"] != noisy[1]["mean"]

    import emofuse.fusion.experiments.running as running

    trained: list[str] = []
    original = running.train
    monkeypatch.setattr(running, "train", lambda recipe, *a, **k: (trained.append(recipe.name), original(recipe, *a, **k))[1])
    assert run_experiment(EXPERIMENT, lambda recipe: data, tmp_path, settings) == table and trained == []
    (tmp_path / "language-only" / "seed-1112" / "curves.png").unlink()  # killed before the end
    assert run_experiment(EXPERIMENT, lambda recipe: data, tmp_path, settings).rows.keys() == table.rows.keys() and len(trained) == 1
    with pytest.raises(UsageError, match="holds a run of another recipe"):
        run_experiment(EXPERIMENT, lambda recipe: data, tmp_path, dataclasses.replace(settings, changes={**changes, "model.layers": 1}))
    with pytest.raises(UsageError, match="no row MulT"):
        run_experiment(EXPERIMENT, lambda recipe: data, tmp_path, dataclasses.replace(settings, rows=("MulT",)))


def test_noise_is_in_deviations_of_the_training_columns(tmp_path: Path, data: Dataset) -> None:
    """Of a recipe that standardises: 1 each; of one that does not: the columns' own deviations. Level 0 changes nothing."""
    train(tiny(), data, tmp_path / "raw", device="cpu")
    trained = Trained.of(tmp_path / "raw", data, "cpu")
    rows = np.concatenate([s["voice"].values for s in trained.parts["train"].streams])
    np.testing.assert_allclose(noise_deviations(trained, "voice"), rows.std(0), rtol=1e-4)
    train(tiny(**{"training.scaling": "standard"}), data, tmp_path / "standard", device="cpu")
    np.testing.assert_allclose(noise_deviations(Trained.of(tmp_path / "standard", data, "cpu"), "voice"), 1, rtol=1e-4)
    clean = evaluate(tmp_path / "raw", data, device="cpu").tasks["sentiment"]["scores"]
    assert evaluate(tmp_path / "raw", data, device="cpu", noise=Noise("voice", 0.0)).tasks["sentiment"]["scores"] == clean
    loud = [evaluate(tmp_path / "raw", data, device="cpu", noise=Noise("voice", 5.0)).tasks["sentiment"]["scores"] for _ in range(2)]
    assert loud[0] == loud[1] != clean
    assert (tmp_path / "raw" / "evaluation_test_voice_noise_5.json").is_file()
    with pytest.raises(UsageError, match="no stream hands"):
        evaluate(tmp_path / "raw", data, device="cpu", noise=Noise("hands", 1.0))


def test_maps_and_gates_of_a_run_are_handed_out(tmp_path: Path, data: Dataset) -> None:
    """Of a run whose task `emofuse analyze` would refuse."""
    train(tiny(), data, tmp_path / "run", device="cpu")
    trained = Trained.of(tmp_path / "run", data, "cpu")
    names = write_inspection(inspect(trained, most=2), tmp_path / "out")
    assert len(names) == 2
    part = trained.split("test")
    n = {m: len(s) for m, s in part.streams[0].items()}
    with np.load(tmp_path / "out" / f"{names[0]}.npz") as arrays:
        assert arrays["map.cross.text.voice.CMU"].shape == (2, 1, n["text"], n["voice"])
        assert arrays["map.cross.text.voice+face.SCU"].shape == (2, 2, n["text"], n["voice"] + n["face"])
        np.testing.assert_allclose(arrays["map.cross.text.voice.CMU"].sum(3), 1, atol=1e-5)
        assert arrays["start.face"].shape == (n["face"],)
    for name in ("gates.csv", "sources.csv", f"{names[0]}_maps_CMU.png", f"{names[0]}_maps_SCU.png", f"{names[0]}_sources.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    for one in inspect(trained, most=2):
        shares = source_shares(one)
        by_layer = {(t, layer): sum(x for a, _, b, x in shares if (a, b) == (t, layer)) for t, _, layer, _ in shares}
        assert len(by_layer) == 6 and all(total == pytest.approx(1, abs=1e-5) for total in by_layer.values())
    with (tmp_path / "out" / "gates.csv").open(newline="") as file:
        rows = [float(row["effective_rows"]) for row in csv.DictReader(file) if row["effective_rows"]]
    assert rows and 1 < min(rows) <= max(rows) < max(n.values()) * 2


# --- what training refuses, and the paper's stages ---


def test_a_model_that_does_not_fit_into_memory_is_refused_before_training() -> None:
    check_memory("x", 10**6, None)
    check_memory("x", 10**6, 10**9)
    with pytest.raises(UsageError, match=r"1,000,000,000 parameters take 26.1 GB to train .* only 0.9 GB"):
        check_memory("x", 10**9, 10**9)


def test_merged_validation_is_trained_on(data: Dataset) -> None:
    recipe = tiny(**{"splits.merge": True, "training.keep": "last"})  # pyright: ignore[reportArgumentType]
    parts = parts_of(recipe, data, tasks_of(recipe.tasks))
    assert len(parts["valid"]) == 0
    assert len(parts["train"]) == sum(e.split in ("train", "valid") for e in data.examples)
    with pytest.raises(UsageError, match="leaves nothing to choose an epoch by"):
        tiny(**{"splits.merge": True})  # pyright: ignore[reportArgumentType]


def test_random_splits_are_drawn_by_shares(data: Dataset) -> None:
    recipe = tiny(**{"splits": {"by": "random", "shares": [0.5, 0.25, 0.25]}})  # pyright: ignore[reportArgumentType]
    parts = parts_of(recipe, data, tasks_of(recipe.tasks))
    total = len(data.examples)
    assert [len(parts[s]) for s in ("train", "valid", "test")] == [
        round(total / 2),
        round(total / 4),
        total - round(total / 2) - round(total / 4),
    ]
    again = parts_of(recipe, data, tasks_of(recipe.tasks))
    other = parts_of(with_settings(recipe, {"splits.seed": 5}), data, tasks_of(recipe.tasks))
    assert parts["test"].names == again["test"].names != other["test"].names


def test_deltas_streams_train_one_at_a_time_and_frozen_parts_run_without_dropout(tmp_path: Path) -> None:
    from emofuse.fusion.checkpoints import build
    from emofuse.fusion.delta_stages import delta_plan

    recipe = with_settings(find("mosei-delta"), {f"stages.{k}.epochs": 1 for k in range(5)})
    data = Dataset("few", made_up_few(recipe))
    run = train(recipe, data, tmp_path / "run", device="cpu")
    assert [row["phase"] for row in run.history] == ["streams text", "streams voice", "streams face", "encoders", "fused"]
    assert "text_emotion_weighted_accuracy" in run.history[0] and "voice_emotion_weighted_accuracy" not in run.history[0]
    torch.manual_seed(0)
    module: Any = build(run.checkpoint)
    stages = delta_plan(module, recipe).stages
    stages[0].train()
    assert module.attention["text"].training and not module.attention["voice"].training
    stages[4].train()
    assert module.training and not any(part.training for part in (module.fronts, module.attention, module.encoders))
