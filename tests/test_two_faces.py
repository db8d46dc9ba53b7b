"""Two people in one picture, one of them speaking (../shared/clips/edge): the whole way from the clip to whose face was read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from emofuse.assembly import Assembly
from emofuse.cli.main import main
from emofuse.extractors.face.speaking import who_speaks
from emofuse.options import Options
from emofuse.pipeline.speaker_face import FaceSelector
from emofuse.pipeline.timed import TimedSequence
from emofuse.pipeline.utterances import segment, utterance

pytestmark = [pytest.mark.shared, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")]
LIGHT = Options(words="none", text="none", voice="whisper", face="compact")


@pytest.fixture(scope="module")
def clip(shared: Path) -> Path:
    """The President speaks on the right of the picture, the Vice President listens on the left."""
    return shared / "clips" / "edge" / "two_faces_obama_speech.mp4"


def test_the_speaker_is_read_even_where_the_listener_is_larger(clip: Path) -> None:
    _, extraction = Assembly(LIGHT).extract(clip)
    face = extraction.streams["face"]
    speaker = {i: face.column("FaceRectX")[face.column("face_id") == i].mean() > 120 for i in (0, 1)}
    assert sorted(speaker.values()) == [False, True]
    # told that the listener fills the picture, the choice by size is wrong, the choice by lips is not
    values = face.values.copy()
    listens = ~np.array([speaker[int(i)] for i in face.column("face_id")])
    for side in ("FaceRectWidth", "FaceRectHeight"):
        values[listens, face.columns.index(side)] *= 3
    swapped = TimedSequence("face", face.columns, values, face.start, face.end, face.provenance)
    streams = {**extraction.streams, "face": swapped}
    by_lips, by_size = FaceSelector.of(streams, who_speaks, None), FaceSelector.of(streams, None, None)
    choices = []
    for span in segment(streams, 8.7).spans:
        wrong = utterance(span, streams, by_size).face
        assert wrong is not None and not speaker[wrong.face_id]
        chosen = utterance(span, streams, by_lips).face
        assert chosen is not None and chosen.faces == (0, 1)
        choices.append((speaker[chosen.face_id], chosen.by))
    # the pauses are shorter than what cuts, and so there is little silence to compare with: most utterances, not all
    assert choices.count((True, "lips")) >= 0.75 * len(choices), choices


def test_a_face_can_be_asked_for_and_one_that_is_not_there_is_refused(clip: Path, tmp_path: Path) -> None:
    options = [word for name in ("words", "text", "voice", "face") for word in (f"--{name}", LIGHT.requested(name))]
    asked = CliRunner().invoke(main, ["analyze", str(clip), *options, "--face-id", "1", "--json", "--out", str(tmp_path)])
    assert asked.exit_code == 0, asked.output
    document = json.loads(asked.stdout)
    assert {u["face"]["face_id"] for u in document["utterances"]} == {1}
    assert {u["face"]["by"] for u in document["utterances"]} == {"request"}
    refused = CliRunner().invoke(main, ["analyze", str(clip), *options, "--face-id", "9", "--out", str(tmp_path)])
    assert refused.exit_code == 1
    assert [line for line in refused.stderr.splitlines() if "expected one of the clip's faces (0, 1)" in line]
    assert "Traceback" not in refused.output
