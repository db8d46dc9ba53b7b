"""`--speakers` from the command to the files: who speaks in words, utterances, attention and formats, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import emofuse
from emofuse.cli.main import main
from emofuse.pipeline.formats.parquet import read_stream
from emofuse.pipeline.formats.result_folder import read_analysis
from emofuse.pipeline.formats.rttm import read_rttm, turns
from emofuse.pipeline.turns import SPEAKERS, turns_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
RTTM = """SPEAKER smile 1 0.0 2.3 <NA> <NA> Ann <NA> <NA>
SPEAKER smile 1 2.3 4.0 <NA> <NA> Bo 0.55 <NA>
SPEAKER smile 1 6.3 2.3 <NA> <NA> Ann <NA> <NA>
"""
SAID = """start,end,word
0.6,1.0,I
1.0,1.5,have
1.5,2.0,news
2.8,3.8,We
3.8,4.8,won
4.8,5.9,it
6.6,7.2,Thank
7.2,8.0,you
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with somebody's RTTM: Ann, Bo, Ann."""
    place = tmp_path_factory.mktemp("speakers")
    (place / "who.rttm").write_text(RTTM)
    (place / "said.csv").write_text(SAID)
    options = ("--offline", "--no-influence", "--no-report", "--face", "none", "--words", place / "said.csv")
    done = run(
        "analyze",
        samples / "smile.mp4",
        *options,
        "--speakers",
        place / "who.rttm",
        "--formats",
        "rttm,eaf,textgrid,csv",
        "--out",
        place / "out",
    )
    assert done.exit_code == 0, done.output
    assert "speaker Ann: 4.6 s in 2 turns, as the file says" in done.stdout and "│ Bo " in done.stdout
    return place / "out" / "smile"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def document(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    return read


def test_utterances_words_and_attention_say_who_speaks(folder: Path) -> None:
    rows = table(folder / "emotions.csv")
    assert [row["speaker"] for row in rows] == ["Ann", "Bo", "Ann", ""] and rows[-1]["utterance"] == "clip"
    words = read_stream(folder / "streams" / "words.parquet")
    assert words.labels["speaker"] == ("Ann",) * 3 + ("Bo",) * 3 + ("Ann",) * 2
    for row in table(folder / "attention.csv"):
        assert row["speaker"] == (rows[int(row["utterance"])]["speaker"] if row["utterance"] else "")
    utterances = document(folder)["utterances"]
    assert [u["speaker"] for u in utterances] == ["Ann", "Bo", "Ann"]
    assert [u["speaker_confidence"] for u in utterances] == [None, pytest.approx(0.55), None]
    assert ["unsure_speaker" in u["flags"] for u in utterances] == [False, True, False]


def test_the_document_says_how_it_is_known_and_how_sure_that_is(folder: Path) -> None:
    made = document(folder)
    ann, bo = made["speakers"]
    assert (ann["name"], ann["by"], ann["turns"], ann["utterances"], ann["confidence"]) == ("Ann", "file", 2, 2, None)
    assert (bo["name"], bo["utterances"], bo["confidence"]) == ("Bo", 1, pytest.approx(0.55))
    assert bo["summary"]["probabilities"] == made["utterances"][1]["probabilities"], "the answer over Bo's utterances"
    assert made["streams"]["speakers"]["provenance"]["options"]["file"] == "who.rttm"
    again = read_analysis(folder)
    assert [u.speaker for u in again.utterances] == ["Ann", "Bo", "Ann"] and [f.name for f in again.facts.speakers] == ["Ann", "Bo"]


def test_each_has_a_baseline_of_their_own(folder: Path) -> None:
    """Bo says one thing only: nothing else is Bo's, and so nothing is usual for Bo; Ann has one other utterance."""
    (voice,) = [one for one in document(folder)["baseline"] if one["stream"] == "voice"]
    assert voice["utterances"] == pytest.approx(1.0) and voice["share"] == pytest.approx(1 / 3), "the median of 1, 0 and 1 others"


def test_what_formats_hold_comes_back(folder: Path) -> None:
    told = [(t.start, t.end, t.speaker) for t in turns_of(read_stream(folder / "streams" / "speakers.parquet"))]
    assert told == [(0, 2.3, "Ann"), (2.3, 6.3, "Bo"), (6.3, 8.6, "Ann")]
    (session,) = read_rttm(folder / "smile.rttm")
    assert [(t.start, t.end, t.speaker) for t in turns(session)] == [(pytest.approx(a), pytest.approx(b), name) for a, b, name in told]
    for name in ("smile.TextGrid", "smile.eaf", "csv"):
        (session,) = emofuse.load(folder / name)
        assert session.streams["utterances"].labels["speaker"] == ("Ann", "Bo", "Ann"), name
        spans = [(t.start, t.end, t.speaker) for t in turns_of(session.streams[SPEAKERS])]
        assert spans == [(pytest.approx(a, abs=2e-3), pytest.approx(b, abs=2e-3), who) for a, b, who in told], name


def test_a_result_becomes_an_rttm_file(folder: Path, tmp_path: Path) -> None:
    done = run("convert", folder, tmp_path / "who.rttm")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in (tmp_path / "who.rttm").read_text().splitlines()]
    assert [(line[0], line[1], line[7], line[8]) for line in lines] == [
        ("SPEAKER", "smile", "Ann", "<NA>"),
        ("SPEAKER", "smile", "Bo", "0.5500"),
        ("SPEAKER", "smile", "Ann", "<NA>"),
    ]


