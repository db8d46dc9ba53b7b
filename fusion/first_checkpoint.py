"""Trains the first default checkpoint: a small MulT on words and voice. A later recipe replaces it.

    python benchmarks/first_checkpoint_features.py --data ../shared/data --out CACHE
    python -m emofuse.fusion.first_checkpoint --features CACHE --out fusion/weights

No corpus here has words and voice that carry an emotion together, so utterances are composed (`Kind`): the voice of one example with
the words of another that share a label, or with neutral words or a neutral voice beside it, or a RAVDESS voice with the sentence that
was really spoken; and two fifths of a batch are words alone, a fifth voice alone, so that every subset of streams is trained. Words
are spread evenly over the voice. Voice columns that follow the recording level (mfcc_0, rms) are not read. In training the voice is
read at a random 11..17 Hz (positions are seconds and the voice kernel is 1 row, so the model does not know the rate: tested at the
full 100 Hz, one attention column a frame); conditions are varied by a random offset per clip and noise.
The step with the best mean recall over the subsets on validation speakers and texts is kept; the test sets are read once, at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from emofuse.pipeline.ports import EMOTIONS
from emofuse.pipeline.timed import Floats32

from .batch import Batch, Scaling
from .checkpoints import Checkpoint, StreamInput, load, save
from .mult import MulT, MulTConfig
from .outputs import Output
from .transformer import Dropouts

LEVEL = ("mfcc_0", "rms")
ROW_SECONDS = 0.01
WORD_SECONDS = 0.35
CHECKED_EVERY = 500
NEUTRAL = EMOTIONS.index("neutral")
Integers = NDArray[np.int64]


class Kind(Enum):
    """What an utterance is put together from."""

    TEXT = "words alone"
    VOICE = "voice alone"
    AGREE = "words and voice of one label"
    SPOKEN = "voice with the sentence that was spoken"
    NEUTRAL_TEXT = "voice with neutral words"
    NEUTRAL_VOICE = "words with a neutral voice"


SHARES = {Kind.TEXT: 0.38, Kind.VOICE: 0.20, Kind.AGREE: 0.18, Kind.SPOKEN: 0.1, Kind.NEUTRAL_TEXT: 0.07, Kind.NEUTRAL_VOICE: 0.07}
"""Of a training batch."""


@dataclass(frozen=True, eq=False)
class Examples:
    """One stream's examples: rows (n f) and label of each; `group` is a text's source, or a voice's statement (1, 2)."""

    columns: tuple[str, ...]
    rows: tuple[NDArray[np.float16], ...]
    labels: Integers
    group: tuple[str, ...]
    damaged: NDArray[np.bool_]

    def of(self, index: NDArray[np.bool_]) -> Examples:
        kept = np.flatnonzero(index)
        group = tuple(self.group[i] for i in kept)
        return Examples(self.columns, tuple(self.rows[i] for i in kept), self.labels[kept], group, self.damaged[kept])


@dataclass(frozen=True, eq=False)
class Utterances:
    """A padded batch of both streams and its labels (b)."""

    streams: dict[str, Batch]
    labels: torch.Tensor


def read(path: Path, drop: Sequence[str] = ()) -> Examples:
    """One npz of benchmarks/first_checkpoint_features.py, without the columns in `drop`."""
    with np.load(path, allow_pickle=False) as data:
        columns = [str(c) for c in data["columns"]]
        kept = [i for i, c in enumerate(columns) if c not in drop]
        ends = np.cumsum(data["lengths"])
        rows = tuple(np.split(data["values"][:, kept], ends[:-1]))
        labels = data["labels"] if "labels" in data else np.full(len(ends), NEUTRAL)
        group = data["source"] if "source" in data else data["statement"] if "statement" in data else np.zeros(len(ends), int)
        damaged = data["damaged"] if "damaged" in data else np.zeros(len(ends), bool)
    return Examples(tuple(columns[i] for i in kept), rows, labels.astype(np.int64), tuple(map(str, group)), damaged)


