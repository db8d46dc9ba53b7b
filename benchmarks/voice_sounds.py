"""What coded, noisy and far-off sound costs a simple reader of a voice provider's rows (voice_readers.py).

    python -m benchmarks.voice_sounds --data ../shared/data/speech --cache CACHE --provider whisper

The reader (linear discriminants) is taught on the clean clips of RAVDESS, eight classes, five folds of whole actors, and tested on the
other actors' first saying of the first sentence in each emotion and intensity (15 each), as it is and through each of SOUNDS. With a
baseline, a clip's 14 others went through the same sound, as they do in a recording; teaching has 20 others. With --features, the reader is
also taught on the distorted copies of the clips that shipped checkpoints are trained on (training/fusion_checkpoints/extract_voices.py:
other microphones, rooms, noise of 12 to 45 dB, codecs), of the same actors. Nothing is chosen on what is reported.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import av
import numpy as np
import soundfile
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from benchmarks.voice_readers import (
    LOUD,
    Clips,
    Floats,
    against_baseline,
    clips_of,
    files_of,
    fold_actors,
    labelled,
    mean_row,
    provider_of,
    reader_of,
)
from emofuse.pipeline.media import SAMPLE_RATE
from emofuse.pipeline.timed import Floats32

Change = Callable[[Floats32, np.random.Generator], Floats32]
OTHERS = (0, 20)


def coded(container: str, codec: str, rate: int, bits: int) -> Change:
    """Through a lossy codec at this sample rate and so many bits per second, and back."""

    def change(sound: Floats32, random: np.random.Generator) -> Floats32:
        file = io.BytesIO()
        with av.open(file, "w", format=container) as out:
            stream = cast(av.AudioStream, out.add_stream(codec, rate=rate, layout="mono", bit_rate=bits))
            x = resample_poly(sound.astype(np.float64), rate, SAMPLE_RATE).astype(np.float32)
            to_codec = av.AudioResampler(stream.format, "mono", rate)
            frame = av.AudioFrame.from_ndarray(x[None], "fltp", "mono")
            frame.sample_rate = rate
            for piece in (frame, None):
                for ready in to_codec.resample(piece):
                    out.mux(stream.encode(ready))
            out.mux(stream.encode(None))
        file.seek(0)
        back = av.AudioResampler("fltp", "mono", SAMPLE_RATE)
        with av.open(file, "r") as opened:
            pieces = [piece.to_ndarray()[0] for frame in (*opened.decode(audio=0), None) for piece in back.resample(frame)]
        decoded = np.concatenate(pieces)[: len(sound)]
        return np.asarray(np.pad(decoded, (0, len(sound) - len(decoded))), np.float32)

    return change


def telephone(sound: Floats32, random: np.random.Generator) -> Floats32:
    """300 to 3400 Hz at 8000 Hz, eight bits of mu-law (ITU-T G.711)."""
    narrow = sosfilt(butter(4, (300, 3400), "band", fs=SAMPLE_RATE, output="sos"), sound.astype(np.float64))
    x = resample_poly(narrow, 8000, SAMPLE_RATE)
    scale = max(1e-9, float(np.abs(x).max()))
    x = x / scale
    code = np.round(127 * np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)) / 127
    x = np.sign(code) * np.expm1(np.abs(code) * np.log(256)) / 255 * scale
    return np.asarray(resample_poly(x, SAMPLE_RATE, 8000)[: len(sound)], np.float32)


def noisy(sound: Floats32, random: np.random.Generator) -> Floats32:
    """About pink noise, 10 dB below the louder half of the samples."""
    spectrum = np.fft.rfft(random.standard_normal(len(sound)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), len(sound))
    loud = np.sort(sound.astype(np.float64) ** 2)[len(sound) // 2 :].mean()
    return np.asarray(sound + noise / noise.std() * np.sqrt(loud) * 10 ** (-10 / 20), np.float32)


def room(sound: Floats32, random: np.random.Generator) -> Floats32:
    """An echo that decays by 60 dB in 0.5 s, 3 dB below the direct sound, from 5 ms on."""
    n = SAMPLE_RATE // 2
    tail = random.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail[: SAMPLE_RATE // 200] = 0
    tail *= 10 ** (-3 / 20) / np.sqrt((tail**2).sum())
    far = sound + fftconvolve(sound.astype(np.float64), tail)[: len(sound)]
    return np.asarray(far * (np.abs(sound).max() / max(1e-9, np.abs(far).max())), np.float32)


SOUNDS: Mapping[str, Change] = {
    "AAC, 24 kb/s": coded("ipod", "aac", 22050, 24_000),
    "MP3, 24 kb/s": coded("mp3", "libmp3lame", 22050, 24_000),
    "Opus, 16 kb/s": coded("ogg", "libopus", 16000, 16_000),
    "telephone": telephone,
    "noise, 10 dB": noisy,
    "another room": room,
}


def changed(name: str, files: list[Path], provider: str, cache: Path) -> Floats:
    """(n c) means of the clips through a sound, extracted once; each person has a room of their own."""
    path = cache / f"sounds-{provider}-{name.replace(' ', '').replace('/', '')}-{len(files)}.npy"
    if not path.exists():
        extractor, rows = provider_of(provider), []
        for number, file in enumerate(files):
            seed = int(file.stem.split("-")[6]) if name == "another room" else number
            sound = soundfile.read(file, dtype="float32")[0]
            rows.append(mean_row(extractor, SOUNDS[name](sound, np.random.default_rng(seed))))
        np.save(path, np.nan_to_num(np.array(rows, np.float64)))
    return np.asarray(np.load(path))


def distorted_copies(features: Path) -> list[Clips]:
    """The copies of RAVDESS in features/voice_1.npz, voice_2.npz, ..., clip by clip as `mean_row` takes them."""
    copies = []
    for path in sorted(features.glob("voice_[1-9].npz")):
        with np.load(path, allow_pickle=False) as data:
            names, values, level = data["names"], data["values"], list(data["columns"]).index("rms")
            ends = np.cumsum(data["lengths"])
        files, rows = [], []
        for name, first, last in zip(names, np.r_[0, ends[:-1]], ends, strict=True):
            if "-" in str(name):
                part = values[first:last].astype(np.float64)
                files.append(Path(f"{name}.flac"))
                rows.append(np.nanmean(part[part[:, level] >= LOUD * part[:, level].max()], axis=0))
        copies.append(labelled(files, np.nan_to_num(np.array(rows))))
    return copies


def score(taught: Sequence[Clips], tested: Clips, others: int) -> float:
    """Accuracy in per cent, mean of the folds: taught on each of `taught`, the clean clips first, less the fold's actors. A clip's others
    are of its own copy."""
    scores = []
    for number, fold in enumerate(fold_actors(taught[0])):
        train = [clips.where(~np.isin(clips.speaker, fold)) for clips in taught]
        test = tested.where(np.isin(tested.speaker, fold))
        everybody = np.concatenate([clips.means for clips in train]).mean(0)
        x = np.concatenate([against_baseline(clips, others, everybody, number) for clips in train])
        z = against_baseline(test, others, everybody, number + 1)
        mean, deviation = x.mean(0), x.std(0) + 1e-8
        reader = reader_of("discriminants").fit((x - mean) / deviation, np.concatenate([clips.emotion for clips in train]))
        scores.append(float((reader.predict((z - mean) / deviation) == test.emotion).mean()))
    return 100 * float(np.mean(scores))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--cache", type=Path, required=True)
    arguments.add_argument("--provider", default="whisper")
    arguments.add_argument("--sounds", nargs="+", default=list(SOUNDS), choices=list(SOUNDS), metavar="SOUND")
    arguments.add_argument("--features", type=Path, help="folder of extract_voices.py with distorted copies to teach on too")
    given = arguments.parse_args()
    clean = clips_of("ravdess", given.provider, given.data, given.cache)
    every = files_of("ravdess", given.data)
    chosen = np.array([file.stem.split("-")[4:6] == ["01", "01"] for file in every])
    files = [file for file, taken in zip(every, chosen, strict=True) if taken]
    same = clean.where(chosen)
    taught = [clean, *(distorted_copies(given.features) if given.features else ())]
    before = [score(taught, same, n) for n in OTHERS]
    print(f"| {given.provider}, {len(files)} clips | without baseline | lost | 14 others | lost |\n|---|---|---|---|---|")
    print(f"| as they are | {before[0]:.1f} | | {before[1]:.1f} | |", flush=True)
    for name in given.sounds:
        tested = labelled(files, changed(name, files, given.provider, given.cache))
        now = [score(taught, tested, n) for n in OTHERS]
        cells = " | ".join(f"{after:.1f} | {first - after:.1f}" for first, after in zip(before, now, strict=True))
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
