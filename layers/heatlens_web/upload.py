"""Read a request's images, and the options beside them; every limit is enforced while the body is read."""

import codecs
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from heatlens.errors import FileTooLarge, HeatlensError
from heatlens.types import Upload
from heatlens_web.admission import admitted
from heatlens_web.base64_text import decode_base64, longest_base64
from heatlens_web.content_encoding import decoded
from heatlens_web.errors import BadBase64, BodyTooLarge, MalformedBody, TooManyFiles, UnsupportedContentType
from heatlens_web.multipart import MAX_FIELD_BYTES, Form, Part, read_form
from heatlens_web.problems import invalid
from heatlens_web.repeated import repeated_keys
from heatlens_web.schemas.bodies import ImageBody, ImagesBody, OneImage, SeveralImages
from heatlens_web.schemas.options import ModelOptions
from heatlens_web.settings import ServerLimits
from heatlens_web.text_options import read_text_options, unknown_details

UNNAMED = "unknown"
RAW = ("image/", "application/x-image", "application/dicom", "application/octet-stream")  # the second is SageMaker's
JSON = "application/json"
_KINDS_OF_JSON = re.compile(r"application/([^/]+\+)?json")
_URLENCODED = "application/x-www-form-urlencoded"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONGEST_LENGTH = 18  # digits of a content length that is still worth reading as a number


@dataclass(frozen=True, slots=True)
class Received:
    """What a request holds: for each file its upload or error and its name, and the options beside them."""

    filenames: list[str]
    uploads: list[Upload | HeatlensError]
    options: ModelOptions | None = None


async def receive_one(
    request: Request, limits: ServerLimits, *, body: type[OneImage], raw: tuple[str, ...] = RAW
) -> Received:
    """Read a request with one image: field `file`, a JSON `image_base64`, or the image as the body.

    Args:
        request: The request; its body is not read yet.
        limits: The server's.
        body: Schema of a JSON body.
        raw: Prefixes of the content types whose body is the image itself.

    Raises:
        HeatlensError: The body, its type or its only image cannot be used.
    """
    received = await _receive(request, body, field="file", max_files=1, limits=limits, raw=raw)
    if isinstance(error := received.uploads[0], HeatlensError):
        raise error
    return received


async def receive_many(request: Request, limits: ServerLimits, *, body: type[SeveralImages]) -> Received:
    """Read a request with several images: field `files` repeated, JSON `images`, or one image as the body.

    Raises:
        HeatlensError: The body or its type cannot be used; a file that cannot be used is an error in its own place.
    """
    return await _receive(request, body, field="files", max_files=limits.files, limits=limits)


async def receive_json(request: Request, limits: ServerLimits, *, body: type[ImagesBody]) -> Received:
    """Read a request whose body must be JSON.

    Raises:
        HeatlensError: The body or its type cannot be used; an image that cannot be used is an error in its own place.
    """
    check_json(request)
    return await _receive(request, body, field="instances", max_files=limits.files, limits=limits)


async def _receive(
    request: Request,
    body: type[ImagesBody],
    *,
    field: str,
    max_files: int,
    limits: ServerLimits,
    raw: tuple[str, ...] = RAW,
) -> Received:
    content_type, kind = request.headers.get("content-type", ""), media_type(request)
    # Files over their limit are dropped as they arrive; JSON is kept whole.
    whole = is_json(kind) and max_files == 1
    most = limits.image_body_bytes if whole else limits.body_bytes
    chunks = read_limited(request, most, inflated_bytes=limits.image_body_bytes)
    if kind == "multipart/form-data":
        form = await read_form(chunks, content_type, name=field, max_parts=max_files, max_part_bytes=limits.file_bytes)
        return await run_in_threadpool(_from_form, form, field, limits, body.options)
    if is_json(kind):
        text = await read_json(chunks)
        return await run_in_threadpool(_from_json, text, body, max_files, limits)
    if not kind or kind.startswith(raw):
        part = await _whole(chunks, limits)
        empty = not kind and not part.data and not part.oversize
        return await run_in_threadpool(_from_parts, [] if empty else [part], field, limits)
    raise UnsupportedContentType(_advice(kind, field))


def _advice(kind: str, field: str) -> str:
    if kind == _URLENCODED:
        return (
            f"{kind} has no place for an image (curl's --data-binary sends it): send the form field {field!r} (curl "
            "-F), or name the image's own type in Content-Type"
        )
    return "send multipart/form-data, application/json or an image as the body"


def is_json(kind: str) -> bool:
    """Return whether a media type is JSON's, or that of a format in JSON (`application/…+json`)."""
    return _KINDS_OF_JSON.fullmatch(kind) is not None


def check_json(request: Request) -> None:
    """Check that the content type is JSON's.

    Raises:
        UnsupportedContentType: It is another.
    """
    if not is_json(media_type(request)):
        raise UnsupportedContentType(f"send {JSON}")


async def read_json(chunks: AsyncIterator[bytes]) -> bytearray:
    """Read a body of JSON, without its byte-order mark.

    Raises:
        MalformedBody: It is in UTF-16.
    """
    text = bytearray()  # which grows in place: joined chunks would be in memory twice
    async for chunk in chunks:
        text += chunk
    if text.startswith(codecs.BOM_UTF8):
        del text[: len(codecs.BOM_UTF8)]
    if text.startswith(_UTF_16) or b"\0" in text[:2]:
        raise MalformedBody("the JSON is in UTF-16: send it in UTF-8")
    return text


