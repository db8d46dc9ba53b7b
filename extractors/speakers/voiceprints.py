"""What tells voices apart: the mean of Whisper's first layers over a stretch of speech, in a space in which one speaker's moods lie close.

The columns are those of `--voice whisper` (layers 1 to 3 of tiny.en, 50 rows per second), which most models read anyway. Their mean over
the loud rows of a stretch holds who speaks and how; `voiceprints.safetensors` turns it so that what differs within speakers (moods,
words) counts little and what differs between them counts much: within-class covariance normalisation, A. O. Hatch, S. Kajarekar and
A. Stolcke, "Within-class covariance normalization for SVM-based speaker recognition" (Interspeech 2006). voiceprints.json says what it was
fitted on. The cosine of two prints is near 0 for two people and larger for one. docs/speakers.md has the numbers, and Resemblyzer's beside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.hashing import check_sha256
from emofuse.pipeline.spool import on_disk
from emofuse.pipeline.timed import Floats32, Floats64, Span, TimedSequence

from ..voice.whisper_voice import WhisperVoice

COLUMNS = WhisperVoice.columns[1:]
LEVEL = "rms"
BIN = 0.1
"""Seconds: stretches are summed up by these."""
LOUD = 10 ** (-25 / 20)
"""Of the loudest row within a second on either side: what is quieter is a pause, an echo or a breath."""
NEAR_ROWS = 101
SPACE = Path(__file__).with_name("voiceprints.json")


@dataclass(frozen=True, eq=False)
class Space:
    """Where voices are compared: print = (columns' mean - mean) @ matrix, brought to length 1.

    mean (c), matrix (c d);  sha256: of the file that they are from
    """

    mean: Floats32
    matrix: Floats32
    sha256: str

    @classmethod
    def load(cls, path: Path = SPACE) -> Space:
        """From NAME.json and NAME.safetensors beside it; raises `WeightsError` where that is not the one described."""
        from safetensors.numpy import load_file

        weights = path.with_suffix(".safetensors")
        digest = check_sha256(weights, json.loads(path.read_text("utf-8"))["sha256"])
        tensors = load_file(weights)
        return cls(tensors["mean"].astype(np.float32), tensors["matrix"].astype(np.float32), digest)

    def prints(self, means: Floats64) -> Floats64:
        """(k c) means of columns -> (k d), each of length 1; a row of NaN stays one."""
        turned: Floats64 = (means - self.mean) @ self.matrix.astype(np.float64)
        length = np.linalg.norm(turned, axis=1, keepdims=True)
        return np.asarray(turned / np.maximum(length, 1e-12), np.float64)


def readable(voice: TimedSequence | None) -> bool:
    """Whether a voice stream has the columns."""
    return voice is not None and {LEVEL, *COLUMNS} <= set(voice.columns)


class Tenths:
    """A clip's voice summed up by tenths of a second of its clock, so that the mean over any stretch is soon there.

    Raises `StreamError` for a voice without Whisper's columns.
    """

    def __init__(self, voice: TimedSequence) -> None:
        from scipy.ndimage import maximum_filter1d  # when it is needed: what only looks at a batch starts without it

        if not readable(voice):
            raise StreamError(f"voice: expected the columns {LEVEL}, {COLUMNS[0]} ... {COLUMNS[-1]}, got {', '.join(voice.columns)[:200]}")
        places = [voice.columns.index(c) for c in COLUMNS]
        level = np.nan_to_num(voice.column(LEVEL))
        loud = (level >= LOUD * maximum_filter1d(level, NEAR_ROWS)) & (level > 0) if len(level) else np.zeros(0, bool)
        tenth = np.floor((voice.start + voice.end) / 2 / BIN + 1e-9).astype(np.intp)
        n = int(tenth[-1]) + 1 if len(tenth) else 0
        self._sums: Floats32 = on_disk((n, len(places)), np.float32, 0.0)
        self._counts = np.zeros(n, np.float64)
        for part in voice.parts():
            rows = part.start + np.flatnonzero(loud[part])
            values = voice.values[rows][:, places]
            measured = np.isfinite(values).all(1)
            rows, values = rows[measured], values[measured]
            if not len(rows):
                continue
            numbers, first = np.unique(tenth[rows], return_index=True)
            self._sums[numbers] += np.add.reduceat(values, first, axis=0)
            np.add.at(self._counts, tenth[rows], 1)

    def mean(self, span: Span) -> Floats64:
        """(c) the mean of the loud rows of the tenths that lie in a span, half of each at least; NaN where there are none."""
        first, last = round(span.start / BIN), max(round(span.start / BIN) + 1, round(span.end / BIN))
        count = self._counts[first:last].sum()
        if count <= 0:
            return np.full(len(COLUMNS), np.nan)
        total: Floats64 = self._sums[first:last].sum(0, dtype=np.float64)
        return np.asarray(total / count, np.float64)

    def means(self, spans: Sequence[Span]) -> Floats64:
        """(k c), as `mean`."""
        return np.array([self.mean(span) for span in spans], np.float64).reshape(len(spans), len(COLUMNS))


def voiceprints(tenths: Tenths, spans: Sequence[Span], space: Space) -> tuple[Floats64, NDArray[np.bool_]]:
    """(k d) prints of length 1, and (k) whether anything loud was there to make them of (zeros where not)."""
    prints = space.prints(tenths.means(spans))
    known = np.asarray(np.isfinite(prints).all(axis=1), np.bool_)
    return np.where(known[:, None], prints, 0.0), known
