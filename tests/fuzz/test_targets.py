"""The fuzzer knows every reader, and its good files are read."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from emofuse.extractors.words.transcripts import SUFFIXES
from emofuse.pipeline.formats.registry import FORMATS

HERE = Path(__file__).parent


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_of_fuzzing", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


fuzz, target = loaded("fuzz"), loaded("target")


def test_every_reader_has_a_target_that_reads_its_good_file(tmp_path: Path) -> None:
    targets = {name.casefold() for name in target.TARGETS}
    assert {suffix[1:] for suffix in SUFFIXES} <= targets, "transcripts"
    readable = {name: entry.suffix for name, entry in FORMATS.items() if entry.read is not None}
    files = {name: suffix for name, suffix in readable.items() if suffix}
    assert "results.json" in targets, "the folders"
    covered = {"csv": "load.csv", "parquet": "load.parquet", "fex": "fex.csv", "openface": "openface.csv"}
    assert {covered.get(name, f"load{suffix.casefold()}") for name, suffix in files.items()} <= targets, "formats"


@pytest.mark.parametrize("name", [*fuzz.TEXTS, *fuzz.GOLDEN])
def test_a_good_file_is_read(tmp_path: Path, name: str) -> None:
    data = fuzz.TEXTS[name].encode() if name in fuzz.TEXTS else (fuzz.ROOT / "tests/golden/formats" / fuzz.GOLDEN[name]).read_bytes()
    path = tmp_path / f"seed.{fuzz.SUFFIXES.get(name, name)}"
    path.write_bytes(data)
    assert target.answer(name, path) == {"how": "ok"}
