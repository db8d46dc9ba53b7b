"""What every test may ask for: the shared material (skipped, saying so, where it is absent) and the sample clips."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    if not (SHARED / "README.md").is_file():
        pytest.skip(f"needs the shared material at {SHARED}, which is not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def samples() -> Path:
    return ROOT / "samples"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Skipped browser tests are said aloud: the report is then unchecked."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "needs a browser" in str(getattr(r, "longrepr", ""))]
    if skipped:
        terminalreporter.write_sep("!", f"{len(skipped)} browser tests did NOT run: apt-get install chromium chromium-driver", red=True)
