"""The session that the golden files hold, and what every round trip asks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from emofuse.pipeline.formats.session import Session
from emofuse.pipeline.timed import TimedSequence

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The script that wrote the golden files."""
    spec = importlib.util.spec_from_file_location("make_formats", GOLDEN / "make_formats.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def golden() -> Path:
    return GOLDEN / "formats"


@pytest.fixture
def session(made: ModuleType) -> Session:
    example: Session = made.session()
    return example


@pytest.fixture
def silent(made: ModuleType) -> Session:
    example: Session = made.silent()
    return example


@pytest.fixture
def same() -> Callable[..., None]:
    """Every row, column and label of one stream, within these absolute tolerances (0: bit for bit)."""

    def check(read_back: TimedSequence, expected: TimedSequence, *, times: float = 0.0, values: float = 0.0) -> None:
        assert read_back.name == expected.name
        assert read_back.columns == expected.columns
        np.testing.assert_allclose(read_back.start, expected.start, rtol=0, atol=times)
        np.testing.assert_allclose(read_back.end, expected.end, rtol=0, atol=times)
        np.testing.assert_allclose(read_back.values, expected.values, rtol=0, atol=values)
        assert {k: v for k, v in read_back.labels.items() if any(v)} == {k: v for k, v in expected.labels.items() if any(v)}

    return check
