"""Who speaks when: voices grouped by hand-made prints, lips, files, and conversations composed of known turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from emofuse.assembly import choose
from emofuse.extractors import Request
from emofuse.extractors.speakers.clustering import ALIKE, best_path, centres, likeness, partitions, speakers_of
from emofuse.extractors.speakers.lips import read_lips
from emofuse.extractors.speakers.rttm_file import RttmSpeakers
from emofuse.extractors.speakers.voiceprints import COLUMNS, Space, Tenths, readable, voiceprints
from emofuse.extractors.speakers.voices import VoiceSpeakers, _letters, found, parts_of, speech_spans
from emofuse.extractors.voice.whisper_voice import WhisperVoice
from emofuse.options import Options
from emofuse.pipeline.diarization_error import diarization_error
from emofuse.pipeline.errors import FormatError, StreamError, UsageError
from emofuse.pipeline.media import SAMPLE_RATE, AudioInfo, ClipInfo, Frame, Samples
from emofuse.pipeline.timed import Floats64, Provenance, Span, TimedSequence
from emofuse.pipeline.turns import SPEAKERS, speaker_facts, turns_of

BY = Provenance("made", "1")
VOICES = np.eye(4)


class Silent:
    """A clip of so many seconds whose sound nobody asks for."""

    def __init__(self, seconds: float = 20.0, audio: bool = True, path: str = "clip.wav") -> None:
        self.info = ClipInfo(path, "wav", seconds, None, AudioInfo("pcm", SAMPLE_RATE, 1) if audio else None)

    def frames(self) -> Iterator[Frame]:
        raise AssertionError("nobody asked for pictures")

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        raise AssertionError("the voice is there already")


def prints(speakers: Sequence[int], noise: float = 0.3, seed: int = 0) -> Floats64:
    """(k 4) of length 1: each near its speaker's own direction."""
    made = VOICES[list(speakers)] + np.random.default_rng(seed).normal(0, noise, (len(speakers), 4)) / 2
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True))


def same_groups(labels: Sequence[int], speakers: Sequence[int]) -> bool:
    return all((labels[i] == labels[j]) == (speakers[i] == speakers[j]) for i, j in combinations(range(len(labels)), 2))


def voice(pieces: Sequence[tuple[float, float, int]], length: float, level: float = 0.1) -> TimedSequence:
    """Whisper's rows: speaker k's have their first columns around a direction of their own; between the pieces is silence."""
    random = np.random.default_rng(3)
    start = np.arange(0, length, 0.02)
    values = np.zeros((len(start), len(COLUMNS) + 1), np.float32)
    values[:, 0] = 1e-4
    for begin, end, speaker in pieces:
        rows = np.flatnonzero((start + 0.01 >= begin) & (start + 0.01 < end))
        values[rows, 0] = level
        values[rows[:, None], 1 + np.arange(4)] = VOICES[speaker] + random.normal(0, 0.3, (len(rows), 4))
    return TimedSequence("voice", ("rms", *COLUMNS), values, start, start + 0.02, BY)


def plain_space() -> Space:
    """The first four columns as they are."""
    return Space(np.zeros(len(COLUMNS), np.float32), np.eye(len(COLUMNS), 4, dtype=np.float32), "0")


def words(spans: Sequence[Span]) -> TimedSequence:
    """A word without a text, and the recogniser's word on where there is speech."""
    made = Provenance("made", "1", notes={"speech": [[s.start, s.end] for s in spans]})
    return TimedSequence.empty("words", ("probability",), made, "no words", ("word", "speaker"))


def lips(speaking: Mapping[int, Sequence[tuple[float, float]]], length: float = 12.0) -> TimedSequence:
    """Faces at 25 per second, all in view, whose mouths open and close while they speak."""
    start = np.repeat(np.arange(0, length, 0.04), len(speaking))
    number = np.tile(np.array(sorted(speaking)), round(length / 0.04))
    open_mouth = np.zeros(len(start))
    for face, spans in speaking.items():
        for begin, end in spans:
            rows = np.flatnonzero((number == face) & (start >= begin) & (start < end))
            open_mouth[rows] = 0.3 + 0.3 * np.sin(2 * np.pi * 4 * start[rows])
    values = np.stack([open_mouth, open_mouth / 2, number, np.full(len(start), 50.0)], 1)
    return TimedSequence("face", ("AU25", "AU26", "face_id", "FaceRectWidth"), values.astype(np.float32), start, start + 0.04, BY)


