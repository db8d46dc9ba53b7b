"""Forced alignment: times against a synthesiser's own, every token timed, wrong texts refused, long texts cut at anchors."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.extractors.words import align_sphinx
from emofuse.extractors.words.align import fill_between, spread
from emofuse.extractors.words.align_ctc import CtcAligner, _best_path
from emofuse.extractors.words.align_sphinx import SphinxAligner
from emofuse.extractors.words.anchors import Piece, cut_at_anchors
from emofuse.extractors.words.letter_sounds import letter_sounds
from emofuse.extractors.words.recording import Recording, Stretch, join
from emofuse.extractors.words.spelling import cardinal, readings
from emofuse.extractors.words.sphinx import model_folder
from emofuse.extractors.words.transcript_words import TranscriptWords
from emofuse.pipeline.errors import TranscriptError, WeightsError
from emofuse.pipeline.media import SAMPLE_RATE, Samples
from emofuse.pipeline.timed import Span

SENTENCE = "Ask not what your country can do for you, but ask what you can do for your country."
SOUNDS = [3, 3, 3, 3, 6, 3, 2, 3, 2, 3, 3, 3, 2, 3, 2, 3, 3, 6]


@pytest.fixture(scope="module")
def aligner() -> SphinxAligner:
    return SphinxAligner()


def recorded(values: Any, start: float = 0.0) -> Recording:
    return Recording.of([Samples(start, np.asarray(values, np.float32))])


@pytest.mark.parametrize("voice", ["slt", "awb"])
def test_words_are_found_where_the_synthesiser_put_them(aligner: SphinxAligner, say: Any, voice: str) -> None:
    speech = say(SENTENCE.replace(",", "").lower(), voice)
    spans = aligner.align_text(SENTENCE.split(), recorded(speech.values, 5.0)).spans
    truth = np.array(speech.words(SOUNDS)) + 5.0
    errors = np.abs(np.array([(span.start, span.end) for span in spans]) - truth)
    # Frames are 10 ms; where one sound ends and the next begins is a matter of taste within a few of them.
    assert np.median(errors) <= 0.015
    assert errors.max() <= 0.08


def test_numbers_symbols_and_unknown_words_get_times(aligner: SphinxAligner, say: Any) -> None:
    speech = say("in nineteen eighty seven it cost two hundred and fifty dollars at the emofuse gallery")
    tokens = ["In", "1987", "it", "cost", "two", "hundred", "and", "50", "$", "at", "the", "emofuse", "日本", "gallery."]
    spans = aligner.align_text(tokens, recorded(speech.values)).spans
    said = [sound for sound in speech.sounds if sound[0] != "pau"]
    # "in" has two sounds, so that the year begins with the third; it ends where "it" begins.
    year = spans[1]
    assert year.start == pytest.approx(said[2][1], abs=0.05)
    assert year.end == pytest.approx(spans[2].start, abs=0.05) and year.duration > 0.8
    assert all(span.duration > 0.05 for k, span in enumerate(spans) if k != 12)
    # No sound of English for this one: it lies between its neighbours.
    assert spans[11].end <= spans[12].start <= spans[12].end <= spans[13].start


def test_the_reading_that_was_said_is_chosen(aligner: SphinxAligner, say: Any) -> None:
    for said in ("he was born in nineteen oh five near paris", "he was born in one nine oh five near paris"):
        speech = say(said)
        number = aligner.align_text(["he", "was", "born", "in", "1905", "near", "paris"], recorded(speech.values))
        words = aligner.align_text(said.split(), recorded(speech.values))
        count = len(said.split()) - 6
        assert number.spans[4].start == pytest.approx(words.spans[4].start, abs=0.03)
        assert number.spans[4].end == pytest.approx(words.spans[3 + count].end, abs=0.03)


def test_a_text_that_is_not_said_is_refused_in_one_line(aligner: SphinxAligner, say: Any) -> None:
    sound = recorded(say("The old harbour wakes before the town does.").values)
    with pytest.raises(TranscriptError, match="do not go together") as caught:
        aligner.align_text(["Quantum", "computers", "factor", "large", "integers", "using", "periodic", "superposition"], sound)
    assert "\n" not in str(caught.value)
    with pytest.raises(TranscriptError, match="are not what is said") as caught:
        aligner.align(["Place", "green", "with", "q", "eight"], sound.runs[0])
    assert "\n" not in str(caught.value)
    with pytest.raises(TranscriptError, match="expected English words"):
        aligner.align_text(["日本", "語"], sound)
    with pytest.raises(TranscriptError, match="expected speech for 1 words, found none"):
        aligner.align_text(["hello"], recorded(np.zeros(SAMPLE_RATE)))


def test_a_text_too_long_for_its_sound_is_refused(aligner: SphinxAligner, say: Any) -> None:
    with pytest.raises(TranscriptError):
        aligner.align(SENTENCE.split() * 5, recorded(say("hello there").values).runs[0])


def test_a_shift_of_the_sound_shifts_the_words_and_nothing_else(aligner: SphinxAligner, say: Any) -> None:
    values = say("nobody has ever seen her make a mistake").values
    tokens = ["nobody", "has", "ever", "seen", "her", "make", "a", "mistake"]
    early, late = (aligner.align_text(tokens, recorded(values, start)).spans for start in (0.0, 8.6))
    np.testing.assert_allclose([(s.start, s.end) for s in late], np.array([(s.start, s.end) for s in early]) + 8.6, atol=1e-9)


def test_a_gap_shifts_only_the_words_after_it(aligner: SphinxAligner, say: Any) -> None:
    one, two = say("the baker shouts at them").values, say("the boats lie side by side").values
    tokens = ["the", "baker", "shouts", "at", "them", "the", "boats", "lie", "side", "by", "side"]
    length = len(one) / SAMPLE_RATE
    whole = aligner.align_text(tokens, Recording.of([Samples(0.0, one), Samples(length + 4.0, two)])).spans
    together = aligner.align_text(tokens, Recording.of([Samples(0.0, one), Samples(length, two)])).spans
    shift = np.array([a.start - b.start for a, b in zip(whole, together, strict=True)])
    assert np.abs(shift[:5]).max() < 0.05 and np.abs(shift[5:] - 4.0).max() < 0.05


LONG = [
    "Fishing boats come in with their lamps still burning.",
    "A woman in a green coat counts the boxes and writes the number in a small book.",
    "At noon the bells ring from the white tower on the hill.",
    "An old dog walks along the wall and sits down in the sun.",
]


def test_long_sound_is_cut_at_anchors_and_aligned_alike(aligner: SphinxAligner, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pause = np.zeros(int(0.8 * SAMPLE_RATE), np.float32)
    values = [np.concatenate([say(sentence).values, pause]) for sentence in LONG]
    tokens = " ".join(LONG).split()
    sound = recorded(np.concatenate(values), 2.0)
    direct = aligner.align_text(tokens, sound)
    assert "pieces" not in direct.notes
    monkeypatch.setattr(align_sphinx, "DIRECT", 0.0)
    cut = aligner.align_text(tokens, sound)
    assert cut.notes["pieces"] >= 3 and "spread_evenly" not in cut.notes
    differences = np.array([abs(a.start - b.start) for a, b in zip(cut.spans, direct.spans, strict=True)])
    assert np.mean(differences <= 0.03) > 0.95
    # A sentence that is not in the text: the rest keeps its times, and what could not be aligned is said.
    monkeypatch.setattr(align_sphinx, "DIRECT", 120.0)
    begin = len(" ".join(LONG[:2]).split())
    end = begin + len(LONG[2].split())
    without = aligner.align_text([*tokens[:begin], *tokens[end:]], sound)
    kept = np.array([abs(a.start - b.start) for a, b in zip(without.spans, [*direct.spans[:begin], *direct.spans[end:]], strict=True)])
    assert np.mean(kept <= 0.05) > 0.9


@pytest.mark.shared
def test_a_plain_text_becomes_words_on_the_clips_clock(tmp_path: Path, jfk: Any, clip_of: Any) -> None:
    path = tmp_path / "jfk.txt"
    path.write_text(
        "And so, my fellow Americans: ask not what your country can do for you — ask what you can do for your country.", encoding="utf-8"
    )
    words = TranscriptWords(path)(clip_of(Samples(8.6, jfk)), {})
    assert words.labels["word"][4:8] == ("Americans:", "ask", "not", "what") and words.labels["word"][13] == "you —"
    # Independent of any model: where the sound's envelope rises after this speech's long pauses, somebody begins a word.
    envelope = np.sqrt(np.square(jfk[: len(jfk) // 160 * 160]).reshape(-1, 160).mean(axis=1))
    loud = np.flatnonzero(np.convolve(envelope, np.full(5, 0.2), "same") > 0.03)
    onsets = loud[np.concatenate([[True], np.diff(loud) > 20])] / 100
    starts = words.start[[0, 5, 6, 7, 14]] - 8.6  # And, ask, not, what, ask
    np.testing.assert_allclose(starts, onsets[:5], atol=0.06)
    assert words.provenance.notes["times"]["aligned"] == 22 and np.isnan(words.column("probability")).all()


# What the pieces do.


def test_anchors_cut_text_and_sound_together() -> None:
    text = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"]
    heard = [["a", "b", "c", "x", "e", "f", "g"], [], ["h", "i", "j", "k"], ["l", "m", "q", "o", "p"]]
    cutting = cut_at_anchors(text, heard)
    assert cutting.pieces == (Piece(0, 1, 0, 7), Piece(1, 3, 7, 11), Piece(3, 4, 11, 16))
    assert cutting.anchored == {0, 2, 3}  # nothing was heard in the second
    assert cut_at_anchors(text[:7], [["a", "b", "c", "?"], ["e", "f", "g"]]).pieces == (Piece(0, 1, 0, 3), Piece(1, 2, 3, 7))
    # Two words in a row may agree by chance: no cut.
    assert cut_at_anchors(["a", "b", "z", "c", "d"], [["a", "b"], ["c", "d"]]).pieces == (Piece(0, 2, 0, 5),)
    nothing = cut_at_anchors(text, [["z"], ["y"]])
    assert nothing.pieces == (Piece(0, 2, 0, 16),) and not nothing.anchored


def test_pieces_cover_every_word_and_stretch_once() -> None:
    random = np.random.default_rng(5)
    for _ in range(50):
        text = [str(k) for k in random.integers(0, 12, 40)]
        cuts = np.sort(random.integers(0, 40, 4))
        heard = [[w if random.random() < 0.8 else "?" for w in text[a:b]] for a, b in zip([0, *cuts], [*cuts, 40], strict=True)]
        pieces = cut_at_anchors(text, heard).pieces
        assert [p.word for p in pieces] == [0, *(p.end for p in pieces[:-1])] and pieces[-1].end == 40
        assert [p.first for p in pieces] == [0, *(p.last for p in pieces[:-1])] and pieces[-1].last == 5


def test_tokens_share_a_span_by_length_and_fill_the_room_between() -> None:
    assert spread(["ab", "c!", "—"], Span(1.0, 3.0)) == (Span(1.0, 2.0), Span(2.0, 2.5), Span(2.5, 3.0))
    known = [None, Span(1.0, 2.0), None, None, Span(3.0, 4.0), None]
    filled = fill_between(["a", "b", "c", "d", "e", "f"], known, Span(0.5, 5.0))
    assert filled == (Span(0.5, 1.0), Span(1.0, 2.0), Span(2.0, 2.5), Span(2.5, 3.0), Span(3.0, 4.0), Span(4.0, 5.0))


def test_a_stretch_knows_the_second_of_each_sample() -> None:
    stretch = join([(1.0, np.zeros(16000, np.int16)), (2.0, np.zeros(1600, np.int16)), (5.0, np.ones(1600, np.int16))])
    assert stretch.offsets == (0, 17600) and stretch.starts == (1.0, 5.0)
    assert stretch.start_of(16000) == 2.0 and stretch.start_of(17600) == 5.0 and stretch.end_of(17600) == pytest.approx(2.1)
    recording = Recording.of([Samples(1.0, np.zeros(16000, np.float32)), Samples(4.0, np.ones(16000, np.float32))])
    assert recording.gaps == [[2.0, 4.0]]
    piece = recording.cut(Span(1.5, 4.5))
    assert piece.seconds == 1.0 and piece.start_of(8000) == 4.0 and (piece.values[8000:] == 32767).all()


SAID = {
    "1961": "nineteen sixty one",
    "2005": "two thousand five",
    "$5.50": "five dollars and fifty cents",
    "£1.00": "one pound",
    "€3m": "three million euros",
    "10:30": "ten thirty",
    "9:05": "nine oh five",
    "21st,": "twenty first",
    "30th": "thirtieth",
    "1990s": "nineteen nineties",
    "50%": "fifty percent",
    "1,234.5": "one thousand two hundred thirty four point five",
    "-7°": "seven degrees",
    "½": "half",
    "Müller’s": "muller's",
    "twenty-five": "twenty five",
    "R2-D2": "r two d two",
    "٣": "three",
    "&": "and",
}


@pytest.mark.parametrize(("token", "said"), SAID.items())
def test_tokens_are_read_as_people_say_them(token: str, said: str) -> None:
    assert " ".join(readings(token)[0]) == said


def test_other_readings_are_offered_too() -> None:
    assert ("one", "nine", "six", "one") in readings("1961") and ("twenty", "oh", "five") in readings("2005")
    assert ("n", "a", "s", "a") in readings("NASA") and ("five", "fifty") in readings("$5.50")
    assert readings("—") == readings("日本") == readings("") == ()
    assert cardinal(10**12 + 1) == ("one", "trillion", "one")


def test_letter_sounds_come_near_the_dictionary() -> None:
    """Against CMU's own pronunciations: fewer than 40 % of the sounds of common-looking words differ (measured 33 %)."""
    lines = (model_folder() / "cmudict-en-us.dict").read_text("utf-8").splitlines()[::97]
    wrong = total = 0
    for line in lines:
        word, *sounds = line.split()
        if not word.isalpha() or len(word) < 4:
            continue
        ours = letter_sounds(word)
        row = list(range(len(ours) + 1))
        for i, sound in enumerate(sounds, 1):
            last, row[0] = row[:], i
            for j, other in enumerate(ours, 1):
                row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (sound != other))
        wrong += row[-1]
        total += len(sounds)
    assert total > 4000 and wrong / total < 0.4


