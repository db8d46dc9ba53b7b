"""A synthetic task with known answers for hierarchical delta-attention's three stages: streams that vote, each wrong one time in four.

    python benchmarks/noisy_votes.py [--seeds 3]

As in synthetic_task.py every stream has one event row whose column 1 carries a sign, among rows with random signs. Here each stream's
sign is the label's, turned over with probability 1/4, independently. So the best answer from one stream is right in 0.75, the majority
of three in (3/4)^3 + 3 (3/4)^2 (1/4) = 0.84375, and two streams' signs correlate by (1 - 2/4)^2 = 0.25: the only canonical correlation
that there is to find.

Stage 1: each stream's delta-attention with a head of its own. Stage 2: encoders by DCCA, utterance by utterance. Stage 3: fused attention.
Each is frozen afterwards, as the paper does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from emofuse.fusion.batch import Batch
from emofuse.fusion.dcca import canonical_correlations, dcca_loss, paired
from emofuse.fusion.delta import HDA, HDAConfig, StageHeads, stage_parameters

ROWS = {"text": 10, "voice": 24, "face": 18}
COLUMNS = {"text": 6, "voice": 5, "face": 4}
WRONG = 0.25
CONFIG = HDAConfig(COLUMNS, 2, channels=16, heads=2, width=16, encoded=4, fused=16, dropout=0.0)


@dataclass(frozen=True)
class Stages:
    """Test accuracies of each stream alone and of all fused, the canonical correlations of text and face, and what it cost."""

    alone: dict[str, float]
    correlations: tuple[float, ...]
    fused: float
    cpu_seconds: float


def draw(size: int, generator: torch.Generator) -> tuple[dict[str, Batch], Tensor]:
    """Streams and labels (b) int64."""
    labels = torch.randint(0, 2, (size,), generator=generator)
    streams, utterances = {}, torch.arange(size)
    for name, most in ROWS.items():
        lengths = torch.randint(most // 2, most + 1, (size,), generator=generator)
        values = 0.3 * torch.randn(size, most, COLUMNS[name], generator=generator)
        values[..., 1] = 2.0 * torch.randint(0, 2, (size, most), generator=generator) - 1
        values[..., 0] = 0
        event = (torch.rand(size, generator=generator) * lengths).long()
        turned = torch.rand(size, generator=generator) < WRONG
        values[utterances, event, 0] = 1
        values[utterances, event, 1] = (2.0 * labels - 1) * torch.where(turned, -1.0, 1.0)
        times = (torch.arange(most, dtype=torch.float64) + 0.5)[None].expand(size, most)
        streams[name] = Batch(values, times, torch.arange(most) < lengths[:, None])
    return streams, labels


def descend(parameters: Iterable[nn.Parameter], loss: Callable[[], Tensor], steps: int, rate: float) -> None:
    """Adam on these parameters alone."""
    moved = list(parameters)
    optimiser = torch.optim.Adam(moved, lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss()
        for parameter, gradient in zip(moved, torch.autograd.grad(value, moved), strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(moved, 1.0)
        optimiser.step()


def train(seed: int, steps: tuple[int, int, int] = (600, 200, 500), test_size: int = 4000) -> Stages:
    """All three stages; the seed settles weights, batches and the test set."""
    began = time.process_time()
    torch.manual_seed(seed)
    module, heads = HDA(CONFIG), StageHeads(CONFIG)
    generator = torch.Generator().manual_seed(1000 + seed)

    def alone() -> Tensor:
        streams, labels = draw(64, generator)
        answers = heads(module.attended(streams), streams)
        return torch.stack([functional.cross_entropy(a, labels) for a in answers.values()]).sum()

    def correlation() -> Tensor:
        streams, _ = draw(128, generator)
        with torch.no_grad():
            rows = module.attended(streams)
        return dcca_loss(paired(module.encoded(rows, streams), streams)) / (3 * CONFIG.encoded)

    def fused() -> Tensor:
        streams, labels = draw(64, generator)
        return functional.cross_entropy(module(streams).logits, labels)

    descend([*stage_parameters(module, "streams"), *heads.parameters()], alone, steps[0], 5e-3)
    descend(stage_parameters(module, "encoders"), correlation, steps[1], 2e-3)
    descend(stage_parameters(module, "fused"), fused, steps[2], 5e-3)
    streams, labels = draw(test_size, torch.Generator().manual_seed(2000 + seed))
    with torch.inference_mode():
        rows = module.attended(streams)
        right = {m: (a.argmax(1) == labels).double().mean().item() for m, a in heads(rows, streams).items()}
        views = dict(zip(rows, paired(module.encoded(rows, streams), streams), strict=True))
        correlations = canonical_correlations(views["text"], views["face"])
        together = (module(streams).logits.argmax(1) == labels).double().mean().item()
    return Stages(right, tuple(correlations.tolist()), together, time.process_time() - began)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train delta-attention in its three stages on streams that vote.")
    arguments.add_argument("--seeds", type=int, default=3)
    torch.set_num_threads(1)
    for seed in range(arguments.parse_args().seeds):
        print(seed, train(seed), flush=True)


if __name__ == "__main__":
    main()