def media_type(request: Request) -> str:
    """Return the content type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_limited(request: Request, max_bytes: int, *, inflated_bytes: int | None = None) -> AsyncIterator[bytes]:
    """Yield the body in chunks, without its `Content-Encoding`.

    Args:
        request: The request; its body is not read yet.
        max_bytes: Limit of the body.
        inflated_bytes: Limit of a body with an encoding once it is inflated, where that is lower: a thousandth of it
            may have been sent.

    Raises:
        BodyTooLarge: The body has more than `max_bytes`, by its header, as it arrives, or once it is inflated.
        UnsupportedContentType: The encoding is not supported.
        MalformedBody: The client disconnected before the end, or the body is not in the encoding that it names.
        Busy: All requests together would hold too many bytes.
    """
    too_large = BodyTooLarge(f"the request body is over the limit of {max_bytes:,} bytes")
    if _declares_more(request, max_bytes):
        raise too_large
    encoding = ", ".join(request.headers.getlist("content-encoding"))
    held = admitted(request.scope)
    arriving = _limited(request.stream(), max_bytes, too_large)
    chunks = decoded(arriving, encoding)
    if chunks is not arriving and inflated_bytes is not None and inflated_bytes < max_bytes:
        max_bytes = inflated_bytes
        too_large = BodyTooLarge(f"the compressed body inflates to more than {max_bytes:,} bytes: send it uncompressed")
    try:
        async for chunk in _limited(chunks, max_bytes, too_large):
            if held:
                held.receive(len(chunk))
            yield chunk
    except ClientDisconnect as error:
        raise MalformedBody("the client disconnected before the end of the body") from error


def _declares_more(request: Request, max_bytes: int) -> bool:
    declared = request.headers.get("content-length", "")
    return declared.isdecimal() and (len(declared) > _LONGEST_LENGTH or int(declared) > max_bytes)


async def _limited(chunks: AsyncIterator[bytes], max_bytes: int, error: BodyTooLarge) -> AsyncIterator[bytes]:
    seen = 0
    async for chunk in chunks:
        seen += len(chunk)
        if seen > max_bytes:
            raise error
        yield chunk


async def _whole(chunks: AsyncIterator[bytes], limits: ServerLimits) -> Part:
    part = Part(None, limits.file_bytes)
    async for chunk in chunks:  # also those of a part over the limit: clients read the response only after sending all
        part.add(chunk)
    return part


def _from_form(form: Form, field: str, limits: ServerLimits, options: type[ModelOptions]) -> Received:
    known = [field, *options.model_fields]
    if unknown := unknown_details([name for name, _ in form.fields], known, place=("body",)):
        raise invalid([*([] if form.files else [_missing(field)]), *unknown])
    pairs = [(name, _text(name, part)) for name, part in form.fields]
    return replace(_from_parts(form.files, field, limits), options=read_text_options(options, pairs, place=("body",)))


def _text(name: str, part: Part) -> str:
    if part.oversize:
        message = f"more than {MAX_FIELD_BYTES:,} bytes"
        raise invalid([{"loc": ["body", name], "msg": message, "type": "string_too_long"}])
    return part.content().decode("utf-8", "replace")


def _from_parts(parts: Sequence[Part], field: str, limits: ServerLimits) -> Received:
    if not parts:
        raise invalid([_missing(field)])
    names = [part.filename or UNNAMED for part in parts]
    return Received(names, [_upload(name, part, limits) for name, part in zip(names, parts, strict=True)])


def _upload(name: str, part: Part, limits: ServerLimits) -> Upload | HeatlensError:
    try:
        return _too_large(limits) if part.oversize else _within(limits, Upload(name, part.content()))
    except BadBase64 as error:
        return error


def _within(limits: ServerLimits, upload: Upload) -> Upload | HeatlensError:
    return _too_large(limits) if len(upload.data) > limits.file_bytes else upload


def _from_json(raw: bytearray, body: type[ImagesBody], max_files: int, limits: ServerLimits) -> Received:
    try:
        parsed = body.model_validate_json(raw, strict=True)  # JSON has numbers and booleans; a query has only text
    except ValidationError as error:
        raise _invalid_json(error) from error
    if repeated := repeated_keys(raw, place=("body",)):
        raise invalid(repeated)
    images = parsed.listed()
    if len(images) > max_files:
        raise TooManyFiles(f"more than {max_files} images: send fewer at a time")
    names = [image.filename or UNNAMED for image in images]
    uploads = [_decoded(name, image, limits) for name, image in zip(names, images, strict=True)]
    return Received(names, uploads, parsed)


def _decoded(name: str, image: ImageBody, limits: ServerLimits) -> Upload | HeatlensError:
    if len(image.image_base64) > longest_base64(limits.file_bytes):
        return _too_large(limits)
    try:
        return _within(limits, Upload(name, decode_base64(image.image_base64)))
    except BadBase64 as error:
        return error


def _invalid_json(error: ValidationError) -> HeatlensError:
    details = error.errors(include_url=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        return MalformedBody("the body is not JSON")
    return invalid([dict(detail) | {"loc": ["body", *detail["loc"]]} for detail in details])


def _missing(field: str) -> dict[str, Any]:
    return {"loc": ["body", field], "msg": "Field required", "type": "missing"}


def _too_large(limits: ServerLimits) -> FileTooLarge:
    return FileTooLarge(f"the file is over the limit of {limits.file_bytes:,} bytes per file")
