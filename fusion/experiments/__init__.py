"""The papers' tables as experiments. `EXPERIMENTS` lists them: name -> the table (definition.py). Running one is running.py's.

A new experiment is an `Experiment` in its paper's file and one line here.
"""

from __future__ import annotations

from . import delta, mcr, mult, pmr, rrnn
from .definition import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    "mult-ablation": mult.ABLATION,
    "pmr-ablation": pmr.ABLATION,
    "pmr-layers": pmr.LAYERS,
    "mcr-table-2": mcr.SENTIMENT_MODELS["mosi"],
    "mcr-table-3": mcr.SENTIMENT_MODELS["mosei"],
    "mcr-table-4": mcr.IEMOCAP_MODELS,
    "mcr-table-5": mcr.ABLATION,
    "mcr-figure-7": mcr.LAYERS,
    "rrnn-table-1": rrnn.CREMAD,
    "rrnn-table-2": rrnn.RAVDESS,
    "rrnn-table-3": rrnn.MOSEI,
    "rrnn-hops": rrnn.HOPS,
    "rrnn-gates": rrnn.GATES,
    "delta-table-2": delta.TABLE,
    "delta-acc6": delta.SIX,
}
