"""Acc6 and confusion matrices, solved by hand: what becomes one class of several, who counts and who does not."""

from __future__ import annotations

import math

import pytest
import torch

from emofuse.fusion.datasets.examples import Example
from emofuse.fusion.recipe import TaskPart, find
from emofuse.fusion.tasks import task_of, tasks_of

SIX = ("happiness", "sadness", "anger")


def labelled(*values: float) -> Example:
    return Example("u", {}, dict(zip(SIX, map(float, values), strict=True)), "train", "s")


def test_the_strongest_label_is_the_class_and_an_utterance_without_one_does_not_count() -> None:
    task = task_of("emotion", TaskPart("strongest", labels=SIX))
    targets = task.targets([labelled(0, 2, 1), labelled(1, 1, 0), labelled(0, 0, 0), labelled(0, 0, 0.3)])
    assert targets.tolist() == [1, 0, -1, 2]  # the first of equals
    logits = torch.tensor([[0.0, 5.0, 0.0], [0.0, 5.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    scores = task.scores(targets, task.answers(logits))
    assert (scores["accuracy"], scores["uncounted"]) == (pytest.approx(2 / 3), 1)
    # recalls 0, 1, 1 of one utterance each; F1 0, 2/3, 1
    assert scores["uar"] == pytest.approx(2 / 3) and scores["weighted_f1"] == pytest.approx((0 + 2 / 3 + 1) / 3)
    sad = next(one for one in scores["one_against_rest"] if one["label"] == "sadness")
    assert sad["accuracy"] == pytest.approx(2 / 3)
    sure, wrong = math.log(1 + 2 * math.exp(-5)), math.log(1 + 2 * math.exp(-5)) + 5
    assert task.loss(logits, targets).item() == pytest.approx((2 * sure + wrong) / 3, abs=1e-5)
    found = task.confusion(targets, logits)
    assert found.counts.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1]] and "3 of 4 utterances" in found.note
    assert task.baseline(torch.tensor([2, 2, -1, -1, -1, 0]), 2).tolist() == [2, 2]


def test_iemocaps_confusion_is_the_strongest_yes_among_utterances_with_one_label() -> None:
    """MCR's figure 6 (b): four questions become one choice of four."""
    task = tasks_of(find("iemocap-mcr").tasks)["emotion"]
    assert task.labels == ("neutral", "happiness", "sadness", "anger")
    targets = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]])  # the last has two labels
    logits = torch.zeros(4, 8)
    logits[0, 1] = 2.0  # yes to neutral
    logits[1, 2] = -1.0  # hardly a no to happiness: the strongest of four
    logits[2, 7] = 1.0
    found = task.confusion(targets, logits)
    assert found.labels == task.labels and found.counts.sum() == 3
    assert found.counts[0, 0] == 1 and found.counts[2, 1] == 1 and found.counts[3, 3] == 1


@pytest.mark.parametrize("name", [f"{data}-{model}" for data in ("mosi", "mosei", "iemocap") for model in ("mult", "pmr", "mcr")])
def test_recipes_of_made_up_times_count_rows_as_their_papers_do(name: str) -> None:
    options = find(name).options
    assert options["positions"] == ("reference" if name.endswith("mult") else "index")
    if name.endswith("mcr"):
        assert options["alignment"] == "index" and "alpha_scale" not in options
