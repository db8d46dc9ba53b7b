"""A checkpoint adapted to labelled clips, on disk: how it is made, what it scored by leaving out, and its card.

OUT/best.safetensors, best.json   the checkpoint, as `emofuse train` writes one
OUT/card.md                       what it was adapted on and how, for people
OUT/leave_one_out.csv             each clip's answer by a checkpoint that did not learn from it, before and after
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from emofuse.pipeline.baseline import Tally
from emofuse.pipeline.metrics import Interval, accuracy, bootstrap, evaluate_classes
from emofuse.pipeline.results import Utterance
from emofuse.pipeline.timed import Floats64, TimedSequence

from .adaptation import FEWEST_SPEAKERS, Bools, Clips, Fit, Ints, LeftOut, check_labels, fit
from .checkpoints import Checkpoint, save
from .last_layer import centred, changed, emotions_of, prepared, read_utterances
from .shipped import RUN_BEST

CARD, ANSWERS = "card.md", "leave_one_out.csv"
DRAWS, SEED = 1000, 1
SCORES = ("accuracy", "UAR", "log loss")


@dataclass(frozen=True, eq=False)
class LabelledClip:
    """A clip's utterances, the emotion that it is said to show, and whose clip it is ("": not said)."""

    name: str
    utterances: tuple[Utterance, ...]
    emotion: str
    speaker: str = ""


@dataclass(frozen=True)
class Comparison:
    """One score by leaving out, before and after adapting; `difference` with its 95 % interval over clips, or over speakers."""

    score: str
    before: float
    after: float
    difference: Interval


@dataclass(frozen=True, eq=False)
class Adapted:
    """What came of adapting.

    folder   where the checkpoint is;  changed: whether it differs from the base at all
    clips    how many, by emotion;  left_out: clips without anything that the model reads
    by       what was left out together ("clip", and "speaker" where speakers are named) -> scores
    what     what was changed, in words
    """

    folder: Path
    clips: Mapping[str, int]
    speakers: int
    left_out: tuple[str, ...]
    by: Mapping[str, tuple[Comparison, ...]]
    changed: bool
    what: str

    @property
    def helps(self) -> bool:
        """Whether leaving out shows that the change helps: the interval of the log loss lies below 0, in every way of leaving out."""
        return self.changed and all(row.difference.high < 0 for rows in self.by.values() for row in rows if row.score == "log loss")

    @property
    def verdict(self) -> str:
        """What to make of it, in a sentence."""
        if not self.changed:
            return "Nothing that these clips can teach helped: this is the base as it is."
        if self.helps:
            return "It helps on clips that it did not learn from."
        return "It is not shown to help: the interval of the log loss holds 0. More clips would tell."


class Reader:
    """What a checkpoint makes of labelled clips: a `Reading`. A clip of several utterances counts once: features and logits are means
    over them."""

    def __init__(self, checkpoint: Checkpoint, module: nn.Module, clips: Sequence[LabelledClip]) -> None:
        self._checkpoint, self._module = checkpoint, module
        self.rows: list[dict[str, TimedSequence]] = [prepared(checkpoint, u) for clip in clips for u in clip.utterances]
        self.clip = np.repeat(np.arange(len(clips)), [len(clip.utterances) for clip in clips])
        self._tallies = {
            name: [Tally.of(rows[name]) if len(rows.get(name, ())) else None for rows in self.rows]
            for name, stream in checkpoint.streams.items()
            if stream.baseline
        }
        self._plain = self._clips({name: stream.scaling for name, stream in checkpoint.streams.items()})

    @property
    def baseline(self) -> bool:
        """Whether the checkpoint reads a baseline of a stream that the clips have."""
        return any(tally is not None for tallies in self._tallies.values() for tally in tallies)

    def __call__(self, known: Bools) -> dict[bool, Clips]:
        """`known` (n) -> the clips without (False) and with (True) what is usual in those as the baseline."""
        return {False: self._plain, True: self._clips(self.scalings(known))} if self.baseline else {False: self._plain}

    def scalings(self, known: Bools) -> dict[str, Any]:
        """Each stream's standardisation as a departure from what is usual in the `known` clips (n)."""
        scalings = {}
        for name, stream in self._checkpoint.streams.items():
            told = [tally for tally, c in zip(self._tallies.get(name, ()), self.clip, strict=False) if tally is not None and known[c]]
            made = stream.preparation.made(stream.columns)
            scalings[name] = centred(stream, Tally.all_of(made, told)) if told else stream.scaling
        return scalings

    def _clips(self, scalings: Mapping[str, Any]) -> Clips:
        read = read_utterances(self._checkpoint, self._module, self.rows, scalings)
        share = np.eye(int(self.clip[-1]) + 1)[self.clip].T
        share /= share.sum(1, keepdims=True)
        return Clips(share @ read.features, share @ read.logits, share @ (1 / read.temperatures))


