"""Pictures draw what is there, into the Axes they are given; results come back from their folder; a notebook shows them, escaped."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image

from emofuse.cli.main import main
from emofuse.notebooks import register
from emofuse.pipeline.errors import FormatError, StreamError
from emofuse.pipeline.formats.document import analysis_document
from emofuse.pipeline.formats.result_folder import read_analysis
from emofuse.pipeline.ports import EMOTIONS, Analysis
from emofuse.pipeline.views import plots
from emofuse.writing import write_analysis


def test_every_plot_takes_an_axes_and_gives_it_back(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    analysis = analyzed(tmp_path / "x.mp4")
    for draw in (
        plots.emotions,
        lambda a, ax: plots.attention(a, "text", ax),
        lambda a, ax: plots.attention(a, "voice", ax),
        plots.action_units,
        lambda a, ax: plots.voice(a, "rms", ax),
        lambda a, ax: plots.attention_matrix(a, 1, ax=ax),
        lambda a, ax: plots.confusion(np.eye(2, dtype=np.int64), ("a", "b"), ax=ax),
    ):
        ax = Figure().subplots()
        assert draw(analysis, ax) is ax
        assert ax.has_data() or ax.images


def test_emotions_are_columns_as_high_as_their_probabilities(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    analysis = analyzed(tmp_path / "x.mp4")
    bars: Any = plots.emotions(analysis).patches
    assert len(bars) == len(EMOTIONS) * len(analysis.utterances)
    for k, emotion in enumerate(EMOTIONS):
        for i, u in enumerate(analysis.utterances):
            bar = bars[k * len(analysis.utterances) + i]
            assert u.prediction is not None
            assert bar.get_height() == pytest.approx(u.prediction.probabilities[emotion])
            assert (bar.get_x(), bar.get_width()) == pytest.approx((u.span.start, u.span.duration))


def test_the_matrix_is_the_map(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    analysis = analyzed(tmp_path / "x.mp4")
    prediction = analysis.utterances[1].prediction
    assert prediction is not None
    chosen = next(a for a in prediction.attention if (a.target, a.source) == ("face", "text"))
    image: Any
    (image,) = plots.attention_matrix(analysis, 1, "face", "text", layer=0, head=2).images
    assert np.array_equal(image.get_array(), chosen.weights[0, 2])
    (image,) = plots.attention_matrix(analysis, 1, "face", "text").images
    assert np.allclose(image.get_array(), chosen.weights[1].mean(0))
    with pytest.raises(StreamError, match="text <- nose: no such map; there are: text <- face"):
        plots.attention_matrix(analysis, 1, "text", "nose")
    with pytest.raises(StreamError, match="2 layers and 3 heads; layer -1, head 3"):
        plots.attention_matrix(analysis, 1, head=3)


def test_results_come_back_from_their_folder(analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path) -> None:
    analysis = analyzed(samples / "smile.mp4", words=("=so", "we", "go"))
    write_analysis(analysis, tmp_path / "out", version="9")
    back = read_analysis(tmp_path / "out")
    assert analysis_document(back, version="9") == analysis_document(analysis, version="9")
    assert len(back.attention) == len(analysis.attention)
    for a, b in zip(analysis.attention, back.attention, strict=True):
        assert (a.utterance, a.stream, a.index, a.start, a.end, a.label) == (b.utterance, b.stream, b.index, b.start, b.end, b.label)
        assert (b.overall or 0) == pytest.approx(a.overall or 0, rel=1e-6) and set(b.shares) == set(a.shares)
    for u, v in zip(analysis.utterances, back.utterances, strict=True):
        assert u.prediction is not None and v.prediction is not None
        assert [m.weights.tolist() for m in u.prediction.attention] == [m.weights.tolist() for m in v.prediction.attention]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        read_analysis(tmp_path)
    (tmp_path / "analysis.json").write_text('{"utterances": []}')
    with pytest.raises(FormatError, match="expected a result"):
        read_analysis(tmp_path)


def test_the_command_writes_pictures(analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path) -> None:
    write_analysis(analyzed(samples / "smile.mp4", words=("$x$", "we", "go")), tmp_path / "out", version="9")
    for kind, name in (("timeline", "t.png"), ("attention", "a.svg"), ("units", "u.png")):
        result = CliRunner().invoke(main, ["plot", kind, str(tmp_path / "out"), str(tmp_path / name)])
        assert result.exit_code == 0, result.output
    assert np.asarray(Image.open(tmp_path / "t.png").convert("L")).std() > 10
    assert "<svg" in (tmp_path / "a.svg").read_text()[:500]
    history = [{"phase": "all", "epoch": i, "train_loss": 1 / i, "valid_loss": 2 / i} for i in (1, 2, 3)]
    with (tmp_path / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    (lines, _) = plots.curves(history).lines
    assert np.asarray(lines.get_xydata()).tolist() == [[1, 1], [2, 0.5], [3, pytest.approx(1 / 3)]]
    scores = {"confusion": [[3, 1], [0, 2]], "labels": ["a", "b"]}
    (tmp_path / "e.json").write_text(json.dumps({"split": "test", "tasks": {"emotion": {"scores": scores}}}))
    for kind, source in (("curves", "metrics.csv"), ("curves", "."), ("confusion", "e.json")):
        result = CliRunner().invoke(main, ["plot", kind, str(tmp_path / source), str(tmp_path / f"{kind}.png")])
        assert result.exit_code == 0, result.output
        assert (tmp_path / f"{kind}.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["timeline", "{folder}", "{folder}/x.gif"], "expected a name that ends with .png", 2),
        (["timeline", "{folder}", "{folder}/x.png"], "expected a result folder", 1),
        (["curves", "{folder}", "{folder}/x.png"], "expected the metrics.csv", 1),
        (["confusion", "{folder}", "{folder}/x.png"], "expected an evaluation_SPLIT.json", 1),
    ],
)
def test_what_cannot_be_drawn_is_one_line(arguments: list[str], message: str, code: int, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["plot", *(a.format(folder=tmp_path) for a in arguments)])
    assert result.exit_code == code and message in result.output and result.output.count("\n") == 1


def test_a_notebook_shows_it_and_runs_nothing(analyzed: Callable[..., Analysis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[tuple[str, str], Callable[[Analysis], str]] = {}

    class Formatter:
        def for_type_by_name(self, module: str, name: str, shows: Callable[[Analysis], str]) -> None:
            shown[module, name] = shows

    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": Formatter()}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    register()
    analysis = analyzed(tmp_path / "<script>.mp4", words=("<script>alert(1)</script>", "$we$", "go"))
    page = shown[type(analysis).__module__, type(analysis).__name__](analysis)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "<script" not in page
    assert page.count("<tr>") == 3 and "data:image/png;base64," in page
