"""Undo a request's `Content-Encoding` in a stream of chunks."""

import asyncio
import zlib
from collections.abc import AsyncIterator

from heatlens_web.errors import MalformedBody, UnsupportedContentType

PIECE_BYTES = 1024 * 1024  # inflated at once: what one small chunk inflates to may be a thousand times its size
_GZIP = zlib.MAX_WBITS | 16  # with a gzip header


def decoded(chunks: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """Return the chunks of a body without its encoding, in pieces of `PIECE_BYTES` at most.

    Args:
        chunks: As they arrive.
        encoding: The header `Content-Encoding`; empty where there is none.

    Raises:
        UnsupportedContentType: The encoding is neither gzip nor none.
        MalformedBody: While reading: the chunks are not gzip, or end early.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return chunks
        case "gzip" | "x-gzip":
            return _inflated(chunks)
        case other:
            message = f"the Content-Encoding {other[:40]!r} is not supported: send the body as it is, or with gzip"
            raise UnsupportedContentType(message)


async def _inflated(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    inflater, begun = zlib.decompressobj(_GZIP), False
    async for chunk in chunks:
        data, piece = chunk, b""
        while data or (len(piece) == PIECE_BYTES and not inflater.eof):
            if inflater.eof:  # members of a gzip file follow each other
                inflater = zlib.decompressobj(_GZIP)
            begun = True
            try:
                piece = inflater.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise MalformedBody("the body is not gzip, which its Content-Encoding says it is") from error
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            yield piece
            await asyncio.sleep(0)  # other requests have their turn
    if begun and not inflater.eof:
        raise MalformedBody("the gzip body ends early")
