"""`emofuse models`: fusion models and extractors' weights: where from, licence, SHA-256; fetch them."""

from __future__ import annotations

import json
from typing import Any

import click

from emofuse.extractors.weights.catalogue import KNOWN_WEIGHTS, pull
from emofuse.fusion.shipped import DEFAULT, description, shipped


@click.group("models", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Fusion models that come with emofuse, and the weights that its extractors can use."""
    if ctx.invoked_subcommand is not None:
        return
    models = listing()
    if as_json:
        click.echo(json.dumps(models, indent=2, ensure_ascii=False))
        return
    click.echo("fusion models (--model):")
    for model in models["fusion"]:
        click.echo(f"  {model['name']}{' (default)' if model['default'] else ''}: reads {', '.join(model['streams'])}")
        click.echo(f"    licence: {model['licence']}")
        click.echo(f"    SHA-256: {model['sha256']}")
    click.echo("weights of extractors:")
    for entry in models["weights"]:
        size = "" if entry["bytes"] is None else f", {entry['bytes'] / 1e6:.0f} MB"
        click.echo(f"  {entry['name']} ({entry['stream']} by {entry['provider']}): {'here' if entry['present'] else 'not here'}")
        click.echo(f"    from {entry['origin']}{size}; licence: {entry['licence']}")
        for file, digest in entry["files"].items():
            click.echo(f"    {file}: {'SHA-256 ' + digest if digest else 'its makers publish no SHA-256'}")


@command.command("pull")
@click.argument("names", nargs=-1, required=True)
def pull_command(names: tuple[str, ...]) -> None:
    """Fetch weights by NAMES (as `emofuse models` lists them) and check them."""
    for name in names:
        for path in pull(name):
            click.echo(path)


def listing() -> dict[str, Any]:
    """The facts as plain JSON values."""
    models = {name: description(path) for name, path in shipped().items()}
    return {
        "fusion": [
            {
                "name": name,
                "default": name == DEFAULT,
                "model": about["model"],
                "streams": list(about["streams"]),
                "licence": about["card"]["licence"],
                "sha256": about["safetensors_sha256"],
                "card": about["card"],
            }
            for name, about in models.items()
        ],
        "weights": [
            {
                "name": entry.name,
                "provider": entry.provider,
                "stream": entry.stream,
                "origin": entry.origin,
                "licence": entry.licence,
                "bytes": entry.size,
                "files": dict(entry.files),
                "present": bool(entry.present()),
            }
            for entry in KNOWN_WEIGHTS
        ],
    }
