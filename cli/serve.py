"""`emofuse serve`: a page on this machine to drop clips on."""

from __future__ import annotations

import secrets
import signal
from typing import Any

import click

from emofuse.assembly import Assembly
from emofuse.fusion.shipped import DEFAULT
from emofuse.pipeline.clip import Limits
from emofuse.pipeline.errors import EmofuseError, UsageError

from .options import options_from, provider_options


@click.command("serve")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port to listen on; 0 takes any free one.")
@click.option("--model", metavar="NAME", help=f"Fusion model by name, or the path of a checkpoint or a training run (default: {DEFAULT}).")
@click.option("--max-mb", type=click.IntRange(min=1), default=500, show_default=True, help="Largest accepted upload, in MiB.")
@click.option("--max-minutes", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="Longest accepted clip, in minutes.")
@click.option("--timeout", type=click.FloatRange(min=1), default=3600.0, show_default=True, help="Time limit per clip, in seconds.")
@provider_options
def command(port: int, max_mb: int, max_minutes: float, timeout: float, **values: Any) -> None:
    """Open a page on this machine that analyzes the clips you drop on it. Ctrl-C stops it and deletes the clips.

    Needs emofuse[serve]. The printed URL contains a secret token; keep it private.
    """
    from dataclasses import replace

    try:
        import uvicorn

        from emofuse.serving import Bounds, ClipRegistry, ClipServer, ClipWork, folder_that_goes, patient_protocol
    except ImportError as error:
        raise UsageError(f"serve: needs more packages ({error.name}): pip install 'emofuse[serve]'") from None

    options = replace(options_from(values), limits=Limits(seconds=60 * max_minutes))
    _ = Assembly(options, say=lambda line: click.echo(line, err=True)).choices  # an invalid option ends the command here
    secret = secrets.token_urlsafe(12)
    try:
        listening = bound(port)
    except OSError as error:
        raise EmofuseError(f"serve: port {port} of 127.0.0.1 cannot be had: {error.strerror or error}") from None
    port = listening.getsockname()[1]
    hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
    # uvicorn raises the signal that ended it once more: as an exception, so that what was dropped is deleted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with folder_that_goes() as folder:
        registry = ClipRegistry(folder, ClipWork(options, seconds=timeout, home=folder / "worker"))
        clips = ClipServer(registry, secret=secret, hosts=hosts, bounds=Bounds(clip_bytes=max_mb << 20))
        configuration = uvicorn.Config(
            clips.application(), http=patient_protocol(), log_level="warning", timeout_keep_alive=10, timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(configuration)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # its terminal was closed
            signal.signal(signal.SIGHUP, lambda number, frame: setattr(server, "should_exit", True))
        try:
            click.echo(f"http://127.0.0.1:{port}/{secret}/")
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            registry.close()


def bound(port: int) -> Any:
    """A socket of our own: uvicorn ends the process where the port is taken."""
    import socket

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)
    return listener
