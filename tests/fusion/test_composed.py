"""How the shipped checkpoints are trained: the splits, what an utterance is put together from, scores, a whole (tiny) run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.extractors.voice.covarep.voice import CovarepVoice
from emofuse.fusion.batch import Batch, Scaling
from emofuse.fusion.calibration import fit_temperature
from emofuse.fusion.checkpoints import load
from emofuse.fusion.outputs import Map, Output
from emofuse.pipeline.baseline import Tally, deviation
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, TimedSequence
from training.fusion_checkpoints.__main__ import make, measure, write_cards
from training.fusion_checkpoints.composer import (
    MOST_WORDS,
    PHRASE,
    SUBSETS,
    Composer,
    Member,
    Pool,
    Shares,
    baselined,
    collate,
    drowned,
    placed,
)
from training.fusion_checkpoints.evidence import pointing
from training.fusion_checkpoints.extract_voices import distorted
from training.fusion_checkpoints.faces import NEUTRAL, Talking, logarithms, stream_of
from training.fusion_checkpoints.material import Prepared, Speakers, material
from training.fusion_checkpoints.occlusion import occlusion
from training.fusion_checkpoints.scores import calibration_error, error_of_luck, even_weights, f1, interval, score, uar
from training.fusion_checkpoints.sets import composed_set, subset_sets
from training.fusion_checkpoints.training import Recipe, Stages, fresh, learn_stages, loss_of, train
from training.fusion_checkpoints.voices import Clip, Row, spoken, varied

FACE = ("Pitch", "Roll", "Yaw", "AU12", "AU26", *EMOTIONS)
MODELS = ("mult", "pmr", "mcr", "rrnn", "delta")


def write_features(folder: Path) -> Path:
    """Small cached features: 4 actors x 8 emotions, 40 photographs of each emotion, texts whose first column is their label."""
    random = np.random.default_rng(1)
    names = [f"03-01-0{e}-01-0{s}-01-0{a}" for e in range(1, 9) for s in (1, 2) for a in range(1, 5)]
    lengths = random.integers(60, 90, len(names))
    values = random.normal(size=(lengths.sum(), len(CovarepVoice.columns))).astype(np.float32)
    values[:, CovarepVoice.columns.index("VUV")] = 1
    values[:, CovarepVoice.columns.index("F0")] = 180
    for copy in (0, 1, 2):
        np.savez(folder / f"voice_{copy}.npz", values=values, lengths=lengths, names=names, columns=CovarepVoice.columns)
    labels = np.repeat(np.arange(7), 40)
    faces = np.concatenate([random.uniform(0, 0.5, (280, 3, 5)), random.dirichlet(np.ones(7), (280, 3))], axis=2).astype(np.float32)
    part = np.array(["test", "train", "validation", "test"])[np.arange(280) % 4]
    np.savez(
        folder / "faces.npz", values=faces, labels=labels, source=np.full(280, "made"), part=part, share=np.arange(280) * 7 % 100,
        columns=FACE, network="0" * 64,
    )  # fmt: skip
    np.savez(folder / "talking.npz", values=faces[:60, 0], lengths=[30, 30], columns=FACE)
    for name, n in (
        *((f"text_{s}", 42) for s in ("train", "dev", "test")),
        *((f"mosi_{s}", 12) for s in ("train", "dev", "test")),
        ("spoken", 6),
    ):
        length = random.integers(2, 8, n)
        label = np.linspace(-3, 3, n) if "mosi" in name else np.arange(n) % 7 if "text" in name else np.full(n, NEUTRAL)
        rows = random.normal(size=(length.sum(), 5))
        rows[:, 0] = 9 if name == "spoken" else np.repeat(label, length)
        np.savez(
            folder / f"{name}.npz", values=rows.astype(np.float16), lengths=length, labels=label, columns=[f"t{i}" for i in range(5)],
            source=np.where(np.arange(n) % 2, "meld", "goemotions"), damaged=np.arange(n) % 3 == 2,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return material(write_features(tmp_path_factory.mktemp("features")), Speakers(valid=(3,), test=(4,)), 1, variations=1)


def test_speakers_and_photographs_keep_to_their_split(made: Prepared) -> None:
    assert {s: set(m.voice.group) for s, m in made.splits.items()} == {"train": {1, 2}, "valid": {3}, "test": {4}}
    assert len(made.splits["train"].voice.rows) == 96 and len(made.splits["valid"].voice.rows) == 16  # copies train, and only train
    rough = made.splits["valid"].rough
    assert rough is not None and len(rough.rows) == 16 and set(rough.group) == {3} and made.splits["train"].rough is None
    counts = made.facts["photographs"]
    assert isinstance(counts, dict) and sum(counts.values()) == 280 and min(counts.values()) > 15
    assert len(made.splits["test"].face.rows) == counts["test"]


def test_an_utterances_parts_have_its_label(made: Prepared) -> None:
    train = made.splits["train"]
    labels = {
        name: {id(row): k for row, k in zip(pool.rows, pool.labels, strict=True)}
        for name, pool in (("face", train.face), ("voice", train.voice))
    }
    honest = Composer(train, Shares(neutral_text=0, wrong_text=0, neutral_face=0, neutral_voice=0), seed=1)
    for label in range(7):
        member = honest.member(("text", "face", "voice"), label)
        assert member.text is not None and (member.text[:, 0] == label).all()
        assert labels["face"][id(member.face)] == labels["voice"][id(member.voice)] == member.label == label
    mute = Composer(train, Shares(neutral_text=1, wrong_text=0, neutral_face=1, neutral_voice=1), seed=1)
    for label in range(7):
        member = mute.member(("text", "face", "voice"), label)
        assert member.label == label and labels["voice"][id(member.voice)] == label  # one stream always carries it
        assert labels["face"][id(member.face)] == NEUTRAL
        assert member.text is not None and member.text[0, 0] in (9, NEUTRAL)


def test_batches_hold_every_subset_and_label_as_often_as_they_should(made: Prepared) -> None:
    shares = Shares()
    assert sum(shares.subsets) == pytest.approx(1)
    batches = Composer(made.splits["train"], shares, seed=2).batches(100)
    members = [m for _ in range(40) for (part,) in [next(batches)] for m in part]
    emotional = [m for m in members if m.label >= 0]
    assert 1 - len(emotional) / len(members) == pytest.approx(shares.sentiment, abs=0.03)
    assert np.abs(np.bincount([m.label for m in emotional]) / len(emotional) - 1 / 7).max() < 0.03
    subsets = [tuple(n for n in ("text", "face", "voice") if getattr(m, n) is not None) for m in emotional]
    for subset, share in zip(SUBSETS, shares.subsets, strict=True):
        assert subsets.count(subset) / len(subsets) == pytest.approx(share, abs=0.03)
    _, words = next(Composer(made.splits["train"], shares, seed=2).batches(3, texts=50))
    assert len(words) == 50 and all(m.text is not None and m.face is None and m.voice is None for m in words)


def test_batches_are_padded_on_one_clock(made: Prepared) -> None:
    scalings = {name: read.scaling for name, read in made.inputs.items()}
    members = [Composer(made.splits["train"], Shares(), seed=s).member(("text", "face", "voice"), s) for s in range(7)]
    for random in (None, np.random.default_rng(1)):
        batch = collate(members, scalings, random)
        assert torch.isfinite(batch.streams["voice"].values).all() and batch.labels.tolist() == list(range(7))
        for b, member in enumerate(members):
            assert member.voice is not None
            for stream in batch.streams.values():
                times = stream.times[b][stream.present[b]]
                assert len(times) and (times.diff() > 0).all() and times.min() >= 0 and times.max() <= member.voice.seconds + 0.2


def test_a_made_face_moves_and_comes_and_goes() -> None:
    random = np.random.default_rng(4)
    apex, rest = (np.full((3, 12), 0.02, np.float32) for _ in range(2))
    apex[:, 4] = rest[:, 4] = 0.4
    apex[:, 5 + EMOTIONS.index("happiness")], rest[:, 5 + NEUTRAL] = 0.88, 0.88
    apex[:, 3] = 0.9
    talking = Talking((random.normal(0, 0.05, (200, 12)),))
    happiest = []
    for _ in range(60):
        rows = stream_of(logarithms(apex), logarithms(rest), EMOTIONS.index("happiness"), talking, 60, random)
        np.testing.assert_allclose(rows[:, 5:].sum(1), 1, atol=1e-5)
        assert rows[:, 3:5].min() >= 0 and rows[:, 3:5].max() <= 1
        assert (rows.std(0) > 1e-4).all()  # never a constant
        happiest.append(rows[:, 5 + EMOTIONS.index("happiness")])
    spread = np.array([(h > 0.5).mean() for h in happiest])
    assert (spread > 0.95).any() and (spread < 0.2).any()  # the whole time in some, hardly in others


def test_voices_are_cut_to_speech_and_vary() -> None:
    columns = CovarepVoice.columns
    rows = np.ones((300, len(columns)), np.float32)
    rows[:, columns.index("VUV")] = (np.arange(300) >= 100) & (np.arange(300) < 180)
    assert 118 <= len(spoken(rows, columns, 0.2, 0.2)) <= 122
    rows[:, columns.index("VUV")] = 0
    assert len(spoken(rows, columns)) == 300
    rows[100:180, columns.index("VUV")] = 1
    copies = [varied(rows, columns, np.random.default_rng(s)) for s in range(8)]
    assert len({len(c) for c in copies}) > 4
    assert np.std([c[0, columns.index("MCEP_0")] for c in copies]) > 0.3
    assert rows.max() == 1  # the clip itself is left alone


def test_scores_solved_by_hand() -> None:
    labels, said = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    np.testing.assert_allclose(even_weights(labels), [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert uar(labels, said) == pytest.approx((2 / 3 + 1) / 2)
    assert f1(labels, said) == pytest.approx(((0.8 + 2 / 3) / 2, 0.75 * 0.8 + 0.25 * 2 / 3))
    shares = np.eye(7)[said] * 0.8 + 0.1 * np.eye(7)[[6, 6, 6, 6]] + 0.1 * np.eye(7)[[5, 5, 5, 5]]
    assert calibration_error(shares, labels) == pytest.approx(5 / 6 - 0.8)  # all in one bin, sure by 0.8, right by 5/6
    assert calibration_error(shares, labels, even=False) == pytest.approx(0.8 - 3 / 4)  # three of four right
    low, high = interval(labels, labels, ["a", "a", "b", "b"])
    assert (low, high) == (pytest.approx(1), pytest.approx(1))
    assert score(torch.eye(8)[torch.from_numpy(said)], labels, 1.0).accuracy == 0.75


def test_the_calibration_error_of_luck_is_the_binomials_spread() -> None:
    said, labels = np.zeros(100, np.intp), np.arange(100) % 7
    shares = np.eye(7)[said] * 0.8 + np.eye(7)[said + 1] * 0.2
    by_hand = (2 * 0.8 * 0.2 / (np.pi * 100)) ** 0.5  # of a share of 100 about 0.8, all in one bin
    assert error_of_luck(shares, labels, even=False) == pytest.approx(by_hand, abs=0.006)
    assert error_of_luck(np.repeat(shares, 100, 0), np.repeat(labels, 100), even=False) == pytest.approx(by_hand / 10, abs=0.001)
    assert calibration_error(shares, labels, even=False) > 0.6  # 15 of 100 are right


def test_the_temperature_undoes_a_known_sharpening() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4000, 7, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]  # labels as uncertain as the logits say
    assert fit_temperature(2 * logits, labels) == pytest.approx(2, rel=0.1)
    half = torch.cat([torch.full((2000,), 1 / 2000), torch.zeros(2000)])
    sharp = torch.cat([3 * logits[:2000], logits[2000:]])
    assert fit_temperature(sharp, labels, half) == pytest.approx(3, rel=0.15)  # only what has weight counts


def test_the_loss_asks_only_what_is_known() -> None:
    logits = torch.zeros(2, 8, requires_grad=True)
    loss_of(logits, torch.tensor([3, -1]), torch.tensor([float("nan"), 2.0]), torch.zeros(2, 7), Recipe("rrnn", {})).backward()
    assert logits.grad is not None
    assert logits.grad[0, -1] == 0 and (logits.grad[1, :-1] == 0).all() and logits.grad[0, 3] < 0 and logits.grad[1, -1] < 0


def test_a_prior_of_the_draw_is_not_learned() -> None:
    """Answers of an even prior have the least loss under the draw's: p(k | x) under the draw is its prior times the even answer."""
    drawn = torch.tensor([0.7, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])
    recipe = Recipe("rrnn", {}, smoothing=0.0)
    nothing = torch.full((100,), float("nan"))
    labels = torch.cat([torch.zeros(70), torch.arange(1, 7).repeat(5)]).long()
    logits = torch.zeros(100, 8, requires_grad=True)  # says nothing: even
    loss = loss_of(logits, labels, nothing, drawn.log().repeat(100, 1), recipe)
    assert loss.item() == pytest.approx(-(0.7 * np.log(0.7) + 0.3 * np.log(0.05)), rel=1e-5)
    loss.backward()
    assert logits.grad is not None and logits.grad.sum(0).abs().max() < 1e-6  # nowhere to go


