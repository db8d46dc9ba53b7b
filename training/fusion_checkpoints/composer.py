"""Puts utterances together: the voice of one person, the face of another and the words of a third, which share an emotion.

Who says what of it (`Shares`): every subset of streams occurs; words are often neutral, or of another emotion, while voice and face
carry it, as in acted corpora, where every emotion speaks the same sentences; a face or a voice is neutral now and then while the others
are not, since talking faces often look neutral. The utterance's label is the one that was drawn; labels are drawn evenly. Words are
spread over the voice, a face's clock is stretched to the voice's length and shifted a little. A share of a batch are CMU-MOSI's
sentences for sentiment, half of them with a voice or face whose emotion has that sign.

Where evidence lies everywhere, an even mean of the rows is the best estimate and a model learns to attend evenly. So a share of the
utterances have evidence with a place: a tenth to three tenths of the same person's neutral voice is the emotional clip's loudest
stretch (`placed`), a face is at rest but for an apex (faces.py), a short text stands between neutral sentences; each stream at a time
of its own. Where it lies is kept with the utterance, and evidence.py measures attention by it.

A voice comes with what is usual for its person: the mean of none, some or many of the same person's other clips through the same
microphone, some of them mostly of one emotion, as recordings are; collate moves the rows by it as pipeline/baseline.py does.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.fusion.batch import Batch, Scaling
from emofuse.pipeline.streams import EMOTIONS, MODALITIES
from emofuse.pipeline.timed import Floats32, Floats64

from .texts import Texts
from .voices import Row

WORD_SECONDS = 0.35
NEUTRAL = EMOTIONS.index("neutral")
SIGNS = {-1: ("anger", "disgust", "fear", "sadness"), 0: ("neutral", "surprise"), 1: ("happiness",)}
"""Emotions whose voice or face may go with a sentence of negative, middling (within 0.5 of 0) or positive sentiment."""
MOST_WORDS = 24
PHRASE = 5
"""Words of a text that is short enough to stand between neutral sentences."""
PLACED = (0.1, 0.3)
"""Share of an utterance's rows that placed evidence takes."""
OTHERS = (0, 1, 2, 3, 5, 10, 20)
"""How many of the person's other utterances are known, drawn by `Shares.others`."""
SHRINKAGE = 2.0
"""As in pipeline/baseline.py: n utterances are believed n / (n + 2)."""

SUBSETS: tuple[tuple[str, ...], ...] = (
    ("text",),
    ("face",),
    ("voice",),
    ("text", "face"),
    ("text", "voice"),
    ("face", "voice"),
    ("text", "face", "voice"),
)


@dataclass(frozen=True)
class Shares:
    """Of a training batch.

    subsets        how often each of SUBSETS occurs, in its order; the trainer adds words alone as batches of their own (cheap: short)
    sentiment      share of CMU-MOSI sentences
    neutral_text   words that carry nothing beside a voice or face: sentences of acted corpora or neutral texts
    wrong_text     words of any other emotion beside a voice or face
    neutral_face, neutral_voice  a neutral one beside another stream that carries the emotion
    noise          utterances of several streams of which one is drowned in white noise (RRNN's gates learn what to shut out)
    placed         of voices that carry the emotion: those whose evidence has a place
    placed_text    the same of words (faces bring theirs)
    others         how often each number of OTHERS is drawn for a voice's baseline; () is none ever
    second_corpus  of voices: those of EmoDB, where it has the emotion
    text_balance   words alone are drawn by class in proportion to its number of texts to the power of this (0: evenly, 1: as they are);
                   the loss takes that prior off again (Menon et al. 2021, logit adjustment), so that answers stay under an even one
    """

    subsets: tuple[float, ...] = (0.0, 0.15, 0.19, 0.08, 0.11, 0.27, 0.20)
    sentiment: float = 0.12
    neutral_text: float = 0.55
    wrong_text: float = 0.08
    neutral_face: float = 0.2
    neutral_voice: float = 0.08
    noise: float = 0.0
    placed: float = 0.0
    placed_text: float = 0.0
    others: tuple[float, ...] = ()
    second_corpus: float = 0.25
    text_balance: float = 0.5


