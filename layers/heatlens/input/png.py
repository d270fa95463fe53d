"""Leave only what the pixels of a PNG need, so that damaged or huge metadata does not fail the image."""

import struct
import zlib

from heatlens.errors import UnreadableImage

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">I4s")  # a chunk's length and type, before its body; its checksum follows
_CHECKED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})  # tRNS is ancillary, and changes pixels
_KEPT = frozenset({b"eXIf", b"acTL", b"fcTL", b"fdAT"})  # orientation and animation, if they are whole


def without_metadata(png: bytes) -> bytes:
    """Drop text, profiles and all other ancillary chunks, of any size and with any checksum.

    Returns:
        The file with its pixels, orientation and animation; a file that ends early ends as it did.

    Raises:
        UnreadableImage: A chunk that the pixels need has another checksum than its bytes.
    """
    kept, at = [_SIGNATURE], len(_SIGNATURE)
    while at + _HEADER.size <= len(png):
        length, kind = _HEADER.unpack_from(png, at)
        stop = at + _HEADER.size + length + 4
        if stop > len(png):
            break
        whole = zlib.crc32(png[at + 4 : stop - 4]) == int.from_bytes(png[stop - 4 : stop])
        if not whole and (kind in _CHECKED or kind[:1].isupper()):
            raise UnreadableImage("the PNG image is damaged: a part of its pixels has another checksum than its bytes")
        if kind in _CHECKED or kind[:1].isupper() or (whole and kind in _KEPT):
            kept.append(png[at:stop])
        at = stop
        if kind == b"IEND":
            return b"".join(kept)
    return b"".join([*kept, png[at:]])
