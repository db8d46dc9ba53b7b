"""Fits the projection of Whisper's middle layers that `--voice whisper` ships: layers 1 to 3 joined, turned onto their main directions.

    python -m training.voice_projection --data ../shared/data --out extractors/voice

Rows of speech (within 30 dB of each clip's loudest moment) of drawn clips, as many of every speaker: RAVDESS without actors 15 to 18,
which choose and judge, and EmoDB. Each layer's columns are standardised, so that none rules, and the principal directions of all are
kept, largest first. No label is read. OUT gets whisper_projection.safetensors and whisper_projection.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from emofuse.extractors.voice.whisper_encoder import WhisperEncoder
from emofuse.extractors.voice.whisper_pieces import Piece
from emofuse.extractors.voice.whisper_voice import layers_of_piece
from emofuse.extractors.voice.whisper_weights import encoder_weights
from emofuse.pipeline.timed import Floats32

LAYERS = (1, 2, 3)
KEPT_OUT = ("15", "16", "17", "18")
LOUD = 10 ** (-30 / 20)


def speaker_of(path: Path) -> str:
    """RAVDESS' names end in the actor, EmoDB's begin with the speaker."""
    return path.stem.split("-")[6] if path.stem.count("-") == 6 else "emodb " + path.stem[:2]


def drawn(data: Path, clips: int, seed: int) -> list[Path]:
    """So many clips of every speaker that may be used."""
    random = np.random.default_rng(seed)
    by_speaker: dict[str, list[Path]] = {}
    for path in sorted([*data.glob("speech/ravdess/**/*.flac"), *data.glob("speech/emodb/**/*.flac")]):
        if speaker_of(path) not in KEPT_OUT:
            by_speaker.setdefault(speaker_of(path), []).append(path)
    return [paths[i] for _, paths in sorted(by_speaker.items()) for i in random.choice(len(paths), min(clips, len(paths)), replace=False)]


def rows_of(paths: Sequence[Path], encoder: WhisperEncoder) -> Floats32:
    """(rows, joined layers) of the loud moments of all clips."""
    rows = []
    for path in paths:
        sound, _ = soundfile.read(path, dtype="float32")
        whole = np.asarray(sound[: len(sound) // 320 * 320], np.float32)
        layers = layers_of_piece(encoder, [Piece(0.0, whole, slice(0, len(whole) // 320), last=True)], LAYERS)[0]
        level = np.sqrt((whole.reshape(-1, 320).astype(np.float64) ** 2).mean(1))
        rows.append(layers.numpy()[level >= LOUD * level.max()])
    return np.concatenate(rows)


def directions(rows: Floats32, columns: int) -> tuple[Floats32, Floats32, float]:
    """Mean (d), matrix (d, columns) of the largest principal directions of the standardised columns, and the variance they keep (0..1)."""
    rows64: NDArray[np.float64] = rows.astype(np.float64)
    mean, deviation = rows64.mean(0), rows64.std(0) + 1e-6
    values, vectors = np.linalg.eigh(np.corrcoef(((rows64 - mean) / deviation).T))
    chosen = vectors[:, ::-1][:, :columns]
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(0), np.arange(columns)])  # the same sign on every machine
    return mean.astype(np.float32), (chosen / deviation[:, None]).astype(np.float32), float(values[::-1][:columns].sum() / values.sum())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--model", default="tiny.en")
    arguments.add_argument("--columns", type=int, default=384)
    arguments.add_argument("--clips", type=int, default=10, help="of each speaker")
    arguments.add_argument("--seed", type=int, default=17)
    given = arguments.parse_args()
    weights = encoder_weights(given.model, offline=True)
    encoder = WhisperEncoder.of(weights.tensors, heads=weights.heads, layers=max(LAYERS))
    paths = drawn(given.data, given.clips, given.seed)
    with torch.inference_mode():
        rows = rows_of(paths, encoder)
    mean, matrix, kept = directions(rows, given.columns)
    data = save({"mean": mean, "matrix": matrix.astype(np.float16)})
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "whisper_projection.safetensors").write_bytes(data)
    described = {
        "encoder": f"OpenAI Whisper {given.model}",
        "encoder_fingerprint": weights.fingerprint(max(LAYERS)),
        "layers": LAYERS,
        "sha256": hashlib.sha256(data).hexdigest(),
        "fitted_on": f"{len(rows)} rows of {len(paths)} clips: RAVDESS without actors {', '.join(KEPT_OUT)} (CC BY-NC-SA 4.0) and EmoDB",
        "variance_kept": round(kept, 4),
        "made_by": f"python -m training.voice_projection --columns {given.columns} --clips {given.clips} --seed {given.seed}",
    }
    (given.out / "whisper_projection.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    print(f"{len(rows)} rows of {len(paths)} clips; {given.columns} columns keep {kept:.3f} of the variance")


if __name__ == "__main__":
    main()
