"""Fusion against MulT written plainly (`plain_mult.py`), at equal weights and equal results; part of `make bench`.

    python benchmarks/fusion_speed.py

Columns as in CMU-MOSI with GloVe, COVAREP and Facet. No dropout on either side, so that results can be compared.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import plain_mult
import torch
from measure import Row, high_water, medians
from torch import Tensor

from emofuse.fusion.batch import Batch
from emofuse.fusion.mult import MulT, MulTConfig
from emofuse.fusion.transformer import Dropouts

COLUMNS = {"text": 300, "face": 35, "voice": 74}
NONE = Dropouts(embedding=0, attention=0, residual=0, relu=0, output=0)
MOSI = 1284  # utterances in the training split
BATCH = 24
LAYERS = 5  # as released
SHALLOW = 2  # for the minute at once, which takes the plain computation half a minute a layer


def streams(utterances: int, rows: tuple[int, int, int], seconds: float) -> dict[str, Batch]:
    batches = {}
    for (name, columns), n in zip(COLUMNS.items(), rows, strict=True):
        times = (torch.arange(n, dtype=torch.float64) * seconds / n)[None].repeat(utterances, 1)
        batches[name] = Batch(torch.randn(utterances, n, columns), times, torch.ones(utterances, n, dtype=torch.bool))
    return batches


def model(layers: int) -> MulT:
    """The released code's width of 30 and 5 heads; six crossmodal and three self stacks of so many layers."""
    torch.manual_seed(0)
    return MulT(MulTConfig(COLUMNS, 1, width=30, heads=5, layers=layers, memory_layers=layers, dropouts=NONE)).eval()


def backward(answer: Callable[[], Tensor]) -> Callable[[], None]:
    return lambda: answer().sum().backward()


def without_gradients(answer: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            answer()

    return run


def equal(net: MulT, batch: dict[str, Batch]) -> float:
    """Largest difference of the logits between the two computations."""
    with torch.inference_mode():
        return float((net(batch).logits - plain_mult.forward(net, batch)[0]).abs().max())


def rows(runs: int = 3) -> Iterator[Row]:
    torch.set_num_threads(1)  # two spinning threads beside anything else measure the else
    net = model(LAYERS)
    small = streams(BATCH, (50, 375, 500), 15.0)
    worst = equal(net, small)
    if worst > 1e-5:
        raise SystemExit(f"fusion: the two computations differ by {worst:.1e}")
    both = {"ours": backward(lambda: net(small).logits), "plain": backward(lambda: plain_mult.forward(net, small)[0])}
    for task in both.values():
        task()
    timings = medians(both, runs)
    where = "plain MulT, s"
    yield row("batch 24 of 50/375/500, forward and backward", timings["ours"], timings["plain"], where, 3)
    step = timings

    net = model(SHALLOW)
    minute = streams(1, (600, 1800, 6000), 60.0)
    pieces = streams(6, (100, 300, 1000), 10.0)
    both = {
        "ours": without_gradients(lambda: net(minute)),
        "pieces": without_gradients(lambda: net(pieces)),
        "maps": without_gradients(lambda: net(pieces, maps=("cross", "memory"))),
        "plain": without_gradients(lambda: plain_mult.forward(net, minute)),
    }
    timings = medians(both, 1)
    yield row("one minute, 600/1800/6000 rows at once, forward", timings["ours"], timings["plain"], where, 10)
    yield row("the same minute as analyze reads it: six utterances in a batch", timings["pieces"], timings["plain"], where, 100)
    cost = timings["maps"] / timings["pieces"]
    yield Row("fusion", "the six with every attention map", timings["maps"], "s", timings["pieces"], "without, s", cost, ("<=", 2))
    yield Row("fusion", "memory of that minute over the loaded model", *memory(), ("<=", 0.1), "36 MB would be one 6000 x 1500 map")

    steps = MOSI / BATCH
    yield row(
        "an epoch of MOSI's size (1,284 at 50/375/500), forward and backward times 53.5 batches",
        steps * step["ours"], steps * step["plain"], where, 3,
    )  # fmt: skip


def row(what: str, ours: float, plain: float, against: str, target: float) -> Row:
    return Row("fusion", what, ours, "s", plain, against, plain / ours, (">=", target))


def memory() -> tuple[float, str, float, str, float]:
    """Peak GiB of a fresh process above its model, ours and plain, for the minute at once."""
    ours, plain = (
        float(subprocess.run([sys.executable, __file__, "--peak", who], capture_output=True, text=True, check=True).stdout)
        for who in ("ours", "plain")
    )
    return ours, "GiB", plain, "plain MulT, GiB", ours / plain


def peak(who: str) -> None:
    net, minute = model(SHALLOW), streams(1, (600, 1800, 6000), 60.0)
    without_gradients(lambda: net(streams(1, (5, 5, 5), 1.0)))()
    before = high_water()
    without_gradients(lambda: net(minute) if who == "ours" else plain_mult.forward(net, minute))()
    print((high_water() - before) / 2**20)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        peak(sys.argv[2])
    else:
        began = time.time()
        for row in rows():
            print(row.line(), flush=True)
        print(f"{time.time() - began:.0f} s")
