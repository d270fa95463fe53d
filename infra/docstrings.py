"""Read docstrings in Google's style, and signatures as they are written."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

SECTION = re.compile(r"^(Args|Returns|Raises|Example):$", re.MULTILINE)
LINE = 100  # characters of a signature
QUOTES = "'"  # around a class that is defined further down


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring in Google's style: its text, and its sections by name."""

    text: str
    sections: dict[str, str] = field(default_factory=dict)

    @property
    def paragraphs(self) -> list[str]:
        """The text's paragraphs, each on one line."""
        return [" ".join(paragraph.split()) for paragraph in self.text.split("\n\n") if paragraph.strip()]


def parse_docstring(text: str) -> Docstring:
    """Split a docstring into its text and its sections; those are dedented."""
    parts = SECTION.split(inspect.cleandoc(text))
    sections = {name: textwrap.dedent(body).strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    return Docstring(parts[0].strip(), sections)


def parse_entries(section: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the entries `name: text` of a section, each with the paragraphs of its text."""
    for entry in re.split(r"\n(?=\S)", section):
        name, _, text = entry.partition(":")
        # A paragraph ends at an empty line, and in a list of options where the next one begins.
        paragraphs = re.split(r"\n\s*\n|\n(?= +`\w+`(?:, `\w+`)*: )", text)
        yield name, [" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip()]


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the signature as written, without `self`; with an argument a line where it is long."""
    arguments = [each for each in split_arguments(ast.unparse(node.args)) if each not in ("self", "cls", "")]
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns).strip(QUOTES)}" if node.returns else ""
    line = f"{prefix} {node.name}({', '.join(arguments)}){returns}"
    if len(line) <= LINE:
        return line
    inner = ",\n    ".join(arguments)
    return f"{prefix} {node.name}(\n    {inner},\n){returns}"


def split_arguments(arguments: str) -> list[str]:
    """Split arguments at the commas outside of brackets."""
    parts, depth = [""], 0
    for character in arguments:
        depth += (character in "[({") - (character in "])}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += " = " if character == "=" and depth == 0 else character
    return [part.strip() for part in parts]
