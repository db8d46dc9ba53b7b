"""The face detector of `compact`: CenterFace (Xu et al. 2019, arXiv 1911.03599; trained on WIDER FACE, MIT licence) in torch.

MobileNetV2's inverted residuals (Sandler et al. 2018) down to a 32nd of the resolution, and a pyramid up to a quarter, of which each cell
says whether a face's centre lies in it, where, how large the face is, and where its eyes, nose and mouth are. From these points follows
how far the face leans. The weights are the published ones, rounded to 8 bits a number with a scale for each output channel
(training/face_network/pack_detector.py makes the file); tests hold the network to OpenCV's run of the published file.
Letters: b batch, c channels, h w cells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.pipeline.errors import WeightsError

from .centerface import SCORE, Answer, find
from .detect import Box, Image
from .network import one_thread

TRUNK: tuple[tuple[int, int, int, int], ...] = (
    (16, 96, 24, 2),
    (24, 144, 24, 1),
    (24, 144, 32, 2),
    (32, 192, 32, 1),
    (32, 192, 32, 1),
    (32, 192, 64, 2),
    (64, 384, 64, 1),
    (64, 384, 64, 1),
    (64, 384, 64, 1),
    (64, 384, 96, 1),
    (96, 576, 96, 1),
    (96, 576, 96, 1),
    (96, 576, 160, 2),
    (160, 960, 160, 1),
    (160, 960, 160, 1),
    (160, 960, 320, 1),
)
"""Inverted residuals: channels in, within, out, stride."""
TAPS = (2, 5, 12, 16)
"""After so many of them the maps are read: at a 4th, 8th, 16th and 32nd of the resolution."""
NECK = 24
SCALE = "factor of "
"""Before the name of a kernel: its scales (c), one for each output channel."""


class Inverted(nn.Module):
    """Widen, look at each channel's 3x3 neighbourhood, narrow again; with a way around where nothing changes its size."""

    def __init__(self, width_in: int, within: int, width: int, stride: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(width_in, within, 1)
        self.look = nn.Conv2d(within, within, 3, stride, 1, groups=within)
        self.narrow = nn.Conv2d(within, width, 1)
        self.around = stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        """(b c H W) -> (b k h w), h and w smaller by the stride."""
        y: Tensor = self.narrow(F.relu(self.look(F.relu(self.widen(x)))))
        return x + y if self.around else y


class DetectorNetwork(nn.Module):
    """(b 3 H W) RGB pictures, grey levels 0..255, H and W multiples of 32 -> heat (b 1 h w) 0..1, scale (b 2 h w), offset (b 2 h w) and
    points (b 10 h w) of H/4 x W/4 cells, as `centerface.Answer` tells them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.stem_look, self.stem_narrow = nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.Conv2d(32, 16, 1)
        self.trunk = nn.ModuleList(Inverted(*numbers) for numbers in TRUNK)
        widths = [TRUNK[tap - 1][2] for tap in TAPS]
        self.deepest = nn.Conv2d(widths[3], NECK, 1)
        self.up16, self.from16 = nn.ConvTranspose2d(NECK, NECK, 2, 2), nn.Conv2d(widths[2], NECK, 1)
        self.up8, self.from8 = nn.ConvTranspose2d(NECK, NECK, 2, 2), nn.Conv2d(widths[1], NECK, 1)
        self.up4, self.from4 = nn.ConvTranspose2d(NECK, NECK, 2, 2), nn.Conv2d(widths[0], NECK, 1)
        self.join = nn.Conv2d(NECK, NECK, 3, 1, 1)
        self.heat, self.scale, self.offset, self.points = (nn.Conv2d(NECK, c, 1) for c in (1, 2, 2, 10))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(b 3 H W) -> heat (b 1 h w), scale (b 2 h w), offset (b 2 h w) and points (b 10 h w); see the class."""
        x: Tensor = self.stem_narrow(F.relu(self.stem_look(F.relu(self.stem(pictures)))))
        maps: list[Tensor] = []
        for count, block in enumerate(self.trunk, 1):
            x = block(x)
            if count in TAPS:
                maps.append(x)
        y = F.relu(self.deepest(maps[3]))
        y = F.relu(self.up16(y)) + F.relu(self.from16(maps[2]))
        y = F.relu(self.up8(y)) + F.relu(self.from8(maps[1]))
        y = F.relu(self.up4(y)) + F.relu(self.from4(maps[0]))
        y = F.relu(self.join(y))
        return self.heat(y).sigmoid(), self.scale(y), self.offset(y), self.points(y)


class FaceDetector:
    """Picture -> faces as squares over their landmarks, with tilt, largest first. Raises `WeightsError` if the weights do not fit.

    score  0..1; what a face must score: a lower one finds more, and more that is none
    """

    def __init__(self, weights: Path, score: float = SCORE) -> None:
        self._network = load_detector(weights).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._score = score

    def __call__(self, image: Image, quick: bool = False) -> list[Box]:
        return find(self.answer, image, quick, self._score)

    @torch.inference_mode()
    def answer(self, picture: NDArray[np.uint8]) -> Answer:
        """The network's maps of a picture (H W 3) RGB, H and W multiples of 32."""
        with one_thread():
            pictures = torch.from_numpy(picture).permute(2, 0, 1)[None].float().contiguous(memory_format=torch.channels_last)
            return Answer(*(part[0].numpy() for part in self._network(pictures)))


def rounded(kernel: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A kernel of any shape as whole numbers -127..127, and the factor (c) for each of the c channels of `axis`."""
    others = tuple(i for i in range(kernel.ndim) if i != axis)
    scale = np.maximum(np.abs(kernel).max(others) / 127, 1e-12).astype(np.float32)
    spread = scale.reshape([-1 if i == axis else 1 for i in range(kernel.ndim)])
    return np.round(kernel / spread).astype(np.int8), scale


def output_axis(name: str) -> int:
    """Which axis of a kernel counts its output channels."""
    return 1 if name.startswith("up") else 0


def load_detector(path: Path) -> DetectorNetwork:
    """The network in `path`, in evaluation mode; raises `WeightsError` if the file does not fit."""
    network = DetectorNetwork()
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        for name in [name for name in tensors if name.startswith(SCALE)]:
            scale, kernel = tensors.pop(name), name.removeprefix(SCALE)
            shape = [1] * tensors[kernel].ndim
            shape[output_axis(kernel)] = -1
            tensors[kernel] = tensors[kernel] * scale.reshape(shape)
        network.load_state_dict(tensors, strict=True)
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise WeightsError(f"{path}: expected the weights of a face detector, got {str(error).splitlines()[0]}") from error
    return network.eval()
