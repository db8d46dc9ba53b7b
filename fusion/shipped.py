"""The checkpoints that come with the package. Light: reading the list imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emofuse.pipeline.errors import CheckpointError

DEFAULT = "rrnn"
RUN_BEST = "best.safetensors"  # in the folder that `emofuse train` writes
FOLDER = Path(__file__).parent / "weights"


def shipped() -> dict[str, Path]:
    """Name -> path of its .safetensors, in order of name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def locate(name: str | None) -> Path:
    """The .safetensors of a shipped checkpoint's name, or of a path: a checkpoint's (either of its two files) or the folder of a run that
    `emofuse train` finished; None is the default.

    Raises `CheckpointError` naming what there is.
    """
    here = shipped()
    if (name or DEFAULT) in here:
        return here[name or DEFAULT]
    path = Path(name or DEFAULT)
    if path.is_dir() and (path / RUN_BEST).is_file():
        return path / RUN_BEST
    if path.suffix in (".json", ".safetensors") and path.is_file():
        return path.with_suffix(".safetensors")
    names = ", ".join(here) or "none is shipped"
    raise CheckpointError(f"model {name}: expected {names}, or the path of a checkpoint's .json or .safetensors, or of a run")


def description(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself (its .json)."""
    try:
        facts: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        _ = {name: tuple(stream["columns"]) for name, stream in facts["streams"].items()}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.with_suffix('.json')}: expected a checkpoint's description, got {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path.with_suffix('.json')}: expected a checkpoint's description, but it lacks streams ({error!r})"
        ) from None
    return facts