class Composer:
    """Puts utterances together. `train` adds noise, drops words and thins the voice; otherwise every `thin`-th voice row is read."""

    def __init__(
        self,
        text: Examples,
        voice: Examples,
        spoken: Examples,
        scalings: dict[str, Scaling],
        *,
        seed: int,
        train: bool = False,
        thin: int = 4,
    ) -> None:
        self.text, self.voice, self.spoken, self.scalings = text, voice, spoken, scalings
        self.random = np.random.default_rng(seed)
        self.train, self.thin = train, thin
        self.by_label = {
            name: [np.flatnonzero(e.labels == k) for k in range(len(EMOTIONS))] for name, e in (("text", text), ("voice", voice))
        }

    def batches(self, size: int) -> Iterator[tuple[Utterances, ...]]:
        """Training batches without end, in two parts (words alone; the rest), so that the former is not padded with absent voice.

        Labels are drawn evenly, so no class rules.
        """
        kinds, shares = list(SHARES), list(SHARES.values())
        while True:
            chosen = [kinds[i] for i in self.random.choice(len(kinds), size, p=shares)]
            drawn = [(kind, *self._draw(kind, int(self.random.integers(len(EMOTIONS))))) for kind in chosen]
            parts = ([d for d in drawn if d[0] is Kind.TEXT], [d for d in drawn if d[0] is not Kind.TEXT])
            yield tuple(self.compose(part) for part in parts if part)

    def _draw(self, kind: Kind, label: int) -> tuple[int, int]:
        text = label if kind is not Kind.NEUTRAL_TEXT else NEUTRAL
        voice = label if kind is not Kind.NEUTRAL_VOICE else NEUTRAL
        return int(self.random.choice(self.by_label["text"][text])), int(self.random.choice(self.by_label["voice"][voice]))

    def everything(self, kind: Kind, size: int = 32) -> Iterator[Utterances]:
        """Each text (Kind.TEXT) or each voice once, in order; a partner of the same label is drawn where the kind needs one."""
        labels = (self.text if kind is Kind.TEXT else self.voice).labels
        members = [(kind, i, i) if kind is Kind.TEXT else (kind, self._draw(kind, int(labels[i]))[0], i) for i in range(len(labels))]
        for start in range(0, len(members), size):
            yield self.compose(members[start : start + size])

    def compose(self, members: Sequence[tuple[Kind, int, int]]) -> Utterances:
        """(kind, index of the text, index of the voice) for each utterance."""
        texts, voices, labels = [], [], []
        for kind, t, v in members:
            words = spoken = None
            seconds = 0.0
            if kind is not Kind.TEXT:
                spoken, seconds = self._voice(v)
            if kind is not Kind.VOICE:
                words = self._words(self.spoken.rows[int(self.voice.group[v]) - 1] if kind is Kind.SPOKEN else self.text.rows[t], seconds)
            texts.append(words)
            voices.append(spoken)
            from_text = kind in (Kind.TEXT, Kind.NEUTRAL_VOICE)
            labels.append(self.text.labels[t] if from_text else self.voice.labels[v])
        streams = {"text": padded(texts, len(self.text.columns)), "voice": padded(voices, len(self.voice.columns))}
        return Utterances(streams, torch.tensor(labels))

    def _words(self, rows: NDArray[np.float16], seconds: float) -> tuple[Floats32, NDArray[np.float64]]:
        """Standardised rows and their times: evenly over the voice less 15 % at either end, or over 0.35 s a word without one."""
        values = self._scaled("text", rows)
        margin, length = (0.15 * seconds, 0.7 * seconds) if seconds else (0.0, WORD_SECONDS * len(rows))
        times = margin + (np.arange(len(rows)) + 0.5) * length / len(rows)
        if self.train:
            kept = self.random.random(len(rows)) > 0.1
            kept[int(self.random.integers(len(rows)))] = True
            values, times = values[kept], times[kept]
        return values, times

    def _voice(self, index: int) -> tuple[tuple[Floats32, NDArray[np.float64]], float]:
        rows = self.voice.rows[index]
        thin = int(self.random.integers(6, 10)) if self.train else self.thin
        first = int(self.random.integers(thin)) if self.train else 0
        values: Floats32 = self._scaled("voice", rows[first::thin])
        if self.train:
            offset = 0.4 * self.random.standard_normal((1, values.shape[1]))
            values = (values + offset + 0.2 * self.random.standard_normal(values.shape)).astype(np.float32)
        times = (np.arange(len(rows), dtype=np.float64)[first::thin] + 0.5) * ROW_SECONDS
        return (values, times), len(rows) * ROW_SECONDS

    def _scaled(self, stream: str, rows: NDArray[np.float16]) -> Floats32:
        return np.nan_to_num(self.scalings[stream].apply(rows.astype(np.float32)), nan=0.0)


