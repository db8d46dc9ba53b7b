"""The default COVAREP provider against synthesised voices whose every number is known: the column "truth" of docs/covarep.md.

OMP_NUM_THREADS=1 python benchmarks/covarep_truth.py

LF pulses of known pitch and shape (Fant, Liljencrants & Lin 1985; Fant 1995 for Rd), made at 128 kHz, brought to 16 kHz and sent through
the formants of a vowel, noise 60 dB down; a chirp, a click, noise and silence. Nothing of extractors/ goes into them: growth and decay are
solved here in the time domain, by another method. tests/extractors/test_covarep_voice.py uses the same voices. It takes a minute or two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.signal import lfilter, resample_poly
from scipy.stats import spearmanr

from emofuse.extractors.voice.covarep import corrected
from emofuse.extractors.voice.covarep.linear_prediction import residuals
from emofuse.extractors.voice.covarep.sound import Sound
from emofuse.extractors.voice.covarep.survey import survey
from emofuse.extractors.voice.covarep.voice import CovarepCompatVoice, CovarepVoice
from emofuse.pipeline.media import ClipInfo, Frame, Samples
from emofuse.pipeline.timed import TimedSequence

Floats = NDArray[np.float64]
RATE = 16000
OVERSAMPLED = 8
SAMPLES_A_CYCLE = 20000  # of the pulse from which the true numbers are read
FORMANTS = {  # Hz, bandwidth
    "a": ((730, 80), (1090, 90), (2440, 120), (3400, 150), (4500, 200)),
    "neutral": ((500, 80), (1500, 90), (2500, 120), (3500, 150), (4500, 200)),
    "i": ((270, 60), (2290, 100), (3010, 120), (3500, 150), (4500, 200)),
}
PITCHES, HIGH_PITCHES = (90, 120, 150, 180, 210, 240), (270, 300, 350)
SHAPES = (0.4, 0.7, 1.0, 1.4, 1.8, 2.25)
CLOSURE_PITCHES, CLOSURE_SHAPES = (90, 110, 135, 165, 200, 245, 300, 350), (0.5, 1.0, 1.5, 2.0)
NEAR = 0.25  # of a period: a closure further from the truth is missed, and one further from every truth is one too many
WITH_TRUTH = ("F0", "NAQ", "QOQ", "H1H2", "Rd")
FOLLOWING = ("PSP", "MDQ", "peakSlope")


class Heard:
    """A clip that has only sound: (start, samples) pieces, handed out in blocks."""

    info = ClipInfo(path="synthesised", container="none", duration=None, video=None, audio=None)

    def __init__(self, *pieces: tuple[float, Floats], block: int = 4096) -> None:
        self.pieces, self.block = pieces, block

    def frames(self) -> Iterator[Frame]:
        return iter(())

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        for start, values in self.pieces:
            for first in range(0, len(values), self.block):
                yield Samples(start + first / RATE, values[first : first + self.block].astype(np.float32))


@dataclass(frozen=True)
class Vowel:
    """A synthesised vowel: its samples at 16 kHz, the seconds of its glottal closures, and the numbers of its pulse."""

    samples: Floats
    closures: Floats
    naq: float
    qoq: float
    h1h2: float  # dB


def root(function: Callable[[float], float], low: float, high: float) -> float:
    solution: Any = brentq(function, low, high)
    return float(solution)


def lf_derivative(rd: float) -> tuple[Callable[[Floats], Floats], float]:
    """The LF derivative pulse over one period as a function of its phase, and the phase of its closure."""
    ra, rk = (-1 + 4.8 * rd) / 100, (22.4 + 11.8 * rd) / 100
    rg = rk / (4 * (0.11 * rd / (0.5 + 1.2 * rk) - ra))
    tp = 1 / (2 * rg)
    te, w = tp * (1 + rk), np.pi / tp
    decay = root(lambda e: e * ra - 1 + np.exp(-e * (1 - te)), 1e-3 / ra, 1.001 / ra)

    def pulse(growth: float, t: Floats) -> Floats:
        opening = -np.exp(growth * (t - te)) * np.sin(w * t) / np.sin(w * te)
        return np.where(t < te, opening, -(np.exp(-decay * (t - te)) - np.exp(-decay * (1 - te))) / (decay * ra))

    middle = (np.arange(SAMPLES_A_CYCLE) + 0.5) / SAMPLES_A_CYCLE
    growth = root(lambda a: float(pulse(a, middle).mean()), 0, 100)
    return lambda t: pulse(growth, t), te


def vowel(f0: Any, rd: float, seconds: float = 1.0, noise: float = 0.001, formants: str = "a") -> Vowel:
    """A vowel of this pitch (Hz: one number, or one a sample at 128 kHz) and pulse shape; noise so much below it."""
    rate = RATE * OVERSAMPLED
    count = int(seconds * rate)
    phase = np.concatenate([[0], np.cumsum(np.broadcast_to(np.asarray(f0, float), (count,)))[:-1]]) / rate
    pulse, te = lf_derivative(rd)
    x = resample_poly(pulse(phase % 1.0), 1, OVERSAMPLED)
    for frequency, width in FORMANTS[formants]:
        r, angle = np.exp(-np.pi * width / RATE), 2 * np.pi * frequency / RATE
        x = lfilter([1 - 2 * r * np.cos(angle) + r * r], [1, -2 * r * np.cos(angle), r * r], x)
    x *= 0.3 / np.abs(x).max()
    x += noise * np.sqrt(np.mean(x**2)) * np.random.default_rng(5).standard_normal(len(x))
    cycle = np.arange(int(phase[-1] - te) + 1) + te
    derivative = pulse(np.arange(SAMPLES_A_CYCLE) / SAMPLES_A_CYCLE)
    flow = np.cumsum(derivative) / SAMPLES_A_CYCLE
    above = np.flatnonzero(flow >= flow.max() / 2)
    level = 20 * np.log10(np.abs(np.fft.rfft(derivative)))
    return Vowel(
        samples=x,
        closures=np.interp(cycle, phase, np.arange(count) / rate),
        naq=flow.max() / np.abs(derivative).max(),
        qoq=(above[-1] - above[0]) / SAMPLES_A_CYCLE,
        h1h2=level[1] - level[2],
    )


def heard(values: Floats, start: float = 0.0, **options: Any) -> TimedSequence:
    """What the default provider makes of these samples."""
    return CovarepVoice(**options)(Heard((start, values)), {})


def middle(stream: TimedSequence, column: str) -> float:
    """The median of a column, but for 150 ms at either end."""
    return float(np.median(stream.column(column)[15:-15]))


def closures_of(values: Floats) -> Floats:
    """Seconds of the closures that the default provider finds."""
    surveyed = survey(Sound(Heard((0.0, values)).samples()), 1000)
    x = surveyed.polarity * values.astype(np.float32).astype(np.float64)
    (residual,) = residuals(x, (18,), centred=True)
    return corrected.closures(x, np.nan_to_num(residual), surveyed.tracks[0]).sample / RATE


@dataclass(frozen=True)
class Measured:
    """One synthesised vowel and the medians of every column on it; Rd of `covarep-compat` beside."""

    formants: str
    pitch: int
    rd: float
    truth: dict[str, float]
    measured: dict[str, float]
    compatible_rd: float


def measured(formants: str, pitch: int, rd: float) -> Measured:
    made = vowel(pitch, rd, formants=formants)
    stream = heard(made.samples)
    truth = {"F0": float(pitch), "NAQ": made.naq, "QOQ": made.qoq, "H1H2": made.h1h2, "Rd": rd}
    values = {name: middle(stream, name) for name in (*WITH_TRUTH, *FOLLOWING, "Rd_conf")}
    return Measured(formants, pitch, rd, truth, values, middle(CovarepCompatVoice()(Heard((0.0, made.samples)), {}), "Rd"))


def errors(voices: list[Measured], column: str) -> str:
    apart = [abs(v.measured[column] - v.truth[column]) for v in voices]
    return f"{np.mean(apart):.3f} ({np.max(apart):.3f})"


def rising(voices: list[Measured], column: str) -> str:
    """In how many of the series of growing Rd the column grows with every step, and its rank correlations with Rd."""
    series = [[v for v in voices if (v.formants, v.pitch) == key] for key in dict.fromkeys((v.formants, v.pitch) for v in voices)]
    values = [[v.measured[column] for v in measured_series] for measured_series in series]
    grows = sum(bool(np.all(np.diff(measured_series) > 0)) for measured_series in values)
    ranks = [float(spearmanr(measured_series, SHAPES).statistic) for measured_series in values]
    return f"{grows} of {len(series)} series grow throughout; rank correlation with Rd {min(ranks):.2f} to {max(ranks):.2f}"


def columns_table() -> None:
    kinds = {
        f"{name}, {pitches[0]} to {pitches[-1]} Hz": [measured(name, pitch, rd) for pitch in pitches for rd in SHAPES]
        for name in FORMANTS
        for pitches in (PITCHES, HIGH_PITCHES)
    }
    print(f"Rd {SHAPES[0]} to {SHAPES[-1]}, noise 60 dB down; median of each vowel against the truth: mean error (largest)\n")
    print("| vowel, pitch | " + " | ".join(WITH_TRUTH) + " | Rd of covarep-compat | Rd_conf |\n" + "|---" * (len(WITH_TRUTH) + 3) + "|")
    for name, voices in kinds.items():
        program = [abs(v.compatible_rd - v.rd) for v in voices]
        trust = [v.measured["Rd_conf"] for v in voices]
        cells = [errors(voices, column) for column in WITH_TRUTH]
        cells += [f"{np.mean(program):.3f} ({np.max(program):.3f})", f"{min(trust):.2f} to {max(trust):.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |")
    both = [v for name, voices in kinds.items() if name.startswith(("a, 90", "neutral, 90")) for v in voices]
    print(f"\n{len(both)} voices of a and neutral, {PITCHES[0]} to {PITCHES[-1]} Hz:")
    for column in WITH_TRUTH:
        print(f"  {column}: {errors(both, column)}")
    for column in (*WITH_TRUTH[1:], *FOLLOWING):
        print(f"  {column}: {rising(both, column)}")


def closures_table() -> None:
    total = hits = many = 0
    apart: list[float] = []
    for formants in FORMANTS:
        for pitch in CLOSURE_PITCHES:
            for rd in CLOSURE_SHAPES:
                truth_vowel = vowel(pitch, rd, formants=formants)
                inner = truth_vowel.closures[(truth_vowel.closures > 0.1) & (truth_vowel.closures < 0.9)]
                ours = closures_of(truth_vowel.samples)
                distance = np.abs(ours[:, None] - inner).min(axis=0)
                hit = distance < NEAR / pitch
                total, hits = total + len(inner), hits + int(hit.sum())
                ours = ours[(ours > 0.1) & (ours < 0.9)]
                many += int((np.abs(ours[:, None] - truth_vowel.closures).min(axis=1) >= NEAR / pitch).sum())
                apart += list(distance[hit])
    count = len(FORMANTS) * len(CLOSURE_PITCHES) * len(CLOSURE_SHAPES)
    near = 100 * np.mean(np.array(apart) < 0.25e-3)
    print(f"\nclosures of {count} voices ({', '.join(FORMANTS)}), {CLOSURE_PITCHES[0]} to {CLOSURE_PITCHES[-1]} Hz:")
    print(
        f"  {hits} of {total} found, {many} too many; median {1e3 * np.median(apart):.3f} ms from the truth, {near:.1f} % within 0.25 ms\n"
    )


def chirp_click_and_noise() -> None:
    seconds = 3.0
    stream = heard(vowel(np.linspace(100, 300, int(seconds * RATE * OVERSAMPLED)), 1.0, seconds).samples)
    apart = (stream.column("F0") - 100 - 200 * (stream.start + 0.005) / seconds)[10:-10]
    print(f"chirp of 67 Hz/s: largest error {np.abs(apart).max():.2f} Hz, median {np.median(apart):.3f} Hz (a row late would be 0.67)")
    click = np.zeros(RATE)
    click[RATE // 2] = 0.9
    stream = heard(click, start=2.0)
    centre = stream.start + 0.005
    sound, shaped = (1e3 * (centre[rows].mean() - 2.5) for rows in (stream.column("rms") > 0, stream.column("MCEP_0") > -16))
    print(f"click at 2.5 s: middle of the rows with sound {sound:.1f} ms from it, of the rows with an envelope {shaped:.1f} ms")
    for colour, name in ((0.0, "white"), (0.95, "low-pass")):
        noise = 0.1 * np.asarray(lfilter([1 - colour], [1, -colour], np.random.default_rng(1).standard_normal(60 * RATE)))
        stream, program = heard(noise), CovarepCompatVoice()(Heard((0.0, noise)), {})
        voiced, compatible = (100 * one.column("VUV").mean() for one in (stream, program))
        probability = np.median(stream.column("voicing_probability"))
        print(f"a minute of {name} noise: {voiced:.2f} % of rows voiced, median probability {probability:.2f}; compat {compatible:.2f} %")
    print(f"digital silence: {int(heard(np.zeros(RATE)).column('VUV').sum())} rows voiced")
    spread = [middle(heard(vowel(150, 1.0, noise=level).samples), "HMPDD_0") for level in (0.001, 0.01, 0.1, 0.3)]
    print("HMPDD_0 with noise 60, 40, 20 and 10 dB down: " + ", ".join(f"{value:.2f}" for value in spread))
    loud = vowel(150, 1.0).samples
    shift = middle(heard(0.5 * loud), "MCEP_0") - middle(heard(loud), "MCEP_0")
    print(f"MCEP_0 at half the loudness: {shift:.3f} (truth {-np.log(2):.3f})")


def main() -> None:
    columns_table()
    closures_table()
    chirp_click_and_noise()


if __name__ == "__main__":
    main()
