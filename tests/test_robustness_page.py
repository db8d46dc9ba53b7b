"""docs/robustness.md names a test for each promise; the tests are there, and every item of the reviews has a line."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs/robustness.md"
ITEMS = {*(f"H{n}" for n in range(1, 11)), *(f"M{n}" for n in range(1, 7)), "L", *(f"A{n}" for n in range(1, 20))}


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ") and not line.startswith("| item")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_item_of_the_reviews_has_a_line() -> None:
    named = {item for row in rows() for item in re.findall(r"\b[AHM]\d+\b|\bL\b", row[0])}
    assert named >= ITEMS


def test_every_line_names_a_test_that_is_there() -> None:
    """A name without its `test_`; two dots stand for what is left out."""
    names = "\n".join(name for path in TESTS.rglob("test_*.py") for name in re.findall(r"def test_(\w+)\(", path.read_text("utf-8")))
    for row in rows():
        assert len(row) == 3, row
        quoted = re.findall(r"`([^`]+)`", row[2])
        files = [text for text in quoted if text.endswith(".py")]
        assert all((TESTS.parent / file).is_file() for file in files), row
        tests = [text for text in quoted if re.fullmatch(r"[a-z0-9_.]+", text) and not text.endswith(".py")]
        assert tests or files or row[2] == "same" or row[2].startswith("T"), row
        for test in tests:
            pattern = "^" + r"\w*".join(map(re.escape, test.split(".."))) + "$"
            assert re.search(pattern, names, re.MULTILINE), f"{row[0]}: no test named {test}"
