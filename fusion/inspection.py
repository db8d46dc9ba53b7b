"""Attention and gates of a run, utterance by utterance: arrays, one table of gates, and pictures.

    OUT/UTTERANCE.npz              map.KIND.TARGET.SOURCE[.UNIT] (layer h i j), gate.NAME (layer ..), start.STREAM, end.STREAM (n) seconds
    OUT/gates.csv                  utterance, gate, layer, mean, lowest, highest, effective_rows
    OUT/sources.csv                MCR's alpha summed over each source (its figure 5): utterance, target, source, layer, share
    OUT/UTTERANCE_maps_UNIT.png    maps averaged over heads, a row of panels for each pair, a panel for each layer (MCR's figures 3
                                   and 4; RRNN's figure 4, whose layers are hops)
    OUT/UTTERANCE_sources.png      alpha's shares by layer

Absent rows are cut away. `effective_rows` is exp(entropy) of gates that sum to 1 over rows (MCR's alpha), empty for others.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.pipeline.errors import DatasetError
from emofuse.pipeline.views import plots

from .evaluate import Trained
from .outputs import Map, Output

KINDS = ("cross", "self", "memory")
Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Inspected:
    """One utterance: maps (layer h i j) and gates (layer ..) without absent rows, and its streams' times (n 2) in seconds."""

    name: str
    maps: tuple[tuple[Map, Array], ...]
    gates: Mapping[str, Array]
    times: Mapping[str, NDArray[np.float64]]


def inspect(
    trained: Trained, *, split: str = "test", names: Sequence[str] = (), most: int = 3, kinds: Sequence[str] = KINDS
) -> Iterator[Inspected]:
    """The utterances named, else the first `most` of the split, one at a time. Raises `DatasetError` for a name not in the split."""
    part = trained.split(split)
    if unknown := [name for name in names if name not in part.names]:
        raise DatasetError(f"{trained.folder}: no utterance {', '.join(unknown)} in {split}; it has {', '.join(part.names[:5])}, ...")
    chosen = [part.names.index(name) for name in names] if names else range(min(most, len(part)))
    for index in chosen:
        streams = part.batch([index], trained.checkpoint.streams, trained.device)
        with torch.inference_mode():
            output: Output = trained.module(streams, maps=tuple(kinds))
        present = {m: batch.present[0].cpu().numpy() for m, batch in streams.items()}
        read = {m: part.streams[index][m] for m in present}
        yield Inspected(
            part.names[index],
            tuple((m, _cut(m, present)) for m in output.maps),
            {name: gate[:, 0].float().cpu().numpy() for name, gate in output.gates.items()},
            {m: np.stack([s.start, s.end], 1) for m, s in read.items()},
        )


def _cut(attention_map: Map, present: Mapping[str, NDArray[np.bool_]]) -> Array:
    """(layer h i j) of one utterance among its present rows."""

    def rows(name: str) -> NDArray[np.bool_]:
        return np.ones(1, bool) if name == "utterance" else np.concatenate([present[part] for part in name.split("+")])

    weights: Array = attention_map.weights[:, 0].float().cpu().numpy()
    return weights[:, :, rows(attention_map.target)][:, :, :, rows(attention_map.source)]


def write_inspection(utterances: Iterator[Inspected], out: Path, *, maps: bool = True, gates: bool = True) -> list[str]:
    """Writes what the module's docstring lists; `maps` and `gates` say which half. Returns the utterances' names."""
    out.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    gate_rows: list[Sequence[Any]] = []
    source_rows: list[Sequence[Any]] = []
    for inspected in utterances:
        names.append(inspected.name)
        safe = inspected.name.replace("/", "_")
        arrays: dict[str, Any] = {}
        if maps:
            arrays |= {".".join(["map", m.kind, m.target, m.source, *([m.unit] if m.unit else [])]): w for m, w in inspected.maps}
            _draw_maps(out, safe, inspected)
        if gates:
            arrays |= {f"gate.{name}": values for name, values in inspected.gates.items()}
            gate_rows += gate_lines(inspected)
            shares = source_shares(inspected)
            source_rows += [(inspected.name, *line) for line in shares]
            if shares:
                _draw_shares(out / f"{safe}_sources.png", inspected.name, shares)
        for m, times in inspected.times.items():
            arrays |= {f"start.{m}": times[:, 0], f"end.{m}": times[:, 1]}
        np.savez_compressed(out / f"{safe}.npz", **arrays)
    if gates:
        _write_csv(out / "gates.csv", ("utterance", "gate", "layer", "mean", "lowest", "highest", "effective_rows"), gate_rows)
    if source_rows:
        _write_csv(out / "sources.csv", ("utterance", "target", "source", "layer", "share"), source_rows)
    return names


