"""Acted voices for the shipped checkpoints: a provider's rows of each clip of RAVDESS and EmoDB as it is, and of distorted copies.

    python -m training.fusion_checkpoints.extract_voices --data ../shared/data --out CACHE --copy 0
    python -m training.fusion_checkpoints.extract_voices --data ../shared/data --out CACHE --copy 1        # and 2, 3, ...

Copy 0 is the clip; copies 1, 2, ... went through another microphone and room each: played a little faster or slower (which moves pitch
and formants together, as another speaker would), coloured by a smooth random curve, limited in band, with an echo, noise and another
level; from copy 2 on six in ten are then coded as AAC, MP3 or Opus at a drawn bit and sample rate. All clips of one person in one copy
go through the same (seeded by person and copy), so that the person has a baseline there too. Writes CACHE/voice_{copy}.npz: `values`
(rows, columns) float16 (COVAREP: float32), `lengths`, `names` (clips), `columns`, `row_seconds`. Stopped and started again, it goes on.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from emofuse.extractors import EXTRACTORS, Request
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.media import SAMPLE_RATE
from emofuse.pipeline.ports import Extractor

from ..sound import Sound
from .voices import Clip

SPEEDS = {1: (0.6, (90, 113)), 2: (1.0, (80, 121))}
"""Copy -> share of clips at another speed, and the range of lengths in per cent; copies after the second are like the second."""
CODED = 0.6
CODINGS = (  # container, encoder, sample rates, kilobits per second
    ("ipod", "aac", (22050, 44100, 48000), (24, 96)),
    ("mp3", "libmp3lame", (22050, 24000, 44100), (16, 96)),
    ("ogg", "libopus", (16000, 24000, 48000), (12, 48)),
)
CORPORA = ("ravdess/03-01-*.flac", "emodb/*.flac")
PART = 100
"""Clips between two saved states."""
QUICK = {1, 2, 15, 16, 103, 111}
"""With --quick: these persons, of whom RAVDESS's 15 and 16 and EmoDB's 111 validate, one clip of each emotion."""


def distorted(sound: NDArray[np.float32], random: np.random.Generator, share: float, percent: tuple[int, int]) -> NDArray[np.float32]:
    """Sound (n) at 16 kHz through another microphone, room and, in a `share` of clips, throat: speed drawn from `percent`.

    The loudest sample stays the same up to the gain.
    """
    x = sound.astype(np.float64)
    if random.random() < share:
        x = resample_poly(x, 100, int(random.integers(*percent)))
    if random.random() < 0.35:  # echo: noise that decays by 60 dB in 0.1 to 0.6 s, quieter than the direct sound
        seconds = random.uniform(0.1, 0.6)
        n = int(seconds * SAMPLE_RATE)
        tail = random.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
        tail *= 10 ** (-random.uniform(3, 15) / 20) / np.sqrt((tail**2).sum())
        x = x + fftconvolve(x, tail)[: len(x)]
    if random.random() < 0.7:  # a smooth curve over the logarithm of frequency, deviation 4 dB an octave's knot
        knots = np.geomspace(60, 8000, 8)
        curve = np.interp(np.log(np.maximum(np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE), 30)), np.log(knots), random.normal(0, 4, 8))
        x = np.fft.irfft(np.fft.rfft(x) * 10 ** (curve / 20), len(x))
    if random.random() < 0.3:
        x = np.asarray(sosfilt(butter(4, random.uniform(3400, 7400), "low", fs=SAMPLE_RATE, output="sos"), x))
    if random.random() < 0.3:
        x = np.asarray(sosfilt(butter(2, random.uniform(60, 300), "high", fs=SAMPLE_RATE, output="sos"), x))
    x = x / max(1e-6, np.abs(x).max()) * np.abs(sound).max()
    gain, noisy, pink, ratio = random.normal(0, 6), random.random() < 0.6, random.random() < 0.5, random.uniform(12, 45)
    if noisy:  # drawn last: it takes as many numbers as a clip has samples, and the rest is to be the same in all of a person's clips
        noise = random.standard_normal(len(x))
        if pink:  # about pink
            spectrum = np.fft.rfft(noise)
            noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), len(x))
        loud = np.sort(x**2)[len(x) // 2 :].mean()
        x = x + noise / noise.std() * np.sqrt(loud) * 10 ** (-ratio / 20)
    x = x * 10 ** (gain / 20)
    if (peak := np.abs(x).max()) > 0.99:
        x = x * 0.99 / peak
    return np.asarray(x, np.float32)


def coded(sound: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Sound (n) through a lossy codec and back, at the same sample rate and length."""
    container, codec, rates, (low, high) = CODINGS[int(random.integers(len(CODINGS)))]
    rate, file = int(random.choice(rates)), io.BytesIO()
    with av.open(file, "w", format=container) as out:
        bits = int(1000 * np.exp(random.uniform(np.log(low), np.log(high))))
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
    with av.open(file, "r") as coded_file:
        pieces = [piece.to_ndarray()[0] for frame in (*coded_file.decode(audio=0), None) for piece in back.resample(frame)]
    heard = np.concatenate(pieces)[: len(sound)]
    return np.pad(heard, (0, len(sound) - len(heard)))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--copy", type=int, default=0)
    arguments.add_argument("--voice", default="whisper", metavar="PROVIDER", help="the voice provider (default: whisper)")
    arguments.add_argument("--quick", action="store_true", help="a few dozen clips: does it run, twice the same?")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    extractor = provider_of(options.voice)
    files = [path for corpus in CORPORA for path in sorted((options.data / "speech").glob(corpus))]
    files = few(files) if options.quick else files
    row_seconds = 0.0
    parts = []
    for first in range(0, len(files), PART):
        path = options.out / f"voice_{options.copy}_{first}.part.npz"
        if not path.exists():
            rows = []
            for file in files[first : first + PART]:
                stream = extractor(Sound(heard(file, options.copy)), {})
                rows.append(stream.values if "VUV" in extractor.columns else stream.values.astype(np.float16))
                row_seconds = float(np.median(np.diff(stream.start)))
            whole = path.with_suffix(".tmp.npz")
            np.savez(whole, values=np.concatenate(rows), lengths=[len(r) for r in rows], row_seconds=row_seconds)
            whole.replace(path)
            print(path, flush=True)
        parts.append(path)
    archives = [np.load(path) for path in parts]
    np.savez(
        options.out / f"voice_{options.copy}.npz",
        values=np.concatenate([f["values"] for f in archives]),
        lengths=np.concatenate([f["lengths"] for f in archives]),
        names=np.array([f.stem for f in files]),
        columns=np.array(extractor.columns),
        row_seconds=archives[0]["row_seconds"],
    )
    for path in parts:
        path.unlink()


