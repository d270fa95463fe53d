"""Read `Options` from Python arguments, the command line or JSON, and write them as JSON or a query string."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, TypedDict
from urllib.parse import urlencode

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from heatlens.errors import InvalidOption, Mistake
from heatlens.types import Include, Options

_OPTIONS = TypeAdapter(Options)


class OptionArguments(TypedDict, total=False):
    """Options by name, in convenient forms; `Explainer.explain` describes them."""

    colormap: str
    alpha: float
    target: str | int | Sequence[str | int]
    contrast: str | int | None
    method: str
    layer: str | None
    eigen_smooth: bool
    aug_smooth: bool
    scale: str
    threshold: float
    format: str
    window: tuple[float, float] | str | None


def read_options(arguments: OptionArguments, include: frozenset[Include]) -> Options:
    """Read the options of a Python or command-line caller, where one target needs no list.

    Raises:
        InvalidOption: A value is invalid.
    """
    target = arguments.get("target", ())
    targets = (target,) if isinstance(target, str | int) else tuple(target)
    return check_options({**arguments, "target": targets, "include": include})


def check_options(given: Mapping[str, Any]) -> Options:
    """Validate options by name; missing ones have their defaults, unknown names are ignored.

    Methods, layers and classes need a model: `make_plan` checks them.

    Raises:
        InvalidOption: A value is invalid.
    """
    try:
        return _OPTIONS.validate_python(dict(given))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise InvalidOption(*(_mistake(detail, given) for detail in details)) from error


def as_json(options: Options) -> dict[str, Any]:
    """Convert options to JSON values by name: sets become sorted lists, tuples lists."""
    return {name: _plain(value) for name, value in asdict(options).items()}


def from_json(values: Mapping[str, Any]) -> Options:
    """Read the output of `as_json`, also of another version: unknown names are ignored.

    Raises:
        InvalidOption: A value is invalid; another version may have written one that this version does not know.
    """
    return check_options(values)


def as_query(options: Options) -> str:
    """Write the options that differ from their defaults as a query string, which reads back as the same options.

    An index becomes text, which may also be a label: name classes by label to be safe.
    """
    given: list[tuple[str, str]] = []
    for field in fields(Options):
        value = getattr(options, field.name)
        if value != field.default:
            several = field.name == "target"
            given += [(field.name, _text(each)) for each in (value if several else [value])]
    return urlencode(given, safe=",")


def _mistake(detail: ErrorDetails, given: Mapping[str, Any]) -> Mistake:
    field = str(detail["loc"][0])
    return Mistake(field, detail["msg"], detail["type"], repr(given[field])[:80])


def _plain(value: Any) -> Any:  # noqa: ANN401 - an option's value
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:  # noqa: ANN401 - an option's value
    if isinstance(value, tuple):  # a window: at most nine decimals are read
        return ",".join(f"{number:.9f}" for number in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(_plain(value)) if isinstance(value, frozenset) else str(value)
