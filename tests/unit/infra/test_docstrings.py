"""Docstrings in Google's style, and signatures as they are written."""

import ast

from infra.docstrings import parse_docstring, parse_entries, signature

DOCSTRING = """Draw a map.

    It has two
    lines.

    Args:
        size: In pixels,
            `[h, w]`.
        **options: By name.

            `alpha`: The weight:
            `alpha * heat`.
            `a`, `b`: Both.

    Returns:
        The map.

    Raises:
        ValueError: No size.
    """


def test_a_docstring_has_paragraphs_and_sections() -> None:
    doc = parse_docstring(DOCSTRING)

    assert doc.paragraphs == ["Draw a map.", "It has two lines."]
    assert list(doc.sections) == ["Args", "Returns", "Raises"]
    assert doc.sections["Returns"] == "The map."


def test_arguments_have_paragraphs_and_options_of_their_own() -> None:
    entries = dict(parse_entries(parse_docstring(DOCSTRING).sections["Args"]))

    assert entries == {
        "size": ["In pixels, `[h, w]`."],
        "**options": ["By name.", "`alpha`: The weight: `alpha * heat`.", "`a`, `b`: Both."],
    }


def test_a_docstring_without_sections_is_text_alone() -> None:
    assert parse_docstring("Return it: now.").sections == {}


def written(source: str) -> str:
    [node] = ast.parse(source).body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return signature(node)


def test_a_signature_is_as_written_without_self() -> None:
    assert written("def load(cls, path: str | None = None) -> Self: ...") == (
        "def load(path: str | None = None) -> Self"
    )
    assert written("async def wait(self) -> None: ...") == "async def wait() -> None"


def test_a_long_signature_has_an_argument_a_line() -> None:
    long = "dict[str, int] | None = {'a': 1, 'b': 2}"

    lines = written(f"def draw(first: {long}, second: {long}, *, third: {long}) -> None: ...").splitlines()

    assert lines == [
        "def draw(",
        f"    first: {long},",
        f"    second: {long},",
        "    *,",
        f"    third: {long},",
        ") -> None",
    ]
