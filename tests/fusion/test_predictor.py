"""Checkpoints on disk and the predictor: round trips, refusals, and answers that do not depend on company."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emofuse.fusion.batch import Batch, Scaling
from emofuse.fusion.checkpoints import Checkpoint, StreamInput, load, save
from emofuse.fusion.likeness import Likeness
from emofuse.fusion.predictor import Predictor, batches
from emofuse.pipeline.baseline import Tally
from emofuse.pipeline.errors import CheckpointError, OutOfMemory, StreamError
from emofuse.pipeline.ports import FusionModel
from emofuse.pipeline.quality import quality
from emofuse.pipeline.results import Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, Span, TimedSequence
from emofuse.pipeline.views.report.gates import meaning

CARD = {"training_data": "none: random weights", "licence": "MIT", "numbers": {}, "intended_use": "tests", "limits": "all"}
MADE = Provenance("made", "1")
COLUMNS = {"text": 6, "face": 5, "voice": 4}  # as tests/fusion/conftest.py makes them

Make = Callable[[str], tuple[Checkpoint, torch.nn.Module]]


@pytest.fixture
def checkpoint_of(small: Callable[[str], torch.nn.Module]) -> Make:
    def make(name: str) -> tuple[Checkpoint, torch.nn.Module]:
        module = small(name)
        streams = {
            s: StreamInput(tuple(f"{s}_{i}" for i in range(f)), Scaling(np.full(f, 0.5), np.full(f, 2.0))) for s, f in COLUMNS.items()
        }
        tasks = {"emotion": EMOTIONS, "sentiment": ("sentiment",)}
        return Checkpoint(name, module.config, streams, tasks, 1.5, CARD), module

    return make


def utterance(seed: int, rows: dict[str, int]) -> Utterance:
    generator = np.random.default_rng(seed)
    streams = {}
    for s, f in COLUMNS.items():
        columns = ("more", *(f"{s}_{i}" for i in range(f)))
        n = rows.get(s, 0)
        start = np.arange(n, dtype=np.float64) / 2 + 3
        values = generator.normal(size=(n, f + 1)).astype(np.float32)
        if n:
            streams[s] = TimedSequence(s, columns, values, start, np.append(start[1:], start[-1] + 0.5), MADE)
        else:
            streams[s] = TimedSequence.empty(s, columns, MADE, "left out")
    return Utterance(Span(3, 10), "", streams)


def test_a_checkpoint_survives_the_disk(checkpoint_of: Make, model_name: str, tmp_path: Path) -> None:
    checkpoint, module = checkpoint_of(model_name)
    path = tmp_path / "model.safetensors"
    saved = save(path, checkpoint, module)
    loaded, again = load(path)
    assert loaded.to_json() == saved.to_json() and loaded.config == checkpoint.config
    for key, tensor in module.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    words = [utterance(1, {"text": 3, "face": 4, "voice": 5})]
    before, after = (Predictor(c, m).predict(words)[0] for c, m in ((checkpoint, module), (loaded, again)))
    assert before.probabilities == after.probabilities and before.sentiment == after.sentiment


def with_baseline(checkpoint: Checkpoint, *names: str) -> Checkpoint:
    streams = {name: replace(stream, baseline=name in names) for name, stream in checkpoint.streams.items()}
    return replace(checkpoint, streams=streams)


def test_a_known_person_is_read_by_what_departs_from_their_usual(checkpoint_of: Make) -> None:
    """Adding a constant to a person's voice changes nothing in the limit of many utterances; without a baseline it does."""
    checkpoint, module = checkpoint_of("mult")
    predictor = Predictor(with_baseline(checkpoint, "voice"), module)
    plain = utterance(1, {"text": 3, "face": 4, "voice": 5})
    voice = plain.streams["voice"]
    other = replace(plain, streams={**plain.streams, "voice": replace(voice, values=voice.values + np.float32(0.4))})

    def answer(one: Utterance, times: int) -> dict[str, float]:
        tally = predictor.tallies(one)["voice"]
        usual = Tally.all_of(tally.columns, [tally] * times).usual() if times else None
        known = replace(one, usual={"voice": usual} if usual is not None else {})
        return dict(predictor.predict([known])[0].probabilities)

    apart = [max(abs(answer(plain, n)[e] - answer(other, n)[e]) for e in EMOTIONS) for n in (0, 2, 2000)]
    assert apart[0] > 1e-3 and apart[1] < apart[0] and apart[2] < 2e-2 * apart[0]
    assert answer(plain, 0) == dict(Predictor(checkpoint, module).predict([plain])[0].probabilities)


