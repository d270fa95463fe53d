"""Write the reference of the Python API from signatures and docstrings: `make tables` calls it."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from heatlens import card, errors, explainer, image_source, results, types
from heatlens.evaluate import faithfulness, regions
from heatlens.explain import absolute_scale
from infra.contents import add_contents

LAYERS = Path(__file__).parents[1] / "layers"
NOTE = "<!-- Written by `make tables` from the docstrings: change those. -->\n"
SECTION = re.compile(r"^(Args|Returns|Raises|Example):$", re.MULTILINE)
LINE = 100  # characters of a signature
TITLES = {"Args": "Arguments", "Returns": "Returns", "Raises": "Raises"}
# A class or function of the reference, by the module it is imported from.
Item = tuple[ModuleType, str]
ALIASES: Sequence[Item] = (
    (types, "Floats"),
    (types, "Box"),
    (types, "Part"),
    (results, "Outcome"),
    (image_source, "ImageSource"),
)
OPTION_TYPES = ("Class", "Target", "Window", "Colormap", "Alpha", "Threshold", "Include", "Scale", "Format")
RESULTS: Sequence[Item] = (
    (results, "Explained"),
    (types, "Prediction"),
    (types, "Scores"),
    (types, "Score"),
    (types, "Familiarity"),
    (types, "Encoded"),
)
SCORES: Sequence[Item] = (
    (regions, "find_regions"),
    (regions, "Regions"),
    (regions, "Region"),
    (faithfulness, "faithfulness"),
    (faithfulness, "enlarge"),
    (faithfulness, "Faithfulness"),
    (absolute_scale, "full_heat"),
    (absolute_scale, "absolute"),
)
CARD: Sequence[Item] = tuple(
    (card, name)
    for name in (
        "Card",
        "Layer",
        "Preprocess",
        "Parity",
        "Sanity",
        "Randomised",
        "Calibration",
        "Peaks",
        "FamiliarityReference",
        "Golden",
        "Cost",
        "Agreement",
        "OwnerReference",
        "OriginalProof",
        "Graph",
        "Tokens",
        "TorchWeights",
    )
)


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring in Google's style: its text, and its sections by name."""

    text: str
    sections: dict[str, str] = field(default_factory=dict)

    @property
    def paragraphs(self) -> list[str]:
        """The text's paragraphs, each on one line."""
        return [" ".join(paragraph.split()) for paragraph in self.text.split("\n\n") if paragraph.strip()]


def reference_pages() -> dict[Path, str]:
    """Return the text of each page of the reference."""
    pages = {
        "api-reference.md": _api_page(),
        "api-results.md": _results_page(),
        "api-errors.md": _errors_page(),
        "card-reference.md": _card_page(),
    }
    return {LAYERS / name: add_contents("\n".join(lines).rstrip("\n") + "\n") for name, lines in pages.items()}


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


def _api_page() -> Iterator[str]:
    yield from ("# API reference", "", NOTE)
    yield "Signatures and docstrings of the public Python API. [python-api.md](python-api.md) introduces it."
    yield from ("", "| page | content |", "|---|---|")
    yield "| this one | [`Explainer`](#heatlensexplainer), [`Explanation`](#heatlensexplanation), [types](#types) |"
    yield "| [api-results.md](api-results.md) | results, options, and the scores of one map |"
    yield "| [api-errors.md](api-errors.md) | errors |"
    yield from ("| [card-reference.md](card-reference.md) | the card of a model |", "")
    yield from _class(explainer, "Explainer")
    yield from _class(results, "Explanation")
    yield from ("## Types", "", "```python", *(_alias(module, name) for module, name in ALIASES), "```")


def _results_page() -> Iterator[str]:
    yield from ("# Results, options and scores", "", NOTE)
    yield "What [`Explainer`](api-reference.md) returns and takes, and functions for the scores of one map."
    yield from ("", "## Results", "")
    for module, name in RESULTS:
        yield from _record(module, name)
    yield from (
        "## Options",
        "",
        "Keywords of `Explainer.explain`, and options of the HTTP API, with their defaults.",
        "",
    )
    yield from _fields(types, "Options")
    yield from ("```python", *(_alias(types, name) for name in (*OPTION_TYPES, "OriginalForm", "Quality")), "```", "")
    yield from ("## Scores of one map", "")
    for module, name in SCORES:
        is_class = inspect.isclass(getattr(module, name))
        yield from _record(module, name) if is_class else _function(_node(module, name), f"{module.__name__}.{name}")


def _errors_page() -> Iterator[str]:
    yield from ("# Errors in Python", "", NOTE)
    yield "Classes of `heatlens.errors`. Catch `HeatlensError` for all of them, or one that others are based on."
    yield "[functions/errors.md](../functions/errors.md) has the codes of the HTTP API."
    yield from ("", "| error | based on | code | a retry may help | when |", "|---|---|---|---|---|")
    for node in _tree(errors).body:
        error = getattr(errors, getattr(node, "name", ""), None)
        if inspect.isclass(error) and issubclass(error, errors.HeatlensError):
            when = parse_docstring(error.__doc__ or "").paragraphs[0].rstrip(".")
            retry = "yes" if error.retryable else "no"
            yield f"| `{error.__name__}` | `{error.__bases__[0].__name__}` | `{error.code}` | {retry} | {_cell(when)} |"