def padded(found: Sequence[tuple[Floats32, NDArray[np.float64]] | None], columns: int) -> Batch:
    """Right-padded; None is an absent stream."""
    n = max(1, *(0 if f is None else len(f[0]) for f in found))
    values = np.zeros((len(found), n, columns), np.float32)
    times, present = np.zeros((len(found), n)), np.zeros((len(found), n), bool)
    for b, one in enumerate(found):
        if one is not None:
            rows = len(one[0])
            values[b, :rows], times[b, :rows], present[b, :rows] = one[0], one[1], True
    return Batch(torch.from_numpy(values), torch.from_numpy(times), torch.from_numpy(present))


@dataclass(frozen=True)
class Score:
    """Of one set: utterances, accuracy, mean recall over the classes that occur, the largest class's share, negative log likelihood."""

    utterances: int
    accuracy: float
    mean_recall: float
    majority: float
    log_loss: float


def answers(model: nn.Module, found: Iterator[Utterances]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n 7) and labels (n)."""
    logits, labels = [], []
    model.eval()
    with torch.inference_mode():
        for utterances in found:
            output: Output = model(utterances.streams)
            logits.append(output.logits)
            labels.append(utterances.labels)
    return torch.cat(logits), torch.cat(labels)


def score(logits: torch.Tensor, labels: torch.Tensor, temperature: float = 1.0) -> Score:
    right = logits.argmax(1) == labels
    classes = [k for k in range(len(EMOTIONS)) if (labels == k).any()]
    return Score(
        utterances=len(labels),
        accuracy=round(right.double().mean().item(), 4),
        mean_recall=round(float(np.mean([right[labels == k].double().mean().item() for k in classes])), 4),
        majority=round(max((labels == k).double().mean().item() for k in classes), 4),
        log_loss=round(functional.cross_entropy(logits.double() / temperature, labels).item(), 4),
    )


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature with the least log loss, of 121 between 1/3 and 3 (Guo et al. 2017)."""
    tried = np.geomspace(1 / 3, 3, 121)
    losses = [functional.cross_entropy(logits.double() / t, labels).item() for t in tried]
    return round(float(tried[int(np.argmin(losses))]), 4)


