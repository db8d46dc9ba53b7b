"""How much sound coding moves the voice's columns, and what it costs the shipped checkpoints.

    python -m training.fusion_checkpoints.measure_coding --data ../shared/data --features CACHE mult pmr

The validation actors' clips are coded: the first of the two repetitions of each sentence (120 clips) goes through ffmpeg
(imageio-ffmpeg's) and back to 16 kHz. The provider's rows are kept in CACHE/coded-*.npz. Prints UAR of voice alone and of face + voice
(composed as on validation), clean and coded, and which prepared columns move: the median over clips of the absolute difference between
coded and clean, in training deviations.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import soundfile
import torch

from emofuse.fusion.checkpoints import load
from emofuse.fusion.preparation import Preparation
from emofuse.fusion.shipped import description
from emofuse.pipeline.media import SAMPLE_RATE
from emofuse.pipeline.streams import EMOTIONS

from ..sound import Sound
from .composer import Material
from .extract_voices import provider_of
from .material import Speakers, material, pool_of
from .scores import labels_of, uar
from .sets import composed_set, voice_set
from .training import answers
from .voices import Voices, plain_voices, read_voices

CODINGS = {
    "aac 48k": ("m4a", ["-ar", "44100", "-c:a", "aac", "-b:a", "48k"]),
    "aac 24k": ("m4a", ["-ar", "22050", "-c:a", "aac", "-b:a", "24k"]),
    "mp3 24k": ("mp3", ["-ar", "22050", "-c:a", "libmp3lame", "-b:a", "24k"]),
}


def coded(file: Path, coding: str, folder: Path) -> np.ndarray:
    """The clip's samples (n) at 16 kHz after the coding."""
    ending, options = CODINGS[coding]
    call = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    subprocess.run([*call, "-i", str(file), *options, str(folder / f"x.{ending}")], check=True)
    subprocess.run([*call, "-i", str(folder / f"x.{ending}"), "-ar", str(SAMPLE_RATE), "-ac", "1", str(folder / "x.wav")], check=True)
    return np.asarray(soundfile.read(folder / "x.wav", dtype="float32")[0])


def coded_voices(clean: Voices, data: Path, coding: str, cache: Path) -> Voices:
    """The same clips, coded; kept in `cache`."""
    path = cache / f"coded-{coding.replace(' ', '-')}.npz"
    if not path.exists():
        extractor = provider_of("covarep" if "VUV" in clean.columns else "whisper")
        with tempfile.TemporaryDirectory() as folder:
            rows = [
                extractor(Sound(coded(data / "speech" / "ravdess" / f"{name}.flac", coding, Path(folder))), {}).values
                for name in clean.names
            ]
        np.savez(path, values=np.concatenate(rows), lengths=[len(r) for r in rows], names=np.array(clean.names))
    with np.load(path, allow_pickle=False) as archive:
        assert tuple(archive["names"]) == clean.names, path
        return replace(clean, rows=tuple(np.split(archive["values"], np.cumsum(archive["lengths"])[:-1])))


def with_voices(valid: Material, voices: Voices, preparation: Preparation) -> Material:
    return replace(valid, voice=pool_of(voices, plain_voices(voices, preparation), np.arange(len(voices.rows))))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", nargs="*", default=["mult"])
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--features", type=Path, required=True)
    arguments.add_argument("--weights", type=Path, default=Path("fusion/weights"))
    arguments.add_argument("--shifts", type=float, default=0.5, help="print columns that move by at least this many deviations")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    recipe = description(options.weights / f"{options.models[0]}.safetensors")["card"]["numbers"]["recipe"]
    speakers = Speakers(tuple(recipe["valid"]))
    voices = read_voices(options.features)
    first = np.array([name.split("-")[5:6] == ["01"] for name in voices.names]) & np.isin(voices.actors, speakers.valid)
    valid = material(options.features, speakers, recipe["seed"], splits=("valid",)).splits["valid"]
    clean = voices.where(first & (np.array(voices.copies) == 0))
    sounds = {"clean": clean} | {coding: coded_voices(clean, options.data, coding, options.features) for coding in CODINGS}
    read, heard = None, {}
    for name in options.models:
        checkpoint, module = load(options.weights / f"{name}.safetensors")
        read = checkpoint.streams["voice"]
        scalings = {stream: stream_input.scaling for stream, stream_input in checkpoint.streams.items()}
        heard = {sound: with_voices(valid, rows, read.preparation) for sound, rows in sounds.items()}
        for sound, split in heard.items():
            both = composed_set(split, ("face", "voice"), recipe["seed"])
            sets = {"voice": voice_set(split), "voice, baseline": voice_set(split, baseline=True), "face+voice": both}
            shown = []
            for key, members in sets.items():
                answered = answers(module, members, scalings)[:, : len(EMOTIONS)].argmax(1).numpy()
                shares = np.bincount(answered, minlength=len(EMOTIONS)) / len(answered)
                shown.append(f"{key} {100 * uar(labels_of(members), answered):.1f} (answers {np.round(100 * shares).astype(int).tolist()})")
            print(f"{name}, {sound}: {'; '.join(shown)}", flush=True)
    assert read is not None, "there is at least one model"
    scale = read.scaling.apply
    means = {k: np.array([np.nanmean(scale(r.values.astype(np.float32)), 0) for r in m.voice.rows]) for k, m in heard.items()}
    made = np.array(read.preparation.made(read.columns))
    for coding in CODINGS:
        moved = np.nanmedian(np.abs(means[coding] - means["clean"]), 0)
        order = [i for i in np.argsort(-moved) if moved[i] >= options.shifts]
        print(f"{coding}: {len(order)} columns move: " + ", ".join(f"{made[i]} {moved[i]:.2f}" for i in order))


if __name__ == "__main__":
    main()
