"""Raw folders of acted clips whose file names say what they are: RAVDESS and CREMA-D. Their streams are extracted (`Source.extract`).

RAVDESS: MODALITY-CHANNEL-EMOTION-INTENSITY-STATEMENT-REPETITION-ACTOR, numbers with two digits; channel 01 (speech) is read.
CREMA-D: ACTOR_SENTENCE_EMOTION_LEVEL (1001_DFA_ANG_XX). Neither publishes a split: recipes split by speaker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emofuse.pipeline.errors import DatasetError
from emofuse.pipeline.timed import TimedSequence

from .examples import Dataset, Example, Source

MEDIA = {".mp4", ".flv", ".wav", ".flac", ".avi", ".mov", ".mkv", ".webm", ".mp3"}


@dataclass(frozen=True)
class Naming:
    """How a corpus names its clips: a pattern with the groups emotion and actor (and channel), and the emotions' codes."""

    corpus: str
    pattern: re.Pattern[str]
    emotions: dict[str, str]
    speech: str = ""


RAVDESS = Naming(
    "RAVDESS",
    re.compile(r"\d\d-(?P<channel>\d\d)-(?P<emotion>\d\d)-\d\d-\d\d-\d\d-(?P<actor>\d\d)"),
    {
        **{"01": "neutral", "02": "calm", "03": "happiness", "04": "sadness"},
        **{"05": "anger", "06": "fear", "07": "disgust", "08": "surprise"},
    },
    speech="01",
)
CREMAD = Naming(
    "CREMA-D",
    re.compile(r"(?P<actor>\d{4})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_[A-Z]{2}"),
    {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness"},
)


def read_actors(source: Source, naming: Naming) -> Dataset:
    """Every clip under a folder, in order of name; raises `DatasetError` naming the clip whose name or label is not known."""
    if not source.path.is_dir():
        raise DatasetError(f"{source.path}: expected a folder of {naming.corpus} clips")
    if source.extract is None:
        raise DatasetError(f"{source.path}: raw clips have no streams; hand in how to extract them")
    examples, sung = [], 0
    for path in sorted(p for p in source.path.rglob("*") if p.suffix.lower() in MEDIA):
        parts = naming.pattern.fullmatch(path.stem)
        if parts is None:
            raise DatasetError(f"{path}: expected a {naming.corpus} name ({naming.pattern.pattern})")
        if naming.speech and parts["channel"] != naming.speech:
            sung += 1
            continue
        if parts["emotion"] not in naming.emotions:
            raise DatasetError(f"{path}: unknown emotion {parts['emotion']}; {naming.corpus} has {', '.join(naming.emotions)}")
        streams = source.extract(path)
        examples.append(
            Example(path.stem, _chosen(streams, source, path), {"emotion": naming.emotions[parts["emotion"]]}, "", parts["actor"])
        )
    return Dataset(naming.corpus, tuple(examples), {"clips left out: not speech": sung} if sung else {})


def _chosen(streams: Mapping[str, TimedSequence], source: Source, path: Path) -> dict[str, TimedSequence]:
    chosen = {}
    for stream, given in source.streams.items():
        if (given or stream) not in streams:
            raise DatasetError(f"{path}: expected the stream {given or stream}; extracted: {', '.join(streams)}")
        chosen[stream] = streams[given or stream]
    return chosen
