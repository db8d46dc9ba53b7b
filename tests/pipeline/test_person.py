"""Whose utterances make whose baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from emofuse.pipeline.baseline import Tally
from emofuse.pipeline.person import THIS_CLIP, BaselineSource, ClipTallies, KnownPerson, PersonBaselines, PersonSums, recorded
from emofuse.pipeline.results import BaselineFacts, FaceChoice, Utterance
from emofuse.pipeline.timed import Provenance, Span, TimedSequence
from emofuse.pipeline.turns import SpeakerFinder, Turn, turn_stream

MADE = Provenance("made", "1")


def stream(name: str, start: float, value: float) -> TimedSequence:
    times = start + 0.5 * np.arange(4, dtype=np.float64)
    return TimedSequence(name, ("x",), np.full((4, 1), value, np.float32), times, times + 0.5, MADE)


def utterance(start: float, voice: float | None, face: tuple[int, float] | None = None) -> Utterance:
    streams = {} if voice is None else {"voice": stream("voice", start, voice)}
    if face is not None:
        streams["face"] = stream("face", start, face[1])
    chosen = None if face is None else FaceChoice(face[0], "only", None, (face[0],))
    return Utterance(Span(start, start + 2), "", streams, face=chosen)


def tally(one: Utterance) -> dict[str, Tally]:
    return {name: Tally.of(rows) for name, rows in one.streams.items()}


def words(speakers: Sequence[str]) -> TimedSequence:
    start = 2.0 * np.arange(len(speakers), dtype=np.float64) + 0.5
    labels = {"word": tuple("a" for _ in speakers), "speaker": tuple(speakers)}
    return TimedSequence("words", (), np.zeros((len(speakers), 0), np.float32), start, start + 1, MADE, labels)


def spoken_by(pieces: Sequence[Utterance], streams: Mapping[str, TimedSequence]) -> list[Utterance]:
    turns = [SpeakerFinder(streams).turn(piece.span) for piece in pieces]
    return [replace(piece, speaker="" if turn is None else turn.speaker) for piece, turn in zip(pieces, turns, strict=True)]


def usual_of(pieces: Sequence[Utterance], source: BaselineSource, spoken: TimedSequence | None = None) -> list[dict[str, float]]:
    pieces = pieces if spoken is None else spoken_by(pieces, {spoken.name: spoken})
    baselines = PersonBaselines(source, iter(pieces))
    return [{name: float(usual.mean[0]) for name, usual in baselines.known(piece).usual.items()} for piece in pieces]


def test_an_utterance_s_own_rows_are_not_its_baseline() -> None:
    pieces = [utterance(0, 1.0), utterance(2, 2.0), utterance(4, 6.0)]
    assert [u["voice"] for u in usual_of(pieces, BaselineSource(tally))] == pytest.approx([4.0, 3.5, 1.5])


def test_an_only_utterance_has_none() -> None:
    pieces = [utterance(0, 1.0)]
    baselines = PersonBaselines(BaselineSource(tally), iter(pieces))
    assert baselines.known(pieces[0]).usual["voice"].share[0] == 0
    assert baselines.facts() == (BaselineFacts("voice", THIS_CLIP, 0.0, 0.0),)


def test_speakers_who_are_named_have_baselines_of_their_own() -> None:
    pieces = [utterance(0, 1.0), utterance(2, 100.0), utterance(4, 3.0), utterance(6, 200.0)]
    spoken = words(["anna", "ben", "anna", "ben"])
    assert [u["voice"] for u in usual_of(pieces, BaselineSource(tally), spoken)] == pytest.approx([3.0, 200.0, 1.0, 100.0])


def test_speakers_who_are_told_apart_have_baselines_of_their_own() -> None:
    pieces = [utterance(0, 1.0), utterance(2, 100.0), utterance(4, 3.0), utterance(6, 200.0)]
    turns = turn_stream([Turn(2.0 * k, 2.0 * k + 1.9, "AB"[k % 2], "voice", 0.9) for k in range(4)], MADE)
    assert [u["voice"] for u in usual_of(pieces, BaselineSource(tally), turns)] == pytest.approx([3.0, 200.0, 1.0, 100.0])
    one = turn_stream([Turn(2.0 * k, 2.0 * k + 1.9, "A") for k in range(4)], MADE)
    assert usual_of(pieces, BaselineSource(tally), one) == usual_of(pieces, BaselineSource(tally)), "one speaker is read as before"


def test_faces_have_baselines_of_their_own() -> None:
    pieces = [utterance(0, None, (0, 1.0)), utterance(2, None, (1, 50.0)), utterance(4, None, (0, 5.0)), utterance(6, None, (1, 70.0))]
    assert [u["face"] for u in usual_of(pieces, BaselineSource(tally))] == pytest.approx([5.0, 70.0, 1.0, 50.0])


def test_a_recording_replaces_the_clip() -> None:
    source = BaselineSource(tally, recorded(tally, [utterance(0, 8.0), utterance(2, 10.0)]), "calm.wav")
    pieces = [utterance(0, 1.0), utterance(2, 2.0, (0, 3.0))]

    def forbidden() -> Utterance:
        raise AssertionError("the clip is not looked at beforehand")

    baselines = PersonBaselines(source, (forbidden() for _ in range(1)))
    known = [baselines.known(piece) for piece in pieces]
    assert [k.usual["voice"].mean[0] for k in known] == [9.0, 9.0] and known[0].usual["voice"].share[0] == 0.5
    assert known[1].usual["face"].share[0] == 0  # the recording shows no face
    assert baselines.facts() == (
        BaselineFacts("face", "calm.wav", 0.0, 0.0, 0.0, clips=1),
        BaselineFacts("voice", "calm.wav", 2.0, 0.5, 4.0, clips=1),
    )


def other_clips(tallies: dict[str, Tally], clip: Sequence[Utterance], spoken: TimedSequence | None = None) -> KnownPerson:
    """Anna, of whom there are other clips with these sums beside `clip`."""
    own = ClipTallies(tally, clip if spoken is None else spoken_by(clip, {spoken.name: spoken})).of_person("Anna")
    return KnownPerson("Anna", PersonSums.together([own, PersonSums(tallies, dict.fromkeys(tallies, 3))]), "f00")


def test_the_person_s_other_clips_count_beside_the_clip_s_other_utterances() -> None:
    pieces = [utterance(0, 1.0, (0, 4.0)), utterance(2, 3.0, (0, 6.0))]
    elsewhere = recorded(tally, [utterance(0, 10.0, (5, 20.0)), utterance(2, 30.0, (5, 20.0))])
    baselines = PersonBaselines(BaselineSource(tally, person=other_clips(dict(elsewhere), pieces)), iter(pieces))
    known = [baselines.known(piece) for piece in pieces]
    assert [k.usual["voice"].mean[0] for k in known] == pytest.approx([(3 + 10 + 30) / 3, (1 + 10 + 30) / 3])
    assert [k.usual["face"].mean[0] for k in known] == pytest.approx([(6 + 40) / 3, (4 + 40) / 3]), "the only face is the person's"
    name = "other utterances of Anna"
    assert baselines.facts() == tuple(BaselineFacts(stream, name, 3.0, 0.6, 6.0, 3, "f00") for stream in ("face", "voice"))


def test_a_person_with_this_clip_alone_is_read_as_the_clip_is() -> None:
    pieces = [utterance(0, 0.1, (0, 4.7)), utterance(2, 0.2, (0, 5.3)), utterance(4, 0.3)]
    alone, person = (
        BaselineSource(tally),
        BaselineSource(tally, person=KnownPerson("Anna", ClipTallies(tally, pieces).of_person("Anna"), "")),
    )
    assert usual_of(pieces, alone) == usual_of(pieces, person), "to the last bit"


def test_other_voices_and_faces_of_the_clip_are_not_the_person() -> None:
    pieces = [utterance(0, 1.0, (0, 1.0)), utterance(2, 100.0, (1, 50.0)), utterance(4, 3.0, (0, 5.0)), utterance(6, 200.0, (1, 70.0))]
    elsewhere = recorded(tally, [utterance(0, 9.0, (0, 1000.0)), utterance(2, 9.0)])
    spoken = words(["ANNA", "ben", "ANNA", "ben"])
    source = BaselineSource(tally, person=other_clips(dict(elsewhere), pieces, spoken))
    made = usual_of(pieces, source, spoken)
    assert [u["voice"] for u in made] == pytest.approx([(3 + 18) / 3, 200.0, (1 + 18) / 3, 100.0]), "ben has his own, of this clip"
    assert [u["face"] for u in made] == pytest.approx([5.0, 70.0, 1.0, 50.0]), "which face is Anna's nobody says"


def test_a_model_that_reads_none_gets_none() -> None:
    piece = utterance(0, 1.0)
    baselines = PersonBaselines(BaselineSource(lambda one: {}), iter([piece]))
    assert baselines.known(piece) is piece and baselines.facts() == ()
