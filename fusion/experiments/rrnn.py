"""RRNN's tables 1 to 3 (Beard et al. 2018), and its hops and gates."""

from __future__ import annotations

from .definition import Experiment, NoiseTest, Variant, only

INTENSITIES = ("emotion.mse_sum", "emotion.mae_sum", "emotion.weighted_accuracy", "emotion.weighted_f1")
PAIR = ("voice", "face")


def _acted(name: str, number: int, title: str) -> Experiment:
    return Experiment(
        name=f"rrnn-table-{number}",
        paper=f"Beard et al. 2018, table {number}",
        about=f"{title}: audio, video and both, speakers apart",
        recipes=(name,),
        variants=(
            Variant("GCA, AV"),
            Variant("LSTM, A", {"model.hops": 0, **only("voice", of=PAIR)}),
            Variant("LSTM, V", {"model.hops": 0, **only("face", of=PAIR)}),
            Variant("late fusion, AV", {"model": {"name": "late-lstm", "hidden": 128}}),
        ),
        metrics=("emotion.accuracy", "emotion.uar", "emotion.weighted_f1"),
        differs="The paper states no split: this is one of five folds over the actors (--set splits.fold=0 .. 4). Its human row comes from "
        "the data's raters and is no model.",
    )


CREMAD = _acted("cremad-rrnn", 1, "CREMA-D")
RAVDESS = _acted("ravdess-rrnn", 2, "RAVDESS")

MOSEI = Experiment(
    name="rrnn-table-3",
    paper="Beard et al. 2018, table 3: every row on clean test data, then with Gaussian noise on the video",
    about="one stream, early and late fusion, GCA without and with gates, and each of them under noise at test time",
    recipes=("mosei-rrnn",),
    variants=(
        Variant("GCA + gating, TAV"),
        Variant("GCA, TAV", {"model.gates": False}),
        Variant("early fusion, TAV", {"model": {"name": "early-lstm", "form": "attention", "hidden": 64, "attention": 64}}),
        Variant("late fusion, TAV", {"model": {"name": "late-lstm", "hidden": 64}}),
        Variant("T", {"model.gates": False, **only("text")}),
        Variant("A", {"model.gates": False, **only("voice")}),
        Variant("V", {"model.gates": False, **only("face")}),
    ),
    metrics=INTENSITIES,
    noise=NoiseTest("face", (0.0, 0.5, 1.0, 2.0, 4.0)),
    differs="The paper does not state the noise's deviation: a curve over several, in deviations of the training columns.",
)

HOPS = Experiment(
    name="rrnn-hops",
    paper="Beard et al. 2018, number of hops (3 there)",
    about="1 to 5 hops",
    recipes=("mosei-rrnn",),
    variants=tuple(Variant(f"{n} hop{'s' * (n > 1)}", {"model.hops": n}, x=n) for n in (3, 1, 2, 4, 5)),
    metrics=INTENSITIES,
    axis="hops",
)

GATES = Experiment(
    name="rrnn-gates",
    paper="Beard et al. 2018, equations 9 to 13 and the forms that the text mentions",
    about="gates, the form as printed, tied weights, several heads, concatenative scores, a first memory of zeros",
    recipes=("mosei-rrnn",),
    variants=(
        Variant("all gates"),
        Variant("without eq. 11's gates (as printed)", {"model.view_gates": False}),
        Variant("without gates", {"model.gates": False}),
        Variant("tied hops", {"model.tied": True}),
        Variant("two heads", {"model.heads": 2}),
        Variant("concatenative scores", {"model.score": "add"}),
        Variant("first memory of zeros", {"model.start": "zero"}),
    ),
    metrics=INTENSITIES,
)
