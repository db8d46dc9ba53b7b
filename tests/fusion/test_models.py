"""What must hold for every fusion model: padding, order, company in a batch, time shift and missing streams."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from emofuse.fusion.batch import Batch
from emofuse.fusion.outputs import Output
from emofuse.pipeline.errors import StreamError

COLUMNS = {"text": 6, "face": 5, "voice": 4}  # as tests/fusion/conftest.py makes them
ROWS = {"text": 5, "face": 7, "voice": 9}

Streams = dict[str, Batch]
Small = Callable[..., torch.nn.Module]
StreamsOf = Callable[..., Streams]
InFloat64 = Callable[[Streams], Streams]
Dead = Callable[[torch.nn.Module], list[str]]
WITHOUT_ATTENTION = ("early-lstm", "late-lstm")
KINDS = ("cross", "self", "memory")


def answer(module: torch.nn.Module, streams: Streams) -> Output:
    with torch.no_grad():
        output: Output = module(streams, maps=KINDS)
    return output


def changed(streams: Streams, change: Callable[[Batch], Batch]) -> Streams:
    return {name: change(batch) for name, batch in streams.items()}


def test_shapes(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    output = answer(small(model_name), streams_of(1))
    assert output.logits.shape == (3, 8) and output.features.shape[0] == 3
    assert bool(output.maps) == (model_name not in WITHOUT_ATTENTION)
    for m in output.maps:
        i, j = (1 if n == "utterance" else sum(ROWS[part] for part in n.split("+")) for n in (m.target, m.source))
        assert m.kind in KINDS
        assert m.weights.dim() == 5 and m.weights.shape[1] == 3 and m.weights.shape[3:] == (i, j), (m.target, m.source)


def test_padding_changes_nothing(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    def pad(batch: Batch) -> Batch:
        noise = 50 * torch.randn(3, 5, batch.values.shape[2], generator=torch.Generator().manual_seed(3))
        values = torch.where(batch.present[..., None], batch.values, 50 * torch.randn_like(batch.values))
        return Batch(
            torch.cat([values, noise], 1),
            torch.cat([batch.times, torch.full((3, 5), -7.0, dtype=torch.float64)], 1),
            torch.cat([batch.present, torch.zeros(3, 5, dtype=torch.bool)], 1),
        )

    module, streams = small(model_name), streams_of(2)
    torch.testing.assert_close(answer(module, changed(streams, pad)).logits, answer(module, streams).logits, atol=1e-5, rtol=0)


def test_garbage_in_absent_rows_changes_nothing(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    def spoil(batch: Batch) -> Batch:
        return Batch(batch.values.masked_fill(~batch.present[..., None], torch.nan), batch.times, batch.present)

    module, streams = small(model_name), streams_of(2)
    assert torch.equal(answer(module, changed(streams, spoil)).logits, answer(module, streams).logits)


def test_left_and_right_padding_agree(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    def left(batch: Batch) -> Batch:
        order = torch.argsort(batch.present.int(), dim=1, stable=True)  # absent rows first, present rows in their order
        columns = order[..., None].expand_as(batch.values)
        return Batch(batch.values.gather(1, columns), batch.times.gather(1, order), batch.present.gather(1, order))

    module, streams = small(model_name), streams_of(3)
    moved = changed(streams, left)
    assert not moved["voice"].present[:, 0].all()
    torch.testing.assert_close(answer(module, moved).logits, answer(module, streams).logits, atol=1e-5, rtol=0)


def test_order_and_company_in_a_batch_change_nothing(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    module, streams = small(model_name), streams_of(4)
    together = answer(module, streams)
    order = torch.tensor([2, 0, 1])
    mixed = answer(module, changed(streams, lambda b: Batch(b.values[order], b.times[order], b.present[order])))
    torch.testing.assert_close(mixed.logits, together.logits[order], atol=1e-5, rtol=0)
    for i in range(3):
        alone = answer(module, changed(streams, lambda b, i=i: Batch(b.values[i : i + 1], b.times[i : i + 1], b.present[i : i + 1])))
        torch.testing.assert_close(alone.logits, together.logits[i : i + 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("shown", [s for k in range(4) for s in itertools.combinations(COLUMNS, k)], ids="+".join)
def test_any_stream_may_be_missing(small: Small, streams_of: StreamsOf, model_name: str, shown: tuple[str, ...]) -> None:
    streams = streams_of(5)
    for name in set(COLUMNS) - set(shown):
        nothing = torch.zeros(3, 1, COLUMNS[name]), torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.bool)
        streams[name] = Batch(*nothing)
    module = small(model_name)
    output: Output = module(streams, maps=KINDS)
    assert output.logits.isfinite().all()
    output.logits.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    # what is missing is missing: not a row of zeros
    zeros = {
        n: Batch(torch.zeros(3, 1, COLUMNS[n]), torch.full((3, 1), 20.0, dtype=torch.float64), torch.ones(3, 1, dtype=torch.bool))
        for n in COLUMNS
    }
    if shown and len(shown) < 3:
        filled = {n: streams[n] if n in shown else zeros[n] for n in COLUMNS}
        assert not torch.allclose(answer(module, filled).logits, output.logits, atol=1e-4)


def test_each_stream_matters(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    module, streams = small(model_name), streams_of(6)
    before = answer(module, streams).logits
    for name in COLUMNS:
        other = Batch(-streams[name].values, streams[name].times, streams[name].present)
        assert (answer(module, streams | {name: other}).logits - before).abs().amax(1).min() > 1e-3, name


def test_gradients_reach_every_parameter(
    small: Small, streams_of: StreamsOf, in_float64: InFloat64, dead_parameters: Dead, model_name: str
) -> None:
    module = small(model_name).double().train()
    streams = in_float64(streams_of(7, size=4))
    output: Output = module(streams)
    (output.logits * torch.randn(output.logits.shape, generator=torch.Generator().manual_seed(8))).sum().backward()
    assert dead_parameters(module) == []


def test_attention_rows_sum_to_one_where_something_is_present(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    streams = streams_of(9)
    for m in answer(small(model_name), streams).maps:
        shown = [torch.cat([streams[p].present for p in n.split("+")], 1) if n != "utterance" else None for n in (m.target, m.source)]
        target, source = shown
        rows = m.weights.sum(-1)  # (layer b h i)
        expected = torch.ones_like(rows) if target is None else target[None, :, None, :].expand_as(rows).float()
        torch.testing.assert_close(rows, expected, atol=1e-5, rtol=0)
        assert source is not None and (m.weights.amax((0, 2, 3))[~source] == 0).all()
        assert m.weights.min() >= 0


def test_shifting_all_streams_in_time_changes_nothing(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    module, streams = small(model_name), streams_of(10)
    shifted = changed(streams, lambda b: Batch(b.values, b.times + 1000.25, b.present))
    torch.testing.assert_close(answer(module, shifted).logits, answer(module, streams).logits, atol=1e-5, rtol=0)


def test_two_calls_agree_to_the_bit_with_and_without_maps_to_rounding(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    module, streams = small(model_name), streams_of(11)
    assert torch.equal(answer(module, streams).logits, answer(module, streams).logits)
    with torch.no_grad():
        fast = module(streams)
    assert fast.maps == ()
    torch.testing.assert_close(fast.logits, answer(module, streams).logits, atol=1e-5, rtol=0)


def test_double_precision_agrees(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    module, streams = small(model_name), streams_of(12)
    single = answer(module, streams).logits
    double = answer(module.double(), changed(streams, lambda b: Batch(b.values.double(), b.times, b.present))).logits
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=0)


def test_other_streams_than_the_configs_are_refused(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    streams = streams_of(13)
    del streams["face"]
    with pytest.raises(StreamError, match=r"wants streams and columns.*face.*got"):
        small(model_name)(streams)


@pytest.mark.parametrize("name", ["mult", "pmr"])
def test_rows_carry_their_times_so_that_their_order_says_nothing(small: Small, streams_of: StreamsOf, name: str) -> None:
    def mixed(batch: Batch) -> Batch:
        order = torch.randperm(batch.present.shape[1], generator=torch.Generator().manual_seed(1))
        return Batch(batch.values[:, order], batch.times[:, order], batch.present[:, order])

    module, streams = small(name, kernels={}), streams_of(14)
    torch.testing.assert_close(answer(module, changed(streams, mixed)).logits, answer(module, streams).logits, atol=1e-5, rtol=0)
    later = {m: Batch(b.values, b.times.flip(1), b.present) for m, b in streams.items()}
    assert not torch.allclose(answer(module, later).logits, answer(module, streams).logits, atol=1e-3), "times do matter"


def test_a_seed_settles_training(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    def trained() -> list[float]:
        module, losses = small(model_name).train(), []
        optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
        torch.manual_seed(15)
        for step in range(4):
            output: Output = module(streams_of(15 + step % 2))
            loss = (output.logits - 1).square().mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.item())
        return losses

    first = trained()
    assert trained() == first
    assert first[2] < first[0] and first[3] < first[1]


def test_mixed_precision_trains(small: Small, streams_of: StreamsOf, model_name: str) -> None:
    module, streams = small(model_name).train(), streams_of(16)
    whole = answer(module.eval(), streams).logits
    with torch.autocast("cpu", torch.bfloat16):
        output: Output = module.train()(streams)
        output.logits.float().square().sum().backward()
        module.eval()
        assert module(streams, maps=KINDS).logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        torch.testing.assert_close(module(streams).logits.float(), whole, atol=0.3, rtol=0.1)  # bfloat16 keeps 8 bits
