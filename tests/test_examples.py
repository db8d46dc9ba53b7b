"""Every Python example in README.md, CONTRIBUTING.md, docs/ and the docstrings runs as it is printed."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

import emofuse

ROOT = Path(__file__).parent.parent
FLOORS = ("pipeline", "extractors", "fusion", "cli", "src/emofuse")
# Libraries that no registry has. An example that needs one is only compiled.
ELSEWHERE = {"mmsdk"}


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def examples(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def imports(example: str) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.split(".")[0])
    return modules


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the examples assume it: samples/, clip.mp4, a folder of recordings, and results of it."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "samples").symlink_to(ROOT / "samples")
    recordings = folder / "recordings"
    recordings.mkdir()
    for name in ("smile.mp4", "voice_only.flac"):
        shutil.copy(ROOT / "samples" / name, recordings)
    shutil.copy(ROOT / "samples/smile.mp4", folder / "clip.mp4")
    shutil.copy(ROOT / "samples/smile.mp4", recordings / "clip.mp4")
    totals = emofuse.analyze_folder([recordings], folder / "results", emofuse.Options(offline=True), workers=1)
    assert totals.failed == 0
    return folder


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", [p for p in pages() if examples(p)], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_run(page: Path, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("samples", "recordings", "results", "clip.mp4"):
        (tmp_path / name).symlink_to(desk / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "example"}
    for example in examples(page):
        code = compile(example, str(page), "exec")
        absent = {module for module in imports(example) if find_spec(module) is None}
        assert absent <= ELSEWHERE, f"{page}: an example needs {absent}"
        if not absent:
            exec(code, names)  # noqa: S102  # our own pages


def modules_with_examples() -> list[str]:
    names = []
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            if floor == "src/emofuse" and path.parent != ROOT / floor:
                continue  # the links to the floors
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(ROOT / "src" if floor == "src/emofuse" else ROOT).with_suffix("").parts
                names.append(".".join(parts if floor == "src/emofuse" else ("emofuse", *parts)))
    return names


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_docstring_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    module = importlib.import_module(name)
    assert "+SKIP" not in Path(module.__file__ or "").read_text(encoding="utf-8")
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert outcome.attempted and not outcome.failed
