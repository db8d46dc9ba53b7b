"""Stretches of speech grouped by speaker, and the borders between speakers.

Ward's agglomeration (J. H. Ward, 1963): of all groups the two are joined whose joining adds least to the squared distances within groups.
Prints have length 1 and their origin is everybody's mean, so the mean cosine between two groups' members is near 0 for two people. How
many speakers there are: the most groups of which no two are alike by more than ALIKE and none is smaller than SMALLEST. Stretches that
are known to be of one speaker begin as one group; groups that are known to be of different speakers are not joined.

Letters: k stretches, d numbers of a print, g groups, t moments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.timed import Floats64

ALIKE = 0.18
"""Mean cosine between two groups above which they are one speaker; chosen on speakers who are not of the test (docs/speakers.md)."""
SMALLEST = 0.15
"""Share of the stretches below which a group is no speaker of its own, where their number is to be found."""
FEWEST = 2
"""Stretches, likewise."""
MOST = 8
"""Speakers that are looked for where their number is not given."""

Labels = NDArray[np.intp]


@dataclass
class _Groups:
    """The state of the agglomeration: (g d) sums of the members' prints, (g) their number, (g g) pairs that are two people."""

    sums: Floats64
    counts: Floats64
    apart: NDArray[np.bool_]
    labels: Labels

    def costs(self) -> Floats64:
        """(g g) what joining each pair adds to the squared distances within groups; infinite on the diagonal."""
        means = self.sums / self.counts[:, None]
        squares = (means**2).sum(1)
        distance = np.maximum(squares[:, None] + squares - 2 * means @ means.T, 0.0)
        weight = self.counts[:, None] * self.counts / (self.counts[:, None] + self.counts)
        costs: Floats64 = weight * distance
        np.fill_diagonal(costs, np.inf)
        return costs

    def row(self, i: int) -> Floats64:
        """(g) the costs of joining group i with each other."""
        means = self.sums / self.counts[:, None]
        costs: Floats64 = self.counts[i] * self.counts / (self.counts[i] + self.counts) * ((means - means[i]) ** 2).sum(1)
        costs[i] = np.inf
        return costs


def partitions(
    prints: Floats64, together: Sequence[Sequence[int]] = (), apart: Sequence[tuple[int, int]] = ()
) -> Iterator[tuple[Labels, bool]]:
    """(k) labels 0, 1, ... from the most groups to one, and whether no two that are `apart` are in one group.

    prints    (k d) of length 1, zeros where a stretch has none
    together  sets of stretches of one speaker;  apart: pairs of stretches of two
    """
    labels = np.arange(len(prints), dtype=np.intp)
    for stretches in together:
        labels[list(stretches)] = min(stretches)
    _, labels = np.unique(labels, return_inverse=True)
    g = int(labels.max()) + 1 if len(labels) else 0
    sums, counts = np.zeros((g, prints.shape[1])), np.bincount(labels, minlength=g).astype(np.float64)
    np.add.at(sums, labels, prints)
    forbidden = np.zeros((g, g), bool)
    for i, j in apart:
        forbidden[labels[i], labels[j]] = forbidden[labels[j], labels[i]] = labels[i] != labels[j]
    groups = _Groups(sums, counts, forbidden, labels.astype(np.intp))
    costs, allowed = groups.costs(), True
    yield groups.labels.copy(), True
    while len(groups.counts) > 1:
        open_costs = np.where(groups.apart, np.inf, costs)
        if not np.isfinite(open_costs).any():
            open_costs, allowed = costs, False
        i, j = sorted(int(x) for x in np.unravel_index(int(np.argmin(open_costs)), costs.shape))
        _join(groups, i, j)
        costs = np.delete(np.delete(costs, j, 0), j, 1)
        costs[i] = costs[:, i] = groups.row(i)
        yield groups.labels.copy(), allowed


def _join(groups: _Groups, i: int, j: int) -> None:
    """Group j becomes part of group i < j."""
    groups.sums[i] += groups.sums[j]
    groups.counts[i] += groups.counts[j]
    groups.apart[i] |= groups.apart[j]
    groups.apart[:, i] |= groups.apart[:, j]
    groups.apart[i, i] = False
    groups.sums, groups.counts = np.delete(groups.sums, j, 0), np.delete(groups.counts, j)
    groups.apart = np.delete(np.delete(groups.apart, j, 0), j, 1)
    groups.labels[groups.labels == j] = i
    groups.labels[groups.labels > j] -= 1


def speakers_of(
    prints: Floats64, count: int | None = None, together: Sequence[Sequence[int]] = (), apart: Sequence[tuple[int, int]] = ()
) -> Labels:
    """(k) the speaker of each stretch, 0, 1, ...: so many speakers as `count` says (fewer where there are fewer stretches), else as many
    as are told apart."""
    if not len(prints):
        return np.zeros(0, np.intp)
    fewest = np.arange(len(prints), dtype=np.intp)
    for labels, allowed in partitions(prints, together, apart):
        groups = int(labels.max()) + 1
        if count is not None and groups <= count:
            return labels
        if count is None and not allowed:
            break  # fewer would put two people into one group
        if count is None and groups <= MOST and _distinct(prints, labels):
            return labels
        fewest = labels
    return fewest


def _distinct(prints: Floats64, labels: Labels) -> bool:
    """Whether every group is large enough, and no two are alike."""
    counts = np.bincount(labels)
    if len(counts) == 1:
        return True
    if counts.min() < max(FEWEST, SMALLEST * len(labels)):
        return False
    return bool(likeness(prints, labels)[~np.eye(len(counts), dtype=bool)].max() <= ALIKE)


def likeness(prints: Floats64, labels: Labels) -> Floats64:
    """(g g) the mean cosine between the members of each two groups."""
    means = centres(prints, labels)
    return np.asarray(means @ means.T)


def centres(prints: Floats64, labels: Labels) -> Floats64:
    """(g d) the mean print of each group."""
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), prints.shape[1]))
    np.add.at(sums, labels, prints)
    return sums / counts[:, None]


def best_path(scores: Floats64, cost: Floats64) -> Labels:
    """(t) the speaker of each moment: the path with the highest sum of `scores` (t g), less `cost` (t) for a change before moment t
    (A. J. Viterbi, 1967)."""
    t, g = scores.shape
    total, came_from = scores[0].astype(np.float64), np.zeros((t, g), np.intp)
    for at in range(1, t):
        best = int(total.argmax())
        jumps = total[best] - cost[at] > total
        came_from[at] = np.where(jumps, best, np.arange(g))
        total = np.where(jumps, total[best] - cost[at], total) + scores[at]
    path = np.zeros(t, np.intp)
    path[-1] = int(total.argmax())
    for at in range(t - 1, 0, -1):
        path[at - 1] = came_from[at, path[at]]
    return path
