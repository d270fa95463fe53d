"""Read the parts of one multipart/form-data field from a stream, with every limit enforced while reading.

Starlette's own parser spools files to disk, has no limit on a file's size, and takes a part without a filename for
text; here every part of the field is a file, and stays in memory.
"""

from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from heatlens_web.errors import MalformedBody, TooManyFiles

if TYPE_CHECKING:  # the library defines it for type checkers only
    from python_multipart.multipart import MultipartCallbacks

MAX_OTHER_PARTS = 100  # parts of other names are skipped; a body with more of them is refused


@dataclass(slots=True)
class Part:
    """One file as sent; `oversize` means that `data` was dropped because it is over the limit."""

    filename: str | None
    data: bytearray = field(default_factory=bytearray)
    oversize: bool = False


async def read_parts(
    chunks: AsyncIterable[bytes], content_type: str, *, name: str, max_parts: int, max_part_bytes: int
) -> list[Part]:
    """Read the parts called `name`, in order.

    Raises:
        MalformedBody: No boundary, broken syntax, or the body ends before its closing boundary.
        TooManyFiles: More than `max_parts` of them.
    """
    collector = _Collector(name, max_parts=max_parts, max_part_bytes=max_part_bytes)
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedBody("the multipart content type names no boundary")
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        async for chunk in chunks:
            parser.write(chunk)
    except FormParserError as error:
        raise MalformedBody("the body is not valid multipart/form-data") from error
    if not collector.ended:
        raise MalformedBody("the multipart body ends before its closing boundary")
    return collector.parts


class _Collector:
    """Callbacks of the streaming parser, and the parts that they have collected."""

    def __init__(self, name: str, *, max_parts: int, max_part_bytes: int) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._name = name
        self._max_parts = max_parts
        self._max_part_bytes = max_part_bytes
        self._others = 0
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._part: Part | None = None

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._part, self._disposition = None, b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name", b"").decode("utf-8", "replace") != self._name:
            self._others += 1
            if self._others > MAX_OTHER_PARTS:
                raise MalformedBody(f"more than {MAX_OTHER_PARTS} parts are not called {self._name!r}")
            return
        if len(self.parts) == self._max_parts:
            raise TooManyFiles(f"more than {self._max_parts} in the field {self._name!r}: send fewer at a time")
        filename = options.get(b"filename")
        self._part = Part(filename.decode("utf-8", "replace") if filename else None)
        self.parts.append(self._part)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part is None or part.oversize:
            return
        if len(part.data) + end - start > self._max_part_bytes:
            part.oversize = True
            part.data = bytearray()
            return
        part.data += data[start:end]

    def _on_end(self) -> None:
        self.ended = True
