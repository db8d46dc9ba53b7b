"""Changes to a recipe by dotted keys, as `emofuse train --set KEY=VALUE` and experiments make them.

A key names a place in the recipe's TOML ("model.layers", "training.rate", "streams.face.width"; "stages.0.epochs" counts from 0); a
value is TOML ("3", "0.1", "true", '["text"]'), and text that is no TOML stands for itself. None (or "none") takes the key away; taking
a stream away takes it out of the model's per-stream tables (kernels, lengths) too.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from emofuse.pipeline.errors import UsageError

from .recipe import Recipe

PER_STREAM = ("kernels", "lengths")


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """ "KEY=VALUE" each; raises `UsageError` for one without "="."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {pair}: expected KEY=VALUE, for instance model.layers=2")
        settings[key.strip()] = _value(text.strip())
    return settings


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with each setting in its place; raises `UsageError` naming a key that the recipe or its model does not have."""
    if not settings:
        return recipe
    table = copy.deepcopy(recipe.to_json())
    for key, value in settings.items():
        _put(table, key, value)
    return Recipe.of(_plain(table), recipe.name)


def _value(text: str) -> Any:
    if text == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(table: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    branch: Any = table
    for step in path:
        if isinstance(branch, list | tuple):
            if not step.isdigit() or int(step) >= len(branch):
                raise UsageError(f"{key}: expected a number below {len(branch)} in place of {step}")
            branch = branch[int(step)]
        else:
            if not isinstance(branch.get(step), dict | list | tuple):
                branch[step] = {}
            branch = branch[step]
    if not isinstance(branch, dict):
        raise UsageError(f"{key}: no such key in the recipe")
    if value is not None:
        branch[last] = value
    elif branch.pop(last, None) is None:
        raise UsageError(f"{key}: there is nothing to take away")
    elif path == ["streams"]:
        for name in PER_STREAM:
            if isinstance(of_streams := table["model"].get(name), dict):
                of_streams.pop(last, None)


def _plain(value: Any) -> Any:
    """Tuples become lists, mappings dicts, as TOML has them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
