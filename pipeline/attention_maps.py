"""Attention maps small enough to keep for a whole clip: cut into pairs of streams, and frames taken together in time.

A map of a model that reads streams joined in time has a row for every word, video frame and voice frame: millions of weights an utterance.
Here each pair of a target and a source stream becomes a map of its own, its words stay one by one, and frames are taken together until
the utterance's maps fit into a number of cells. Frames that are taken together are summed as sources and averaged as targets, so what a
row pays in all stays what it was: 1, or, of a joined map, the part of 1 that fell on that source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import StreamError
from .ports import Attention
from .timed import Floats32, Floats64
from .timeline import blocks

CELLS = 100_000
"""Weights kept an utterance: 200 kB as float16, 12 MB for ten minutes of speech in turns of ten seconds."""
FEWEST = 12
"""Rows that frames are never taken together below."""


def small(attention: Sequence[Attention], rows: Mapping[str, int], cells: int = CELLS) -> tuple[Attention, ...]:
    """The same maps, one a pair of streams, with at most about `cells` weights together; `rows` says how many rows each stream has.

    Weights are rounded to float16, as their file holds them: a map is the same before and after it.

    Maps of kind "cross" come first where not all can be had at `FEWEST` rows a side; what then still does not fit is left out.
    """
    found = [pair for a in attention for pair in pairs(a, rows)]
    found.sort(key=lambda a: a.kind != "cross")
    for side in (256, 192, 128, 96, 64, 48, 32, 24, 16, FEWEST):
        sizes = [_size(a, side) for a in found]
        if sum(sizes) <= cells:
            break
    kept: list[Attention] = []
    for a, size in zip(found, sizes if found else (), strict=True):
        if size <= cells:
            cells -= size
            kept.append(taken_together(a, _side(a.target, side), _side(a.source, side)))
    return tuple(kept)


def pairs(attention: Attention, rows: Mapping[str, int]) -> list[Attention]:
    """A map over joined streams as one map for each target and source stream; the weights are those of the whole map."""
    made = []
    for target, i in blocks(attention.target, rows):
        for source, j in blocks(attention.source, rows):
            made.append(
                Attention(
                    kind=attention.kind,
                    target=target,
                    source=source,
                    weights=attention.weights[:, :, i, j],
                    target_start=attention.target_start[i],
                    target_end=attention.target_end[i],
                    source_start=attention.source_start[j],
                    source_end=attention.source_end[j],
                )
            )
    return made


def taken_together(attention: Attention, targets: int, sources: int) -> Attention:
    """At most so many target rows (means of neighbours) and source rows (sums of neighbours)."""
    i, j = _borders(len(attention.target_start), targets), _borders(len(attention.source_start), sources)
    weights = np.add.reduceat(np.add.reduceat(attention.weights, i, axis=2, dtype=np.float64), j, axis=3)
    counts = np.diff([*i, len(attention.target_start)])
    return Attention(
        kind=attention.kind,
        target=attention.target,
        source=attention.source,
        weights=np.asarray(weights / counts[:, None], np.float16).astype(np.float32),
        target_start=attention.target_start[i],
        target_end=_ends(attention.target_end, i),
        source_start=attention.source_start[j],
        source_end=_ends(attention.source_end, j),
    )


def _borders(rows: int, groups: int) -> NDArray[np.intp]:
    """First rows of at most `groups` groups of neighbours, all of one size but the last: sums of unlike groups would look like stripes."""
    return np.arange(0, rows, max(1, -(-rows // groups)), dtype=np.intp)


def _ends(end: Floats64, first: NDArray[np.intp]) -> Floats64:
    return np.maximum.reduceat(end, first)


def _side(stream: str, side: int) -> int:
    """Words are never taken together with their neighbours: a reader looks for each of them."""
    return 1 << 30 if stream == "text" else side


def _size(attention: Attention, side: int) -> int:
    layers, heads, i, j = attention.weights.shape
    return int(layers * heads * min(i, _side(attention.target, side)) * min(j, _side(attention.source, side)))


def write_maps(maps: Mapping[int, Sequence[Attention]], path: Path | IO[bytes]) -> None:
    """`maps` (utterance number -> its maps) as one .npz: weights as float16, times as float64, and `index`, a JSON text that lists them."""
    arrays: dict[str, Any] = {}
    index: list[dict[str, object]] = []
    for utterance, attention in maps.items():
        for a in attention:
            name = f"map_{len(index)}"
            index.append({"name": name, "utterance": utterance, "kind": a.kind, "target": a.target, "source": a.source})
            arrays[name] = a.weights.astype(np.float16)
            for side in ("target_start", "target_end", "source_start", "source_end"):
                arrays[f"{name}_{side}"] = getattr(a, side)
    np.savez_compressed(path, index=np.array(json.dumps(index)), allow_pickle=False, **arrays)


def read_maps(path: Path | IO[bytes]) -> dict[int, tuple[Attention, ...]]:
    """What `write_maps` wrote; raises `StreamError` naming the file where it is something else."""
    try:
        with np.load(path, allow_pickle=False) as data:
            found: dict[int, list[Attention]] = {}
            for entry in json.loads(str(data["index"])):
                name = entry["name"]
                sides = {side: data[f"{name}_{side}"] for side in ("target_start", "target_end", "source_start", "source_end")}
                weights: Floats32 = data[name].astype(np.float32)
                one = Attention(entry["kind"], entry["target"], entry["source"], weights, **sides)
                found.setdefault(int(entry["utterance"]), []).append(one)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StreamError(f"{path}: expected attention maps written by emofuse, but they cannot be read ({error})") from None
    return {utterance: tuple(maps) for utterance, maps in found.items()}
