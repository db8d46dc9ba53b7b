"""Mutation testing: how many small changes of the code do the tests notice? make mutants MUTANTS=60

A seeded sample of Cosmic Ray's mutants of TARGETS, each in a copy of the checkout (.mutants/checkout; this tree is never changed), against
the test files that import the changed module, with a time-out. Every verdict is a line of .mutants/results.jsonl: what is there is not run
again, so it may be ended and started at any time. A survivor is printed with its difference: it gets a test, or a line in EQUAL.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".mutants"
SEED = 20
SECONDS = 300.0
TARGETS = (
    *("pipeline/utterances.py", "pipeline/summary.py", "pipeline/quality.py", "pipeline/metrics.py", "pipeline/codec.py"),
    *("pipeline/timed.py", "pipeline/attention_rows.py", "pipeline/speaker_face.py", "pipeline/whole_folder.py"),
    *("pipeline/attention/timeline.py", "pipeline/attention/maps.py", "pipeline/attention/shares.py", "pipeline/batch/content.py"),
    *("pipeline/batch/store.py", "pipeline/formats/csd.py", "pipeline/formats/tables.py", "fusion/attention.py", "fusion/rrnn.py"),
    "fusion/datasets/unpickling.py",
)
# Of annotations (X | None), which are never evaluated, and of decorators, whose absence no test can be about.
LEFT_OUT = ("core/ReplaceBinaryOperator_BitOr", "core/RemoveDecorator", "core/VariableReplacer", "core/VariableInserter")
EQUAL: dict[str, str] = {}
"""Key of a mutant -> why it changes nothing that anybody could see."""


def copied() -> Path:
    """A fresh copy of what git knows of this tree, links included."""
    checkout = PLACE / "checkout"
    shutil.rmtree(checkout, ignore_errors=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name, follow_symlinks=False)
    return checkout


def tests_of(target: str, checkout: Path) -> list[str]:
    """Test files that import a module, and so can notice a change of it."""
    name = "emofuse." + target.removesuffix(".py").replace("/", ".")
    files = [p for p in (checkout / "tests").rglob("test_*.py") if name in p.read_text(encoding="utf-8")]
    return [p.relative_to(checkout).as_posix() for p in sorted(files) if "report" not in p.parts and p.name != "test_long_clips.py"]


def every_mutant(checkout: Path) -> list[tuple[str, str, int]]:
    """(target, operator, occurrence) of every mutant, in order."""
    from cosmic_ray.ast import get_ast  # pyright: ignore[reportMissingImports]
    from cosmic_ray.plugins import get_operator, operator_names  # pyright: ignore[reportMissingImports]

    mutants = []
    for target in TARGETS:
        nodes: list[Any] = []
        waiting = [get_ast((checkout / target).read_text(encoding="utf-8"))]
        while waiting:
            node = waiting.pop()
            nodes.append(node)
            waiting += list(getattr(node, "children", ()))
        for name in sorted(operator_names()):
            if not name.startswith(LEFT_OUT):
                operator = get_operator(name)()
                count = sum(len(list(operator.mutation_positions(node))) for node in nodes)
                mutants += [(target, name, n) for n in range(count)]
    return mutants


def main(wanted: int) -> int:
    from cosmic_ray.mutating import mutate_and_test  # pyright: ignore[reportMissingImports]
    from cosmic_ray.work_item import MutationSpec  # pyright: ignore[reportMissingImports]

    checkout = copied()
    results = PLACE / "results.jsonl"
    verdicts = {one["key"]: one for one in map(json.loads, results.read_text().splitlines())} if results.exists() else {}
    sample = random.Random(SEED).sample(every := every_mutant(checkout), min(wanted, len(every)))
    os.chdir(checkout)
    os.environ |= {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    for target, operator, occurrence in sample:
        key = f"{target} {operator} {occurrence}"
        tests = tests_of(target, checkout)
        if key in verdicts or not tests:
            continue
        command = f'"{sys.executable}" -m pytest -q -x -p no:cacheprovider -m "not slow" {" ".join(tests)}'
        spec = MutationSpec(Path(target), operator, occurrence, (1, 0), (1, 1))  # where it lies is told by its number
        done = mutate_and_test([spec], command, SECONDS)
        outcome = done.test_outcome.value if done.test_outcome is not None else str(done.worker_outcome.value)
        verdicts[key] = {"key": key, "outcome": outcome, "difference": done.diff or ""}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(verdicts[key]) + "\n")
        print(f"{outcome}: {key}", flush=True)
    counted = [one for one in verdicts.values() if one["outcome"] in ("killed", "survived") and one["key"] not in EQUAL]
    survivors = [one for one in counted if one["outcome"] == "survived"]
    for one in survivors:
        print(f"\nsurvived: {one['key']}\n{one['difference']}")
    print(f"{len(counted) - len(survivors)} of {len(counted)} mutants killed; {len(every)} in all, seed {SEED}")
    return 1 if len(survivors) > 0.1 * len(counted) else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
