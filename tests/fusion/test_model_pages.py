"""docs/models.md: every model has its page, its figure is the one that the script draws, and the keys it names exist."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from emofuse.fusion import MODELS

DOCS = Path(__file__).parents[2] / "docs"
PAGED = ("mult", "pmr", "mcr", "delta", "rrnn")


def test_every_model_is_linked_to_a_page() -> None:
    linked = dict(re.findall(r"\| \[`([a-z-]+)`\]\((models/[a-z]+\.md)\)", (DOCS / "models.md").read_text(encoding="utf-8")))
    assert set(linked) == set(MODELS)
    assert all((DOCS / page).is_file() for page in linked.values())


def test_the_figures_are_those_that_the_script_draws() -> None:
    script = DOCS / "pictures" / "models.py"
    spec = importlib.util.spec_from_file_location("pictures_of_models", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pictures_of_models"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    assert set(module.PICTURES) == set(PAGED)
    for name, draw in module.PICTURES.items():
        assert (DOCS / "pictures" / f"model_{name}.svg").read_text(encoding="utf-8") == draw().svg()


@pytest.mark.parametrize("name", PAGED)
def test_a_page_names_every_key_of_the_config_and_no_other(name: str) -> None:
    page = (DOCS / "models" / f"{name}.md").read_text(encoding="utf-8")
    settings = page.split("## In the config\n")[1].split("\n## ")[0]
    keys = {f.name for f in dataclasses.fields(MODELS[name]().config)} - {"streams", "outputs"}  # type: ignore[arg-type]
    named = {setting.split("=")[0] for setting in re.findall(r"`([a-z_]+(?:=[^`]*)?)`", settings)}
    assert keys <= named, f"not on the page: {sorted(keys - named)}"
    if name in ("pmr", "mcr"):
        config = MODELS[name]().config
        keys |= {f.name for f in dataclasses.fields(config(streams={"text": 2}, outputs=1, heads=1, width=2).ablation)}
    assert named <= keys, f"no such key: {sorted(named - keys)}"


CITED = re.compile(r"`(test_\w+\.py)`(?: \((?!`)[^)]*\))?(?:: ((?:`\w+`(?:, )?)+))?")


@pytest.mark.parametrize("page", ["models/mult.md", "models/pmr.md", "models/mcr.md", "models/rrnn.md", "models/delta.md", "papers.md"])
def test_every_test_and_file_that_a_page_cites_is_there(page: str) -> None:
    """A cited word or two is part of a test's name in that file; files of code are under fusion/."""
    text = (DOCS / page).read_text(encoding="utf-8")
    cited = CITED.findall(text)
    assert len(cited) >= 10
    for file, names in cited:
        tests = re.findall(r"^def (test_\w+)", (Path(__file__).parent / file).read_text(encoding="utf-8"), re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names):
            assert any(name in test for test in tests), f"{page}: {file} has no test {name}"
    table = text.partition("## Element by element")[2].partition("\n## ")[0]
    for file in re.findall(r"`((?:experiments/|datasets/)?\w+\.py)`", table):
        if not file.startswith("test_"):
            assert (DOCS.parent / "fusion" / file).is_file(), f"{page}: no file fusion/{file}"
