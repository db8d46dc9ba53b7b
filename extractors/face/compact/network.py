"""The compact face network: one grey crop of a face in; action units, pose, box, expression and "is this a face" out.

A residual network with squeeze-and-excitation (He et al. 2016; Hu et al. 2018) of plain 3x3 convolutions, which on a CPU run at
several times the arithmetic rate of depthwise ones. Letters: b batch, c channels, o outputs.

A crop is a square, NOMINAL times the face's box (the square over its landmarks), drawn at CROP x CROP grey pixels and standardised
by itself. The box output says how far that crop was off, so that the next frame's crop comes from this frame's answer.
Activations are what the teacher (MediaPipe's blendshapes) calls them: not FACS intensities.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.timed import Floats32

from .layout import HEADS, MIRRORED, Read

CONTRAST_FLOOR = 8.0
DIM = 24.0
MOST_GAIN = 3.0
"""A crop whose grey levels deviate by less than DIM is stretched to that, by MOST_GAIN at most: a face in dim light is no flat face."""


@dataclass(frozen=True)
class NetworkConfig:
    """The numbers that fix a network's shape."""

    widths: tuple[int, ...] = (16, 48, 96, 256)
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    points: int = 16
    dropout: float = 0.1


@dataclass(frozen=True, eq=False)
class Answer:
    """What the network says of b crops, as tensors.

    shapes (b 53) z-scores of SHAPES; pose (b 3) pitch, yaw, roll in radians; box (b 3) crop's error: dx, dy in face sides, log of
    side; expression (b 7) logits in the order of EMOTIONS; face (b) logit
    """

    shapes: Tensor
    pose: Tensor
    box: Tensor
    expression: Tensor
    face: Tensor


class Block(nn.Module):
    """Two 3x3 convolutions, a channel gate, and the way around them."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.first_norm: nn.Module = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.second_norm: nn.Module = nn.BatchNorm2d(width)
        self.squeeze = nn.Conv2d(width, width // 8, 1)
        self.excite = nn.Conv2d(width // 8, width, 1)
        self.around: nn.Module = nn.Identity()
        if stride > 1 or width_in != width:
            conv = nn.Conv2d(width_in, width, 1, bias=False)
            self.around = nn.Sequential(nn.AvgPool2d(stride) if stride > 1 else nn.Identity(), conv, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(b c h w) -> (b width h/stride w/stride)."""
        y = F.relu(self.first_norm(self.first(x)), inplace=True)
        y = self.second_norm(self.second(y))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return F.relu(y * gate + self.around(x), inplace=True)


def places(maps: Tensor) -> Tensor:
    """(b c h w) -> (b 2c): where each map points, x and y in -1..1 (spatial soft-argmax, Finn et al. 2016, section V-A).

    Pooling alone forgets where things are; pose and box need it. It does not depend on the size of the map.
    """
    b, c, h, w = maps.shape
    share = maps.flatten(2).softmax(2).view(b, c, h, w)
    across = torch.linspace(-1, 1, w, device=maps.device, dtype=maps.dtype)
    down = torch.linspace(-1, 1, h, device=maps.device, dtype=maps.dtype)
    return torch.cat([(share.sum(2) * across).sum(2), (share.sum(3) * down).sum(2)], 1)


class CompactNetwork(nn.Module):
    """(b 1 64 64) standardised crops -> `Answer`. Other sizes work too: training begins on smaller crops."""

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        widths = self.config.widths
        self.stem = nn.Conv2d(1, widths[0], 3, 2, 1, bias=False)
        self.stem_norm: nn.Module = nn.BatchNorm2d(widths[0])
        layers: list[nn.Module] = []
        width_in = widths[0]
        for stage, (width, count) in enumerate(zip(widths, self.config.blocks, strict=True)):
            for i in range(count):
                layers.append(Block(width_in, width, stride=2 if stage > 0 and i == 0 else 1))
                width_in = width
        self.body = nn.Sequential(*layers)
        self.points = nn.Conv2d(width_in, self.config.points, 1)
        self.dropout = nn.Dropout(self.config.dropout)
        self.heads = nn.Linear(width_in + 2 * self.config.points, sum(HEADS.values()))

    def forward(self, crops: Tensor) -> Answer:
        """(b 1 64 64) standardised crops -> what the network says of each of the b."""
        x = F.relu(self.stem_norm(self.stem(crops)), inplace=True)  # (b c 32 32)
        x = self.body(x).to(self.heads.weight.dtype)  # (b c 4 4); the body may compute in less precision than the heads
        x = torch.cat([x.mean((2, 3)), places(self.points(x))], 1)
        out: Tensor = self.heads(self.dropout(x))  # (b o)
        shapes, pose, box, expression, face = torch.split(out.float(), list(HEADS.values()), dim=1)
        return Answer(shapes, pose, box, expression, face[:, 0])


def standardised(crops: NDArray[np.uint8]) -> Tensor:
    """(b 64 64) uint8 grey -> (b 1 64 64) float32, each with its own mean and contrast; the floor keeps flat patches flat."""
    x = torch.from_numpy(crops).float()
    mean = x.mean((1, 2), keepdim=True)
    spread = x.std((1, 2), keepdim=True, correction=0)
    gain = (DIM / spread.clamp(min=1e-6)).clamp(1.0, MOST_GAIN)
    return ((x - mean) * gain / (spread * gain + CONTRAST_FLOOR))[:, None]


