"""Which device torch computes on: one check, for every provider and for the assembly."""

from __future__ import annotations

import sys
from pathlib import Path

from emofuse.pipeline.errors import UsageError

DEVICE_FILES = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")
"""In /dev: NVIDIA's, its boards', that of Windows' subsystem for Linux, AMD's."""


def resolve(device: str, option: str = "--device") -> str:
    """The device that a name means here: "auto" is the GPU if torch sees one, else "cpu".

    torch is imported only where there may be a GPU, or one is asked for.

    option   what the message begins with
    Raises `UsageError` for a device that this machine does not have.
    """
    if device == "cpu" or (device == "auto" and not may_have_gpu()):
        return "cpu"
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"{option} {device}: not on this machine ({str(error).splitlines()[0]})") from None
    return device


def fast_half(device: str) -> bool:
    """Whether convolutions in bfloat16 are a third or more faster than in float32 here: processors that have instructions for it.

    What torch says; on Linux the system says it too, and torch is not imported.
    """
    if device != "cpu":
        return False
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        import torch

        return bool(torch.cpu._is_avx512_bf16_supported())
    return any("avx512_bf16" in line.split() for line in lines if line.startswith("flags"))


def may_have_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether torch could see a GPU: on Linux no program reaches one without its file in `devices`; elsewhere only torch knows."""
    return sys.platform != "linux" or any(True for pattern in DEVICE_FILES for _ in devices.glob(pattern))
