"""Read `Options` from Python arguments, the command line or JSON, and write them as JSON or a query string."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from typing import Any, TypedDict
from urllib.parse import urlencode

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from heatlens.errors import InvalidOption, Mistake
from heatlens.types import Include, Options, Target

UNKNOWN_NAME = "unknown_name"  # the kind of a mistake in a name
_OPTIONS = TypeAdapter(Options)
_SHOWN = 80  # characters of a name in a message


class OptionArguments(TypedDict, total=False):
    """Options by name, in convenient forms; `Explainer.explain` describes them."""

    colormap: str
    alpha: float
    target: str | int | Sequence[str | int | Sequence[str | int]]
    contrast: str | int | None
    method: str | None
    layer: str | None
    eigen_smooth: bool
    aug_smooth: bool
    scale: str
    threshold: float
    format: str
    window: tuple[float, float] | str | None
    frame: int | None


def read_options(arguments: OptionArguments, include: frozenset[Include]) -> Options:
    """Read the options of a Python or command-line caller, where one target needs no list.

    Raises:
        TypeError: A name is not that of an option.
        InvalidOption: A value is invalid.
    """
    known = OptionArguments.__annotations__
    if unknown := [name for name in arguments if name not in known]:
        raise TypeError("; ".join(str(unknown_name(name, known)) for name in unknown))
    target: object = arguments.get("target", ())
    # NumPy's numbers are single targets, and none of Python's.
    targets = tuple(target) if isinstance(target, Iterable) and not isinstance(target, str | bytes) else (target,)
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


def unknown_name(name: str, known: Collection[str]) -> Mistake:
    """Describe a name that is none of those known: by the nearest one, or by all where none is near."""
    spelled = name.lower().replace("-", "_")
    if near := get_close_matches(spelled[:_SHOWN], known, n=1, cutoff=0.7):
        advice = f"did you mean {near[0]!r}?"
    else:
        advice = f"known are {', '.join(known)}" if known else "none is known here"
    return Mistake(name[:_SHOWN], f"unknown name; {advice}", UNKNOWN_NAME)


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

    An index becomes text, which may also be a label: name classes by label to be safe. A group becomes a JSON list.
    """
    given: list[tuple[str, str]] = []
    for field in fields(Options):
        value = getattr(options, field.name)
        if value != field.default:
            texts = map(_target_text, value) if field.name == "target" else [_text(value)]
            given += [(field.name, text) for text in texts]
    return urlencode(given, safe=",")


def _mistake(detail: ErrorDetails, given: Mapping[str, Any]) -> Mistake:
    field = str(detail["loc"][0])
    return Mistake(field, detail["msg"], detail["type"], repr(given[field])[:80])


def _plain(value: Any) -> Any:  # noqa: ANN401 - an option's value
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


def _target_text(target: Target) -> str:
    return json.dumps(target) if isinstance(target, tuple) else str(target)


def _text(value: Any) -> str:  # noqa: ANN401 - an option's value
    if isinstance(value, tuple):  # kinds, or a window: at most nine decimals are read
        return ",".join(each if isinstance(each, str) else f"{each:.9f}" for each in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(_plain(value)) if isinstance(value, frozenset) else str(value)
