"""What a few labelled clips of a stranger are worth: a checkpoint trained without EmoDB, adapted to each of EmoDB's speakers.

    python -m training.fusion_checkpoints.extract_voices --data ../shared/data --out CACHE --copy 0        (and 1, 2)
    python -m benchmarks.adapt --features CACHE --model RUNS/rrnn-no-emodb.safetensors

The shipped checkpoints trained with EmoDB, so they cannot be measured on it. If the model is not there it is trained: RRNN, voice alone,
as training/fusion_checkpoints/measure_folds.py trains it (500 steps, set beforehand), on 16 actors of RAVDESS, English, and on nothing
of EmoDB; the temperature is fitted on RAVDESS's other four. (The projection of `--voice whisper` saw EmoDB's sound, but no label.)

Six emotions (EmoDB's boredom is none of the checkpoint's seven and is left out). Of each of the ten speakers 1, 2 or 5 clips an emotion
are drawn (of an emotion that has fewer than twice as many, half), `--draws` times; the checkpoint is adapted to them as `emofuse adapt`
does it, and all other clips of the speaker are read: by the checkpoint as it is, by it with the same clips as the person's baseline (no
labels), and adapted. Nothing is chosen on what is reported. Accuracy, UAR over the emotions that the speaker has, log loss: mean over
speakers, and the deviation between speakers.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.fusion.adaptation import Bools, Clips, Ints, fit, log_softmax, loss
from emofuse.fusion.adapted import LabelledClip, Reader
from emofuse.fusion.checkpoints import Checkpoint, StreamInput, load, save
from emofuse.pipeline.metrics import accuracy, evaluate_classes
from emofuse.pipeline.results import Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats64, Provenance, TimedSequence
from training.fusion_checkpoints.material import fitted, pool_of, read_by
from training.fusion_checkpoints.measure_folds import ALONE, only_voice
from training.fusion_checkpoints.scores import even_temperature, uar
from training.fusion_checkpoints.sets import voice_set
from training.fusion_checkpoints.training import Recipe, answers, fresh, train
from training.fusion_checkpoints.voices import Voices, plain_voices, preparation_of, read_voices, spoken, varied_voices

COUNTS = (1, 2, 5)
STEPS = 500
VALID = (15, 16, 17, 18)


@dataclass(frozen=True)
class Scores:
    """Of one speaker's other clips."""

    accuracy: float
    uar: float
    loss: float


def clip_of(voices: Voices, i: int, columns: tuple[str, ...]) -> LabelledClip:
    """One cached clip as an utterance of voice alone, cut as `analyze` cuts it."""
    rows = spoken(voices.rows[i], voices.columns, row_seconds=voices.row_seconds).astype(np.float32)
    start = np.arange(len(rows), dtype=np.float64) * voices.row_seconds
    stream = TimedSequence("voice", voices.columns, rows, start, start + voices.row_seconds, Provenance("cached", "1")).select(columns)
    clip = voices.clips[i]
    return LabelledClip(voices.names[i], (Utterance(stream.span, "", {"voice": stream}),), EMOTIONS[clip.label], str(clip.person))


