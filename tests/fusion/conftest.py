"""Small models of every kind, and batches made from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from emofuse.fusion import MODELS
from emofuse.fusion.batch import Batch

COLUMNS = {"text": 6, "face": 5, "voice": 4}
ROWS = {"text": 5, "face": 7, "voice": 9}

torch.set_num_threads(1)

SMALL: dict[str, dict[str, Any]] = {
    "mult": {"streams": COLUMNS, "outputs": 8, "width": 8, "heads": 2, "layers": 2, "kernels": {"voice": 3}},
    "pmr": {"streams": COLUMNS, "outputs": 8, "width": 8, "heads": 2, "layers": 2, "kernels": {"voice": 3}},
    "mcr": {"streams": COLUMNS, "outputs": 8, "width": 8, "heads": 2, "layers": 2, "kernels": {"voice": 3}},
    "delta": {"streams": COLUMNS, "outputs": 8, "channels": 6, "heads": 2, "width": 8, "encoded": 4, "fused": 6, "window": 2},
    "rrnn": {"streams": COLUMNS, "outputs": 8, "hidden": 4, "attention": 5, "hops": 2, "dropout": 0.0},
    "early-lstm": {"streams": COLUMNS, "outputs": 8, "hidden": 4, "slices": 6, "dropout": 0.0},
    "late-lstm": {"streams": COLUMNS, "outputs": 8, "hidden": 4, "dropout": 0.0},
}


def _small(name: str, **changes: Any) -> nn.Module:
    """A small model in eval mode, with no parameter left at a symmetric start."""
    torch.manual_seed(7)
    kind = MODELS[name]()
    module: nn.Module = kind.module(kind.config(**(SMALL[name] | changes)))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return module.eval()


def _streams_of(seed: int, size: int = 3, columns: Mapping[str, int] = COLUMNS) -> dict[str, Batch]:
    """Right-padded streams of `size` utterances with different lengths; times irregular, in order, around 20 s."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, f in columns.items():
        n = ROWS[name]
        lengths = torch.randint(1, n + 1, (size,), generator=generator)
        lengths[0] = n
        times = 20 + torch.rand(size, n, generator=generator, dtype=torch.float64).cumsum(1)
        made[name] = Batch(torch.randn(size, n, f, generator=generator), times, torch.arange(n) < lengths[:, None])
    return made


@pytest.fixture(scope="session")
def small() -> Callable[..., nn.Module]:
    """(name, **changes of its small config) -> module."""
    return _small


@pytest.fixture(scope="session")
def streams_of() -> Callable[..., dict[str, Batch]]:
    """(seed, size=3, columns=COLUMNS) -> streams."""
    return _streams_of


def _in_float64(streams: Mapping[str, Batch]) -> dict[str, Batch]:
    """The same streams in double precision, where a gradient of exactly zero differs from rounding noise."""
    return {name: Batch(batch.values.double(), batch.times, batch.present) for name, batch in streams.items()}


def _dead_parameters(module: nn.Module) -> list[str]:
    """Names of the parameters that a float64 backward pass left without a gradient, by a bound relative to the others' gradients."""
    largest = {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in module.named_parameters()}
    assert all(p.dtype == torch.float64 for p in module.parameters()), "dead weights are judged in float64"
    typical = sorted(largest.values())[len(largest) // 2]
    return [name for name, size in largest.items() if size <= 1e-9 * typical]


@pytest.fixture(scope="session")
def in_float64() -> Callable[[Mapping[str, Batch]], dict[str, Batch]]:
    """streams -> the same in double precision."""
    return _in_float64


@pytest.fixture(scope="session")
def dead_parameters() -> Callable[[nn.Module], list[str]]:
    """module after backward in float64 -> names of parameters whose gradient is zero or rounding noise."""
    return _dead_parameters


@pytest.fixture(params=list(MODELS))
def model_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    assert name in SMALL, f"{name}: add a small config to tests/fusion/conftest.py"
    return name
