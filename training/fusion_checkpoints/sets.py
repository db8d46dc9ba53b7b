"""The sets on which a checkpoint is measured: each subset of streams, composed the same way each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emofuse.fusion.batch import Scaling
from emofuse.pipeline.metrics import evaluate_sentiment
from emofuse.pipeline.streams import EMOTIONS

from .composer import NEUTRAL, SUBSETS, Composer, Material, Member, Shares
from .evidence import pointing
from .occlusion import occlusion
from .scores import Score, even_temperature, labels_of, score, uar
from .training import answers

CORPORA = ("goemotions", "meld")
PLACED_UTTERANCES = 150
OCCLUDED = 100
"""Placed utterances of which every part is taken away, one after the other."""
ROUNDS = 2
"""Partners drawn for each voice (or photograph) in a composed set."""


def text_set(material: Material, source: str = "", *, damaged: bool = False, every: int = 1) -> list[Member]:
    """Texts alone."""
    texts = material.texts
    index = [i for i in range(len(texts)) if texts.damaged[i] == damaged and source in ("", texts.source[i])]
    return [Member(texts.rows[i], None, None, int(texts.labels[i]), group=i) for i in index[::every]]


def rough(material: Material) -> Material | None:
    """With the distorted copies of the voices; None where there are none."""
    return None if material.rough is None else replace(material, voice=material.rough)


def face_set(material: Material) -> list[Member]:
    """Photographs' streams alone."""
    pool = material.face
    return [Member(None, row, None, int(k), group=int(g)) for row, k, g in zip(pool.rows, pool.labels, pool.group, strict=True)]


def voice_set(material: Material, *, baseline: bool = False) -> list[Member]:
    """Voices alone, without baseline or with all of the person's other clips; groups are actors."""
    pool = material.voice
    kinds = [""] * len(pool.rows) if pool.kinds is None else pool.kinds.tolist()
    rows = [pool.with_whole_usual(i) for i in range(len(pool.rows))] if baseline else pool.rows
    every = zip(rows, pool.labels, pool.group, kinds, strict=True)
    return [Member(None, None, row, int(k), group=int(g), kind=kind) for row, k, g, kind in every]


def stranger(member: Member) -> Member:
    """The same utterance of a person of whom nothing else is known."""
    face = None if member.face is None else replace(member.face, usual=None, others=0)
    return replace(member, face=face, voice=None if member.voice is None else replace(member.voice, usual=None, others=0))


def placed_set(material: Material, seed: int, count: int = PLACED_UTTERANCES) -> list[Member]:
    """`count` utterances of three streams, whose evidence has a place in words and voice wherever it can and in faces as they come, and as
    many neutral ones."""
    shares = Shares(neutral_text=0, wrong_text=0, neutral_face=0, neutral_voice=0, placed=1.0, placed_text=1.0)
    composer = Composer(material, shares, seed)
    return [
        composer.member(("text", "face", "voice"), NEUTRAL if i % 2 else int(composer.random.integers(len(EMOTIONS))))
        for i in range(2 * count)
    ]


def composed_set(
    material: Material, streams: tuple[str, ...], seed: int, neutral_text: float = 0.55, *, baseline: bool = False
) -> list[Member]:
    """Each voice (or, without voice, each photograph) ROUNDS times, with partners of its label drawn by the seed.

    `neutral_text` is the share whose words carry nothing. No stream is made neutral on purpose, and no words are wrong.
    """
    shares = Shares(neutral_text=neutral_text, wrong_text=0.0, neutral_face=0.0, neutral_voice=0.0)
    composer = Composer(material, shares, seed)
    first = voice_set(material, baseline=baseline) if "voice" in streams else face_set(material)
    members = []
    for _ in range(ROUNDS):
        for member in first:
            made = composer.member(streams, member.label)
            members.append(
                replace(made, voice=member.voice, group=member.group)
                if "voice" in streams
                else replace(made, face=member.face, group=member.group)
            )
    return members if baseline else [stranger(member) for member in members]


def subset_sets(material: Material, seed: int, *, baseline: bool = False) -> dict[str, list[Member]]:
    """One set for each of SUBSETS; of strangers, or with what is usual for each person."""
    by_streams: dict[str, list[Member]] = {}
    for streams in SUBSETS:
        if streams == ("text",):
            members = text_set(material)
        elif streams == ("face",):
            members = face_set(material) if baseline else [stranger(member) for member in face_set(material)]
        elif streams == ("voice",):
            members = voice_set(material, baseline=baseline)
        else:
            members = composed_set(material, streams, seed, baseline=baseline)
        by_streams["+".join(streams)] = members
    return by_streams


