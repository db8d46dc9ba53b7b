"""BIDS derivatives (https://bids-specification.readthedocs.io, 1.10): a data set folder with one subject per clip.

    dataset_description.json, README.md
    sub-CLIP/beh/sub-CLIP_task-speech_recording-voice_physio.tsv.gz        no header; tab separated; n/a where not measured
    sub-CLIP/beh/sub-CLIP_task-speech_recording-voice_physio.json          SamplingFrequency, StartTime, Columns, each column described
    sub-CLIP/beh/sub-CLIP_task-speech_desc-words_events.tsv (and .json)    onset, duration, word, ..

The tests run the BIDS validator (bids-validator-deno) over it. Physio files take no `desc` entity there; events do.

Voice and face are physio recordings, one recording per face where there are several. BIDS asks for one sampling frequency: rows lie on a
grid of the stream's usual step, rows of n/a fill its gaps, and the first column, `time`, is each row's own start on the clip's clock, so
that a recording with a varying frame rate is not bent. StartTime is the first row's. Words and utterances are events. Text embeddings
have no place.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..streams import EMOTIONS
from ..timed import Floats64, TimedSequence
from .session import UTTERANCES, Session
from .tables import safe_text
from .tiers import one_line

VERSION = "1.10.0"
MOST_FILLED = 20
"""A grid of more than this many rows for one measured is refused: the stream is not sampled, it is scattered."""
UNITS = {"time": "s", "Pitch": "rad", "Roll": "rad", "Yaw": "rad", "F0": "Hz", "f0": "Hz", "FaceRectX": "px", "FaceRectY": "px"}
UNITS |= {"FaceRectWidth": "px", "FaceRectHeight": "px"}

DESCRIPTIONS = {
    "time": "start of this row on the clip's clock; 0 is the container's start",
    "onset": "start on the clip's clock; 0 is the container's start",
    "word": "as spoken",
    "speaker": "who says it; n/a where not known",
    "probability": "0..1, the recogniser's own",
    "text": "the words of the utterance",
    "emotion": "the most probable",
    "flags": "what to be careful about",
    "sentiment": "-3..3",
    "face_id": "number of the face; in the utterances: of the face that was read",
    "frame": "number of the video frame, counted from 0",
    "confidence": "0..1: the calibrated probability that the most probable emotion is right",
    "FaceScore": "0..1, the detector's own",
    "FaceRectX": "left edge of the face's box",
    "FaceRectY": "top edge of the face's box",
    "FaceRectWidth": "width of the face's box",
    "FaceRectHeight": "height of the face's box",
    "Pitch": "rotation of the head: looking down is > 0",
    "Yaw": "rotation of the head: the nose to the right of the picture is > 0",
    "Roll": "rotation of the head: counter-clockwise is > 0",
    "F0": "fundamental frequency; estimated in unvoiced rows too, see VUV",
    "f0": "fundamental frequency; n/a where there is no voice",
    "VUV": "1 where the voice is voiced, 0 elsewhere",
    "rms": "root mean square of the sound, full scale 1",
}
LEVELS = {"VUV": {"0": "unvoiced", "1": "voiced"}}
README = """# emofuse

Emotions over time and what they rest on, computed by emofuse from recordings of people speaking: one subject per clip.

- `*_recording-voice_physio`, `*_recording-face_physio`: measurements frame by frame. The first column, `time`, is each row's own start.
- `*_desc-words_events`: one row per word.
- `*_desc-utterances_events`: one row per utterance, with the probability of each emotion.

