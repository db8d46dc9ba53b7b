"""Which device is meant, and that nobody imports torch to learn that there is no GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emofuse.extractors.weights.device import may_have_gpu


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only torch knows")
@pytest.mark.parametrize(("name", "may"), [("null", False), ("nvidia0", True), ("nvidiactl", True), ("dxg", True), ("kfd", True)])
def test_a_gpu_has_a_file(tmp_path: Path, name: str, may: bool) -> None:
    (tmp_path / name).touch()
    assert may_have_gpu(tmp_path) == may


@pytest.mark.skipif(may_have_gpu(), reason="this machine may have a GPU")
def test_the_device_of_a_machine_without_gpu_is_known_without_torch() -> None:
    code = (
        "import sys; from emofuse.extractors.weights.device import resolve; print(resolve('auto'), resolve('cpu'), 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["cpu", "cpu", "False"]
