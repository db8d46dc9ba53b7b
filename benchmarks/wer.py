"""Word error rates, word times and the reliability of word probabilities, engine beside engine. docs/words.md is made from it.

    python benchmarks/wer.py measure --engine whisper:tiny.en --sets jfk,grid,cremad,ravdess,spoken --out FILE.json
    python benchmarks/wer.py table FILE.json ...
    python benchmarks/wer.py reliability FILE.json ...
    python benchmarks/wer.py times
    python benchmarks/wer.py long --minutes 2 10 60

Needs ../shared, jiwer, and for the synthetic sentences flite and espeak-ng (Debian). A run resumes: clips in FILE are not heard again.
Errors are counted by jiwer (Levenshtein over words). "normalised" is OpenAI Whisper's own English normaliser on both texts (numbers as
digits, contractions written out), with letters and digits set apart ("F2" is "f 2"); "as written" only lower case without punctuation.
Sets: jfk.flac; GRID's ten clips, whose words follow from the name; six CREMA-D clips; four clips of each of five RAVDESS speakers;
`long` joins RAVDESS's, the synthetic and jfk's clips with pauses of 0.4 to 2 s, and hears each length in a process of its own.
`spoken`: twelve sentences as in a dialogue, by four flite and four espeak voices; the same in pink noise (noise20 .. noise0: dB of
signal over noise), through AAC at 24 kb/s (aac) and through a telephone (8 kHz, mu-law).
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from emofuse.extractors.words.openai_whisper_words import OpenaiWhisperWords
from emofuse.extractors.words.sphinx_words import SphinxWords
from emofuse.extractors.words.whisper_words import WhisperWords
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.ports import Extractor

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
RAVDESS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
SPOKEN = (
    "I can't believe you told everyone about my birthday.",
    "We should leave at half past seven, before the traffic gets worse.",
    "My sister bought 23 tickets for the concert on Saturday.",
    "Are you serious? That was the best dinner I have ever had.",
    "The doctor called this morning, and everything is fine.",
    "Nobody asked you to clean the kitchen twice.",
    "He waited two hours in the rain and never complained.",
    "It cost $5.50 in 1961, and now it costs 40.",
    "Please don't be angry with me, I only wanted to help.",
    "There is something strange behind that old curtain.",
    "Congratulations! You finally passed your driving test.",
    "I miss the way we used to talk until midnight.",
)
FLITE, ESPEAK = ("slt", "kal16", "awb", "rms"), ("en-us", "en-gb", "en-us+f3", "en-gb+m3")
FLITE_TEXT = "ask not what your country can do for you but ask what you can do for your country"
FLITE_SOUNDS = (3, 3, 3, 3, 6, 3, 2, 3, 2, 3, 3, 3, 2, 3, 2, 3, 3, 6)
CONDITIONS = ("spoken", "noise20", "noise10", "noise5", "noise0", "aac", "telephone")


@dataclass(frozen=True)
class Item:
    """One clip of a set: where it is, and what is said in it."""

    set: str
    name: str
    path: Path
    text: str


@dataclass(frozen=True)
class HeardClip:
    """What an engine heard in one clip: words, seconds, Whisper's or pocketsphinx's own probabilities (None: none), processor seconds."""

    set: str
    name: str
    text: str
    words: list[str]
    start: list[float]
    end: list[float]
    probability: list[float | None]
    seconds: float
    processor: float


def items(sets: Sequence[str], folder: Path) -> Iterator[Item]:
    """The clips of these sets; synthetic ones are written into the folder."""
    clips = SHARED / "clips"
    if "jfk" in sets:
        yield Item("jfk", "jfk.flac", clips / "talking" / "jfk.flac", JFK)
    for path in sorted((clips / "grid").glob("*.mpg")) if "grid" in sets else ():
        yield Item("grid", path.name, path, " ".join(table[letter] for table, letter in zip(GRID, path.stem, strict=True)))
    for path in sorted((clips / "cremad").glob("*.flv")) if "cremad" in sets else ():
        yield Item("cremad", path.name, path, "Don't forget a jacket.")
    for actor in ("02", "03", "09", "14", "20") if "ravdess" in sets else ():
        paths = sorted((SHARED / "data" / "speech" / "ravdess").rglob(f"03-01-*-{actor}.flac"))
        for path in paths[:: max(1, len(paths) // 4)][:4]:
            yield Item("ravdess", path.name, path, RAVDESS[path.stem.split("-")[4]])
    for condition in sets:
        if condition in CONDITIONS:
            yield from _spoken(condition, folder)


def _spoken(condition: str, folder: Path) -> Iterator[Item]:
    for k, text in enumerate(SPOKEN):
        clean = folder / f"spoken-{k}.wav"
        if not clean.exists():
            _say(text, k, clean)
        yield Item(condition, f"{condition}-{k}", _degraded(clean, condition, k), text)


def _say(text: str, k: int, path: Path) -> None:
    if k % 2:
        subprocess.run(["espeak-ng", "-v", ESPEAK[k // 2 % 4], "-w", str(path), text], check=True)
    else:
        subprocess.run(["flite", "-voice", FLITE[k // 2 % 4], "-t", text, "-o", str(path)], check=True)


def _degraded(clean: Path, condition: str, k: int) -> Path:
    if condition == "spoken":
        return clean
    path = clean.with_name(f"{condition}-{k}.{'m4a' if condition == 'aac' else 'wav'}")
    if path.exists():
        return path
    if condition.startswith("noise"):
        values, rate = soundfile.read(clean, dtype="float64")
        spectrum = np.fft.rfft(np.random.default_rng(k).normal(size=len(values)))
        pink = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), len(values))
        loud = np.abs(values) > 0.05 * np.abs(values).max()
        power = np.square(values[loud]).mean() / 10 ** (float(condition[5:]) / 10)
        noisy = values + pink * np.sqrt(power / np.square(pink).mean())
        soundfile.write(path, noisy / max(1.0, float(np.abs(noisy).max())), rate)
        return path
    import imageio_ffmpeg

    how = ["-c:a", "aac", "-b:a", "24k"] if condition == "aac" else ["-ar", "8000", "-c:a", "pcm_mulaw"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(clean), *how, "-y", str(path)], check=True)
    return path


def engine(name: str) -> Extractor:
    kind, _, model = name.partition(":")
    if kind == "pocketsphinx":
        return SphinxWords()
    if kind == "openai-whisper":
        return OpenaiWhisperWords(model, language="en")
    return WhisperWords(model, language="en")


def measure(name: str, sets: Sequence[str], out: Path) -> None:
    """Hears every clip that the file does not have yet, and writes the file after each."""
    document = json.loads(out.read_text()) if out.exists() else {"engine": name, "clips": []}
    known = {(clip["set"], clip["name"]) for clip in document["clips"]}
    recogniser = engine(name)
    document["version"] = recogniser.provenance.version
    folder = Path(tempfile.gettempdir()) / "words-spoken"
    folder.mkdir(exist_ok=True)
    for item in items(sets, folder):
        if (item.set, item.name) in known:
            continue
        began = time.process_time()
        heard = recogniser(Clip(item.path), {})
        spent = time.process_time() - began
        probability = [None if np.isnan(p) else float(p) for p in heard.column("probability")] if len(heard) else []
        seconds = float(Clip(item.path).info.duration or 0.0)
        start, end = [float(t) for t in heard.start], [float(t) for t in heard.end]
        clip = HeardClip(item.set, item.name, item.text, list(heard.labels["word"]), start, end, probability, seconds, spent)
        document["clips"].append(asdict(clip))
        out.write_text(json.dumps(document, indent=1))
        print(item.set, item.name, " ".join(clip.words), flush=True)


def as_written(text: str) -> str:
    return " ".join(re.sub(r"[^\w' ]", " ", text.lower().replace("’", "'")).split())


def normalised(text: str) -> str:
    from whisper.normalizers import EnglishTextNormalizer

    return re.sub(r"(?<=[a-z])(?=\d)|(?<=\d)(?=[a-z])", " ", EnglishTextNormalizer()(text))


def table(paths: Sequence[Path]) -> None:
    """Errors of every engine and set, as Markdown."""
    import jiwer

    print("| engine | set | clips | words | substituted | deleted | inserted | WER, normalised | WER, as written |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path in paths:
        document = json.loads(path.read_text())
        sets = list(dict.fromkeys(clip["set"] for clip in document["clips"]))
        for name in sets:
            clips = [clip for clip in document["clips"] if clip["set"] == name]
            pairs = [(normalised(clip["text"]), normalised(" ".join(clip["words"]))) for clip in clips]
            counted = jiwer.process_words([a for a, _ in pairs], [b for _, b in pairs])
            plain = jiwer.process_words([as_written(c["text"]) for c in clips], [as_written(" ".join(c["words"])) for c in clips])
            total = sum(len(a.split()) for a, _ in pairs)
            counts = f"{counted.substitutions} | {counted.deletions} | {counted.insertions} | {counted.wer:.1%} | {plain.wer:.1%}"
            print(f"| {document['engine']} | {name} | {len(clips)} | {total} | {counts} |")
        spent, seconds = (sum(clip[key] for clip in document["clips"]) for key in ("processor", "seconds"))
        print(f"{document['engine']}: {spent:.0f} s of processor time for {seconds:.0f} s of sound in {len(document['clips'])} clips")


def judged_words(clip: Mapping[str, Any]) -> Iterator[tuple[float, float, bool]]:
    """For every word heard: log odds of its probability, their mean over the clip, and whether it is right (by jiwer's alignment)."""
    import jiwer

    pieces = [normalised(word).split() for word in clip["words"]]
    flat = [(token, k) for k, tokens in enumerate(pieces) for token in tokens]
    if not flat:
        return
    # The tokens of each word alone, since a normaliser of whole texts may join words; a reference in the same form.
    reference = " ".join(token for word in clip["text"].split() for token in normalised(word).split())
    result = jiwer.process_words([reference], [" ".join(token for token, _ in flat)])
    wrong = set()
    for chunk in result.alignments[0]:
        if chunk.type != "equal":
            wrong |= {flat[i][1] for i in range(chunk.hyp_start_idx, chunk.hyp_end_idx)}
    odds = [_log_odds(p) for p in clip["probability"]]
    for k, tokens in enumerate(pieces):
        if tokens:
            yield odds[k], float(np.mean(odds)), k not in wrong


def _log_odds(probability: float | None) -> float:
    p = min(max(probability if probability is not None else 0.5, 1e-3), 1 - 1e-3)
    return float(np.log(p / (1 - p)))


def reliability(paths: Sequence[Path]) -> None:
    """How many words of some probability are right, in clips of every other speaker; the same for a curve fitted on the other speakers."""
    from scipy.optimize import minimize

    clips = [clip for path in paths for clip in json.loads(path.read_text())["clips"] if clip["words"]]
    speakers = sorted({speaker_of(clip) for clip in clips})
    print(f"chosen on {', '.join(speakers[::2])}; reported on {', '.join(speakers[1::2])}")
    halves = [[clip for clip in clips if speaker_of(clip) in speakers[k::2]] for k in (0, 1)]
    parts = [np.array([row for clip in half for row in judged_words(clip)], np.float64) for half in halves]

    def fit(rows: np.ndarray) -> np.ndarray:
        x, y = np.column_stack([rows[:, :2], np.ones(len(rows))]), rows[:, 2]

        def loss(w: np.ndarray) -> float:
            z = x @ w
            return float(np.mean(np.logaddexp(0, z) - y * z) + 1e-3 * np.square(w).sum())

        return np.asarray(minimize(loss, np.array([0.5, 0.5, 0.0])).x)

    half = fit(parts[0])
    aside = parts[1]
    print(f"{len(aside)} words kept aside, {aside[:, 2].mean():.1%} right")
    _reliability_table("Whisper's own", _probabilities(aside, np.array([1.0, 0.0, 0.0])), aside[:, 2])
    _reliability_table("a curve fitted on the other half", _probabilities(aside, half), aside[:, 2])
    choosing, reporting = ([_mean_and_right(clip) for clip in half] for half in halves)
    for low, high in pairwise((0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)):
        if inside := [right for mean, right in reporting if low <= mean < high]:
            print(f"clips with a mean probability of {low:.1f} to {high:.1f}: {len(inside)}, of their words {np.mean(inside):.0%} right")
    for limit in np.arange(0.3, 0.85, 0.05):
        shares = [f"{np.mean([(mean >= limit) == (right >= 0.5) for mean, right in half]):.1%}" for half in (choosing, reporting)]
        kept = [right for mean, right in reporting if mean >= limit]
        left = [right for mean, right in reporting if mean < limit]
        print(
            f"limit {limit:.2f}: tells clips with most words right from others in {shares[0]} (choosing), {shares[1]} (reporting); "
            f"reporting: {len(left)} of {len(left) + len(kept)} clips flagged, words right {np.mean(left or [np.nan]):.0%}, "
            f"of the others {np.mean(kept or [np.nan]):.0%}"
        )


def speaker_of(clip: Mapping[str, Any]) -> str:
    """Who speaks: the actor, the voice of the synthesiser, or the set, where that is all that is known."""
    if clip["set"] in CONDITIONS:
        k = int(clip["name"].rpartition("-")[2])
        return ESPEAK[k // 2 % 4] if k % 2 else FLITE[k // 2 % 4]
    return f"{clip['set']} {clip['name'].removesuffix('.flac')[-2:]}" if clip["set"] == "ravdess" else str(clip["set"])


def _mean_and_right(clip: Mapping[str, Any]) -> tuple[float, float]:
    """Mean probability of a clip's words, and the share of them that is right."""
    judged = list(judged_words(clip))
    right = float(np.mean([row[2] for row in judged])) if judged else 0.0
    return float(np.mean([p if p is not None else np.nan for p in clip["probability"]])), right


def _probabilities(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-(np.column_stack([rows[:, :2], np.ones(len(rows))]) @ weights))))


