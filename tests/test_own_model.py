"""From clips to a model of one's own: extract, label, train the shipped recipe, and analyze with the run's folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from emofuse.cli.main import main
from emofuse.pipeline.streams import EMOTIONS

CLIPS = ("smile.mp4", "late.mkv")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def data(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The streams of two clips, and labels for each two seconds of them."""
    folder = tmp_path_factory.mktemp("own")
    run("extract", *(str(samples / clip) for clip in CLIPS), "--offline", "--voice", "librosa", "--out", str(folder))
    with (folder / "labels.csv").open("w", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(("clip", "start", "end", "split", "speaker", "emotion", "sentiment"))
        for c, clip in enumerate(CLIPS):
            for i, split in enumerate(("train", "train", "valid", "test")):
                emotion = EMOTIONS[(i + c) % len(EMOTIONS)]
                labels.writerow((Path(clip).stem, 2 * i, 2 * i + 2, split, f"s{c}", emotion, i - 1.5))
    return folder


SMALL = {
    "rrnn": {"hidden": 8, "attention": 8},
    "mult": {"width": 8, "heads": 2, "layers": 1, "memory_layers": 1},
    "pmr": {"width": 8, "heads": 2, "layers": 1},
    "mcr": {"width": 8, "heads": 2, "layers": 1},
    "delta": {"channels": 8, "heads": 2, "width": 8, "encoded": 4, "fused": 8},
    "early-lstm": {"hidden": 8},
    "late-lstm": {"hidden": 8},
}


def test_the_shipped_recipe_makes_a_model_that_analyzes(data: Path, samples: Path, tmp_path: Path) -> None:
    trained = tmp_path / "run"
    run("train", "seven-emotions", "--data", str(data), "--out", str(trained), "--epochs", "2", "--device", "cpu")
    scores = json.loads(run("evaluate", str(trained), "--data", str(data), "--device", "cpu", "--json"))["tasks"]
    assert set(scores) == {"emotion", "sentiment"}
    run("analyze", str(samples / "smile.mp4"), "--model", str(trained), "--offline", "--out", str(tmp_path / "results"))
    result = tmp_path / "results" / "smile"
    emotions = pd.read_csv(result / "emotions.csv")
    assert len(emotions) and emotions[list(EMOTIONS)].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-3)
    assert emotions["sentiment"].between(-3, 3).all()
    document = (result / "analysis.json").read_text()
    sha256 = json.loads((trained / "best.json").read_text())["safetensors_sha256"]
    assert sha256 in document  # it was this model
    shares = pd.read_csv(result / "attention.csv")
    hops = [column for column in shares.columns if "hop_" in column]
    assert [column[-5:] for column in hops] == ["hop_1", "hop_2", "hop_3"]
    looked = shares.dropna(subset=hops).groupby(["utterance", "stream"])[hops].sum()  # a timeline a view and hop
    assert set(looked.index.get_level_values("stream")) == {"text", "face", "voice"}
    assert looked.to_numpy() == pytest.approx(1, abs=0.01)  # written with few digits


@pytest.mark.parametrize("model", SMALL)
def test_every_model_can_be_the_one_that_analyzes(data: Path, samples: Path, tmp_path: Path, model: str) -> None:
    """Without words, to be quick: the face and the voice are there."""
    recipe = tmp_path / "recipe.toml"
    numbers = "\n".join(f"{key} = {value}" for key, value in SMALL[model].items())
    labels = json.dumps(list(EMOTIONS))
    recipe.write_text(
        f'name = "own"\n[data]\nform = "streams"\n[streams.face]\n[streams.voice]\n[tasks.emotion]\nkind = "classes"\nlabels = {labels}\n'
        f'[model]\nname = "{model}"\n{numbers}\n[training]\nepochs = 1\nbatch = 4\nrate = 1e-3\n'
    )
    trained = tmp_path / "run"
    run("train", str(recipe), "--data", str(data), "--out", str(trained), "--device", "cpu")
    more = ("--words", "none", "--text", "none", "--offline", "--out", str(tmp_path / "results"))
    run("analyze", str(samples / "smile.mp4"), "--model", str(trained), *more)
    result = tmp_path / "results" / "smile"
    assert len(pd.read_csv(result / "emotions.csv"))
    shares = pd.read_csv(result / "attention.csv")
    given = [column for column in shares.columns if column.startswith(("attention", "share", "from", "hop"))]
    values = shares[given].to_numpy()
    if model.endswith("-lstm"):
        assert not pd.notna(values).any()
    else:
        assert pd.notna(values).any()
