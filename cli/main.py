"""`emofuse`: the group of commands. Each command's module is imported only when it is asked for, so that `--help` answers at once."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module

import click

from emofuse import __version__
from emofuse.pipeline.errors import EmofuseError, UsageError

from .messages import complain, printable

# name -> (module beside this one, what `emofuse --help` says of it)
COMMANDS: dict[str, tuple[str, str]] = {
    "analyze": ("analyze", "Estimate emotions over time, for clips and folders of clips."),
    "extract": ("extract", "Extract the streams only: words, text, face, voice."),
    "convert": ("convert", "Convert results, or another program's file, to another format."),
    "train": ("train", "Train a fusion model from a recipe and data."),
    "experiment": ("experiment", "Reproduce a table of one of the papers: several seeds, mean, deviation, t-test."),
    "evaluate": ("evaluate", "Score a trained model, beside answers that need no model."),
    "adapt": ("adapt", "Fit a model to a few labelled clips of your own, and tell whether that helps."),
    "plot": ("plot", "Draw a timeline, attention, action units, a confusion matrix or training curves."),
    "serve": ("serve", "Open a page on this machine that analyzes dropped clips."),
    "doctor": ("doctor", "Check your installation: packages, device, weights, and what auto would choose."),
    "models": ("models", "List weights and fusion models with licence and SHA-256; fetch them."),
}


class Commands(click.Group):
    """Imports a command's module when it runs, and turns deliberate errors into one line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f".{COMMANDS[cmd_name][0]}", __package__).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and a word that is no command is told what may have been meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = {"batch": "analyze"}.get(name) or next(iter(get_close_matches(name, COMMANDS, 1)), None)
            meant = f"emofuse analyze {name}" if os.path.exists(name) else f"emofuse {near}" if near else "emofuse --help"
            ctx.fail(f"{printable(name)} is no command. Did you mean: {printable(meant)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            complain(error)
            ctx.exit(2)
        except EmofuseError as error:
            complain(error)
            ctx.exit(1)


def end_on(number: int, frame: object) -> None:
    """SIGTERM and SIGHUP end a command as an exception does: what is half-written goes, and child processes end."""
    raise SystemExit(128 + number)


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Within, signals that ask the process to end clean up first. A command that is to outlive its terminal (nohup) does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler == signal.SIG_DFL:
            signal.signal(number, end_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="emofuse")
def main() -> None:
    """Estimate emotions over time from video of a person speaking.

    \b
    emofuse analyze clip.mp4 --out results
    """
    open_closed_streams()
    click.get_current_context().with_resource(ending_cleanly())
    # A closed pipe (| head) is no error of ours; a name that is no valid text must not break a message.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def open_closed_streams() -> None:
    """Standard streams that are closed (cron jobs and daemons do that) become the null device: no file of ours gets their numbers."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


if __name__ == "__main__":
    main()
