"""A public function that takes or gives an array says the array's shape; ours are written "(n f)" or "(b, high - low + 1)"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("pipeline", "extractors", "fusion", "cli", "src/emofuse", "training")
ARRAY = re.compile(r"\b(NDArray|ndarray|ArrayLike|Tensor|Floats\d*|Integers|Ints|Bools|Mask|Index|Pixels|Picture|Image|Samples16|Grey)\b")
# Axes are letters, sizes or short sums; "any shape" is for what only passes arrays on.
AXIS = r"\*?(?:\.\.\.?|[A-Za-z]{1,2}\d?|\d+|[a-z_]+(?:\([A-Z]+\))?)"
SHAPE = re.compile(rf"\((?:{AXIS}(?:(?:,? | [-+*] ){AXIS}){{0,4}},?)?\)")
WORDS = {"the", "of", "is", "it", "if", "in", "to", "as", "an", "and", "where", "for", "with", "see", "or", "one", "not", "at", "by", "on"}


def states_a_shape(docstring: str) -> bool:
    shapes = [set(re.findall(r"[a-z]+", match.group().lower())) for match in SHAPE.finditer(docstring)]
    return any(not words & WORDS for words in shapes) or re.search(r"\bany shapes?\b", docstring) is not None


@dataclass(frozen=True)
class Function:
    """A public function, or a public method of a public class."""

    path: Path
    node: ast.FunctionDef
    owner: str = ""
    """The class of a method."""

    @property
    def parameters(self) -> list[ast.arg]:
        arguments = self.node.args
        return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]

    @property
    def has_arrays(self) -> bool:
        annotations = [*(parameter.annotation for parameter in self.parameters), self.node.returns]
        return any(ARRAY.search(ast.unparse(annotation)) for annotation in annotations if annotation is not None)

    @property
    def documented(self) -> bool:
        return states_a_shape(ast.get_docstring(self.node) or "")


@dataclass(frozen=True)
class Code:
    """Every function of the floors, and the names of each class's bases."""

    functions: tuple[Function, ...]
    bases: Mapping[str, frozenset[str]]

    def documented(self, function: Function) -> bool:
        """By itself, by a method that it overrides, or by the protocol that it implements."""
        return function.documented or any(
            f.documented
            for f in self.functions
            if f.node.name == function.node.name and function.owner and f.owner in self._above(function.owner) | self._implemented(function)
        )

    def _above(self, owner: str) -> frozenset[str]:
        direct = self.bases.get(owner, frozenset())
        return direct.union(*(self._above(base) for base in direct if base != owner))

    def _implemented(self, function: Function) -> frozenset[str]:
        names = [parameter.arg for parameter in function.parameters]
        protocols = [f for f in self.functions if "Protocol" in self.bases.get(f.owner, ())]
        return frozenset(f.owner for f in protocols if f.node.name == function.node.name and [p.arg for p in f.parameters] == names)


def public(body: Iterable[ast.stmt]) -> Iterator[ast.FunctionDef]:
    return (node for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"))


@pytest.fixture(scope="module")
def code() -> Code:
    functions: list[Function] = []
    bases: dict[str, frozenset[str]] = {}
    for path in [p for floor in FLOORS for p in sorted((ROOT / floor).rglob("*.py")) if not any(q.is_symlink() for q in p.parents)]:
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions += [Function(path, node) for node in public(module.body)]
        for owner in (node for node in module.body if isinstance(node, ast.ClassDef)):
            named = frozenset(ast.unparse(base).split("[")[0].split(".")[-1] for base in owner.bases)
            bases[owner.name] = bases.get(owner.name, frozenset()) | named
            if not owner.name.startswith("_"):
                functions += [Function(path, node, owner.name) for node in public(owner.body)]
    return Code(tuple(functions), bases)


@pytest.mark.parametrize("floor", FLOORS)
def test_public_functions_state_the_shapes_of_their_arrays(floor: str, code: Code) -> None:
    members = [function for function in code.functions if function.path.is_relative_to(ROOT / floor)]
    assert members, floor
    silent = [
        f"{f.path.relative_to(ROOT)}:{f.node.lineno} {f.owner}.{f.node.name}".replace(" .", " ")
        for f in members
        if f.has_arrays and not code.documented(f)
    ]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize(
    ("docstring", "states"),
    [
        ("Rows (n f) of a stream.", True),
        ("(b, high - low + 1) SRH.", True),
        ("values (rows, len(COLUMNS))", True),
        ("A scalar () each.", True),
        ("A tensor of any shape.", True),
        ("Rows of a stream.", False),
        ("The choice (None where there is no face).", False),
        ("Frames (in seconds).", False),
        ("", False),
    ],
)
def test_what_counts_as_a_shape(docstring: str, states: bool) -> None:
    assert states_a_shape(docstring) == states