def _folded(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(conv, norm)


def fused(network: CompactNetwork) -> CompactNetwork:
    """The same network in evaluation mode with each normalisation folded into the convolution before it: a quarter faster."""
    whole = copy.deepcopy(network).eval()
    whole.stem, whole.stem_norm = _folded(whole.stem, whole.stem_norm), nn.Identity()
    for block in whole.body:
        assert isinstance(block, Block)
        block.first, block.first_norm = _folded(block.first, block.first_norm), nn.Identity()
        block.second, block.second_norm = _folded(block.second, block.second_norm), nn.Identity()
        if isinstance(block.around, nn.Sequential):
            pool, conv, norm = block.around
            block.around = nn.Sequential(pool, _folded(conv, norm))
    return whole


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes in one thread meanwhile: over a few small pictures two threads spend their time waiting for each other, and on a
    busy machine ten times that."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Reader:
    """crops (n 64 64) uint8 -> `Read`: numpy in, numpy out, in batches of at most `batch`.

    mean, spread (53) take the network's z-scores back to the teacher's units; expression logits are divided by `temperature`.
    both   look at each crop and at its mirror image, and answer with the mean: twice the work, a point more of expressions right
    half   convolve in bfloat16 (see `fast_half` in weights/device.py); answers differ by less than the network's own error
    """

    def __init__(
        self,
        network: CompactNetwork,
        mean: Floats32,
        spread: Floats32,
        *,
        temperature: float = 1.0,
        device: str = "cpu",
        batch: int = 128,
        both: bool = False,
        half: bool = False,
    ) -> None:
        self._network = fused(network).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._precision = torch.bfloat16 if half else torch.float32
        for part in (self._network.stem, self._network.body):
            part.to(self._precision)
        self._mean, self._spread = torch.from_numpy(mean), torch.from_numpy(spread)
        self._temperature, self._device, self._batch, self._both = temperature, device, batch, both

    def __call__(self, crops: NDArray[np.uint8]) -> Read:
        with one_thread():
            return Read(self._values(crops))

    @torch.inference_mode()
    def _values(self, crops: NDArray[np.uint8]) -> Floats32:
        parts = [np.zeros((0, sum(HEADS.values())), np.float32)]
        for i in range(0, len(crops), self._batch):
            crop_batch = standardised(crops[i : i + self._batch]).to(self._device, self._precision)
            if self._both:
                crop_batch = torch.cat([crop_batch, crop_batch.flip(3)])
            answer: Answer = self._network(crop_batch.contiguous(memory_format=torch.channels_last))
            shapes = answer.shapes.cpu() * self._spread + self._mean
            heads = Answer(shapes, answer.pose.cpu(), answer.box.cpu(), answer.expression.cpu(), answer.face.cpu())
            if self._both:
                heads = one_view(heads)
            chances = (heads.expression / self._temperature).softmax(1)
            parts.append(torch.cat([heads.shapes, heads.pose, heads.box, chances, heads.face.sigmoid()[:, None]], 1).numpy())
        return np.concatenate(parts)


def one_view(answer: Answer) -> Answer:
    """2b answers (shapes in the teacher's units), the second half of them to mirrored crops -> the mean of both views (b), told of the
    crops as they are."""
    b = len(answer.face) // 2
    turned = Answer(
        shapes=answer.shapes[b:, MIRRORED],
        pose=answer.pose[b:] * answer.pose.new_tensor([1.0, -1.0, -1.0]),
        box=answer.box[b:] * answer.box.new_tensor([-1.0, 1.0, 1.0]),
        expression=answer.expression[b:],
        face=answer.face[b:],
    )
    names = ("shapes", "pose", "box", "expression", "face")
    return Answer(*((getattr(answer, name)[:b] + getattr(turned, name)) / 2 for name in names))


def save_network(path: Path, network: CompactNetwork, facts: dict[str, object]) -> None:
    """Weights as safetensors, with the configuration and whatever `facts` a reader of the weights needs (JSON) in its header.

    Matrices and kernels are kept in half precision, which moves no answer by more than training's own rounding.
    """
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    tensors = {name: (tensor.half() if tensor.ndim > 1 else tensor).contiguous() for name, tensor in state.items()}
    save_file(tensors, path, metadata={"config": json.dumps(asdict(network.config)), "facts": json.dumps(facts)})


def load_network(path: Path) -> tuple[CompactNetwork, dict[str, object]]:
    """The network in `path`, in evaluation mode, and its facts; raises `WeightsError` if the file does not fit."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = json.loads(header["config"])
        network = CompactNetwork(
            NetworkConfig(tuple(config["widths"]), tuple(config["blocks"]), int(config["points"]), float(config["dropout"]))
        )
        network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}, strict=True)
        facts = json.loads(header["facts"])
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise WeightsError(f"{path}: expected the weights of a compact face network, got {reason}") from error
    return network.eval(), facts
