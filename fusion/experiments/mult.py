"""MulT's ablation (Tsai et al. 2019, table 3), and its tables 1 and 2 as one row."""

from __future__ import annotations

from .definition import SENTIMENT, Experiment, Variant, only

ABLATION = Experiment(
    name="mult-ablation",
    paper="Tsai et al. 2019, table 3",
    about="one stream, one target, intermediate in place of low-level sources",
    recipes=("mosei-mult", "mosi-mult"),
    variants=(
        Variant("MulT"),
        Variant("language only", only("text")),
        Variant("audio only", only("voice")),
        Variant("vision only", only("face")),
        Variant("[V, A -> L]", {"model.targets": ["text"]}),
        Variant("[L, A -> V]", {"model.targets": ["face"]}),
        Variant("[L, V -> A]", {"model.targets": ["voice"]}),
        Variant("intermediate sources", {"model.source": "intermediate"}),
        Variant("late fusion LSTM", {"model": {"name": "late-lstm", "hidden": 64}}),
        Variant("early fusion LSTM", {"model": {"name": "early-lstm", "hidden": 64}}),
    ),
    metrics=SENTIMENT,
    differs="CTC alignment before other models is not there: the streams' own times or rows align them.",
)