def gate_lines(inspected: Inspected) -> list[tuple[Any, ...]]:
    """utterance, gate, layer (from 1), mean, lowest, highest, effective rows ("" where the gate is no distribution over rows)."""
    lines = []
    for name, values in inspected.gates.items():
        for layer, gate in enumerate(values, 1):
            rows = _effective_rows(inspected, name, layer) if name.startswith("alpha_") else ""
            lines.append((inspected.name, name, layer, float(gate.mean()), float(gate.min()), float(gate.max()), rows))
    return lines


def source_shares(inspected: Inspected) -> list[tuple[str, str, int, float]]:
    """MCR's alpha summed over each source: target, source, layer (from 1), share; empty for other models."""
    return [
        (target, source, layer, float(gate.sum()))
        for (target, source), values in _alphas(inspected).items()
        for layer, gate in enumerate(values, 1)
    ]


def _alphas(inspected: Inspected) -> dict[tuple[str, str], Array]:
    """(target, source) -> alpha (layer j)."""
    by_pair = {}
    for target in inspected.times:
        for source in inspected.times:
            if (values := inspected.gates.get(f"alpha_{target}_{source}")) is not None:
                by_pair[target, source] = values
    return by_pair


def _effective_rows(inspected: Inspected, name: str, layer: int) -> float:
    """exp(entropy) of a target's alpha over all its sources."""
    alphas = _alphas(inspected)
    target = next(t for (t, s) in alphas if name == f"alpha_{t}_{s}")
    weights = np.concatenate([values[layer - 1] for (t, _), values in alphas.items() if t == target]).astype(np.float64)
    positive = weights[weights > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def _draw_maps(out: Path, name: str, inspected: Inspected) -> None:
    """A picture for each unit: crossmodal maps between streams, heads averaged, a row of panels for each pair, a panel for each layer."""
    by_unit: dict[str, list[tuple[Map, Array]]] = {}
    for attention_map, weights in inspected.maps:
        if attention_map.kind == "cross" and weights.size:
            by_unit.setdefault(attention_map.unit, []).append((attention_map, weights))
    for unit, pairs in by_unit.items():
        layers = max(1 if m.target == "utterance" else len(w) for m, w in pairs)
        figure = plots.new_figure(3.5 * layers, 2.6 * len(pairs))
        grid = figure.subplots(len(pairs), layers, squeeze=False)
        for row, (attention_map, weights) in zip(grid, pairs, strict=True):
            over_heads = weights.mean(1)  # (layer i j)
            panels = over_heads.transpose(1, 0, 2) if attention_map.target == "utterance" else over_heads
            for k, axes in enumerate(row):
                axes.set_visible(k < len(panels))
                if k < len(panels):
                    axes.imshow(panels[k], aspect="auto", interpolation="nearest", cmap="viridis")
                    axes.set(title=f"layer {k + 1}" if layers > 1 else "", xlabel=attention_map.source)
                    axes.set_ylabel("hop" if attention_map.target == "utterance" else attention_map.target)
        figure.suptitle(f"{inspected.name} {unit}".rstrip())
        figure.savefig(out / f"{name}_maps{'_' + unit.replace(' ', '_') if unit else ''}.png", dpi=100)


def _draw_shares(path: Path, name: str, shares: Sequence[tuple[str, str, int, float]]) -> None:
    targets = list(dict.fromkeys(target for target, *_ in shares))
    figure = plots.new_figure(3.5 * len(targets), 3)
    for axes, target in zip(figure.subplots(1, len(targets), squeeze=False)[0], targets, strict=True):
        for source in dict.fromkeys(s for t, s, _, _ in shares if t == target):
            points = [(layer, share) for t, s, layer, share in shares if (t, s) == (target, source)]
            axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=source)
        axes.set(title=f"alpha of {target}", xlabel="layer", ylim=(0, 1))
        axes.legend(fontsize=7)
    figure.suptitle(name)
    figure.savefig(path, dpi=100)


def _write_csv(path: Path, head: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(lines)
