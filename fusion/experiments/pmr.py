"""PMR's components (Lv et al. 2021). Its own tables were not at hand; the rows are the components that its text argues for."""

from __future__ import annotations

from .definition import SENTIMENT, Experiment, Variant, only

ABLATION = Experiment(
    name="pmr-ablation",
    paper="Lv et al. 2021, the components of its method",
    about="streams, dynamic filter, progressive reinforcement, order of the updates",
    recipes=("mosi-pmr", "mosei-pmr"),
    variants=(
        Variant("PMR"),
        Variant("language only", only("text")),
        Variant("audio only", only("voice")),
        Variant("vision only", only("face")),
        Variant("without the dynamic filter", {"model.ablation": {"gate": "even"}}),
        Variant("crossmodal branch only", {"model.ablation": {"gate": "cross"}}),
        Variant("self branch only", {"model.ablation": {"gate": "self"}}),
        Variant("low-level hub (not progressive)", {"model.ablation": {"hub_update": False}}),
        Variant("language reinforced only", {"model.ablation": {"reinforced": ["text"]}}),
        Variant("hub and streams updated in parallel", {"model.ablation": {"order": "parallel"}}),
        Variant("hub: mean of its versions", {"model.branch_attention": "mean"}),
    ),
    metrics=SENTIMENT,
)

LAYERS = Experiment(
    name="pmr-layers",
    paper="Lv et al. 2021, number of reinforcement rounds",
    about="1 to 5 layers",
    recipes=("mosi-pmr", "mosei-pmr"),
    variants=tuple(Variant(f"{n} layer{'s' * (n > 1)}", {"model.layers": n}, x=n) for n in (3, 1, 2, 4, 5)),
    metrics=SENTIMENT,
    axis="layers",
)