def test_a_baseline_is_tallied_over_prepared_columns_of_the_streams_that_read_it(checkpoint_of: Make) -> None:
    checkpoint, module = checkpoint_of("mult")
    predictor = Predictor(with_baseline(checkpoint, "voice", "face"), module)
    tallies = predictor.tallies(utterance(1, {"text": 3, "voice": 5}))
    assert predictor.reads_baseline == {"voice", "face"} and set(tallies) == {"voice"}
    assert tallies["voice"].columns == tuple(f"voice_{i}" for i in range(4))
    assert Predictor(checkpoint, module).tallies(utterance(1, {"voice": 5})) == {}


def test_a_stream_without_a_baseline_ignores_one(checkpoint_of: Make) -> None:
    checkpoint, module = checkpoint_of("mult")
    one = utterance(1, {"text": 3, "voice": 5})
    usual = Predictor(with_baseline(checkpoint, "voice"), module).tallies(one)["voice"].usual()
    given = Predictor(checkpoint, module).predict([one, replace(one, usual={"voice": usual})])
    assert given[0].probabilities == given[1].probabilities


def test_that_a_checkpoint_reads_baselines_survives_the_disk(checkpoint_of: Make, tmp_path: Path) -> None:
    checkpoint, module = checkpoint_of("mult")
    save(tmp_path / "model.safetensors", with_baseline(checkpoint, "voice"), module)
    loaded, _ = load(tmp_path / "model.safetensors")
    assert {name: stream.baseline for name, stream in loaded.streams.items()} == {"text": False, "face": False, "voice": True}


def test_a_model_that_knows_what_it_learned_from_says_what_is_unlike_it(checkpoint_of: Make, tmp_path: Path) -> None:
    """The description keeps it; the distance is of standardised rows: a voice four deviations off is unlike, its face is not judged."""
    checkpoint, module = checkpoint_of("mult")
    like = Likeness(np.zeros(4, np.float32), np.ones(4, np.float32), 2.0)
    voice = replace(checkpoint.streams["voice"], likeness=like)
    save(tmp_path / "model.safetensors", replace(checkpoint, streams={**checkpoint.streams, "voice": voice}), module)
    predictor = Predictor.load(tmp_path / "model.safetensors")
    one = utterance(1, {"text": 3, "face": 4, "voice": 5})
    far = one.streams["voice"]
    other = replace(one, streams={**one.streams, "voice": replace(far, values=far.values + np.float32(8))})
    near, off = (p.unlike for p in predictor.predict([one, other]))
    standardised = checkpoint.streams["voice"].scaling.apply(far.values[:, 1:])
    assert set(near) == {"voice"} and near["voice"] == pytest.approx(np.sqrt((standardised.mean(0) ** 2).mean()) / 2, rel=1e-5)
    assert (
        near["voice"] < 1 < off["voice"]
        and "unlike_voice" in quality(other, {}, off).flags
        and "what the model learned from" in quality(other, {}, off).reasons["voice"]
    )
    assert "unlike_voice" not in quality(one, {}, near).flags
    assert predictor.predict([replace(one, streams={"text": one.streams["text"]})])[0].unlike == {}
    with pytest.raises(CheckpointError, match="a likeness of 3"):
        replace(voice, likeness=Likeness(np.zeros(3, np.float32), np.ones(3, np.float32), 2.0))