def adapt(checkpoint: Checkpoint, module: nn.Module, base: str, clips: Sequence[LabelledClip], out: Path) -> Adapted:
    """Writes the checkpoint adapted to the clips. `base` is what the checkpoint is called; clips without anything that it reads are left
    out. Raises `DatasetError` where the clips are too few or of one emotion, `CheckpointError` for a checkpoint that cannot be adapted."""
    emotions = emotions_of(checkpoint)
    readable = [clip for clip in (_readable(checkpoint, clip) for clip in clips) if clip.utterances]
    left_out = tuple(sorted({clip.name for clip in clips} - {clip.name for clip in readable}))
    labels = np.array([emotions.index(clip.emotion) for clip in readable], np.intp)
    check_labels(labels, emotions)
    reader = Reader(checkpoint, module, readable)
    speakers = [clip.speaker for clip in readable]
    named = all(speakers)
    found = fit(reader, labels, speakers if named else None, baseline=reader.baseline)
    by = {one.by: compared(one, labels, emotions, speakers if named else [clip.name for clip in readable]) for one in found.left_out}
    everyone = np.ones(len(readable), bool)
    scalings = reader.scalings(everyone) if found.strength.baseline else {name: read.scaling for name, read in checkpoint.streams.items()}
    report = Adapted(
        folder=out,
        clips={emotion: n for emotion in emotions if (n := int((labels == emotions.index(emotion)).sum()))},
        speakers=len(set(speakers)) if named else 0,
        left_out=left_out,
        by=by,
        changed=found.changes,
        what=in_words(found, labels, emotions, checkpoint),
    )
    about = card_of(checkpoint, base, report, found, digest_of(readable))
    written, new = changed(checkpoint, module, found.change, scalings, about)
    save(out / RUN_BEST, written, new)
    (out / CARD).write_text(markdown(report, about), encoding="utf-8")
    (out / ANSWERS).write_text(answers_table(readable, labels, emotions, found), encoding="utf-8")
    return report


def _readable(checkpoint: Checkpoint, clip: LabelledClip) -> LabelledClip:
    """The clip with those of its utterances that have a stream that the model reads."""
    some = tuple(u for u in clip.utterances if any(len(u.streams.get(name, ())) for name in checkpoint.streams))
    return LabelledClip(clip.name, some, clip.emotion, clip.speaker)


def compared(left_out: LeftOut, labels: Ints, emotions: Sequence[str], groups: Sequence[str]) -> tuple[Comparison, ...]:
    """Scores of labels (n) before and after; intervals over clips, or over `groups` where there are enough of them."""
    if len(set(groups)) < FEWEST_SPEAKERS:
        groups = [str(i) for i in range(len(labels))]
    both = np.concatenate([left_out.before, left_out.after], 1)
    k = len(emotions)

    def score(name: str) -> Callable[[Any, Any], float]:
        if name == "accuracy":
            return lambda y, told: accuracy(y, told.argmax(1))
        if name == "UAR":
            return lambda y, told: evaluate_classes(y, told.argmax(1), emotions).uar
        return lambda y, told: float(-told[np.arange(len(y)), y].mean())

    rows = []
    for name in SCORES:
        measure = score(name)

        def difference(y: Any, told: Floats64, measure: Callable[[Any, Any], float] = measure) -> float:
            return measure(y, told[:, k:]) - measure(y, told[:, :k])

        interval = bootstrap(difference, labels, both, groups, seed=SEED, draws=DRAWS)
        rows.append(Comparison(name, measure(labels, left_out.before), measure(labels, left_out.after), interval))
    return tuple(rows)


def in_words(found: Fit, labels: Ints, emotions: Sequence[str], checkpoint: Checkpoint) -> str:
    """What was changed, by clips with labels (n)."""
    if not found.changes:
        return "nothing: no change that these clips can teach was better when clips were left out, so it is the base"
    strength, parts = found.strength, []
    if strength.baseline:
        parts.append(
            f"what is usual in these clips is the baseline of {' and '.join(n for n, s in checkpoint.streams.items() if s.baseline)}"
        )
    if strength.prior and not strength.layer:
        parts.append(f"how likely each emotion is (an offset each, of variance {strength.prior:g})")
    if strength.layer:
        parts.append(f"the last layer (clips' logits may move by a variance of {strength.layer:g}, emotions' by {strength.prior:g})")
    if strength.sharpness != 1:
        parts.append(f"the temperature (logits times {strength.sharpness:g})")
    return "; ".join(parts)


