"""Where the large batches are computed: numpy on the processor, or torch on a device, by the same lines of code.

Three of the methods are large products and transforms of many frames at once: the spectra of the pitch frames, the spectra of the harmonic
frames, and the true envelopes. They are written for an array library `xp` that is either numpy or torch; everything else is numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from .framing import fft


class Arithmetic(Protocol):
    """An array library and the few things that the two spell differently."""

    @property
    def xp(self) -> Any: ...
    def __hash__(self) -> int: ...
    def put(self, array: NDArray[Any]) -> Any:
        """The array, of any shape, on the device that computes with it."""
        ...

    def get(self, array: Any) -> NDArray[Any]:
        """The array, of any shape, as numpy's."""
        ...

    def rfft(self, frames: Any, size: int) -> Any:
        """Spectra (b, size / 2 + 1) of real frames (b n)."""
        ...


class OnProcessor:
    """numpy."""

    xp: Any = np

    def put(self, array: NDArray[Any]) -> Any:
        """The array itself, of any shape."""
        return array

    def get(self, array: Any) -> NDArray[Any]:
        result: NDArray[Any] = array
        return result

    def rfft(self, frames: Any, size: int) -> Any:
        return fft.rfft(frames, size, axis=1)


class OnDevice:
    """torch, on the device of this name ("cuda", "cuda:1", "mps", "cpu")."""

    def __init__(self, device: str) -> None:
        import torch

        self.xp: Any = torch
        self.device = torch.device(device)

    def put(self, array: NDArray[Any]) -> Any:
        """A tensor of the same shape on the device."""
        return self.xp.as_tensor(np.ascontiguousarray(array), device=self.device)

    def get(self, array: Any) -> NDArray[Any]:
        result: NDArray[Any] = array.cpu().numpy()
        return result

    def rfft(self, frames: Any, size: int) -> Any:
        return self.xp.fft.rfft(frames, n=size, dim=1)


NUMPY = OnProcessor()


@cache
def on_device(device: str) -> Arithmetic:
    """numpy for "cpu", else torch on that device: one object a device, so that tables are put there once."""
    return NUMPY if device == "cpu" else OnDevice(device)


@contextmanager
def one_thread() -> Iterator[None]:
    """numpy's matrix products on one thread: the many small ones here take three times the processor time on two, and no less by the clock.

    It holds for the whole process while it lasts.
    """
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        yield
