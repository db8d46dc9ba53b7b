"""What a model reads of a stream: its rows turned into other columns, and pooled to fewer rows. numpy only.

Letters: n rows of the stream, m rows that the model reads, f columns read, g columns made. A preparation looks at one utterance's rows
and at nothing else, keeps the clock (a pooled row spans its members), and says into which row each of the stream's rows went, so that
attention can be handed out for the stream's own rows. NaN is "not measured": after standardisation it is the training mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.columns import HEAD_POSE
from emofuse.pipeline.errors import CheckpointError
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats32, Floats64, TimedSequence

Floats = NDArray[np.floating[Any]]
Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Prepared:
    """rows: what the model reads (m rows); member (n): into which of them each row of the stream went; count (m): how many each took."""

    rows: TimedSequence
    member: Index
    count: Index


class Preparation(Protocol):
    """How a model's rows are made of a stream's: `made` names their columns, given the columns read, and `prepare` makes them."""

    def made(self, read: Sequence[str]) -> tuple[str, ...]: ...
    def prepare(self, stream: TimedSequence) -> Prepared: ...


@dataclass(frozen=True)
class AsItIs:
    """Every row, every column."""

    def made(self, read: Sequence[str]) -> tuple[str, ...]:
        return tuple(read)

    def prepare(self, stream: TimedSequence) -> Prepared:
        n = len(stream)
        return Prepared(stream, np.arange(n), np.ones(n, np.intp))


@dataclass(frozen=True, eq=False)
class Pools:
    """Rows in groups, in order: first (m) row of each group; member (n); count (m)."""

    first: Index
    member: Index
    count: Index

    @classmethod
    def of(cls, middle: Floats64, step: float) -> Pools:
        """Groups of about `step` seconds of rows whose middles (n) are in seconds; the groups are equally long.

        A short one at the end would give its few rows the attention of a whole group. A group without a row does not exist.
        """
        if not len(middle):
            nothing = np.zeros(0, np.intp)
            return cls(nothing, nothing, nothing)
        length = middle[-1] - middle[0] + (float(np.median(np.diff(middle))) if len(middle) > 1 else 0.0)
        width = length / max(1, int(length / step + 0.5 + 1e-6)) or step  # the hair: a clock's rounding must not add a group
        slot = np.floor((middle - middle[0]) / width + 1e-6).astype(np.intp)
        new = np.concatenate([[True], np.diff(slot) != 0])
        first = np.flatnonzero(new)
        member = np.cumsum(new) - 1
        return cls(first, member, np.diff(np.concatenate([first, [len(middle)]])))

    def mean(self, values: Floats, use: NDArray[np.bool_] | None = None) -> Floats64:
        """(n f) -> (m f): the mean of each group's finite values, of the rows in `use` (n); NaN where there is none."""
        known = np.isfinite(values) if use is None else np.isfinite(values) & use[:, None]
        total = np.add.reduceat(np.where(known, values, 0).astype(np.float64), self.first, axis=0)
        number = np.add.reduceat(known.astype(np.float64), self.first, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(number > 0, total / number, np.nan)


def repeated(values: Floats, rows: int) -> Floats64:
    """(k) the same in every row: (rows k)."""
    return np.broadcast_to(np.asarray(values, np.float64), (rows, len(values)))


def change(rows: Floats64) -> Floats64:
    """(m k) half the difference of the next and the last row; at the ends of what is there."""
    return np.gradient(rows, axis=0) if len(rows) > 1 else np.zeros_like(rows)


def quantiles(values: Floats, shares: Sequence[float]) -> Floats64:
    """(n k) -> (len(shares) k), NaN left out; NaN where nothing is measured."""
    quantiles = np.full((len(shares), values.shape[1]), np.nan)
    measured = np.isfinite(values).any(0)
    if measured.any():
        quantiles[:, measured] = np.nanquantile(values[:, measured], shares, axis=0)
    return quantiles


GLOTTAL = ("NAQ", "QOQ", "H1H2", "PSP", "MDQ", "peakSlope", "Rd")
LOCAL_ENVELOPE, WHOLE_ENVELOPE, NOISE, SHARP = 16, 20, 13, 6


@dataclass(frozen=True)
class Speech:
    """COVAREP's columns as a voice: pitch, loudness within the utterance, envelope less its own mean, glottal pulse where there is voice.

    step   seconds of a pooled row
    Local columns stand in each pooled row; those named `all_...` describe the utterance and are the same in every row. Level and the
    mean envelope depend on microphone and distance: only `all_level` and `all_MCEP_*` hold them.
    """

    step: float = 0.1

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that something is made of."""
        return SPEECH_READS

    def made(self, read: Sequence[str]) -> tuple[str, ...]:
        return LOCAL_SPEECH + WHOLE_SPEECH

    def prepare(self, stream: TimedSequence) -> Prepared:
        pools = Pools.of((stream.start + stream.end) / 2, self.step)
        at = {name: i for i, name in enumerate(stream.columns)}
        values = speech_table(stream.values, at, pools)
        return pooled(stream, self.made(stream.columns), values, pools)


SPEECH_READS = (
    "F0",
    "VUV",
    *GLOTTAL,
    *(f"MCEP_{i}" for i in range(WHOLE_ENVELOPE + 1)),
    *(f"HMPDD_{i}" for i in range(NOISE)),
)
LOCAL_SPEECH = (
    "voiced",
    "loudness",
    "pitch",
    "pitch_within",
    "pitch_change",
    *GLOTTAL,
    *(f"MCEP_{i}_within" for i in range(1, LOCAL_ENVELOPE + 1)),
    *(f"MCEP_{i}_change" for i in range(SHARP + 1)),
    *(f"HMPDD_{i}" for i in range(4)),
)
WHOLE_SPEECH = (
    "all_level",
    *(f"all_loudness_{k}" for k in ("deviation", "median", "low")),
    *(f"all_pitch_{k}" for k in ("median", "low", "high", "deviation", "change")),
    *(f"all_{k}" for k in ("voiced", "speaking", "bursts", "burst_seconds")),
    *(f"all_{c}_{k}" for k in ("mean", "deviation") for c in GLOTTAL),
    *(f"all_MCEP_{i}" for i in range(1, WHOLE_ENVELOPE + 1)),
    *(f"all_MCEP_{i}_deviation" for i in range(1, WHOLE_ENVELOPE + 1)),
    *(f"all_MCEP_{i}_change" for i in range(SHARP + 1)),
    *(f"all_HMPDD_{i}" for i in range(NOISE)),
    *(f"all_{c}_{k}" for k in ("spread", "tenth", "ninetieth", "unrest") for c in LOCAL_SPEECH),
)


def speech_table(values: Floats32, at: Mapping[str, int], pools: Pools) -> Floats64:
    """(n f) rows of COVAREP -> (m g), the columns LOCAL_SPEECH + WHOLE_SPEECH."""
    x = values.astype(np.float64)
    voiced = np.nan_to_num(x[:, at["VUV"]]) > 0.5
    f0 = x[:, at["F0"]]
    sung = voiced & (f0 > 40)
    pitch = np.where(sung, np.log2(np.maximum(f0, 40) / 100), np.nan)[:, None]
    level = x[:, at["MCEP_0"]]
    top = np.nanquantile(level, 0.95)
    loudness = np.maximum(level - top, -8)[:, None]
    active = loudness[:, 0] > -4
    shaped = sung if sung.sum() >= 5 else active
    glottal = np.where(voiced[:, None], x[:, [at[c] for c in GLOTTAL]], np.nan)
    envelope = x[:, [at[f"MCEP_{i}"] for i in range(1, WHOLE_ENVELOPE + 1)]]
    noise = np.where(voiced[:, None], x[:, [at[f"HMPDD_{i}"] for i in range(NOISE)]], np.nan)
    middle = quantiles(envelope[shaped], [0.5])[0]
    spread = np.nanstd(envelope[shaped], axis=0)
    median, low, high = quantiles(pitch, [0.5, 0.1, 0.9])[:, 0] if sung.any() else (np.nan,) * 3

    loud = pools.mean(loudness)
    sound = pools.mean(x[:, [at[f"MCEP_{i}"] for i in range(SHARP + 1)]], active)
    tone = pools.mean(pitch)
    filled = bridged(tone[:, 0])[:, None]
    changes = change(bridged_columns(sound))
    local = [
        pools.mean(voiced[:, None].astype(np.float64)),
        loud,
        tone,
        tone - median,
        change(filled),
        pools.mean(glottal),
        pools.mean(envelope[:, :LOCAL_ENVELOPE] - middle[:LOCAL_ENVELOPE], active),
        changes,
        pools.mean(noise[:, :4]),
    ]
    seconds = max(0.1, len(x) * 0.01)
    starts = int(voiced[0]) + int((np.diff(voiced.astype(int)) == 1).sum()) if len(voiced) else 0
    active_loudness = loudness[active, 0]
    whole = [
        [top, active_loudness.std(), np.median(active_loudness), np.quantile(loudness, 0.1)],
        [median, low, high, np.nanstd(pitch) if sung.any() else np.nan, np.abs(change(filled)).mean()],
        [voiced.mean(), active.mean(), starts / seconds, voiced.sum() * 0.01 / max(1, starts)],
        nan_mean(glottal),
        nan_deviation(glottal),
        middle,
        spread,
        np.abs(changes).mean(0),
        nan_mean(noise),
    ]
    rows = np.concatenate(local, axis=1)
    whole += [nan_deviation(rows), *quantiles(rows, [0.1, 0.9]), change(bridged_columns(rows)).std(0)]
    return np.concatenate([rows, repeated(np.concatenate(whole), len(rows))], axis=1)


def nan_mean(values: Floats64) -> Floats64:
    """(n k) -> (k); NaN where nothing is measured."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan))


def nan_deviation(values: Floats64) -> Floats64:
    """(n k) -> (k): standard deviation of what is measured; NaN where nothing is."""
    return np.asarray(np.sqrt(nan_mean((values - nan_mean(values)) ** 2)))


def bridged(values: Floats64) -> Floats64:
    """(m) with straight lines over what is not measured; zeros where nothing is."""
    known = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(len(values)), known, values[known]) if len(known) else np.zeros(len(values))


def bridged_columns(values: Floats64) -> Floats64:
    """(m k) -> (m k): each column bridged."""
    return np.stack([bridged(column) for column in values.T], axis=1)


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


def pooled(stream: TimedSequence, columns: tuple[str, ...], values: Floats64, pools: Pools) -> Prepared:
    """Pooled values (m f) as rows on the stream's clock: each spans its members."""
    last = pools.first + pools.count - 1
    rows = TimedSequence(
        name=stream.name,
        columns=columns,
        values=values.astype(np.float32),
        start=stream.start[pools.first],
        end=np.maximum(stream.end[last], stream.start[pools.first]),
        provenance=stream.provenance,
        reason=stream.reason,
    )
    return Prepared(rows, pools.member, pools.count)


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
