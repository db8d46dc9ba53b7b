"""What the command line says on stderr: one line for each problem, whatever a file's name holds."""

from __future__ import annotations

import click


def complain(problem: object) -> None:
    """One line on stderr. Control characters (a newline in a file's name) are shown, not obeyed."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(problem))
    click.echo(f"emofuse: {text}", err=True)
