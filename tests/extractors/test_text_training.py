"""The adapter of the text encoder: how it is trained, kept, merged, and read back."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast

from emofuse.extractors.text.adapter import merge, read_adapter
from emofuse.extractors.text.bert_text import ADAPTER, BertText
from emofuse.pipeline.errors import UsageError, WeightsError
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.streams import EMOTIONS
from training.text.corpora import Comment, Corpora, Line, Opinion, bare, damaged, read_corpora, words_of
from training.text.encoder import Encoder
from training.text.learning import Learner, Recipe
from training.text.scores import chosen_thresholds, score
from training.text.shipping import Reader, measure, word_rows, write_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i", "love", "hate", "fear", "this", "day", "##s", ".", "!", "so", "much", "ok"]
SMALL = Recipe(rank=2, frozen=1, steps=6, comments=4, lines=2, opinions=2, warm_up=2, saved_every=2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "tiny-bert"
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=60, **special).save_pretrained(folder)
    torch.manual_seed(5)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=60, initializer_range=0.3, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three corpora's files, each with a handful of texts."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "text").mkdir()
    (folder / "mosi").mkdir()
    comments = [
        ("I love this day. So much!", "3"),
        ("I hate days", "0,1"),
        ("fear this", "2"),
        ("ok", "4"),
        ("this day", "4"),
        ("so", "6,5"),
    ]
    for split in ("train", "dev", "test"):
        lines = [f"{text}\t{labels}\t{i}" for i, (text, labels) in enumerate(comments * 3)]
        (folder / "text" / f"goemotions_ekman_{split}.tsv").write_text("\n".join(lines), encoding="utf-8")
        with (folder / "text" / f"meld_{split}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = [["Utterance", "Emotion"], ["I love\x92s days", "joy"], ["I hate this.", "anger"], ["ok", "neutral"], ["", "fear"]]
            csv.writer(file).writerows(rows * 1)
    mosi = [
        (name, text, s) for name in ("train", "valid", "test") for text, s in (("I LOVE THIS", 2.4), ("I HATE DAYS", -1.8), ("OK", 0.0))
    ]
    pandas.DataFrame(mosi, columns=["split", "transcript", "sentiment"]).to_parquet(folder / "mosi" / "mosi_utterances.parquet")
    return folder


def trained(encoder: Path, data: Path, work: Path, recipe: Recipe = SMALL) -> Learner:
    learner = Learner(encoder, recipe, read_corpora(data, "train"), work, lambda line: None)
    learner.train()
    return learner


def test_corpora_are_read_with_their_labels(data: Path) -> None:
    read = read_corpora(data, "dev")
    assert read.goemotions[1] == Comment(("I", "hate", "days"), (EMOTIONS.index("anger"), EMOTIONS.index("disgust")))
    assert read.meld == (
        Line(("I", "love's", "days"), EMOTIONS.index("happiness")),
        Line(("I", "hate", "this."), EMOTIONS.index("anger")),
        Line(("ok",), EMOTIONS.index("neutral")),
    )
    assert read.mosi[0] == Opinion(("I", "LOVE", "THIS"), 2.4)
    with pytest.raises(UsageError, match=r"expected text/ and mosi/"):
        read_corpora(data / "text", "dev")


def test_damage_is_a_recognisers() -> None:
    words = words_of("I really, REALLY love this day! So much.") * 20
    heard = damaged(words, ("day",), np.random.default_rng(1))
    assert 0.75 < len(heard) / len(words) < 0.95 and heard == bare(heard)
    assert damaged(("!",), ("day",), np.random.default_rng(2)) == ("!",)


def test_an_untrained_adapter_changes_nothing_and_rows_are_the_providers(encoder: Path) -> None:
    adapted = Encoder(encoder, rank=2, frozen=0, seed=1).eval()
    texts = [("I", "love", "this", "day.", "So", "much!"), ("days", "ok")]
    with torch.inference_mode():
        rows, present = adapted(texts, [True, True])
    text = BertText(str(encoder))
    for b, expected in enumerate(word_rows(text, texts)):
        assert present[b].sum() == len(expected)
        np.testing.assert_allclose(rows[b, : len(expected)].numpy(), expected, rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        whole, _ = adapted(texts, [False, True])
    assert (whole[0] - rows[0]).abs().max() > 1e-3  # read whole, a sentence knows the other
    np.testing.assert_allclose(whole[1].numpy(), rows[1].numpy(), rtol=1e-4, atol=1e-5)


def test_only_the_layers_that_are_not_frozen_are_adapted(encoder: Path) -> None:
    names = list(Encoder(encoder, rank=2, frozen=1, seed=1).matrices)
    assert len(names) == 6 and all(".1." in name for name in names)


def test_a_run_that_was_stopped_ends_in_the_same_numbers(encoder: Path, data: Path, tmp_path: Path) -> None:
    whole = trained(encoder, data, tmp_path / "whole")
    corpora = read_corpora(data, "train")
    stopped = Learner(encoder, SMALL, corpora, tmp_path / "stopped", lambda line: None)
    for step in range(1, 5):
        stopped._learn(step)
        stopped.step = step
    stopped._save()
    again = trained(encoder, data, tmp_path / "stopped")
    assert again.step == 6
    for name, value in whole.encoder.tensors().items():
        assert torch.equal(value, again.encoder.tensors()[name]), name
    with pytest.raises(UsageError, match="another recipe"):
        trained(encoder, data, tmp_path / "whole", Recipe(rank=2, frozen=1, steps=12, comments=4, seed=3))


def test_a_merged_encoder_says_what_the_trained_one_said(encoder: Path, data: Path, tmp_path: Path) -> None:
    """Half precision of the file and all: the folder that is written, read by the provider, against the module that was trained."""
    learner = trained(encoder, data, tmp_path / "work", Recipe(**{**vars(SMALL), "rate": 0.05, "steps": 12}))
    out = tmp_path / "out"
    path = write_encoder(learner, data, encoder, out, lambda line: None)
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["encoder_sha256"] == sha256_of(encoder / "model.safetensors") and about["texts_seen"]["goemotions"] == 48
    assert {"goemotions_macro_f1", "meld_weighted_f1", "mosi_mae"} <= set(about["dev"]) and "test" not in about
    text, texts = BertText(str(out)), [("I", "hate", "this", "day.", "ok"), ("So", "much")]
    plain = word_rows(BertText(str(encoder)), texts)
    adapter = read_adapter(path)
    with torch.inference_mode():
        rows, _ = learner.encoder(texts, [True, True])
    for b, made in enumerate(word_rows(text, texts)):
        np.testing.assert_allclose(made, rows[b, : len(made)].numpy(), atol=2e-2)
        assert np.abs(made - plain[b]).max() > 0.1
    merged = Reader(text, adapter).answers("meld", texts)
    np.testing.assert_allclose(merged, learner.answers("meld", texts), atol=5e-2)
    measure(data, out, True, lambda line: None)
    assert json.loads(path.with_suffix(".json").read_text())["test"]["comments"] == 18


def test_an_adapter_is_added_to_its_matrices_and_to_nothing_else(encoder: Path, tmp_path: Path) -> None:
    name = "encoder.layer.1.output.dense"
    up, down = torch.arange(32).reshape(16, 2).half() / 10, torch.ones(2, 24).half()
    save_file({f"{name}.up": up, f"{name}.down": down}, tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text('{"encoder_sha256": "0"}')
    model = AutoModel.from_pretrained(encoder)
    before = {key: value.clone() for key, value in model.named_parameters()}
    merge(dict(model.named_parameters()), read_adapter(tmp_path / "a.safetensors"))
    for key, value in model.named_parameters():
        added = up.float() @ down.float() if key == f"{name}.weight" else torch.zeros_like(value)
        torch.testing.assert_close(value.detach(), (before[key] + added).detach())


def test_what_is_no_adapter_or_another_encoders_is_refused(encoder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(WeightsError, match="expected an adapter"):
        read_adapter(path)
    save_file({"encoder.layer.9.output.dense.up": torch.ones(16, 2), "encoder.layer.9.output.dense.down": torch.ones(2, 24)}, path)
    path.with_suffix(".json").write_text('{"encoder_sha256": "0"}')
    with pytest.raises(WeightsError, match="no such matrix"):
        merge(dict(AutoModel.from_pretrained(encoder).named_parameters()), read_adapter(path))
    with pytest.raises(WeightsError, match="expected an adapter of the encoder 53aa51172d14"):
        BertText("minilm", adapter=path)
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="expected an adapter"):
        read_adapter(path)


def test_thresholds_are_the_best_by_f1() -> None:
    truth = np.array([[True], [True], [False], [False]])
    assert chosen_thresholds(truth, np.array([[0.42], [0.38], [0.33], [0.1]])) == (0.35,)


def test_scores_are_those_solved_by_hand() -> None:
    happy, sad = EMOTIONS.index("happiness"), EMOTIONS.index("sadness")
    corpora = Corpora(
        (Comment(("a",), (happy,)), Comment(("b",), (sad,)), Comment(("c",), (happy, sad))),
        (Line(("a",), happy), Line(("b",), sad)),
        (Opinion(("a",), 2.0), Opinion(("b",), -1.0), Opinion(("c",), 0.0)),
    )
    eye = np.eye(7) * 20 - 10

    def answers(head: str, texts: Any) -> Any:
        if head == "mosi":
            return np.array([[1.5], [1.0], [0.5]])
        return np.stack([eye[happy] if text == ("a",) else eye[sad] for text in texts])

    scores = score(corpora, answers, (0.5,) * 7)
    assert scores.one_label_macro_f1 == 1 and scores.one_label_accuracy == 1 and scores.one_label_comments == 2
    assert scores.goemotions_macro_f1 == pytest.approx((2 / 3 + 1) / 7)  # happiness: 1 of 2 found; sadness: both; five never
    assert scores.meld_weighted_f1 == 1 and scores.mosi_acc2 == 0.5 and scores.mosi_mae == pytest.approx((0.5 + 2 + 0.5) / 3)


def test_the_shipped_adapter_is_small_and_says_what_it_scored() -> None:
    about = json.loads(ADAPTER.with_suffix(".json").read_text())
    assert ADAPTER.stat().st_size <= 8_000_000
    assert about["encoder"] == "all-MiniLM-L6-v2" and {"dev", "recipe", "licence", "texts_seen"} <= set(about)
