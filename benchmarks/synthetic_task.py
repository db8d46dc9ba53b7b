"""The asynchronous synthetic task: a label that no single stream carries, from events at unrelated times.

    python benchmarks/synthetic_task.py --models mult rrnn --seeds 5 [--alone | --aligned] [--out table.json]

Streams text, voice and face have at most 10, 24 and 18 rows (lengths uniform from half to all), spread evenly over 3 s. Column 1 holds a
random sign in every row; column 0 is 0 but in one row, drawn evenly, where it is 1 and column 1 carries the stream's sign s; the other
columns are noise, N(0, 0.3^2). The signs are independent fair coins, and the label is 1 iff s_text * s_face = +1: each stream alone
(and voice with either) leaves it a fair coin, so the best accuracy from one stream is exactly 1/2; for 1000 test utterances four
standard errors are [0.437, 0.563]. Voice distracts. Fresh batches of 64, Adam 2e-3 (RRNN 4e-3), gradient norm 1; tested every
50 steps, stopped at 0.95.

`--aligned` averages voice and face over each row of text, as word-aligned data are (fusion/word_alignment.py): a face row's sign then
stands among its neighbours', and where they differ it is lost.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from emofuse.fusion import MODELS
from emofuse.fusion.batch import Batch
from emofuse.fusion.outputs import Output
from emofuse.fusion.transformer import Dropouts

ROWS = {"text": 10, "voice": 24, "face": 18}
COLUMNS = {"text": 6, "voice": 5, "face": 4}
SECONDS = 3.0
TEST_UTTERANCES = 1000
CHANCE = (0.437, 0.563)

DRY = Dropouts(embedding=0, attention=0, residual=0, relu=0)
TRANSFORMER: dict[str, Any] = {"width": 16, "heads": 2, "layers": 2, "dropouts": DRY}
CONFIGS: dict[str, dict[str, Any]] = {
    "mult": TRANSFORMER | {"layers": 1},
    "delta": {"channels": 16, "heads": 2, "width": 16, "encoded": 16, "fused": 16, "dropout": 0.0},
    "rrnn": {"hidden": 16, "attention": 16, "dropout": 0.0},
    "early-lstm": {"hidden": 32, "slices": 24, "dropout": 0.0},
    "late-lstm": {"hidden": 32, "dropout": 0.0},
}
"""Small configs; a model without one gets TRANSFORMER."""
RATE = 2e-3
RATES = {"rrnn": 4e-3}
"""At 2e-3 one of five seeds of RRNN learns nothing."""


@dataclass(frozen=True, eq=False)
class Draw:
    """streams, labels (b) int64, and the row of each stream's event (b)."""

    streams: dict[str, Batch]
    labels: torch.Tensor
    events: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Run:
    """One training: what was seen, best test accuracy, the step at which 0.95 was reached (None: never), CPU seconds."""

    model: str
    seen: str
    seed: int
    accuracy: float
    steps: int | None
    cpu_seconds: float


def draw(size: int, generator: torch.Generator, seen: Sequence[str] = tuple(ROWS)) -> Draw:
    """A batch of the task; streams that are not `seen` are absent."""
    streams, events, signs = {}, {}, {}
    for name, most in ROWS.items():
        lengths = torch.randint(most // 2, most + 1, (size,), generator=generator)
        present = torch.arange(most) < lengths[:, None]
        values = 0.3 * torch.randn(size, most, COLUMNS[name], generator=generator)
        values[..., 1] = 2.0 * torch.randint(0, 2, (size, most), generator=generator) - 1
        values[..., 0] = 0
        event = (torch.rand(size, generator=generator) * lengths).long()
        sign = 2 * torch.randint(0, 2, (size,), generator=generator) - 1
        utterances = torch.arange(size)
        values[utterances, event, 0] = 1
        values[utterances, event, 1] = sign.float()
        times = (torch.arange(most, dtype=torch.float64) + 0.5) * SECONDS / lengths[:, None]
        streams[name] = Batch(values, times, present & (name in seen))
        events[name], signs[name] = event, sign
    return Draw(streams, (signs["text"] * signs["face"] > 0).long(), events)


def aligned(drawn: Draw) -> Draw:
    """The same utterances with voice and face averaged over each row of text, which lasts until the next one; a row of text in which they
    have no row is absent from them. Times are the text's."""
    text = drawn.streams["text"]
    lengths = text.present.sum(1)
    streams, events = {"text": text}, {"text": drawn.events["text"]}
    for name, stream in drawn.streams.items():
        if name == "text":
            continue
        word = (stream.times * lengths[:, None] / SECONDS + 1e-6).long().clamp(max=text.present.shape[1] - 1)  # (b n)
        lies = functional.one_hot(word, text.present.shape[1]).float() * stream.present[..., None]  # (b n words)
        count = lies.sum(1)
        means = torch.einsum("bnw,bnf->bwf", lies, stream.values) / count.clamp(min=1)[..., None]
        streams[name] = Batch(means, text.times, count > 0)
        events[name] = word.gather(1, drawn.events[name][:, None])[:, 0]
    return Draw(streams, drawn.labels, events)


def make(model: str) -> nn.Module:
    kind = MODELS[model]()
    module: nn.Module = kind.module(kind.config(streams=COLUMNS, outputs=2, **CONFIGS.get(model, TRANSFORMER)))
    return module


def accuracy(module: nn.Module, test: Draw) -> float:
    module.eval()
    with torch.inference_mode():
        output: Output = module(test.streams)
    return (output.logits.argmax(1) == test.labels).double().mean().item()


def train(
    model: str, seed: int, most_steps: int, seen: Sequence[str] = tuple(ROWS), enough: float = 0.95, by_words: bool = False
) -> tuple[Run, nn.Module]:
    """Trains until `enough` or `most_steps`, `by_words` on aligned utterances; the seed settles weights, batches and the test set."""

    def drawn(size: int, generator: torch.Generator) -> Draw:
        sample = draw(size, generator, seen)
        return aligned(sample) if by_words else sample

    torch.manual_seed(seed)
    module, generator = make(model), torch.Generator().manual_seed(1000 + seed)
    test = drawn(TEST_UTTERANCES, torch.Generator().manual_seed(2000 + seed))
    optimiser = torch.optim.Adam(module.parameters(), lr=RATES.get(model, RATE))
    began, best, reached = time.process_time(), 0.0, None
    for step in range(1, most_steps + 1):
        module.train()
        batch = drawn(64, generator)
        output: Output = module(batch.streams)
        loss = functional.cross_entropy(output.logits, batch.labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0:
            best = max(best, accuracy(module, test))
            if best >= enough:
                reached = step
                break
    return Run(
        model, "+".join(seen) + (", word-aligned" if by_words else ""), seed, round(best, 4), reached, round(time.process_time() - began, 1)
    ), module


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train fusion models on the asynchronous synthetic task.")
    arguments.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--first-seed", type=int, default=0)
    arguments.add_argument("--steps", type=int, default=2000)
    arguments.add_argument("--alone", action="store_true", help="train with one stream visible at a time (must stay at chance)")
    arguments.add_argument("--aligned", action="store_true", help="average voice and face over each row of text")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    runs = []
    for model in options.models:
        for seen in [(name,) for name in ROWS] if options.alone else [tuple(ROWS)]:
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                run, _ = train(model, seed, options.steps, seen, by_words=options.aligned)
                runs.append(run)
                print(run, flush=True)
    if options.out:
        options.out.write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")


if __name__ == "__main__":
    main()
