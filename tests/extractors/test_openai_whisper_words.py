"""Whisper: through tiny weights made here, in openai's own form and in the hub's.

The weights are random but for one thing: position p of the decoder is made to write token p of a sentence, whatever it hears. So
whisper's real decoding and its real word timing (cross-attention and DTW) run, and the words that come out are known.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import whisper
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import get_tokenizer

from emofuse.extractors.provider import Request
from emofuse.extractors.weights import download
from emofuse.extractors.weights.openai_whisper import find_weights, whisper_name
from emofuse.extractors.words import openai_whisper_words
from emofuse.extractors.words.openai_whisper_words import OpenaiWhisperWords, stretches
from emofuse.pipeline.errors import UsageError, WeightsError
from emofuse.pipeline.media import SAMPLE_RATE, Samples

SENTENCE = " It cost $5.50 in 1961, didn't it?"
WIDTH = 64

# whisper opens its vocabulary and leaves closing it to the garbage collector.
pytestmark = pytest.mark.filterwarnings(r"ignore:Exception ignored in.*tiktoken:pytest.PytestUnraisableExceptionWarning")


def tiny(sentence: str = SENTENCE, seconds: float = 4.0) -> Whisper:
    """A tiny multilingual whisper that writes this sentence between 0.00 and `seconds`."""
    torch.manual_seed(7)
    dimensions = ModelDimensions(80, 1500, WIDTH, 2, 1, 51865, 448, WIDTH, 2, 1)
    model = Whisper(dimensions).eval()
    tokenizer = get_tokenizer(True, language="en", task="transcribe")
    written = [tokenizer.timestamp_begin, *tokenizer.encode(sentence), tokenizer.timestamp_begin + round(seconds / 0.02), tokenizer.eot]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.1)
        block: Any = next(iter(model.decoder.blocks))
        for silenced in (block.attn.out, block.cross_attn.out, block.mlp[2]):
            silenced.weight.zero_()
            assert silenced.bias is not None
            silenced.bias.zero_()
        model.decoder.ln.weight.fill_(10.0)
        model.decoder.ln.bias.zero_()
        embedding = torch.nn.functional.normalize(torch.randn(51865, WIDTH), dim=1)
        model.decoder.token_embedding.weight.copy_(embedding)
        model.decoder.positional_embedding.zero_()
        for place, token in enumerate(written):
            model.decoder.positional_embedding[2 + place] = 30 * embedding[token]
    return model


def dimensions_of(model: Whisper) -> dict[str, int]:
    return dict(vars(model.dims))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache folder with openai's form of the weights as `base.pt`, and its SHA-256."""
    folder = tmp_path_factory.mktemp("cache")
    path = folder / "whisper" / "base.pt"
    path.parent.mkdir()
    model = tiny()
    torch.save({"dims": dimensions_of(model), "model_state_dict": model.state_dict()}, path)
    return folder, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def cached(checkpoint: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """openai's table and cache, with the tiny weights in the place of base."""
    folder, digest = checkpoint
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setitem(whisper._MODELS, "base", f"https://weights.invalid/{digest}/base.pt")
    heads = torch.ones(1, 2, dtype=torch.bool).numpy()
    monkeypatch.setitem(whisper._ALIGNMENT_HEADS, "base", packed(heads))
    return folder / "whisper" / "base.pt"


def packed(heads: Any) -> bytes:
    import base64
    import gzip

    return base64.b85encode(gzip.compress(heads.tobytes()))


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hub's form: random weights by transformers itself."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(3)
    config = WhisperConfig(
        vocab_size=51865, num_mel_bins=80, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=1500, max_target_positions=448,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    generation: Any = model.generation_config
    generation.alignment_heads = [[1, 0], [1, 3]]
    folder = tmp_path_factory.mktemp("hub") / "whisper-tiny"
    model.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def sound(seconds: float, seed: int = 1) -> Any:
    return (np.random.default_rng(seed).normal(size=int(seconds * SAMPLE_RATE)) * 0.05).astype(np.float32)


@pytest.mark.usefixtures("no_sockets")
def test_words_numbers_and_money_get_times(cached: Path, clip_of: Any) -> None:
    extractor = OpenaiWhisperWords("base", offline=True, language="en")
    words = extractor(clip_of(Samples(0.0, sound(6.0))), {})
    assert words.labels["word"] == ("It", "cost", "$5.50", "in", "1961,", "didn't", "it?")
    assert (np.diff(words.start) >= 0).all() and (words.end >= words.start).all()
    assert words.start[0] >= 0 and words.end[-1] <= 6.0 and words.end[-1] > 0.5
    probability = words.column("probability")
    assert ((probability > 0.5) & (probability <= 1)).all()  # these weights are sure of their sentence
    provenance = words.provenance
    assert provenance.weights == {"base.pt": hashlib.sha256(cached.read_bytes()).hexdigest()}
    assert provenance.notes["language"] == "en" and provenance.notes["filled_spans"] == []
    again = extractor(clip_of(Samples(0.0, sound(6.0))), {})
    np.testing.assert_array_equal(again.start, words.start)
    np.testing.assert_array_equal(again.values, words.values)


def test_a_late_start_shifts_the_words_and_nothing_else(cached: Path, clip_of: Any) -> None:
    extractor = OpenaiWhisperWords("base", language="en")
    early = extractor(clip_of(Samples(0.0, sound(6.0))), {})
    late = extractor(clip_of(Samples(8.6, sound(6.0))), {})
    assert late.labels == early.labels
    np.testing.assert_allclose(late.start, early.start + 8.6, atol=1e-9)
    np.testing.assert_array_equal(late.values, early.values)


def test_words_in_filled_silence_are_dropped_and_the_gap_is_noted(cached: Path, clip_of: Any) -> None:
    gap = (1.2, 5.0)
    blocks = [Samples(0.0, sound(gap[0])), Samples(gap[1], sound(6.0 - gap[1], seed=2))]
    words = OpenaiWhisperWords("base", language="en")(clip_of(*blocks), {})
    spans = words.provenance.notes["filled_spans"]
    assert len(spans) == 1 and spans[0] == pytest.approx(list(gap), abs=1e-3)
    middle = (words.start + words.end) / 2
    assert not ((middle > gap[0]) & (middle < gap[1])).any()
    dropped = words.provenance.notes.get("words_in_filled_silence_dropped", 0)
    assert dropped > 0 and dropped + len(words) == 7


def test_no_audio_is_empty_and_says_why(cached: Path, clip_of: Any) -> None:
    words = OpenaiWhisperWords("base")(clip_of(), {})
    assert len(words) == 0 and "no audio" in words.reason


def test_long_sound_is_cut_at_quiet_places_and_long_gaps_are_left_out() -> None:
    loud = sound(25.0)
    loud[int(9.5 * SAMPLE_RATE) : int(9.9 * SAMPLE_RATE)] = 0
    loud[int(19.4 * SAMPLE_RATE) : int(19.8 * SAMPLE_RATE)] = 0
    blocks = [Samples(2.0 + k / SAMPLE_RATE, loud[k : k + 5000]) for k in range(0, len(loud), 5000)]
    silence = Samples(0.0, np.zeros(2 * SAMPLE_RATE, np.float32), filled=True)
    cut = list(stretches([silence, *blocks], longest=10.0))
    assert [c.start for c in cut] == pytest.approx([2.0, 11.7, 21.6], abs=0.2)
    np.testing.assert_array_equal(np.concatenate([c.values for c in cut]), loud)
    assert all(len(c.values) <= 10 * SAMPLE_RATE for c in cut) and not any(c.filled for c in cut)
    gap = [Samples(1.0, np.zeros(40 * SAMPLE_RATE, np.float32), filled=True), Samples(41.0, sound(1.0))]
    apart = list(stretches([Samples(0.0, sound(1.0)), *gap]))
    assert [(c.start, len(c.values)) for c in apart] == [(0.0, SAMPLE_RATE), (41.0, SAMPLE_RATE)]


@pytest.mark.usefixtures("no_sockets")
def test_the_hubs_weights_compute_what_transformers_computes(hub_folder: Path) -> None:
    from transformers import WhisperForConditionalGeneration

    weights = find_weights(str(hub_folder), offline=True)
    ours = weights.load("cpu")
    theirs = WhisperForConditionalGeneration.from_pretrained(hub_folder).eval()
    mel = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([[50258, 50259, 50359, 1, 2, 3]])
    with torch.inference_mode():
        expected = theirs(input_features=mel, decoder_input_ids=tokens).logits
        logits = ours(mel, tokens)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert ours.alignment_heads.to_dense().nonzero().tolist() == [[1, 0], [1, 3]]
    assert weights.sha256 == {"model.safetensors": hashlib.sha256((hub_folder / "model.safetensors").read_bytes()).hexdigest()}


def test_the_hubs_weights_give_the_same_words_as_openais(cached: Path, tmp_path: Path, clip_of: Any) -> None:
    from safetensors.torch import save_file

    model = tiny()
    ours = dict(model.state_dict())
    # transformers' names, made from its own module, filled with these numbers.
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=51865, num_mel_bins=80, d_model=WIDTH, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=4 * WIDTH, decoder_ffn_dim=4 * WIDTH,
        max_source_positions=1500, max_target_positions=448,
    )  # fmt: skip
    names = [name for name in WhisperForConditionalGeneration(config).state_dict() if not name.startswith("proj_out")]
    assert {whisper_name(name) for name in names} == set(ours)
    save_file({name: ours[whisper_name(name)].clone().contiguous() for name in names}, tmp_path / "model.safetensors")
    config.save_pretrained(tmp_path)
    clip = clip_of(Samples(1.0, sound(6.0)))
    from_hub = OpenaiWhisperWords(str(tmp_path), language="en")(clip, {})
    from_openai = OpenaiWhisperWords("base", language="en")(clip, {})
    assert from_hub.labels == from_openai.labels and len(from_hub) == 7
    np.testing.assert_allclose(from_hub.start, from_openai.start, atol=1e-6)


@pytest.mark.usefixtures("no_sockets")
def test_offline_says_what_is_missing_and_opens_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"whisper small.en: no .*small.en.pt, and offline was asked for"):
        OpenaiWhisperWords("small.en", offline=True)
    status = OpenaiWhisperWords.status(Request("small.en"))
    assert not status.usable and status.fetchable and "small.en.pt" in status.reason
    assert not OpenaiWhisperWords.status(Request("some/where")).fetchable


