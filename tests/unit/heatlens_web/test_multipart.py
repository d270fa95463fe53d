from collections.abc import AsyncIterator

import pytest

from heatlens_cli.events.http_events import multipart
from heatlens_web.errors import TooManyFiles
from heatlens_web.multipart import Part, read_parts
from tests.support.coroutines import awaited


def read(body: bytes, content_type: str, *, step: int, max_parts: int = 10, max_part_bytes: int = 1000) -> list[Part]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    return awaited(read_parts(chunks(), content_type, name="files", max_parts=max_parts, max_part_bytes=max_part_bytes))


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
def test_parts_are_the_same_for_every_chunk_size(step: int) -> None:
    content_type, body = multipart("files", [("a.png", bytes(range(256))), ('b "x".png', b"\r\n--"), ("", b"")])

    parts = read(body, content_type, step=step)

    assert [(part.filename, bytes(part.data)) for part in parts] == [
        ("a.png", bytes(range(256))),
        ('b "x".png', b"\r\n--"),
        (None, b""),
    ]


@pytest.mark.parametrize("step", [3, 10_000])
def test_drops_a_part_over_its_limit_while_reading(step: int) -> None:
    content_type, body = multipart("files", [("big", bytes(101)), ("fits", bytes(100))])

    big, fits = read(body, content_type, step=step, max_part_bytes=100)

    assert (big.oversize, len(big.data)) == (True, 0)
    assert (fits.oversize, len(fits.data)) == (False, 100)


def test_rejects_one_part_too_many_before_reading_it() -> None:
    content_type, body = multipart("files", [("a", b"1"), ("b", b"2"), ("c", b"3")])

    with pytest.raises(TooManyFiles, match="more than 2 in the field 'files'"):
        read(body, content_type, step=10, max_parts=2)


def test_skips_parts_of_other_names() -> None:
    content_type, body = multipart("other", [("a", b"1")])

    assert read(body, content_type, step=10) == []