# --- grouping


def test_ward_joins_what_is_nearest_as_scipy_does() -> None:
    from scipy.cluster.hierarchy import fcluster, linkage

    made = np.random.default_rng(2).normal(size=(25, 6))
    ours = {int(labels.max()) + 1: labels for labels, _ in partitions(made)}
    tree = linkage(made, "ward")
    for groups in range(1, 26):
        assert same_groups(ours[groups].tolist(), fcluster(tree, groups, "maxclust").tolist()), groups


@pytest.mark.parametrize("speakers", [(0,) * 12, (0, 1) * 8, (0, 1, 2) * 6, (0, 0, 0, 1) * 5])
def test_as_many_speakers_are_found_as_there_are(speakers: tuple[int, ...]) -> None:
    made = prints(speakers)
    assert same_groups(speakers_of(made).tolist(), speakers)
    assert same_groups(speakers_of(made, len(set(speakers))).tolist(), speakers)
    if len(set(speakers)) > 1:
        labels = speakers_of(made)
        assert likeness(made, labels)[~np.eye(len(set(speakers)), dtype=bool)].max() <= ALIKE


def test_a_number_that_is_given_is_kept_to() -> None:
    made = prints((0, 1, 2) * 6)
    assert {len(set(speakers_of(made, n).tolist())) for n in (1, 2, 5)} == {1, 2, 5}
    assert len(set(speakers_of(made[:3], 7).tolist())) == 3, "no more than there are stretches"
    assert len(speakers_of(np.zeros((0, 4)))) == 0


def test_one_odd_stretch_is_no_speaker() -> None:
    made = prints([0] * 15 + [1])
    assert len(set(speakers_of(made).tolist())) == 1 and len(set(speakers_of(made, 2).tolist())) == 2


def test_what_lips_say_goes_before_voices() -> None:
    made = prints([0] * 6, noise=0.1)
    assert len(set(speakers_of(made).tolist())) == 1
    labels = speakers_of(made, together=[[0, 2, 4], [1, 3]], apart=[(0, 1)]).tolist()
    assert labels[0] == labels[2] == labels[4] != labels[1] == labels[3], "two faces at once are two people, however alike"
    assert len(set(speakers_of(made, 1, together=[[0, 2], [1, 3]], apart=[(0, 1)]).tolist())) == 1, "a number that is given is kept to"
    other = prints((0, 1) * 3)
    assert len(set(speakers_of(other, 2, together=[[0, 1]]).tolist())) == 2
    assert (lambda one: one[0] == one[1])(speakers_of(other, 2, together=[[0, 1]]).tolist()), "one face is one person, however unlike"


def test_the_best_path_is_the_best_of_all() -> None:
    random = np.random.default_rng(0)
    scores, cost = random.normal(size=(7, 2)), random.uniform(0, 2, 7)

    def worth(path: Sequence[int]) -> float:
        return sum(scores[t, s] for t, s in enumerate(path)) - sum(cost[t] for t in range(1, 7) if path[t] != path[t - 1])

    every = [[(number >> t) & 1 for t in range(7)] for number in range(2**7)]
    assert worth(best_path(scores, cost).tolist()) == pytest.approx(max(worth(path) for path in every))
    assert centres(np.array([[1.0, 0], [0, 1], [1, 0]]), np.array([0, 1, 0])).tolist() == [[1, 0], [0, 1]]


# --- voices


def test_the_mean_of_a_stretch_is_that_of_its_loud_rows() -> None:
    stream = voice([(1, 3, 0), (5, 7, 1)], 8)
    tenths = Tenths(stream)
    loud = (stream.start >= 1) & (stream.start < 3)
    assert tenths.mean(Span(0.8, 3.4)) == pytest.approx(stream.values[loud, 1:].mean(0), abs=1e-6), "silence around it does not count"
    assert np.isnan(tenths.mean(Span(7.5, 7.6))).all() or tenths.mean(Span(9, 10)).size == len(COLUMNS)
    made, known = voiceprints(tenths, [Span(1, 3), Span(20, 21)], plain_space())
    assert known.tolist() == [True, False] and np.linalg.norm(made[0]) == pytest.approx(1) and not made[1].any()
    short = TimedSequence("voice", ("rms",), np.ones((2, 1), np.float32), np.array([0, 0.1]), np.array([0.1, 0.2]), BY)
    assert not readable(short) and not readable(None)
    with pytest.raises(StreamError, match=r"expected the columns rms, whisper_tiny.en_0"):
        Tenths(short)