def test_words_alone_are_drawn_by_the_root_of_their_number(made: Prepared) -> None:
    train = made.splits["train"]
    few = dataclasses.replace(train.texts, labels=np.where(np.arange(len(train.texts)) < 36, 0, 1)[: len(train.texts)])
    composer = Composer(dataclasses.replace(train, texts=few), Shares(), seed=1)
    amount = np.bincount(few.labels, minlength=7) ** 0.5
    members = [composer.words() for _ in range(2000)]
    share = np.bincount([m.label for m in members], minlength=7) / 2000
    np.testing.assert_allclose(share, amount / amount.sum(), atol=0.03)
    assert members[0].prior is not None
    np.testing.assert_allclose(np.exp(members[0].prior), amount / amount.sum(), atol=1e-6)


def test_one_stream_of_several_is_drowned_where_a_recipe_asks_for_it(made: Prepared) -> None:
    composer = Composer(made.splits["train"], Shares(noise=0.5), seed=1)
    members = [composer.member(("text", "face", "voice"), 2) for _ in range(400)]
    share = np.mean([m.drowned != "" for m in members])
    assert 0.42 < share < 0.58 and {m.drowned for m in members} == {"", "text", "face", "voice"}
    assert all(composer.member(("voice",), 2).drowned == "" for _ in range(50))
    whole = next(m for m in members if m.drowned == "")
    scalings = {name: read.scaling for name, read in made.inputs.items()}
    before, after = (collate([m], scalings, np.random.default_rng(1)).streams for m in (whole, dataclasses.replace(whole, drowned="face")))
    n = min(before["face"].values.shape[1], after["face"].values.shape[1])
    assert (before["face"].values[:, :n] - after["face"].values[:, :n]).abs().mean() > 0.5
    assert torch.equal(before["text"].values, after["text"].values)
    values = np.full((4000, 3), 2.0, np.float32)
    half = drowned(values, 0.5, np.random.default_rng(1))
    assert half.mean() == pytest.approx(2 * 0.5**0.5, abs=0.03) and half.std() == pytest.approx(0.5**0.5, abs=0.03)