# The CTC aligner, with random weights in the hub's own form.


def test_the_best_path_is_the_best_of_all_paths() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(size=(6, 3)).astype(np.float32)
    emission = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = [1, 2, 2]
    best, best_score = None, -np.inf
    for path in product(range(3), repeat=6):
        collapsed = [label for k, label in enumerate(path) if label and (k == 0 or path[k - 1] != label)]
        score = sum(emission[k, label] for k, label in enumerate(path))
        if collapsed == target and score > best_score:
            best, best_score = path, score
    assert best is not None
    expected, previous = [], 0
    for k, label in enumerate(best):
        if label and label == previous:
            expected[-1] = (expected[-1][0], k)
        elif label:
            expected.append((k, k))
        previous = label
    ranges, scores = _best_path(emission, target, 0, ["ab"])
    assert ranges == expected
    for (first, last), label, score in zip(ranges, target, scores, strict=True):
        assert score == pytest.approx(emission[first : last + 1, label].mean(), abs=1e-5)


def test_ctc_gives_every_token_a_span_in_order(ctc_folder: Path) -> None:
    noise = np.random.default_rng(1).normal(size=3 * SAMPLE_RATE).astype(np.float32) * 0.1
    sound = recorded(noise, 8.6).runs[0]
    aligner = CtcAligner(ctc_folder)
    tokens = ["Eat", "4", "日本", "o'fin", "95%"]
    alignment = aligner.align(tokens, sound)
    assert len(alignment.spans) == 5
    edges = [edge for span in alignment.spans for edge in (span.start, span.end)]
    assert edges == sorted(edges) and edges[0] >= 8.6 and edges[-1] <= 11.6
    early = CtcAligner(ctc_folder).align(tokens, recorded(noise).runs[0])
    np.testing.assert_allclose([s.start + 8.6 for s in early.spans], [s.start for s in alignment.spans], atol=1e-9)
    assert set(aligner.weights) == {"model.safetensors"}


