"""Resemblyzer's voice encoder, for comparison: its published weights read as data, its arithmetic by torch, none of its code.

The weights are `resemblyzer/pretrained.pt` of the package Resemblyzer 0.1.4 (Apache-2.0; github.com/resemble-ai/Resemblyzer), a pickle of
the old form of torch. It is not unpickled: the file is known by its SHA-256, so each tensor lies at a known byte. A print is the mean of
the network's answers (three LSTM layers of 256, a linear layer, ReLU, length 1) to 1.6 s of a mel spectrum of 40 bands each.

    pip download --no-deps resemblyzer==0.1.4 && unzip Resemblyzer-0.1.4-py3-none-any.whl resemblyzer/pretrained.pt
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

from emofuse.pipeline.hashing import check_sha256
from emofuse.pipeline.media import SAMPLE_RATE
from emofuse.pipeline.timed import Span

SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
PLACES: Mapping[str, tuple[int, tuple[int, ...]]] = {
    "lstm.weight_ih_l0": (269883, (1024, 40)),
    "lstm.weight_hh_l0": (433723, (1024, 256)),
    "lstm.bias_ih_l0": (5676603, (1024,)),
    "lstm.bias_hh_l0": (5680699, (1024,)),
    "lstm.weight_ih_l1": (1482299, (1024, 256)),
    "lstm.weight_hh_l1": (2530875, (1024, 256)),
    "lstm.bias_ih_l1": (5684795, (1024,)),
    "lstm.bias_hh_l1": (5688891, (1024,)),
    "lstm.weight_ih_l2": (3579451, (1024, 256)),
    "lstm.weight_hh_l2": (4628027, (1024, 256)),
    "lstm.bias_ih_l2": (5692987, (1024,)),
    "lstm.bias_hh_l2": (5697083, (1024,)),
    "linear.weight": (7731, (256, 256)),
    "linear.bias": (6699, (256,)),
}
"""Tensor -> its first byte in the file and its shape; float32, little-endian."""
FRAME, HOP, BANDS = 400, 160, 40
WIDTH = 160
"""Frames of 10 ms that the network was trained on."""


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Raises `WeightsError` for any other file."""
    check_sha256(path, SHA256)
    data = path.read_bytes()
    return {
        name: torch.from_numpy(np.frombuffer(data, "<f4", int(np.prod(shape)), offset).reshape(shape).copy())
        for name, (offset, shape) in PLACES.items()
    }


class Encoder(torch.nn.Module):
    """Mel frames (b t 40) -> prints (b 256) of length 1."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(BANDS, 256, 3, batch_first=True)
        self.linear = torch.nn.Linear(256, 256)
        self.load_state_dict(tensors(path), strict=True)
        self.eval()

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """(b t 40) -> (b 256)."""
        with torch.inference_mode():
            _, (hidden, _) = self.lstm(mel)
            embedding = torch.relu(self.linear(hidden[-1]))
            return embedding / embedding.norm(dim=1, keepdim=True)


def mel_frames(sound: NDArray[np.float32]) -> torch.Tensor:
    """(t 40) mel power, as librosa's melspectrogram gives it with its own defaults."""
    window = torch.hann_window(FRAME)
    power = torch.stft(torch.from_numpy(sound), FRAME, HOP, window=window, pad_mode="constant", return_complex=True).abs() ** 2
    bank = torchaudio.functional.melscale_fbanks(
        FRAME // 2 + 1, 0.0, SAMPLE_RATE / 2, BANDS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return (bank.T @ power).T


class ResemblyzerPrints:
    """In the place of voiceprints.Tenths and voiceprints.Space: a print for each span of a sound."""

    def __init__(self, encoder: Encoder, sound: NDArray[np.float32]) -> None:
        self._encoder, self._mel = encoder, mel_frames(sound)

    def means(self, spans: Sequence[Span]) -> NDArray[np.float64]:
        """(k 256)."""
        windows = [window for span in spans for window in self._windows(span)]
        counts = [len(self._windows(span)) for span in spans]
        answers = np.zeros((len(windows), 256))
        for length in sorted({len(window) for window in windows}):
            index = [i for i, window in enumerate(windows) if len(window) == length]
            for at in range(0, len(index), 256):
                part = index[at : at + 256]
                answers[part] = self._encoder(torch.stack([windows[i] for i in part])).numpy()
        ends = np.cumsum(counts)
        return np.array([answers[end - count : end].mean(0) for count, end in zip(counts, ends, strict=True)])

    def _windows(self, span: Span) -> list[torch.Tensor]:
        """The span's frames in windows of 1.6 s that overlap; a shorter span is one."""
        first = round(span.start * 100)
        frames = self._mel[first : max(first + 10, round(span.end * 100))]
        if len(frames) <= WIDTH:
            return [frames]
        starts = np.linspace(0, len(frames) - WIDTH, int(np.ceil((len(frames) - WIDTH) / 60)) + 1).astype(int)
        return [frames[k : k + WIDTH] for k in starts]

    def prints(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k 256) at length 1."""
        return means / np.linalg.norm(means, axis=1, keepdims=True)