def _reliability_table(title: str, p: np.ndarray, right: np.ndarray) -> None:
    bins = np.minimum((p * 5).astype(int), 4)
    print(f"{title}: Brier score {np.mean((p - right) ** 2):.3f}")
    error = 0.0
    for k in range(5):
        inside = bins == k
        if inside.any():
            error += inside.mean() * abs(p[inside].mean() - right[inside].mean())
            low, mean, share = k / 5, p[inside].mean(), right[inside].mean()
            print(f"  {low:.1f} to {low + 0.2:.1f}: {inside.sum()} words, mean {mean:.2f}, right {share:.2f}")
    print(f"  expected calibration error {error:.3f}")


def flite_truth(voice: str, path: Path) -> np.ndarray:
    """Writes FLITE_TEXT as flite's voice says it; (words 2) start and end in seconds, from flite's own sound boundaries."""
    command = ["flite", "-voice", voice, "-psdur", "-t", FLITE_TEXT, "-o", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ends = [(name, float(end)) for name, _, end in (item.rpartition(":") for item in printed.split())]
    sounds = [(start, end) for (_, start), (name, end) in pairwise([("", 0.0), *ends]) if name != "pau"]
    edges = np.cumsum([0, *FLITE_SOUNDS])
    return np.array([(sounds[a][0], sounds[b - 1][1]) for a, b in pairwise(edges)])


def timed_speech(folder: Path) -> Iterator[tuple[str, Path, Sequence[str], np.ndarray]]:
    """What is said where: a name, the sound, its words, and (words) their starts in seconds."""
    for voice in FLITE:
        path = folder / f"{voice}.wav"
        truth = flite_truth(voice, path)
        yield f"flite {voice}", path, FLITE_TEXT.split(), truth[:, 0]
    samples = Path(__file__).resolve().parents[1] / "samples"
    for name, clip in json.loads((samples / "truth.json").read_text())["clips"].items():
        if words := clip.get("words"):
            yield f"samples/{name}", samples / name, [as_written(w["word"]) for w in words], np.array([w["start"] for w in words])


def times() -> None:
    """Start errors where every word is right, aligned and as Whisper times them: flite's voices (18 words each), the sample clips."""
    table = Table(title="|start error| in seconds of words by whisper:tiny.en")
    for column in ("sound", "times by", "words", "median", "95 %", "worst"):
        table.add_column(column)
    for align in (True, False):
        recogniser = WhisperWords("tiny.en", language="en", align=align)
        errors: dict[str, list[float]] = {"flite": [], "samples": []}
        with tempfile.TemporaryDirectory() as folder:
            for name, path, words, starts in timed_speech(Path(folder)):
                heard = recogniser(Clip(path), {})
                if [as_written(word) for word in heard.labels["word"]] == list(words):
                    errors[re.split("[ /]", name)[0]] += list(np.abs(heard.start - starts))
                else:
                    print(f"{name}: heard {' '.join(heard.labels['word'])}")
        for sound, values in errors.items():
            row = (f"{v:.3f}" for v in (np.median(values), np.quantile(values, 0.95), max(values)))
            table.add_row(sound, "alignment" if align else "whisper, within speech", str(len(values)), *row)
    Console(width=120).print(table)


def long(minutes: Sequence[float]) -> None:
    """Processor time and memory by length, tiny.en: a process for each length, for its peak is its own."""
    print(
        "| sound | of it speech | processor time | seconds of sound per processor second | words | peak memory |\n|---|---|---|---|---|---|"
    )
    for length in minutes:
        subprocess.run([sys.executable, __file__, "hear", str(length)], check=True)


def hear(minutes: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.flac"
        _join(path, 60 * minutes, Path(folder))
        recogniser, began = WhisperWords("tiny.en", language="en"), time.process_time()
        heard = recogniser(Clip(path), {})
        spent = time.process_time() - began
    children = resource.getrusage(resource.RUSAGE_CHILDREN)  # the decoder
    spent += children.ru_utime + children.ru_stime
    speech = sum(end - start for start, end in heard.provenance.notes["speech"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"| {minutes:g} minutes | {speech:.0f} s | {spent:.0f} s | {60 * minutes / spent:.1f} | {len(heard)} | {peak:.0f} MB |", flush=True
    )


def _join(path: Path, seconds: float, folder: Path) -> None:
    """Clips one after the other, again and again in another order, with pauses between them."""
    import librosa

    sounds = [librosa.load(item.path, sr=16000)[0] for item in items(("jfk", "ravdess", "spoken"), folder)]
    random, written = np.random.default_rng(0), 0
    with soundfile.SoundFile(path, "w", 16000, 1, "PCM_16") as file:
        while written < seconds * 16000:
            for k in random.permutation(len(sounds)):
                piece = np.concatenate([sounds[k], np.zeros(int(16000 * random.uniform(0.4, 2)), np.float32)])
                piece = piece[: int(seconds * 16000) - written]
                file.write(piece)
                written += len(piece)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--engine", required=True, help="whisper:MODEL, openai-whisper:MODEL or pocketsphinx")
    measuring.add_argument("--sets", default="jfk,grid,cremad,ravdess,spoken")
    measuring.add_argument("--out", type=Path, required=True)
    for name in ("table", "reliability"):
        commands.add_parser(name).add_argument("files", type=Path, nargs="+")
    commands.add_parser("times")
    commands.add_parser("long").add_argument("--minutes", type=float, nargs="+", default=[2.0, 10.0, 60.0])
    commands.add_parser("hear").add_argument("minutes", type=float, help="of one length, as `long` asks for it")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        measure(arguments.engine, arguments.sets.split(","), arguments.out)
    elif arguments.command == "times":
        times()
    elif arguments.command == "long":
        long(arguments.minutes)
    elif arguments.command == "hear":
        hear(arguments.minutes)
    else:
        {"table": table, "reliability": reliability}[arguments.command](arguments.files)


if __name__ == "__main__":
    main()