def test_half_precision_halves_the_file(checkpoint_of: Make, tmp_path: Path) -> None:
    checkpoint, module = checkpoint_of("mult")
    save(tmp_path / "a.safetensors", checkpoint, module)
    save(tmp_path / "b.safetensors", checkpoint, module, half=True)
    assert (tmp_path / "b.safetensors").stat().st_size < 0.7 * (tmp_path / "a.safetensors").stat().st_size
    _, again = load(tmp_path / "b.safetensors")
    for key, tensor in module.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], tensor, atol=2e-3, rtol=2e-3)


def test_a_flipped_byte_is_found(checkpoint_of: Make, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(path, *checkpoint_of("mult"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="expected SHA-256"):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "expected checkpoint format 1, got 2"),
        ({"model": "nobody"}, "no model 'nobody'; there are mult"),
        ({"temperature": 0}, "expected a positive temperature, got 0"),
        ({"tasks": {"emotion": ["anger"]}}, "8 outputs, but tasks"),
        ({"card": {}}, "the card lacks training_data"),
        ({"config": {"streams": COLUMNS, "outputs": 8, "wdith": 8}}, "not a checkpoint's description.*wdith"),
        ({"streams": {}}, "the config has streams"),
        ({"config": {"streams": COLUMNS, "outputs": 8, "width": 12, "heads": 2}}, "tensors do not fit the model, first"),
    ],
)
def test_a_wrong_description_is_one_line(checkpoint_of: Make, tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "model.safetensors"
    save(path, *checkpoint_of("mult"))
    description = path.with_suffix(".json")
    description.write_text(json.dumps(json.loads(description.read_text()) | change))
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "no.safetensors"))):
        load(tmp_path / "no.safetensors")


def test_the_predictor_keeps_the_port(checkpoint_of: Make, model_name: str) -> None:
    predictor: FusionModel = Predictor(*checkpoint_of(model_name))
    assert predictor.name == model_name
    assert list(predictor.wants) == list(COLUMNS) and predictor.wants["face"] == tuple(f"face_{i}" for i in range(5))
    said = [utterance(i, {"text": 2 + i, "face": 3 * i, "voice": 9 - i}) for i in range(4)]
    answers = predictor.predict(said)
    assert len(answers) == 4
    for u, a in zip(said, answers, strict=True):
        assert tuple(a.probabilities) == EMOTIONS
        assert sum(a.probabilities.values()) == pytest.approx(1, abs=1e-9)
        assert a.confidence == max(a.probabilities.values())
        assert a.sentiment is not None and -3 <= a.sentiment <= 3
        assert bool(a.attention) == (not model_name.endswith("-lstm"))
        for m in a.attention:
            np.testing.assert_allclose(m.weights.sum(-1), 1, atol=1e-5)
            if "+" not in m.source:
                np.testing.assert_array_equal(m.source_start, u.streams[m.source].start)
                np.testing.assert_array_equal(m.source_end, u.streams[m.source].end)
    assert {m.source for m in answers[0].attention if "+" not in m.source} <= {"text", "voice"}  # utterance 0 has no face
    for a in answers:
        assert bool(a.gates) == (model_name in ("pmr", "mcr", "rrnn"))
        for name, values in a.gates.items():
            assert meaning(name) != name and all(0 <= value <= 1 + 1e-6 for value in values), name
    assert all(p.attention == () and not p.gates for p in predictor.predict(said, attention=False))


def test_company_changes_nothing(checkpoint_of: Make, model_name: str) -> None:
    predictor = Predictor(*checkpoint_of(model_name))
    said = [utterance(i, {"text": 2 + i, "face": 3 * i, "voice": 9 - i}) for i in range(4)]
    together = predictor.predict(said)
    for u, expected in zip(said, together, strict=True):
        alone = predictor.predict([u])[0]
        np.testing.assert_allclose(list(alone.probabilities.values()), list(expected.probabilities.values()), rtol=0, atol=1e-5)
        for one, two in zip(alone.attention, expected.attention, strict=True):
            np.testing.assert_allclose(one.weights, two.weights, rtol=0, atol=1e-5)


