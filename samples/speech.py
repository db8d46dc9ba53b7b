"""Synthetic speech with known words at known times: flite (BSD) with its voice slt.

flite tells where each of its phones ends (`-psdur`, the very durations that it synthesises with) and which phones a word has (`-ps`).
Phones of a sentence are dealt out to its words by count, and the two lists are compared on the way; so a word's start and end are the
synthesiser's own. Times are seconds from the sentence's first sample.
"""

from __future__ import annotations

import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 16000
VOICE = "slt"

# how far the jaw drops for a phone, 0..1; phones that are not here: 0.25
OPENNESS = {
    **dict.fromkeys(("pau", "m", "b", "p"), 0.0),
    **dict.fromkeys(("f", "v"), 0.08),
    **dict.fromkeys(("s", "z", "sh", "ch", "jh", "zh", "t", "d", "n", "w", "uw"), 0.18),
    **dict.fromkeys(("iy", "ih", "uh", "er", "y", "r"), 0.4),
    **dict.fromkeys(("ax", "eh", "ah", "ey", "ow"), 0.6),
    **dict.fromkeys(("ae", "ay", "ao", "oy"), 0.85),
    **dict.fromkeys(("aa", "aw"), 1.0),
}


@dataclass(frozen=True)
class Interval:
    """A word or a phone and its seconds [start, end)."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Sentence:
    """Spoken text: samples (n) float32 at 16 kHz, its words (punctuation kept) and its phones."""

    samples: NDArray[np.float32]
    words: tuple[Interval, ...]
    phones: tuple[Interval, ...]


def flite(text: str, *options: str) -> str:
    command = ["flite", "-voice", VOICE, *options, "-t", text]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def speak(text: str) -> Sentence:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        listing = flite(text, "-psdur", "-o", str(path)).split()
        with wave.open(str(path)) as sound:
            if (sound.getframerate(), sound.getnchannels()) != (RATE, 1):
                raise SystemExit(f"flite: expected mono {RATE} Hz, got {sound.getparams()}")
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32) / 32768
    phones, begin = [], 0.0
    for item in listing:
        name, end = item.rsplit(":", 1)
        phones.append(Interval(name, begin, float(end)))
        begin = float(end)
    return Sentence(samples, tuple(words_of(text, phones)), tuple(phones))


def words_of(text: str, phones: list[Interval]) -> list[Interval]:
    spoken = [phone for phone in phones if phone.name != "pau"]
    words, at = [], 0
    for word in text.split():
        alone = [name for name in flite(word, "-ps", "-o", "none").split() if name != "pau"]
        mine = spoken[at : at + len(alone)]
        if not mine or (mine[0].name[0] != alone[0][0] and alone[0] not in {"ey"}):  # "a" alone is said as the letter
            raise SystemExit(f"flite says {word!r} as {alone} alone, but {[p.name for p in mine]} in {text!r}")
        words.append(Interval(word, mine[0].start, mine[-1].end))
        at += len(alone)
    if at != len(spoken):
        raise SystemExit(f"flite: {len(spoken)} phones in {text!r}, but its words have {at}")
    return words
