"""benchmarks/noisy_votes.py: delta-attention's three stages reach what one stream, two streams' correlation and three votes allow."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

FILE = Path(__file__).parents[2] / "benchmarks" / "noisy_votes.py"


@pytest.fixture(scope="module")
def votes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("noisy_votes", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["noisy_votes"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_each_stream_is_wrong_one_time_in_four(votes: ModuleType) -> None:
    streams, labels = votes.draw(4000, torch.Generator().manual_seed(1))
    signs = [b.values[..., 1][b.values[..., 0] == 1] for b in streams.values()]
    truth = 2.0 * labels - 1
    for sign in signs:
        assert (sign == truth).double().mean().item() == pytest.approx(0.75, abs=0.03)  # four standard errors
    assert (torch.stack(signs).sum(0).sign() == truth).double().mean().item() == pytest.approx(0.84375, abs=0.03)
    assert (signs[0] * signs[1]).mean().item() == pytest.approx(0.25, abs=0.065)


def test_a_stage_moves_nothing_of_the_others(votes: ModuleType) -> None:
    torch.manual_seed(0)
    module = votes.HDA(votes.CONFIG)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    streams, _ = votes.draw(64, torch.Generator().manual_seed(2))

    def correlation() -> torch.Tensor:
        rows = module.attended(streams)
        loss: torch.Tensor = votes.dcca_loss(votes.paired(module.encoded(rows, streams), streams))
        return loss

    start = correlation().item()
    votes.descend(votes.stage_parameters(module, "encoders"), correlation, 5, 2e-3)
    assert correlation().item() < start
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all(name.startswith("encoders.") for name in moved)


@pytest.mark.slow
def test_the_stages_reach_what_the_votes_allow(votes: ModuleType) -> None:
    scores = votes.train(0)
    assert all(0.72 < right < 0.78 for right in scores.alone.values()), scores
    assert 0.2 < scores.correlations[0] < 0.3 and max(scores.correlations[1:]) < 0.1, scores
    assert scores.fused > 0.82, scores
