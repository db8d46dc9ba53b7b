"""The light pipeline, loaded by its path: tests are no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def light() -> ModuleType:
    path = Path(__file__).parent / "light.py"
    spec = importlib.util.spec_from_file_location("light", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["light"] = module
    spec.loader.exec_module(module)
    return module
