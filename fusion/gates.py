"""A model's gates as a few numbers for people: one number per layer (or hop) of each gate.

    alpha_T_S            MCR: the share of target T's selective attention that lies on source S (its rows' weights summed)
    gamma_T_sources,     MCR: how much of T's second unit comes from the sources, and from itself
    gamma_T_itself
    mu_S, phi_T          MCR: how much of a source, and of a target's joined sources, is kept; mean over rows and columns
    S_from_hub,          PMR: how much stream and hub listen to themselves; mean over rows and columns
    hub_from_S
    branches_S           PMR: the weight of the hub's version that S wrote
    view_S, joined_S     RRNN: how much of each stream's context is let in; mean over columns
    memory               RRNN: how much of the memory is replaced; mean over columns

Delta-attention's `delta_S` is a bias for every pair of rows and has no such number; `emofuse evaluate RUN --gates` hands it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor


def gate_summary(gates: Mapping[str, Tensor], utterance: int, streams: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Gates (layer b ..) of a batch -> by name, a number per layer for one utterance. `streams` are in the model's order.

    Rows that are absent are exactly 0 in every gate over rows, and no sigmoid is: means leave zeros out.
    """
    summary: dict[str, tuple[float, ...]] = {}
    for name, batched in gates.items():
        gate = batched[:, utterance].double().cpu()  # (layer ..)
        if name.startswith("delta_"):
            continue
        if name.startswith("alpha_"):
            summary[name] = tuple(gate.sum(1).tolist())
        elif parts := _parts(name, streams):
            summary |= {f"{name}_{part}": _means(gate[:, k]) for k, part in enumerate(parts)}
        else:
            summary[name] = _means(gate)
    return summary


def _parts(name: str, streams: Sequence[str]) -> Sequence[str]:
    """What stands along a gate's second axis, where that is not rows or columns."""
    if name.startswith("gamma_"):
        return ("sources", "itself")
    return streams if name in ("branches", "view", "joined") else ()


def _means(gate: Tensor) -> tuple[float, ...]:
    """(layer ..) -> the mean of each layer over what is not exactly 0; 0 where all is."""
    flat = gate.reshape(len(gate), -1)
    return tuple((flat.sum(1) / (flat != 0).sum(1).clamp(min=1)).tolist())
