"""What a model reads of a stream: its rows turned into other columns, and pooled to fewer rows. numpy only.

Letters: n rows of the stream, m rows that the model reads, f columns read, g columns made. A preparation looks at one utterance's rows
and at nothing else, keeps the clock (a pooled row spans its members), and says into which row each of the stream's rows went, so that
attention can be handed out for the stream's own rows. NaN is "not measured": after standardisation it is the training mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emofuse.pipeline.columns import HEAD_POSE
from emofuse.pipeline.errors import CheckpointError
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats32, Floats64, TimedSequence

from .pooling import AsItIs, Floats, Pools, Preparation, Prepared, nan_deviation, nan_mean, pooled, quantiles, repeated
from .speech_preparation import Speech

__all__ = ["AsItIs", "Expression", "Heard", "Preparation", "Prepared", "Speech", "preparation_from_json", "preparation_to_json"]


@dataclass(frozen=True)
class Expression:
    """A face's action units, pose and expressions: pooled, expressions as logarithms less their mean, and the strongest moments.

    step   seconds of a pooled row
    whole  whether the rows also describe the utterance: `all_..._mean`, `_high` (90th percentile) and `_move` (mean deviation) are the
           same in every row. Without them a row stands for its own moment, and attention can tell moments apart.
    """

    step: float = 0.16
    whole: bool = True

    def made(self, read: Sequence[str]) -> tuple[str, ...]:
        units = tuple(c for c in read if c not in (*HEAD_POSE, *EMOTIONS))
        whole = (f"all_{c}_{k}" for k in ("mean", "high", "move") for c in (*units, *EMOTIONS))
        return (*units, *EMOTIONS, *HEAD_POSE, *(whole if self.whole else ()))

    def prepare(self, stream: TimedSequence) -> Prepared:
        pools = Pools.of((stream.start + stream.end) / 2, self.step)
        units = [i for i, c in enumerate(stream.columns) if c not in (*HEAD_POSE, *EMOTIONS)]
        order = [*units, *(stream.columns.index(c) for c in EMOTIONS), *(stream.columns.index(c) for c in HEAD_POSE)]
        columns = self.made(stream.columns)
        values = expression_table(stream.values[:, order], len(units), pools)[:, : len(columns)]
        return pooled(stream, columns, values, pools)


def evidence(probabilities: Floats) -> Floats64:
    """(n 7) probabilities -> logarithms less their mean, within -4..4: what is said for each, the same for 0.001 and 0."""
    logs = np.log(np.clip(np.asarray(probabilities, np.float64), 1e-3, 1))
    return np.asarray(np.clip(logs - logs.mean(1, keepdims=True), -4, 4))


def expression_table(values: Floats32, units: int, pools: Pools) -> Floats64:
    """(n units + 7 + 3) action units, expressions, pose -> (m g), the columns of `Expression.made`."""
    x = values.astype(np.float64)
    expressions = evidence(x[:, units : units + len(EMOTIONS)])
    changing = np.concatenate([x[:, :units], expressions], axis=1)
    local = pools.mean(np.concatenate([changing, x[:, units + len(EMOTIONS) :]], axis=1))
    calm = local[:, : changing.shape[1]]  # of pooled rows: a single frame's slip does not count
    whole = np.concatenate([nan_mean(calm), quantiles(calm, [0.9])[0], nan_deviation(calm)])
    return np.concatenate([local, repeated(whole, len(pools.first))], axis=1)


LEVEL_FLOOR = -60.0  # decibels below the utterance's loud moments


@dataclass(frozen=True)
class Heard:
    """A network's rows of a voice (`--voice whisper`), pooled over the moments that are loud; `rms` becomes `loudness`.

    step    seconds of a pooled row
    within  decibels below the utterance's loud moments (the 95th percentile of `rms`) within which a row counts
    `loudness` is the pooled level in decibels below those moments, -60 to about 5. The other columns are NaN where nothing is loud: what
    such a network says of silence is about the room.
    """

    step: float = 0.2
    within: float = 20.0

    def made(self, read: Sequence[str]) -> tuple[str, ...]:
        return ("loudness", *(c for c in read if c != "rms"))

    def prepare(self, stream: TimedSequence) -> Prepared:
        pools = Pools.of((stream.start + stream.end) / 2, self.step)
        rms = np.nan_to_num(stream.column("rms").astype(np.float64))
        top = max(float(np.quantile(rms, 0.95)), 1e-9)
        level = np.maximum(20 * np.log10(np.maximum(rms, 1e-12) / top), LEVEL_FLOOR)
        others = [i for i, c in enumerate(stream.columns) if c != "rms"]
        values = pools.mean(stream.values[:, others], level >= -self.within)
        return pooled(stream, self.made(stream.columns), np.concatenate([pools.mean(level[:, None]), values], axis=1), pools)


PREPARATIONS: Mapping[str, type[AsItIs] | type[Speech] | type[Expression] | type[Heard]] = {
    "as it is": AsItIs,
    "speech": Speech,
    "expression": Expression,
    "heard": Heard,
}


def preparation_from_json(data: Mapping[str, Any] | None) -> Preparation:
    """What `preparation_to_json` wrote; None is `AsItIs`. Raises `CheckpointError` for a kind or number that does not exist."""
    if data is None:
        return AsItIs()
    numbers = {k: v for k, v in data.items() if k != "kind"}
    kind = PREPARATIONS.get(data.get("kind", ""))
    if kind is None or set(numbers) - {f.name for f in dataclasses.fields(kind)}:
        raise CheckpointError(f"checkpoint: no preparation {dict(data)}; there are {', '.join(PREPARATIONS)}")
    return kind(**numbers)


def preparation_to_json(preparation: Preparation) -> dict[str, Any]:
    kind = next(name for name, made in PREPARATIONS.items() if type(preparation) is made)
    return {"kind": kind, **vars(preparation)}
