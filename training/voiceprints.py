"""Fits the space in which `--speakers` compares voices (extractors/speakers/voiceprints.py).

    python -m training.voiceprints --data ../shared/data --out extractors/speakers

Conversations of four speakers are composed (conversations.py) of all speakers but those of the test, and go through `--voice whisper`
as a clip does. Each turn gives one mean. What is usual within speakers is the covariance of their turns about their own means, of
columns of standard deviation 1, shrunk by LAMBDA towards a multiple of the identity; the matrix is the inverse of its root. LAMBDA
was chosen by folds of speakers among those that are not of the test. OUT gets voiceprints.safetensors and voiceprints.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from emofuse.extractors.speakers.voiceprints import Tenths
from emofuse.extractors.voice.whisper_voice import PROJECTION, WhisperVoice
from emofuse.pipeline.timed import Floats32, Floats64

from .conversations import TEST, compose, one_corpus, recordings
from .sound import Sound

LAMBDA = 0.2
PEOPLE, TURNS = 4, 20


def means_of_turns(
    clips: Mapping[str, Sequence[Path]], speakers: Sequence[str], conversations: int, seed: int
) -> tuple[Floats64, NDArray[np.str_]]:
    """(n c) the mean of each turn, and (n) whose it is. Three conversations in four are RAVDESS': it has more speakers."""
    random = np.random.default_rng(seed)
    voice = WhisperVoice()
    means: list[Floats64] = []
    names: list[str] = []
    corpora = one_corpus(speakers)
    for k in range(conversations):
        of_corpus = corpora[0 if k % 4 else 1]
        people = [of_corpus[i] for i in random.choice(len(of_corpus), min(PEOPLE, len(of_corpus)), replace=False)]
        conversation = compose(clips, people, TURNS, random)
        tenths = Tenths(voice(Sound(conversation.values), {}))
        for turn in conversation.turns:
            means.append(tenths.mean(turn.span))
            names.append(turn.speaker)
    kept = np.isfinite(means).all(1)
    return np.array(means)[kept], np.array(names)[kept]


def space_of(means: Floats64, names: NDArray[np.str_], shrinkage: float = LAMBDA) -> tuple[Floats32, Floats32]:
    """Mean (c) and matrix (c c) of within-class covariance normalisation; columns are standardised first."""
    mean, deviation = means.mean(0), means.std(0) + 1e-6
    standard = (means - mean) / deviation
    centred = np.concatenate([standard[names == one] - standard[names == one].mean(0) for one in np.unique(names)])
    within = np.cov(centred.T)
    within = (1 - shrinkage) * within + shrinkage * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    return mean.astype(np.float32), ((vectors / np.sqrt(values)) / deviation[:, None]).astype(np.float32)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--conversations", type=int, default=60)
    arguments.add_argument("--seed", type=int, default=21)
    given = arguments.parse_args()
    clips = recordings(given.data)
    speakers = [name for name in clips if name not in TEST]
    means, names = means_of_turns(clips, speakers, given.conversations, given.seed)
    mean, matrix = space_of(means, names)
    data = save({"mean": mean, "matrix": matrix.astype(np.float16)})
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "voiceprints.safetensors").write_bytes(data)
    described = {
        "columns": "--voice whisper, tiny.en",
        "projection_sha256": json.loads(PROJECTION.read_text("utf-8"))["sha256"],
        "sha256": hashlib.sha256(data).hexdigest(),
        "shrinkage": LAMBDA,
        "fitted_on": f"{len(means)} turns of {len(np.unique(names))} speakers in {given.conversations} composed conversations:"
        " RAVDESS (CC BY-NC-SA 4.0) without actors 15 to 18, EmoDB without speakers 11, 13, 14 and 15",
        "made_by": f"python -m training.voiceprints --conversations {given.conversations} --seed {given.seed}",
    }
    (given.out / "voiceprints.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    print(described["fitted_on"])


if __name__ == "__main__":
    main()
