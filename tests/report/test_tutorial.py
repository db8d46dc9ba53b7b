"""docs/tutorial.ipynb runs from top to bottom, its cells are those of docs/pictures/tutorial.py, and it shows what it ran to."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial", DOCS / "pictures/tutorial.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_is_the_script_s_and_was_run(script: ModuleType) -> None:
    notebook = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]] == [tuple(cell) for cell in script.CELLS]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["outputs"] for cell in code)
    kinds = {kind for cell in code for output in cell["outputs"] for kind in output.get("data", {})}
    assert {"image/png", "text/html", "text/plain"} <= kinds


@pytest.mark.filterwarnings("ignore")
def test_its_cells_run_from_top_to_bottom(script: ModuleType, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samples").symlink_to(samples)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    values = [script.run(source, names) for kind, source in script.CELLS if kind == "code"]
    assert values[3][1] == "2 done, 0 failed"
    assert sorted(values[-1][1]) == ["smile.eaf", "voice_only.eaf"]
    table = names["table"]
    assert {"speaker", "utterance", "word", "AU12", "F0", "semitones", "smile"} <= set(table.columns)
    assert table.groupby("speaker")["semitones"].median().abs().max() < 0.01, "of an even number the median lies between two"
    assert table.loc[table["speaker"] == "voice_only", "AU12"].isna().all(), "no face is not a face at rest"
    assert (tmp_path / "words.csv").read_text(encoding="utf-8").startswith("speaker,utterance,word,start,semitones,smile\n")
