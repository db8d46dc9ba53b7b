"""Arrows point down: cli -> emofuse (assembly) -> extractors, fusion -> pipeline; and nothing dangerous is called anywhere."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("pipeline", "extractors", "fusion", "cli")
# The one file that imports pickle, and all that it may call of it: it writes MMSA's form and reads nothing.
PICKLE_WRITER, PICKLE_CALLS = ROOT / "pipeline/formats/mmsa.py", {"pickle.dump"}
# What a floor may import of emofuse beside itself.
BELOW = {
    "pipeline": set[str](),
    "extractors": {"pipeline"},
    "fusion": {"pipeline"},
    "cli": {"pipeline", "extractors", "fusion", "adapting", "api", "options", "assembly", "batch", "conversion", "serving", "writing"},
}


def sources(floor: str) -> list[Path]:
    return sorted((ROOT / floor).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every module name that a file imports, relative ones made absolute, with its line."""
    package = ["emofuse", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module, node.lineno
            for alias in node.names:
                yield f"{module}.{alias.name}", node.lineno


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_down_only(floor: str) -> None:
    files = sources(floor)
    assert files, f"no source files under {floor}"
    wrong = []
    for path in files:
        for name, line in imported(path):
            parts = name.split(".")
            if parts[0] in FLOORS:
                wrong.append(f"{path}:{line} imports {name}: floors are emofuse.{parts[0]}")
            if parts[0] == "emofuse" and len(parts) > 1 and parts[1] not in {floor, "__version__", *BELOW[floor]}:
                wrong.append(f"{path}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


# Inside pipeline: each floor may import itself and those before it. The files at its root are the core.
INNER = ("core", "attention", "formats", "views", "batch")


def inner_floor(parts: tuple[str, ...]) -> str:
    """The floor of `pipeline/PARTS`, a file or a module's name."""
    return parts[0] if parts and parts[0] in INNER else "core"


@pytest.mark.parametrize("floor", INNER)
def test_imports_inside_the_pipeline_point_down_only(floor: str) -> None:
    files = [p for p in sources("pipeline") if inner_floor(p.relative_to(ROOT / "pipeline").parts) == floor]
    assert files, f"no source files of {floor}"
    below = INNER[: INNER.index(floor) + 1]
    wrong = [
        f"{path}:{line} imports {name}"
        for path in files
        for name, line in imported(path)
        if name.startswith("emofuse.pipeline.") and inner_floor(tuple(name.split(".")[2:])) not in below
    ]
    assert not wrong, "\n".join(wrong)


def modules(floor: str) -> dict[str, Path]:
    """Every module's full name -> its file; a package is its `__init__`."""
    root = ROOT / floor
    prefix = ["emofuse", *(() if floor == "src/emofuse" else (floor,))]
    files = [p for p in root.glob("*.py")] if floor == "src/emofuse" else sources(floor)
    return {".".join([*prefix, *p.relative_to(root).with_suffix("").parts]).removesuffix(".__init__"): p for p in files}


def imported_files(path: Path, name: str, files: dict[str, Path], *, lazy: bool) -> set[str]:
    """Those of `files` that a module imports: of a package, the file that is meant. Without `lazy`, only what is imported when it is."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wanted: set[str] = set()
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            wanted |= {full if (full := f"{module}.{alias.name}") in files else module for alias in node.names}
    return (wanted & set(files)) - {name}


@pytest.mark.parametrize("floor", [*FLOORS, "src/emofuse"])
def test_no_circle_of_imports(floor: str) -> None:
    files = modules(floor)
    assert files
    # In the pipeline even a lazy import would make a circle; a registry above may import its providers when it is asked.
    graph = {name: imported_files(path, name, files, lazy=floor == "pipeline") for name, path in files.items()}
    while leaves := [name for name, wanted in graph.items() if not wanted & set(graph)]:
        for name in leaves:
            del graph[name]
    assert not graph, f"these import each other in a circle: {graph}"


def test_the_assembly_imports_no_command_and_nothing_of_training() -> None:
    files = [*(ROOT / "src/emofuse").glob("*.py"), *(path for floor in FLOORS for path in sources(floor))]
    for path in files:
        roots = {tuple(name.split(".")[:2]) for name, _ in imported(path)}
        starts = path.name == "__main__.py" or path.is_relative_to(ROOT / "cli")
        assert starts or ("emofuse", "cli") not in roots, path
        assert not {root[0] for root in roots} & {"training", "tests", "benchmarks"}, path


def test_training_imports_no_command() -> None:
    files = sorted((ROOT / "training").rglob("*.py"))
    assert files
    assert not [f"{p}:{line}" for p in files for name, line in imported(p) if name.startswith("emofuse.cli")]


def test_inside_a_floor_imports_are_relative() -> None:
    wrong = []
    for floor in FLOORS:
        for path in sources(floor):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith(f"emofuse.{floor}"):
                    wrong.append(f"{path}:{node.lineno}")
    assert not wrong, wrong


@pytest.mark.parametrize("forbidden", ["torch", "transformers", "cv2", "librosa"])
def test_the_ground_floor_knows_no_heavy_library(forbidden: str) -> None:
    wrong = [f"{p}:{line}" for p in sources("pipeline") for name, line in imported(p) if name.split(".")[0] == forbidden]
    assert not wrong, wrong


def test_no_pickle_no_torch_load_no_eval_no_shell() -> None:
    wrong = []
    for path in [p for floor in (*FLOORS, "src/emofuse", "benchmarks", "samples") for p in (ROOT / floor).rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + ([node.module] if isinstance(node, ast.ImportFrom) and node.module else [])
                wrong += [
                    f"{path}:{node.lineno} imports {n}"
                    for n in names
                    if n.split(".")[0] in ("pickle", "dill", "joblib", "shelve", "marshal")
                    and not (path == PICKLE_WRITER and n == "pickle")
                ]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if path == PICKLE_WRITER and called.startswith("pickle.") and called not in PICKLE_CALLS:
                    wrong.append(f"{path}:{node.lineno} calls {called}")
                if called in ("torch.load", "eval", "exec", "os.system", "os.popen"):
                    wrong.append(f"{path}:{node.lineno} calls {called}")
                if any(k.arg == "shell" and not (isinstance(k.value, ast.Constant) and k.value.value is False) for k in node.keywords):
                    wrong.append(f"{path}:{node.lineno} uses shell=")
    assert not wrong, "\n".join(wrong)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from emofuse.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'av', 'pyarrow', 'librosa', 'transformers', 'rich', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_registry_imports_no_library() -> None:
    code = (
        "import sys, emofuse.extractors, emofuse.fusion; "
        "print([m for m in ('torch', 'librosa', 'transformers', 'cv2', 'whisper', 'pocketsphinx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_finished_batch_is_known_without_what_computes(tmp_path: Path) -> None:
    """Keys of streams and results, which say what is finished, and the tables: by descriptions and hashes alone."""
    (tmp_path / "clips").mkdir()
    shutil.copy(ROOT / "samples" / "voice_only.flac", tmp_path / "clips")
    code = """
import sys
from pathlib import Path
from emofuse import Options, __version__
from emofuse.batch import AssemblySetup, Job, run
from emofuse.pipeline.batch.remote import open_store
from emofuse.pipeline.batch.run import BatchOptions
from emofuse.pipeline.batch.stages import Stages
from emofuse.pipeline.batch.task import Task, task_id
folder, path = Path(sys.argv[1]), str(Path(sys.argv[1]) / "clips" / "voice_only.flac")
job = Job(Options(offline=True))
outcome = Stages(AssemblySetup(job), open_store(str(folder / "out")), version=__version__).run(Task(task_id(path), path, "a", dry_run=True))
assert outcome.kind == "planned" and outcome.plan.startswith("new: to extract"), outcome
assert run([folder / "clips"], folder / "out", job, workers=1, batch=BatchOptions(limit=0)).waiting == 1
assert (folder / "out" / "manifest.parquet").is_file()
print([m for m in sys.argv[2:] if m in sys.modules])
"""
    heavy = ("torch", "transformers", "scipy", "pandas", "matplotlib", "cv2", "faster_whisper", "onnxruntime", "av", "librosa", "bokeh")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), *heavy], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import dill",
        "import torch\n\ntorch.load('x')",
        "from torch import load",
        "eval('1')",
        "exec('x = 1')",
        "import subprocess\n\nsubprocess.run('ls', shell=True)",
        "import os\n\nos.system('ls')",
        "import os\n\nos.popen('ls')",
        "import pandas as pd\n\npd.read_pickle('x')",
        "import yaml\n\nyaml.load('x')",
    ],
)
def test_lint_forbids_what_runs_other_peoples_code(line: str) -> None:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--select",
        "S,TID251",
        "--stdin-filename",
        str(ROOT / "pipeline/made_up.py"),
        "-",
    ]
    done = subprocess.run(command, input=line + "\n", capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(code in done.stdout for code in ("TID251", "S102", "S307", "S506", "S602", "S605")), done.stdout


def test_no_function_is_longer_than_a_screen() -> None:
    long = []
    for path in [p for folder in (*FLOORS, "training") for p in sources(folder)] + sorted((ROOT / "src/emofuse").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 60:
                    long.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    assert not long, "\n".join(long)
