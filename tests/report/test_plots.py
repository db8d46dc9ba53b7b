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
from emofuse.pipeline.attention_rows import AttentionRows
from emofuse.pipeline.errors import FormatError, StreamError
from emofuse.pipeline.formats.document import analysis_document
from emofuse.pipeline.formats.result_folder import read_analysis
from emofuse.pipeline.results import Analysis
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import TimedSequence
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
    # Kept maps are float16: their rows sum to 1 within 1e-3, and what is drawn is over that sum.
    even = chosen.weights[0, 2] * chosen.weights.shape[3]
    assert np.allclose(2.0 ** np.asarray(image.get_array()), np.clip(even, 1 / 8, 8), rtol=2e-3)
    ax = plots.attention_matrix(analysis, 1, "face", "text")
    mean = chosen.weights[1].mean(0)
    assert np.allclose(2.0 ** np.asarray(ax.images[0].get_array()), np.clip(mean * mean.shape[1], 1 / 8, 8), rtol=2e-3)
    far = np.abs(mean - 1 / mean.shape[1]).sum(1).mean() / 2
    assert (
        plots.distance_from_even(mean, np.full(mean.shape[1], 1 / mean.shape[1])) == pytest.approx(float(far), abs=1e-3)
        and "% from an even spread" in ax.get_title()
    )
    assert plots.distance_from_even(np.full((3, 4), 0.25), np.full(4, 0.25)) == 0
    assert plots.distance_from_even(np.eye(4), np.full(4, 0.25)) == pytest.approx(0.75)
    pooled = np.array([0.4, 0.4, 0.2])  # the last column holds half as many frames: this is even
    assert plots.distance_from_even(np.tile(pooled, (2, 1)), pooled) == pytest.approx(0)
    assert "face looks at voice" in plots.attention_matrix(without(analysis, "text"), 1).get_title(), "the first that there is"
    with pytest.raises(StreamError, match="text <- nose: no such map; there are: text <- face"):
        plots.attention_matrix(analysis, 1, "text", "nose")
    with pytest.raises(StreamError, match="2 layers and 3 heads; layer -1, head 3"):
        plots.attention_matrix(analysis, 1, head=3)


def without(analysis: Analysis, stream: str) -> Analysis:
    """The same analysis without the maps that have to do with one stream."""
    from dataclasses import replace

    def fewer(u: Any) -> Any:
        maps = tuple(a for a in u.prediction.attention if stream not in (a.target, a.source))
        return replace(u, prediction=replace(u.prediction, attention=maps))

    return replace(analysis, utterances=tuple(fewer(u) for u in analysis.utterances))


def test_pitch_is_drawn_only_where_the_voice_is_voiced(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    """COVAREP's F0 goes on through silence: 200 Hz everywhere, voiced in every other half second."""
    from dataclasses import replace

    analysis = analyzed(tmp_path / "x.mp4")
    voice = analysis.streams["voice"]
    voiced = (voice.start % 1 < 0.5).astype(np.float32)
    values = np.stack([np.full(len(voice), 200, np.float32), voiced], axis=1)
    covarep = TimedSequence("voice", ("F0", "VUV"), values, voice.start, voice.end, voice.provenance)
    (line,) = plots.voice(replace(analysis, streams={**analysis.streams, "voice": covarep})).lines
    drawn = np.asarray(line.get_ydata(), np.float64)
    assert np.array_equal(~np.isnan(drawn), voiced > 0.5)


def test_every_axis_has_a_label_and_units_a_title(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    analysis = analyzed(tmp_path / "x.mp4")
    for ax in (
        plots.emotions(analysis),
        plots.sentiment(analysis),
        plots.words(analysis),
        plots.action_units(analysis),
        plots.voice(analysis),
    ):
        assert ax.get_xlabel() == "seconds" and ax.get_ylabel()
    assert plots.action_units(analysis).get_title() and plots.voice(analysis).get_title()
    curve = plots.attention(analysis, "voice")
    assert curve.get_ylim()[0] == 0 and "times an even share (1 = even); here " in curve.get_title("right")


def test_the_timeline_shows_words_without_attention_and_sentiment(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    from dataclasses import replace

    analysis = analyzed(tmp_path / "x.mp4")
    bare = replace(analysis, streams={name: s for name, s in analysis.streams.items() if name != "text"})
    bare = replace(bare, attention=AttentionRows.of((r for r in analysis.attention if r.stream != "text"), bare.streams))
    labels = [ax.get_ylabel() for ax in plots.timeline(bare).axes]
    assert "words" in labels and any(label.startswith("sentiment") for label in labels) and not any("on words" in label for label in labels)


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
        assert u.prediction is not None and v.prediction is not None and v.prediction.unlike == u.prediction.unlike == {"voice": 0.75}
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