Times are seconds on the clip's clock: 0 is what a player shows as 0:00. `n/a` means not measured.
A probability is a model's; what a face, a voice or words show is not what a person feels.
"""


def describe(column: str, emotions: str) -> dict[str, Any]:
    """A column as its sidecar has it. `emotions` says what columns named like emotions hold."""
    if column in DESCRIPTIONS:
        text = DESCRIPTIONS[column]
    elif column in EMOTIONS:
        text = emotions
    elif re.fullmatch(r"AU\d\d", column):
        text = f"activation 0..1 of FACS action unit {int(column[2:])}; not a FACS intensity"
    else:
        text = f"{column}, as the extractor under Provenance names it"
    levels = {"Levels": LEVELS[column]} if column in LEVELS else {}
    return {"Description": text, **({"Units": UNITS[column]} if column in UNITS else {}), **levels}


def number(value: np.floating[Any]) -> str:
    """The shortest text that gives the same float32 again, whole numbers without a point; n/a for NaN."""
    return "n/a" if value != value else str(value).removesuffix(".0")


def write_bids(sessions: Sequence[Session], folder: Path) -> None:
    """Every session; raises `FormatError` where two clips would be one subject, or a stream cannot be sampled."""
    subjects = [re.sub(r"[^0-9A-Za-z]", "", session.name) or "clip" for session in sessions]
    if twice := sorted({s for s in subjects if subjects.count(s) > 1}):
        raise FormatError(f"{folder}: subjects are named by letters and digits alone, and two clips would be sub-{twice[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    made = {"Name": "emofuse", "Description": "emotions over time and what they rest on"}
    (folder / "README.md").write_text(README, encoding="utf-8")
    facts = {"Name": "emofuse derivatives", "BIDSVersion": VERSION, "DatasetType": "derivative", "GeneratedBy": [made]}
    _json(folder / "dataset_description.json", facts)
    for subject, session in zip(subjects, sessions, strict=True):
        target = folder / f"sub-{subject}" / "beh"
        target.mkdir(parents=True, exist_ok=True)
        stem = target / f"sub-{subject}_task-speech"
        for name in ("voice", "face"):
            if (stream := session.filled(name)) is not None:
                for label, part in _recordings(stream):
                    _physio(part, Path(f"{stem}_recording-{name}{label}_physio"), session)
        for name in ("words", UTTERANCES):
            if (stream := session.filled(name)) is not None:
                _events(stream, Path(f"{stem}_desc-{name}_events"))


def _recordings(stream: TimedSequence) -> list[tuple[str, TimedSequence]]:
    if "face_id" not in stream.columns:
        return [("", stream)]
    identity = stream.column("face_id")
    numbers = np.unique(identity)
    if len(numbers) == 1:
        return [("", stream)]
    return [(f"{number:g}", stream.rows(np.flatnonzero(identity == number))) for number in numbers]


def grid(stream: TimedSequence) -> tuple[float, Floats64]:
    """The usual step in seconds, and (n) each row's place on the grid; raises `FormatError` where the rows are scattered."""
    steps = np.diff(stream.start)
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else float(stream.end[0] - stream.start[0]) or 1.0
    # Place by place, so that a frame rate that differs a little from its median does not add up to gaps that are none.
    hops = np.maximum(1, np.round(steps / step))
    places = np.concatenate([[0.0], np.cumsum(hops)])
    if places[-1] > MOST_FILLED * len(stream) + 1:
        raise FormatError(
            f"{stream.name}: expected a sampled stream for BIDS, got {len(stream)} rows scattered over {stream.span.duration:g} s"
        )
    return step, places


def _physio(stream: TimedSequence, path: Path, session: Session) -> None:
    step, places = grid(stream)
    absent = "\t".join(["n/a"] * (len(stream.columns) + 1)) + "\n"
    before = -1
    with Path(f"{path}.tsv.gz").open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for rows in stream.parts():
            text = io.StringIO()
            for i in range(rows.start, rows.stop):
                text.write(absent * (int(places[i]) - before - 1))
                text.write("\t".join([repr(float(stream.start[i])), *(number(v) for v in stream.values[i])]) + "\n")
                before = int(places[i])
            packed.write(text.getvalue().encode())
    _json(
        Path(f"{path}.json"),
        {
            "Description": f"{stream.name} of {Path(session.media).name or session.name}, measured by {stream.provenance.extractor}",
            "SamplingFrequency": float(f"{1 / step:.9g}"),
            "StartTime": float(stream.start[0]),
            "Columns": ["time", *stream.columns],
            **{column: describe(column, "the face's expression, probability 0..1") for column in ("time", *stream.columns)},
            "Provenance": stream.provenance.to_json(),
            "Source": Path(session.media).name,
        },
    )


def _events(stream: TimedSequence, path: Path) -> None:
    columns = [*stream.labels, *stream.columns]
    lines = ["\t".join(["onset", "duration", *columns])]
    for i in range(len(stream)):
        times = [repr(float(stream.start[i])), repr(float(stream.end[i] - stream.start[i]))]
        texts = [safe_text(one_line(stream.labels[label][i])) or "n/a" for label in stream.labels]
        lines.append("\t".join([*times, *texts, *(number(v) for v in stream.values[i])]))
    Path(f"{path}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    known = {column: describe(column, "probability 0..1; the seven sum to 1") for column in columns}
    by = {"Description": f"{stream.name}, by {stream.provenance.extractor}", "Provenance": stream.provenance.to_json()}
    _json(Path(f"{path}.json"), {"onset": {"Description": DESCRIPTIONS["onset"], "Units": "s"}, **known, **by})


def _json(path: Path, facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
