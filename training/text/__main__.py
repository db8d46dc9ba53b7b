"""Trains the text encoder for emotion, chooses on dev, writes the weights; --test reads the test sets, once, at the end.

    python -m training.text --data ../shared/data --work WORK                            (the shipped adapter of minilm)
    python -m training.text --data ../shared/data --work WORK --test
    python -m training.text --data ../shared/data --work WORK --encoder FOLDER --out OUT (any BERT-family encoder of yours)

Without --encoder, extractors/text/ gets minilm_emotion.safetensors and .json: the adapter of `--text minilm`. With --encoder FOLDER (the
hub's form: config.json, model.safetensors, tokenizer), OUT becomes a folder of the same form with the adapter merged in, for
`--text bert:OUT`. WORK keeps the state: a run that was stopped goes on there, to the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from emofuse.extractors.text.bert_text import ADAPTER
from emofuse.pipeline.errors import EmofuseError, UsageError

from .corpora import read_corpora
from .learning import Learner, Recipe
from .shipping import measure, minilm_folder, write_adapter, write_encoder

QUICK = 0.01
"""Share of the corpora that --quick reads."""


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True, help="the folder that holds text/ and mosi/")
    arguments.add_argument("--work", type=Path, required=True, help="folder for the run's state")
    arguments.add_argument("--encoder", type=Path, help="train this encoder instead of all-MiniLM-L6-v2")
    arguments.add_argument("--out", type=Path, help="where the weights go (default: the package's own, extractors/text)")
    arguments.add_argument("--steps", type=int, help="instead of the recipe's")
    arguments.add_argument("--rank", type=int, help="instead of the recipe's")
    arguments.add_argument("--quick", action="store_true", help="20 steps on a hundredth of the data: does it run, twice the same?")
    arguments.add_argument("--test", action="store_true", help="train nothing: measure the written weights on the test sets")
    options = arguments.parse_args()
    torch.set_num_threads(1)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        if options.encoder is not None and options.out is None:
            raise UsageError("expected --out FOLDER with --encoder: the package's adapter belongs to all-MiniLM-L6-v2")
        out = options.out or ADAPTER.parent
        if options.test:
            measure(options.data, out, options.encoder is not None, say)
            return 0
        recipe = Recipe()
        if options.quick:
            recipe = replace(recipe, steps=20, comments=8, saved_every=10)
        given = {name: value for name, value in (("steps", options.steps), ("rank", options.rank)) if value is not None}
        corpora = read_corpora(options.data, "train")
        share = QUICK if options.quick else 1.0
        learner = Learner(options.encoder or minilm_folder(), replace(recipe, **given), corpora.first(share), options.work, say)
        learner.train()
        if options.encoder is None:
            write_adapter(learner, options.data, out, say, share)
        else:
            write_encoder(learner, options.data, options.encoder, out, say, share)
    except EmofuseError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
