"""Numbers of utterances, summary and quality solved by hand: each constant and each weight, so that a change of one turns a test red."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.pipeline.clip import Clip, DecodeEnd, MediumEnd
from emofuse.pipeline.media import ClipInfo
from emofuse.pipeline.quality import covered, quality, voiced_share, words_sure
from emofuse.pipeline.results import AnalyzedUtterance, Attention, Prediction, Quality, Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.summary import ends_early, reasons, summary
from emofuse.pipeline.timed import Provenance, Span, TimedSequence
from emofuse.pipeline.utterances import Segmentation, segment, silent, utterance

BY = Provenance("test", "1")
FINE = Quality((), {}, {})


def rows(name: str, spans: list[tuple[float, float]], column: str, values: list[float], **labels: tuple[str, ...]) -> TimedSequence:
    start, end = np.array([a for a, _ in spans], np.float64), np.array([b for _, b in spans], np.float64)
    return TimedSequence(
        name, (column,), np.array(values, np.float32)[:, None], start, end, BY, labels=labels, reason="" if spans else "nothing"
    )


def words(spans: list[tuple[float, float]]) -> TimedSequence:
    return rows("words", spans, "probability", [1.0] * len(spans), word=("w",) * len(spans), speaker=("",) * len(spans))


def spans_of(streams: dict[str, TimedSequence], length: float, **settings: float) -> list[tuple[float, float]]:
    return [(round(s.start, 6), round(s.end, 6)) for s in segment(streams, length, Segmentation(**settings)).spans]


@pytest.mark.parametrize(("gap", "turns"), [(0.5, 1), (0.69, 1), (0.7, 2), (0.71, 2), (0.9, 2)])
def test_a_turn_ends_at_a_pause_of_seven_tenths_and_at_no_other(gap: float, turns: int) -> None:
    pause = 0.25 + gap  # binary fractions: the comparison is exact where it must be
    first, second = (0.0, 0.25), (round(pause, 10), 2.0)
    assert len(segment({"words": words([first, second])}, 3.0).spans) == turns
    voice = rows("voice", [first, second], "VUV", [1.0, 1.0])
    assert len(segment({"voice": voice}, 3.0, Segmentation(shortest_sound=0.0)).spans) == turns


def test_every_setting_moves_what_it_says() -> None:
    pair = {"words": words([(1.0, 2.0), (2.5, 3.0)])}
    assert spans_of(pair, 10.0) == [(0.8, 3.2)]
    assert spans_of(pair, 10.0, pause=0.5) == [(0.8, 2.2), (2.3, 3.2)]
    assert spans_of(pair, 10.0, margin=0.4) == [(0.6, 3.4)]
    assert spans_of(pair, 10.0, pause=0.5, margin=0.4) == [(0.6, 2.25), (2.25, 3.4)], "no further than half way to the neighbour"
    assert spans_of(pair, 3.1) == [(0.8, 3.1)], "and not beyond the clip"
    assert spans_of({"words": words([(0.1, 1.0)])}, 3.0) == [(0.0, 1.2)]
    assert spans_of({}, 25.0) == [(0.0, 8.333333), (8.333333, 16.666667), (16.666667, 25.0)], "windows of ten seconds at most"
    assert spans_of({}, 25.0, window=12.5) == [(0.0, 12.5), (12.5, 25.0)]
    assert spans_of({"words": words([(0.0, 31.0)])}, 31.0) == [(0.0, 10.333333), (10.333333, 20.666667), (20.666667, 31.0)]
    assert spans_of({"words": words([(0.0, 16.0)])}, 16.0, longest=20.0) == [(0.0, 16.0)]


@pytest.mark.parametrize(("seconds", "by"), [(0.29, "windows"), (0.3, "voice"), (0.31, "voice")])
def test_the_shortest_sound_is_three_tenths(seconds: float, by: str) -> None:
    assert segment({"voice": rows("voice", [(1.0, 1.0 + seconds)], "VUV", [1.0])}, 3.0).by == by


def prediction(happiness: float, sentiment: float | None = None, confidence: float = 0.5) -> Prediction:
    return Prediction({e: happiness if e == "happiness" else (1 - happiness) / 6 for e in EMOTIONS}, sentiment, confidence)


def said(index: int, start: float, end: float, answer: Prediction | None) -> AnalyzedUtterance:
    return AnalyzedUtterance(index, Span(start, end), "", answer, FINE)


def test_the_summary_weighs_each_utterance_by_its_seconds() -> None:
    one, three = said(0, 0.0, 1.0, prediction(0.9, 2.0, 0.9)), said(1, 1.0, 4.0, prediction(0.1, -2.0, 0.5))
    whole = summary([one, three, said(2, 4.0, 9.0, None)])
    assert whole is not None and whole.sentiment is not None
    assert whole.probabilities["happiness"] == pytest.approx((1 * 0.9 + 3 * 0.1) / 4)
    assert whole.sentiment == pytest.approx((1 * 2 - 3 * 2) / 4) and whole.confidence == max(whole.probabilities.values())
    assert sum(whole.probabilities.values()) == pytest.approx(1)
    mixed = summary([one, said(1, 1.0, 4.0, prediction(0.1))])
    assert mixed is not None and mixed.sentiment is None, "of some only: none of the whole"
    assert summary([said(0, 0.0, 5.0, None)]) is None and summary([]) is None
    momentary = summary([said(0, 1.0, 1.0, prediction(0.8)), said(1, 1.0, 1.0, prediction(0.4))])
    assert momentary is not None and momentary.probabilities["happiness"] == pytest.approx(0.6)


def piece(**streams: TimedSequence) -> Utterance:
    return Utterance(Span(0.0, 10.0), "", streams)


def test_coverage_counts_each_moment_once_and_only_within() -> None:
    assert covered(rows("face", [(-5, 1), (0.5, 2), (1.0, 1.5), (9.0, 30.0)], "a", [1] * 4), piece()) == pytest.approx(0.3)
    assert covered(rows("face", [(-5, 99), (0, 50)], "a", [1, 1]), piece()) == 1.0
    assert covered(rows("face", [], "a", []), piece()) == 0.0


@pytest.mark.parametrize(("share", "sparse"), [(0.49, True), (0.5, False), (0.51, False)])
def test_a_face_is_sparse_below_half_of_the_time(share: float, sparse: bool) -> None:
    face = rows("face", [(0.0, 10 * share)], "face_id", [0])
    assert ("sparse_face" in quality(piece(face=face), {}).flags) is sparse


@pytest.mark.parametrize(("sure", "flag"), [(0.59, True), (0.6, False), (0.75, False)])
def test_words_count_from_a_mean_probability_of_six_tenths(sure: float, flag: bool) -> None:
    spoken = rows("words", [(0, 1), (1, 2), (20, 21)], "probability", [sure + 0.25, sure - 0.25, 0.0], word=("a",) * 3, speaker=("",) * 3)
    assert ("uncertain_words" in quality(piece(), {"words": spoken}).flags) is flag
    assert words_sure(spoken, Span(0, 10)) == pytest.approx(sure)
    text = rows("text", [(0, 1)], "t", [1.0], word=("a",))
    assert (len(utterance(Span(0, 10), {"words": spoken, "text": text}).streams["text"]) == 0) is flag


@pytest.mark.parametrize(("voiced", "weak"), [(9, True), (10, False), (11, False)])
def test_a_voice_is_weak_below_a_tenth(voiced: int, weak: bool) -> None:
    voice = rows("voice", [(i / 10, (i + 1) / 10) for i in range(100)], "VUV", [0.51] * voiced + [0.5] * (100 - voiced))
    assert voiced_share(voice) == pytest.approx(voiced / 100)
    assert ("weak_voice" in quality(piece(voice=voice), {}).flags) is weak
    assert voiced_share(None) == voiced_share(rows("voice", [], "VUV", [])) == voiced_share(rows("voice", [(0, 1)], "rms", [0])) == 1


@pytest.mark.parametrize(("rms", "nothing"), [(0.00099, True), (0.001, False), (0.0011, False)])
def test_sixty_decibels_below_full_scale_is_silence(rms: float, nothing: bool) -> None:
    voice = rows("voice", [(0, 1), (1, 2)], "rms", [0.0, float(np.float32(rms)) if rms != 0.001 else 0.0010001])
    assert silent(voice, np.arange(2)) is nothing


def test_nothing_to_answer_from_is_said() -> None:
    nothing = piece(
        text=rows("text", [], "t", [], word=()), face=rows("face", [(0.0, 1.0)], "face_id", [0]), voice=rows("voice", [], "VUV", [])
    )
    facts = quality(nothing, {})
    assert "abstain" in facts.flags and "answer" in facts.reasons
    assert "abstain" not in quality(piece(face=rows("face", [(0.0, 9.0)], "face_id", [0])), {}).flags


@pytest.mark.parametrize(
    ("claimed", "decoded", "early"),
    [(100.0, 94.9, True), (100.0, 95.1, False), (10.0, 8.9, True), (10.0, 9.1, False), (20.0, 18.9, True), (20.0, 19.1, False)],
)
def test_a_clip_ends_early_a_second_or_a_twentieth_before_its_end(tmp_path: Path, claimed: float, decoded: float, early: bool) -> None:
    clip = Clip(tmp_path / "a.mp4", None, ClipInfo(str(tmp_path / "a.mp4"), "mp4", claimed, None, None))
    assert ends_early(clip, DecodeEnd({"audio": MediumEnd(decoded, 0)})) is early
    assert ends_early(clip, DecodeEnd({"audio": MediumEnd(claimed, 0, breaks_off=True)}))
    assert not ends_early(clip, DecodeEnd({}))


@dataclass(frozen=True)
class Reader:
    name: str = "reader"
    wants: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"face": ("a",)})


def test_a_stream_that_no_utterance_has_is_told_by_the_first() -> None:
    without = [AnalyzedUtterance(i, Span(i, i + 1), "", None, Quality(("no_face",), {"face": f"no face in {i}"}, {})) for i in range(2)]
    face = rows("face", [(5.0, 6.0)], "a", [1.0])
    model: Any = Reader()
    assert reasons({"face": face}, without, model) == {"face": "no face in 0 (and so in every utterance)"}
    assert reasons({"face": face}, without[:1], model) == {"face": "no face in 0"}
    assert reasons({"face": face}, [without[0], said(1, 1.0, 2.0, None)], model) == {}
    assert reasons({"voice": rows("voice", [(0.0, 1.0)], "a", [1.0])}, [], model) == {
        "voice": "extracted, but the model reader does not read it"
    }


def test_a_printed_answer_is_one_line_without_its_maps() -> None:
    answer = prediction(0.9, 2.0, 0.9)
    whole = Attention(
        "cross", "text", "face", np.full((1, 1, 2, 3), 1 / 3, np.float32), *(np.arange(n, dtype=np.float64) for n in (2, 2, 3, 3))
    )
    with_maps = replace(answer, attention=(whole,), gates={"alpha": (0.5,)})
    assert repr(with_maps) == repr(answer) and "\n" not in repr(with_maps) and "happiness" in repr(with_maps)
