"""Voice features at 100 Hz by librosa: MFCC and their deltas, energy, spectral shape, and pitch.

Conventions are librosa's own (McFee et al. 2015) with three departures, all so that a row depends on nothing but the sound around
it: MFCC are taken of 10 log10(max(mel, 1e-10)) without librosa's cut at 80 dB below the clip's loudest moment; deltas repeat the edge
rows at the ends of a stretch ("nearest") instead of fitting a polynomial there; the zero crossing rate's frames are padded with silence.
Frames: 25 ms Hann for spectra, RMS and zero crossings; 64 ms for pitch. Units: Hz for centroid, bandwidth, rolloff (85 %) and f0.

Pitch is YIN (de Cheveigne & Kawahara 2002, eq. 8: d' the cumulative mean normalised difference), 50..500 Hz, first trough below 0.1
or else the deepest, as in `librosa.yin`. That function does not tell how deep the trough was, so d' is computed here:
`voiced_probability` is 1 - d' at its lowest, within 0..1 (a measure of periodicity, not a calibrated probability), and `f0` is NaN
where that is below 0.6. Against `librosa.pyin` on 16 clips of speech: the same decision on voicing in 84 % of the rows (95 % of
our voiced rows are its), pitch within 5 % in 99 % of them, at a fiftieth of its cost (it takes 0.2 to 0.9 s a second of sound), and
without its Viterbi pass over the whole clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.media import SAMPLE_RATE, Media, Medium
from emofuse.pipeline.timed import Floats32, Floats64, Provenance, TimedSequence

from ..provider import Provider, Request, Status
from . import voice_rows as rows

TROUGH = 0.1  # YIN's absolute threshold


class LibrosaVoice(Provider):
    """One row per 10 ms of sound; see the module's paragraph. Digital silence gives finite values (f0 NaN, as everywhere unvoiced)."""

    name = "librosa"
    stream = "voice"
    help = "MFCC, energy, spectral shape and pitch by librosa"
    columns = rows.COLUMNS
    media: frozenset[Medium] = frozenset({"audio"})
    needs: tuple[str, ...] = ()

    def __init__(self) -> None:
        try:
            import librosa
        except ImportError as error:
            raise WeightsError(f"voice provider librosa: expected the package librosa, but {error}") from error
        self._librosa: Any = librosa
        self._mel = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=rows.SPECTRAL_FRAME, n_mels=rows.MEL_BANDS)
        self.provenance = Provenance(extractor=self.name, version=version("librosa"), options=rows.options())

    @classmethod
    def make(cls, request: Request) -> LibrosaVoice:
        return cls()

    @classmethod
    def status(cls, request: Request) -> Status:
        """Usable wherever librosa is installed; it has no weights."""
        if find_spec("librosa") is None:
            return Status.missing("the package librosa is not installed")
        return Status.here("librosa features; no weights needed")

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        made = rows.VoiceRows()
        for chunk in rows.chunks(clip.samples()):
            made.add(chunk.start, self._features(chunk.values)[chunk.kept])
        return made.stream(self.provenance)

    def _features(self, samples: Floats32) -> Floats32:
        """(rows, columns) of a chunk's samples, context rows included."""
        feature = self._librosa.feature
        frame, hop = rows.SPECTRAL_FRAME, rows.HOP
        inner = samples[rows.SPECTRAL_OFFSET : len(samples) - rows.SPECTRAL_OFFSET]
        spectrum = np.abs(self._librosa.stft(inner, n_fft=frame, hop_length=hop, center=False))  # (f t)
        mel = self._mel @ spectrum**2
        decibel = self._librosa.power_to_db(mel, amin=rows.LOG_FLOOR, top_db=None)
        mfcc = feature.mfcc(S=decibel, n_mfcc=rows.MFCC)
        shared: dict[str, Any] = {"S": spectrum, "sr": SAMPLE_RATE}
        crossing = self._librosa.zero_crossings(self._librosa.util.frame(inner, frame_length=frame, hop_length=hop), axis=0, pad=False)
        f0, voiced = pitch(samples)
        features = np.concatenate(
            [
                mfcc,
                feature.delta(mfcc, width=rows.DELTA_FRAMES, mode="nearest"),
                feature.rms(y=inner, frame_length=frame, hop_length=hop, center=False),
                crossing.mean(axis=0, keepdims=True),
                feature.spectral_centroid(**shared),
                feature.spectral_bandwidth(**shared),
                feature.spectral_rolloff(**shared, roll_percent=rows.ROLLOFF),
                feature.spectral_flatness(S=spectrum, amin=rows.LOG_FLOOR),
                f0[None],
                voiced[None],
            ]
        )
        return np.ascontiguousarray(features.T, dtype=np.float32)


def pitch(samples: Floats32) -> tuple[Floats64, Floats64]:
    """f0 (t) in Hz, NaN where unvoiced, and 1 - d' at its lowest (t) in 0..1, of 1024-sample frames every 160 samples."""
    shortest = int(SAMPLE_RATE // rows.PITCH_HIGHEST)
    longest = int(np.ceil(SAMPLE_RATE / rows.PITCH_LOWEST))
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), rows.PITCH_FRAME)[:: rows.HOP]  # (t n)
    power = np.abs(np.fft.rfft(frames, 2 * rows.PITCH_FRAME)) ** 2
    correlation = np.fft.irfft(power)[:, : longest + 1]
    energy = np.cumsum(frames[:, :longest] ** 2, axis=1)
    difference = 2 * (correlation[:, :1] - correlation[:, 1:]) - energy  # lags 1..longest
    mean = np.cumsum(difference, axis=1) / np.arange(1, longest + 1)
    silent = energy[:, -1:] < 1e-12
    normalised = np.where(silent, 1.0, difference / np.where(mean > 0, mean, np.inf))[:, shortest - 1 :]  # eq. 8, lags shortest..longest

    trough = np.zeros(normalised.shape, bool)
    trough[:, 1:-1] = (normalised[:, 1:-1] < normalised[:, :-2]) & (normalised[:, 1:-1] <= normalised[:, 2:])
    trough[:, 0] = normalised[:, 0] < normalised[:, 1]
    trough[:, -1] = normalised[:, -1] < normalised[:, -2]
    trough &= normalised < TROUGH
    lag: NDArray[np.intp] = np.where(trough.any(axis=1), trough.argmax(axis=1), normalised.argmin(axis=1))
    f0 = SAMPLE_RATE / (shortest + lag + _parabola(normalised, lag))
    voiced = np.clip(1.0 - normalised.min(axis=1), 0.0, 1.0)
    return np.where(voiced >= rows.VOICED, f0, np.nan), voiced


def _parabola(values: Floats64, at: NDArray[np.intp]) -> Floats64:
    """How far from column `at` (t) the vertex of the parabola through it and its neighbours lies; 0 at the borders or beyond one."""
    inside = np.clip(at, 1, values.shape[1] - 2)
    left, middle, right = (np.take_along_axis(values, (inside + k)[:, None], axis=1)[:, 0] for k in (-1, 0, 1))
    curve, slope = left + right - 2 * middle, (right - left) / 2
    good = (at == inside) & (np.abs(slope) < np.abs(curve))
    return np.where(good, -slope / np.where(good, curve, 1.0), 0.0)