def few(files: Sequence[Path]) -> list[Path]:
    """The first clip of each emotion of the QUICK persons."""
    first: dict[tuple[int, int], Path] = {}
    for file in files:
        clip = Clip.of(file.stem)
        if clip.person in QUICK and clip.label >= 0:
            first.setdefault((clip.person, clip.label), file)
    return list(first.values())


def provider_of(requested: str) -> Extractor:
    """A voice provider by name ("whisper", "whisper:base"); raises `UsageError` for one that does not exist."""
    name, _, argument = requested.partition(":")
    providers = {provider.name: provider for provider in EXTRACTORS["voice"]}
    if name not in providers:
        raise UsageError(f"--voice {requested}: expected {', '.join(providers)}")
    return providers[name].make(Request(argument=argument, offline=True))


def heard(file: Path, copy: int) -> NDArray[np.float32]:
    """A clip's sound (n) at 16 kHz, or what another microphone makes of it."""
    sound, rate = soundfile.read(file, dtype="float32")
    assert rate == SAMPLE_RATE and sound.ndim == 1, file
    values = np.asarray(sound, np.float32)
    if not copy:
        return values
    person = Clip.of(file.stem).person
    values = distorted(values, np.random.default_rng([person, copy]), *SPEEDS[min(copy, 2)])
    room = np.random.default_rng([person, copy, 1])
    return coded(values, room) if copy >= 2 and room.random() < CODED else values


if __name__ == "__main__":
    main()
