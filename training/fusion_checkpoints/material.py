"""From cached features (extract_voices.py, ..._faces.py, ..._texts.py) to what the trainer reads: splits, preparations, pools of streams.

Splits. Voices: whole actors (EmoDB's speakers are numbered behind RAVDESS's). Photographs: those that the face network trained on only
ever train here; of the others (its validation and test parts, by the hash of the pixels) two fifths test, a fifth validates, and the
rest trains, more often than the former (FRESH times), because a network is surer of photographs that it knows. Texts: the official
splits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emofuse.fusion import pooling, preparation, speech_preparation
from emofuse.fusion.batch import Scaling
from emofuse.fusion.checkpoints import StreamInput
from emofuse.fusion.likeness import Likeness
from emofuse.fusion.preparation import Expression, Preparation, Speech
from emofuse.pipeline.streams import EMOTIONS

from . import voices as voices_code
from .composer import OTHERS, Material, Pool, standardised
from .faces import Stills, read_stills, read_talking, streams
from .texts import read_texts
from .voices import Row, Voices, plain_voices, preparation_of, read_voices, varied_voices

FRESH = 4
"""Streams of a photograph that the face network has not seen, for one of a photograph that it has."""
LIMIT = 3.0
"""Deviations at which a prepared voice's or face's column is cut."""
ROUGH = 2
"""The copy of validation voices that is measured beside the clips as they are: another microphone, noise and coding."""
LIKE_TRAINING, LIKE_VALIDATION = 2000, 1000
"""Utterances of either split by which likeness is judged."""
SPLITS = ("train", "valid", "test")
NAMES = {"train": "train", "valid": "dev", "test": "test"}


@dataclass(frozen=True)
class Speakers:
    """RAVDESS actors that validate and test; all others train. `test` may be empty: folds do the testing."""

    valid: tuple[int, ...]
    test: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Prepared:
    """Material of each split, and what a model reads of each stream."""

    splits: dict[str, Material]
    inputs: dict[str, StreamInput]
    facts: dict[str, object]


def split_of_stills(stills: Stills, split: str) -> NDArray[np.bool_]:
    """(p) whether each photograph belongs to the split."""
    held = stills.part == "test"
    test, valid = held & (stills.share >= 60), held & (stills.share >= 40) & (stills.share < 60)
    return np.asarray({"test": test, "valid": valid, "train": ~(test | valid)}[split])


def split_of_voices(voices: Voices, split: str, speakers: Speakers, copy: int = 0) -> NDArray[np.bool_]:
    """(n) whether each clip belongs to the split; of validation and test only this copy of each."""
    test, valid = np.isin(voices.actors, speakers.test), np.isin(voices.actors, speakers.valid)
    this = np.array(voices.copies) == copy
    return np.asarray({"test": test & this, "valid": valid & this, "train": ~(test | valid)}[split])


def material(
    folder: Path,
    speakers: Speakers,
    seed: int,
    *,
    voice: Preparation | None = None,
    face: Preparation | None = None,
    variations: int = 6,
    splits: tuple[str, ...] = SPLITS,
) -> Prepared:
    """Everything that a training reads; follows from the seed. `variations` of each voice clip and copy are made."""
    voices, stills, talking = read_voices(folder), read_stills(folder), read_talking(folder)
    voice, face = voice or preparation_of(voices.columns), face or Expression(whole=False)
    spoken = read_texts(folder / "spoken.npz")
    by_split: dict[str, Material] = {}
    inputs: dict[str, StreamInput] = {}
    for split in splits:
        rough: Pool | None = None
        random = np.random.default_rng([seed, SPLITS.index(split)])
        texts, mosi = (read_texts(folder / f"{name}_{NAMES[split]}.npz") for name in ("text", "mosi"))
        heard = voices.where(split_of_voices(voices, split, speakers))
        seen = stills.where(split_of_stills(stills, split))
        if split == "train":
            key = f"{seed}-{variations}-{voice}-{sorted(speakers.valid + speakers.test)}-{voices.copies[-1]}-{source_hash()}"
            told, who = kept(folder, key, partial(varied_voices, heard, voice, variations, np.random.default_rng([seed, 7])))
            fresh, known = seen.where(seen.unseen), seen.where(~seen.unseen)
            shown, which = streams(fresh, talking, face, FRESH, random)
            more, others = streams(known, talking, face, 1, random)
            faces = Pool(shown + more, np.concatenate([fresh.labels[which], known.labels[others]]), np.arange(len(shown) + len(more)))
            inputs = {
                "text": StreamInput(texts.columns, Scaling.fit(np.concatenate(texts.rows).astype(np.float32))),
                "face": StreamInput(stills.columns, fitted(faces.rows), face, baseline=True),
                "voice": StreamInput(read_by(voice, voices.columns), fitted(told), voice, baseline=True),
            }
        else:
            told, who = plain_voices(heard, voice), np.arange(len(heard.rows))
            distorted = voices.where(split_of_voices(voices, split, speakers, ROUGH))
            rough = pool_of(distorted, plain_voices(distorted, voice), np.arange(len(distorted.rows)))
            shown, which = streams(seen, talking, face, 1, random)
            faces = Pool(shown, seen.labels[which], which)
        by_split[split] = Material(
            texts=texts,
            spoken=spoken,
            mosi=mosi,
            face=faces,
            voice=pool_of(heard, told, who),
            rough=rough if rough is not None and len(rough.rows) else None,
        )
    if "train" in by_split and "valid" in by_split:
        inputs = {name: judged(name, read, by_split["train"], by_split["valid"], seed) for name, read in inputs.items()}
    return Prepared(by_split, inputs, facts_of(folder, voices, stills, speakers, by_split, inputs))


def judged(name: str, read: StreamInput, train: Material, valid: Material, seed: int) -> StreamInput:
    """What is read of a voice or face, and where the training's utterances of it lie; persons are known by none or some of their others."""
    if name == "text":
        return read
    random = np.random.default_rng([seed, 17])
    utterances = [
        [standardised(row, read.scaling) for row in known(getattr(part, name), count, random)]
        for part, count in ((train, LIKE_TRAINING), (valid, LIKE_VALIDATION))
    ]
    return dataclasses.replace(read, likeness=Likeness.fit(*utterances))


