"""What a few labelled clips can teach a checkpoint: the mathematics of `emofuse adapt`, in numpy.

A checkpoint's last layer gives logits z = W f + b of an utterance's features f. A few clips move it: u = dW f + db is added, and all is
sharpened by a factor. dW and db have Gaussian priors around nothing, so that the answer is the checkpoint's own where the clips say
nothing (a maximum a posteriori fit of multinomial logistic regression; in its dual form it costs n x n, however many features there
are). How far it may move is one of a few `Strength`s, and is chosen by leaving clips out. What that is worth is told by leaving a clip
out of everything, the choice of the strength included (nested leave-one-out).

Letters: n clips, c features, k emotions, m sets of clips to learn from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import DatasetError
from emofuse.pipeline.timed import Floats64

FEWEST_CLIPS, MOST_CLIPS = 6, 300
ALONE, FOLDS = 40, 20
"""Up to so many clips each is left out alone; more are left out in so many groups."""
FEWEST_SPEAKERS = 3
"""From here on the strength is chosen by leaving speakers out."""
ITERATIONS, CURVATURE = 30, 0.3
"""Steps of the fit, and the curvature of the loss that a step reckons with (`dual`)."""
SURE = 1.5
"""Standard errors by which a strength must beat the checkpoint as it is to be chosen."""

Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]


@dataclass(frozen=True, order=True)
class Strength:
    """How far a few clips may move a checkpoint's answer.

    prior      variance of each emotion's offset, in logits: how rare or common it is here
    layer      variance of a clip's logits through the last layer's change
    sharpness  the logits are multiplied by it
    baseline   voice and face are read as departures from what is usual in these clips
    """

    prior: float = 0.0
    layer: float = 0.0
    sharpness: float = 1.0
    baseline: bool = False


AS_IT_IS = Strength()
MOVES = ((0.0, 0.0), (0.25, 0.0), (1.0, 0.0), (2.0, 0.0), (0.5, 1.0), (1.0, 4.0), (1.0, 16.0))
SHARPNESSES = (1.0, 0.5)
"""A clip's luck must not make a checkpoint surer: nothing is sharpened but through the last layer."""


def strengths(baseline: bool) -> tuple[Strength, ...]:
    """All that are tried, the checkpoint as it is first; with `baseline`, each also as departures from what is usual in the clips."""
    read = (False, True) if baseline else (False,)
    return tuple(Strength(prior, layer, sharpness, b) for b in read for prior, layer in MOVES for sharpness in SHARPNESSES)


@dataclass(frozen=True, eq=False)
class Clips:
    """What a checkpoint makes of n clips.

    features  (n c) what the last layer reads
    logits    (n k) of the emotions
    cooling   (n) what the logits are multiplied by before the softmax: 1 / the temperature of the streams that the clip has
    """

    features: Floats64
    logits: Floats64
    cooling: Floats64


Reading = Callable[[Bools], Mapping[bool, Clips]]
"""Which clips count as known (n) -> the clips, read without (False) and with (True) what is usual in those as the baseline."""


