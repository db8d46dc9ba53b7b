"""MCR's tables 2 to 5 and figures 6 and 7 (Yang et al. 2023)."""

from __future__ import annotations

from .definition import SENTIMENT, Experiment, Variant, only

LABELS = ("happiness", "sadness", "anger", "neutral")
IEMOCAP = tuple(f"emotion.labels.{label}.{score}" for label in LABELS for score in ("accuracy", "weighted_f1"))


def _models(data: str) -> tuple[Variant, ...]:
    return tuple(Variant(name, recipe=f"{data}-{model}") for name, model in (("MCR", "mcr"), ("PMR", "pmr"), ("MulT", "mult")))


SENTIMENT_MODELS = {
    data: Experiment(
        name=f"mcr-table-{number}",
        paper=f"Yang et al. 2023, table {number}",
        about=f"MCR, PMR and MulT on {title}, word-aligned or unaligned as the file is",
        recipes=(f"{data}-mcr",),
        variants=_models(data),
        metrics=SENTIMENT,
    )
    for data, number, title in (("mosi", 2, "CMU-MOSI"), ("mosei", 3, "CMU-MOSEI"))
}

IEMOCAP_MODELS = Experiment(
    name="mcr-table-4",
    paper="Yang et al. 2023, table 4 and figure 6 (b): confusion_test.png of each run",
    about="MCR, PMR and MulT on IEMOCAP, accuracy and F1 of each emotion",
    recipes=("iemocap-mcr",),
    variants=_models("iemocap"),
    metrics=IEMOCAP,
    differs="The majority class lies at or above several printed accuracies; it is in every run's evaluation_test.json. Judge by F1.",
)

ABLATION = Experiment(
    name="mcr-table-5",
    paper="Yang et al. 2023, table 5; figure 6 (a): the runs' metrics.csv, sentiment_mae by epoch",
    about="modalities, interactions, sources, targets and structure",
    recipes=("mosi-mcr", "mosei-mcr"),
    variants=(
        Variant("MCR"),
        Variant("language only", only("text")),
        Variant("video only", only("face")),
        Variant("audio only", only("voice")),
        Variant("[V, A -> L] only", {"model.ablation": {"targets": ["text"]}}),
        Variant("[L, A -> V] only", {"model.ablation": {"targets": ["face"]}}),
        Variant("[L, V -> A] only", {"model.ablation": {"targets": ["voice"]}}),
        Variant("low-level features (no SUM)", {"model.ablation": {"source_update": "none"}}),
        Variant("feed-forward layer only", {"model.ablation": {"source_update": "feed_forward"}}),
        Variant("SUM without selective memory", {"model.ablation": {"source_update": "plain"}}),
        Variant("without CMU", {"model.ablation": {"mutual_unit": False}}),
        Variant("without mutual attention", {"model.ablation": {"mutual": False}}),
        Variant("without SCU", {"model.ablation": {"source_unit": False}}),
        Variant("without attention layer", {"model.branch_attention": "mean"}),
        Variant("serial CMU and SCU", {"model.ablation": {"order": "serial"}}),
    ),
    metrics=SENTIMENT,
)

LAYERS = Experiment(
    name="mcr-figure-7",
    paper="Yang et al. 2023, figure 7",
    about="1 to 5 layers",
    recipes=("mosi-mcr", "mosei-mcr"),
    variants=tuple(Variant(f"{n} layer{'s' * (n > 1)}", {"model.layers": n}, x=n) for n in (3, 1, 2, 4, 5)),
    metrics=SENTIMENT,
    axis="layers",
)