@pytest.mark.parametrize("count", [None, 2])
def test_turns_are_found_to_a_tenth_of_a_second_also_without_a_pause(count: int | None) -> None:
    truth = [(0.5, 3.0, 0), (3.0, 5.2, 1), (6.0, 8.0, 0), (8.8, 11.3, 1), (11.3, 13.5, 0)]
    speech = [Span(0.5, 5.2), Span(6.0, 8.0), Span(8.8, 13.5)]
    stream = found(Tenths(voice(truth, 14)), plain_space(), speech, None, count, BY)
    turns = turns_of(stream)
    assert [t.speaker for t in turns] == ["A", "B", "A", "B", "A"], "named in order of who speaks first"
    assert [(t.start, t.end) for t in turns] == [(pytest.approx(a, abs=0.1), pytest.approx(b, abs=0.1)) for a, b, _ in truth]
    assert all(t.by == "voice" and t.confidence is not None and t.confidence > 0.9 for t in turns)
    a, b = speaker_facts({SPEAKERS: stream})
    assert (a.name, a.turns, b.name, b.turns, a.faces) == ("A", 3, "B", 2, ())


def test_one_voice_is_one_speaker() -> None:
    speech = [Span(0.5, 5.2), Span(6.0, 8.0)]
    turns = turns_of(found(Tenths(voice([(0.5, 5.2, 0), (6, 8, 0)], 9)), plain_space(), speech, None, None, BY))
    assert [(t.start, t.end, t.speaker, t.confidence) for t in turns] == [(0.5, 5.2, "A", None), (6.0, 8.0, "A", None)]


def test_shifting_the_clip_shifts_the_turns_and_nothing_else() -> None:
    truth, speech = [(0.5, 3.0, 0), (3.0, 5.2, 1), (6.0, 8.0, 0)], [Span(0.5, 5.2), Span(6.0, 8.0)]
    before = turns_of(found(Tenths(voice(truth, 9)), plain_space(), speech, None, 2, BY))
    later = [Span(s.start + 100, s.end + 100) for s in speech]
    after = turns_of(found(Tenths(voice(truth, 9).shifted(100.0)), plain_space(), later, None, 2, BY))
    assert [(t.start + 100, t.end + 100, t.speaker) for t in before] == [
        (pytest.approx(t.start), pytest.approx(t.end), t.speaker) for t in after
    ]


def test_parts_and_names() -> None:
    assert parts_of(Span(1, 3.9)) == [Span(1, 3.9)] and len(parts_of(Span(0, 7))) == 3
    assert [_letters(n) for n in (0, 1, 25, 26, 27, 52)] == ["A", "B", "Z", "AA", "AB", "BA"]


# --- lips


def test_lips_decide_where_faces_are_in_view() -> None:
    """Two people whose voices are one to the ear: told apart by their faces."""
    truth = [(0.5, 3.0), (3.5, 6.0), (6.5, 9.0)]
    face = lips({0: [truth[0], truth[2]], 1: [truth[1]]})
    speech = [Span(a, b) for a, b in truth]
    assert [None if c is None else c[0] for c in read_lips(face, speech).chosen] == [0, 1, 0]
    assert read_lips(face, speech).apart == {(0, 1)}
    alike = Tenths(voice([(a, b, 0) for a, b in truth], 12))
    assert {t.speaker for t in turns_of(found(alike, plain_space(), speech, None, None, BY))} == {"A"}
    stream = found(alike, plain_space(), speech, face, None, BY)
    assert [(t.speaker, t.by) for t in turns_of(stream)] == [("A", "lips"), ("B", "lips"), ("A", "lips")]
    assert {f.name: f.faces for f in speaker_facts({SPEAKERS: stream})} == {"A": (0,), "B": (1,)}