def test_every_subset_is_measured_on_each_validation_voice(made: Prepared) -> None:
    sets = subset_sets(made.splits["valid"], seed=1)
    assert list(sets) == ["+".join(s) for s in SUBSETS]
    assert len(sets["text+face+voice"]) == 2 * len(sets["voice"]) == 32
    assert all((m.text is not None, m.face is not None, m.voice is not None) == (False, True, True) for m in sets["face+voice"])
    again = composed_set(made.splits["valid"], ("face", "voice"), seed=1)
    for a, b in zip(sets["face+voice"], again, strict=True):
        assert a.face is not None and b.face is not None and a.voice is not None and b.voice is not None
        assert a.face.values is b.face.values and a.voice.values is b.voice.values and a.voice.usual is None and a.face.usual is None
    known = subset_sets(made.splits["valid"], seed=1, baseline=True)["face+voice"]
    assert all(m.voice is not None and m.voice.others == 15 for m in known)  # all of the actor's clips but itself


@pytest.mark.parametrize("name", MODELS)
def test_a_run_of_every_recipe_writes_a_checkpoint(name: str, made: Prepared, tmp_path: Path) -> None:
    recipe = Recipe.read(name)
    small = Recipe(recipe.model, recipe.config, steps=2, batch=6, checked_every=2)
    checkpoint = make(name, small, made, tmp_path, say=lambda line: None)
    again, _ = load(tmp_path / f"{name}.safetensors")
    assert again.sha256 == checkpoint.sha256
    assert set(again.temperatures) == {"+".join(s) for s in SUBSETS}
    assert again.streams["voice"].preparation == made.inputs["voice"].preparation
    assert "validation" in again.card["numbers"] and "test" not in again.card["numbers"]
    assert again.card["numbers"]["step"] == 2


