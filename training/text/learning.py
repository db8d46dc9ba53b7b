"""The training of the adapter and its heads: batches by seed and step, so that a run that was stopped goes on as if it had not been.

A pass over GoEmotions reads every comment that says more than joy or neutral, and a share of those that do not, another in each pass:
two thirds of the corpus say nothing else, and thresholds chosen on dev make up for the changed shares. A third of the texts are damaged
as by a recogniser or bare of punctuation; half are read sentence by sentence, as the text provider reads, half whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats64

from .corpora import Corpora, bare, damaged
from .encoder import Encoder, heads

Say = Callable[[str], None]
COMMON = {EMOTIONS.index("happiness"), EMOTIONS.index("neutral")}


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on beside its data.

    rank           of the adapter's matrices
    frozen         lowest layers that stay as they are
    steps          each of `comments` GoEmotions, `lines` MELD and `opinions` MOSI texts
    common         share of the comments of joy or neutral alone that a pass reads
    rate, head_rate  learning rates of adapter and heads: up over `warm_up` steps, level, down to zero over the last `falling` share
    """

    rank: int = 16
    frozen: int = 2
    steps: int = 2000
    comments: int = 24
    common: float = 0.4
    lines: int = 6
    opinions: int = 2
    rate: float = 1e-3
    head_rate: float = 2e-3
    warm_up: int = 40
    falling: float = 0.3
    weight_decay: float = 0.01
    meld_weight: float = 0.3
    mosi_weight: float = 0.2
    damaged: float = 0.2
    bare: float = 0.13
    whole: float = 0.5
    seed: int = 1
    saved_every: int = 20

    @property
    def level_until(self) -> int:
        """The last step before the rates fall."""
        return self.steps - int(self.falling * self.steps)

    def pace(self, step: int) -> float:
        """Share of the rates at a step (from 1)."""
        return min(1.0, step / self.warm_up, (self.steps + 1 - step) / (self.steps + 1 - self.level_until))