def test_one_speaker_is_what_it_was(samples: Path, tmp_path: Path) -> None:
    """`--speakers 1` and nothing said are one and the same; `auto` hears one voice, and only the fields of speakers differ."""
    options = ("--offline", "--no-influence", "--no-report", "--face", "none", "--text", "none", "--words", "none")
    for name, asked in (("plain", ()), ("one", ("--speakers", "1")), ("auto", ("--speakers", "auto"))):
        done = run("analyze", samples / "voice_only.flac", *options, *asked, "--out", tmp_path / name)
        assert done.exit_code == 0, done.output
    folders = {name: tmp_path / name / "voice_only" for name in ("plain", "one", "auto")}
    files = {name: sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for name, f in folders.items()}
    assert files["plain"] == files["one"] and {str(p) for p in files["auto"]} - {str(p) for p in files["one"]} == {
        "streams/speakers.parquet"
    }
    for path in files["plain"]:
        assert (folders["plain"] / path).read_bytes() == (folders["one"] / path).read_bytes(), path
    plain, auto = document(folders["plain"]), document(folders["auto"])
    assert plain["speakers"] == [] and [one["name"] for one in auto["speakers"]] == ["A"]
    assert [(u["start"], u["end"], u["probabilities"]) for u in plain["utterances"]] == [
        (u["start"], u["end"], u["probabilities"]) for u in auto["utterances"]
    ]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("0", "--speakers 0: expected 1 to 50 speakers"),
        ("two", "--speakers two: expected auto, none, a file that exists, or one of a number, voices"),
        ("who.csv", "--speakers who.csv: expected auto, a number of speakers or an RTTM file; whose clip each is, --people says"),
        ("gone.rttm", "gone.rttm: no such file"),
    ],
)
def test_bad_input_is_refused_in_one_line(asked: str, line: str, samples: Path, tmp_path: Path) -> None:
    for command in ("analyze", "extract"):
        done = run(command, samples / "voice_only.flac", "--offline", "--words", "none", "--speakers", asked, "--out", tmp_path)
        assert done.exit_code in (1, 2) and line in done.stderr and "Traceback" not in done.output, done.output


def test_a_broken_file_is_refused_with_its_line(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.rttm").write_text("SPEAKER a 1 0.5 x <NA> <NA> Ann <NA> <NA>\n")
    done = run(
        "extract", samples / "voice_only.flac", "--offline", "--words", "none", "--speakers", tmp_path / "bad.rttm", "--out", tmp_path / "o"
    )
    assert done.exit_code == 1 and "bad.rttm: line 1: expected SPEAKER" in done.stderr


def test_extract_writes_the_turns(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "voice_only.rttm").write_text(RTTM)
    options = ("--offline", "--words", "none", "--text", "none", "--face", "none", "--voice", "none")
    done = run("extract", samples / "voice_only.flac", *options, "--speakers", tmp_path, "--out", tmp_path / "out")
    assert done.exit_code == 0 and "speakers.parquet: 3 rows" in done.stdout, done.output