def test_whoever_speaks_while_no_lips_move_is_told_by_voice() -> None:
    """An interviewer off the screen: the face in view listens."""
    truth = [(0.5, 3.0, 0), (3.5, 6.0, 1), (6.5, 9.0, 0), (9.5, 11.5, 1)]
    face = lips({4: [(0.5, 3.0), (6.5, 9.0)]})
    speech = [Span(a, b) for a, b, _ in truth]
    stream = found(Tenths(voice(truth, 12)), plain_space(), speech, face, None, BY)
    assert [(t.speaker, t.by) for t in turns_of(stream)] == [("A", "lips"), ("B", "voice"), ("A", "lips"), ("B", "voice")]
    assert {f.name: f.faces for f in speaker_facts({SPEAKERS: stream})} == {"A": (4,), "B": ()}


def test_faces_without_measured_lips_say_nothing() -> None:
    spans = [Span(0.5, 3.0)]
    still = lips({0: [], 1: []})
    assert read_lips(still, spans).chosen == (None,) and read_lips(None, spans).chosen == (None,)
    unmeasured = TimedSequence("face", ("face_id",), still.values[:, 2:3], still.start, still.end, BY)
    assert read_lips(unmeasured, spans).chosen == (None,)


# --- the providers


def test_where_speech_is() -> None:
    spans = [Span(0.5, 3.0), Span(4.0, 6.0)]
    assert speech_spans({"words": words(spans)}) == spans
    assert speech_spans({}) == [] and len(speech_spans({"voice": voice([(1, 3, 0), (5, 7, 0)], 8)})) == 2


def test_speakers_whom_a_transcript_names_are_believed() -> None:
    start = np.array([0.0, 1.0, 2.0])
    labels = {"word": ("a", "b", "c"), "speaker": ("Ann", "Ann", "Bo")}
    spoken = TimedSequence("words", (), np.zeros((3, 0), np.float32), start, start + 0.9, BY, labels)
    made = VoiceSpeakers(beside=("words",))(Silent(), {"words": spoken})
    assert [(t.start, t.end, t.speaker, t.by) for t in turns_of(made)] == [(0, 1.9, "Ann", "words"), (2, 2.9, "Bo", "words")]


def test_nothing_to_hear_is_said() -> None:
    for clip, reason in ((Silent(), "no speech was found"), (Silent(audio=False), "the clip has no audio stream")):
        made = VoiceSpeakers(2)(clip, {})
        assert made.name == SPEAKERS and len(made) == 0 and made.reason == reason


def test_the_voice_that_is_there_is_read_and_no_other() -> None:
    truth = [(0.5, 3.0, 0), (3.5, 6.0, 0)]
    speech = [Span(a, b) for a, b, _ in truth]
    extractor = VoiceSpeakers(beside=("words", "text", "voice"))
    assert extractor.needs == ("words", "voice") and extractor.media == frozenset()
    made = extractor(Silent(), {"words": words(speech), "voice": voice(truth, 7)})
    assert len(made) == 2 and set(made.provenance.weights) == {"voiceprints.safetensors"}


RTTM = "SPEAKER talk 1 0.5 1.5 <NA> <NA> Ann <NA> <NA>\nSPEAKER talk 1 2.5 1 <NA> <NA> Bo 0.75 <NA>\n"


def test_a_file_says_who_speaks(tmp_path: Path) -> None:
    path = tmp_path / "other.rttm"
    path.write_text(RTTM)
    made = RttmSpeakers(path)(Silent(path="/clips/my clip.mp4"), {})
    assert [(t.start, t.end, t.speaker, t.by, t.confidence) for t in turns_of(made)] == [
        (0.5, 2, "Ann", "file", None),
        (2.5, 3.5, "Bo", "file", 0.75),
    ]
    path.write_text(RTTM + "SPEAKER my_clip 1 7 1 <NA> <NA> Cy <NA> <NA>\n")
    (turn,) = turns_of(RttmSpeakers(path)(Silent(path="/clips/my clip.mp4"), {}))
    assert (turn.start, turn.speaker) == (7, "Cy"), "of several recordings the clip's"
    with pytest.raises(FormatError, match=r"expected turns of third, but the file is about 2 other recordings \(talk, my_clip\)"):
        RttmSpeakers(path)(Silent(path="third.wav"), {})
    with pytest.raises(FormatError, match="no such file"):
        RttmSpeakers(tmp_path / "gone.rttm")
    assert RttmSpeakers.file_for(Path("/x/other.mp4"), tmp_path) == path
    with pytest.raises(UsageError, match=r"expected third.rttm for third.mp4"):
        RttmSpeakers.file_for(Path("/x/third.mp4"), tmp_path)