@dataclass(frozen=True, eq=False)
class Pool:
    """Prepared streams with labels (n); `group` (n) says whose they are (actor, photograph), `kinds` (n) what they are; of voices also
    which clip each is a variation of, which copy (microphone and room), and whether it is of the second corpus."""

    rows: Sequence[Row]
    labels: NDArray[np.intp]
    group: NDArray[np.intp]
    kinds: NDArray[np.str_] | None = None
    clips: NDArray[np.str_] | None = None
    copies: NDArray[np.intp] | None = None
    second: NDArray[np.bool_] | None = None

    def of_label(self) -> list[NDArray[np.intp]]:
        """Indices (k) of the streams of each emotion."""
        return [np.flatnonzero(self.labels == k) for k in range(len(EMOTIONS))]

    @cached_property
    def means(self) -> Floats32:
        """(n g) the mean of each stream's rows, what is not measured left out (NaN where nothing is)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.stack([np.nanmean(row.values.astype(np.float32), axis=0) for row in self.rows])

    @cached_property
    def rooms(self) -> dict[tuple[int, int], NDArray[np.intp]]:
        """(person, copy) -> streams of one person through one microphone."""
        copies = np.zeros(len(self.rows), np.intp) if self.copies is None else self.copies
        keys = list(zip(self.group.tolist(), copies.tolist(), strict=True))
        return {key: np.array([i for i, k in enumerate(keys) if k == key], np.intp) for key in dict.fromkeys(keys)}

    def room_of(self, i: int) -> NDArray[np.intp]:
        """Indices (k) of the streams of the same person through the same microphone as stream i."""
        return self.rooms[int(self.group[i]), 0 if self.copies is None else int(self.copies[i])]

    def with_usual(self, row: Row, i: int, number: int, random: np.random.Generator) -> Row:
        """`row`, of stream i's person, with the mean of so many of the person's other clips: in three of ten draws four fifths of them of
        one emotion. Fewer where there are fewer."""
        room = self.room_of(i)
        others = room if self.clips is None else room[self.clips[room] != self.clips[i]]
        if not number or not len(others):
            return replace(row, usual=None, others=0)
        weights = np.ones(len(others))
        if random.random() < 0.3:
            label = self.labels[int(random.choice(others))]
            same = self.labels[others] == label
            weights = np.where(same, 0.8 / max(1, same.sum()), 0.2 / max(1, (~same).sum()))
        count = min(number, int((weights > 0).sum()))
        chosen = random.choice(others, count, replace=False, p=weights / weights.sum())
        return replace(row, usual=self.means[chosen].mean(0), others=count)

    def with_whole_usual(self, i: int) -> Row:
        """Stream i with the mean of all of the person's other clips."""
        room = self.room_of(i)
        others = room if self.clips is None else room[self.clips[room] != self.clips[i]]
        usual = self.means[others].mean(0) if len(others) else None
        return replace(self.rows[i], usual=usual, others=len(others))


@dataclass(frozen=True, eq=False)
class Member:
    """One utterance: its streams (None: absent), label (-1: none) and sentiment (NaN: none); whose it is, its kind, and the logarithm
    of the prior (7) under which its label was drawn, up to a constant (None: evenly); which stream is drowned in white noise; which of
    its words, from one to before another, are the evidence (None: all)."""

    text: NDArray[np.float16] | None
    face: Row | None
    voice: Row | None
    label: int
    sentiment: float = float("nan")
    group: int = -1
    kind: str = ""
    prior: Floats32 | None = None
    drowned: str = ""
    phrase: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Utterances:
    """A padded batch of the streams, labels (b), sentiments (b), logarithms of the labels' priors (b 7)."""

    streams: dict[str, Batch]
    labels: torch.Tensor
    sentiments: torch.Tensor
    priors: torch.Tensor


@dataclass(frozen=True, eq=False)
class Material:
    """What utterances are put together from, of one split; `rough`: the same voices by other microphones, to be measured on (None: not
    there)."""

    texts: Texts
    spoken: Texts
    mosi: Texts
    face: Pool
    voice: Pool
    rough: Pool | None = None


