"""`emofuse extract --voice covarep` and `covarep-compat` on files as they come: short, silent, stereo, of other rates, without sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from emofuse.cli.main import main
from emofuse.extractors.voice.covarep.voice import CovarepVoice
from emofuse.pipeline.columns import COVAREP
from emofuse.pipeline.formats.parquet import read_stream
from emofuse.pipeline.timed import TimedSequence

PROVIDERS = ("covarep", "covarep-compat")
PITCH, HARMONICS, AMPLITUDE = 150, 21, 0.015


def extract(path: Path, provider: str) -> tuple[Result, TimedSequence | None]:
    """What the command said, and the stream that it wrote."""
    out = path.parent / "out"
    options = ["--words", "none", "--text", "none", "--face", "none", "--offline", "--voice", provider]
    result = CliRunner().invoke(main, ["extract", *options, "--out", str(out), str(path)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    written = out / path.stem / "streams" / "voice.parquet"
    return result, read_stream(written) if written.is_file() else None


def stream_of(path: Path, provider: str = "covarep") -> TimedSequence:
    result, stream = extract(path, provider)
    assert (result.exit_code, result.stderr) == (0, "")
    assert stream is not None
    return stream


def written(folder: Path, values: Any, rate: int = 16000, name: str = "clip.wav") -> Path:
    soundfile.write(folder / name, values, rate, subtype="FLOAT")
    return folder / name


def buzz(rate: int) -> np.ndarray:
    """A second of harmonics below 3.3 kHz: the same sound at every rate."""
    time = np.arange(rate) / rate
    return AMPLITUDE * np.cos(2 * np.pi * PITCH * np.arange(1, HARMONICS + 1)[:, None] * time).sum(axis=0)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_voice_is_written_with_its_columns_by_name(tmp_path: Path, provider: str) -> None:
    stream = stream_of(written(tmp_path, buzz(16000)), provider)
    assert stream.columns == (CovarepVoice.columns if provider == "covarep" else COVAREP)
    assert len(stream) == 100 and np.isfinite(stream.values).all()
    assert stream.column("VUV").mean() > 0.85
    np.testing.assert_allclose(stream.column("F0")[10:-10], PITCH, atol=1)
    assert stream.provenance.extractor == provider


@pytest.mark.parametrize("provider", PROVIDERS)
def test_silence_has_rows_without_voice(tmp_path: Path, provider: str) -> None:
    stream = stream_of(written(tmp_path, np.zeros(16000)), provider)
    assert len(stream) == 100
    assert not stream.column("VUV").any()
    named = [name for name in COVAREP if name != "peakSlope" or provider == "covarep"]  # NaN in silence, for COVAREP's -inf
    assert np.isfinite(stream.select(named).values).all()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("samples", "rows"), [(160, 1), (60, 0)])
def test_ten_milliseconds_are_a_row_and_less_is_empty_with_the_reason(tmp_path: Path, provider: str, samples: int, rows: int) -> None:
    stream = stream_of(written(tmp_path, buzz(16000)[:samples]), provider)
    assert len(stream) == rows
    assert np.isfinite(stream.values).all()
    assert ("less than 10 ms" in stream.reason) == (rows == 0)


def assert_it_is_the_buzz(stream: TimedSequence) -> None:
    inner = slice(15, -15)
    assert len(stream) == 100
    assert stream.column("VUV")[inner].all()
    np.testing.assert_allclose(stream.column("F0")[inner], PITCH, atol=0.5)
    around = np.lib.stride_tricks.sliding_window_view(buzz(16000), 400)[80 + 160 * np.arange(100)[inner] - 200]
    np.testing.assert_allclose(stream.column("rms")[inner], np.sqrt(np.mean(around**2, axis=1)), rtol=0.01)


def test_stereo_is_mixed(tmp_path: Path) -> None:
    assert_it_is_the_buzz(stream_of(written(tmp_path, np.stack([1.5 * buzz(16000), 0.5 * buzz(16000)], axis=1))))


@pytest.mark.parametrize("rate", [8000, 48000])
def test_other_rates_give_what_16_khz_gives(tmp_path: Path, rate: int) -> None:
    assert_it_is_the_buzz(stream_of(written(tmp_path, buzz(rate), rate)))


def test_a_picture_without_sound_is_an_empty_stream_that_says_so(samples: Path, tmp_path: Path) -> None:
    clip = tmp_path / "no_audio.mp4"
    clip.write_bytes((samples / "no_audio.mp4").read_bytes())
    stream = stream_of(clip)
    assert len(stream) == 0
    assert stream.reason == "the clip has no audio stream"


def test_a_sample_that_is_no_number_counts_as_silence(tmp_path: Path) -> None:
    values = buzz(16000)
    values[4000] = np.nan
    stream = stream_of(written(tmp_path, values))
    assert len(stream) == 100 and np.isfinite(stream.values).all()
