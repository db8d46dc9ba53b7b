"""The first checkpoint's training: what utterances are composed of, the temperature, and a whole (tiny) run; and what is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.fusion.batch import Scaling
from emofuse.fusion.checkpoints import load
from emofuse.fusion.first_checkpoint import SHARES, Composer, Examples, Kind, fit_temperature, read, score, train
from emofuse.fusion.predictor import Predictor
from emofuse.fusion.shipped import locate
from emofuse.pipeline.ports import EMOTIONS, Utterance
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

NEUTRAL = EMOTIONS.index("neutral")


def features(folder: Path) -> Path:
    """Examples whose columns tell their label: column 0 is the label."""
    generator = np.random.default_rng(1)
    for split in ("train", "dev", "test"):
        for stream, n, columns in (("text", 42, ["t0", "t1", "t2"]), ("voice", 28, ["v0", "mfcc_0", "v1", "rms"])):
            labels = np.arange(n) % 7
            lengths = generator.integers(3, 9, n) * (1 if stream == "text" else 6)
            values = generator.normal(size=(lengths.sum(), len(columns)))
            values[:, 0] = np.repeat(labels, lengths)
            more = {
                "text": {"source": np.where(np.arange(n) % 2, "meld", "goemotions"), "damaged": (np.arange(n) > 30) & (split == "test")},
                "voice": {"actor": np.ones(n, int), "statement": np.arange(n) % 2 + 1},
            }[stream]
            arrays = {"values": values.astype(np.float16), "lengths": lengths, "columns": np.array(columns), "labels": labels, **more}
            np.savez(folder / f"{stream}_{split}.npz", **arrays)
    np.savez(
        folder / "statements.npz", values=np.full((7, 3), 9, np.float16), lengths=np.array([3, 4]), columns=np.array(["t0", "t1", "t2"])
    )
    return folder


def composer(folder: Path, *, training: bool = False) -> Composer:
    plain = {name: Scaling(np.zeros(f, np.float32), np.ones(f, np.float32), 100.0) for name, f in (("text", 3), ("voice", 2))}
    text, voice = read(folder / "text_train.npz"), read(folder / "voice_train.npz", drop=("mfcc_0", "rms"))
    assert voice.columns == ("v0", "v1")
    return Composer(text, voice, read(folder / "statements.npz"), plain, seed=1, train=training, thin=1)


def test_utterances_are_composed_of_what_their_kind_says(tmp_path: Path) -> None:
    made = composer(features(tmp_path))
    text, voice = 8, 15  # labels 1 and 1
    expected = {
        Kind.TEXT: (1, None, 1),
        Kind.VOICE: (None, 1, 1),
        Kind.AGREE: (1, 1, 1),
        Kind.SPOKEN: (9, 1, 1),  # the sentence that was spoken, whose rows hold 9
    }
    utterances = made.compose([(kind, text, voice) for kind in expected])
    for b, (words, spoken, label) in enumerate(expected.values()):
        for stream, value in (("text", words), ("voice", spoken)):
            shown = utterances.streams[stream].values[b][utterances.streams[stream].present[b]]
            assert (len(shown) == 0) if value is None else (shown[:, 0] == value).all(), (b, stream)
        assert utterances.labels[b] == label
    assert made._draw(Kind.NEUTRAL_TEXT, 2)[0] in np.flatnonzero(made.text.labels == NEUTRAL)
    mixed = made.compose([(Kind.NEUTRAL_TEXT, *made._draw(Kind.NEUTRAL_TEXT, 2)), (Kind.NEUTRAL_VOICE, *made._draw(Kind.NEUTRAL_VOICE, 3))])
    assert mixed.labels.tolist() == [2, 3]


def test_words_lie_within_their_voice(tmp_path: Path) -> None:
    utterances = composer(features(tmp_path), training=True).compose([(Kind.AGREE, i, i) for i in range(20)])
    text, voice = utterances.streams["text"], utterances.streams["voice"]
    for b in range(20):
        words, spoken = text.times[b][text.present[b]], voice.times[b][voice.present[b]]
        assert (words.diff() > 0).all() and words.min() > 0 and words.max() < spoken.max() + 0.1


def test_training_batches_hold_every_kind_and_label_evenly(tmp_path: Path) -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
    batches = composer(features(tmp_path), training=True).batches(32)
    labels, absent = [], {"text": 0, "voice": 0}
    for _ in range(60):
        for part in next(batches):
            labels += part.labels.tolist()
            for stream, batch in part.streams.items():
                absent[stream] += int((~batch.present.any(1)).sum())
    share = np.bincount(labels, minlength=7) / len(labels)
    assert len(labels) == 60 * 32 and np.abs(share - 1 / 7).max() < 0.04
    assert absent["voice"] / len(labels) == pytest.approx(SHARES[Kind.TEXT], abs=0.05)
    assert absent["text"] / len(labels) == pytest.approx(SHARES[Kind.VOICE], abs=0.05)


def test_the_temperature_undoes_a_known_sharpening() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4000, 7, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]  # labels as uncertain as the logits say
    assert fit_temperature(2 * logits, labels) == pytest.approx(2, rel=0.1)


def test_scores_solved_by_hand() -> None:
    logits = torch.eye(7)[torch.tensor([0, 0, 1, 0])]
    found = score(logits, torch.tensor([0, 0, 1, 1]))
    assert (found.utterances, found.accuracy, found.mean_recall, found.majority) == (4, 0.75, 0.75, 0.5)


def test_a_run_writes_a_checkpoint_that_answers(tmp_path: Path) -> None:
    said: list[str] = []
    torch.manual_seed(0)
    checkpoint = train(features(tmp_path), tmp_path / "out", steps=3, seed=1, say=said.append)
    again, _ = load(tmp_path / "out" / "mult.safetensors")
    assert again.sha256 == checkpoint.sha256
    assert set(again.card["numbers"]) >= {"validation", "test", "temperature"}
    assert len(again.card["numbers"]["test"]) == 6 and any("step 3" in line for line in said)


def test_an_examples_rows_stay_with_their_labels(tmp_path: Path) -> None:
    text = read(features(tmp_path) / "text_train.npz")
    some: Examples = text.of(text.labels == 3)
    assert len(some.rows) == 6 and all((rows[:, 0] == 3).all() for rows in some.rows)


def test_the_shipped_checkpoint_fits_our_own_streams() -> None:
    from emofuse.extractors.voice_rows import COLUMNS as VOICE

    path = locate(None)
    assert path.stat().st_size < 5e6
    predictor = Predictor.load(path)
    assert set(predictor.wants) == {"text", "voice"}
    assert predictor.wants["text"] == tuple(f"minilm_{i}" for i in range(384))
    assert set(predictor.wants["voice"]) <= set(VOICE)
    assert "RAVDESS" in json.dumps(predictor.provenance.notes["card"])


def test_the_shipped_checkpoint_answers_from_any_subset() -> None:
    predictor = Predictor.load(locate(None))
    generator, made = np.random.default_rng(1), Provenance("made", "1")
    streams = {}
    for name, n in (("text", 6), ("voice", 300)):
        edges = np.linspace(5, 8, n + 1)
        values = generator.normal(size=(n, len(predictor.wants[name]))).astype(np.float32)
        streams[name] = TimedSequence(name, predictor.wants[name], values, edges[:-1], edges[1:], made)
    both, *alone = predictor.predict([Utterance(Span(5, 8), "", s) for s in (streams, *({k: v} for k, v in streams.items()))])
    assert {(m.target, m.source, m.weights.shape) for m in both.attention} == {
        ("text", "voice", (2, 4, 6, 300)),
        ("voice", "text", (2, 4, 300, 6)),
    }
    for answer in (both, *alone):
        assert sum(answer.probabilities.values()) == pytest.approx(1) and answer.sentiment is None
    own = [{(m.kind, m.target, m.source) for m in answer.attention} for answer in alone]
    assert own == [{("memory", "text", "text")}, {("memory", "voice", "voice")}]  # nobody else to look at
