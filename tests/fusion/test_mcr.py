"""MCR against its limiting cases, equation 4-5 written out, hand-solved numbers and its parameter count."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional

from emofuse.fusion.attention import present_softmax
from emofuse.fusion.batch import Batch
from emofuse.fusion.mcr import CMU, MCR, SUM, MCRAblation, MCRConfig, Rows, effective_rows, selective_weights
from emofuse.fusion.outputs import Output
from emofuse.fusion.resampling import Resampling, index_times

COLUMNS = {"text": 6, "face": 5, "voice": 4}
LENGTHS = {"text": 5, "face": 7, "voice": 9}
Small = Callable[..., torch.nn.Module]
StreamsOf = Callable[..., dict[str, Batch]]
InFloat64 = Callable[[Mapping[str, Batch]], dict[str, Batch]]
Dead = Callable[[torch.nn.Module], list[str]]


def rows_of(n: int, seed: int, width: int = 8, least: int = 2) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    present = torch.arange(n) < torch.tensor([[n], [n - least]])
    times = torch.rand(2, n, generator=generator, dtype=torch.float64).cumsum(1)
    where = torch.where(present, present.cumsum(1) - 1, n)
    return Rows(torch.randn(2, n, width, generator=generator) * present[..., None], present, times, where)


def named(sources: Sequence[Rows]) -> dict[str, Rows]:
    """Of the target text, in the config's order."""
    return dict(zip(("face", "voice"), sources, strict=True))


def unit(**numbers: Any) -> CMU:
    torch.manual_seed(3)
    made = CMU(MCRConfig(COLUMNS, 1, width=8, heads=2, **numbers), "text").eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return made


