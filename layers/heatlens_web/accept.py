"""Read from the `Accept` header whether the overlay itself is wanted, and in which format."""

from dataclasses import replace

from heatlens.render.encode import MEDIA_TYPES
from heatlens.types import Format, Options
from heatlens_web.errors import NotAcceptable
from heatlens_web.upload import JSON

_ANSWERS: dict[str, Format | None] = dict.fromkeys([JSON, "application/*", "*/*"])
_ANSWERS |= {media_type: form for form, media_type in MEDIA_TYPES.items()} | {"image/jpg": "jpeg"}


def picture_format(accept: str, form: Format) -> Format | None:
    """Return the format in which an `Accept` header asks for the overlay itself; `image/*` means the option `format`.

    Returns:
        `None` where it prefers JSON, or a type that is not served.
    """
    answers = _ANSWERS | {"image/*": form}
    ranges = [_range(part) for part in accept.split(",")]
    known = [(weight, media) for weight, media in ranges if media in answers and weight > 0]
    _, best = max(known, key=lambda each: each[0], default=(0.0, JSON))
    return answers[best]


def picture_options(options: Options, *, accept: str) -> Options:
    """Return the options of a response that is the overlay itself where `Accept` asks for it, else those given."""
    form = picture_format(accept, options.format)
    return replace(options, include=frozenset({"overlay"}), format=form) if form else options


def check_accept(accept: str) -> None:
    """Check that an `Accept` header allows a response; an empty one allows all.

    Raises:
        NotAcceptable: It does not.
    """
    ranges = [_range(part) for part in accept.split(",")] if accept.strip() else []
    if ranges and not any(weight > 0 and media in {*_ANSWERS, "image/*"} for weight, media in ranges):
        served = ", ".join(media for media in _ANSWERS if "*" not in media)
        raise NotAcceptable(f"the Accept header allows none of the types of a response: {served}")


def _range(part: str) -> tuple[float, str]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((value[2:] for value in parameters if value.startswith("q=")), "1")
    try:
        return float(weight), media
    except ValueError:
        return 0.0, media
