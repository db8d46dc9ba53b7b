"""From every fusion model to the timeline: shares that sum to 1 over each source, whatever maps the model makes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from emofuse.fusion.batch import Scaling
from emofuse.fusion.checkpoints import Checkpoint, StreamInput
from emofuse.fusion.predictor import Predictor
from emofuse.pipeline.attention.timeline import record
from emofuse.pipeline.attention_rows import AttentionRows
from emofuse.pipeline.results import Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

COLUMNS = {"text": 6, "face": 5, "voice": 4}
CARD = {"training_data": "none", "licence": "MIT", "numbers": {}, "intended_use": "tests", "limits": "all"}
BY = Provenance("made", "1")


def utterance(rows: dict[str, int]) -> Utterance:
    generator, streams = np.random.default_rng(3), {}
    for name, width in COLUMNS.items():
        n = rows.get(name, 0)
        columns, start = [f"{name}_{i}" for i in range(width)], np.arange(n, dtype=np.float64)
        values = generator.normal(size=(n, width)).astype(np.float32)
        empty = TimedSequence.empty(name, columns, BY, "left out")
        streams[name] = TimedSequence(name, tuple(columns), values, start, start + 1, BY) if n else empty
    return Utterance(Span(0, 10), "", streams, {name: np.arange(n) for name, n in rows.items()})


@pytest.mark.parametrize("shown", [("text", "face", "voice"), ("text", "voice"), ("voice",)], ids="+".join)
def test_shares_sum_to_one(small: Callable[[str], torch.nn.Module], model_name: str, shown: Sequence[str]) -> None:
    module = small(model_name)
    streams = {
        s: StreamInput(tuple(f"{s}_{i}" for i in range(f)), Scaling(np.zeros(f, np.float32), np.ones(f, np.float32)))
        for s, f in COLUMNS.items()
    }
    checkpoint = Checkpoint(model_name, module.config, streams, {"emotion": EMOTIONS, "sentiment": ("sentiment",)}, 1.0, CARD)
    said = utterance({name: 2 + len(name) for name in shown})
    prediction = Predictor(checkpoint, module).predict([said])[0]
    rows = AttentionRows.empty(said.streams)
    record(rows, 0, said, prediction)
    assert len(rows) == sum(2 + len(name) for name in shown)
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        for target, share in {**row.shares, "overall": row.overall}.items():
            if share is not None:
                assert target != row.stream
                sums[row.stream, target] += share
    if model_name.endswith("-lstm"):
        assert not sums, "no attention, no shares"
        return
    assert {stream for stream, target in sums if target == "overall"} == set(shown)
    assert all(total == pytest.approx(1, abs=1e-5) for total in sums.values())
    others = {target for _, target in sums} - {"overall"}
    if model_name == "rrnn":
        assert others == {"hop_1", "hop_2"}
    else:
        assert others == (set(shown) if len(shown) > 1 else set())
