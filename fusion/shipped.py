"""The checkpoints that come with the package. Light: reading the list imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emofuse.pipeline.errors import CheckpointError
from emofuse.pipeline.timed import Provenance

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


def provenance_of(facts: Mapping[str, Any], file: str, prior: Mapping[str, float] | None) -> Provenance:
    """What a model is, for those who keep its answers: by the description of its checkpoint alone.

    facts  as `description` reads them;  file: name of the weights;  prior: what probabilities are multiplied by, None: even
    Raises `CheckpointError` where the description is not whole.
    """
    try:
        options = {
            "temperature": float(facts["temperature"]),
            "temperatures": {subset: float(t) for subset, t in facts.get("temperatures", {}).items()},
            "tasks": {task: list(labels) for task, labels in facts["tasks"].items()},
            **({} if prior is None else {"prior": dict(prior)}),
        }
        weights = {file: str(facts["safetensors_sha256"])}
        return Provenance(extractor=str(facts["model"]), version="1", weights=weights, options=options, notes={"card": dict(facts["card"])})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}: not a checkpoint's description: {type(error).__name__} {error}") from None
