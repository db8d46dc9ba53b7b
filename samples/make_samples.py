"""Makes the sample clips and truth.json. Deterministic; needed only to remake them:

    apt-get install flite          # speech; the Python side needs what emofuse installs (scikit-image, scipy, PyAV)
    python samples/make_samples.py

smile.mp4        happy sentences; the smile, the raised brows and every word lie where truth.json says
late.mkv         the video starts at 0 and has a variable frame rate, the sound starts late and has a gap
no_audio.mp4     a smile without sound
voice_only.flac  sad sentences without a picture
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from portrait import SIDE, Portrait, Pose
from speech import OPENNESS, RATE, VOICE, Interval, Sentence, speak

FOLDER = Path(__file__).parent
CLOCK = Fraction(1, 1000)
BLOCK = 1024
RAMP = 0.32  # seconds that a smile or raised brows take to come and to go
OPEN = 0.35  # the mouth counts as open from here


@dataclass(frozen=True)
class Act:
    """An expression over [start, end): it comes within RAMP seconds of start and is gone at end."""

    start: float
    end: float

    def at(self, seconds: float) -> float:
        rise = np.clip(min(seconds - self.start, self.end - seconds) / RAMP, 0, 1)
        return float(rise * rise * (3 - 2 * rise))

    def truth(self) -> dict[str, float]:
        return {"start": self.start, "end": self.end, "full_from": round(self.start + RAMP, 3), "full_until": round(self.end - RAMP, 3)}


@dataclass(frozen=True, eq=False)
class Scene:
    """What a clip shows and says. `frames` are the starts of its frames, `sound` the pieces of its audio track by their start."""

    name: str
    duration: float
    frames: tuple[float, ...] = ()
    said: tuple[tuple[float, str], ...] = ()
    tracks: tuple[tuple[float, float], ...] = ()
    smile: Act | None = None
    brow: Act | None = None
    spoken: tuple[tuple[float, Sentence], ...] = field(default=())


def steady(duration: float) -> tuple[float, ...]:
    return tuple(round(i / 25, 3) for i in range(round(duration * 25)))


def unsteady(duration: float) -> tuple[float, ...]:
    """A camera in bad light: 30 to 10 frames per second, in whole milliseconds."""
    steps, times, now = (33, 34, 33, 50, 67, 33, 100, 40, 40, 83), [], 0
    while now < duration * 1000:
        times.append(now / 1000)
        now += steps[len(times) % len(steps)]
    return tuple(times)


SCENES = (
    Scene(
        "smile.mp4",
        duration=8.6,
        frames=steady(8.6),
        said=(
            (0.4, "I have some wonderful news."),
            (2.6, "We won the first prize, and I am very happy about it."),
            (6.4, "Thank you for everything."),
        ),
        tracks=((0.0, 8.6),),
        smile=Act(3.0, 6.4),
        brow=Act(0.8, 2.0),
    ),
    Scene(
        "late.mkv",
        duration=8.0,
        frames=unsteady(8.0),
        said=((1.5, "I am so happy to see you today."), (5.2, "This is a wonderful morning.")),
        tracks=((1.25, 4.202), (5.05, 7.802)),
        smile=Act(4.0, 7.0),
    ),
    Scene("no_audio.mp4", duration=3.2, frames=steady(3.2), smile=Act(1.0, 2.6)),
    Scene(
        "voice_only.flac",
        duration=7.8,
        said=((0.3, "The old man was very sad because he lost his house in the storm."), (4.6, "I do not want to talk about it.")),
        tracks=((0.0, 7.8),),
    ),
)


def opening(phones: Sequence[Interval], seconds: float) -> float:
    """0..1: straight lines between the middles of the phones."""
    if not phones:
        return 0.0
    middles = [(p.start + p.end) / 2 for p in phones]
    return float(np.interp(seconds, middles, [OPENNESS.get(p.name, 0.25) for p in phones], left=0.0, right=0.0))


def moved(intervals: Sequence[Interval], by: float) -> list[Interval]:
    return [Interval(i.name, i.start + by, i.end + by) for i in intervals]


def pose_at(scene: Scene, phones: Sequence[Interval], seconds: float) -> Pose:
    smile = scene.smile.at(seconds) if scene.smile else 0.0
    return Pose(smile, opening(phones, seconds), scene.brow.at(seconds) if scene.brow else 0.0)


def sound_of(scene: Scene, sentences: Sequence[tuple[float, Sentence]]) -> NDArray[np.float32]:
    """(duration at RATE): the sentences where they belong, over a whisper of noise so that silence is a room's."""
    sound = np.random.default_rng(7).standard_normal(round(scene.duration * RATE)).astype(np.float32) * 2e-4
    for start, sentence in sentences:
        at = round(start * RATE)
        sound[at : at + len(sentence.samples)] += 0.8 * sentence.samples
    return sound


