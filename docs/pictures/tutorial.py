"""Writes docs/tutorial.ipynb, every cell run: python docs/pictures/tutorial.py

The cells are here; the outputs come from running them in this process, in a folder with `samples` in it. The tests run the notebook's code
again (tests/report/test_tutorial.py).
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent

CELLS: tuple[tuple[str, str], ...] = (
    (
        "markdown",
        "# From a clip to a table for statistics\n\nRun it in the project's folder: `samples/` holds two "
        "short clips that are free to use. "
        "Nothing is downloaded (`offline=True`). Times are seconds on the clip's clock.",
    ),
    ("code", 'import emofuse\n\nanalysis = emofuse.analyze("samples/smile.mp4", offline=True)\nanalysis'),
    (
        "markdown",
        "## One row per utterance\n\nA probability is the model's. `confidence` is the calibrated "
        "probability that the most probable emotion is "
        "right; `flags` say what to be careful about. An utterance with the flag `abstain` has no answer to use.",
    ),
    (
        "code",
        "import pandas as pd\n\nutterances = pd.DataFrame(\n    {\n"
        '        "start": [u.span.start for u in analysis.utterances],\n        "end": [u.span.end for u in analysis.utterances],\n'
        '        "text": [u.text for u in analysis.utterances],\n'
        '        "flags": [" ".join(u.quality.flags) for u in analysis.utterances],\n'
        "    }\n).join(pd.DataFrame([u.prediction.probabilities for u in analysis.utterances if u.prediction]))\nutterances.round(2)",
    ),
    ("markdown", "## One row per video frame\n\nEvery stream is a table: face, voice, words, text. An empty cell was not measured."),
    ("code", 'face = analysis.streams["face"].to_pandas()\nface[["start", "end", "AU01", "AU12", "Yaw"]].head(3).round(3)'),
    (
        "markdown",
        "## A folder of clips\n\nResults go to a folder with one folder per clip. The same call again does only what is missing. "
        "`totals` says how many clips are done and why others failed.",
    ),
    (
        "code",
        'clips = ["samples/smile.mp4", "samples/voice_only.flac"]\n'
        'totals = emofuse.analyze_folder(clips, "tutorial", emofuse.Options(offline=True), report=False, workers=1)\n'
        'f"{totals.done} done, {totals.failed} failed"',
    ),
    (
        "markdown",
        "## One row per word, with what the face and the voice did\n\nMeans over the rows whose middle lies "
        "in the word; pitch (`F0`) counts "
        "only where the voice is voiced. `voice_only.flac` has no face, so its action units are missing.",
    ),
    (
        "code",
        'words = emofuse.words_table("tutorial")\nwords[["clip", "word", "start", "emotion", "AU12", '
        '"F0"]].groupby("clip").head(3).round(2)',
    ),
    (
        "markdown",
        "## A table for a mixed model\n\nOne row per word, in units that compare across speakers: pitch in "
        "semitones above the speaker's own "
        "median, the smile (AU12) as a difference from the speaker's mean. Words that were not measured are "
        "left out of a model, not set to 0. "
        "With your own column of speakers and conditions: `smf.mixedlm('semitones ~ condition', table, "
        "groups='speaker')` in statsmodels, or "
        "`lmer(semitones ~ condition + (1 | speaker))` in R ([r.md](r.md)).",
    ),
    (
        "code",
        'import numpy as np\n\ntable = words.drop(columns="speaker").rename(columns={"clip": "speaker"})  # here: one speaker per clip\n'
        'by_speaker = table.groupby("speaker")\ntable["semitones"] = 12 * np.log2(table["F0"] / by_speaker["F0"].transform("median"))\n'
        'table["smile"] = table["AU12"] - by_speaker["AU12"].transform("mean")\n'
        'table[["speaker", "utterance", "word", "start", "semitones", "smile"]].to_csv("words.csv", index=False)\n'
        'table.groupby("speaker")[["semitones", "smile"]].agg(["count", "std"]).round(2)',
    ),
    (
        "markdown",
        "## A picture\n\nEvery function of `emofuse.pipeline.views.plots` draws into the axes that it is given, or into its own "
        "([plots.md](plots.md)).",
    ),
    ("code", "from emofuse.pipeline.views import plots\n\nplots.action_units(analysis).figure"),
    (
        "markdown",
        "## To ELAN\n\nOne file per clip, with a link to it, tiers for words, utterances, emotions and active action units. "
        "TextGrid for Praat and others: [formats.md](formats.md).",
    ),
    ("code", '[path.name for path in emofuse.convert("tutorial", "elan", "eaf")]'),
)


def run(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """What a cell prints, and its last expression's value; raises what the cell raises."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)  # noqa: S102  # our own cells, above
        value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if isinstance(last, ast.Expr) else None  # noqa: S307
    return printed.getvalue(), value


def outputs(printed: str, value: Any) -> list[dict[str, Any]]:
    """As a notebook keeps them: text, and HTML or a picture where the value has one."""
    shown: list[dict[str, Any]] = [{"output_type": "stream", "name": "stdout", "text": lines(printed)}] if printed else []
    if value is None:
        return shown
    data: dict[str, Any] = {"text/plain": lines(repr(value))}
    if type(value).__name__ == "Analysis":
        from emofuse.pipeline.views.notebook import html

        data = {"text/html": lines(html(value)), "text/plain": ["an emofuse Analysis"]}
    elif hasattr(value, "savefig"):
        picture = io.BytesIO()
        value.savefig(picture, format="png", dpi=80)
        data = {"image/png": base64.b64encode(picture.getvalue()).decode() + "\n", "text/plain": ["<Figure>"]}
    elif hasattr(value, "_repr_html_"):
        data["text/html"] = lines(value._repr_html_())
    return [*shown, {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": data}]


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def notebook() -> dict[str, Any]:
    """All cells, run one after the other."""
    names: dict[str, Any] = {}
    cells: list[dict[str, Any]] = []
    count = 0
    for number, (kind, source) in enumerate(CELLS):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines(source)}
        if kind == "code":
            count += 1
            cell |= {"execution_count": count, "outputs": outputs(*run(source, names))}
            for output in cell["outputs"]:
                if "execution_count" in output:
                    output["execution_count"] = count
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "samples").symlink_to(ROOT / "samples")
        os.chdir(folder)
        made = notebook()
    (ROOT / "docs/tutorial.ipynb").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
