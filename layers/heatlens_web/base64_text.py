"""Decode base64 in the spellings that clients send."""

import base64
import re

from heatlens_web.errors import BadBase64

_DATA_URI = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)
_LONGEST_PREFIX = 206
_STANDARD = bytes.maketrans(b"-_", b"+/")
_LINE_BREAKS = b"\r\n\t"


def longest_base64(max_bytes: int) -> int:
    """Return the characters that the base64 of `max_bytes` may have: four for three, line breaks, and a prefix."""
    return max_bytes * 3 // 2 + _LONGEST_PREFIX


def decode_base64(text: str) -> bytes:
    """Decode base64 of the standard or the URL-safe alphabet, padded or not, with line breaks or a `data:` prefix.

    Raises:
        BadBase64: The text is something else.
    """
    try:
        return base64.b64decode(text, validate=True)  # as most send it: this copies nothing
    except ValueError:
        return _decode_other(text.strip())


def _decode_other(text: str) -> bytes:
    prefix = _DATA_URI.match(text)
    if prefix and not prefix[1].lower().endswith(";base64"):
        raise BadBase64("the image is a data: URI that is not base64: write data:image/png;base64,…")
    start = prefix.end() if prefix else 0
    digits = text[start:].encode("ascii", "replace").translate(_STANDARD, _LINE_BREAKS).rstrip(b"=")
    if b" " in digits:
        raise BadBase64("the image has spaces in its base64: write each as +, which a form turns into a space")
    if len(digits) % 4 == 1:
        raise BadBase64("the image is not base64, or its base64 is cut short")
    try:
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError as error:
        raise BadBase64("the image is not base64") from error
