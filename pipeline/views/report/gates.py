"""What a report says of the gates of the five fusion models: each gate's name as one line for people."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...results import Analysis

MEANINGS = (
    (r"alpha_(\w+?)_(\w+)", "share of {0}'s selective attention that lies on {1}"),
    (r"gamma_(\w+)_sources", "how much of what {0} takes up comes from the other streams"),
    (r"gamma_(\w+)_itself", "how much of what {0} takes up comes from itself"),
    (r"mu_(\w+)", "how much of {0} is kept when it is updated as a source"),
    (r"phi_(\w+)", "how much of the sources joined is kept when {0} is the target"),
    (r"(\w+)_from_hub", "how much {0} listens to itself (the rest: to the hub)"),
    (r"hub_from_(\w+)", "how much the hub listens to itself (the rest: to {0})"),
    (r"branches_(\w+)", "weight of the hub's version that {0} wrote"),
    (r"view_(\w+)", "how much of what was found in {0} is let in"),
    (r"joined_(\w+)", "how much of {0} is let into the joined context"),
    (r"memory", "how much of the memory is replaced"),
)
"""Pattern of a gate's name -> what its number, 0 to 1, means (docs/models/)."""


def meaning(gate: str) -> str:
    """One line for people; the name itself where it is a model's that is not ours."""
    for pattern, text in MEANINGS:
        if match := re.fullmatch(pattern, gate):
            return text.format(*match.groups())
    return gate


def gates_of(analysis: Analysis) -> dict[str, object] | None:
    """step: what a number stands for ("layer", or "hop" where the model looks from one row), meanings: gate -> line, of every gate that an
    utterance has; None where there is none."""
    predictions = [u.prediction for u in analysis.utterances if u.prediction is not None]
    names = _in_order(name for p in predictions for name in p.gates)
    if not names:
        return None
    hops = any(a.target == "utterance" for p in predictions for a in p.attention)
    return {"step": "hop" if hops else "layer", "meanings": {name: meaning(name) for name in names}}


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