def train(features: Path, out: Path, *, steps: int, seed: int, say: Callable[[str], None]) -> Checkpoint:
    """Trains, chooses on validation, fits the temperature, writes `out`/mult.safetensors and .json, then reads the test sets once."""
    torch.manual_seed(seed)
    began = time.process_time()
    text = {s: read(features / f"text_{s}.npz") for s in ("train", "dev", "test")}
    voice = {s: read(features / f"voice_{s}.npz", drop=LEVEL) for s in ("train", "dev", "test")}
    spoken = read(features / "statements.npz")
    scalings = {
        "text": Scaling.fit(np.concatenate(text["train"].rows).astype(np.float32)),
        "voice": Scaling.fit(np.concatenate(voice["train"].rows).astype(np.float32)),
    }
    config = MulTConfig(
        streams={"text": len(text["train"].columns), "voice": len(voice["train"].columns)},
        outputs=len(EMOTIONS),
        width=40,
        heads=4,
        layers=2,
        memory_layers=2,
        dropouts=Dropouts(text=0.3, embedding=0.1, attention=0.1, residual=0.1, relu=0.1, output=0.2),
    )
    model = MulT(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    stream = Composer(text["train"], voice["train"], spoken, scalings, seed=seed, train=True).batches(32)
    some = text["dev"].of(np.arange(len(text["dev"].rows)) % 3 == 0)  # enough to choose a step by
    best: tuple[float, dict[str, torch.Tensor]] = (-1.0, {})
    for step in range(1, steps + 1):
        model.train()
        parts = next(stream)
        outputs: list[Output] = [model(part.streams) for part in parts]
        loss = functional.cross_entropy(
            torch.cat([o.logits for o in outputs]), torch.cat([part.labels for part in parts]), label_smoothing=0.05
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % CHECKED_EVERY == 0 or step == steps:
            recalls = {}
            for kind in (Kind.TEXT, Kind.VOICE, Kind.AGREE, Kind.SPOKEN):
                dev = Composer(some, voice["dev"], spoken, scalings, seed=seed)
                recalls[kind.name.lower()] = score(*answers(model, dev.everything(kind))).mean_recall
            mean = float(np.mean(list(recalls.values())))
            say(f"step {step} loss {loss.item():.3f} validation recall {recalls} mean {mean:.4f} cpu {time.process_time() - began:.0f} s")
            if mean > best[0]:
                best = (mean, {k: v.clone() for k, v in model.state_dict().items()})
    model.load_state_dict(best[1])
    trained_seconds = time.process_time() - began

    def sets(split: str) -> dict[str, Callable[[], Iterator[Utterances]]]:
        """Name -> its utterances, at the voice's full rate."""

        def composer(texts: Examples) -> Composer:
            return Composer(texts, voice[split], spoken, scalings, seed=seed, thin=1)

        clean = text[split].of(~text[split].damaged)
        found = {f"text only, {s}": clean.of(np.array([g == s for g in clean.group])) for s in ("goemotions", "meld")}
        if text[split].damaged.any():
            found["text only, damaged as by a recogniser"] = text[split].of(text[split].damaged)
        only_text = {name: (lambda e=e: composer(e).everything(Kind.TEXT)) for name, e in found.items()}
        return only_text | {
            "voice only, ravdess": lambda: composer(clean).everything(Kind.VOICE, 8),
            "voice with the sentence spoken, ravdess": lambda: composer(clean).everything(Kind.SPOKEN, 8),
            "voice with another text of its label, composed": lambda: composer(clean).everything(Kind.AGREE, 8),
        }

    said = [answers(model, make()) for make in sets("dev").values()]
    temperature = fit_temperature(torch.cat([s[0] for s in said]), torch.cat([s[1] for s in said]))
    numbers: dict[str, Any] = {"temperature": temperature, "seed": seed, "steps": steps, "cpu_seconds": round(trained_seconds)}
    checkpoint = Checkpoint(
        model="mult",
        config=config,
        streams={
            "text": StreamInput(text["train"].columns, scalings["text"]),
            "voice": StreamInput(voice["train"].columns, scalings["voice"]),
        },
        tasks={"emotion": EMOTIONS},
        temperature=temperature,
        card=card(text["train"], voice["train"], numbers),
    )
    path = out / "mult.safetensors"
    save(path, checkpoint, model, half=True)
    _, shipped = load(path)  # the numbers are of what is shipped, float16 and all
    for split in ("dev", "test"):
        name = {"dev": "validation", "test": "test"}[split]
        numbers[name] = {key: vars(score(*answers(shipped, make()), temperature)) for key, make in sets(split).items()}
        for key, value in numbers[name].items():
            say(f"{name}: {key}: {value}")
    return save(path, checkpoint, shipped, half=True)


def card(text: Examples, voice: Examples, numbers: dict[str, Any]) -> dict[str, Any]:
    words = {s: sum(g == s for g in text.group) for s in ("goemotions", "meld")}
    return {
        "training_data": {
            "GoEmotions (Ekman grouping), train split": f"{words['goemotions']} comments with one label, at most 3000 a class; Apache-2.0",
            "MELD, train split, transcripts only": f"{words['meld']} utterances, at most 2500 a class; GPL-3.0",
            "RAVDESS speech, actors 1-14": f"{len(voice.labels)} clips, calm counted as neutral; CC BY-NC-SA 4.0",
            "text embeddings": "all-MiniLM-L6-v2 (Apache-2.0), last hidden state averaged over a word's sub-words; not part of this file",
        },
        "licence": "weights: CC BY-NC-SA 4.0, following the strictest of the data (RAVDESS: no commercial use, share alike)",
        "numbers": numbers,
        "intended_use": "a first, small model so that every part of emofuse runs; research and demonstration",
        "limits": [
            "reads words and voice only; the face does not enter",
            "no training utterance had words and voice that carry one emotion together: composed ones do not show how people do it",
            "voice: 14 actors, English, two sentences, acted, a studio microphone; expect less on any other voice and room",
            "text: comments and television dialogue in English; the labels are what readers and viewers thought, not what speakers felt",
            "classes are balanced in training, so probabilities assume that each emotion is as likely as another; no sentiment output",
        ],
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train the first default checkpoint.")
    arguments.add_argument("--features", type=Path, required=True, help="folder written by benchmarks/first_checkpoint_features.py")
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--steps", type=int, default=3000)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    train(options.features, options.out, steps=options.steps, seed=options.seed, say=lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201


if __name__ == "__main__":
    main()
