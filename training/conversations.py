"""Conversations whose turns are known, composed of recordings of single speakers: RAVDESS (English) and EmoDB (German).

A turn is one clip, cut to its speech: from the first to the last 10 ms within 25 dB of its loudest moment (a recogniser or a detector of
speech has no say). Pauses of 0.1 to 0.8 s lie between turns; a speaker goes on after a turn with a probability of 0.3. With `overlap`, that
share of the changes of speaker begins 0.3 to 0.9 s before the other has ended. Levels differ by up to 6 dB; weak noise lies under all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from emofuse.pipeline.media import SAMPLE_RATE
from emofuse.pipeline.turns import Turn

LOUD = 10 ** (-25 / 20)
EDGE = 0.05  # seconds kept around the speech of a turn
LEVEL = 0.05  # root mean square of a turn
NOISE = 1e-4
GAPS = (0.1, 0.8)
GOES_ON = 0.3

TEST = ("15", "16", "17", "18", "emodb 11", "emodb 13", "emodb 14", "emodb 15")
"""Speakers of the test: on these nothing was fitted and nothing was chosen."""


@dataclass(frozen=True, eq=False)
class Conversation:
    """Samples (n) at 16 kHz and who says what when, in order of start."""

    values: NDArray[np.float32]
    turns: tuple[Turn, ...]

    @property
    def length(self) -> float:
        """Seconds."""
        return len(self.values) / SAMPLE_RATE


def speaker_of(path: Path) -> str:
    """RAVDESS' names end in the actor, EmoDB's begin with the speaker."""
    return path.stem.split("-")[6] if path.stem.count("-") == 6 else "emodb " + path.stem[:2]


def recordings(data: Path) -> Mapping[str, list[Path]]:
    """Speaker -> clips, in order of name."""
    by_speaker: dict[str, list[Path]] = {}
    for path in sorted([*data.glob("speech/ravdess/**/*.flac"), *data.glob("speech/emodb/**/*.flac")]):
        by_speaker.setdefault(speaker_of(path), []).append(path)
    return dict(sorted(by_speaker.items()))


def one_corpus(speakers: Sequence[str]) -> tuple[list[str], list[str]]:
    """RAVDESS' speakers and EmoDB's: people of one conversation are of one corpus, since a microphone tells corpora apart."""
    return [s for s in speakers if not s.startswith("emodb")], [s for s in speakers if s.startswith("emodb")]


def compose(
    clips: Mapping[str, Sequence[Path]], speakers: Sequence[str], turns: int, random: np.random.Generator, *, overlap: float = 0.0
) -> Conversation:
    """A conversation of so many turns of these speakers; no clip is heard twice. `overlap`: the share of changes that overlap."""
    pieces: list[tuple[int, NDArray[np.float32]]] = []
    spoken: list[Turn] = []
    used: set[Path] = set()
    at = 0.5
    for speaker in _order(speakers, turns, random):
        left = [clip for clip in clips[speaker] if clip not in used]
        clip = left[random.integers(len(left))]
        used.add(clip)
        values, start, end = _speech(clip)
        louder = LEVEL / np.sqrt(np.mean(values**2)) * 10 ** (random.uniform(-3, 3) / 20)
        begin = at
        if spoken and spoken[-1].speaker != speaker and random.random() < overlap:
            begin = max(spoken[-1].start + 0.3, spoken[-1].end - random.uniform(0.3, 0.9))
        pieces.append((round(begin * SAMPLE_RATE), (values * louder).astype(np.float32)))
        spoken.append(Turn(begin + start, begin + end, speaker))
        at = max(at, begin + len(values) / SAMPLE_RATE) + random.uniform(*GAPS)
    whole = random.normal(0, NOISE, round((at + 0.5) * SAMPLE_RATE)).astype(np.float32)
    for first, piece in pieces:
        whole[first : first + len(piece)] += piece
    return Conversation(np.clip(whole, -1, 1), tuple(spoken))


def _order(speakers: Sequence[str], turns: int, random: np.random.Generator) -> list[str]:
    order: list[str] = []
    while len(order) < turns:
        others = [s for s in speakers if not order or s != order[-1]]
        stays = bool(order) and (len(speakers) == 1 or random.random() < GOES_ON)
        order.append(order[-1] if stays else others[random.integers(len(others))])
    return order


def _speech(clip: Path) -> tuple[NDArray[np.float64], float, float]:
    """A clip's speech with a little around it, faded in and out, and seconds within it at which the speech begins and ends."""
    sound = np.asarray(soundfile.read(clip, dtype="float64")[0], np.float64)
    frames = sound[: len(sound) // 160 * 160].reshape(-1, 160)
    level = np.convolve(np.sqrt((frames**2).mean(1)), np.ones(3) / 3, "same")
    loud = np.flatnonzero(level >= LOUD * level.max())
    start, end = loud[0] / 100, (loud[-1] + 1) / 100
    first, last = round(max(0.0, start - EDGE) * SAMPLE_RATE), min(len(sound), round((end + EDGE) * SAMPLE_RATE))
    cut = sound[first:last].copy()
    fade = np.linspace(0, 1, 160)
    cut[:160] *= fade
    cut[-160:] *= fade[::-1]
    return cut, start - first / SAMPLE_RATE, end - first / SAMPLE_RATE
