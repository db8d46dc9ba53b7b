"""`--baseline` from the command line to analysis.json, with the default checkpoint told to read its voice as departures.

That checkpoint was not trained so: its answers mean nothing here. What was taken, from where and how much is what is tested.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import emofuse
from emofuse.assembly import Assembly
from emofuse.batch import AssemblySetup, Job, with_people
from emofuse.cli.main import main
from emofuse.fusion.shipped import locate
from emofuse.options import Options
from emofuse.pipeline.batch.discovery import discover
from emofuse.pipeline.batch.events import Event, Remarked
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.extraction import extract
from emofuse.pipeline.formats.result_folder import read_analysis

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
QUICK = ["--offline", "--words", "none", "--face", "none", "--no-report", "--no-influence"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default checkpoint, its description saying that the voice reads baselines."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(locate(None), folder / "mine.safetensors")
    described = json.loads(locate(None).with_suffix(".json").read_text("utf-8"))
    described["streams"]["voice"]["baseline"] = True
    (folder / "mine.json").write_text(json.dumps(described))
    return folder / "mine.json"


def analyzed(clip: Path, out: Path, model: Path, *options: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["analyze", str(clip), "--model", str(model), "--out", str(out), *QUICK, *options])
    assert result.exit_code == 0, result.output
    (path,) = out.rglob("analysis.json")
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def probabilities(document: dict[str, Any]) -> list[dict[str, float]]:
    return [u["probabilities"] for u in document["utterances"]]


def test_a_recording_and_the_clip_itself_are_baselines(samples: Path, tmp_path: Path, model: Path) -> None:
    clip, recording = samples / "voice_only.flac", samples / "smile.mp4"
    plain = analyzed(clip, tmp_path / "none", model, "--baseline", "none")
    other = analyzed(clip, tmp_path / "clip", model, "--baseline", str(recording))
    auto = analyzed(clip, tmp_path / "auto", model)
    assert plain["baseline"] == []
    (fact,) = other["baseline"]
    assert fact["stream"] == "voice" and fact["source"] == "smile.mp4" and fact["utterances"] >= 1
    assert fact["share"] == pytest.approx(fact["utterances"] / (fact["utterances"] + 2))
    assert probabilities(other) != probabilities(plain)
    (own,) = auto["baseline"]
    assert own["source"] == "other utterances of this clip" and own["utterances"] <= len(auto["utterances"]) - 1
    if len(auto["utterances"]) == 1:
        assert probabilities(auto) == probabilities(plain)
    (path,) = (tmp_path / "clip").rglob("analysis.json")
    read = read_analysis(path.parent)
    assert [vars(one) for one in read.facts.baseline] == other["baseline"]


def test_a_model_without_baselines_is_not_changed_by_one(samples: Path, tmp_path: Path) -> None:
    described = json.loads(locate(None).with_suffix(".json").read_text("utf-8"))
    if any(stream.get("baseline") for stream in described["streams"].values()):
        pytest.skip("the default checkpoint reads baselines")
    document = analyzed(samples / "voice_only.flac", tmp_path, locate(None).with_suffix(".json"))
    assert document["baseline"] == []


def test_a_recording_that_is_not_there_is_one_line(samples: Path, tmp_path: Path, model: Path) -> None:
    clip = samples / "voice_only.flac"
    result = CliRunner().invoke(
        main, ["analyze", str(clip), "--model", str(model), "--out", str(tmp_path), *QUICK, "--baseline", "nowhere.wav"]
    )
    assert result.exit_code == 2 and "--baseline nowhere.wav: expected auto, none, or a recording" in result.output
    assert "Traceback" not in result.output


def test_the_recording_s_content_is_in_a_batch_s_key(samples: Path, tmp_path: Path, model: Path) -> None:
    def configuration(recording: Path) -> Any:
        options = Options(words="none", face="none", offline=True, model=model, baseline=recording)
        return AssemblySetup(Job(options, {})).configuration["baseline"]

    shutil.copy(samples / "voice_only.flac", tmp_path / "a.flac")
    shutil.copy(samples / "voice_only.flac", tmp_path / "b.flac")
    (tmp_path / "c.flac").write_bytes((samples / "voice_only.flac").read_bytes() + b"\0")
    first, second, other = (configuration(tmp_path / name) for name in ("a.flac", "b.flac", "c.flac"))
    assert first == second != other


def test_in_a_batch_the_person_s_other_clips_are_the_baseline(samples: Path, tmp_path: Path, model: Path) -> None:
    """The real extractors and model, in a worker; the expected numbers come of the clips' own sums and the predictor alone."""
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("voice_only.flac", "smile.mp4"):
        shutil.copy(samples / name, clips / name)
    table = tmp_path / "who.csv"
    table.write_text("clip,person\nvoice_only.flac,Anna\nsmile,Anna\n")
    options = Options(words="none", face="none", offline=True, model=model, influence=False)
    totals = emofuse.analyze_folder(clips, tmp_path / "out", options, report=False, workers=1, people=table)
    assert (totals.done, totals.failed) == (2, 0)

    assembly = Assembly(options)
    sums = {}
    for path in sorted(clips.iterdir()):
        clip = Clip(path)
        sums[path.stem] = assembly.tally(clip, extract(clip, assembly.extractors(path)), "Anna").tallies["voice"]
    for stem, other in (("voice_only", "smile"), ("smile", "voice_only")):
        document = json.loads((tmp_path / "out" / stem / "analysis.json").read_text("utf-8"))
        (fact,) = document["baseline"]
        assert (fact["source"], fact["clips"]) == ("other utterances of Anna", 1)
        alone = analyzed(clips / f"{stem}{'.flac' if stem == 'voice_only' else '.mp4'}", tmp_path / f"alone-{stem}", model)
        assert len(document["utterances"]) == len(alone["utterances"])
        if len(document["utterances"]) == 1:
            assert fact["utterances"] == pytest.approx(float(sums[other].utterances.max()))
            assert fact["seconds"] == pytest.approx(sums[other].seconds)
        assert probabilities(document) != probabilities(alone)
    again = emofuse.analyze_folder(clips, tmp_path / "out", options, report=False, workers=1, people=table)
    assert again.kept == 2


def test_people_change_nothing_for_a_model_without_baselines_and_it_says_so(samples: Path, tmp_path: Path) -> None:
    shutil.copy(samples / "voice_only.flac", tmp_path / "a.flac")
    found = discover([tmp_path])
    told: list[Event] = []
    job = Job(Options(words="none", face="none", offline=True, baseline="none"), {})
    assert with_people(found, "folder", job, told.append) is found
    (remark,) = told
    assert isinstance(remark, Remarked) and "changes nothing" in remark.text
