"""RRNN's noise test on composed utterances: white noise in place of one stream; the gated model should lose less than the ungated one.

    python -m training.fusion_checkpoints.measure_noise --features CACHE fusion/weights/rrnn.json RUNS/rrnn-ungated.json

Of each checkpoint: UAR on the validation set of all three streams (words neutral in half of it), and what is lost when a stream's rows,
standardised, are half or wholly white noise of deviation 1 (Beard et al. 2018, section 5.4, do so with their views).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from emofuse.fusion.batch import Batch
from emofuse.fusion.checkpoints import load

from .composer import collate, drowned
from .material import Speakers, material
from .scores import labels_of, uar
from .sets import composed_set
from .training import Recipe

SHARES = (0.5, 1.0)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("checkpoints", nargs="+", type=Path)
    arguments.add_argument("--features", type=Path, required=True)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe.read("rrnn")
    made = material(options.features, Speakers(recipe.valid), recipe.seed, splits=("train", "valid"), variations=recipe.variations)
    members = composed_set(made.splits["valid"], ("text", "face", "voice"), seed=recipe.seed)
    labels = labels_of(members)
    scalings = {name: read.scaling for name, read in made.inputs.items()}
    batches = [collate(members[i : i + 64], scalings) for i in range(0, len(members), 64)]
    print("| checkpoint | clean UAR | " + " | ".join(f"{s}, {share:.0%} noise" for s in scalings for share in SHARES) + " |")
    print("|---" * (2 + len(SHARES) * len(scalings)) + "|")
    for path in options.checkpoints:
        _, module = load(path.with_suffix(".safetensors"))

        def recall(stream: str = "", share: float = 0.0, module: torch.nn.Module = module) -> float:
            random, answered = np.random.default_rng(1), []
            with torch.inference_mode():
                for batch in batches:
                    streams = dict(batch.streams)
                    if stream:
                        heard = streams[stream]
                        noisy = torch.from_numpy(drowned(heard.values.numpy(), share, random))
                        streams[stream] = Batch(noisy, heard.times, heard.present)
                    answered.append(module(streams).logits[:, :7].argmax(1).numpy())
            return 100 * uar(labels, np.concatenate(answered))

        clean = recall()
        lost = [recall(stream, share) - clean for stream in scalings for share in SHARES]
        print(f"| {path.stem} | {clean:.1f} | " + " | ".join(f"{x:+.1f}" for x in lost) + " |", flush=True)


if __name__ == "__main__":
    main()
