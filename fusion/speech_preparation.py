"""COVAREP's columns as a model reads them: pitch, loudness within the utterance, envelope less its own mean, glottal pulse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emofuse.pipeline.timed import Floats32, Floats64, TimedSequence

from .pooling import Pools, Prepared, bridged, bridged_columns, change, nan_deviation, nan_mean, pooled, quantiles, repeated

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
