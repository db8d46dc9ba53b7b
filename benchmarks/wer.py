"""Word error rate and word-time error of the offline recogniser, on ../shared: jfk.flac and the ten GRID clips.

    python benchmarks/wer.py [--words PROVIDER]

Errors are substitutions, insertions and deletions of the best alignment over the words of the reference (Levenshtein), as NIST's
sclite counts them; text is compared in lower case, without punctuation, numbers as words. The words of a GRID clip follow from its
name (../shared/README.md). Times are compared, for the words that are right, with those of the known text aligned to the same
sound (extractors/words/align_sphinx.py), whose own error against a synthesiser is printed where flite is installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr
from rich.console import Console
from rich.table import Table

from emofuse.extractors.words.align_sphinx import SphinxAligner
from emofuse.extractors.words.recording import Recording
from emofuse.extractors.words.spelling import readings
from emofuse.extractors.words.sphinx_words import SphinxWords
from emofuse.extractors.words.whisper_words import WhisperWords
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.ports import SAMPLE_RATE, Extractor, Samples

SHARED = Path(__file__).resolve().parents[2] / "shared"
JFK = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
GRID = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvwxyz"},
    dict(zip("z123456789", ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
FLITE_TEXT = "ask not what your country can do for you but ask what you can do for your country"
FLITE_SOUNDS = (3, 3, 3, 3, 6, 3, 2, 3, 2, 3, 3, 3, 2, 3, 2, 3, 3, 6)


@dataclass(frozen=True)
class Score:
    """One clip: words in the reference, errors by kind, and |start error| in seconds of the words that are right."""

    name: str
    words: int
    substitutions: int
    deletions: int
    insertions: int
    start_errors: tuple[float, ...]
    heard: str

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def normalised(text: str) -> list[str]:
    """Lower case, without punctuation, numbers as they are said."""
    words = []
    for token in text.split():
        ways = readings(token)
        words += ways[0] if ways else ()
    return words


def operations(reference: list[str], heard: list[str]) -> tuple[int, int, int]:
    """Substitutions, deletions, insertions of a cheapest way from the reference to what was heard."""
    costs = [[(0, 0, 0, 0)] * (len(heard) + 1) for _ in range(len(reference) + 1)]
    for i in range(len(reference) + 1):
        for j in range(len(heard) + 1):
            ways = []
            if i and j:
                total, s, d, n = costs[i - 1][j - 1]
                wrong = int(reference[i - 1] != heard[j - 1])
                ways.append((total + wrong, s + wrong, d, n))
            if i:
                total, s, d, n = costs[i - 1][j]
                ways.append((total + 1, s, d + 1, n))
            if j:
                total, s, d, n = costs[i][j - 1]
                ways.append((total + 1, s, d, n + 1))
            costs[i][j] = min(ways) if ways else (0, 0, 0, 0)
    return costs[-1][-1][1:]


def score(path: Path, text: str, recogniser: Extractor, aligner: SphinxAligner) -> Score:
    clip = Clip(path)
    heard = recogniser(clip, {})
    reference = normalised(text)
    words = normalised(" ".join(heard.labels["word"]))
    starts = [start for start, word in zip(heard.start, heard.labels["word"], strict=True) for _ in normalised(word)]
    truth = aligner.align_text(reference, Recording.of(clip.samples())).spans
    blocks = SequenceMatcher(None, words, reference, autojunk=False).get_matching_blocks()
    errors = [abs(starts[b.a + k] - truth[b.b + k].start) for b in blocks for k in range(b.size)]
    return Score(path.name, len(reference), *operations(reference, words), tuple(float(e) for e in errors), " ".join(words))


def aligner_errors() -> dict[str, tuple[float, float]]:
    """Voice of flite -> median and largest |error| in seconds of the aligner's word starts and ends."""
    flite = shutil.which("flite")
    found = {}
    for voice in ("slt", "kal16", "awb", "rms") if flite else ():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            command = [str(flite), "-voice", voice, "-psdur", "-t", FLITE_TEXT, "-o", str(path)]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            values, rate = soundfile.read(path, dtype="float32", always_2d=True)
        ends = [(name, float(end)) for name, _, end in (item.rpartition(":") for item in printed.split())]
        sounds = [(start, end) for (_, start), (name, end) in pairwise([("", 0.0), *ends]) if name != "pau"]
        edges = np.cumsum([0, *FLITE_SOUNDS])
        truth = np.array([(sounds[a][0], sounds[b - 1][1]) for a, b in pairwise(edges)])
        sound = Recording.of([Samples(0.0, np.asarray(soxr.resample(values[:, 0], rate, SAMPLE_RATE), np.float32))])
        spans = SphinxAligner().align_text(FLITE_TEXT.split(), sound).spans
        errors = np.abs(np.array([(span.start, span.end) for span in spans]) - truth)
        found[voice] = (float(np.median(errors)), float(errors.max()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", default="pocketsphinx", help="pocketsphinx, or whisper:MODEL with weights on this machine")
    provider = parser.parse_args().words
    recogniser: Extractor = (
        SphinxWords() if provider == "pocketsphinx" else WhisperWords(provider.partition(":")[2] or "base", language="en")
    )
    clips = [(SHARED / "clips" / "talking" / "jfk.flac", JFK)]
    for path in sorted((SHARED / "clips" / "grid").glob("*.mpg")):
        clips.append((path, " ".join(table[letter] for table, letter in zip(GRID, path.stem, strict=True))))
    aligner = SphinxAligner()
    began = time.process_time()
    scores = [score(path, text, recogniser, aligner) for path, text in clips]
    spent = time.process_time() - began
    table = Table(title=f"{provider}: {recogniser.provenance.version}")
    for column in ("clip", "words", "sub", "del", "ins", "WER", "median |start|", "heard"):
        table.add_column(column, overflow="fold")
    groups = [("jfk.flac", scores[:1]), ("GRID, 10 clips", scores[1:]), ("all", scores)]
    for name, group in [*((s.name, [s]) for s in scores), *groups[1:]]:
        words, errors = sum(s.words for s in group), sum(s.errors for s in group)
        starts = [e for s in group for e in s.start_errors]
        table.add_row(
            name,
            str(words),
            str(sum(s.substitutions for s in group)),
            str(sum(s.deletions for s in group)),
            str(sum(s.insertions for s in group)),
            f"{errors / words:.1%}",
            f"{np.median(starts):.3f} s" if starts else "",
            group[0].heard if len(group) == 1 else "",
        )
    console = Console(width=160)
    console.print(table)
    starts = np.array([e for s in scores for e in s.start_errors])
    within = float(np.mean(starts <= 0.05))
    console.print(
        f"start of {len(starts)} right words against the aligned text: median {np.median(starts):.3f} s, {within:.0%} within 50 ms"
    )
    for voice, (median, worst) in aligner_errors().items():
        console.print(f"aligner against flite's own times, voice {voice}: median {median:.3f} s, worst {worst:.3f} s")
    console.print(f"processor time {spent:.1f} s (recognition and alignment)")


if __name__ == "__main__":
    main()
