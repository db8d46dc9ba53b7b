"""HDA's table 2 (Panchal 2020): the streams alone, DCCA without and with fused attention."""

from __future__ import annotations

from typing import Any

from .definition import Experiment, Variant, only

LABELS = ("happiness", "sadness", "anger", "surprise", "disgust", "fear")
EACH = tuple(f"emotion.labels.{label}.{score}" for label in LABELS for score in ("accuracy", "weighted_accuracy", "weighted_f1"))


def _alone(stream: str, batch: int) -> dict[str, Any]:
    """One stream's delta attention and head, trained as in the paper's first stage."""
    stage = {"name": "streams", "epochs": 10, "batch": batch, "rate": 1e-3, "weight_decay": 1e-4}
    fused = {"name": "fused", "epochs": 10, "batch": batch, "rate": 1e-3, "weight_decay": 1e-4}
    return {**only(stream), "stages": [stage, fused], "model.readout": "attended"}


ROWS = (
    Variant("delta attention, DCCA and fused attention"),
    Variant("delta attention and DCCA, no fused attention", {"model.readout": "encoded"}),
    Variant("text only", _alone("text", 32)),
    Variant("visual only", _alone("face", 8)),
    Variant("acoustic only", _alone("voice", 8)),
    Variant("without DCCA (end to end)", {"stages": [], "training.epochs": 10}),
)

TABLE = Experiment(
    name="delta-table-2",
    paper="Panchal 2020, table 2: accuracy and F1 of each emotion",
    about="each stream alone, DCCA alone, all fused; yes or no for each emotion",
    recipes=("mosei-delta",),
    variants=ROWS,
    metrics=("emotion.accuracy", "emotion.weighted_accuracy", "emotion.weighted_f1", *EACH),
    differs="Aligned rows: word-aligned data, and stages.3.pairing=rows. Text is word vectors, not a transformer over the sentence.",
)

SIX = Experiment(
    name="delta-acc6",
    paper="Panchal 2020, table 2: Acc6 and overall F1 by a six-way softmax",
    about="the same rows, one of six classes: the emotion with the largest label",
    recipes=("mosei-delta",),
    variants=tuple(Variant(v.label, {"tasks.emotion.kind": "strongest", **v.changes}) for v in ROWS),
    metrics=("emotion.accuracy", "emotion.weighted_f1", "emotion.uar"),
    differs="Utterances with no emotion have no class: they count neither in training nor in the scores, and the runs say how many.",
)
