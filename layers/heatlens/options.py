"""What a caller from Python or the command line wishes -> `Options`, as the HTTP doors read them from a request."""

from collections.abc import Sequence
from typing import TypedDict, get_args

from heatlens.errors import InvalidOption
from heatlens.types import Colormap, Include, Options

ALPHA = (0.1, 0.9)
_DEFAULT = Options()


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


def read_options(wishes: Wishes, include: frozenset[Include]) -> Options:
    """Check what no model is needed for; `plan` checks method, layer and classes.

    Raises:
        InvalidOption: An unknown colormap, or a weight out of range.
    """
    given = dict(wishes)
    known = get_args(Colormap)
    if (colormap := wishes.get("colormap", _DEFAULT.colormap)) not in known:
        raise InvalidOption(f"unknown colormap {colormap!r}: one of {', '.join(known)}", [])
    least, most = ALPHA
    if not least <= (alpha := wishes.get("alpha", _DEFAULT.alpha)) <= most:
        raise InvalidOption(f"alpha is {alpha}: it must lie between {least} and {most}", [])
    target = wishes.get("target", ())
    given["target"] = (target,) if isinstance(target, str | int) else tuple(target)
    return Options(include=include, **given)  # type: ignore[arg-type]  # the names are those of `Wishes`