def test_a_cached_checkpoint_is_usable(cached: Path) -> None:
    assert OpenaiWhisperWords.status(Request("base")).usable
    assert OpenaiWhisperWords.status(Request(str(cached))).usable


@pytest.mark.usefixtures("no_sockets")
def test_a_damaged_checkpoint_is_never_opened(cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load saw a file whose hash is wrong"))
    damaged = tmp_path / "whisper" / "base.pt"
    damaged.parent.mkdir()
    damaged.write_bytes(cached.read_bytes() + b"x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for offline in (True, False):
        with pytest.raises(WeightsError, match=r"base.pt: expected SHA-256"):
            OpenaiWhisperWords("base", offline=offline)
    with pytest.raises(WeightsError, match=r"is none of openai's checkpoints"):
        OpenaiWhisperWords(str(damaged))


def test_an_official_file_anywhere_is_known_by_its_hash(cached: Path, tmp_path: Path) -> None:
    moved = tmp_path / "my model.pt"
    moved.write_bytes(cached.read_bytes())
    weights = find_weights(str(moved), offline=True)
    assert weights.name == "base"
    assert weights.load("cpu").dims.n_audio_state == WIDTH


@pytest.fixture
def server(checkpoint: tuple[Path, str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """A web server on this machine; its answers can be set."""
    answers = {"/right": (checkpoint[0] / "whisper" / "base.pt").read_bytes()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers["/right"]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{web.server_address[1]}", answers
        web.shutdown()
        thread.join()


def test_a_fetch_leaves_the_right_file_or_none(
    cached: Path, server: tuple[str, dict[str, bytes]], checkpoint: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, answers = server
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(whisper._MODELS, "base", f"{address}/{checkpoint[1]}/base.pt")
    monkeypatch.setattr(download, "reachable", lambda host: True)
    right = answers["/right"]
    answers["/right"] = right[:-5]
    with pytest.raises(WeightsError, match=r"base.pt: expected SHA-256"):
        OpenaiWhisperWords("base", offline=False)
    assert not any((tmp_path / "whisper").iterdir())
    answers["/right"] = right
    OpenaiWhisperWords("base", offline=False)
    assert [path.name for path in (tmp_path / "whisper").iterdir()] == ["base.pt"]
    monkeypatch.setattr(download, "reachable", lambda host: False)
    with pytest.raises(WeightsError, match="cannot be reached"):
        OpenaiWhisperWords("small", offline=False)


def test_what_is_no_whisper_is_refused_in_one_line(tmp_path: Path, hub_folder: Path, cached: Path) -> None:
    with pytest.raises(WeightsError, match=r"found no config\.json"):
        OpenaiWhisperWords(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match="expected model_type whisper, got bert"):
        OpenaiWhisperWords(str(tmp_path))
    (tmp_path / "config.json").write_text((hub_folder / "config.json").read_text())
    with pytest.raises(WeightsError, match=r"expected model.safetensors beside config.json"):
        OpenaiWhisperWords(str(tmp_path))
    config = json.loads((hub_folder / "config.json").read_text())
    config["encoder_layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((hub_folder / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="not whisper's tensors") as caught:
        find_weights(str(tmp_path), offline=True).load("cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match=r"expected a folder, a \.pt file or one of base"):
        OpenaiWhisperWords("enormous")
    with pytest.raises(UsageError, match="expected a language code"):
        OpenaiWhisperWords("base", language="klingon")


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("config.json", {"d_model": 1 << 40}, "expected d_model as a whole number from 1 to 8192"),
        ("config.json", {"d_model": 4096, "encoder_ffn_dim": 1 << 14, "decoder_ffn_dim": 1 << 14}, "numbers at least for this config"),
        ("config.json", {"decoder_layers": "2"}, "expected decoder_layers as a whole number"),
        ("config.json", {"encoder_attention_heads": 3}, "heads that divide the width"),
        ("config.json", {"encoder_ffn_dim": 63}, "feed-forward layers of 64, got 63 and 64"),
        ("generation_config.json", {"alignment_heads": [[1, 0], [9, 9]]}, "expected alignment_heads as pairs"),
        ("generation_config.json", {"alignment_heads": 3}, "expected alignment_heads as pairs"),
        ("model.safetensors.index.json", {"weight_map": {"a": 3}}, "expected a weight_map from tensors to files"),
        ("model.safetensors.index.json", {"weight_map": {"a": "../x"}}, "expected ../x beside config.json"),
        ("config.json", "[" * 100_000, "expected JSON"),
        ("config.json", "[]", "expected a JSON object, got list"),
        ("generation_config.json", "{", "expected JSON"),
    ],
)
def test_a_folder_that_claims_another_model_is_one_line(
    tmp_path: Path, hub_folder: Path, file: str, change: dict[str, Any] | str, expected: str
) -> None:
    """Before anything of that size is built."""
    folder = tmp_path / "whisper"
    shutil.copytree(hub_folder, folder)
    path = folder / file
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(change if isinstance(change, str) else json.dumps({**old, **change}))
    with pytest.raises(WeightsError, match=expected) as caught:
        find_weights(str(folder), offline=True).load("cpu")
    assert "\n" not in str(caught.value)


def test_importing_the_extractor_imports_nothing_heavy() -> None:
    source = Path(openai_whisper_words.__file__).read_text("utf-8")
    top = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert not any("torch" in line or "import whisper" in line for line in top)