def test_the_same_recipe_gives_the_same_weights(made: Prepared, tmp_path: Path) -> None:
    recipe = Recipe("rrnn", {"hidden": 4, "attention": 4, "hops": 1}, steps=2, batch=6, checked_every=2)
    first, second = (make("rrnn", recipe, made, tmp_path / n, say=lambda line: None) for n in ("a", "b"))
    assert first.sha256 == second.sha256


def test_the_test_sets_are_opened_only_when_asked(tmp_path: Path) -> None:
    features = write_features(tmp_path)
    recipe = Recipe("rrnn", {"hidden": 4, "attention": 4, "hops": 1}, steps=2, batch=6, checked_every=2, valid=(3, 4))
    prepared = material(features, Speakers(recipe.valid), 1, variations=1, splits=("train", "valid"))
    assert set(prepared.splits) == {"train", "valid"}
    make("rrnn", recipe, prepared, tmp_path / "out", say=lambda line: None)
    measure(tmp_path / "out" / "rrnn.safetensors", features, lambda line: None)
    write_cards(tmp_path / "out", tmp_path / "cards")
    numbers = load(tmp_path / "out" / "rrnn.safetensors")[0].card["numbers"]["test"]
    assert {"text", "face", "text+face", "text, damaged as by a recogniser", "sentiment, mosi"} <= set(numbers)
    assert not any("voice" in key for key in numbers)  # no actor is kept back
    page = (tmp_path / "cards" / "rrnn.md").read_text()
    assert "## Numbers, test" in page and "diagnosis" in page and f"| text | {numbers['text']['utterances']} |" in page


