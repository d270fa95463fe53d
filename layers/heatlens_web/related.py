"""Write DICOM objects as a body: one alone, or several as `multipart/related`, as DICOMweb answers (PS3.18 8.7.1)."""

import secrets
from collections.abc import Sequence

DICOM, RELATED = "application/dicom", "multipart/related"


def related(objects: Sequence[bytes]) -> tuple[bytes, str]:
    """Join DICOM objects, each a part of its own.

    Returns:
        The body, and its media type with the boundary.
    """
    boundary = secrets.token_hex(16)  # which no object can have in it but by the rarest accident
    head = f"\r\n--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
    body = b"".join([*(piece for each in objects for piece in (head, each)), f"\r\n--{boundary}--\r\n".encode()])
    return body.removeprefix(b"\r\n"), f'{RELATED}; type="{DICOM}"; boundary={boundary}'
