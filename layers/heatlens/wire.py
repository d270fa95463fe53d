"""Options <-> what a table's row or a header keeps of them on the way: plain JSON values, or a query string."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any
from urllib.parse import urlencode

from pydantic import TypeAdapter, ValidationError

from heatlens.errors import InvalidOption
from heatlens.types import Options

_OPTIONS = TypeAdapter(Options)


def as_json(options: Options) -> dict[str, Any]:
    """Every option by name; sets as sorted lists, tuples as lists."""
    return {name: _plain(value) for name, value in asdict(options).items()}


def from_json(values: Mapping[str, Any]) -> Options:
    """What `as_json` made, here or in another version: names that are not known here are passed over.

    Raises:
        InvalidOption: A value cannot be; the one who wrote it may know values that this version does not.
    """
    try:
        return _OPTIONS.validate_python(dict(values))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        wrong: list[dict[str, object]] = [
            {"loc": ["query", *each["loc"]], "msg": each["msg"], "type": each["type"]} for each in found[:1]
        ]
        raise InvalidOption(f"{found[0]['loc'][0]}: {found[0]['msg']}", wrong) from error


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


def _plain(value: Any) -> Any:  # noqa: ANN401 - an option's value
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:  # noqa: ANN401 - an option's value
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(_plain(value)) if isinstance(value, frozenset) else str(value)
