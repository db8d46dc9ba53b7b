"""The checkpoints that come with the package: they fit our own streams, answer from any subset, and say what people must know."""

from __future__ import annotations

import json

import numpy as np
import pytest

from emofuse.extractors import EXTRACTORS
from emofuse.fusion.predictor import Predictor
from emofuse.fusion.shipped import DEFAULT, FOLDER, description, locate, provenance_of, shipped
from emofuse.pipeline.results import Prediction, Utterance
from emofuse.pipeline.streams import EMOTIONS, MODALITIES
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

NAMES = ("delta", "mcr", "mult", "pmr", "rrnn")
BY = Provenance("made", "1")
ROWS = {"text": 6, "face": 75, "voice": 300}


def streams(predictor: Predictor, names: tuple[str, ...]) -> dict[str, TimedSequence]:
    """Seeded rows of three seconds in the columns that the model reads."""
    made = {}
    for name in names:
        columns, edges = predictor.wants[name], np.linspace(5, 8, ROWS[name] + 1)
        values = np.random.default_rng(1).uniform(0, 1, (ROWS[name], len(columns))).astype(np.float32)
        made[name] = TimedSequence(name, columns, values, edges[:-1], edges[1:], BY)
    return made


def answer(predictor: Predictor, names: tuple[str, ...], *, attention: bool = True) -> Prediction:
    given = streams(predictor, names)
    rows = {name: np.arange(len(stream)) for name, stream in given.items()}
    return predictor.predict([Utterance(Span(5, 8), "", given, rows)], attention=attention)[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prior", [None, {emotion: (i + 1) / 28 for i, emotion in enumerate(EMOTIONS)}])
def test_the_description_alone_says_what_the_loaded_model_says_of_itself(name: str, prior: dict[str, float] | None) -> None:
    path = locate(name)
    assert provenance_of(description(path), path.name, prior).to_json() == Predictor.load(path, prior=prior).provenance.to_json()


def test_five_are_shipped_in_at_most_25_megabytes() -> None:
    assert tuple(shipped()) == NAMES and DEFAULT in NAMES
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 25e6


@pytest.mark.parametrize("name", NAMES)
def test_they_read_what_the_default_providers_fill(name: str) -> None:
    wants = {stream: set(about["columns"]) for stream, about in description(locate(name))["streams"].items()}
    assert set(wants) == set(MODALITIES)
    chosen = {s: next(p for p in EXTRACTORS[s] if p.auto and p.columns and wants[s] <= set(p.columns)) for s in MODALITIES}
    assert {s: p.name for s, p in chosen.items()} == {"text": "minilm", "face": "compact", "voice": "joined"}
    assert wants["face"] <= {column for provider in EXTRACTORS["face"] if provider.name == "pyfeat" for column in provider.columns}
    assert len(wants["text"]) == 384 and len(wants["voice"]) == 385


@pytest.mark.parametrize("name", NAMES)
def test_every_subset_gets_an_answer_and_its_attention(name: str) -> None:
    predictor = Predictor.load(locate(name))
    for subset in (("text", "face", "voice"), ("face", "voice"), ("text", "voice"), ("text", "face"), ("text",), ("face",), ("voice",)):
        prediction = answer(predictor, subset)
        assert tuple(prediction.probabilities) == EMOTIONS and sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.sentiment is not None and -3 <= prediction.sentiment <= 3
        assert prediction.attention
        for a in prediction.attention:
            assert a.weights.shape[2:] == (len(a.target_start), len(a.source_start))
            assert a.weights.sum(-1) == pytest.approx(1, abs=1e-4)
        assert answer(predictor, subset, attention=False).probabilities == pytest.approx(prediction.probabilities, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_people_must_know(name: str) -> None:
    about = description(locate(name))
    card = json.dumps(about["card"])
    for word in ("RAVDESS", "CC BY-NC-SA", "GPL-3.0", "FER2013", "hiring", "AI Act", "composed", "even"):
        assert word in card
    numbers = about["card"]["numbers"]
    assert {"text", "face", "voice", "text+face+voice"} <= set(numbers["validation"])
    assert set(about["temperatures"]) == {k for k in numbers["validation"] if set(k.split("+")) <= set(MODALITIES)}


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_of_the_face_network_that_is_shipped(name: str) -> None:
    from emofuse.extractors.face.compact.extractor import WEIGHTS_SHA256

    assert description(locate(name))["card"]["numbers"]["face_network"] == WEIGHTS_SHA256