@pytest.mark.parametrize(
    ("asked", "provider", "argument"), [("2", "voices", "2"), ("voices:3", "voices", "3"), ("a.rttm", "rttm", "a.rttm"), ("none", None, "")]
)
def test_what_is_asked_for_goes_to_its_provider(asked: str, provider: str | None, argument: str) -> None:
    choice = choose("speakers", asked, Request())
    assert (choice.name, choice.argument) == (provider, argument)


def test_options_say_what_they_expect() -> None:
    assert Options().requested("speakers") == "none" and Options(speakers="1").requested("speakers") == "none"
    assert Options(speakers=2).requested("speakers") == Options(speakers="02").requested("speakers") == "2"
    for wrong in ("0", "-1", 0, "99", "voices:0"):
        with pytest.raises(UsageError, match=r"--speakers .*: expected 1 to 50 speakers"):
            Options(speakers=wrong)
    for whose in ("who.csv", "folder", r"name:(\d+)", "WHO.TSV"):
        with pytest.raises(UsageError, match="whose clip each is, --people says"):
            Options(speakers=whose)
    for kind in (True, 2.5, None):
        with pytest.raises(UsageError, match="speakers: expected auto, a number or a file"):
            Options(speakers=kind)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"--speakers two: expected auto, none, a file that exists, or one of a number, voices"):
        choose("speakers", "two", Request())
    with pytest.raises(UsageError, match="expected a number of speakers"):
        VoiceSpeakers.make(Request(argument="many"))


# --- conversations


@pytest.mark.shared
def test_two_strangers_are_told_apart(shared: Path) -> None:
    """A conversation of two actors of whom nothing was learned; benchmarks/speakers.py measures many."""
    from training.conversations import compose, recordings
    from training.sound import Sound

    conversation = compose(recordings(shared / "data"), ("15", "16"), 10, np.random.default_rng(1))
    stream = WhisperVoice()(Sound(conversation.values), {})
    made = VoiceSpeakers(beside=("voice",))(Sound(conversation.values), {"voice": stream})
    error = diarization_error(conversation.turns, turns_of(made), collar=0.25)
    assert error.confusion / error.speech < 0.1, error
    # without a voice that Whisper heard, it listens itself and says the same
    assert turns_of(VoiceSpeakers()(Sound(conversation.values), {"words": words(speech_spans({"voice": stream}))})) == turns_of(made)


@pytest.mark.shared
def test_composed_turns_are_where_they_are_said_to_be(shared: Path) -> None:
    from training.conversations import TEST, compose, one_corpus, recordings, speaker_of

    clips = recordings(shared / "data")
    assert set(TEST) <= set(clips) and all(speaker_of(path) == name for name, paths in clips.items() for path in paths)
    assert [len(part) for part in one_corpus(TEST)] == [4, 4]
    made = compose(clips, ("15", "16"), 8, np.random.default_rng(0))
    again = compose(clips, ("15", "16"), 8, np.random.default_rng(0))
    assert np.array_equal(made.values, again.values) and made.turns == again.turns
    level = np.sqrt(np.convolve(made.values.astype(np.float64) ** 2, np.ones(160) / 160, "same"))
    at = np.arange(len(level)) / SAMPLE_RATE
    spoken = np.zeros(len(level), bool)
    for turn in made.turns:
        inside = (at >= turn.start) & (at < turn.end)
        spoken |= (at >= turn.start - 0.06) & (at < turn.end + 0.06)
        assert level[inside].max() > 0.02
    assert level[~spoken].max() < 0.001, "between the turns there is silence"
    assert all(a.end < b.start for a, b in pairwise(made.turns))
    over = compose(clips, ("15", "16"), 20, np.random.default_rng(0), overlap=1.0).turns
    assert any(b.start < a.end for a, b in pairwise(over))
