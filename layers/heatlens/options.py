"""What Python, the command line or a row asks for -> `Options`; `types.py` says what each may be, for all doors."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from pydantic import TypeAdapter, ValidationError

from heatlens.errors import InvalidOption
from heatlens.types import Include, Options

_OPTIONS = TypeAdapter(Options)


class Wishes(TypedDict, total=False):
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


def read_options(wishes: Wishes, include: frozenset[Include]) -> Options:
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
        found = error.errors(include_url=False, include_context=False)
        detail = "; ".join(
            f"{each['loc'][0]} is {repr(given[str(each['loc'][0])])[:80]}: {each['msg']}" for each in found
        )
        errors: list[dict[str, object]] = [
            {"loc": ["query", *each["loc"]], "msg": each["msg"], "type": each["type"]} for each in found
        ]
        raise InvalidOption(detail, errors) from error