def checker(material: Material, scalings: dict[str, Scaling], seed: int) -> Callable[[nn.Module], dict[str, float]]:
    """UAR on validation, quick enough to choose a step by."""
    sets = {
        "text": text_set(material, every=4),
        "face": face_set(material),
        "voice": voice_set(material),
        "voice, baseline": voice_set(material, baseline=True),
        "face+voice": composed_set(material, ("face", "voice"), seed, baseline=True),
        "neutral words": composed_set(material, ("text", "face", "voice"), seed, neutral_text=1.0),
    }
    if (distorted := rough(material)) is not None:
        sets["rough voice"] = voice_set(distorted)

    def check(module: nn.Module) -> dict[str, float]:
        recalls = {}
        for name, members in sets.items():
            answered = answers(module, members, scalings)[:, : len(EMOTIONS)].argmax(1).numpy()
            recalls[name] = uar(labels_of(members), answered)
        return recalls

    return check


def temperatures(module: nn.Module, material: Material, scalings: dict[str, Scaling], seed: int) -> dict[str, float]:
    """Subset -> the temperature fitted on it, on strangers and people with a baseline together."""
    known = subset_sets(material, seed, baseline=True)
    both = {name: members + ([] if name == "text" else known[name]) for name, members in subset_sets(material, seed).items()}
    return {name: even_temperature(answers(module, members, scalings), labels_of(members)) for name, members in both.items()}


def scored(module: nn.Module, members: list[Member], scalings: dict[str, Scaling], temperature: float) -> Score:
    return score(answers(module, members, scalings), labels_of(members), temperature, [m.group for m in members])


def priors(valid: Material) -> dict[str, NDArray[np.float64]]:
    """(7) how often a corpus's texts show each emotion, by corpus: counts of its validation texts as they come, plus one each."""
    counts = {s: np.bincount(valid.texts.labels[valid.texts.source == s].astype(np.intp), minlength=len(EMOTIONS)) + 1.0 for s in CORPORA}
    return {source: count / count.sum() for source, count in counts.items()}


def numbers(
    module: nn.Module,
    material: Material,
    scalings: dict[str, Scaling],
    heat: dict[str, float],
    seed: int,
    prior: Mapping[str, NDArray[np.float64]],
    placed: int = PLACED_UTTERANCES,
) -> dict[str, Any]:
    """Every set's scores, and CMU-MOSI's; sets without members are left out. `prior` (7) of each corpus of texts, from `priors`; attention
    and influence are measured on so many utterances with `placed` evidence."""
    results: dict[str, Any] = {}
    for name, members in subset_sets(material, seed).items():
        if members:
            results[name] = vars(scored(module, members, scalings, heat[name]))
    for name, members in subset_sets(material, seed, baseline=True).items():
        if members and name != "text":
            results[f"{name}, baseline"] = vars(scored(module, members, scalings, heat[name]))
    if material.voice.rows and len(material.face.rows):
        members = placed_set(material, seed, placed)
        results["attention"] = {name: vars(member) for name, member in pointing(module, members, scalings).items()}
        emotional = members[: 2 * OCCLUDED : 2]  # every other one is neutral
        results["influence"] = {name: vars(member) for name, member in occlusion(module, emotional, scalings, heat, seed).items()}
    for kind in ("female", "male", "normal", "strong"):
        if members := [m for m in voice_set(material) if kind in m.kind.split()]:
            results[f"voice, {kind}"] = vars(scored(module, members, scalings, heat["voice"]))
    if (distorted := rough(material)) is not None:
        results["voice, distorted"] = vars(scored(module, voice_set(distorted), scalings, heat["voice"]))
        both = composed_set(distorted, ("face", "voice"), seed)
        results["face+voice, distorted"] = vars(scored(module, both, scalings, heat["face+voice"]))
    for source in CORPORA:
        members = text_set(material, source)
        logits = answers(module, members, scalings)
        results[f"text, {source}"] = vars(score(logits, labels_of(members), heat["text"]))
        likely = logits[:, : len(EMOTIONS)] + heat["text"] * torch.from_numpy(np.log(prior[source])).to(logits.dtype)
        results[f"text, {source}, under its own prior"] = vars(score(likely, labels_of(members), heat["text"], even=False))
    if material.texts.damaged.any():
        results["text, damaged as by a recogniser"] = vars(scored(module, text_set(material, damaged=True), scalings, heat["text"]))
    if both := composed_set(material, ("text", "face", "voice"), seed, neutral_text=1.0):
        results["text+face+voice, neutral words"] = vars(scored(module, both, scalings, heat["text+face+voice"]))
    results["sentiment, mosi"] = sentiment(module, material, scalings)
    return results


def sentiment(module: nn.Module, material: Material, scalings: dict[str, Scaling]) -> dict[str, Any]:
    """CMU-MOSI's text alone."""
    mosi = material.mosi
    members = [Member(row, None, None, -1, float(s)) for row, s in zip(mosi.rows, mosi.labels, strict=True)]
    logits: Tensor = answers(module, members, scalings)[:, -1]
    return {k: round(float(v), 4) for k, v in vars(evaluate_sentiment(np.asarray(mosi.labels), logits.double().numpy())).items()}
