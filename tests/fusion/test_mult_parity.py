"""MulT against the released code: its own numbers (shared material), and a golden fixture made from formulas.

The golden fixture's expected values were computed once with yaohungt/Multimodal-Transformer on the weights and inputs that the
formulas below give.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.fusion.batch import Batch
from emofuse.fusion.mult import MulT, MulTConfig, causal_mask, convert_reference
from emofuse.fusion.transformer import Dropouts

NAMES = {"l": "text", "a": "voice", "v": "face"}


def released(columns: dict[str, int], heads: int, causal: bool) -> MulTConfig:
    none = Dropouts(embedding=0, attention=0, residual=0, relu=0)
    return MulTConfig(
        streams=columns, outputs=3, width=30, heads=heads, layers=2, dropouts=none, positions="reference", readout="last", causal=causal
    )


def all_present(values: np.ndarray) -> Batch:
    b, n, _ = values.shape
    tensor = torch.from_numpy(values.astype(np.float32))
    return Batch(tensor, torch.arange(n, dtype=torch.float64).expand(b, n), torch.ones(b, n, dtype=torch.bool))


@pytest.mark.shared
# The number of heads is in no tensor's shape; 6 and 5 are the only divisors of 30 that reproduce the files.
@pytest.mark.parametrize(("file", "heads", "causal"), [("mult_parity_mask.npz", 6, True), ("mult_parity_nomask.npz", 5, False)])
def test_the_released_weights_give_the_released_numbers(shared: Path, file: str, heads: int, causal: bool) -> None:
    reference = np.load(shared / "reference" / "mult" / file)
    weights = {k.removeprefix("weight."): torch.from_numpy(reference[k]) for k in reference.files if k.startswith("weight.")}
    streams = {
        "text": all_present(reference["input.language"]),
        "voice": all_present(reference["input.audio"]),
        "face": all_present(reference["input.vision"]),
    }
    model = MulT(released({m: b.values.shape[2] for m, b in streams.items()}, heads, causal)).eval()
    model.load_state_dict(convert_reference(weights, NAMES), strict=True)
    with torch.no_grad():
        output = model(streams, maps=("cross", "memory"))
    np.testing.assert_allclose(output.logits, reference["output.logits"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(output.features, reference["output.last_hidden"], rtol=0, atol=1e-5)
    letter = {ours: theirs for theirs, ours in NAMES.items()}
    compared = 0
    for m in output.maps:
        block = f"trans_{letter[m.target]}_" + (f"with_{letter[m.source]}" if m.kind == "cross" else "mem")
        for layer, weight in enumerate(m.weights):
            expected = reference[f"attention.{block}.layers.{layer}.self_attn"]
            np.testing.assert_allclose(weight.mean(1), expected, rtol=0, atol=1e-5)
            compared += 1
    assert compared == sum(k.startswith("attention.") for k in reference.files) == 21


def golden_weight(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    i = np.arange(math.prod(shape), dtype=np.float64)
    values = 0.1 * np.sin(0.5 * i + 0.001 * i**2 + (zlib.crc32(key.encode()) % 6283) / 1000)
    if "layer_norm" in key and key.endswith("weight"):
        values += 1
    return torch.from_numpy(values.reshape(shape).astype(np.float32))


def original_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the released model with width 30, 2 layers (memory 3), columns 4, 3, 2, 3 outputs: its own names."""
    shapes: dict[str, tuple[int, ...]] = {}

    def encoder(name: str, d: int, layers: int) -> None:
        for i in range(layers):
            layer = f"{name}.layers.{i}"
            shapes[f"{layer}.self_attn.in_proj_weight"] = (3 * d, d)
            shapes[f"{layer}.self_attn.in_proj_bias"] = (3 * d,)
            shapes[f"{layer}.self_attn.out_proj.weight"] = (d, d)
            shapes[f"{layer}.self_attn.out_proj.bias"] = (d,)
            shapes[f"{layer}.fc1.weight"] = (4 * d, d)
            shapes[f"{layer}.fc1.bias"] = (4 * d,)
            shapes[f"{layer}.fc2.weight"] = (d, 4 * d)
            shapes[f"{layer}.fc2.bias"] = (d,)
            for norm in ("0", "1"):
                shapes[f"{layer}.layer_norms.{norm}.weight"] = shapes[f"{layer}.layer_norms.{norm}.bias"] = (d,)
        shapes[f"{name}.layer_norm.weight"] = shapes[f"{name}.layer_norm.bias"] = (d,)

    for m, columns in {"l": 4, "a": 3, "v": 2}.items():
        shapes[f"proj_{m}.weight"] = (30, columns, 1)
        encoder(f"trans_{m}_mem", 60, 3)
        for other in "lav".replace(m, ""):
            encoder(f"trans_{m}_with_{other}", 30, 2)
    for name in ("proj1", "proj2"):
        shapes |= {f"{name}.weight": (180, 180), f"{name}.bias": (180,)}
    return shapes | {"out_layer.weight": (3, 180), "out_layer.bias": (3,)}


