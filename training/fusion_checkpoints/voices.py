"""Acted voices as utterances: cut to where there is voice, a little different each time, prepared as a model reads them.

A voice's rows are its provider's (extract_voices.py): Whisper's encoder, or COVAREP. Variation is drawn on these rows, before
preparation: speed, air around the voice, now and then two clips of one actor and emotion in a row; and, where the rows are COVAREP's,
level, a constant on every cepstral coefficient (another microphone or room) and pitch (another throat).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emofuse.fusion.preparation import Heard, Preparation, Speech
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats32, Floats64, Provenance, TimedSequence

ROW_SECONDS = 0.01
"""Of COVAREP; other providers' cached features say theirs."""
RAVDESS = ("neutral", "neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
"""Emotions 01 to 08 of a file's name; calm (02) counts as neutral."""
EMODB = {"W": "anger", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral"}
"""By the letter in a file's name; boredom (L) is none of our seven and is left out."""
CORPORA = ("ravdess", "emodb")
EMODB_PERSON = 100
"""EmoDB's speakers are numbered from here on, so that they are nobody of RAVDESS."""
EMODB_WOMEN = (8, 9, 13, 14, 16)
MARGIN = 0.2
QUIET = 0.03
"""Share of the loudest row's level (30 dB) below which a row is silence, where the provider says the level but not the voicing."""


@dataclass(frozen=True)
class Clip:
    """What a file's name says: emotion (index into EMOTIONS, -1: none of ours), person, sex and intensity, text, corpus."""

    label: int
    person: int
    kind: str
    text: str
    corpus: str

    @classmethod
    def of(cls, name: str) -> Clip:
        """RAVDESS's "03-01-06-01-02-01-12" or EmoDB's "03a01Fa"."""
        if "-" in name:
            _, _, emotion, intensity, statement, _, actor = name.split("-")
            sex, strong = "male" if int(actor) % 2 else "female", "normal" if intensity == "01" else "strong"
            return cls(EMOTIONS.index(RAVDESS[int(emotion) - 1]), int(actor), f"{sex} {strong}", statement, "ravdess")
        emotion = EMODB.get(name[5], "")
        sex = "female" if int(name[:2]) in EMODB_WOMEN else "male"
        return cls(EMOTIONS.index(emotion) if emotion else -1, EMODB_PERSON + int(name[:2]), f"{sex} normal", name[2:5], "emodb")


@dataclass(frozen=True, eq=False)
class Voices:
    """Clips, copies apart: rows of each (n f), one every `row_seconds`, what its name says, which distorted copy it is (0: the clip
    itself)."""

    columns: tuple[str, ...]
    rows: tuple[Floats32, ...]
    names: tuple[str, ...]
    copies: tuple[int, ...]
    row_seconds: float = ROW_SECONDS

    @property
    def clips(self) -> tuple[Clip, ...]:
        return tuple(Clip.of(name) for name in self.names)

    @property
    def labels(self) -> NDArray[np.intp]:
        """(n) each clip's index in EMOTIONS, -1 for an emotion that is not among them."""
        return np.array([clip.label for clip in self.clips], np.intp)

    @property
    def actors(self) -> NDArray[np.intp]:
        """(n) whose voice each is: RAVDESS's actor, or EmoDB's speaker + EMODB_PERSON."""
        return np.array([clip.person for clip in self.clips], np.intp)

    @property
    def kinds(self) -> NDArray[np.str_]:
        """(n) sex and intensity: "female normal" ("strong" has no neutral; EmoDB has no intensities)."""
        return np.array([clip.kind for clip in self.clips])

    @property
    def corpora(self) -> NDArray[np.str_]:
        """(n) "ravdess" or "emodb"."""
        return np.array([clip.corpus for clip in self.clips])

    def where(self, keep: NDArray[np.bool_]) -> Voices:
        """Those of the n that `keep` (n) marks."""
        index = np.flatnonzero(keep)
        return Voices(
            self.columns,
            tuple(self.rows[i] for i in index),
            tuple(self.names[i] for i in index),
            tuple(self.copies[i] for i in index),
            self.row_seconds,
        )


def read_voices(folder: Path, corpora: Sequence[str] = CORPORA) -> Voices:
    """Every voice_{copy}.npz of a folder, of these corpora; clips of emotions that are none of ours are left out."""
    rows: list[Floats32] = []
    names: list[str] = []
    copies: list[int] = []
    columns: tuple[str, ...] = ()
    row_seconds = ROW_SECONDS
    for path in sorted(folder.glob("voice_[0-9].npz")):
        with np.load(path, allow_pickle=False) as data:
            columns = tuple(str(c) for c in data["columns"])
            row_seconds = float(data["row_seconds"]) if "row_seconds" in data else ROW_SECONDS
            rows += np.split(data["values"], np.cumsum(data["lengths"])[:-1])
            names += [str(n) for n in data["names"]]
            copies += [int(path.stem[-1])] * len(data["names"])
    voices = Voices(columns, tuple(rows), tuple(names), tuple(copies), row_seconds)
    return voices.where((voices.labels >= 0) & np.isin(voices.corpora, corpora))


def preparation_of(columns: tuple[str, ...]) -> Preparation:
    """How a model reads a provider's columns: COVAREP's as a voice, Whisper's as what a network heard."""
    return Speech() if "VUV" in columns else Heard()


def spoken(
    rows: Floats32, columns: tuple[str, ...], before: float = MARGIN, after: float = MARGIN, row_seconds: float = ROW_SECONDS
) -> Floats32:
    """Of rows (n f), those from the first with voice to the last, and so many seconds before and after; all rows if there is no voice
    for long."""
    if "VUV" in columns:
        voiced = rows[:, columns.index("VUV")] > 0.5
    else:
        level = rows[:, columns.index("rms")]
        voiced = level > QUIET * level.max()
    lasting = np.flatnonzero(np.convolve(voiced, np.ones(5), "same") >= 3)
    if not len(lasting):
        return rows
    first = max(0, lasting[0] - round(before / row_seconds))
    return rows[first : lasting[-1] + 1 + round(after / row_seconds)]


def varied(rows: Floats32, columns: tuple[str, ...], random: np.random.Generator, row_seconds: float = ROW_SECONDS) -> Floats32:
    """Rows (n f) -> (m f): the same words at another speed and, in COVAREP's columns, with another distance, microphone and throat."""
    before, after = random.uniform(0.0, 0.5, 2)
    cut = spoken(rows, columns, before, after, row_seconds)
    speed = np.exp(random.normal(0, 0.12))
    index = np.minimum((np.arange(max(2, int(len(cut) / speed))) * speed).astype(int), len(cut) - 1)
    made = cut[index].astype(np.float32)
    if "VUV" not in columns:
        made[:, columns.index("rms")] *= np.exp(random.normal(0, 1.2))  # level, natural logarithm: 10 dB
        return np.asarray(made, np.float32)
    envelope = [columns.index(f"MCEP_{i}") for i in range(25)]
    colour = random.normal(0, 1, 25) * 0.3 / np.sqrt(np.arange(25) + 1)
    colour[0] = random.normal(0, 1.2)
    made[:, envelope] += colour.astype(np.float32)
    made[:, columns.index("F0")] *= 2 ** random.normal(0, 0.12)
    return np.asarray(made, np.float32)


@dataclass(frozen=True, eq=False)
class Row:
    """One prepared stream: values (m g) float16, before standardisation; middles (m) and length in seconds from the utterance's start;
    the seconds between which its evidence lies (None: all over); the mean (g) of so many other utterances of its person (None: none)."""

    values: NDArray[np.float16]
    times: Floats64
    seconds: float
    evidence: tuple[float, float] | None = None
    usual: Floats32 | None = None
    others: int = 0


def prepared(rows: Floats32, columns: tuple[str, ...], preparation: Preparation, stream: str, row_seconds: float = ROW_SECONDS) -> Row:
    """Rows (n f) at an even rate, from second 0 on, as a model reads them."""
    start: Floats64 = np.arange(len(rows), dtype=np.float64) * row_seconds
    rows_of_model = preparation.prepare(TimedSequence(stream, columns, rows, start, start + row_seconds, Provenance("composed", "1"))).rows
    return Row(rows_of_model.values.astype(np.float16), (rows_of_model.start + rows_of_model.end) / 2, len(rows) * row_seconds)


def plain_voices(voices: Voices, preparation: Preparation) -> list[Row]:
    """Each clip as it is, cut as `emofuse analyze` cuts it."""
    columns, step = voices.columns, voices.row_seconds
    return [prepared(spoken(rows, columns, row_seconds=step), columns, preparation, "voice", step) for rows in voices.rows]


def varied_voices(voices: Voices, preparation: Preparation, copies: int, random: np.random.Generator) -> tuple[list[Row], NDArray[np.intp]]:
    """`copies` variations of each clip, and which clip each is of (m)."""
    labels, actors, columns, step = voices.labels, voices.actors, voices.columns, voices.row_seconds
    varied_rows: list[Row] = []
    index: list[int] = []
    for _ in range(copies):
        for i in range(len(voices.rows)):
            rows = varied(voices.rows[i], columns, random, step)
            if random.random() < 0.15:
                others = np.flatnonzero((labels == labels[i]) & (actors == actors[i]))
                rows = np.concatenate([rows, varied(voices.rows[int(random.choice(others))], columns, random, step)])
            varied_rows.append(prepared(rows, columns, preparation, "voice", step))
            index.append(i)
    return varied_rows, np.array(index, np.intp)
