"""docs/formats.md keeps its word: every format is in its table, and its recipes run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import emofuse
from emofuse.cli.main import main
from emofuse.conversion import load
from emofuse.extractors.stream_file import SUFFIXES
from emofuse.pipeline.formats.registry import WRITABLE
from emofuse.pipeline.formats.result_folder import write_streams
from emofuse.pipeline.formats.session import Session
from emofuse.pipeline.media import ClipInfo

PAGE = (Path(__file__).parent.parent.parent / "docs/formats.md").read_text(encoding="utf-8")


def test_every_format_and_every_suffix_is_told() -> None:
    table = re.findall(r"^\| `(\w+)` \|(?:[^|\n]*\|){3}", PAGE, flags=re.M)
    assert sorted(table) == sorted(WRITABLE)
    assert all(f"`{suffix}`" in PAGE for suffix in SUFFIXES if suffix != ".csv")


@pytest.fixture
def results(session: Session, tmp_path: Path) -> Path:
    """What `emofuse extract` leaves of two clips."""
    for name in ("smile", "voice_only"):
        clip = tmp_path / f"clips/{name}.mp4"
        clip.parent.mkdir(exist_ok=True)
        clip.write_bytes(b"not opened")
        streams = {stream: session.streams[stream] for stream in ("words", "text", "face", "voice")}
        names = tuple("F0" if column == "f0" else column for column in streams["voice"].columns)  # as the default provider calls it
        streams["voice"] = replace(streams["voice"], columns=names)
        write_streams(ClipInfo(str(clip), "mov", 2.0, None, None), streams, tmp_path / "results" / name, version=emofuse.__version__)
    return tmp_path


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.S)


def test_the_shell_recipes_run(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(results)
    lines = [line.split("#")[0].split() for block in blocks("sh") for line in block.splitlines()]
    converting = [line[1:] for line in lines if line[:2] == ["emofuse", "convert"]]
    assert len(converting) == 2
    for arguments in converting:
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
    assert sorted(p.name for p in Path("elan").iterdir()) == ["smile.eaf", "voice_only.eaf"]
    assert load("elan/smile.eaf")[0].media == str(results / "clips/smile.mp4")
    assert [s.name for s in load("csd")] == ["smile", "voice_only"]
    for used in re.findall(r'"(csd/\w+\.csd)"', PAGE):
        assert Path(used).is_file()


def test_the_table_of_words_prints(results: Path) -> None:
    (recipe,) = [block for block in blocks("python") if "words_table" in block]
    done = subprocess.run(
        [sys.executable, "-c", recipe], cwd=results, env={**os.environ, "PYTHONIOENCODING": "utf-8"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["clip", "word", "start", "emotion", "AU12", "F0"]
    assert len(recipe.strip().splitlines()) <= 5
