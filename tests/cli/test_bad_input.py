"""Bad input gets one clear line naming the file and the reason; the next file goes on; nothing half-written; never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from emofuse.cli.main import main
from emofuse.options import prior_of

VOICE_ONLY = ("--words", "none", "--text", "none", "--face", "none", "--voice", "librosa", "--offline")
PREFIX = "emofuse: "


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def extract(out: Path, *paths: str | Path) -> Result:
    return run("extract", *VOICE_ONLY, "--out", out, "--", *paths)


def lines(result: Result) -> list[str]:
    """The error lines; whatever else went to stderr would be a defect."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return [line for line in result.stderr.splitlines() if line]


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000), 16000)
    return path


def test_a_good_clip_goes_through(tone: Path, tmp_path: Path) -> None:
    result = extract(tmp_path / "out", tone)
    assert (result.exit_code, lines(result)) == (0, [])
    assert (tmp_path / "out/tone/streams/voice.parquet").is_file()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("notes.txt", b"just words\n" * 50, "expected a local media file"),
        ("empty.mp4", b"", "got an empty one"),
        ("truncated.mp4", b"\x00\x00\x00\x20ftypisom" + b"\x00" * 100, "expected a local media file"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n", "expected a local media file"),
    ],
)
def test_what_is_no_clip_is_one_line_and_the_next_file_goes_on(tone: Path, tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    bad = tmp_path / name
    bad.write_bytes(content)
    result = extract(tmp_path / "out", bad, tone)
    (line,) = lines(result)
    assert result.exit_code == 1
    assert line.startswith(PREFIX) and name in line and reason in line
    assert sorted(os.listdir(tmp_path / "out")) == ["tone"]


def test_a_missing_path_and_an_empty_folder_are_named(tone: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    result = extract(tmp_path / "out", tmp_path / "bare", tmp_path / "nowhere.mp4", tone)
    assert result.exit_code == 1
    assert lines(result) == [
        f"emofuse: {tmp_path}/bare: a folder without clips",
        f"emofuse: {tmp_path}/nowhere.mp4: no such file or folder",
    ]
    assert (tmp_path / "out/tone").is_dir()


@pytest.mark.parametrize(
    "name", ["with space.wav", "ünïcödé 音.wav", "-leading dash.wav", "new\nline.wav", "quote'\".wav", "[bold]markup.wav"]
)
def test_odd_names_are_only_names(tone: Path, tmp_path: Path, name: str) -> None:
    odd = tmp_path / name
    shutil.copy(tone, odd)
    result = extract(tmp_path / "out", odd)
    assert (result.exit_code, lines(result)) == (0, [])
    assert (tmp_path / "out" / Path(name).stem / "analysis.json").is_file()


def test_a_name_with_a_leading_dash_works_from_its_own_folder(tone: Path, tmp_path: Path) -> None:
    shutil.copy(tone, tmp_path / "-dash.wav")
    command = [sys.executable, "-W", "ignore", "-m", "emofuse", "extract", *VOICE_ONLY, "--out", "out", "--", "-dash.wav"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/-dash/streams/voice.parquet").is_file()


def test_a_folder_gives_its_clips_and_passes_over_the_rest(tone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "day one"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(tone, folder / "a.wav")
    shutil.copy(tone, folder / "deeper/no extension")
    (folder / "notes.txt").write_text("not a clip")
    result = extract(tmp_path / "out", folder)
    assert (result.exit_code, lines(result)) == (0, [])
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "no extension"]


def test_results_of_an_earlier_run_are_not_clips(tone: Path, tmp_path: Path) -> None:
    assert extract(tmp_path / "out", tone).exit_code == 0
    shutil.copy(tone, tmp_path / "out/tone/copied.wav")
    result = extract(tmp_path / "again", tmp_path / "out")
    assert "a folder without clips" in lines(result)[0]


def test_an_output_folder_that_cannot_be_written_is_one_line(tone: Path, tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("a file")
    result = extract(tmp_path / "in the way", tone)
    (line,) = lines(result)
    assert result.exit_code == 1 and "expected a folder that can be written" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_clip_is_one_line(tone: Path, tmp_path: Path) -> None:
    tone.chmod(0)
    (line,) = lines(extract(tmp_path / "out", tone))
    assert "not readable" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("extract",),
        ("extract", "--words", "telepathy", "x.wav"),
        ("extract", "--nonsense", "x.wav"),
        ("nonsense",),
        ("analyze", "--device", "abacus", "x.wav"),
    ],
)
def test_what_cannot_be_meant_exits_with_2(arguments: tuple[str, ...], tone: Path) -> None:
    result = run(*(str(tone) if a == "x.wav" else a for a in arguments))
    assert result.exit_code == 2
    assert "Traceback" not in result.output and result.stderr


def test_every_command_has_help() -> None:
    from emofuse.cli.main import COMMANDS

    assert COMMANDS
    for name in COMMANDS:
        result = run(name, "--help")
        assert result.exit_code == 0 and "Usage:" in result.output


def test_json_is_one_document_a_clip(tone: Path, tmp_path: Path) -> None:
    result = run("extract", *VOICE_ONLY, "--json", "--out", tmp_path / "out", tone, tone)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(documents) == 1, "a clip named twice is looked at once"
    assert documents[0]["streams"]["voice"]["rows"] == 100


def test_a_newline_in_a_name_does_not_break_the_line(tmp_path: Path) -> None:
    bad = tmp_path / "a\nb.mp4"
    bad.write_text("no clip")
    (line,) = lines(extract(tmp_path / "out", bad))
    assert r"a\nb.mp4" in line


def test_a_transcript_that_cannot_be_read_is_one_line(tone: Path, tmp_path: Path) -> None:
    broken = tmp_path / "words.srt"
    broken.write_text("1\n00:00:xx --> 00:00:02,000\nhello\n")
    result = run("extract", *VOICE_ONLY[2:], "--words", broken, "--out", tmp_path / "out", tone)
    assert result.exit_code == 1
    (line,) = lines(result)
    assert "words.srt" in line and not (tmp_path / "out").exists()


def test_a_folder_of_transcripts_is_read_by_clip_name(tone: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/tone.csv").write_text("start,end,word\n0.1,0.4,la\n0.5,0.9,la\n")
    other = tmp_path / "other.wav"
    shutil.copy(tone, other)
    result = run("extract", *VOICE_ONLY[2:], "--words", tmp_path / "texts", "--out", tmp_path / "out", tone, other)
    (line,) = lines(result)
    assert "expected one transcript named other" in line and result.exit_code == 1
    assert sorted(os.listdir(tmp_path / "out")) == ["tone"]
    assert (tmp_path / "out/tone/transcript.srt").read_text().startswith("1\n00:00:00,100 --> 00:00:00,900\nla la\n")


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("joy=0.5", "got 'joy=0.5'"),
        ("neutral=half", "got 'neutral=half'"),
        ("neutral=1.5", "got 'neutral=1.5'"),
        ("neutral=0.6,anger=0.4", "these sum to 1"),
        ("anger=.2,disgust=.2,fear=.2,happiness=.2,sadness=.2,surprise=.2,neutral=.2", "these sum to 1.4"),
    ],
)
def test_a_prior_that_cannot_be_meant_is_refused_before_any_work(tone: Path, tmp_path: Path, prior: str, message: str) -> None:
    for paths in ((tone,), (tone.parent,)):
        result = run("analyze", "--prior", prior, *VOICE_ONLY, "--out", tmp_path / "out", *paths)
        (line,) = lines(result)
        assert result.exit_code == 2 and message in line and "--prior" in line and not (tmp_path / "out").exists()


def test_a_prior_is_shared_by_those_that_it_does_not_name() -> None:
    assert prior_of(None) is None
    prior = prior_of("neutral=0.4, anger=0.1")
    assert prior is not None and prior["neutral"] == 0.4 and prior["anger"] == 0.1 and prior["fear"] == pytest.approx(0.1)
    assert sum(prior.values()) == pytest.approx(1)
