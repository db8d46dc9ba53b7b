"""The session that the golden files in formats/ hold, and the script that writes them: python tests/golden/make_formats.py

One session with everything that formats have trouble with: overlapping words, a formula, unicode, a gap, a number that is not there.
Text formats must be written again exactly as they are here; binary ones must be read as they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emofuse.pipeline.formats.registry import FORMATS, WRITABLE
from emofuse.pipeline.formats.session import UTTERANCE_COLUMNS, Session
from emofuse.pipeline.timed import Provenance, TimedSequence

BY = Provenance("test", "1", {"a.safetensors": "00"}, {"option": 1}, {"note": [0.5]})
FACE = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "Pitch", "Roll", "Yaw", "AU12", "AU24", "AU43")
FACE += ("happiness", "face_id", "frame")


def words() -> TimedSequence:
    """Milliseconds, so that formats that round to them lose nothing; the third overlaps the second, the last is another speaker's."""
    start, end = np.array([0.25, 0.5, 0.7, 1.25]), np.array([0.5, 0.75, 1.0, 1.5])
    values = np.array([[0.9], [np.nan], [0.1], [1 / 3]], np.float32)
    labels = {"word": ('"so"', "=1+1", "naïve, 音 <b>", "item [1]:"), "speaker": ("", "", "", "Bob B")}
    return TimedSequence("words", ("probability",), values, start, end, BY, labels=labels)


def utterances() -> TimedSequence:
    values = np.full((2, len(UTTERANCE_COLUMNS)), np.nan, np.float32)
    values[0] = (0.1, 0.05, 0.05, 1 / 3, 0.1, 0.1, 0.2, -1.25, 1 / 3, 1)
    labels = {"text": ('"so" =1+1 naïve, 音 <b>', "item [1]:"), "emotion": ("happiness", ""), "flags": ("no_face several_faces", "")}
    return TimedSequence("utterances", UTTERANCE_COLUMNS, values, np.array([0.25, 1.25]), np.array([1.0, 1.5]), BY, labels=labels)


def face() -> TimedSequence:
    """Two faces, 25 frames per second from 0.48 s on, frame 3 missing; the second row of the first face has no pose."""
    rows = []
    for frame in (0, 1, 2, 4, 5):
        for number in (0, 1):
            pose = (np.nan,) * 3 if (frame, number) == (1, 0) else (0.1 * frame, -0.2, 0.3)
            rows.append((10.0 + frame, 20.5, 64.0, 64.0, 0.99, *pose, 0.2 * frame * (1 - number), 0.25, 0.125, 0.5, number, frame))
    start = np.array([0.48 + 0.04 * row[-1] for row in rows], np.float64)
    end = np.array([at + 0.04 for at in start], np.float64)
    return TimedSequence("face", FACE, np.array(rows, np.float32), start, end, BY, reason="no face in 1 of 6 frames")


def voice() -> TimedSequence:
    """100 rows per second with a gap of half a second in it; one value is not measured."""
    start = np.array([i * 0.01 + 0.125 for i in (*range(5), *range(55, 60))], np.float64)
    values = np.linspace(-1, 1, 20, dtype=np.float32).reshape(10, 2)
    values[3, 1] = np.nan
    return TimedSequence("voice", ("f0", "rms"), values, start, np.array([at + 0.01 for at in start], np.float64), BY)


def text() -> TimedSequence:
    spoken = words()
    return TimedSequence(
        "text", ("e_0", "e_1"), np.eye(4, 2, dtype=np.float32), spoken.start, spoken.end, BY, labels={"word": spoken.labels["word"]}
    )


def session() -> Session:
    streams = {"words": words(), "text": text(), "face": face(), "voice": voice(), "utterances": utterances()}
    return Session("a clip", streams, length=2.0)


def silent() -> Session:
    """A clip in which nothing was found."""
    streams = {
        "words": TimedSequence.empty("words", ("probability",), BY, "nothing was said", ("word", "speaker")),
        "face": TimedSequence.empty("face", FACE, BY, "no face was found"),
        "voice": TimedSequence.empty("voice", ("f0", "rms"), BY, "the clip has no audio stream"),
        "utterances": TimedSequence.empty("utterances", UTTERANCE_COLUMNS, BY, "no utterance", ("text", "emotion", "flags")),
    }
    return Session("silent", streams, length=2.0)


def write(name: str, folder: Path) -> Path:
    """One format as `emofuse analyze` would name it, in a folder of its own."""
    target = folder / name / FORMATS[name].output.format(name="a clip")
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = FORMATS[name].write
    assert writer is not None
    writer((session(),), target)
    return target


if __name__ == "__main__":
    for form in WRITABLE:
        print(write(form, Path(__file__).parent / "formats"))
