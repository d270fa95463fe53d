"""Check a JPEG 2000 before it is opened: its decoder allocates memory for all tiles with the header."""

import struct

from heatlens.errors import UnreadableImage

_START_OF_CODESTREAM = b"\xff\x4f\xff\x51"  # and of its size segment (ISO 15444-1 A.5.1)
_SIZE_SEGMENT = struct.Struct(">8L")
_MAX_TILES = 4096  # of 256 x 256 pixels: more than the largest image


def check_tiles(file: bytes) -> None:
    """Refuse a file of more tiles than any real picture.

    Raises:
        UnreadableImage: It has more, or no codestream.
    """
    try:
        right, bottom, _, _, width, height, left, top = _SIZE_SEGMENT.unpack_from(
            file, file.index(_START_OF_CODESTREAM) + 8
        )
        tiles = -(-(right - left) // width) * -(-(bottom - top) // height)
    except (ValueError, ArithmeticError, struct.error) as error:
        raise UnreadableImage("the JPEG 2000 image is damaged: it does not say its size") from error
    if tiles > _MAX_TILES:
        raise UnreadableImage(f"the JPEG 2000 image has more than {_MAX_TILES:,} tiles, which no picture needs")