def digest_of(clips: Sequence[LabelledClip]) -> str:
    """SHA-256 of all that was learned from: names, labels, speakers, and the rows of every stream."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update("\0".join((clip.name, clip.emotion, clip.speaker)).encode("utf-8", "surrogateescape"))
        for utterance in clip.utterances:
            for name, stream in sorted(utterance.streams.items()):
                digest.update(name.encode() + stream.values.tobytes() + stream.start.tobytes() + stream.end.tobytes())
    return digest.hexdigest()


def card_of(checkpoint: Checkpoint, base: str, report: Adapted, found: Fit, digest: str) -> dict[str, Any]:
    """The base's card with what was done to it; the base's own numbers do not hold for it and are left out."""
    old = checkpoint.card
    trained = old["training_data"] if isinstance(old["training_data"], Mapping) else {"the base": old["training_data"]}
    limits = [old["limits"]] if isinstance(old["limits"], str) else list(old["limits"])
    counts = ", ".join(f"{n} {emotion}" for emotion, n in report.clips.items())
    absent = [emotion for emotion in checkpoint.tasks["emotion"] if emotion not in report.clips]
    people = f"; {report.speakers} speaker{'s' * (report.speakers > 1)}" if report.speakers else ""
    return {
        **{key: value for key, value in old.items() if key not in ("numbers", "prior", "paper")},
        "training_data": {**trained, "adapted to": f"{sum(report.clips.values())} clips: {counts}{people}"},
        "adapted": {
            "base": base,
            "base_sha256": checkpoint.sha256,
            "clips_sha256": digest,
            "changed": report.what,
            "verdict": report.verdict,
            "strength": vars(found.strength),
        },
        "numbers": {
            "leave_one_out": {
                by: {row.score: {"before": row.before, "after": row.after, "difference": vars(row.difference)} for row in rows}
                for by, rows in report.by.items()
            }
        },
        "limits": [
            *limits,
            "adapted to few clips: it is for recordings like them (the same people or kind of people, room, microphone, camera and task), "
            "and for nothing else; its scores were told by leaving out some of the same clips",
            *([f"no clip showed {', '.join(absent)}: it may answer so more rarely than the base"] if absent and report.changed else []),
            "its probabilities follow how often each emotion is among these clips; `--prior` counts on top of that",
        ],
    }


def markdown(report: Adapted, card: Mapping[str, Any]) -> str:
    """The card as a page."""
    about = card["adapted"]
    lines = ["# Adapted checkpoint: card", ""]
    lines += [f"Base: {about['base']}, SHA-256 of its weights `{about['base_sha256']}`.", "", f"Changed: {report.what}.", ""]
    lines += ["## Data", "", "| data | what |", "|---|---|"]
    lines += [
        f"| {name} | {what if isinstance(what, str) else '; '.join(map(str, what))} |" for name, what in card["training_data"].items()
    ]
    lines += ["", f"SHA-256 of the clips' streams and labels: `{about['clips_sha256']}`.", ""]
    if report.left_out:
        lines += [f"Left out, because they have nothing that the model reads: {', '.join(report.left_out)}.", ""]
    lines += ["## By leaving out", ""]
    for by, rows in report.by.items():
        lines += [f"| left out: one {by} at a time | before | after | difference, 95 % |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(cells(row))} |" for row in rows] + [""]
    how = "Each clip is answered by a checkpoint that learned from the others, the choice of what to change included."
    lines += [report.verdict, "", how, ""]
    lines += ["## Intended use", "", f"{card['intended_use']}.".replace("..", "."), ""]
    if "must_not_be_used_for" in card:
        lines += ["## Must not be used for", "", *(f"* {what}" for what in card["must_not_be_used_for"]), ""]
    return "\n".join([*lines, "## Limits", "", *(f"* {what}" for what in card["limits"]), "", f"Licence: {card['licence']}.", ""])


def cells(row: Comparison) -> tuple[str, str, str, str]:
    """Score, before, after, and the difference with its interval; accuracy and UAR in per cent."""
    digits, times = (1, 100.0) if row.score != "log loss" else (3, 1.0)
    shown = row.difference
    numbers = [f"{times * value:.{digits}f}" for value in (row.before, row.after)]
    between = f"{times * shown.value:+.{digits}f} ({times * shown.low:+.{digits}f} to {times * shown.high:+.{digits}f})"
    return (row.score, numbers[0], numbers[1], between)


def answers_table(clips: Sequence[LabelledClip], labels: Ints, emotions: Sequence[str], found: Fit) -> str:
    """One row per clip, with labels (n), and way of leaving out: its label, the answers before and after, and the probability of its
    label."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("left_out", "clip", "speaker", "label", "before", "after", "p_label_before", "p_label_after"))
    for one in found.left_out:
        for i, clip in enumerate(clips):
            before, after = one.before[i], one.after[i]
            told = (f"{np.exp(logs[labels[i]]):.6f}" for logs in (before, after))
            writer.writerow((one.by, clip.name, clip.speaker, clip.emotion, emotions[before.argmax()], emotions[after.argmax()], *told))
    return table.getvalue()