def write(scene: Scene, images: Sequence[NDArray[np.uint8]], sound: NDArray[np.float32]) -> None:
    with av.open(str(FOLDER / scene.name), "w", options={"fflags": "+bitexact"}) as container:
        if images:
            video: Any = container.add_stream("libx264", rate=25)
            video.width = video.height = SIDE
            video.pix_fmt = "yuv420p"
            video.time_base = video.codec_context.time_base = CLOCK
            video.options = {"crf": "21", "preset": "slow", "g": "50", "bf": "0", "threads": "1"}
            video.codec_context.flags |= av.codec.context.Flags.bitexact
        if scene.tracks:
            codec = "aac" if scene.name.endswith(".mp4") else "flac"
            audio: Any = container.add_stream(codec, rate=RATE, layout="mono")
            if codec == "aac":
                audio.bit_rate = 48_000
            audio.codec_context.flags |= av.codec.context.Flags.bitexact
        if images:
            for seconds, image in zip(scene.frames, images, strict=True):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = round(seconds * 1000), CLOCK
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if scene.tracks:
            kind = np.float32 if audio.codec_context.format.name.startswith("flt") else np.int16
            for start, end in scene.tracks:
                piece = sound[round(start * RATE) : round(end * RATE)]
                values = piece if kind is np.float32 else np.round(piece * 32767).astype(np.int16)
                size = audio.codec_context.frame_size or BLOCK
                if len(values) % size and (start, end) != scene.tracks[-1]:
                    raise SystemExit(f"{scene.name}: {len(values)} samples before a gap are not whole blocks of {size}: the gap would move")
                for at in range(0, len(values), size):
                    block = av.AudioFrame.from_ndarray(values[None, at : at + size], format=audio.codec_context.format.name, layout="mono")
                    block.sample_rate, block.time_base, block.pts = RATE, Fraction(1, RATE), round(start * RATE) + at
                    container.mux(audio.encode(block))
            container.mux(audio.encode(None))


def open_spans(scene: Scene, phones: Sequence[Interval]) -> list[list[float]]:
    """Where the mouth stands open, to a hundredth of a second."""
    times = np.arange(round(scene.duration * 100)) / 100
    is_open = np.array([False, *(opening(phones, t) >= OPEN for t in times), False])
    edges = np.flatnonzero(np.diff(is_open.astype(int)))
    return [[round(a / 100, 2), round(b / 100, 2)] for a, b in edges.reshape(-1, 2)]


def make(scene: Scene, portrait: Portrait) -> dict[str, Any]:
    sentences = [(start, speak(text)) for start, text in scene.said]
    words = [word for start, sentence in sentences for word in moved(sentence.words, start)]
    phones = [phone for start, sentence in sentences for phone in moved(sentence.phones, start)]
    shown = [pose_at(scene, phones, seconds) for seconds in scene.frames]
    write(scene, [portrait.draw(pose) for pose in shown], sound_of(scene, sentences))
    truth: dict[str, Any] = {
        "sha256": hashlib.sha256((FOLDER / scene.name).read_bytes()).hexdigest(),
        "duration": scene.duration,
        "text": " ".join(text for _, text in scene.said),
        "words": [{"word": w.name, "start": round(w.start, 3), "end": round(w.end, 3)} for w in words],
        "audio": [list(track) for track in scene.tracks],
    }
    if scene.frames:
        truth["frames"] = list(scene.frames)
        truth["mouth_open"] = open_spans(scene, phones)
        truth["smile"] = scene.smile.truth() if scene.smile else None
        truth["brow"] = scene.brow.truth() if scene.brow else None
    return truth


def main() -> None:
    portrait = Portrait()
    clips = {scene.name: make(scene, portrait) for scene in SCENES}
    about = {"voice": f"flite {VOICE}", "word_times": "flite's own phone durations", "seconds_from": "the container's start"}
    text = json.dumps({"about": about, "clips": clips}, indent=1)
    (FOLDER / "truth.json").write_text(text + "\n")
    for name in clips:
        print(f"{name}: {(FOLDER / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