def known(pool: Pool, count: int, random: np.random.Generator) -> list[Row]:
    """So many streams of a pool; a voice's person is known by 0 to 20 others, as in training (a face brings what is known)."""
    index = random.choice(len(pool.rows), min(count, len(pool.rows)), replace=False)
    return [
        pool.rows[i] if pool.clips is None else pool.with_usual(pool.rows[i], int(i), int(random.choice(OTHERS)), random) for i in index
    ]


def facts_of(
    folder: Path, voices: Voices, stills: Stills, speakers: Speakers, by_split: Mapping[str, Material], inputs: Mapping[str, StreamInput]
) -> dict[str, object]:
    """What a card says of the data: how many of each, and from which networks."""
    return {
        "voices": {split: int(split_of_voices(voices, split, speakers).sum()) for split in SPLITS} | {"copies": len(set(voices.copies))},
        "emodb_clips": int(
            ((voices.corpora == "emodb") & (np.array(voices.copies) == 0) & split_of_voices(voices, "train", speakers)).sum()
        ),
        "text_encoder": text_encoder(inputs) if inputs else "",
        "texts": counts_of(by_split["train"]) if "train" in by_split else {},
        "photographs": {split: int(split_of_stills(stills, split).sum()) for split in SPLITS},
        "photographs_new_to_the_face_network": int((split_of_stills(stills, "train") & stills.unseen).sum()),
        "face_network": network_of(folder),
        "emotions": list(EMOTIONS),
    }


def pool_of(voices: Voices, rows: Sequence[Row], who: NDArray[np.intp]) -> Pool:
    """Prepared voices with labels; `who` (n) says which clip each is of."""
    names, copies = np.array(voices.names), np.array(voices.copies, np.intp)
    second = voices.corpora == "emodb"
    return Pool(rows, voices.labels[who], voices.actors[who], voices.kinds[who], names[who], copies[who], second[who])


def kept(folder: Path, key: str, make: Callable[[], tuple[list[Row], NDArray[np.intp]]]) -> tuple[list[Row], NDArray[np.intp]]:
    """What `make` gives, rows and (n) clip numbers; read from the features' folder if made before: varying voices takes long."""
    path = folder / f"varied-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"
    if not path.exists():
        rows, who = make()
        whole = path.with_suffix(f".{os.getpid()}.npz")  # a second process must never read half a file
        np.savez(
            whole,
            values=np.concatenate([r.values for r in rows]),
            times=np.concatenate([r.times for r in rows]),
            lengths=[len(r.times) for r in rows],
            seconds=[r.seconds for r in rows],
            who=who,
        )
        whole.replace(path)
    with np.load(path, allow_pickle=False) as data:
        ends = np.cumsum(data["lengths"])[:-1]
        parts = zip(np.split(data["values"], ends), np.split(data["times"], ends), data["seconds"], strict=True)
        return [Row(values, times, float(seconds)) for values, times, seconds in parts], data["who"]


def source_hash() -> str:
    """Of the code that varies and prepares: other code, other rows."""
    return hashlib.sha256(
        b"".join(inspect.getsource(code).encode() for code in (voices_code, pooling, preparation, speech_preparation))
    ).hexdigest()


def counts_of(train: Material) -> dict[str, int]:
    """Training texts by source."""
    return {str(s): int((train.texts.source == s).sum()) for s in np.unique(train.texts.source)} | {"mosi": len(train.mosi)}


def read_by(preparation: Preparation, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Of a provider's columns, those that the preparation makes something of."""
    return tuple(c for c in columns if c in preparation.reads) if isinstance(preparation, Speech) else columns


def fitted(rows: Sequence[Row]) -> Scaling:
    """The standardisation of prepared rows. Another corpus must not rule by one strange column: what lies far out is cut at LIMIT."""
    return dataclasses.replace(Scaling.fit(np.concatenate([row.values for row in rows]).astype(np.float32)), limit=LIMIT)


def text_encoder(inputs: Mapping[str, StreamInput]) -> str:
    """What made the words' columns, by their names."""
    adapted = inputs["text"].columns[0].startswith("minilm_emotion_")
    return f"all-MiniLM-L6-v2 (Apache-2.0){', trained for emotion (docs/text.md)' if adapted else ''}; not part of this file"


def network_of(folder: Path) -> str:
    """SHA-256 of the face network whose answers are cached."""
    with np.load(folder / "faces.npz", allow_pickle=False) as data:
        return str(data["network"])
