"""Read the files and fields of multipart/form-data from a stream, with every limit enforced while reading.

Starlette's own parser spools files to disk, has no limit on a file's size, and takes a part without a filename for
text; here every part of one name is a file, every other one a field, and all stay in memory.
"""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from heatlens_web.base64_text import decode_base64, longest_base64
from heatlens_web.errors import MalformedBody, TooManyFiles

if TYPE_CHECKING:  # the library defines it for type checkers only
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELDS = 100  # a body with more is refused
MAX_PREAMBLE_BYTES = 64 * 1024  # before the first boundary
MAX_FIELD_BYTES = 4096  # of a field's value: a class's label is the longest


@dataclass(slots=True)
class Part:
    """One part as sent; `oversize` means that `data` was dropped because it is over `max_bytes`."""

    filename: str | None
    max_bytes: int
    is_base64: bool = False
    data: bytearray = field(default_factory=bytearray)
    oversize: bool = False

    def add(self, data: bytes) -> None:
        """Append data, or drop all of it where that is over the limit."""
        most = longest_base64(self.max_bytes) if self.is_base64 else self.max_bytes
        self.oversize = self.oversize or len(self.data) + len(data) > most
        if self.oversize:
            self.data = bytearray()
        else:
            self.data += data

    def content(self) -> bytes:
        """Return the data without its transfer encoding.

        Raises:
            BadBase64: It is not the base64 that its header says it is.
        """
        return decode_base64(self.data.decode("ascii", "replace")) if self.is_base64 else bytes(self.data)


@dataclass(frozen=True, slots=True)
class Form:
    """The files, and the parts of other names with their names, both in their order."""

    files: list[Part] = field(default_factory=list)
    fields: list[tuple[str, Part]] = field(default_factory=list)


async def read_form(
    chunks: AsyncIterable[bytes], content_type: str, *, name: str, max_parts: int, max_part_bytes: int
) -> Form:
    """Read the parts called `name` as files, and all others as fields.

    Raises:
        MalformedBody: No boundary, broken syntax, a part without a name or in an unknown encoding, too many fields, or
            the body ends before its closing boundary.
        TooManyFiles: More than `max_parts` files.
    """
    collector = _Collector(name, max_parts=max_parts, max_part_bytes=max_part_bytes)
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedBody("the multipart content type names no boundary")
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        async for chunk in _from_first_boundary(chunks, b"--" + boundary):
            parser.write(chunk)
    except FormParserError as error:
        raise MalformedBody("the body is not valid multipart/form-data") from error
    if not collector.ended:
        raise MalformedBody("the multipart body ends before its closing boundary")
    return collector.form


async def _from_first_boundary(chunks: AsyncIterable[bytes], delimiter: bytes) -> AsyncIterator[bytes]:
    """Yield the body from its first boundary on: text may stand before it, which the parser does not read.

    Raises:
        MalformedBody: There is no boundary at the start of a line, or its line ends with LF alone.
    """
    head, found = bytearray(), False
    async for chunk in chunks:
        if found:
            yield chunk
            continue
        head += chunk
        start = 0 if head.startswith(delimiter) else head.find(b"\n" + delimiter) + 1
        found = head.startswith(delimiter, start) and len(head) > start + len(delimiter)
        if found:
            if head[start + len(delimiter)] == ord("\n"):
                raise MalformedBody("the lines of the multipart body end with LF alone: end them with CRLF")
            yield bytes(head[start:])
        elif len(head) > MAX_PREAMBLE_BYTES:
            break
    if head and not found:
        raise MalformedBody("the multipart body does not begin with the boundary that its content type names")


class _Collector:
    """Callbacks of the streaming parser, and the form that they have collected."""

    def __init__(self, name: str, *, max_parts: int, max_part_bytes: int) -> None:
        self.form = Form()
        self.ended = False
        self._name = name
        self._max_parts = max_parts
        self._max_part_bytes = max_part_bytes
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
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
        self._part, self._headers = None, {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header.lower())] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name, filename = (options.get(key, b"").decode("utf-8", "replace") for key in (b"name", b"filename"))
        if not name:
            raise MalformedBody("a part of the multipart body has no name in its Content-Disposition")
        self._part = self._file(filename or None) if name == self._name else self._field(name)
        self._part.is_base64 = self._encoding() == "base64"

    def _encoding(self) -> str:
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").decode("ascii", "replace").strip().lower()
        if encoding not in ("7bit", "8bit", "binary", "base64"):
            message = f"a part has the Content-Transfer-Encoding {encoding[:40]!r}: send it as it is, or in base64"
            raise MalformedBody(message)
        return encoding

    def _file(self, filename: str | None) -> Part:
        if len(self.form.files) == self._max_parts:
            raise TooManyFiles(f"more than {self._max_parts} in the field {self._name!r}: send fewer at a time")
        part = Part(filename, self._max_part_bytes)
        self.form.files.append(part)
        return part

    def _field(self, name: str) -> Part:
        if len(self.form.fields) == MAX_FIELDS:
            raise MalformedBody(f"more than {MAX_FIELDS} parts are not called {self._name!r}")
        part = Part(None, MAX_FIELD_BYTES)
        self.form.fields.append((name, part))
        return part

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None, "its headers are finished"
        self._part.add(data[start:end])

    def _on_end(self) -> None:
        self.ended = True
