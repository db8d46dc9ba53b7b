"""What the command line says on stdout and stderr: text of files and clips is shown, and never obeyed by the terminal."""

from __future__ import annotations

import click


def printable(text: str, keep: str = "") -> str:
    """`text` with control characters, bidi marks and what else is not printed shown as escapes, but for those in `keep`.

    A file's name or a transcript's word may hold a newline, a colour, or the command that sets a terminal's title.
    """
    return "".join(c if c in keep or c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def complain(problem: object) -> None:
    """One line on stderr."""
    click.echo(f"emofuse: {printable(str(problem))}", err=True)
