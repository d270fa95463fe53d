"""Write the reference of the Python API from signatures and docstrings: `make tables` calls it."""

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from heatlens import card, client, errors, explainer, image_source, results, types
from heatlens.evaluate import faithfulness, regions
from heatlens.explain import absolute_scale
from infra.contents import add_contents
from infra.docstrings import Docstring, parse_docstring, parse_entries, signature

LAYERS = Path(__file__).parents[1] / "layers"
NOTE = "<!-- Written by `make tables` from the docstrings: change those. -->\n"
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
OPTION_TYPES = (
    "Class",
    "Target",
    "Window",
    "Colormap",
    "Alpha",
    "Threshold",
    "Include",
    "Scale",
    "Format",
    "DicomKind",
)
RESULTS: Sequence[Item] = (
    (results, "Explained"),
    (results, "DicomObject"),
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


def reference_pages() -> dict[Path, str]:
    """Return the text of each page of the reference."""
    pages = {
        "api-reference.md": _api_page(),
        "api-results.md": _results_page(),
        "api-errors.md": _errors_page(),
        "card-reference.md": _card_page(),
        "client-reference.md": _client_page(),
        "client-batches-reference.md": _client_batches_page(),
    }
    return {LAYERS / name: add_contents("\n".join(lines).rstrip("\n") + "\n") for name, lines in pages.items()}


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


def _client_page() -> Iterator[str]:
    yield from ("# Client reference", "", NOTE)
    yield "Classes of `heatlens.client`. [client.md](client.md) introduces them."
    yield "[client-batches-reference.md](client-batches-reference.md) has those of staged batches."
    yield ""
    yield from _client_classes(of_batches=False)
    yield from ("## Errors", "", "`ClientError` is a `HeatlensError`.", "")
    yield from ("| error | based on | when |", "|---|---|---|")
    for name in client.__all__:
        error = getattr(client, name)
        if issubclass(error, errors.HeatlensError):
            when = parse_docstring(error.__doc__ or "").paragraphs[0].rstrip(".")
            yield f"| `{name}` | `{error.__bases__[0].__name__}` | {_cell(when)} |"


def _client_batches_page() -> Iterator[str]:
    yield from ("# Client reference: staged batches", "", NOTE)
    yield "Classes of `heatlens.client` for [staged batches](client.md#staged-batches)."
    yield from ("[client-reference.md](client-reference.md) has the client itself, and the errors.", "")
    yield from _client_classes(of_batches=True)


def _client_classes(*, of_batches: bool) -> Iterator[str]:
    """Describe the client first, then its results; of what is awaited only what is different."""
    names = [name for name in client.__all__ if not issubclass(getattr(client, name), errors.HeatlensError)]
    for name in sorted(names, key=lambda name: ("Async" in name, name not in ("Client", "StagedBatch"), name)):
        if _is_of_batches(name) != of_batches:
            continue
        module = _home(getattr(client, name))
        if name.startswith("Async"):
            yield from _awaited(module, name)
        else:
            yield from _class(module, name, package="heatlens.client")


def _is_of_batches(name: str) -> bool:
    return "batch" in getattr(client, name).__module__


def _awaited(module: ModuleType, name: str) -> Iterator[str]:
    """Describe a class whose methods are another's, to be awaited."""
    other = name.removeprefix("Async")
    own = set(dir(getattr(client, name))) - set(dir(getattr(client, other)))
    yield from _heading(module, name, "heatlens.client")
    yield f"Constructor and methods are those of `{other}`; the methods are coroutines."
    yield ""
    for each in _methods(_body(module, _node(module, name))):
        if each.name in own:
            yield from _function(each, f"{name}.{each.name}")


def _class(module: ModuleType, name: str, package: str = "heatlens") -> Iterator[str]:
    """Describe a class with its constructor, properties and methods."""
    body = _body(module, _node(module, name))
    yield from _heading(module, name, package)
    if fields := _annotated(body):
        yield from _field_list(fields)
    for each in body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__" and ast.get_docstring(each):
            yield from _function(each, f"{name}()")
    methods = _methods(body)
    if properties := [each for each in methods if _decorated(each, "property")]:
        yield from ("| property | type | meaning |", "|---|---|---|")
        for each in properties:
            meaning = " ".join(parse_docstring(ast.get_docstring(each) or "").paragraphs)
            yield f"| `{each.name}` | {_code(ast.unparse(each.returns or ast.Constant(None)))} | {_cell(meaning)} |"
        yield ""
    for each in methods:
        if each not in properties:
            yield from _function(each, f"{name}.{each.name}")


def _heading(module: ModuleType, name: str, package: str) -> Iterator[str]:
    """Begin the section of a class: its name, text and example."""
    doc = _doc(module, name)
    yield from (f"## `{package}.{name}`", "")
    for paragraph in doc.paragraphs:
        yield from (paragraph, "")
    if example := doc.sections.get("Example"):
        yield from ("```pycon", example, "```", "") if example.startswith(">>>") else (example, "")


def _methods(body: Sequence[ast.stmt]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the public methods and properties; of an overloaded one its implementation."""
    functions = [each for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [each for each in functions if not each.name.startswith("_") and not _decorated(each, "overload")]


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
    yield from _field_list(_annotated(_node(module, name).body))


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


def _type(node: ast.AnnAssign) -> str:
    """Return a field's type as written, without its limits."""
    return re.sub(r"Annotated\[(.+?), (?:Field|Before|Len)\w*\([^)]*\)\]", r"\1", ast.unparse(node.annotation))


def _default(value: ast.expr) -> str:
    """Return a default as written, or what its factory makes."""
    factory = re.search(r"default_factory=(\w+)", ast.unparse(value))
    return f"{factory[1]}()" if factory else ast.unparse(value)


def _body(module: ModuleType, node: ast.ClassDef) -> list[ast.stmt]:
    """Return what a class defines, and what it has from other classes of its module."""
    here = {each.name: each for each in _tree(module).body if isinstance(each, ast.ClassDef)}
    bases = [here[name] for each in node.bases if (name := ast.unparse(each)) in here]
    return [each for part in (node, *bases) for each in part.body]


def _annotated(body: Sequence[ast.stmt]) -> list[ast.AnnAssign]:
    return [each for each in body if isinstance(each, ast.AnnAssign) and not ast.unparse(each).startswith("_")]


def _decorated(node: ast.FunctionDef | ast.AsyncFunctionDef, by: str) -> bool:
    return any(by in ast.unparse(each) for each in node.decorator_list)


def _doc(module: ModuleType, name: str) -> Docstring:
    return parse_docstring(ast.get_docstring(_node(module, name)) or "")


def _home(item: type) -> ModuleType:
    """Return the module that defines a class."""
    module = inspect.getmodule(item)
    assert module is not None, item
    return module


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
