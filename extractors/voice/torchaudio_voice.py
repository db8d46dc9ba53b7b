"""The voice features of librosa_voice.py, batched through torch and torchaudio on a CPU or a GPU.

Same rows, columns and definitions (see there). Letters: t rows, n samples of a frame, f frequency bins, m mel bands. Arithmetic is
float32 for spectra and float64 for pitch. Tolerance against the librosa provider: every column within 1e-3 of its own standard
deviation (measured over 123 s of speech on a CPU: at most 5e-4), where a sum that touches the 85 % mark may move the rolloff by one
40 Hz bin in at most 1 row of 1,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.media import SAMPLE_RATE, Media, Medium
from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence

from ..provider import Provider, Request, Status
from ..weights.device import resolve
from . import voice_rows as rows
from .librosa_voice import TROUGH

BINS = rows.SPECTRAL_FRAME // 2 + 1


class TorchaudioVoice(Provider):
    """One row per 10 ms of sound. `device` is torch's name of one ("cpu", "cuda"); `chunks_at_once` times 10 s of sound are
    computed together. Raises `WeightsError` where torchaudio is missing and `UsageError` for a device that is not there."""

    name = "torchaudio"
    stream = "voice"
    help = "the columns of librosa, through torchaudio"
    columns = rows.COLUMNS
    media: frozenset[Medium] = frozenset({"audio"})
    needs: tuple[str, ...] = ()

    def __init__(self, device: str = "cpu", chunks_at_once: int = 6) -> None:
        try:
            import torch
            import torchaudio  # type: ignore[import-untyped]
        except ImportError as error:
            raise WeightsError(f"voice provider torchaudio: expected the packages torch and torchaudio, but {error}") from error
        self._torch: Any = torch
        self._audio: Any = torchaudio.functional
        self._chunks_at_once = chunks_at_once
        self._device = torch.device(resolve(device, "voice provider torchaudio: device"))
        self._window = torch.hann_window(rows.SPECTRAL_FRAME, device=self._device)
        self._mel = self._audio.melscale_fbanks(
            BINS, 0.0, SAMPLE_RATE / 2, rows.MEL_BANDS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        ).to(self._device)  # (f m)
        self._cosines = self._audio.create_dct(rows.MFCC, rows.MEL_BANDS, "ortho").to(self._device)  # (m c)
        self._hertz = torch.linspace(0, SAMPLE_RATE / 2, BINS, device=self._device)
        self.provenance = Provenance(
            extractor=self.name,
            version=f"torchaudio {version('torchaudio')}, torch {version('torch')}",
            options={**rows.options(), "device": self._device.type},
        )

    @classmethod
    def make(cls, request: Request) -> TorchaudioVoice:
        return cls(device=request.device)

    @classmethod
    def status(cls, request: Request) -> Status:
        """Usable wherever torchaudio is installed; it has no weights."""
        if find_spec("torchaudio") is None:
            return Status.missing("the package torchaudio is not installed")
        return Status.here("librosa's features through torchaudio; no weights needed")

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        made = rows.VoiceRows()
        waiting: Iterator[rows.Chunk] = rows.chunks(clip.samples())
        while batch := list(islice(waiting, self._chunks_at_once)):
            for chunk, values in zip(batch, self._features(batch), strict=True):
                made.add(chunk.start, values)
        return made.stream(self.provenance)

    def _features(self, batch: list[rows.Chunk]) -> list[Floats32]:
        """(kept rows, columns) of each chunk. All but the deltas look at one frame only, so the chunks' frames are one batch."""
        torch = self._torch
        with torch.inference_mode():
            sounds = [torch.from_numpy(np.ascontiguousarray(chunk.values)).to(self._device) for chunk in batch]
            frames = torch.cat([sound.unfold(0, rows.PITCH_FRAME, rows.HOP) for sound in sounds])  # (t n)
            mfcc, shape = self._spectral(frames[:, rows.SPECTRAL_OFFSET : rows.SPECTRAL_OFFSET + rows.SPECTRAL_FRAME])
            pitch = self._pitch(frames)
            made, at = [], 0
            for chunk in batch:
                chunk_rows = slice(at, at + chunk.rows)
                delta = self._audio.compute_deltas(mfcc[chunk_rows].T, win_length=rows.DELTA_FRAMES, mode="replicate").T
                features = torch.cat([mfcc[chunk_rows], delta, shape[chunk_rows], pitch[chunk_rows]], dim=1)
                made.append(features[chunk.kept].cpu().numpy().astype(np.float32))
                at += chunk.rows
        return made

    def _spectral(self, frames: Any) -> tuple[Any, Any]:
        """(t 20) MFCC and (t 6) rms, zero crossings, centroid, bandwidth, rolloff, flatness of (t n) frames of 400 samples."""
        torch = self._torch
        spectrum = self._audio.spectrogram(
            frames,
            pad=0,
            window=self._window,
            n_fft=rows.SPECTRAL_FRAME,
            hop_length=rows.HOP,
            win_length=rows.SPECTRAL_FRAME,
            power=1.0,
            normalized=False,
            center=False,
        )[..., 0]  # (t f)
        mel = spectrum**2 @ self._mel  # (t m)
        mfcc = self._audio.amplitude_to_DB(mel, 10.0, amin=rows.LOG_FLOOR, db_multiplier=0.0) @ self._cosines

        total = spectrum.sum(dim=1, keepdim=True)
        share = spectrum / total.clamp_min(torch.finfo(spectrum.dtype).tiny)  # all zero in digital silence
        centroid = share @ self._hertz  # (t)
        bandwidth = (share * (self._hertz - centroid[:, None]) ** 2).sum(dim=1).sqrt()
        reached = spectrum.cumsum(dim=1) >= rows.ROLLOFF * total
        rolloff = self._hertz[reached.int().argmax(dim=1)]
        power = (spectrum**2).clamp_min(rows.LOG_FLOOR)
        flatness = power.log().mean(dim=1).exp() / power.mean(dim=1)
        quiet = frames.abs() <= 1e-10  # librosa's threshold: such a sample counts as +0
        negative = (frames < 0) & ~quiet
        crossings = (negative[:, 1:] != negative[:, :-1]).float().sum(dim=1) / frames.shape[1]
        loudness = (frames**2).mean(dim=1).sqrt()
        return mfcc, torch.stack([loudness, crossings, centroid, bandwidth, rolloff, flatness], dim=1)

    def _pitch(self, frames: Any) -> Any:
        """(t 2) f0 in Hz (NaN where unvoiced) and voicing of (t n) frames of 1024 samples; librosa_voice.pitch step by step."""
        torch = self._torch
        shortest = int(SAMPLE_RATE // rows.PITCH_HIGHEST)
        longest = int(np.ceil(SAMPLE_RATE / rows.PITCH_LOWEST))
        frames = frames.double()
        correlation = torch.fft.irfft(torch.fft.rfft(frames, 2 * rows.PITCH_FRAME).abs() ** 2)[:, : longest + 1]
        energy = (frames[:, :longest] ** 2).cumsum(dim=1)
        difference = 2 * (correlation[:, :1] - correlation[:, 1:]) - energy
        mean = difference.cumsum(dim=1) / torch.arange(1, longest + 1, device=frames.device)
        normalised = difference / torch.where(mean > 0, mean, torch.inf)
        normalised = torch.where(energy[:, -1:] < 1e-12, 1.0, normalised)[:, shortest - 1 :]

        left, middle, right = normalised[:, :-2], normalised[:, 1:-1], normalised[:, 2:]
        trough = torch.zeros_like(normalised, dtype=torch.bool)
        trough[:, 1:-1] = (middle < left) & (middle <= right)
        trough[:, 0] = normalised[:, 0] < normalised[:, 1]
        trough[:, -1] = normalised[:, -1] < normalised[:, -2]
        trough &= normalised < TROUGH
        lag = torch.where(trough.any(dim=1), trough.int().argmax(dim=1), normalised.argmin(dim=1))

        curve, slope = left + right - 2 * middle, (right - left) / 2
        vertex = torch.where(slope.abs() < curve.abs(), -slope / curve, 0.0)
        vertex = torch.nn.functional.pad(vertex, (1, 1))  # none at the shortest and longest lag
        period = shortest + lag + vertex.gather(1, lag[:, None])[:, 0]
        voiced = (1.0 - normalised.amin(dim=1)).clamp(0.0, 1.0)
        f0 = torch.where(voiced >= rows.VOICED, SAMPLE_RATE / period, torch.nan)
        return torch.stack([f0, voiced], dim=1)