def test_the_step_is_the_best_by_the_check_or_without_one_the_last(made: Prepared) -> None:
    recipe = Recipe("rrnn", {"hidden": 4, "attention": 4, "hops": 1}, steps=4, batch=6, checked_every=1)
    seen: list[dict[str, torch.Tensor]] = []

    def run(scores: list[float]) -> tuple[dict[str, torch.Tensor], int]:
        def check(average: torch.nn.Module) -> dict[str, float]:
            seen.append({k: v.clone() for k, v in average.state_dict().items()})
            return {"made up": scores[len(seen) - 1]}

        _, module = fresh(recipe, made.inputs)
        module, step = train(recipe, module, made.inputs, made.splits["train"], check if scores else None, lambda line: None)
        return module.state_dict(), step

    chosen, best = run([0.1, 0.2, 0.9, 0.3])
    final, last = run([])
    assert (best, last, len(seen)) == (3, 4, 4)
    assert all(torch.equal(seen[2][k], v) for k, v in chosen.items())
    assert all(torch.equal(seen[3][k], v) for k, v in final.items())
    assert any(not torch.equal(chosen[k], v) for k, v in final.items())


def test_an_unknown_recipe_is_one_line() -> None:
    with pytest.raises(UsageError, match="expected delta, mcr, mult, pmr, rrnn"):
        Recipe.read("magic")