def test_a_stream_that_utterances_share_is_prepared_once(checkpoint_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As influence asks: many utterances that differ in one stream. What each reads is what it reads alone."""
    predictor = Predictor(*checkpoint_of("mult"))
    whole = utterance(0, {"text": 4, "face": 6, "voice": 9})
    without = [replace(whole, streams={**whole.streams, "text": whole.streams["text"].rows(np.delete(np.arange(4), k))}) for k in range(4)]
    count = 0
    prepared = StreamInput.prepared

    def counted(self: StreamInput, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        return prepared(self, *arguments)

    monkeypatch.setattr(StreamInput, "prepared", counted)
    together = predictor.predict([whole, *without], attention=False)
    assert count == 5 + 2
    for one, expected in zip([whole, *without], together, strict=True):
        alone = predictor.predict([one], attention=False)[0]
        np.testing.assert_allclose(list(alone.probabilities.values()), list(expected.probabilities.values()), rtol=0, atol=1e-6)


def test_the_temperature_divides_the_logits(checkpoint_of: Make) -> None:
    checkpoint, module = checkpoint_of("mult")
    said = [utterance(1, {"text": 3, "voice": 5})]
    cool = Predictor(checkpoint, module).predict(said)[0].probabilities
    plain = Predictor(dataclasses.replace(checkpoint, temperature=1.0), module).predict(said)[0].probabilities
    softened = np.array(list(plain.values())) ** (1 / 1.5)
    np.testing.assert_allclose(list(cool.values()), softened / softened.sum(), rtol=1e-9)


def test_a_prior_multiplies_the_probabilities(checkpoint_of: Make) -> None:
    checkpoint, module = checkpoint_of("mult")
    said = [utterance(1, {"text": 3, "voice": 5})]
    even = Predictor(checkpoint, module).predict(said)[0].probabilities
    prior = dict(zip(EMOTIONS, (0.05, 0.05, 0.1, 0.1, 0.1, 0.1, 0.5), strict=True))
    predictor = Predictor(checkpoint, module, prior=prior)
    prediction = predictor.predict(said)[0]
    weighed = np.array([even[e] * prior[e] for e in EMOTIONS])
    np.testing.assert_allclose([prediction.probabilities[e] for e in EMOTIONS], weighed / weighed.sum(), rtol=1e-9)
    assert prediction.confidence == max(prediction.probabilities.values()) and predictor.provenance.options["prior"] == prior


def test_columns_that_do_not_fit_name_both_lists(checkpoint_of: Make) -> None:
    predictor = Predictor(*checkpoint_of("mult"))
    said = utterance(1, {"text": 3})
    other = TimedSequence("voice", ("pitch",), np.zeros((1, 1), np.float32), np.zeros(1), np.ones(1), MADE)
    with pytest.raises(CheckpointError, match=r"voice: the model reads voice_0, .*voice_3, but made has pitch; missing: voice_0"):
        predictor.predict([Utterance(said.span, "", {**said.streams, "voice": other})])


def test_an_utterance_without_any_stream_is_an_error(checkpoint_of: Make) -> None:
    predictor = Predictor(*checkpoint_of("mult"))
    with pytest.raises(CheckpointError, match=r"reads text, face, voice, and the utterance at 3.00-10.00 s has none of them"):
        predictor.predict([utterance(1, {})])


def test_a_stream_that_was_not_extracted_counts_as_absent(checkpoint_of: Make) -> None:
    predictor = Predictor(*checkpoint_of("mult"))
    said = utterance(1, {"text": 3, "voice": 4})
    without = Utterance(said.span, "", {k: v for k, v in said.streams.items() if k != "face"})
    assert predictor.predict([said])[0].probabilities == predictor.predict([without])[0].probabilities


def test_a_stream_alone_hands_out_its_own_maps(checkpoint_of: Make) -> None:
    predictor = Predictor(*checkpoint_of("mult"))
    alone, both = predictor.predict([utterance(1, {"voice": 5}), utterance(2, {"text": 3, "voice": 5})])
    assert {(m.kind, m.target, m.source) for m in alone.attention} == {("memory", "voice", "voice")}
    assert {m.kind for m in both.attention} == {"cross"}


def test_batches_stay_within_their_bound_and_hold_everyone() -> None:
    sizes = [5, 100, 7, 7, 3, 40, 40, 1]
    groups = list(batches(sizes, max_cells=3200))
    assert sorted(i for g in groups for i in g) == list(range(8))
    for group in groups:
        assert len(group) == 1 or len(group) * max(sizes[i] for i in group) ** 2 <= 3200
    assert len(groups) < 5


def test_not_measured_becomes_the_training_mean() -> None:
    values = np.array([[np.nan, 3.0], [1.0, np.nan]], np.float32)
    stream = TimedSequence("voice", ("a", "b"), values, np.array([0.0, 1.0]), np.array([1.0, 2.0]), MADE)
    batch = Batch.of([stream], Scaling(np.array([0.0, 1.0]), np.array([1.0, 2.0])))
    assert batch.values.tolist() == [[[0.0, 1.0], [1.0, 0.0]]]
    assert batch.times.tolist() == [[0.5, 1.5]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_streams_are_padded_on_either_side(side: str) -> None:
    said = [utterance(i, {"voice": n}) for i, n in enumerate((2, 0, 4))]
    batch = Batch.of([u.streams["voice"] for u in said], side=side)  # type: ignore[arg-type]
    assert batch.present.sum(1).tolist() == [2, 0, 4]
    assert batch.present[0].tolist() == ([True, True, False, False] if side == "right" else [False, False, True, True])
    np.testing.assert_array_equal(batch.values[0][batch.present[0]], said[0].streams["voice"].values)


def test_a_batch_of_absent_streams_is_one_absent_row() -> None:
    batch = Batch.of([utterance(1, {}).streams["voice"]])
    assert batch.present.tolist() == [[False]]


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(StreamError, match=r"expected values \(b, n, f\)"):
        Batch(torch.zeros(2, 3, 4), torch.zeros(2, 4), torch.ones(2, 3, dtype=torch.bool))


def test_scaling_is_fitted_on_what_was_measured() -> None:
    rows = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan]], np.float32)
    scaling = Scaling.fit(rows)
    assert scaling.mean.tolist() == [2.0, 5.0, 0.0] and scaling.deviation.tolist() == [1.0, 1.0, 1.0]
    assert scaling.apply(np.array([[100.0, 5.0, 0.0]], np.float32)).tolist() == [[5.0, 0.0, 0.0]]


def test_a_device_without_room_gets_half_batches(checkpoint_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(*checkpoint_of("mult"))
    said = [utterance(i, {"text": 4, "face": 3, "voice": 9}) for i in range(5)]
    expected = predictor.predict(said)
    sizes: list[int] = []
    forward = predictor.module.forward

    def small(padded: dict[str, Any], **more: Any) -> Any:
        sizes.append(len(padded["text"].values))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(padded, **more)

    monkeypatch.setattr(predictor.module, "forward", small)
    predictions = predictor.predict(said)
    assert sizes == [5, 2, 3, 1, 2]
    for one, two in zip(predictions, expected, strict=True):
        np.testing.assert_allclose(list(one.probabilities.values()), list(two.probabilities.values()), rtol=0, atol=1e-6)

    def none(padded: dict[str, Any], **more: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(predictor.module, "forward", none)
    with pytest.raises(OutOfMemory, match="one item alone does not fit"):
        predictor.predict(said)
