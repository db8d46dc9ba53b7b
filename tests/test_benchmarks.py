"""What `make bench` rests on: the rival computes the same, and a ratio that became worse is told from one that did not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("decode", "measure", "performance", "plain_mult", "fusion_speed", "model_growth", "model_cost", "batch_memory_picture"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_mult_written_plainly_gives_the_same_logits() -> None:
    import fusion_speed  # pyright: ignore[reportMissingImports]

    net = fusion_speed.model(2)
    assert fusion_speed.equal(net, fusion_speed.streams(2, (5, 9, 12), 2.0)) < 1e-5
    with torch.no_grad():
        net.cross["text_from_voice"].layers[0].attention.in_weight.mul_(2)
        other = fusion_speed.model(2)
        batch = fusion_speed.streams(2, (5, 9, 12), 2.0)
        assert (net(batch).logits - other(batch).logits).abs().max() > 1e-5, "the comparison can fail"


@pytest.mark.parametrize(
    ("sign", "was", "now", "told"),
    [("<=", 1.0, 1.19, 0), ("<=", 1.0, 1.21, 1), (">=", 3.0, 2.6, 0), (">=", 3.0, 2.4, 1), ("<=", 1.0, 0.2, 0)],
)
def test_a_ratio_a_fifth_worse_is_told(sign: str, was: float, now: float, told: int) -> None:
    import performance  # pyright: ignore[reportMissingImports]
    from measure import Row  # pyright: ignore[reportMissingImports]

    row = Row("fusion", "x", now, "s", 1.0, "rival, s", now, (sign, 1.0))
    assert len(performance.worse([row], {"x": {"ratio": was}})) == told
    assert performance.worse([row], {}) == [], "what was never measured is not worse"


def test_the_memory_picture_has_a_curve_a_set_of_streams() -> None:
    import batch_memory_picture as picture  # pyright: ignore[reportMissingImports]

    base = {"words": "none", "text": "none", "face": "none", "voice": "auto", "warm": 700 * 10**6}
    lines = [{**base, "minutes": m, "peak": p * 10**6} for m, p in ((30, 900), (3, 800), (30, 850))]
    lines.append({**lines[0], "face": "auto"})
    curves = picture.curves(lines)
    assert {name: {m: line["peak"] // 10**6 for m, line in by.items()} for name, by in curves.items()} == {
        "voice": {3: 800, 30: 850},
        "face + voice": {30: 900},
    }, "the last line of a length counts"
    (axes,) = picture.draw(lines).axes
    shown = [line.get_ydata().tolist() for line in axes.lines]
    assert shown == [[800, 850], [700, 700], [900], [700]]