def test_scaling_reads_prepared_columns(made: Prepared) -> None:
    for read in made.inputs.values():
        assert isinstance(read.scaling, Scaling) and len(read.scaling.mean) == read.width


def flat(value: float, n: int, columns: int = 3) -> Row:
    """A stream of n rows, one every 0.1 s, that say `value` everywhere."""
    return Row(np.full((n, columns), value, np.float16), np.arange(n, dtype=np.float64) * 0.1 + 0.05, n * 0.1)


def test_placed_evidence_is_the_loudest_stretch_and_where_it_is_said_to_be() -> None:
    strong = flat(5.0, 20)
    strong.values[8:14] = 9.0
    for seed in range(20):
        made = placed(flat(0.0, 40), strong, np.random.default_rng(seed))
        there = made.values[:, 0] > 0
        assert 4 <= there.sum() <= 12 and made.evidence is not None
        assert (made.values[there] == 9).any() and made.seconds == pytest.approx(4.0)
        marked = (made.times >= made.evidence[0]) & (made.times < made.evidence[1])
        np.testing.assert_array_equal(marked, there)


def test_words_with_a_place_stand_between_neutral_ones(made: Prepared) -> None:
    composer = Composer(made.splits["train"], Shares(placed_text=1.0, neutral_text=0, wrong_text=0), seed=1)
    members = [composer.member(("text",), label) for label in range(7) for _ in range(30)]
    for member in members:
        if member.label == NEUTRAL:
            assert member.phrase is None
        elif member.phrase is not None:
            first, end = member.phrase
            assert member.text is not None and end - first <= PHRASE and len(member.text) <= MOST_WORDS
            assert (member.text[first:end, 0] == member.label).all()
            assert np.isin(np.delete(member.text[:, 0], np.arange(first, end)), (9, NEUTRAL)).all()
    assert sum(member.phrase is not None for member in members) > 150