def _card_page() -> Iterator[str]:
    yield from ("# Card reference", "", NOTE)
    yield "What `card.json` of a [model folder](README.md#model-folder) has, as classes of `heatlens.card`."
    yield "[card.schema.json](heatlens/card.schema.json) is the same as a JSON schema."
    yield from (
        "",
        "`Explainer.card` and `GET /api/inference/models` return a card. `Positive` is a whole number above 0,",
    )
    yield from ("`Share` a number of 0 to 1.", "")
    for module, name in CARD:
        yield from _record(module, name, level="##")


def _class(module: ModuleType, name: str) -> Iterator[str]:
    """Describe a class with its properties and methods."""
    node, doc = _node(module, name), _doc(module, name)
    yield from (f"## `heatlens.{name}`", "")
    for paragraph in doc.paragraphs:
        yield from (paragraph, "")
    if example := doc.sections.get("Example"):
        yield from ("```pycon", example, "```", "")
    if fields := _annotated(node):
        yield from _field_list(fields)
    members = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    public = [each for each in members if not each.name.startswith("_") and not _decorated(each, "overload")]
    if properties := [each for each in public if _decorated(each, "property")]:
        yield from ("| property | type | meaning |", "|---|---|---|")
        for each in properties:
            meaning = " ".join(parse_docstring(ast.get_docstring(each) or "").paragraphs)
            yield f"| `{each.name}` | {_code(ast.unparse(each.returns or ast.Constant(None)))} | {_cell(meaning)} |"
        yield ""
    for each in public:
        if each not in properties:
            yield from _function(each, f"{name}.{each.name}")


def _function(node: Any, title: str) -> Iterator[str]:  # noqa: ANN401 - a node of any function
    """Describe a function: its signature, its text and its sections."""
    doc = parse_docstring(ast.get_docstring(node) or "")
    yield from (f"### `{title}`", "", "```python", signature(node), "```", "")
    for paragraph in doc.paragraphs:
        yield from (paragraph, "")
    for section, title_of_section in TITLES.items():
        if section not in doc.sections:
            continue
        if section == "Returns":
            yield from ("**Returns**", "", " ".join(doc.sections[section].split()), "")
            continue
        yield from (f"**{title_of_section}**", "")
        for name, (first, *further) in parse_entries(doc.sections[section]):
            yield f"- `{name}`: {first}"
            yield from (f"  - {paragraph}" for paragraph in further)
        yield ""


def _record(module: ModuleType, name: str, level: str = "###") -> Iterator[str]:
    """Describe a class by its text and its fields."""
    yield from (f"{level} `{name}`", "")
    for paragraph in _doc(module, name).paragraphs:
        yield from (paragraph, "")
    for base in _node(module, name).bases:
        if not ast.unparse(base).startswith("_"):
            yield from (f"It also has the fields of `{ast.unparse(base)}`.", "")
    yield from _fields(module, name)


def _fields(module: ModuleType, name: str) -> Iterator[str]:
    yield from _field_list(_annotated(_node(module, name)))


def _field_list(fields: Sequence[ast.AnnAssign]) -> Iterator[str]:
    yield "```python"
    for each in fields:
        default = "" if each.value is None else f" = {_default(each.value)}"
        yield f"{ast.unparse(each.target)}: {_type(each)}{default}".replace("'", '"')  # as ruff formats it
    yield from ("```", "")


def _alias(module: ModuleType, name: str) -> str:
    """Return an alias of a type as written, with the comments above it."""
    [node] = [
        each for each in _tree(module).body if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == name
    ]
    lines = inspect.getsource(module).splitlines()
    first = node.lineno - 1
    while lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join(lines[first : node.end_lineno])


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the signature as written, without `self`; with an argument a line where it is long."""
    arguments = [each for each in _split(ast.unparse(node.args)) if each not in ("self", "cls", "")]
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{prefix} {node.name}({', '.join(arguments)}){returns}"
    if len(line) <= LINE:
        return line
    inner = ",\n    ".join(arguments)
    return f"{prefix} {node.name}(\n    {inner},\n){returns}"


def _split(arguments: str) -> list[str]:
    """Split arguments at the commas outside of brackets."""
    parts, depth = [""], 0
    for character in arguments:
        depth += (character in "[({") - (character in "])}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += " = " if character == "=" and depth == 0 else character
    return [part.strip() for part in parts]


def _type(node: ast.AnnAssign) -> str:
    """Return a field's type as written, without its limits."""
    return re.sub(r"Annotated\[(.+?), (?:Field|Before|Len)\w*\([^)]*\)\]", r"\1", ast.unparse(node.annotation))


def _default(value: ast.expr) -> str:
    """Return a default as written, or what its factory makes."""
    factory = re.search(r"default_factory=(\w+)", ast.unparse(value))
    return f"{factory[1]}()" if factory else ast.unparse(value)


def _annotated(node: ast.ClassDef) -> list[ast.AnnAssign]:
    return [each for each in node.body if isinstance(each, ast.AnnAssign) and not ast.unparse(each).startswith("_")]


def _decorated(node: ast.FunctionDef | ast.AsyncFunctionDef, by: str) -> bool:
    return any(by in ast.unparse(each) for each in node.decorator_list)


def _doc(module: ModuleType, name: str) -> Docstring:
    return parse_docstring(ast.get_docstring(_node(module, name)) or "")


def _node(module: ModuleType, name: str) -> Any:  # noqa: ANN401 - of a class or a function
    [node] = [each for each in _tree(module).body if getattr(each, "name", "") == name]
    return node


@cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    """Escape what would end a table's cell."""
    return text.replace("|", "\\|")
