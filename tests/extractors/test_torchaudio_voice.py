"""The torchaudio voice provider against the librosa one: same rows, same numbers within the stated tolerance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from emofuse.extractors.provider import Request
from emofuse.extractors.voice.librosa_voice import LibrosaVoice
from emofuse.extractors.voice.torchaudio_voice import TorchaudioVoice
from emofuse.pipeline.errors import NoStream, UsageError
from emofuse.pipeline.media import AudioInfo, ClipInfo, Frame, Samples
from emofuse.pipeline.timed import Floats32, TimedSequence

RATE = 16000


class Sound:
    """A clip that is nothing but these blocks of sound."""

    info = ClipInfo("sound.flac", "flac", None, None, AudioInfo("flac", RATE, 1))

    def __init__(self, blocks: Sequence[Samples]) -> None:
        self.blocks = blocks

    def frames(self) -> Iterator[Frame]:
        raise NoStream("sound.flac: no video")

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        return iter(self.blocks)


def speech_like(seconds: float) -> Floats32:
    """Buzz of gliding pitch, noise, and half a second of digital silence."""
    random = np.random.default_rng(11)
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(170 + 60 * np.sin(2 * np.pi * 0.3 * t)) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 16))
    sound = 0.2 * buzz * (np.sin(2 * np.pi * 1.1 * t) > -0.2) + 0.01 * random.standard_normal(len(t))
    sound[RATE : RATE + RATE // 2] = 0
    return sound.astype(np.float32)


def assert_equal_within_tolerance(ours: TimedSequence, reference: TimedSequence) -> None:
    np.testing.assert_array_equal(ours.start, reference.start)
    assert ours.columns == reference.columns
    for name in reference.columns:
        one, other = ours.column(name), reference.column(name)
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other), err_msg=name)
        apart = np.abs(one - other) > 1e-3 * np.nanstd(other)
        allowed = 1e-3 if name == "spectral_rolloff" else 0.0
        assert apart.mean() <= allowed, f"{name}: {apart.sum()} of {len(apart)} rows differ"


def blocks() -> list[Samples]:
    sound = speech_like(31.0)
    return [Samples(0.5, sound[: 25 * RATE]), Samples(40.0, sound[25 * RATE :])]  # chunks of two stretches in one batch


def test_equals_the_librosa_provider() -> None:
    assert_equal_within_tolerance(TorchaudioVoice()(Sound(blocks()), {}), LibrosaVoice()(Sound(blocks()), {}))


def test_batch_size_changes_nothing() -> None:
    many = TorchaudioVoice(chunks_at_once=6)(Sound(blocks()), {})
    single = TorchaudioVoice(chunks_at_once=1)(Sound(blocks()), {})
    # a matrix product of another height may sum in another order: float32 rounding of log spectra around -600..100
    np.testing.assert_allclose(many.values, single.values, rtol=1e-4, atol=1e-3)


def test_digital_silence_equals_librosas() -> None:
    quiet = [Samples(0.0, np.zeros(RATE, np.float32))]
    ours, theirs = TorchaudioVoice()(Sound(quiet), {}), LibrosaVoice()(Sound(quiet), {})
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=5e-4)  # float32 cosines of levels at -100 dB


def test_a_device_that_is_not_there_is_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UsageError, match="device cuda: not on this machine"):
        TorchaudioVoice(device="cuda")


@pytest.mark.gpu
def test_a_gpu_equals_librosa_within_the_tolerance() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    assert_equal_within_tolerance(TorchaudioVoice(device="cuda")(Sound(blocks()), {}), LibrosaVoice()(Sound(blocks()), {}))


def test_provenance_names_the_device() -> None:
    assert TorchaudioVoice.status(Request()).usable
    made = TorchaudioVoice()(Sound([Samples(0.0, speech_like(0.2))]), {})
    assert made.provenance.options["device"] == "cpu" and "torchaudio 2" in made.provenance.version
