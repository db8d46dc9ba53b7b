"""Trains shipped checkpoints from cached features.

    python -m training.fusion_checkpoints.extract_voices --data ../shared/data --out CACHE --copy 0      (and 1, 2)
    python -m training.fusion_checkpoints.extract_faces --data ../shared/data --clips ../shared/clips --out CACHE
    python -m training.fusion_checkpoints.extract_texts --data ../shared/data --out CACHE
    python -m training.fusion_checkpoints mult pmr mcr rrnn delta --features CACHE --out fusion/weights
    python -m training.fusion_checkpoints mult pmr mcr rrnn delta --features CACHE --out fusion/weights --test

RECIPES are names (mult, ...) or TOML files. Of each, OUT gets NAME.safetensors and NAME.json with its card. Without --test the test sets
stay closed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from emofuse.fusion.checkpoints import Checkpoint, load, save
from emofuse.fusion.shipped import description
from emofuse.pipeline.errors import EmofuseError, UsageError
from emofuse.pipeline.streams import EMOTIONS

from .card import card, markdown
from .material import SPLITS, Prepared, Speakers, material
from .sets import PLACED_UTTERANCES, checker, numbers, priors, temperatures
from .training import Recipe, Say, fresh, train

QUICK_PLACED = 8
"""With --quick: utterances on which attention and influence are measured."""


def quick(recipe: Recipe) -> Recipe:
    """The recipe with a dozen small steps."""
    stages = recipe.stages and dataclasses.replace(recipe.stages, streams=3, encoders=2, pairs=64)
    return dataclasses.replace(recipe, steps=12, checked_every=6, batch=8, texts=8, variations=1, stages=stages)


def make(name: str, recipe: Recipe, made: Prepared, out: Path, *, say: Say, tried: bool = False) -> Checkpoint:
    """Trains, chooses the step, calibrates, writes and measures what was written (half precision and all). One that is only `tried` is
    measured on less, and its card holds no seconds, so that the same run gives the same bytes."""
    began = time.process_time()
    scalings = {stream: read.scaling for stream, read in made.inputs.items()}
    config, module = fresh(recipe, made.inputs)
    say(f"{name}: {sum(p.numel() for p in module.parameters())} weights")
    valid = made.splits["valid"]
    module, step = train(recipe, module, made.inputs, made.splits["train"], checker(valid, scalings, recipe.seed), say)
    heat = temperatures(module, valid, scalings, recipe.seed)
    facts: dict[str, Any] = {
        "recipe": dataclasses.asdict(recipe),
        "step": step,
        "cpu_seconds": 0 if tried else round(time.process_time() - began),
        **made.facts,
    }
    checkpoint = Checkpoint(
        model=recipe.model,
        config=config,
        streams=made.inputs,
        tasks={"emotion": EMOTIONS, "sentiment": ("sentiment",)},
        temperature=heat["text+face+voice"],
        temperatures=heat,
        card=card(facts, {}),
    )
    path = out / f"{name}.safetensors"
    save(path, checkpoint, module, half=True)
    _, shipped = load(path)
    measured = {
        "validation": numbers(shipped, valid, scalings, heat, recipe.seed, priors(valid), QUICK_PLACED if tried else PLACED_UTTERANCES)
    }
    for key, value in measured["validation"].items():
        say(f"{name} validation: {key}: {value}")
    return save(path, dataclasses.replace(checkpoint, card=card(facts, measured)), shipped, half=True)


def measure(path: Path, features: Path, say: Say) -> None:
    """Writes the test sets' scores to a card. No RAVDESS actor is kept for testing (folds do that): there sets with a voice are left
    out."""
    checkpoint, module = load(path)
    about = description(path)
    recipe = about["card"]["numbers"]["recipe"]
    voice, face = (checkpoint.streams[name].preparation for name in ("voice", "face"))
    speakers = Speakers(tuple(recipe["valid"]))
    made = material(features, speakers, recipe["seed"], splits=SPLITS[1:], voice=voice, face=face)
    scalings = {stream: read.scaling for stream, read in checkpoint.streams.items()}
    prior = priors(made.splits["valid"])
    measured = numbers(module, made.splits["test"], scalings, dict(checkpoint.temperatures), recipe["seed"], prior)
    about["card"]["numbers"]["test"] = measured
    for name, value in measured.items():
        say(f"{path.stem} test: {name}: {value}")
    path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def write_cards(weights: Path, out: Path) -> None:
    """A page for each checkpoint; its own card's words are brought up to date with this code, its numbers stay."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(weights.glob("*.safetensors")):
        about = description(path)
        numbers = about["card"]["numbers"]
        sets = {split: numbers[split] for split in ("validation", "test") if split in numbers}
        about["card"] = card({k: v for k, v in numbers.items() if k not in sets}, sets)
        path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        (out / f"{path.stem}.md").write_text(markdown(path.stem, about), encoding="utf-8")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("recipes", nargs="*", metavar="RECIPE")
    arguments.add_argument("--features", type=Path, help="folder of the cached features")
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument(
        "--cards", type=Path, metavar="FOLDER", help="write the cards of the checkpoints in OUT as pages, and train nothing"
    )
    arguments.add_argument(
        "--test",
        action="store_true",
        help="train nothing; measure the RECIPES' checkpoints in OUT on the test sets, once all is chosen",
    )
    arguments.add_argument("--quick", action="store_true", help="a dozen small steps: does it run, twice the same?")
    options = arguments.parse_args()
    torch.set_num_threads(1)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        if options.cards is not None:
            write_cards(options.out, options.cards)
            return 0
        if options.features is None or not options.recipes:
            raise UsageError("expected recipes and --features, or --cards")
        if options.test:
            for name in options.recipes:
                measure(options.out / f"{name}.safetensors", options.features, say)
            return 0
        recipes = {Path(name).stem: Recipe.read(name) for name in options.recipes}
        recipes = {name: quick(recipe) for name, recipe in recipes.items()} if options.quick else recipes
        prepared: dict[tuple[object, ...], Prepared] = {}
        for name, recipe in recipes.items():
            key = (recipe.seed, recipe.valid, recipe.variations)
            if key not in prepared:
                prepared = {
                    key: material(options.features, Speakers(recipe.valid), recipe.seed, variations=recipe.variations, splits=SPLITS[:2])
                }
                say(f"material: {prepared[key].facts}")
            make(name, recipe, prepared[key], options.out, say=say, tried=options.quick)
    except EmofuseError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
