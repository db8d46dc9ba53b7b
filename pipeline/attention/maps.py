"""Attention maps small enough to keep for a whole clip: cut into pairs of streams, and frames taken together in time.

A map of a model that reads streams joined in time has a row for every word, video frame and voice frame: millions of weights an utterance.
Here each pair of a target and a source stream becomes a map of its own, its words stay one by one, and frames are taken together until
the utterance's maps fit into a number of cells. Frames that are taken together are summed as sources and averaged as targets, so what a
row pays in all stays what it was: 1, or, of a joined map, the part of 1 that fell on that source.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StreamError
from ..results import AnalyzedUtterance, Attention, AttentionKind
from ..spool import Spool, release
from ..timed import Floats32, Floats64
from .timeline import blocks

CELLS = 100_000
"""Weights kept an utterance: 200 kB as float16, 12 MB for ten minutes of speech in turns of ten seconds."""
FEWEST = 12
"""Rows that frames are never taken together below."""
SIDES = ("target_start", "target_end", "source_start", "source_end")


def small(attention: Sequence[Attention], rows: Mapping[str, int], cells: int = CELLS) -> tuple[Attention, ...]:
    """The same maps, one per pair of streams, with at most about `cells` weights together; `rows` says how many rows each stream has.

    Weights are rounded to float16, as their file holds them: a map is the same before and after it.

    Maps of kind "cross" come first where not all can be had at `FEWEST` rows per side; what then still does not fit is left out.
    """
    maps = [pair for a in attention for pair in pairs(a, rows)]
    maps.sort(key=lambda a: a.kind != "cross")
    for side in (256, 192, 128, 96, 64, 48, 32, 24, 16, FEWEST):
        sizes = [_size(a, side) for a in maps]
        if sum(sizes) <= cells:
            break
    kept: list[Attention] = []
    for a, size in zip(maps, sizes if maps else (), strict=True):
        if size <= cells:
            cells -= size
            kept.append(pooled(a, _side(a.target, side), _side(a.source, side)))
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


def pooled(attention: Attention, targets: int, sources: int) -> Attention:
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


class MapStore:
    """Maps of many utterances, appended as they come (those of hours fill a file and not memory), returned together at the end."""

    def __init__(self) -> None:
        self._weights = Spool(dtype=np.float32)
        self._times = Spool(dtype=np.float64)
        self._entries: list[tuple[int, AttentionKind, str, str, tuple[int, ...]]] = []

    def add(self, utterance: int, attention: Sequence[Attention]) -> None:
        for a in attention:
            self._entries.append((utterance, a.kind, a.target, a.source, a.weights.shape))
            self._weights.add(a.weights.ravel())
            self._times.add(np.concatenate([getattr(a, side) for side in SIDES]))

    def maps(self) -> dict[int, tuple[Attention, ...]]:
        """Utterance -> its maps; called once, at the end."""
        weights, times = self._weights.array(), self._times.array()
        by_utterance: dict[int, list[Attention]] = {}
        cell = second = 0
        for utterance, kind, target, source, shape in self._entries:
            size, (i, j) = math.prod(shape), shape[2:]
            borders = second + np.cumsum([0, i, i, j, j])
            sides = {side: times[a:b] for side, a, b in zip(SIDES, borders, borders[1:], strict=False)}
            attention_map = Attention(kind, target, source, weights[cell : cell + size].reshape(shape), **sides)
            by_utterance.setdefault(utterance, []).append(attention_map)
            cell, second = cell + size, int(borders[-1])
        return {number: tuple(maps) for number, maps in by_utterance.items()}


def write_maps(maps: Mapping[int, Sequence[Attention]], path: Path | IO[bytes]) -> None:
    """`maps` (utterance number -> its maps) as one .npz: weights as float16, times as float64, and `index`, a JSON text that lists them.

    The same bytes as `numpy.savez_compressed` gives, which would hold all of them at once.
    """
    index: list[dict[str, object]] = []
    for utterance, attention in maps.items():
        for a in attention:
            name = f"map_{len(index)}"
            index.append({"name": name, "utterance": utterance, "kind": a.kind, "target": a.target, "source": a.source})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:

        def put(name: str, array: NDArray[Any]) -> None:
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)

        put("index", np.array(json.dumps(index)))
        for number, a in enumerate(a for attention in maps.values() for a in attention):
            put(f"map_{number}", a.weights.astype(np.float16))
            for side in SIDES:
                put(f"map_{number}_{side}", getattr(a, side))
            release(a.weights)


def read_maps(path: Path | IO[bytes]) -> dict[int, tuple[Attention, ...]]:
    """What `write_maps` wrote; raises `StreamError` naming the file where it is something else."""
    store = MapStore()
    try:
        with np.load(path, allow_pickle=False) as data:
            for entry in json.loads(str(data["index"])):
                name = entry["name"]
                sides = {side: data[f"{name}_{side}"] for side in SIDES}
                weights: Floats32 = data[name].astype(np.float32)
                store.add(int(entry["utterance"]), [Attention(entry["kind"], entry["target"], entry["source"], weights, **sides)])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StreamError(f"{path}: expected attention maps written by emofuse, but they cannot be read ({error})") from None
    return store.maps()


def with_maps(utterances: Sequence[AnalyzedUtterance], maps: Mapping[int, tuple[Attention, ...]]) -> list[AnalyzedUtterance]:
    """The same utterances, each with its attention maps."""
    return [
        u if u.prediction is None or u.index not in maps else replace(u, prediction=replace(u.prediction, attention=maps[u.index]))
        for u in utterances
    ]