def test_a_baseline_is_of_the_same_person_and_microphone_and_not_of_the_clip_itself() -> None:
    rows = [flat(float(i), 10) for i in range(12)]
    clips, copies = np.array([str(i % 6) for i in range(12)]), np.array([i // 6 for i in range(12)])
    pool = Pool(rows, np.arange(12) % 3, np.array([0, 0, 0, 1, 1, 1] * 2), None, clips, copies)
    known = pool.with_whole_usual(0)
    assert known.usual is not None and known.others == 2 and known.usual[0] == pytest.approx((1 + 2) / 2)
    assert pool.with_whole_usual(9).usual[0] == pytest.approx((10 + 11) / 2)  # type: ignore[index]
    none = pool.with_usual(rows[0], 0, 0, np.random.default_rng(1))
    assert none.usual is None and none.others == 0
    few = pool.with_usual(rows[0], 0, 20, np.random.default_rng(1))
    assert few.others <= 2 and few.usual is not None


def test_a_baseline_moves_rows_as_the_predictor_moves_them() -> None:
    """`collate` and pipeline/baseline.py say the same of the same clips."""
    random = np.random.default_rng(3)
    columns, everybody = ("a", "b"), np.array([0.3, -0.2], np.float32)
    clips = [random.normal(i, 1, (20, 2)).astype(np.float16) for i in range(4)]
    start = np.arange(20, dtype=np.float64) * 0.1
    streams = [TimedSequence("voice", columns, c.astype(np.float32), start, start + 0.1, Provenance("t", "1")) for c in clips]
    usual = Tally.all_of(columns, [Tally.of(s) for s in streams[1:]]).usual()
    expected = deviation(streams[0], usual, everybody).values
    pool = Pool([Row(c, start + 0.05, 2.0) for c in clips], np.zeros(4, np.intp), np.zeros(4, np.intp), None, np.array(list("abcd")))
    moved = baselined(pool.with_whole_usual(0), Scaling(everybody, np.ones(2, np.float32)))
    np.testing.assert_allclose(moved, expected, atol=2e-3)  # the pool's rows are half precision


class Looks(torch.nn.Module):
    """A model whose attention goes to the rows of one stream whose first column is large, from every other stream alike."""

    def forward(self, streams: dict[str, Batch], maps: tuple[str, ...] = ()) -> Output:
        maps_made = []
        for target, source in (("text", "voice"), ("face", "voice"), ("voice", "text"), ("voice", "face")):
            values, present = streams[source].values[..., 0], streams[source].present
            weights = (
                values.masked_fill(~present, -torch.inf).softmax(1)[:, None, None, :].expand(-1, 1, streams[target].present.shape[1], -1)
            )
            maps_made.append(Map("cross", target, source, (weights * streams[target].present[:, None, :, None])[None]))
        nothing = torch.zeros(len(streams["text"].values), 8)
        return Output(nothing, nothing, tuple(maps_made))


def test_pointing_says_how_much_attention_the_placed_rows_get() -> None:
    voice = placed(flat(0.0, 40), flat(np.log(10.0), 40), np.random.default_rng(1), (0.1, 0.1))  # 4 rows of weight 10 among 36 of 1
    text = np.zeros((10, 3), np.float16)
    text[4] = np.log(10.0)
    member = Member(text, flat(0.0, 10), voice, 1, phrase=(4, 5))
    calm = Member(text * 0, flat(0.0, 10), flat(0.0, 40), NEUTRAL)
    scalings = {name: Scaling(np.zeros(3, np.float32), np.ones(3, np.float32)) for name in ("text", "face", "voice")}
    summary = pointing(Looks(), [member, calm], scalings)
    assert set(summary) == {"text", "voice"}  # the face's evidence has no place
    assert summary["voice"].times_even == pytest.approx(40 / 76 / 0.1, abs=2e-3) and summary["voice"].utterances == 1
    assert summary["voice"].brief == summary["voice"].times_even and np.isnan(summary["voice"].longer)
    assert summary["text"].times_even == pytest.approx(10 / 19 / 0.1, abs=5e-3) and summary["text"].top_two == 1
    assert summary["voice"].border == pytest.approx(1, abs=1e-3)
    share = np.array([10 / 76] * 4 + [1 / 76] * 36)
    assert summary["voice"].perplexity == pytest.approx(float(np.exp(-(share * np.log(share)).sum()) / 40), abs=2e-3)


class Adds(torch.nn.Module):
    """A model whose second emotion's logit is the sum of every present row's first column."""

    def forward(self, streams: dict[str, Batch], maps: tuple[str, ...] = ()) -> Output:
        logits = torch.zeros(len(next(iter(streams.values())).values), 8)
        for stream in streams.values():
            logits[:, 1] += (stream.values[..., 0] * stream.present).sum(1)
        return Output(logits, logits)


def test_occlusion_finds_the_rows_that_the_answer_rests_on() -> None:
    """Of 20 voice rows over 2 s, 5 (one half second) carry a logit of 3; of 10 words one. A fifth of the rows holds 4 of the 5."""
    times = (np.arange(20) + 0.5) / 10
    values = np.zeros((20, 3), np.float16)
    values[5:10, 0] = 0.6
    voice = Row(values, times, 2.0, evidence=(0.5, 1.0))
    text = np.zeros((10, 3), np.float16)
    text[3, 0] = 1.0
    member = Member(text, None, voice, 1, phrase=(3, 4))
    scalings = {name: Scaling(np.zeros(3, np.float32), np.ones(3, np.float32)) for name in ("text", "face", "voice")}
    heat = {"text+voice": 1.0}
    found = occlusion(Adds(), [member], scalings, heat, 1)
    assert found["text"].highest == found["voice"].highest == 1 and set(found) == {"text", "voice", "all"}

    def sure(logit: float) -> float:
        return float(np.exp(logit) / (np.exp(logit) + 6))

    assert found["voice"].top == pytest.approx(sure(4) - sure(4 - 4 * 0.6), abs=2e-3)
    assert found["text"].top == pytest.approx(sure(4) - sure(3), abs=2e-3)
    assert found["all"].top == pytest.approx(sure(4) - sure(3 - 4 * 0.6), abs=2e-3)
    assert 0 <= found["all"].random < found["all"].top
    away = Member(text, None, dataclasses.replace(voice, evidence=(1.5, 2.0)), 1, phrase=(7, 8))
    assert occlusion(Adds(), [away], scalings, heat, 1)["voice"].highest == 0


def test_delta_learns_its_papers_stages_first(made: Prepared) -> None:
    """After the stages, streams answer alone and encodings correlate more than before."""
    config = {
        "channels": 6,
        "heads": 1,
        "width": 8,
        "encoded": 3,
        "fused": 6,
        "kernels": {"text": 1, "face": 1, "voice": 1},
        "dropout": 0.0,
    }
    recipe = Recipe("delta", config, steps=1, batch=8, texts=0, checked_every=1, stages=Stages(streams=5, encoders=25, pairs=40, rate=1e-2))
    lines: list[str] = []
    _, module = fresh(recipe, made.inputs)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    scalings = {name: read.scaling for name, read in made.inputs.items()}
    learn_stages(recipe, Stages(0, 1, 40, 0.0), module, scalings, made.splits["train"], lines.append)  # type: ignore[arg-type]
    learn_stages(recipe, recipe.stages, module, scalings, made.splits["train"], lines.append)  # type: ignore[arg-type]
    first, last = (float(line.rsplit(" ", 1)[1]) for line in lines if "correlation" in line)
    assert last > first + 0.05
    moved = {k.partition(".")[0] for k, v in module.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"fronts", "attention", "encoders"}


def test_names_of_both_corpora_are_read() -> None:
    assert Clip.of("03-01-06-02-01-02-12") == Clip(EMOTIONS.index("fear"), 12, "female strong", "01", "ravdess")
    assert Clip.of("03a01Fa") == Clip(EMOTIONS.index("happiness"), 103, "male normal", "a01", "emodb")
    assert Clip.of("14b09Lb").label == -1  # boredom is none of the seven


def test_all_of_a_persons_clips_go_through_one_microphone_and_room() -> None:
    """The same beginning of a short and a long sound comes out the same but for the noise, which is as many decibels below."""
    random = np.random.default_rng(5)
    tone = (0.5 * np.sin(np.arange(24000) * 0.2) * np.repeat(random.uniform(0.5, 1, 24), 1000)).astype(np.float32)
    for person in range(12):
        short, long = (distorted(x, np.random.default_rng([person, 1]), 1.0, (90, 113)) for x in (tone[:16000], tone))
        assert len(short) / 16000 == pytest.approx(len(long) / 24000, abs=1e-3)
        spectra = [np.abs(np.fft.rfft(x[:12000] * np.hanning(12000))) for x in (short, long)]
        peaks = [int(s.argmax()) for s in spectra]
        assert abs(peaks[0] - peaks[1]) <= 1  # the same speed
        below = [20 * np.log10(np.median(s) / s.max()) for s in spectra]
        assert abs(below[0] - below[1]) < 3  # as much noise
