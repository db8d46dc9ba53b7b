"""What every fusion module gives back, and the small contract that all of them keep.

Letters: b utterances of a batch, h heads, i target row, j source row, o outputs, c features.

The contract: `module(streams, maps)` with `streams` a mapping stream name -> `Batch` (the streams of its config, any of them with
nothing present) and `maps` the kinds of attention wanted ("cross", "self", "memory"); it returns an `Output`. Absent rows change
nothing; absent streams are legal; what is not asked for is not computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Map:
    """One attention map, all layers together.

    kind            "cross" between streams, "self" within one, "memory" in a model's own readout stack
    target, source  a stream's name; "a+b" where a model reads streams joined in time, one after the other; "utterance" where one
                    single row stands for the whole utterance
    weights         (layer b h i j), before dropout; over j a row sums to 1, or to 0 where its source has nothing present
    """

    kind: str
    target: str
    source: str
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Output:
    """A module's answer: logits (b o), features (b c) before the head, the maps asked for, and gates by name (b ...)."""

    logits: Tensor
    features: Tensor
    maps: tuple[Map, ...] = ()
    gates: Mapping[str, Tensor] = field(default_factory=dict)
