"""Sound for the tests of words: a clip made of arrays, a public-domain speech, and synthetic speech whose times are known."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from emofuse.pipeline.errors import NoStream
from emofuse.pipeline.media import SAMPLE_RATE, ClipInfo, Frame, Samples
from emofuse.pipeline.timed import Floats32


class ArrayClip:
    """A `Media` of sound blocks; `fill_silence` as the real clip does it."""

    def __init__(self, *blocks: Samples) -> None:
        self._blocks = blocks

    @property
    def info(self) -> ClipInfo:
        return ClipInfo("array", "none", None, None, None)

    def frames(self) -> Iterator[Frame]:
        raise NoStream("array: no video stream")

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        if not self._blocks:
            raise NoStream("array: no audio stream")
        end = 0.0
        for block in self._blocks:
            gap = round((block.start - end) * SAMPLE_RATE)
            if fill_silence and gap > 0:
                yield Samples(end, np.zeros(gap, np.float32), filled=True)
            yield block
            end = block.end


@dataclass(frozen=True)
class Speech:
    """Synthetic speech: values (n) float32 at 16 kHz, and (sound, start, end) in seconds as the synthesiser made them."""

    values: Floats32
    sounds: tuple[tuple[str, float, float], ...]

    def words(self, counts: list[int]) -> list[tuple[float, float]]:
        """Start and end of each word, given how many sounds each has (pauses not counted)."""
        said = [sound for sound in self.sounds if sound[0] != "pau"]
        assert len(said) == sum(counts)
        edges = np.cumsum([0, *counts])
        return [(said[a][1], said[b - 1][2]) for a, b in pairwise(edges)]


@pytest.fixture(scope="session")
def clip_of() -> type[ArrayClip]:
    return ArrayClip


@pytest.fixture(scope="session")
def jfk(shared: Path) -> Floats32:
    values, rate = soundfile.read(shared / "clips" / "talking" / "jfk.flac", dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(values.mean(axis=1), rate, SAMPLE_RATE), np.float32)


@pytest.fixture(scope="session")
def say(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Speech]:
    program = shutil.which("flite")
    if program is None:
        pytest.skip("needs flite, a speech synthesiser that tells the time of each sound; it is not on this machine")

    def speak(text: str, voice: str = "slt") -> Speech:
        path = tmp_path_factory.mktemp("flite") / "speech.wav"
        command = [program, "-voice", voice, "-psdur", "-t", text, "-o", str(path)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        ends = [(name, float(end)) for name, _, end in (item.rpartition(":") for item in printed.split())]
        starts = [0.0, *(end for _, end in ends)]
        values, rate = soundfile.read(path, dtype="float32", always_2d=True)
        resampled = np.asarray(soxr.resample(values[:, 0], rate, SAMPLE_RATE), np.float32)
        return Speech(resampled, tuple((name, start, end) for (name, end), start in zip(ends, starts, strict=False)))

    return speak


@pytest.fixture(scope="session")
def ctc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CTC model of a user's: wav2vec2 with random weights and a small alphabet."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(0)
    vocabulary = {"<pad>": 0, "|": 1, "'": 2, "A": 3, "E": 4, "F": 5, "I": 6, "N": 7, "O": 8, "T": 9, "V": 10, "Y": 11}
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8, 8, 8, 8, 8, 8, 8), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer", do_stable_layer_norm=True, pad_token_id=0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("ctc")
    Wav2Vec2ForCTC(config).save_pretrained(folder, safe_serialization=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    return folder