@dataclass(frozen=True, eq=False)
class Change:
    """What is done to a checkpoint's last layer: weights (k c) and offsets (k) added, and the logits sharpened."""

    weights: Floats64
    offsets: Floats64
    sharpness: float


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Each clip's answer by a checkpoint that did not learn from it: logarithms of probabilities (n k), before and after adapting.

    by       "clip" or "speaker": what was left out together
    chosen   the strength that was chosen each time, by fold
    """

    by: str
    before: Floats64
    after: Floats64
    chosen: tuple[Strength, ...]


@dataclass(frozen=True, eq=False)
class Fit:
    """What the clips teach: the strength that was chosen, the change of the last layer, and what each way of leaving out says of it."""

    strength: Strength
    change: Change
    left_out: tuple[LeftOut, ...]

    @property
    def changes(self) -> bool:
        """Whether anything is changed at all."""
        return self.strength != AS_IT_IS


def check_labels(labels: Ints, emotions: Sequence[str]) -> None:
    """Labels (n); raises `DatasetError` where there are too few or too many clips, or one emotion alone."""
    if len(labels) < FEWEST_CLIPS:
        raise DatasetError(f"adapt: expected at least {FEWEST_CLIPS} labelled clips, got {len(labels)}")
    if len(labels) > MOST_CLIPS:
        raise DatasetError(f"adapt: expected at most {MOST_CLIPS} labelled clips, got {len(labels)}; with so many, `emofuse train` a model")
    if len(present := np.unique(labels)) < 2:
        raise DatasetError(f"adapt: expected clips of at least two emotions, got {emotions[int(present[0])]} alone")


def fit(read: Reading, labels: Ints, groups: Sequence[str] | None = None, *, baseline: bool = True) -> Fit:
    """What n clips with labels (n) teach. `groups` names whose clip each is; `baseline`: whether the checkpoint reads one.

    The checkpoint stays as it is where no strength is better by leaving out, or where the whole procedure is not.
    """
    by_clip = folds_of(len(labels))
    ways = {"clip": by_clip}
    speakers = [] if groups is None else sorted(set(groups))
    if len(speakers) > 1:
        ways["speaker"] = np.array([speakers.index(group) for group in groups or ()], np.intp)
    judge = "speaker" if len(speakers) >= FEWEST_SPEAKERS else "clip"
    left_out = tuple(leave_out(read, labels, folds, by, baseline=baseline) for by, folds in ways.items())
    whole = read(np.ones(len(labels), bool))
    strength = chosen(whole, labels, ways[judge], np.ones(len(labels), bool), strengths(baseline))
    told = next(one for one in left_out if one.by == judge)
    if loss(told.after, labels).mean() >= loss(told.before, labels).mean():
        strength = AS_IT_IS
    return Fit(strength, change_of(whole[strength.baseline], labels, strength), left_out)


def folds_of(clips: int) -> Ints:
    """(n) which clips are left out together: each alone, or, of many, every `FOLDS`-th."""
    return np.arange(clips) if clips <= ALONE else np.arange(clips) % FOLDS


def leave_out(read: Reading, labels: Ints, folds: Ints, by: str, *, baseline: bool) -> LeftOut:
    """Each fold (n) answered by what the others teach: the strength is chosen among them, and the baseline does not know the fold."""
    before, after = (np.zeros((len(labels), 0)) for _ in range(2))
    picked = []
    for fold in np.unique(folds):
        known = folds != fold
        clips = read(known)
        k = clips[False].logits.shape[1]
        before, after = (table if table.shape[1] else np.zeros((len(labels), k)) for table in (before, after))
        inner = folds if len(np.unique(folds[known])) > 1 else folds_of(len(labels))
        strength = chosen(clips, labels, inner, known, strengths(baseline))
        picked.append(strength)
        answered = answers(clips[strength.baseline], labels, known[None], strength)[0]
        before[~known] = log_softmax(clips[False].logits * clips[False].cooling[:, None])[~known]
        after[~known] = answered[~known]
    return LeftOut(by, before, after, tuple(picked))


def chosen(clips: Mapping[bool, Clips], labels: Ints, folds: Ints, known: Bools, tried: Sequence[Strength]) -> Strength:
    """The strength whose answers for left-out folds (n), among the `known` (n) alone, are best; the checkpoint as it is unless they are
    better than its own by more than `SURE` standard errors of the mean difference."""
    parts = [fold for fold in np.unique(folds[known]) if (known & (folds != fold)).any()]
    learn = np.stack([known & (folds != fold) for fold in parts])
    where = np.array([parts.index(fold) if fold in parts else 0 for fold in folds])
    everyone, index = np.arange(len(labels)), np.flatnonzero(known)

    def losses(strength: Strength) -> Floats64:
        told = answers(clips[strength.baseline], labels, learn, strength)
        return loss(told[where, everyone], labels)[index]

    as_it_is = losses(AS_IT_IS)
    best, gain = AS_IT_IS, 0.0
    for strength in tried:
        better = as_it_is - losses(strength)
        mean, error = float(better.mean()), float(better.std(ddof=1) / np.sqrt(len(better)))
        if mean > max(gain, SURE * error):
            best, gain = strength, mean
    return best


def answers(clips: Clips, labels: Ints, learn: Bools, strength: Strength) -> Floats64:
    """(m n k) logarithms of probabilities of all n clips, after learning from each of m sets of them, `learn` (m n)."""
    kernel, cooling = kernel_of(clips, np.asarray(learn.any(0)), strength), clips.cooling * strength.sharpness
    start = clips.logits * cooling[:, None]
    scaled = kernel * cooling[:, None] * cooling[None, :]
    if not scaled.any():
        return np.broadcast_to(log_softmax(start), (len(learn), *start.shape))
    return log_softmax(start + np.matmul(scaled, dual(scaled, start, labels, learn)))


def kernel_of(clips: Clips, known: Bools, strength: Strength) -> Floats64:
    """(n n) how the prior lets the logits of two clips move together; features are standardised as those of the `known` clips (n) are."""
    mean, scale = standard_of(clips.features[known])
    standard = (clips.features - mean) / scale
    return np.asarray(strength.prior + strength.layer * standard @ standard.T, np.float64)


def standard_of(features: Floats64) -> tuple[Floats64, float]:
    """The mean (c) of features (n c), and the one scale that makes their mean square distance from it 1."""
    mean = features.mean(0)
    return mean, float(np.sqrt(((features - mean) ** 2).sum(1).mean())) or 1.0


def dual(kernel: Floats64, start: Floats64, labels: Ints, learn: Bools) -> Floats64:
    """(m n k) dual weights a: the logits start + kernel a are the most probable ones given the labels (n) of those in `learn` (m n).

    Each step minimises a quadratic model of the loss, of one curvature for all emotions, so that what it inverts is n x n and the same in
    every step. A softmax's curvature is at most 1/2 (Böhning 1992), and a model of more than half of that lowers the loss in every step.
    Whoever is not learned from has the weight 0.
    """
    truth = np.eye(start.shape[1])[labels]
    weight = learn.astype(np.float64)[:, :, None]
    step = np.linalg.inv(CURVATURE * weight * kernel + np.eye(len(kernel)))
    a = np.zeros((len(learn), *start.shape))
    for _ in range(ITERATIONS):
        told = np.exp(log_softmax(start + np.matmul(kernel, a)))
        a = a - np.matmul(step, weight * (told - truth) + a)
    return a


def change_of(clips: Clips, labels: Ints, strength: Strength) -> Change:
    """What all clips with labels (n) teach together, as a change of the last layer."""
    k, c = clips.logits.shape[1], clips.features.shape[1]
    cooling = clips.cooling * strength.sharpness
    if not (strength.prior or strength.layer):
        return Change(np.zeros((k, c)), np.zeros(k), strength.sharpness)
    learn = np.ones((1, len(labels)), bool)
    kernel = kernel_of(clips, learn[0], strength) * cooling[:, None] * cooling[None, :]
    a = dual(kernel, clips.logits * cooling[:, None], labels, learn)[0] * cooling[:, None]
    mean, scale = standard_of(clips.features)
    weights = strength.layer * a.T @ ((clips.features - mean) / scale) / scale
    return Change(weights, strength.prior * a.sum(0) - weights @ mean, strength.sharpness)


def loss(told: Floats64, labels: Ints) -> Floats64:
    """(n) minus the logarithm of the probability that each clip's label was given; `told` (n k) are logarithms."""
    return np.asarray(-told[np.arange(len(labels)), labels])


def log_softmax(logits: Floats64) -> Floats64:
    """(... k) -> (... k)."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