@pytest.mark.parametrize(
    ("causal", "logits", "hidden_sums"),
    [
        (True, [[0.28315, -0.34697, 0.89275], [0.16777, -0.02362, 0.66561]], [-0.2009, -0.3266]),
        (False, [[0.28018, -0.34958, 0.89231], [0.17295, -0.07104, 0.66372]], [-0.1996, -0.3492]),
    ],
)
def test_the_golden_fixture_gives_the_released_numbers(causal: bool, logits: list[list[float]], hidden_sums: list[float]) -> None:
    weights = {key: golden_weight(key, shape) for key, shape in original_shapes().items()}
    assert sum(w.numel() for w in weights.values()) == 596_793
    np.testing.assert_allclose(weights["proj_l.weight"].flatten()[:3], [0.0996024, 0.0830827, 0.0459643], atol=1e-7)
    streams = {}
    for m, (name, n, f) in enumerate([("text", 5, 4), ("voice", 7, 3), ("face", 6, 2)]):
        b, t, c = np.meshgrid(np.arange(2), np.arange(n), np.arange(f), indexing="ij")
        values = np.cos(0.3 * (b + 1) * (t + 1) + 0.7 * c + m)
        values[1, :2] = 0  # the released code has no masks: padding is zeros that it does attend to
        streams[name] = all_present(values)
    model = MulT(released({"text": 4, "voice": 3, "face": 2}, 5, causal)).eval()
    model.load_state_dict(convert_reference(weights, NAMES), strict=True)
    with torch.no_grad():
        output = model(streams)
    np.testing.assert_allclose(output.logits, logits, rtol=0, atol=6e-6)  # the expected values carry five digits
    np.testing.assert_allclose(output.features.sum(1), hidden_sums, rtol=0, atol=6e-5)
    if causal:
        np.testing.assert_allclose(output.features[0, :3], [-2.26067, 0.87438, 0.13260], rtol=0, atol=6e-6)


def test_the_causal_rule_solved_by_hand() -> None:
    everything = lambda n: torch.ones(1, n, dtype=torch.bool)  # noqa: E731
    assert causal_mask(everything(3), everything(5))[0].tolist() == [[True] * 3 + [False] * 2, [True] * 4 + [False], [True] * 5]
    assert causal_mask(everything(5), everything(3)).all()
    # one row of padding on the left of the target and on the right of the source: rows are counted among those present
    padded = torch.tensor([[False, True, True, True]]), torch.tensor([[True] * 5 + [False]])
    assert causal_mask(*padded)[0, 1:, :5].tolist() == causal_mask(everything(3), everything(5))[0].tolist()


def test_a_foreign_tensor_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"trans_x_mem\.layer_norm\.bias has no place"):
        convert_reference({"trans_x_mem.layer_norm.bias": torch.zeros(60)}, NAMES)
