"""`--help` says in sections what a command with thirty options can do."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from emofuse.cli.main import main
from emofuse.cli.sections import SECTIONS


@pytest.mark.parametrize("name", ["analyze", "extract"])
def test_every_option_is_in_a_named_section(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    listed = [option for options in SECTIONS.values() for option in options]
    assert len(listed) == len(set(listed)), "an option is in two sections"
    missing = [p.name for p in command.params if isinstance(p, click.Option) and p.name not in listed]
    assert not missing, f"options of {name} in no section: {missing}"
    shown = CliRunner().invoke(main, [name, "--help"]).output
    assert "Other options" in shown and shown.index("Streams:") < shown.index("Other options:")
    for option in (p for p in command.params if isinstance(p, click.Option)):
        assert option.opts[0] in shown, f"{option.opts[0]} is not in the help"


def test_a_word_that_is_no_command_is_told_what_may_be_meant(tmp_path: Path) -> None:
    clip = tmp_path / "clip\x1b.mp4"
    clip.write_bytes(b"")
    for word, meant in (
        ("batch", "emofuse analyze"),
        ("analyse", "emofuse analyze"),
        ("qqq", "emofuse --help"),
        (str(clip), "emofuse analyze /"),
    ):
        done = CliRunner().invoke(main, [word])
        assert done.exit_code == 2 and f"is no command. Did you mean: {meant}" in done.output, done.output
        assert "\x1b" not in done.output
