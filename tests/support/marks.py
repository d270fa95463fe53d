"""Read the marks of tests from their sources, without importing them."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Marked:
    """A test with a mark, and its source."""

    path: str
    name: str
    source: str

    @property
    def id(self) -> str:
        return f"{self.path}::{self.name}"


def marked(mark: str) -> dict[str, list[Marked]]:
    """Map every argument of `pytest.mark.MARK` to the tests that carry it, in the order of their files."""
    by_argument: dict[str, list[Marked]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if f"pytest.mark.{mark}(" not in text:
            continue
        for test in ast.walk(ast.parse(text)):
            if isinstance(test, ast.FunctionDef):
                for argument in _arguments(test, mark):
                    source = "\n".join(text.splitlines()[test.decorator_list[0].lineno - 1 : test.end_lineno])
                    by_argument[argument].append(Marked(f"tests/{path.relative_to(TESTS)}", test.name, source))
    return dict(by_argument)


def _arguments(test: ast.FunctionDef, mark: str) -> Iterator[str]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == f"pytest.mark.{mark}":
            for argument in decorator.args:
                assert isinstance(argument, ast.Constant), f"{test.name}: marks must have literal arguments"
                yield str(argument.value)
