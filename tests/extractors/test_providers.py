"""The list of providers: what each says of itself, the choice between them, and CONTRIBUTING's recipe followed to the letter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emofuse.assembly import choose
from emofuse.extractors import EXTRACTORS, Provider, Request, provider_table
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.streams import STREAMS

ROOT = Path(__file__).resolve().parents[2]
ALL = [provider for providers in EXTRACTORS.values() for provider in providers]


def test_every_stream_has_providers_with_different_names() -> None:
    assert tuple(EXTRACTORS) == tuple(STREAMS)
    for stream, providers in EXTRACTORS.items():
        assert len({provider.name for provider in providers}) == len(providers)
        assert {provider.stream for provider in providers} == {stream}


@pytest.mark.parametrize("provider", ALL, ids=lambda provider: f"{provider.stream}-{provider.name}")
def test_a_provider_describes_itself_in_one_line(provider: type[Provider]) -> None:
    assert provider.help and "\n" not in provider.help and not provider.help.endswith(".")
    assert re.fullmatch(r"|:[A-Za-z]+|\[:[A-Za-z]+\]", provider.argument)
    status = provider.status(Request())
    assert status.reason and "\n" not in status.reason and not (status.usable and status.fetchable)


def test_the_table_in_the_docs_is_the_providers_own() -> None:
    assert provider_table() in (ROOT / "docs/providers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("stream", "requested", "provider", "argument"),
    [
        ("words", "pocketsphinx", "pocketsphinx", ""),
        ("words", "whisper:small", "whisper", "small"),
        ("words", "talk.srt", "transcript", "talk.srt"),
        ("words", "talk.TextGrid", "transcript", "talk.TextGrid"),
        ("words", "talk.csv", "transcript", "talk.csv"),
        ("words", "talk.parquet", "file", "talk.parquet"),
        ("words", "file:talk.csv", "file", "talk.csv"),
        ("words", "FOLDER", "transcript", "FOLDER"),
        ("text", "bert:roberta-base", "bert", "roberta-base"),
        ("text", "roberta-base", "bert", "roberta-base"),
        ("text", "FOLDER", "bert", "FOLDER"),
        ("text", "FILE", "glove", "FILE"),
        ("text", "words.csd", "file", "words.csd"),
        ("face", "FOLDER", "file", "FOLDER"),
        ("face", "openface.csv", "file", "openface.csv"),
        ("voice", "covarep.csd", "file", "covarep.csd"),
    ],
)
def test_a_request_goes_to_the_provider_that_accepts_it(stream: str, requested: str, provider: str, argument: str, tmp_path: Path) -> None:
    file = tmp_path / "vectors"
    file.write_text("a 1 2\n")
    places = {"FOLDER": str(tmp_path), "FILE": str(file)}
    choice = choose(stream, places.get(requested, requested), Request())
    assert (choice.name, choice.argument) == (provider, places.get(argument, argument))


@pytest.mark.parametrize(("stream", "requested"), [("words", "sphinks"), ("face", "compakt"), ("voice", "loud.mp3")])
def test_a_request_that_nobody_accepts_names_the_providers(stream: str, requested: str) -> None:
    with pytest.raises(UsageError, match=rf"--{stream} {requested}: expected auto, none, .*{EXTRACTORS[stream][0].name}"):
        choose(stream, requested, Request())


def test_the_help_names_every_provider() -> None:
    from click.testing import CliRunner

    from emofuse.cli.main import main

    text = " ".join(CliRunner().invoke(main, ["extract", "--help"], terminal_width=200).output.split())
    for provider in ALL:
        assert f"{provider.name}{provider.argument}" in text


def recipe() -> tuple[str, str, str]:
    """The file, the import and the line of the dict in CONTRIBUTING's recipe."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text[text.index("## A new extractor") :], re.DOTALL)
    lines = blocks[1].splitlines()
    return blocks[0], lines[0], lines[-1]


def test_the_recipe_for_a_new_extractor_is_one_file_and_one_line(tmp_path: Path, samples: Path) -> None:
    """In a copy of the checkout: the file of the recipe, its class in the dict (with its import), and the command line knows it."""
    file, import_line, entry = recipe()
    for floor in ("pipeline", "extractors", "fusion", "cli"):
        shutil.copytree(ROOT / floor, tmp_path / "emofuse" / floor, ignore=shutil.ignore_patterns("__pycache__"))
    for module in (ROOT / "src/emofuse").glob("*.py"):
        shutil.copy(module, tmp_path / "emofuse")
    (tmp_path / "emofuse/extractors/voice/loudness.py").write_text(file, encoding="utf-8")
    registry = tmp_path / "emofuse/extractors/__init__.py"
    text = registry.read_text(encoding="utf-8").replace("from .words.", f"{import_line}\nfrom .words.", 1)
    before = entry.replace("LoudnessVoice, ", "")
    assert before != entry and before in text, "the recipe shows the line as it is, with one name more"
    registry.write_text(text.replace(before, entry), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    arguments = ["extract", str(samples / "smile.mp4"), "--offline", "--words=none", "--face=none", "--voice=loudness", "--out", "out"]
    done = subprocess.run([sys.executable, "-m", "emofuse", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"voice\.parquet: 8\d rows x 1 columns by loudness 1", done.stdout), done.stdout
    told = subprocess.run(
        [sys.executable, "-m", "emofuse", "doctor", "--offline"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert re.search(r"loudness +ready +needs no weights", told.stdout)
