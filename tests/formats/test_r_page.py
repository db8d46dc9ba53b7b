"""docs/r.md keeps its word: its R runs as it is printed, on results that the writers made (skipped, saying so, where there is no R)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from emofuse.cli.main import main

PAGE = (Path(__file__).parent.parent.parent / "docs/r.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_runs_on_real_results(samples: Path, tmp_path: Path) -> None:
    """Two sample clips through the command line, then every block of the page in one R session."""
    if shutil.which("Rscript") is None:
        pytest.skip("needs R: apt-get install r-base-core")
    (tmp_path / "clips").mkdir()
    for name in ("smile.mp4", "voice_only.flac"):
        shutil.copy(samples / name, tmp_path / "clips" / name)
    arguments = ["analyze", str(tmp_path / "clips"), "--out", str(tmp_path / "results"), "--offline", "--no-report"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, ["convert", str(tmp_path / "results/smile"), str(tmp_path / "smile_csv"), "--to", "csv"])
    assert done.exit_code == 0, done.output
    run_the_page(tmp_path)


def test_the_page_runs_on_small_tables(tmp_path: Path) -> None:
    """The same with tables of a few rows, header and cells as the writers make them: seconds instead of minutes."""
    if shutil.which("Rscript") is None:
        pytest.skip("needs R: apt-get install r-base-core")
    (tmp_path / "results/smile").mkdir(parents=True)
    (tmp_path / "smile_csv").mkdir()
    header = (
        "clip,output,utterance,start,end,text,emotion,anger,disgust,fear,happiness,sadness,surprise,neutral,sentiment,confidence,flags\n"
    )
    rows = (
        "smile.mp4,smile,0,0.4,2.2,naïve news,happiness,0.0,0.1,0.0,0.8,0.05,0.0,0.05,1.5,0.8,\n"
        "smile.mp4,smile,,0.0,8.6,naïve news,happiness,0.0,0.1,0.0,0.8,0.05,0.0,0.05,1.5,0.8,\n"
        'voice_only.flac,voice_only,0,0.3,2.0,"\'=so, it is",sadness,0.1,0.1,0.0,0.1,0.6,0.0,0.1,,0.6,no_face\n'
        "voice_only.flac,voice_only,1,2.5,4.0,,,,,,,,,,,,abstain no_face\n"
        "voice_only.flac,voice_only,,0.0,4.2,'=so,sadness,0.1,0.1,0.0,0.1,0.6,0.0,0.1,,0.6,no_face\n"
    )
    (tmp_path / "results/emotions.csv").write_text(header + rows, encoding="utf-8")
    attention = "utterance,stream,index,start,end,label,from_text,from_face,from_voice,overall,influence,influence_on\n"
    attention += "0,text,0,0.4,0.6,naïve,,0.75,0.75,0.75,0.5,happiness\n0,text,1,0.6,0.9,news,,0.25,0.25,0.25,0.1,happiness\n"
    attention += ",text,2,3.0,3.2,so,,,,,,\n0,voice,0,0.4,0.41,,0.5,0.5,,0.5,,\n"
    (tmp_path / "results/smile/attention.csv").write_text(attention, encoding="utf-8")
    (tmp_path / "smile_csv/face.csv").write_text("start,end,AU12,face_id\n0.4,0.44,0.5,0\n0.44,0.48,,0\n0.7,0.74,1,0\n")
    (tmp_path / "smile_csv/words.csv").write_text('start,end,word,speaker,probability\n0.4,0.6,"news",,0.9\n0.9,1.2,"so",,0.4\n')
    out = run_the_page(tmp_path)
    assert re.search(r"0\s+0\.4\s+0\.6\s+\S*na.*ve\S*\s+0\.75\s+1\.5", out), "0.75 of two rows is 1.5 times an even share"
    assert re.search(r"0\.4\s+news\s+0\.5", out) and re.search(r"0\.9\s+so\s+NA", out), "no face row lies in the second word"
    assert "[1] 2" in out, "the utterance that abstains is left out"


def run_the_page(folder: Path) -> str:
    blocks = re.findall(r"```r\n(.*?)```", PAGE, flags=re.S)
    assert len(blocks) == 4 and "read_parquet" not in "".join(blocks)
    (folder / "page.R").write_text("\n".join(blocks), encoding="utf-8")
    command = ["Rscript", "--vanilla", "page.R"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})
    assert done.returncode == 0, done.stderr
    return done.stdout
