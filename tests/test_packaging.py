"""What a user installs is what lies here: the package list, the wheel's content, and a run from the wheel outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("pipeline", "extractors", "fusion", "cli")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked."""
    built = tmp_path_factory.mktemp("wheel")
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools would pack what an earlier build left there
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = built.glob("emofuse-*.whl")
    unpacked = built / "unpacked"
    with zipfile.ZipFile(file) as archive:
        archive.extractall(unpacked)
    return unpacked


def packages_on_disk() -> set[str]:
    packages = {"emofuse"}
    for floor in FLOORS:
        for init in (ROOT / floor).rglob("__init__.py"):
            packages.add(".".join(["emofuse", *init.parent.relative_to(ROOT).parts]))
    return packages


def test_every_folder_with_code_is_in_the_package_list() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert set(settings["packages"]) == packages_on_disk()
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path} lies in a folder without __init__.py"


def test_the_wheel_gives_only_emofuse(wheel: Path) -> None:
    top = {p.name for p in wheel.iterdir()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"emofuse"}
    in_wheel = {p.relative_to(wheel / "emofuse").as_posix() for p in (wheel / "emofuse").rglob("*.py")}
    on_disk = {p.relative_to(ROOT).as_posix() for floor in FLOORS for p in (ROOT / floor).rglob("*.py")}
    on_disk |= {p.relative_to(ROOT / "src/emofuse").as_posix() for p in (ROOT / "src/emofuse").glob("*.py")}
    assert in_wheel == on_disk


def test_the_wheel_carries_its_weights_and_pages(wheel: Path) -> None:
    for suffix in ("*.safetensors", "*.toml", "*.json", "*.j2", "*.css", "*.js"):
        on_disk = {p.relative_to(ROOT).as_posix() for floor in FLOORS for p in (ROOT / floor).rglob(suffix)}
        in_wheel = {p.relative_to(wheel / "emofuse").as_posix() for p in (wheel / "emofuse").rglob(suffix)}
        assert on_disk == in_wheel
    assert (wheel / "emofuse/py.typed").exists()


def from_wheel(wheel: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def test_every_module_of_the_wheel_imports_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    names = sorted(
        ".".join(p.relative_to(wheel).with_suffix("").parts).removesuffix(".__init__") for p in (wheel / "emofuse").rglob("*.py")
    )
    names.remove("emofuse.__main__")
    code = f"import importlib, emofuse; print(emofuse.__file__)\nfor name in {names!r}: importlib.import_module(name)"
    done = from_wheel(wheel, tmp_path, "-W", "ignore", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(wheel))


def test_analyze_runs_from_the_wheel(wheel: Path, tmp_path: Path, samples: Path) -> None:
    options = ["--offline", "--words", "none", "--face", "none", "--out", str(tmp_path / "out")]
    done = from_wheel(wheel, tmp_path, "-W", "ignore", "-m", "emofuse", "analyze", str(samples / "smile.mp4"), *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/smile/emotions.csv").exists()
