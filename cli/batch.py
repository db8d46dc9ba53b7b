"""What `emofuse analyze` does with folders: options of a batch, a line per clip, events for machines, a clean end on Ctrl-C."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from emofuse.pipeline.errors import UsageError

from .messages import complain, printable

if TYPE_CHECKING:
    from emofuse.pipeline.batch.events import Finished, Totals

Function = TypeVar("Function", bound=Callable[..., Any])


def batch_options(function: Function) -> Function:
    """--workers --retry-failed --force --dry-run --limit --shard --timeout --memory --follow-links --engine --address --people
    --json-lines."""
    for option in reversed(
        (
            click.option(
                "--workers",
                type=click.IntRange(min=1),
                metavar="N",
                help="Worker processes (default: as many as cores and memory allow).",
            ),
            click.option("--retry-failed", is_flag=True, help="Retry clips that failed in an earlier run."),
            click.option("--force", is_flag=True, help="Redo everything, even finished clips."),
            click.option("--dry-run", is_flag=True, help="Show what would be done with each clip, and do nothing."),
            click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Start at most N clips."),
            click.option("--shard", metavar="I/N", help="Process only part I of N, for N machines that share one folder."),
            click.option(
                "--timeout",
                type=click.FloatRange(min=1),
                metavar="SECONDS",
                help="Time limit per clip (default: 600 s + 120 times its length).",
            ),
            click.option(
                "--memory", type=click.IntRange(min=256), metavar="MIB", help="Memory limit per worker (default: its share of free memory)."
            ),
            click.option("--follow-links", is_flag=True, help="Follow links that lead out of a folder."),
            click.option(
                "--engine", type=click.Choice(["local", "ray"]), default="local", help="Run workers on this machine or on a Ray cluster."
            ),
            click.option(
                "--address", metavar="ADDRESS", help="Address of a Ray cluster (auto, ray://HOST:10001); without it a local one is started."
            ),
            click.option(
                "--people",
                metavar="WHOSE",
                help="Whose clip each is, so that a person's clips share a baseline: a table with the columns clip and person, folder"
                " (one per person), or name:REGEX (docs/baseline.md).",
            ),
            click.option("--json-lines", is_flag=True, help="Print events as JSON lines on stdout."),
        )
    ):
        function = option(function)
    return function


OPTIONS = tuple(str(option.name) for option in click.command("batch")(batch_options(lambda: None)).params)


def is_batch(paths: Sequence[Path], context: click.Context) -> bool:
    """A folder is a batch, and so is whatever an option of batches is given for; single files are analyzed one after the other."""
    from emofuse.pipeline.batch.remote import address_of

    given = (context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT) for name in OPTIONS)
    return any(path.is_dir() or address_of(path) for path in paths) or any(given)


def batch(paths: Sequence[Path], out: Path, writing: Mapping[str, Any], values: dict[str, Any], *, as_json: bool) -> int:
    """Runs it and returns the exit code: 0 all done, 1 some failed or could not be written in a format, 130 stopped by Ctrl-C."""
    from emofuse.assembly import Assembly
    from emofuse.batch import Job, ray_engine, run
    from emofuse.pipeline.batch.events import Event, Finished, Planned, Problem, Remarked, event_document
    from emofuse.pipeline.batch.remote import address_of
    from emofuse.pipeline.batch.run import BatchOptions

    from .batch_progress import batch_progress
    from .options import options_from

    options = options_from(values)
    _ = Assembly(options, say=lambda line: click.echo(line, err=True)).choices  # an invalid option ends the command here
    asked = BatchOptions(values["force"], values["retry_failed"], values["limit"], shard_of(values["shard"]), values["dry_run"])
    quiet, destination = values["json_lines"], address_of(out) or out
    problems = 0
    with stop_on_interrupt() as stopping, batch_progress() as progress:

        def tell(event: Event) -> None:
            nonlocal problems
            progress(event)
            if isinstance(event, Problem):
                problems += 1
                complain(f"{event.path}: {event.reason}")
            if isinstance(event, Remarked):
                complain(event.text)
            if isinstance(event, Planned) and event.passed_over:
                complain(f"{event.passed_over} other {'file is no recording' if event.passed_over == 1 else 'files are no recordings'}")
            if values["json_lines"]:
                click.echo(json.dumps(event_document(event), ensure_ascii=True))
            if isinstance(event, Finished):
                show(event, destination, dry_run=asked.dry_run, as_json=as_json, quiet=quiet)

        job, seconds = Job(options, writing), values["timeout"]
        engine = None
        if values["engine"] == "ray" and not asked.dry_run:
            engine = ray_engine(job, destination, address=values["address"], workers=values["workers"], seconds=seconds)
        memory = None if values["memory"] is None else values["memory"] << 20
        totals = run(
            paths,
            destination,
            job,
            batch=asked,
            workers=values["workers"],
            seconds=seconds,
            memory=memory,
            engine=engine,
            follow_links=values["follow_links"],
            people=values["people"],
            tell=tell,
            stopping=stopping,
        )
    click.echo(summary(totals, destination, asked.dry_run), err=True)
    if totals.stopped:
        return 130
    return 1 if totals.failed or totals.refused or problems else 0


def show(event: Finished, destination: str | Path, *, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """One line per clip: on stdout what came of it, on stderr why nothing did, or what a reader of the result must know."""
    from emofuse.pipeline.batch.manifest import flag_counts

    record = event.record
    if dry_run:
        if not quiet:
            click.echo(printable(f"{event.plan or event.kind}\t{record.path}", keep="\t"))
        return
    if record.state == "failed":
        complain(f"{record.message} [{record.reason}]")
        return
    for why in record.refused.values():
        complain(why)
    if record.remarks and event.kind == "done":
        complain(f"{record.path}: {'; '.join(record.remarks)}")
    if quiet:
        return
    if as_json:
        from emofuse.pipeline.batch.remote import open_store

        text = open_store(str(destination)).read(f"{record.output}/analysis.json")
        click.echo(json.dumps(json.loads(text or b"null"), ensure_ascii=False))
        return
    answer = "no answer" if record.emotion is None else f"{record.emotion} {record.probability:.2f}"
    kept = " (as it was)" if event.kind == "kept" else ""
    flags = f"; flagged: {flag_counts(record)}" if record.flags else ""
    click.echo(printable(f"{record.path}: {record.length:.1f} s, {answer}, {destination}/{record.output}{kept}{flags}"))


def summary(totals: Totals, destination: str | Path, dry_run: bool) -> str:
    if dry_run:
        return f"{totals.clips} clips looked at, nothing changed"
    parts = [
        f"{totals.done} done",
        f"{totals.kept} as they were" if totals.kept else "",
        f"{totals.failed} failed" if totals.failed else "",
    ]
    if totals.reasons:
        parts[2] += " (" + ", ".join(f"{reason} {n}" for reason, n in sorted(totals.reasons.items())) + ")"
    line = f"{', '.join(p for p in parts if p)} of {totals.clips} clips in {totals.seconds:.0f} s; see {destination}/manifest.csv"
    if totals.refused:
        line += f"\n{totals.refused} cannot be written in a format that was asked for: see the column refused"
    if totals.waiting:
        line += f"\n{totals.waiting} clips are waiting: the same command goes on with them"
    elif totals.failed:
        line += "\n--retry-failed tries the failed ones again"
    return line


def shard_of(text: str | None) -> tuple[int, int]:
    """ "2/8" as (2, 8); raises `UsageError`."""
    if text is None:
        return (1, 1)
    first, slash, second = text.partition("/")
    if not (slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise UsageError(f"--shard {text}: expected I/N with 1 <= I <= N, as 2/8")
    return int(first), int(second)


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """A callable that is true once Ctrl-C (or SIGTERM) came. The first lets the running clips finish, a second one stops them."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        click.echo("emofuse: finishing the running clips; press Ctrl-C again to stop now", err=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    except KeyboardInterrupt:
        click.echo("emofuse: stopped at once; the same command goes on from what is finished", err=True)
        sys.exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
