from collections.abc import AsyncIterator

import pytest

from heatlens_cli.events.http_events import multipart
from heatlens_web.errors import MalformedBody, TooManyFiles
from heatlens_web.multipart import MAX_FIELD_BYTES, MAX_PREAMBLE_BYTES, Form, Part, read_form
from tests.support.coroutines import awaited


def read(body: bytes, content_type: str, *, step: int, max_parts: int = 10, max_part_bytes: int = 1000) -> list[Part]:
    return form_of(body, content_type, step=step, max_parts=max_parts, max_part_bytes=max_part_bytes).files


def form_of(body: bytes, content_type: str, *, step: int, max_parts: int = 10, max_part_bytes: int = 1000) -> Form:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    return awaited(read_form(chunks(), content_type, name="files", max_parts=max_parts, max_part_bytes=max_part_bytes))


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


@pytest.mark.parametrize("step", [1, 10_000])
def test_parts_of_other_names_are_fields_with_their_values(step: int) -> None:
    content_type, body = multipart("other", [("a", b"1"), ("", b"22")])

    form = form_of(body, content_type, step=step)

    assert form.files == []
    assert [(name, bytes(part.data)) for name, part in form.fields] == [("other", b"1"), ("other", b"22")]


@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_of_a_fields_value_is_exact(more: int) -> None:
    content_type, body = multipart("other", [("", bytes(MAX_FIELD_BYTES + more))])

    [(_, part)] = form_of(body, content_type, step=1000).fields

    assert (part.oversize, len(part.data)) == (bool(more), 0 if more else MAX_FIELD_BYTES)


@pytest.mark.parametrize("step", [1, 5, 10_000])
@pytest.mark.parametrize("before", [b"", b"text\r\n", b"--\n--o\n\r\n"])
def test_text_before_the_first_boundary_is_skipped_for_every_chunk_size(step: int, before: bytes) -> None:
    content_type, body = multipart("files", [("a", b"1")], boundary="one")

    [part] = read(before + body, content_type, step=step)

    assert bytes(part.data) == b"1"


@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_of_the_text_before_the_first_boundary(more: int) -> None:
    content_type, body = multipart("files", [("a", b"1")], boundary="one")
    before = bytes(MAX_PREAMBLE_BYTES - 2 + more) + b"\r\n"

    if more:
        with pytest.raises(MalformedBody, match="does not begin with the boundary"):
            read(before + body, content_type, step=len(before))
    else:
        assert len(read(before + body, content_type, step=len(before))) == 1


def test_a_part_without_a_name_is_refused() -> None:
    body = b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"

    with pytest.raises(MalformedBody, match="no name"):
        form_of(body, "multipart/form-data; boundary=x", step=10)