class Learner:
    """Encoder, heads and optimiser of one run; `work` keeps its state."""

    def __init__(self, folder: Path, recipe: Recipe, corpora: Corpora, work: Path, say: Say) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.corpora, self.work, self.say = recipe, corpora, work, say
        self.encoder = Encoder(folder, recipe.rank, recipe.frozen, recipe.seed)
        self.heads = heads(self.encoder.width)
        self.vocabulary = tuple(word for comment in corpora.goemotions for word in comment.words)
        self.rare = np.array([bool(set(comment.emotions) - COMMON) for comment in corpora.goemotions])
        adapter = [p for matrix in self.encoder.matrices.values() for p in (matrix.down, matrix.up)]
        groups = [{"params": adapter, "lr": recipe.rate}, {"params": list(self.heads.parameters()), "lr": recipe.head_rate}]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        self.step, self.seconds = 0, 0.0

    def train(self) -> None:
        """To the recipe's last step, from where the work folder's state stands."""
        self._resume()
        began = time.process_time()
        for step in range(self.step + 1, self.recipe.steps + 1):
            loss = self._learn(step)
            self.step = step
            if step % self.recipe.saved_every == 0 or step == self.recipe.steps:
                self.seconds += time.process_time() - began
                began = time.process_time()
                self._save()
                self.say(f"step {step} of {self.recipe.steps}, loss {loss:.3f}, {self.seconds:.0f} processor seconds")

    @property
    def seen(self) -> dict[str, int]:
        """How many texts of each corpus were read so far, repetitions counted."""
        recipe = self.recipe
        return {"goemotions": self.step * recipe.comments, "meld": self.step * recipe.lines, "mosi": self.step * recipe.opinions}

    def answers(self, head: str, texts: Sequence[tuple[str, ...]], *, whole: bool = False) -> Floats64:
        """(n outputs) logits, read sentence by sentence as the provider reads, or whole."""
        self.heads.eval()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        made: list[tuple[int, NDArray[np.float32]]] = []
        with torch.inference_mode():
            for first in range(0, len(order), 48):
                chunk = order[first : first + 48]
                rows, present = self.encoder([texts[i] for i in chunk], [not whole] * len(chunk))
                made += zip(chunk, self.heads[head](rows, present).numpy(), strict=True)
        return np.stack([row for _, row in sorted(made, key=lambda pair: pair[0])]).astype(np.float64)

    def _learn(self, step: int) -> float:
        recipe, corpora = self.recipe, self.corpora
        random = np.random.default_rng([recipe.seed, step])
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        comments = [corpora.goemotions[i] for i in self._comments(step)]
        lines = [corpora.meld[i] for i in drawn(len(corpora.meld), recipe.lines, recipe.seed + 1, step)]
        opinions = [corpora.mosi[i] for i in drawn(len(corpora.mosi), recipe.opinions, recipe.seed + 2, step)]
        texts = [self._varied(t.words, random) for t in (*comments, *lines, *opinions)]
        self.heads.train()
        rows, present = self.encoder(texts, list(random.random(len(texts)) >= recipe.whole))
        a, b = len(comments), len(comments) + len(lines)
        several = torch.tensor([[float(k in c.emotions) for k in range(len(EMOTIONS))] for c in comments])
        loss = functional.binary_cross_entropy_with_logits(self._head("goemotions", rows[:a], present[:a]), several)
        classes = torch.tensor([line.emotion for line in lines])
        loss = loss + recipe.meld_weight * functional.cross_entropy(self._head("meld", rows[a:b], present[a:b]), classes)
        felt = torch.tensor([opinion.sentiment for opinion in opinions], dtype=torch.float32)
        loss = loss + recipe.mosi_weight * functional.l1_loss(self._head("mosi", rows[b:], present[b:])[:, 0], felt)
        for group, peak in zip(self.optimiser.param_groups, (recipe.rate, recipe.head_rate), strict=True):
            group["lr"] = peak * recipe.pace(step)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for group in self.optimiser.param_groups for p in group["params"]], 1.0)
        self.optimiser.step()
        return loss.item()

    def _head(self, name: str, rows: Tensor, present: Tensor) -> Tensor:
        logits: Tensor = self.heads[name](rows, present)
        return logits

    def _comments(self, step: int) -> NDArray[np.intp]:
        """GoEmotions' comments of a step."""
        size = self.recipe.comments
        others = int(self.recipe.common * (~self.rare).sum())
        one_pass = int(self.rare.sum()) + others
        which, first = divmod((step - 1) * size, one_pass)
        members = np.concatenate([self._pass(k, others) for k in (which, which + 1)])
        return members[first : first + size]

    def _pass(self, number: int, others: int) -> NDArray[np.intp]:
        random = np.random.default_rng([self.recipe.seed, 5, number])
        common = random.permutation(np.flatnonzero(~self.rare))[:others]
        return random.permutation(np.concatenate([np.flatnonzero(self.rare), common]))

    def _varied(self, words: tuple[str, ...], random: np.random.Generator) -> tuple[str, ...]:
        chance = random.random()
        if chance < self.recipe.damaged:
            return damaged(words, self.vocabulary, random)
        if chance < self.recipe.damaged + self.recipe.bare:
            return bare(words) or words
        return words

    def _save(self) -> None:
        """Weights and the optimiser's moments; the step goes last, so that a torn write is not taken for a state."""
        tensors = {f"{i}.value": p.detach() for i, p in enumerate(self._parameters())}
        for i, parameter in enumerate(self._parameters()):
            state = self.optimiser.state[parameter]
            tensors |= {f"{i}.mean": state["exp_avg"], f"{i}.square": state["exp_avg_sq"]}
        self.work.mkdir(parents=True, exist_ok=True)
        part = self.work / "state.part"
        about = {"step": str(self.step), "seconds": str(self.seconds), "recipe": json.dumps(asdict(self.recipe))}
        save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata=about)
        part.replace(self.work / "state.safetensors")

    def _resume(self) -> None:
        from safetensors import safe_open

        path = self.work / "state.safetensors"
        if not path.is_file():
            return
        with safe_open(path, "pt") as file:
            about = file.metadata()
        self.step, self.seconds = int(about["step"]), float(about["seconds"])
        was = Recipe(**json.loads(about["recipe"]))
        longer = replace(was, steps=self.recipe.steps) == self.recipe and self.step <= min(was.level_until, self.recipe.level_until)
        if was != self.recipe and not longer:
            raise UsageError(f"{path}: step {self.step} of another recipe or past its level rates: name another --work folder")
        tensors = load_file(path)
        for i, parameter in enumerate(self._parameters()):
            with torch.no_grad():
                parameter.copy_(tensors[f"{i}.value"])
            self.optimiser.state[parameter] = {
                "step": torch.tensor(float(self.step)),
                "exp_avg": tensors[f"{i}.mean"],
                "exp_avg_sq": tensors[f"{i}.square"],
            }
        self.say(f"going on from step {self.step}")

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]


def drawn(total: int, size: int, seed: int, step: int) -> NDArray[np.intp]:
    """Indices (size) of a step's members: passes over all in a shuffled order, each pass in another."""
    first = (step - 1) * size
    wanted = np.arange(first, first + size)
    orders = {k: np.random.default_rng([seed, 7, int(k)]).permutation(total) for k in np.unique(wanted // total)}
    return np.array([orders[i // total][i % total] for i in wanted], np.intp)
