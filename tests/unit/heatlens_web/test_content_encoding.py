import gzip
from collections.abc import AsyncIterator

import pytest

from heatlens_web.content_encoding import PIECE_BYTES, decoded
from heatlens_web.errors import MalformedBody, UnsupportedContentType
from tests.support.coroutines import awaited


def pieces(body: bytes, encoding: str, *, step: int = 10_000) -> list[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    async def read() -> list[bytes]:
        return [piece async for piece in decoded(chunks(), encoding)]

    return awaited(read())


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_gzip_of_one_or_several_members_is_inflated(step: int) -> None:
    data = bytes(range(256)) * 40

    assert b"".join(pieces(gzip.compress(data), "gzip", step=step)) == data
    assert b"".join(pieces(gzip.compress(data) + gzip.compress(b"more"), "gzip", step=step)) == data + b"more"
    assert pieces(b"", "gzip") == []


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_small_body_is_inflated_in_pieces(more: int) -> None:
    inflated = pieces(gzip.compress(bytes(3 * PIECE_BYTES + more)), "gzip")

    assert max(map(len, inflated)) == PIECE_BYTES
    assert sum(map(len, inflated)) == 3 * PIECE_BYTES + more


@pytest.mark.parametrize(
    "body", [b"text", gzip.compress(b"text", mtime=0)[:-1], gzip.compress(b"text", mtime=0) + b"more"]
)
def test_what_is_not_whole_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        pieces(body, "gzip")


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, br"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedContentType, match=encoding):
        pieces(b"", encoding)
