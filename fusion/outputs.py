"""What every fusion module gives back, the small contract that all of them keep, and the recorder of maps and gates.

Letters: b utterances of a batch, h heads, i target row, j source row, o outputs, c features.

The contract: `module(streams, maps)` with `streams` a mapping stream name -> `Batch` (the streams of its config, any of them with
nothing present) and `maps` the kinds of attention wanted ("cross", "self", "memory"); it returns an `Output`. Absent rows change
nothing; absent streams are legal; what is not asked for is not computed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Map:
    """One attention map, all layers together.

    kind            "cross" between streams, "self" within one, "memory" in a model's own readout stack
    target, source  a stream's name; "a+b" where a model reads streams joined in time, one after the other; "utterance" where one
                    single row stands for the whole utterance
    weights         (layer b h i j), before dropout; over j a row sums to 1, or to 0 where its source has nothing present
    unit            the part of the model that it belongs to, by its paper's name ("CMU", "SCU"), where a model has several of one pair
    """

    kind: str
    target: str
    source: str
    weights: Tensor
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Output:
    """A module's answer: logits (b o), features (b c) before the head, the maps asked for, and gates by name (b ...)."""

    logits: Tensor
    features: Tensor
    maps: tuple[Map, ...] = ()
    gates: Mapping[str, Tensor] = field(default_factory=dict)


class Recorder:
    """Collects the maps and gates of one forward pass, layer after layer. `kinds` are the kinds of maps that are wanted."""

    def __init__(self, kinds: Collection[str]) -> None:
        self.kinds = frozenset(kinds)
        self._maps: dict[tuple[str, str, str, str], list[Tensor]] = {}
        self._gates: dict[str, list[Tensor]] = {}

    def wants(self, kind: str) -> bool:
        return kind in self.kinds

    def map(self, kind: str, target: str, source: str, weights: Tensor | None, unit: str = "") -> None:
        """One layer's weights (b h i j); None and unwanted kinds are passed over."""
        if weights is not None and kind in self.kinds:
            self._maps.setdefault((kind, target, source, unit), []).append(weights)

    def stack(self, kind: str, target: str, source: str, weights: Tensor | None, unit: str = "") -> None:
        """The weights of several layers (layer b h i j)."""
        for layer_weights in () if weights is None else weights:
            self.map(kind, target, source, layer_weights, unit)

    def gate(self, name: str, values: Tensor | None) -> None:
        """One layer's gate (b ...); None is passed over."""
        if values is not None:
            self._gates.setdefault(name, []).append(values)

    def output(self, logits: Tensor, features: Tensor) -> Output:
        """The answer, logits (b o) and features (b c), with all that was recorded, layers stacked in front."""
        maps = tuple(Map(kind, target, source, torch.stack(w), unit) for (kind, target, source, unit), w in self._maps.items())
        return Output(logits, features, maps, {name: torch.stack(values) for name, values in self._gates.items()})
