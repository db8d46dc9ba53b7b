"""Whether influence is true: does what it calls most influential carry the answer, and is it where the evidence was placed?

As pipeline/attention/influence.py, on composed utterances: a part (a word, half a second of face or voice) is taken away, and its influence
is the change in the log odds of the answer. The words that are left keep their rows: they are not embedded again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from emofuse.fusion.batch import Scaling
from emofuse.pipeline.attention.influence import STEP, odds
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats64

from .composer import Member
from .evidence import mean_of
from .training import answers

SHARE = 0.2
"""Of an utterance's rows, taken away in the deletion test."""
DRAWS = 5
"""Random fifths of an utterance's rows that are taken away for comparison."""


@dataclass(frozen=True)
class Occlusion:
    """Of one stream of a set of utterances, or ("all") of all their streams.

    utterances   whose evidence in this stream has a place
    highest      share of them of which a part on the evidence has the highest influence of the stream's parts; None for "all"
    top, random  mean fall of the answer's probability without the 20 % most influential rows, and without 20 % drawn at random
    """

    utterances: int
    highest: float | None
    top: float
    random: float


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one stream that are taken away together: keep (n) marks those that stay."""

    stream: str
    keep: NDArray[np.bool_]
    on_evidence: bool


def occlusion(
    module: nn.Module, members: Sequence[Member], scalings: dict[str, Scaling], heat: Mapping[str, float], seed: int
) -> dict[str, Occlusion]:
    """Stream -> how true its influence is, and "all" for the deletion test over all streams at once. `heat`: temperature of each subset."""
    random = np.random.default_rng([seed, 31])
    found: dict[str, list[tuple[bool, float, float]]] = {name: [] for name in (*scalings, "all")}
    for member in members:
        parts = [part for name in scalings for part in parts_of(member, name)]
        temperature = heat["+".join(name for name in scalings if length(member, name))]
        whole = probabilities(module, [member], scalings, temperature)[0]
        answer = int(whole.argmax())
        without = probabilities(module, [less(member, {part.stream: part.keep}) for part in parts], scalings, temperature)[:, answer]
        influence = [odds(whole[answer]) - odds(p) for p in without]
        chosen = {name: fifth(member, name, parts, influence) for name in scalings if length(member, name)}
        drawn = [{name: drawn_fifth(length(member, name), random) for name in chosen} for _ in range(DRAWS)]
        sets = [chosen, *({name: keep} for name, keep in chosen.items()), *drawn, *({n: draw[n]} for draw in drawn for n in chosen)]
        falls = whole[answer] - probabilities(module, [less(member, keep) for keep in sets], scalings, temperature)[:, answer]
        n, names = len(chosen), list(chosen)
        alone = falls[1 + n + DRAWS :].reshape(DRAWS, n).mean(0)
        found["all"].append((False, float(falls[0]), float(falls[1 + n : 1 + n + DRAWS].mean())))
        for k, name in enumerate(names):
            mine = [(scores, part.on_evidence) for scores, part in zip(influence, parts, strict=True) if part.stream == name]
            if any(on for _, on in mine) and not all(on for _, on in mine):
                found[name].append((max(mine, key=lambda pair: pair[0])[1], float(falls[1 + k]), float(alone[k])))
    return {name: summary(rows, placed=name != "all") for name, rows in found.items() if rows}


def summary(rows: Sequence[tuple[bool, float, float]], placed: bool) -> Occlusion:
    highest, top, random = (np.array([row[i] for row in rows], np.float64) for i in range(3))
    return Occlusion(len(rows), mean_of(highest) if placed else None, mean_of(top), mean_of(random))


def probabilities(module: nn.Module, members: Sequence[Member], scalings: dict[str, Scaling], temperature: float) -> Floats64:
    """(members 7) under an even prior; the even prior itself where no row is left."""
    even = np.full((len(members), len(EMOTIONS)), 1 / len(EMOTIONS))
    there = [i for i, member in enumerate(members) if any(length(member, name) for name in scalings)]
    if there:
        logits = answers(module, [members[i] for i in there], scalings)[:, : len(EMOTIONS)]
        even[there] = (logits.double() / temperature).softmax(1).numpy()
    return even


def length(member: Member, name: str) -> int:
    """Rows of a stream."""
    if name == "text":
        return 0 if member.text is None else len(member.text)
    row = member.face if name == "face" else member.voice
    return 0 if row is None else len(row.times)


def parts_of(member: Member, name: str) -> list[Part]:
    """A stream's words, or its half seconds."""
    n = length(member, name)
    if not n:
        return []
    if name == "text":
        first, last = member.phrase or (0, 0)
        return [Part(name, np.arange(n) != k, first <= k < last) for k in range(n)]
    row = member.face if name == "face" else member.voice
    assert row is not None
    count = max(1, round(row.seconds / STEP))
    slot = np.clip((row.times / row.seconds * count).astype(int), 0, count - 1)
    begin, end = row.evidence or (-1.0, -1.0)
    marked = (row.times >= begin) & (row.times < end)
    return [Part(name, slot != k, bool(marked[slot == k].any())) for k in np.unique(slot)]


def fifth(member: Member, name: str, parts: Sequence[Part], influence: Sequence[float]) -> NDArray[np.bool_]:
    """(n) which rows stay when the most influential fifth is taken away (at least one row)."""
    values = np.zeros(length(member, name))
    for part, value in zip(parts, influence, strict=True):
        if part.stream == name:
            values[~part.keep] = value
    taken = np.argsort(-values, kind="stable")[: max(1, round(SHARE * len(values)))]
    keep = np.ones(len(values), bool)
    keep[taken] = False
    return keep


def drawn_fifth(n: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """(n) which rows stay when a fifth is taken away at random (at least one row)."""
    keep = np.ones(n, bool)
    keep[random.choice(n, max(1, round(SHARE * n)), replace=False)] = False
    return keep


def less(member: Member, keep: Mapping[str, NDArray[np.bool_]]) -> Member:
    """The utterance with those rows of each stream alone that its `keep` (n) marks; a stream without any row is absent."""
    made = member
    for name, kept in keep.items():
        if name == "text":
            assert member.text is not None
            made = replace(made, text=member.text[kept] if kept.any() else None)
        else:
            row = member.face if name == "face" else member.voice
            assert row is not None
            part = replace(row, values=row.values[kept], times=row.times[kept]) if kept.any() else None
            made = replace(made, face=part) if name == "face" else replace(made, voice=part)
    return made
