"""One command makes every shipped weight: its stages resume, and the same data give the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emofuse.fusion.shipped import FOLDER, shipped
from emofuse.pipeline.errors import FormatError
from training import all as whole
from training.all import Places, Stage, is_done, main, run, stages
from training.fusion_checkpoints.write_table import PAGE, cards_of, tables, written_anew


def places(folder: Path, quick: bool = True) -> Places:
    return Places.of(folder / "data", folder / "clips", folder / "work", quick)


def test_every_shipped_weight_card_and_table_is_reachable(tmp_path: Path) -> None:
    written = {path for stage in stages(places(tmp_path, quick=False), quick=False) for path in stage.files}
    assert {path for name in shipped() for path in (FOLDER / f"{name}.safetensors", FOLDER / f"{name}.json")} <= written
    assert {PAGE, *(PAGE.parent / "cards" / f"{name}.md" for name in shipped())} <= written
    assert {path.name for path in written if path.suffix == ".safetensors"} >= {
        "voiceprints.safetensors",
        "whisper_projection.safetensors",
        "minilm_emotion.safetensors",
    }
    assert all(path.exists() for path in written if "work" not in path.parts), "what is shipped lies where it is made"


def test_a_quick_run_writes_nothing_into_the_package(tmp_path: Path) -> None:
    every = stages(places(tmp_path), quick=True)
    assert all(path.is_relative_to(tmp_path) for stage in every for path in stage.files)
    assert not [stage.name for stage in every if str(whole.ROOT) in " ".join(stage.command)]
    weights = places(tmp_path).weights
    assert {path.stem for stage in every for path in stage.files if path.parent == weights} == {*whole.MODELS}, (
        "cards are written of all there"
    )


def test_a_stage_rests_on_earlier_ones(tmp_path: Path) -> None:
    known: set[str] = set()
    for stage in stages(places(tmp_path), quick=True):
        assert set(stage.after) <= known, stage.name
        known.add(stage.name)


def test_a_stage_is_done_until_its_command_or_its_files_are_others(tmp_path: Path) -> None:
    record, file = tmp_path / "done" / "one.json", tmp_path / "this.txt"
    stage = Stage("one", ("this", "--version"), (file,))
    assert not is_done(stage, record)
    file.write_text("made")
    assert run(stage, record) == 0 and is_done(stage, record)
    assert not is_done(Stage("one", ("this", "-h"), (file,)), record)
    file.write_text("changed")
    assert not is_done(stage, record)
    assert run(Stage("broken", ("no.such.module",), ()), tmp_path / "done" / "broken.json") != 0
    assert not (tmp_path / "done" / "broken.json").exists()


def test_what_rests_on_a_stage_that_was_done_again_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def pretend(stage: Stage, record: Path) -> int:
        ran.append(stage.name)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"command": [*stage.command], "files": {str(tmp_path / stage.name): ""}}))
        return 3 if stage.name == "stops" else 0

    names = {"a": (), "b": ("a",), "c": (), "stops": ("b",), "d": ()}
    every = [Stage(name, (name,), (tmp_path / name,), after) for name, after in names.items()]
    monkeypatch.setattr(whole, "run", pretend)
    monkeypatch.setattr(whole, "stages", lambda places, quick: every)
    given = ["--data", str(tmp_path), "--clips", str(tmp_path), "--work", str(tmp_path / "w")]
    assert main(given) == 3 and ran == ["a", "b", "c", "stops"]
    (tmp_path / "w" / "done" / "a.json").unlink()
    ran.clear()
    assert main(given) == 3 and ran == ["a", "b", "stops"]


def test_the_pages_tables_are_those_of_the_cards() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written_anew(page, tables(cards_of(FOLDER))) == page, "python -m training.fusion_checkpoints.write_table"
    assert written_anew(page.replace("| 95 % interval, voice |", "| other |"), tables(cards_of(FOLDER))) == page
    with pytest.raises(FormatError, match="expected the page to hold <!-- table attention -->"):
        written_anew(page.replace("<!-- table attention -->", ""), tables(cards_of(FOLDER)))


@pytest.mark.slow
@pytest.mark.shared
def test_two_quick_runs_from_the_data_write_the_same_bytes(shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every stage twice, about six minutes of one core; the second time in pieces, as if it had been stopped."""
    printed = []
    for name, pieces in (("one", [()]), ("two", [("--until", "voice-1"), ()])):
        for until in pieces:
            given = ["--data", str(shared / "data"), "--clips", str(shared / "clips"), "--work", str(tmp_path / name), "--quick", *until]
            assert main(given) == 0
            printed.append(capfd.readouterr().out)
    assert printed[0].count("\n") > 25 and printed[0] == printed[2]
