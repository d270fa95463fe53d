"""Read from the `Accept` header what the response is: JSON, the overlay itself, or DICOM objects."""

from dataclasses import replace

from heatlens.render.encode import MEDIA_TYPES
from heatlens.types import Format, Options
from heatlens_web.errors import NotAcceptable
from heatlens_web.related import DICOM, RELATED
from heatlens_web.schemas.options import CAPTURE
from heatlens_web.upload import JSON

ANY_PICTURE = "image/*"
_PICTURES: dict[str, Format] = {media_type: form for form, media_type in MEDIA_TYPES.items()} | {"image/jpg": "jpeg"}
_ANYTHING = (JSON, "application/*", "*/*")
_SERVED = (*_ANYTHING, *_PICTURES, ANY_PICTURE, DICOM, RELATED)
_TRANSFER_SYNTAXES = ("", "*", "1.2.840.10008.1.2.1")  # Explicit VR Little Endian, the standard's default


def preferred_type(accept: str) -> str:
    """Return the type of response that an `Accept` header prefers; JSON where it names none that is served."""
    known = [(weight, media) for weight, media in map(_range, accept.split(",")) if media in _SERVED and weight > 0]
    _, best = max(known, key=lambda each: each[0], default=(0.0, JSON))
    return JSON if best in _ANYTHING else best


def picture_format(accept: str, form: Format) -> Format | None:
    """Return the format in which an `Accept` header asks for the overlay itself; `image/*` means the option `format`.

    Returns:
        `None` where it prefers another type.
    """
    return (_PICTURES | {ANY_PICTURE: form}).get(preferred_type(accept))


def options_of(options: Options, *, accept: str) -> Options:
    """Return the options of a response that is the overlay or DICOM objects, where `Accept` asks, else those given."""
    if form := picture_format(accept, options.format):
        return replace(options, include=frozenset({"overlay"}), format=form, dicom=())
    if preferred_type(accept) in (DICOM, RELATED):
        return replace(options, include=frozenset(), format="png", dicom=options.dicom or CAPTURE)
    return options


def check_accept(accept: str) -> None:
    """Check that an `Accept` header allows a response; an empty one allows all.

    Raises:
        NotAcceptable: It does not.
    """
    ranges = [_range(part) for part in accept.split(",")] if accept.strip() else []
    if ranges and not any(weight > 0 and media in _SERVED for weight, media in ranges):
        served = ", ".join(media for media in _SERVED if "*" not in media)
        raise NotAcceptable(f"the Accept header allows none of the types of a response: {served}")


def _range(part: str) -> tuple[float, str]:
    """Return weight and type of a range; its weight is 0 where its parameters ask for what is not served."""
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    values = {name.strip(): value.strip().strip('"') for name, _, value in (each.partition("=") for each in parameters)}
    other = media == RELATED and values.get("type", DICOM) != DICOM
    if other or (media in (DICOM, RELATED) and values.get("transfer-syntax", "") not in _TRANSFER_SYNTAXES):
        return 0.0, media
    try:
        return float(values.get("q", "1")), media
    except ValueError:
        return 0.0, media
