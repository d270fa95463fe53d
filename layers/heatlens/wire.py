"""Options <-> what a table's row or a header keeps of them on the way: plain JSON values, or a query string."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any
from urllib.parse import urlencode

from heatlens.options import check_options
from heatlens.types import Options


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
