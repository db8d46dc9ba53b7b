"""Training on a handful of made-up faces: the same seed gives the same weights, a stopped run goes on, and something is learned."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.extractors.face.compact.layout import SHAPES
from emofuse.extractors.face.compact.network import load_network
from emofuse.pipeline.errors import UsageError
from training.face_network.opinion import opinions
from training.face_network.photographs import Photographs, Scene
from training.face_network.recipe import Recipe, masked_error, rate_at, rescaling, scales_of
from training.face_network.train import Training, train

RECIPE = Recipe(seed=5, epochs=2, batch=8, without_face=2)


def drawn(n: int = 40) -> Photographs:
    """n pictures of a bright disc whose mouth (a dark bar) is as wide as their jawOpen; every fifth validates."""
    random = np.random.default_rng(0)
    images = []
    opening = random.random(n).astype(np.float32)
    y, x = np.mgrid[:48, :48] - 23.5
    for value in opening:
        image = np.where(x**2 + y**2 < 20**2, 200, 40).astype(np.uint8)
        image[28 : 30 + int(8 * value), 16:32] = 60
        images.append(image)
    shapes = random.normal(0.3, 0.1, (n, len(SHAPES))).astype(np.float32)
    shapes[:, SHAPES.index("jawOpen")] = opening
    seen = np.arange(n) % 4 != 0
    expression = np.eye(7, dtype=np.float32)[np.where(opening > 0.5, 5, 6)]
    return Photographs(
        images=images,
        source=np.array(["made up"] * n),
        part=np.where(np.arange(n) % 5 == 0, "validation", "train"),
        box=np.tile(np.array([24, 24, 40], np.float32), (n, 1)),
        seen=seen,
        shapes=np.where(seen[:, None], shapes, np.nan),
        views=np.repeat(shapes[:, None], 2, axis=1),
        pose=np.where(seen[:, None], random.normal(0, 0.2, (n, 3)), np.nan).astype(np.float32),
        expression=expression,
    )


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


SCENES = [Scene(np.random.default_rng(9).integers(0, 255, (60, 80), dtype=np.uint8), np.zeros((0, 4)))]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_network(path)[0].state_dict()


def test_the_same_seed_gives_the_same_weights_whoever_draws_the_crops(tmp_path: Path) -> None:
    one = weights(train(RECIPE, drawn(), SCENES, tmp_path / "one", device="cpu", workers=1))
    two = weights(train(RECIPE, drawn(), SCENES, tmp_path / "two", device="cpu", workers=3))
    assert all(torch.equal(one[k], two[k]) for k in one)
    other = weights(train(Recipe(seed=6, epochs=2, batch=8, without_face=2), drawn(), SCENES, tmp_path / "three", device="cpu", workers=1))
    assert not torch.equal(one["heads.weight"], other["heads.weight"])


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    photographs = drawn()
    whole = weights(train(RECIPE, photographs, SCENES, tmp_path / "whole", device="cpu", workers=1))
    (tmp_path / "stopped").mkdir()
    run = Training(RECIPE, photographs.where(photographs.part == "train"), SCENES, "cpu", 1)
    run.run_epoch()
    run.save(tmp_path / "stopped" / "state.safetensors")
    again = weights(train(RECIPE, photographs, SCENES, tmp_path / "stopped", device="cpu", workers=1))
    assert all(torch.equal(whole[k], again[k]) for k in whole)


def test_another_recipe_is_not_taken_up(tmp_path: Path) -> None:
    train(RECIPE, drawn(), SCENES, tmp_path, device="cpu", workers=1)
    with pytest.raises(UsageError, match="expected a run with"):
        train(Recipe(seed=7, epochs=2, batch=8, without_face=2), drawn(), SCENES, tmp_path, device="cpu", workers=1)


def test_a_second_run_goes_on_from_given_weights_and_mixes_their_opinion_into_the_labels(tmp_path: Path) -> None:
    photographs = drawn()
    first = train(RECIPE, photographs, SCENES, tmp_path / "first", device="cpu", workers=1)
    network, facts = load_network(first)
    labels = photographs.expression.copy()
    labels[3] = np.nan
    unlabelled = replace(photographs, expression=labels)
    mixed = opinions(network, facts, unlabelled, 0.25)
    known = np.arange(len(labels)) != 3
    assert np.isnan(mixed[3]).all()
    assert np.allclose(mixed[known].sum(1), 1, atol=1e-5)
    said = (mixed[known] - 0.75 * labels[known]) / 0.25
    assert (said > -1e-5).all() and (said.max(1) < 0.999).all(), "a quarter is an opinion, which is never certain"
    # pictures and their mirror images are judged together, so that mirroring all of them changes nothing
    mirrored = replace(unlabelled, images=[np.ascontiguousarray(image[:, ::-1]) for image in unlabelled.images])
    assert np.allclose(opinions(network, facts, mirrored, 0.25)[known], mixed[known], atol=2e-3)

    slow = replace(RECIPE, epochs=1, peak_rate=1e-5, opinion=0.25, frozen=3, start="first")
    second = weights(train(slow, photographs, SCENES, tmp_path / "second", device="cpu", workers=1, start=first))
    before = weights(first)
    change = {name: (second[name].float() - before[name].float()).abs().max().item() for name in before}
    assert 0 < change["heads.weight"] < 1e-2, "a small rate stays near where it started"
    blocks = {name.split(".")[1] for name, moved in change.items() if name.startswith("body.") and moved > 0}
    assert blocks == {"3", "4", "5"} and change["stem.weight"] == 0, "the first blocks are held, their statistics too"


def test_the_loss_goes_down(tmp_path: Path) -> None:
    photographs = drawn()
    run = Training(Recipe(epochs=12, batch=8, without_face=4), photographs.where(photographs.part == "train"), SCENES, "cpu", 1)
    means = [run.run_epoch() for _ in range(12)]
    for head in ("box", "face", "expression"):
        assert means[-1][head] < 0.9 * means[0][head], head
    assert run.finished


def test_unknown_targets_teach_nothing() -> None:
    said = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    true = torch.tensor([[0.0, 0.0], [float("nan"), 0.0]])
    error = masked_error(said, true)
    error.backward()  # type: ignore[no-untyped-call]
    assert error.item() == pytest.approx(2.5)
    assert said.grad is not None
    assert said.grad[1].tolist() == [0.0, 0.0]
    assert masked_error(said, torch.full((2, 2), float("nan"))).item() == 0.0


def test_the_rate_rises_and_anneals_to_zero() -> None:
    rates = [rate_at(p, Recipe()) for p in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(Recipe().peak_rate, rel=1e-3)
    assert np.argmax(rates) == 8
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert all(a >= b for a, b in pairwise(rates[8:]))


def test_scales_come_from_seen_photographs_only() -> None:
    photographs = drawn()
    scales = scales_of(photographs)
    seen = photographs.shapes[photographs.seen]
    assert np.allclose(scales.mean, seen.mean(0))
    assert np.isfinite(scales.mean).all()
    counts = photographs.expression.sum(0)
    ratio = scales.class_weight[5] / scales.class_weight[6]
    assert ratio == pytest.approx(np.sqrt(counts[6] / counts[5]))
    jaw = 13  # AU26 is jawOpen alone
    neutral = photographs.shapes[photographs.seen & (photographs.expression[:, 6] == 1), SHAPES.index("jawOpen")]
    assert rescaling(photographs)["rest"][jaw] == pytest.approx(np.percentile(neutral, 25), abs=1e-4)