def drawn(labels: Ints, count: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """(n) which clips are labelled: `count` of each emotion, or half of them where more would leave fewer than are taken."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_it = np.flatnonzero(labels == label)
        chosen[random.choice(of_it, min(count, len(of_it) // 2), replace=False)] = True
    return chosen


def scores(told: Floats64, labels: Ints) -> Scores:
    answered = told.argmax(1)
    return Scores(accuracy(labels, answered), evaluate_classes(labels, answered, EMOTIONS).uar, float(loss(told, labels).mean()))


def trained(features: Path, path: Path) -> None:
    """Writes the checkpoint that has heard no German."""
    voices = read_voices(features, ("ravdess",))
    held = np.isin(voices.actors, VALID)
    heard, preparation = voices.where(~held), preparation_of(voices.columns)
    told, who = varied_voices(heard, preparation, 1, np.random.default_rng(0))
    inputs = {"voice": StreamInput(read_by(preparation, voices.columns), fitted(told), preparation, baseline=True)}
    recipe = Recipe.read("rrnn")
    alone = dataclasses.replace(recipe.shares, subsets=ALONE, sentiment=0.0, noise=0.0)
    recipe = dataclasses.replace(recipe, steps=STEPS, texts=0, shares=alone)
    config, module = fresh(recipe, inputs)
    module, _ = train(recipe, module, inputs, only_voice(pool_of(heard, told, who)), None, print)
    valid = voices.where(held & (np.array(voices.copies) == 0))
    pool = only_voice(pool_of(valid, plain_voices(valid, preparation), np.arange(len(valid.rows))))
    logits = answers(module, voice_set(pool), {"voice": inputs["voice"].scaling})
    recall = uar(valid.labels, logits[:, : len(EMOTIONS)].argmax(1).numpy())
    card = {"training_data": "RAVDESS, 16 actors, voice alone", "licence": "CC BY-NC-SA 4.0", "numbers": {"uar": recall}}
    card |= {"intended_use": "benchmarks/adapt.py", "limits": "a stand-in for measuring"}
    tasks = {"emotion": EMOTIONS, "sentiment": ("sentiment",)}
    heat = even_temperature(logits, valid.labels)
    save(path, Checkpoint("rrnn", config, inputs, tasks, heat, card), module)
    print(f"{path}: validation UAR {recall:.3f}, temperature {heat:.2f}", flush=True)


class Speaker:
    """One speaker's clips as the checkpoint reads them."""

    def __init__(self, checkpoint: Checkpoint, module: torch.nn.Module, clips: Sequence[LabelledClip]) -> None:
        self.clips, self.reading = clips, partial(Reader, checkpoint, module)
        self.reader = self.reading(clips)
        self.labels = np.array([checkpoint.tasks["emotion"].index(clip.emotion) for clip in clips], np.intp)

    def told(self, learn: Bools) -> tuple[Scores, Scores, Scores, bool]:
        """Scores of the clips that are not learned from: as it is, with a baseline, adapted; and whether anything was changed."""
        found = fit(self.reading([self.clips[i] for i in np.flatnonzero(learn)]), self.labels[learn])
        clips, test = self.reader(learn), self.labels[~learn]
        change, adapted = found.change, part(clips[found.strength.baseline], ~learn)
        logits = (adapted.logits + adapted.features @ change.weights.T + change.offsets) * change.sharpness
        by = [part(clips[known], ~learn) for known in (False, True)]
        as_it_is, centred = (log_softmax(one.logits * one.cooling[:, None]) for one in by)
        adapted_told = log_softmax(logits * adapted.cooling[:, None])
        return scores(as_it_is, test), scores(centred, test), scores(adapted_told, test), found.changes


def part(clips: Clips, which: Bools) -> Clips:
    """Of n clips those that `which` (n) marks."""
    return Clips(clips.features[which], clips.logits[which], clips.cooling[which])


def line(name: str, by_speaker: Sequence[Sequence[Scores]]) -> str:
    """Mean over speakers (of each the mean over draws) and the deviation between them."""
    cells = []
    for key, digits, times in (("accuracy", 1, 100.0), ("uar", 1, 100.0), ("loss", 2, 1.0)):
        means = times * np.array([np.mean([getattr(one, key) for one in draws]) for draws in by_speaker])
        cells.append(f"{means.mean():.{digits}f} ± {means.std(ddof=1):.{digits}f}")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--features", type=Path, required=True)
    arguments.add_argument("--model", type=Path, required=True)
    arguments.add_argument("--draws", type=int, default=3)
    arguments.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    if not options.model.exists():
        trained(options.features, options.model)
    checkpoint, module = load(options.model)
    voices = read_voices(options.features, ("emodb",))
    voices = voices.where(np.array(voices.copies) == 0)
    columns = checkpoint.streams["voice"].columns
    clips = [clip_of(voices, i, columns) for i in range(len(voices.rows))]
    people = sorted({clip.speaker for clip in clips})
    speakers = [Speaker(checkpoint, module, [clip for clip in clips if clip.speaker == person]) for person in people]
    print("| clips an emotion | | accuracy | UAR | log loss |\n|---|---|---|---|---|")
    for count in options.counts:
        rows: list[list[tuple[Scores, Scores, Scores, bool]]] = []
        for number, speaker in enumerate(speakers):
            draws = [np.random.default_rng([number, count, draw]) for draw in range(options.draws)]
            rows.append([speaker.told(drawn(speaker.labels, count, random)) for random in draws])
            shown = [f"{100 * np.mean([row[kind].accuracy for row in rows[-1]]):.1f}" for kind in range(3)]
            print(f"speaker {people[number]}, {count}: {', '.join(shown)}", flush=True)
        for kind, name in enumerate(("as it is", "the same clips as baseline, no labels", "adapted")):
            print(line(f"{count} | {name}", [[row[kind] for row in draws] for draws in rows]), flush=True)
        better = [row[2].loss < row[0].loss for draws in rows for row in draws]
        worse = [row[2].accuracy < row[0].accuracy for draws in rows for row in draws]
        changed = [row[3] for draws in rows for row in draws]
        print(f"of {len(better)} times: changed {sum(changed)}, log loss better {sum(better)}, accuracy lower {sum(worse)}", flush=True)


if __name__ == "__main__":
    main()
