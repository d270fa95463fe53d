"""Read options that are written as text: in a query, in form fields, or in a header."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from pydantic import ValidationError

from heatlens.options import unknown_name
from heatlens_web.problems import MAX_ERRORS, invalid
from heatlens_web.repeated import repeated_details
from heatlens_web.schemas.options import LISTS, ModelOptions

Options = TypeVar("Options", bound=ModelOptions)

# Names that others read or add, none of which could be a misspelled option: signatures and tokens that a gateway or its
# authorizer checks, and what browsers' libraries add against caches and to follow visitors.
HARMLESS = re.compile(r"x-amz-.*|(access_|id_)?token|api_?key|utm_.*|_", re.IGNORECASE | re.DOTALL)


async def known_query(request: Request) -> None:
    """Check that the address takes every parameter of the query, and that each stands once; for `Depends`.

    Raises:
        InvalidRequest: It does not take one, or one that is no list stands twice.
    """
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    taken = [field.alias for field in get_flat_params(route.dependant) if field.alias not in request.path_params]
    check_names(request.query_params, taken, place=("query",))
    given = [name for name, _ in request.query_params.multi_items() if name in taken]
    if details := repeated_details(given, LISTS, place=("query",)):
        raise invalid(details)


def check_names(names: Iterable[str], known: Collection[str], *, place: tuple[str, ...]) -> None:
    """Check names against the known ones.

    Raises:
        InvalidRequest: `unknown_details` finds some.
    """
    if details := unknown_details(names, known, place=place):
        raise invalid(details)


def unknown_details(names: Iterable[str], known: Collection[str], *, place: tuple[str, ...]) -> list[dict[str, Any]]:
    """Describe unknown names as validation errors, each with the nearest known one; harmless names are none."""
    unknown = [name for name in names if name not in known and not HARMLESS.fullmatch(name)]
    mistakes = [unknown_name(name, known) for name in unknown[:MAX_ERRORS]]
    return [{"loc": place, "msg": each.message, "type": each.kind, "ctx": {"name": each.field}} for each in mistakes]


def read_text_options(model: type[Options], pairs: Iterable[tuple[str, str]], *, place: tuple[str, ...]) -> Options:
    """Read options from names and texts, as a query is read: only lists may stand several times.

    Args:
        model: The options that there are.
        pairs: Name and text of each, in order.
        place: Where they stood, as an error is located.

    Raises:
        InvalidRequest: A name is not that of an option or stands twice, or a value is invalid.
    """
    texts: dict[str, list[str]] = defaultdict(list)
    for name, text in pairs:
        texts[name].append(text)
    check_names(texts, model.model_fields, place=place)
    several_times = [name for name, values in texts.items() for _ in values if name in model.model_fields]
    if repeated := repeated_details(several_times, LISTS, place=place):
        raise invalid(repeated)
    given = {name: several if name in LISTS else several[-1] for name, several in texts.items()}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise invalid([{**detail, "loc": [*place, *detail["loc"]]} for detail in details]) from error
