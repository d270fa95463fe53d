"""Bodies of several DICOM objects, read by a parser of another making."""

from email.parser import BytesParser
from email.policy import HTTP

from heatlens_web.related import related

OBJECTS = [b"", b"\r\n--\r\n", bytes(range(256)) * 3]


def parts(body: bytes, content_type: str) -> list[tuple[str, bytes]]:
    """Return type and content of each part, as Python's own parser reads them."""
    message = BytesParser(policy=HTTP).parsebytes(f"content-type: {content_type}\r\n\r\n".encode() + body)
    assert message.is_multipart()
    return [(part.get_content_type(), part.get_payload(decode=True)) for part in message.iter_parts()]  # type: ignore[misc]


def test_each_object_is_a_part_with_its_bytes() -> None:
    body, content_type = related(OBJECTS)

    assert parts(body, content_type) == [("application/dicom", each) for each in OBJECTS]
    assert content_type.startswith('multipart/related; type="application/dicom"; boundary=')


def test_boundaries_are_never_the_same() -> None:
    assert related(OBJECTS)[1] != related(OBJECTS)[1]