def test_selective_weights_solved_by_hand() -> None:
    # sums 2, 0 | 0 and one absent row: softmax 0.78699, 0.10651 | 0.10651
    first = Rows(torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]), torch.tensor([[True, True]]), torch.zeros(1, 2), None)
    second = Rows(torch.tensor([[[-1.0, 1.0], [50.0, 50.0]]]), torch.tensor([[True, False]]), torch.zeros(1, 2), None)
    one, two = selective_weights([first, second])
    torch.testing.assert_close(one, torch.tensor([[0.78699, 0.10651]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(two, torch.tensor([[0.10651, 0.0]]), atol=1e-5, rtol=0)


def test_selective_weights_of_normalised_rows_would_be_uniform() -> None:
    """Why eq. 3 reads raw rows: after a layer norm every row sums to 0."""
    source = rows_of(6, 1)
    normed = source.of(functional.layer_norm(source.values, (8,)))
    (alpha,) = selective_weights([normed])
    torch.testing.assert_close(alpha[0], torch.full((6,), 1 / 6))
    (raw,) = selective_weights([source])
    assert raw[0].max() > 2 / 6


def test_without_the_mutual_term_the_unit_is_two_plain_attentions() -> None:
    made = unit(ablation=MCRAblation(mutual=False))
    target, sources = rows_of(5, 1), [rows_of(7, 2), rows_of(9, 3)]
    query = made.query_norm(made.query(target.values))
    expected = made.residual_norm(target.values)
    for k, source in enumerate(sources):
        key, value = made.key_norms[k](made.keys[k](source.values)), made.value_norms[k](made.values[k](source.values))
        expected = expected + functional.scaled_dot_product_attention(query, key, value, attn_mask=source.present[:, None])
    torch.testing.assert_close(made(target, named(sources)).rows, made.feed_forward(expected))


@pytest.mark.parametrize(
    "numbers", [{"alignment": "learned", "lengths": LENGTHS}, {"alignment": "index"}, {"alignment": "seconds"}], ids=str
)
def test_equations_4_and_5_written_out_are_attention_with_keys_that_borrow(numbers: dict[str, Any]) -> None:
    """E_2 (i j2) is read at source 1's rows along its source axis and added to E_1, scaled by alpha: the same numbers."""
    made = unit(**numbers)
    target, sources = rows_of(5, 1), [rows_of(7, 2), rows_of(9, 3)]
    if numbers["alignment"] == "index":
        sources = [Rows(s.values, s.present, index_times(s.present), s.where) for s in sources]
    query = made.query_norm(made.query(target.values))
    energies = [
        query @ norm(key(s.values)).transpose(1, 2) / 8**0.5 for s, key, norm in zip(sources, made.keys, made.key_norms, strict=True)
    ]
    alphas = selective_weights(sources, "deviation")
    expected = made.residual_norm(target.values)
    for k, source in enumerate(sources):
        other = sources[1 - k]
        theirs = energies[1 - k] * other.present[:, None]  # (b i j')
        alignment = made.alignments[k]
        if numbers["alignment"] == "learned":
            read = functional.conv1d(theirs.transpose(1, 2), alignment.convolution.weight[..., None], alignment.convolution.bias)  # type: ignore[union-attr, index]
            read = read.transpose(1, 2)
        else:
            read = Resampling.at(other.times, other.present, source.times)(theirs.transpose(1, 2)) * source.present[..., None]  # (b j i)
            b, j, i = read.shape
            taps = alignment.smooth
            assert isinstance(taps, torch.nn.Conv1d) and taps.bias is None
            read = functional.conv1d(read.transpose(1, 2).reshape(b * i, 1, j), taps.weight, padding=1).reshape(b, i, j)
        weights = present_softmax(energies[k] + alphas[k][:, None] * read, source.present[:, None])
        expected = expected + weights @ made.value_norms[k](made.values[k](source.values))
    torch.testing.assert_close(made(target, named(sources)).rows, made.feed_forward(expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(made(target, named(sources), want_map=True).rows, made.feed_forward(expected), atol=1e-5, rtol=1e-5)


MOSI_ROWS = {"text": 50, "voice": 375, "face": 500}


def front_end_streams(columns: Mapping[str, int], rows: Mapping[str, int], seed: int) -> dict[str, Batch]:
    """Two utterances of 20 s with standard normal columns: as the front end gets them, of real lengths."""
    generator = torch.Generator().manual_seed(seed)
    return {
        m: Batch(
            torch.randn(2, rows[m], f, generator=generator),
            (torch.arange(rows[m], dtype=torch.float64) * 20 / rows[m]).expand(2, -1),
            torch.ones(2, rows[m], dtype=torch.bool),
        )
        for m, f in columns.items()
    }


def shares_of_rows(config: MCRConfig, rows: Mapping[str, int], seed: int) -> list[float]:
    """Effective rows of alpha over all source rows, for each target, layer and utterance of a fresh model."""
    torch.manual_seed(seed)
    with torch.no_grad():
        gates = MCR(config).eval()(front_end_streams(config.streams, rows, seed)).gates
    alphas = [torch.cat([gates[f"alpha_{t}_{m}"] for m in config.sources(t)], 2) for t in config.targets]
    return [share for alpha in alphas for share in (effective_rows(alpha) / alpha.shape[2]).flatten().tolist()]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("streams", "rows"),
    [
        ({"text": 300, "voice": 5, "face": 20}, MOSI_ROWS),
        ({"text": 300, "voice": 74, "face": 35}, {"text": 50, "voice": 500, "face": 500}),
        ({"text": 300, "voice": 74, "face": 35}, dict.fromkeys(MOSI_ROWS, 50)),
        ({"text": 384, "voice": 282, "face": 95}, {"text": 12, "voice": 400, "face": 100}),
    ],
    ids=["mosi", "mosei", "aligned", "clip"],
)
def test_selective_weights_of_front_end_rows_are_neither_one_row_nor_even(
    streams: Mapping[str, int], rows: Mapping[str, int], seed: int
) -> None:
    shares = shares_of_rows(MCRConfig(streams, 1, layers=2, kernels=dict.fromkeys(streams, 3)), rows, seed)
    assert 0.02 < min(shares) <= max(shares) < 0.5


def test_selective_weights_as_printed_pick_a_row_or_two_of_front_end_rows() -> None:
    """Why the default scales the sums: the front end's rows are sqrt(d) times larger than the paper's text says."""
    shares = shares_of_rows(MCRConfig({"text": 300, "voice": 5, "face": 20}, 1, layers=1, alpha_scale="paper"), MOSI_ROWS, 0)
    assert max(shares) * 425 < 4


def test_selective_weights_by_deviation_ignore_the_size_and_number_of_rows() -> None:
    small_rows, large_rows = rows_of(60, 1), rows_of(60, 1)
    large_rows = large_rows.of(large_rows.values * 50)
    larger_rows = large_rows.of(large_rows.values * 100)
    (large,), (larger,) = selective_weights([large_rows], "deviation"), selective_weights([larger_rows], "deviation")
    torch.testing.assert_close(large, larger, atol=1e-3, rtol=0)  # d is a thousandth of the variance or less
    # rows that hardly differ are told apart less: the variance of their sums is small against d
    (faint,) = selective_weights([small_rows.of(small_rows.values * 0.01)], "deviation")
    assert (effective_rows(faint) > 0.99 * small_rows.present.sum(1)).all()
    assert (effective_rows(large) < 0.5 * small_rows.present.sum(1)).all()


def test_effective_rows_solved_by_hand() -> None:
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]])
    torch.testing.assert_close(effective_rows(weights), torch.tensor([1.0, 4.0, 2.0]))


def test_a_checkpoint_of_the_earlier_form_keeps_its_taps_bias() -> None:
    """alpha_scale "rows" is what checkpoints were trained with before; nothing else has the bias, which eq. 4-5 lack."""
    for scale, has_bias in (("rows", True), ("deviation", False), ("paper", False)):
        names = MCR(MCRConfig(COLUMNS, 1, width=8, heads=2, layers=1, alpha_scale=scale)).state_dict()  # type: ignore[arg-type]
        assert ("mutual.0.text.alignments.0.smooth.bias" in names) is has_bias


def test_rows_times_the_literal_alpha_is_the_earlier_form() -> None:
    target, sources = rows_of(5, 1), [rows_of(7, 2), rows_of(9, 3)]
    made = unit(alpha_scale="rows")
    query = made.query_norm(made.query(target.values))
    keys = [norm(key(s.values)) for s, key, norm in zip(sources, made.keys, made.key_norms, strict=True)]
    count = sources[0].present.sum(1) + sources[1].present.sum(1)
    expected = made.residual_norm(target.values)
    for k, (source, alpha) in enumerate(zip(sources, selective_weights(sources), strict=True)):
        moved, _ = made.alignments[k](keys[1 - k], sources[1 - k], source)
        key = keys[k] + (alpha * count[:, None])[..., None] * moved
        value = made.value_norms[k](made.values[k](source.values))
        expected = expected + functional.scaled_dot_product_attention(query, key, value, attn_mask=source.present[:, None])
    torch.testing.assert_close(made(target, named(sources)).rows, made.feed_forward(expected))


def test_a_source_update_solved_by_hand() -> None:
    # eq. 13-14: pre-activation 0 gives mu = 1/2; F = 2, Z = 0: S = tanh(0)/2 + 2/2 = 1; eq. 15-16: phi = 1/2, J = tanh(1)/2
    update = SUM(MCRConfig({"text": 1, "face": 1}, 1, width=1, heads=1))
    with torch.no_grad():
        for parameter in update.parameters():
            parameter.zero_()
    here = torch.ones(1, 1, dtype=torch.bool)
    two = Rows(torch.full((1, 1, 1), 2.0), here, torch.zeros(1, 1), None)
    zero = two.of(torch.zeros(1, 1, 1))
    both = {"text": two, "face": two}
    done = update(both, {"text": zero, "face": zero}, both)
    after, joined, gates = done.sources, done.joined, done.gates
    assert after["text"].values.item() == pytest.approx(1.0)
    assert joined["face"].values.item() == pytest.approx(0.5 * 0.761594, abs=1e-6)
    assert gates["mu_text"].item() == gates["phi_face"].item() == 0.5
    # pre-activation ln 3: mu = 3/4 keeps the source: tanh(1)/4 + 2 * 3/4; phi = 3/4
    with torch.no_grad():
        for name, parameter in update.named_parameters():
            if "keep_bias" in name or "join_bias" in name:
                parameter.fill_(torch.tensor(3.0).log())
    one = two.of(torch.ones(1, 1, 1))
    done = update(both, {"text": one, "face": one}, both)
    after, joined = done.sources, done.joined
    assert after["text"].values.item() == pytest.approx(0.761594 / 4 + 1.5, abs=1e-6)
    assert joined["face"].values.item() == pytest.approx(0.75 * torch.tensor(0.761594 / 4 + 1.5).tanh().item(), abs=1e-6)


@pytest.mark.parametrize(
    ("layers", "columns", "expected"),
    [(3, (300, 74, 35), 641_175), (3, (300, 5, 20), 631_095), (4, (300, 74, 35), 848_793), (4, (300, 5, 20), 838_713)],
)
def test_parameters_are_counted_as_specified(layers: int, columns: tuple[int, int, int], expected: int) -> None:
    streams: dict[str, int] = dict(zip(("text", "voice", "face"), columns, strict=True))
    module = MCR(MCRConfig(streams, 1, layers=layers, kernels=dict.fromkeys(streams, 3)))
    d, o = 40, 1
    formula = layers * 3 * (31 * d**2 + 41 * d + 6) + (layers - 1) * 3 * (11 * d**2 + 9 * d)
    formula += (12 * d**2 + 13 * d) + 2 * d + 2 * (d**2 + d) + d * o + o + sum(columns) * d * 3
    assert sum(p.numel() for p in module.parameters()) == formula == expected


def test_the_papers_fixed_lengths_cost_what_its_equations_say() -> None:
    """Eq. 4-5 at MOSI's lengths: 2 * (sum of pairwise products) weights and one bias a row read; eq. 13 and 15: biases for every row."""
    lengths = {"text": 50, "voice": 375, "face": 500}
    streams = {"text": 300, "voice": 5, "face": 20}
    free = MCR(MCRConfig(streams, 1, layers=2))
    paper = MCR(MCRConfig(streams, 1, layers=2, alignment="learned", row_biases=True, lengths=lengths))
    sizes = {k: p.numel() for k, p in paper.named_parameters()}
    assert sum(n for k, n in sizes.items() if "convolution.weight" in k and k.startswith("mutual.0")) == 462_500
    assert sum(n for k, n in sizes.items() if "convolution.bias" in k and k.startswith("mutual.0")) == 2 * 925
    assert sum(n for k, n in sizes.items() if k.startswith("update.0") and k.endswith("bias.bias")) == 0
    row_biases = sum(n for k, n in sizes.items() if "keep_bias" in k or "join_bias" in k)
    assert row_biases == (925 + 2 * 925) * 40
    assert sum(sizes.values()) == sum(p.numel() for p in free.parameters()) + 2 * (462_500 + 1850 - 18) + row_biases - 6 * 40


def test_the_papers_form_does_not_depend_on_padding_either(small: Small, streams_of: StreamsOf) -> None:
    numbers: dict[str, Any] = {"alignment": "learned", "branch_attention": "flat", "row_biases": True, "lengths": LENGTHS}
    module = small("mcr", **numbers, positions="index", bounded_score=False, alpha_scale="paper")
    streams = streams_of(2)
    with torch.no_grad():
        expected = module(streams).logits
        padded = {
            m: Batch(
                torch.cat([torch.full_like(b.values, 9.0), b.values], 1),
                torch.cat([b.times, b.times], 1),
                torch.cat([torch.zeros_like(b.present), b.present], 1),
            )
            for m, b in streams.items()
        }
        torch.testing.assert_close(module(padded).logits, expected, atol=1e-5, rtol=0)


def test_resampling_solved_by_hand() -> None:
    rows, here = torch.arange(5.0).reshape(1, 5, 1), torch.ones(1, 5, dtype=torch.bool)
    at = lambda n: index_times(torch.ones(1, n, dtype=torch.bool))  # noqa: E731
    assert Resampling.at(at(5), here, at(3))(rows).flatten().tolist() == [0, 2, 4]
    assert Resampling.at(at(5), here, at(9))(rows).flatten().tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    # seconds, padding on the left, times before the first row, between two and after the last
    times = torch.tensor([[0.0, 10.0, 12.0]], dtype=torch.float64)
    present = torch.tensor([[False, True, True]])
    read = Resampling.at(times, present, torch.tensor([[3.0, 10.5, 12.0, 99.0]], dtype=torch.float64))(
        torch.tensor([[[7.0], [1.0], [3.0]]])
    )
    assert read.flatten().tolist() == [1, 1.5, 3, 3]
    assert Resampling.at(times, torch.zeros_like(present), times)(torch.ones(1, 3, 1)).flatten().tolist() == [0, 0, 0]


def test_maps_weights_and_gates_are_handed_out(small: Small, streams_of: StreamsOf) -> None:
    with torch.no_grad():
        output: Output = small("mcr")(streams_of(4), maps=("cross", "self", "memory"))
    shapes = {(m.kind, m.target, m.source): tuple(m.weights.shape) for m in output.maps}
    assert shapes["cross", "text", "voice"] == (2, 3, 1, 5, 9)
    assert shapes["cross", "text", "face+voice"] == (2, 3, 2, 5, 16)
    assert shapes["self", "face", "face"] == (2, 3, 2, 7, 7)
    assert shapes["memory", "text+face+voice", "text+face+voice"] == (1, 3, 2, 21, 21)
    assert len(output.maps) == 6 + 3 + 3 + 1
    alphas = output.gates["alpha_face_text"].sum(2) + output.gates["alpha_face_voice"].sum(2)
    torch.testing.assert_close(alphas, torch.ones(2, 3))
    torch.testing.assert_close(output.gates["gamma_text"].sum(2), torch.ones(2, 3))
    assert output.gates["mu_voice"].shape == (1, 3, 9, 8)
    assert output.gates["phi_voice"].shape == (1, 3, 12, 8)


ABLATIONS: list[dict[str, Any]] = [
    {"mutual_unit": False},
    {"source_unit": False},
    {"mutual": False},
    {"source_update": "none"},
    {"source_update": "feed_forward"},
    {"source_update": "plain"},
    {"order": "serial"},
    {"targets": ("text",)},
    {"targets": ("face", "voice")},
]


@pytest.mark.parametrize("ablation", ABLATIONS, ids=str)
def test_an_ablated_model_runs_and_carries_no_dead_weights(
    small: Small, streams_of: StreamsOf, in_float64: InFloat64, dead_parameters: Dead, ablation: Mapping[str, Any]
) -> None:
    streams = in_float64(streams_of(6, size=4))
    module = small("mcr", ablation=MCRAblation(**ablation)).double()
    output: Output = module(streams, maps=("cross", "self", "memory"))
    (output.logits * torch.randn(output.logits.shape, generator=torch.Generator().manual_seed(8))).sum().backward()
    assert dead_parameters(module) == []
    with torch.no_grad():
        whole = small("mcr").double()(streams).logits
    assert not torch.allclose(output.logits, whole, atol=1e-4)


def test_a_stream_alone_is_its_own_source(small: Small, streams_of: StreamsOf) -> None:
    columns = {"voice": 4}
    module = small("mcr", streams=columns, kernels={})
    output: Output = module(streams_of(7, columns=columns), maps=("cross", "self"))
    assert output.logits.isfinite().all()
    assert [(m.kind, m.target, m.source, m.weights.shape[2]) for m in output.maps] == [
        ("self", "voice", "voice", 1),
        ("self", "voice", "voice", 2),
    ]


@pytest.mark.parametrize("kept", list(itertools.combinations(COLUMNS, 2)), ids="+".join)
def test_two_streams_have_one_source_each_and_no_mutual_term(small: Small, streams_of: StreamsOf, kept: tuple[str, ...]) -> None:
    columns = {m: COLUMNS[m] for m in kept}
    module = small("mcr", streams=columns, kernels={})
    assert not any("alignments" in name for name, _ in module.named_parameters())
    assert module(streams_of(7, columns=columns)).logits.isfinite().all()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"streams": {}}, "expected a stream or more"),
        ({"streams": dict.fromkeys("abcd", 2)}, "three streams at most"),
        ({"alignment": "learned"}, "need the rows of every stream"),
        (
            {"branch_attention": "flat", "lengths": {"text": 50, "face": 500, "voice": 375}},
            "flat branch attention would take .* GB to train.*up to 500 rows",
        ),
        ({"alignment": "eye"}, "must be one of seconds, index, learned"),
        ({"mutual_heads": 3}, "3 mutual heads"),
        ({"ablation": {"targets": ["voice", "text"]}}, "in that order"),
        ({"ablation": {"mutual_unit": False, "source_unit": False}}, "nothing is reinforced"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MCRConfig(**({"streams": COLUMNS, "outputs": 8} | numbers))