class Composer:
    """Draws members from the material; everything follows from the seed."""

    def __init__(self, material: Material, shares: Shares, seed: int) -> None:
        self.material, self.shares = material, shares
        self.random = np.random.default_rng(seed)
        self.faces, self.voices = material.face.of_label(), material.voice.of_label()
        second = material.voice.second
        self.second = [index[:0] if second is None else index[second[index]] for index in self.voices]
        self.first = self.voices if second is None else [index[~second[index]] for index in self.voices]
        self.texts = [np.flatnonzero(material.texts.labels == k) for k in range(len(EMOTIONS))]
        lengths = np.array([len(rows) for rows in material.texts.rows])
        self.phrases = [index[lengths[index] <= PHRASE] for index in self.texts]
        amounts = np.array([len(index) for index in self.texts], np.float64) ** shares.text_balance
        self.text_prior = amounts / max(amounts.sum(), 1e-9)
        self.log_prior = np.log(np.maximum(self.text_prior, 1e-9)).astype(np.float32)

    def batches(self, size: int, texts: int = 0) -> Iterator[list[list[Member]]]:
        """Training batches without end, each in parts that are padded apart: `size` utterances, and `texts` of words alone."""
        while True:
            parts = [[self.sentence() if self.random.random() < self.shares.sentiment else self.emotion() for _ in range(size)]]
            if texts:
                parts.append([self.words() for _ in range(texts)])
            yield parts

    def words(self) -> Member:
        """Words alone, of a class drawn by `text_prior`."""
        label = int(self.random.choice(len(EMOTIONS), p=self.text_prior))
        return replace(self.member(("text",), label), prior=self.log_prior)

    def emotion(self) -> Member:
        label = int(self.random.integers(len(EMOTIONS)))
        streams = SUBSETS[int(self.random.choice(len(SUBSETS), p=self.shares.subsets))]
        return self.member(streams, label)

    def member(self, streams: Sequence[str], label: int) -> Member:
        """An utterance of this label with these streams."""
        made = self._member(streams, label)
        if self.shares.noise and len(streams) > 1 and self.random.random() < self.shares.noise:
            made = replace(made, drowned=str(self.random.choice(streams)))
        return made

    def _member(self, streams: Sequence[str], label: int) -> Member:
        mute = {name: False for name in MODALITIES}
        if len(streams) > 1:
            mute["face"] = "face" in streams and self.random.random() < self.shares.neutral_face
            mute["voice"] = "voice" in streams and not mute["face"] and self.random.random() < self.shares.neutral_voice
            draw = self.random.random()
            carried = any(name in streams and not mute[name] for name in ("face", "voice"))
            mute["text"] = carried and draw < self.shares.neutral_text
            if carried and 0 <= draw - self.shares.neutral_text < self.shares.wrong_text:
                wrong = self._any_words(int(self.random.integers(len(EMOTIONS))))
                return replace(self._parts(streams, label, mute), text=wrong, phrase=None)
        return self._parts(streams, label, mute)

    def _parts(self, streams: Sequence[str], label: int, mute: dict[str, bool]) -> Member:
        text = face = voice = phrase = None
        if "text" in streams:
            text, phrase = (self.neutral_words(), None) if mute["text"] else self._words(label)
        if "face" in streams:
            face = self.material.face.rows[int(self.random.choice(self.faces[NEUTRAL if mute["face"] else label]))]
        if "voice" in streams:
            voice = self._voice(NEUTRAL if mute["voice"] else label)
        return Member(text, face, voice, label, phrase=phrase)

    def _voice(self, label: int) -> Row:
        """A voice of this label, whole or with its evidence in one place, and a baseline."""
        pool, shares = self.material.voice, self.shares
        second = len(self.second[label]) > 0 and (not len(self.first[label]) or self.random.random() < shares.second_corpus)
        i = int(self.random.choice((self.second if second else self.first)[label]))
        row = pool.rows[i]
        if label != NEUTRAL and self.random.random() < shares.placed:
            room = pool.room_of(i)
            calm = room[pool.labels[room] == NEUTRAL]
            if len(calm):
                row = placed(pool.rows[int(self.random.choice(calm))], row, self.random)
        if not shares.others:
            return row
        return pool.with_usual(row, i, int(self.random.choice(OTHERS, p=shares.others)), self.random)

    def _words(self, label: int) -> tuple[NDArray[np.float16], tuple[int, int] | None]:
        """Words of this label; or a short text of it between neutral sentences, and where it stands."""
        if label == NEUTRAL or not len(self.phrases[label]) or self.random.random() >= self.shares.placed_text:
            return self._any_words(label), None
        phrase = self.material.texts.rows[int(self.random.choice(self.phrases[label]))]
        before, after = (self.neutral_words()[: (MOST_WORDS - PHRASE) // 2] for _ in range(2))
        if self.random.random() < 0.4:
            before, after = (before[:0], after) if self.random.random() < 0.5 else (before, after[:0])
        return np.concatenate([before, phrase, after]), (len(before), len(before) + len(phrase))

    def neutral_words(self) -> NDArray[np.float16]:
        """Embeddings (w d) of words that carry nothing: of acted corpora, or a neutral text."""
        if self.random.random() < 0.6:
            return self.material.spoken.rows[int(self.random.integers(len(self.material.spoken)))]
        return self._any_words(NEUTRAL)

    def _any_words(self, label: int) -> NDArray[np.float16]:
        return self.material.texts.rows[int(self.random.choice(self.texts[label]))]

    def sentence(self) -> Member:
        """A sentence of CMU-MOSI, alone or with a voice and face of its sign."""
        i = int(self.random.integers(len(self.material.mosi)))
        sentiment = float(self.material.mosi.labels[i])
        text = self.material.mosi.rows[i]
        if self.random.random() < 0.5:
            return Member(text, None, None, -1, sentiment)
        sign = 0 if abs(sentiment) < 0.5 else 1 if sentiment > 0 else -1
        label = EMOTIONS.index(str(self.random.choice(SIGNS[sign])))
        streams = [name for name in ("face", "voice") if self.random.random() < 0.6] or ["face"]
        made = self._parts(streams, label, dict.fromkeys(MODALITIES, False))
        return replace(made, text=text if self.random.random() < 0.7 else None, label=-1, sentiment=sentiment)


def placed(calm: Row, strong: Row, random: np.random.Generator, share: tuple[float, float] = PLACED) -> Row:
    """The calm voice, but for one stretch of its rows, which are the loudest stretch of the strong voice; the first column is loudness
    (whisper's `rms`) or near it. The clock stays the calm voice's."""
    n = len(calm.times)
    size = max(1, min(round(random.uniform(*share) * n), len(strong.times)))
    level = np.convolve(np.nan_to_num(strong.values[:, 0].astype(np.float64)), np.ones(size), "valid")
    taken = int(level.argmax())
    first = int(random.integers(n - size + 1))
    values = calm.values.copy()
    values[first : first + size] = strong.values[taken : taken + size]
    half = calm.seconds / n / 2
    return replace(calm, values=values, evidence=(float(calm.times[first] - half), float(calm.times[first + size - 1] + half)))


def collate(members: Sequence[Member], scalings: Mapping[str, Scaling], random: np.random.Generator | None = None) -> Utterances:
    """The streams that have a scaling, standardised, padded right. With `random` (training) words are left out and rows disturbed."""
    by_stream: dict[str, list[tuple[Floats32, Floats64] | None]] = {name: [] for name in scalings}
    for member in members:
        seconds = member.voice.seconds if member.voice is not None else member.face.seconds if member.face is not None else 0.0
        for name, scaling in scalings.items():
            if name == "text":
                by_stream[name].append(None if member.text is None else _words(member.text, seconds, scaling, random))
            else:
                row = member.face if name == "face" else member.voice
                by_stream[name].append(None if row is None else _rows(row, scaling, seconds / row.seconds, random))
            if name == member.drowned and random is not None and (made := by_stream[name][-1]) is not None:
                by_stream[name][-1] = (drowned(made[0], float(random.uniform(0.5, 1)), random), made[1])
    streams = {name: padded(rows, len(scalings[name].mean)) for name, rows in by_stream.items()}
    return Utterances(
        streams=streams,
        labels=torch.tensor([m.label for m in members]),
        sentiments=torch.tensor([m.sentiment for m in members], dtype=torch.float32),
        priors=torch.from_numpy(np.stack([np.zeros(len(EMOTIONS), np.float32) if m.prior is None else m.prior for m in members])),
    )


def drowned(values: Floats32, share: float, random: np.random.Generator) -> Floats32:
    """Standardised rows mixed with white noise so that their deviation stays: sqrt(1 - share) of them, sqrt(share) of noise."""
    return np.asarray((1 - share) ** 0.5 * values + share**0.5 * random.standard_normal(values.shape), np.float32)


def _scaled(values: NDArray[np.floating], scaling: Scaling) -> Floats32:
    return np.nan_to_num(scaling.apply(values.astype(np.float32)), nan=0.0)


def _words(rows: NDArray[np.float16], seconds: float, scaling: Scaling, random: np.random.Generator | None) -> tuple[Floats32, Floats64]:
    """Words and their times: evenly over the voice less a tenth at either end, or 0.35 s a word where there is nothing else."""
    rows = rows[:MOST_WORDS]
    margin, length = (0.1 * seconds, 0.8 * seconds) if seconds else (0.0, WORD_SECONDS * len(rows))
    times = margin + (np.arange(len(rows)) + 0.5) * length / len(rows)
    values = _scaled(rows, scaling)
    if random is not None and len(rows) > 2:
        kept = random.random(len(rows)) > 0.1
        kept[int(random.integers(len(rows)))] = True
        values, times = values[kept], times[kept]
    return values, times


def baselined(row: Row, scaling: Scaling) -> Floats32:
    """The rows (m g) moved by what is known of the person, n / (n + 2) of the difference from everybody (pipeline/baseline.py)."""
    values = row.values.astype(np.float32)
    if row.usual is None:
        return values
    share = row.others / (row.others + SHRINKAGE)
    return np.asarray(values - np.nan_to_num(share * (row.usual - scaling.mean)), np.float32)


def standardised(row: Row, scaling: Scaling) -> Floats32:
    """The rows (m g) as departures from what is known of the person, standardised; NaN is not measured."""
    return scaling.apply(baselined(row, scaling))


def _rows(row: Row, scaling: Scaling, stretch: float, random: np.random.Generator | None) -> tuple[Floats32, Floats64]:
    """Rows and times; in training with noise, a lag of up to 0.1 s, and a stretch of rows lost now and then."""
    values, times = np.nan_to_num(standardised(row, scaling), nan=0.0), row.times * stretch
    if random is None:
        return values, times
    values = values + (0.1 * random.standard_normal(values.shape)).astype(np.float32)
    values += (0.15 * random.standard_normal((1, values.shape[1]))).astype(np.float32)
    times = times + random.uniform(0, 0.1)
    if len(values) > 8 and random.random() < 0.3:
        lost = int(random.integers(1, len(values) // 4 + 1))
        first = int(random.integers(len(values) - lost))
        kept = np.r_[0:first, first + lost : len(values)]
        values, times = values[kept], times[kept]
    return values, times


def padded(sequences: Sequence[tuple[Floats32, Floats64] | None], columns: int) -> Batch:
    """Values (n columns) and times (n) of each utterance, right-padded; None is an absent stream."""
    n = max(1, *(0 if f is None else len(f[0]) for f in sequences)) if sequences else 1
    values = np.zeros((len(sequences), n, columns), np.float32)
    times, present = np.zeros((len(sequences), n)), np.zeros((len(sequences), n), bool)
    for b, sequence in enumerate(sequences):
        if sequence is not None:
            rows = len(sequence[0])
            values[b, :rows], times[b, :rows], present[b, :rows] = sequence[0], sequence[1], True
    return Batch(torch.from_numpy(values), torch.from_numpy(times), torch.from_numpy(present))
