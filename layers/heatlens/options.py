"""What Python, the command line or a row asks for -> `Options`; `types.py` says what each may be, for all doors."""

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
    """Options by name, each as it is easiest to write; `Explainer.explain` says what they mean."""

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


def read_options(wishes: OptionArguments, include: frozenset[Include]) -> Options:
    """Options of a caller in Python or at the command line, where one target needs no list.

    Raises:
        InvalidOption: A value that cannot be.
    """
    target = wishes.get("target", ())
    targets = (target,) if isinstance(target, str | int) else tuple(target)
    return check_options({**wishes, "target": targets, "include": include})


def check_options(given: Mapping[str, Any]) -> Options:
    """Options by name; those that are not given are the defaults, and names that are not known are passed over.

    What needs a model is checked by `plan`: methods, layers and classes.

    Raises:
        InvalidOption: A value that cannot be.
    """
    try:
        return _OPTIONS.validate_python(dict(given))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise InvalidOption(*(_mistake(detail, given) for detail in details)) from error


def as_json(options: Options) -> dict[str, Any]:
    """Every option by name; sets as sorted lists, tuples as lists."""
    return {name: _plain(value) for name, value in asdict(options).items()}


def from_json(values: Mapping[str, Any]) -> Options:
    """What `as_json` made, here or in another version: names that are not known here are passed over.

    Raises:
        InvalidOption: A value cannot be; the one who wrote it may know values that this version does not.
    """
    return check_options(values)


def as_query(options: Options) -> str:
    """A query string with what differs from the defaults; the doors read it back as the same options.

    An index becomes a text, which a class's label may look like: name classes by their labels where that matters.
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
    if isinstance(value, tuple):  # a window, which is written with so many decimals at most
        return ",".join(f"{number:.9f}" for number in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(_plain(value)) if isinstance(value, frozenset) else str(value)
