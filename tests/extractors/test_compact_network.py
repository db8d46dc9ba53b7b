"""The network's plumbing: what stands where in its answer, folding, files; its accuracy is measured in benchmarks/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.extractors.face.compact.layout import AU_SOURCES, AUS, HEADS, MIRRORED, SHAPES, Read, activations, au_matrix
from emofuse.extractors.face.compact.network import (
    CompactNetwork,
    Reader,
    fused,
    load_network,
    places,
    save_network,
    standardised,
)
from emofuse.extractors.weights.device import fast_half
from emofuse.pipeline.errors import WeightsError


@pytest.fixture
def network() -> CompactNetwork:
    """Random weights, and running statistics that are not the defaults."""
    torch.manual_seed(0)
    net = CompactNetwork()
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(16, 1, 64, 64) * 2 + 1)
    return net.eval()


def test_an_answer_has_its_numbers_in_the_declared_order(network: CompactNetwork) -> None:
    with torch.no_grad():
        network.heads.weight.zero_()
        network.heads.bias.copy_(torch.arange(sum(HEADS.values())) / 100)
    mean, spread = np.full(len(SHAPES), 5, np.float32), np.full(len(SHAPES), 2, np.float32)
    read = Reader(network, mean, spread)(np.zeros((3, 64, 64), np.uint8))
    assert np.allclose(read.shapes, 5 + 2 * np.arange(53) / 100)
    assert np.allclose(read.pose, [0.53, 0.54, 0.55])
    assert np.allclose(read.box, [0.56, 0.57, 0.58])
    logits = np.arange(59, 66) / 100
    assert np.allclose(read.expression, np.exp(logits) / np.exp(logits).sum(), atol=1e-6)
    assert np.allclose(read.face, 1 / (1 + np.exp(-0.66)))


def test_folding_the_normalisation_changes_nothing(network: CompactNetwork) -> None:
    crops = torch.randn(5, 1, 64, 64)
    with torch.no_grad():
        plain, folded = network(crops), fused(network)(crops)
    for head in HEADS:
        assert torch.allclose(getattr(plain, head), getattr(folded, head), atol=1e-4), head


def test_batches_and_neighbours_change_nothing(network: CompactNetwork) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (7, 64, 64), dtype=np.uint8)
    mean, spread = np.zeros(53, np.float32), np.ones(53, np.float32)
    whole = Reader(network, mean, spread)(crops).values
    few = Reader(network, mean, spread, batch=2)(crops).values
    assert np.allclose(whole, few, atol=1e-4)
    assert Reader(network, mean, spread)(crops[:0]).values.shape == (0, 67)


def test_both_views_agree_with_a_mirror(network: CompactNetwork) -> None:
    """Read in both views, a mirrored crop has the mirrored answer: left and right change places, yaw, roll and dx their signs."""
    crops = np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)
    random = np.random.default_rng(1)
    mean, spread = random.normal(0, 1, 53).astype(np.float32), random.uniform(0.5, 2, 53).astype(np.float32)
    read = Reader(network, mean, spread, both=True, temperature=0.7)
    one, other = read(crops), read(np.ascontiguousarray(crops[:, :, ::-1]))
    assert np.allclose(other.shapes, one.shapes[:, MIRRORED], atol=1e-4)
    assert np.allclose(other.pose, one.pose * (1, -1, -1), atol=1e-5)
    assert np.allclose(other.box, one.box * (-1, 1, 1), atol=1e-5)
    assert np.allclose(other.expression, one.expression, atol=1e-5)
    assert np.allclose(other.face, one.face, atol=1e-5)
    single = Reader(network, mean, spread, temperature=0.7)
    views = single(crops), single(np.ascontiguousarray(crops[:, :, ::-1]))
    assert np.allclose(one.shapes, (views[0].shapes + views[1].shapes[:, MIRRORED]) / 2, atol=1e-4)
    assert not np.allclose(one.shapes, views[0].shapes, atol=1e-2), "the views differ"
    assert np.allclose(one.expression.sum(1), 1, atol=1e-5)


def test_half_precision_is_near_and_only_for_the_convolutions(network: CompactNetwork) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (6, 64, 64), dtype=np.uint8)
    mean, spread = np.zeros(53, np.float32), np.ones(53, np.float32)
    whole, half = (Reader(network, mean, spread, half=half)(crops).values for half in (False, True))
    assert 0 < np.abs(whole - half).max() < 0.05 * np.abs(whole).max()
    assert not fast_half("cuda") and fast_half("cpu") == torch.cpu._is_avx512_bf16_supported()


def test_reading_leaves_the_number_of_threads_alone(network: CompactNetwork) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Reader(network, np.zeros(53, np.float32), np.ones(53, np.float32))(np.zeros((1, 64, 64), np.uint8))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_brightness_and_contrast_are_taken_out_and_flat_stays_flat() -> None:
    random = np.random.default_rng(0)
    crop = random.integers(60, 120, (1, 64, 64)).astype(np.uint8)
    assert np.allclose(standardised(crop), standardised(crop + 100), atol=1e-5)
    assert torch.equal(standardised(np.full((1, 64, 64), 200, np.uint8)), torch.zeros(1, 1, 64, 64))
    faint = standardised((100 + random.integers(0, 2, (1, 64, 64))).astype(np.uint8))
    assert faint.abs().max() < 0.2, "camera noise on a wall must not look like contrast"


def test_a_map_points_where_it_is_bright() -> None:
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, 1, 3] = 50
    maps[0, 1, 3, 0] = 50
    assert torch.allclose(places(maps), torch.tensor([[1.0, -1.0, -1 / 3, 1.0]]), atol=1e-5)


def test_a_saved_network_comes_back(network: CompactNetwork, tmp_path: Path) -> None:
    save_network(tmp_path / "n.safetensors", network, {"shape_mean": [1.5]})
    again, facts = load_network(tmp_path / "n.safetensors")
    assert facts == {"shape_mean": [1.5]}
    crops = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(network(crops).shapes, again(crops).shapes, atol=0.02)
        save_network(tmp_path / "m.safetensors", again, {})
        assert torch.equal(again(crops).shapes, load_network(tmp_path / "m.safetensors")[0](crops).shapes)


def test_a_broken_file_is_one_line_of_weights_error(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match=r"broken\.safetensors: expected the weights of a compact face network, got .+") as caught:
        load_network(tmp_path / "broken.safetensors")
    assert "\n" not in str(caught.value)


def test_action_units_are_means_of_their_sources() -> None:
    shapes = np.random.default_rng(0).random(53).astype(np.float32)
    units = au_matrix() @ shapes
    named = dict(zip(SHAPES, shapes, strict=True))
    assert units[AUS.index("AU12")] == pytest.approx((named["mouthSmileLeft"] + named["mouthSmileRight"]) / 2)
    assert units[AUS.index("AU25")] == pytest.approx(named["lipGap"])
    assert len(AU_SOURCES) == 16
    assert not {"AU06", "AU09", "AU11", "AU23"} & set(AUS), "the teacher cannot see these"


def test_activations_run_from_rest_to_high_and_stay_inside() -> None:
    rest, high = np.full(16, 0.2, np.float32), np.full(16, 0.6, np.float32)
    shapes = np.repeat(np.array([[0.1], [0.2], [0.4], [0.6], [0.9]], np.float32), 53, axis=1)
    assert np.allclose(activations(shapes, rest, high), np.repeat([[0.0], [0.0], [0.5], [1.0], [1.0]], 16, axis=1), atol=1e-6)


def test_rows_of_a_read_keep_every_head() -> None:
    read = Read(np.arange(3 * 67, dtype=np.float32).reshape(3, 67))
    assert read.rows(np.array([2, 0])).face.tolist() == [200.0, 66.0]
    assert sum(part.shape[-1] if part.ndim > 1 else 1 for part in (read.shapes, read.pose, read.box, read.expression, read.face)) == 67