def test_ctc_knows_where_its_outputs_lie_in_time(ctc_folder: Path) -> None:
    """By gradient: output k of the strided convolutions depends on samples around the middle that the aligner computes."""
    import torch
    from transformers import Wav2Vec2ForCTC

    aligner = CtcAligner(ctc_folder)
    model = Wav2Vec2ForCTC.from_pretrained(ctc_folder).eval()
    samples = torch.randn(1, 4000, generator=torch.Generator().manual_seed(2), requires_grad=True)
    k = 5
    model.wav2vec2.feature_extractor(samples)[0, :, k].square().sum().backward()
    assert samples.grad is not None
    seen = torch.nonzero(samples.grad[0]).flatten()
    middle = (int(seen[0]) + int(seen[-1]) + 1) / 2
    assert aligner._step == 320
    assert k * aligner._step + aligner._offset + aligner._step / 2 == pytest.approx(middle, abs=1)


def test_ctc_emissions_are_the_models_own(ctc_folder: Path) -> None:
    import torch
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    values = np.random.default_rng(4).integers(-3000, 3000, 16000).astype(np.int16)
    inputs = Wav2Vec2FeatureExtractor(do_normalize=True)(values / 32768, sampling_rate=16000, return_tensors="pt").input_values
    with torch.inference_mode():
        expected = Wav2Vec2ForCTC.from_pretrained(ctc_folder).eval()(inputs.float()).logits[0].log_softmax(-1).numpy()
    np.testing.assert_allclose(CtcAligner(ctc_folder)._emission(Stretch(values, (0,), (0.0,))), expected, atol=1e-4)


def test_ctc_refuses_what_it_cannot_use(ctc_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"found no config\.json"):
        CtcAligner(tmp_path)
    aligner = CtcAligner(ctc_folder)
    noise = np.random.default_rng(1).normal(size=SAMPLE_RATE).astype(np.float32) * 0.1
    with pytest.raises(TranscriptError, match="need 599 frames"):
        aligner.align(["one"] * 150, recorded(noise).runs[0])
    with pytest.raises(TranscriptError, match="expected words in the model's alphabet"):
        aligner.align(["日本"], recorded(noise).runs[0])
