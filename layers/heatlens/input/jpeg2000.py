"""Check a JPEG 2000 before it is opened: its decoder allocates memory for all tiles and precincts with the header."""

import struct

from heatlens.errors import UnreadableImage

START_OF_CODESTREAM = b"\xff\x4f\xff\x51"  # and of its size segment (ISO 15444-1 A.5.1)
_SIZE_SEGMENT = struct.Struct(">8LH")
_SIZE_AT = 8  # of the segment's values, from the start of the codestream
_CODING, _COMPONENT_CODING, _TILE_PART = 0xFF52, 0xFF53, 0xFF90
_MAX_TILES = 4096  # of 256 x 256 pixels: more than the largest image
_MAX_PRECINCTS = 100_000  # five times as many as 100 megapixels of color have of 128 x 128
_MAX_PACKETS = 2_000_000  # a precinct of one layer: the decoder's unit of work


def check_tiles(file: bytes) -> None:
    """Refuse a file of more tiles, precincts or layers than any real picture; a header of one tile is not read.

    Raises:
        UnreadableImage: It has more, or no codestream.
    """
    try:
        stream = file[file.index(START_OF_CODESTREAM) :]
        right, bottom, _, _, width, height, left, top, components = _SIZE_SEGMENT.unpack_from(stream, _SIZE_AT)
        tiles = -(-(right - left) // width) * -(-(bottom - top) // height)
        layers, sides = _coding(stream)
        precincts = components * sum(max(tiles, (right >> x) * (bottom >> y)) for x, y in sides)
    except (ValueError, ArithmeticError, struct.error) as error:
        raise UnreadableImage("the JPEG 2000 image is damaged: it does not say its size") from error
    if tiles > _MAX_TILES:
        raise UnreadableImage(f"the JPEG 2000 image has more than {_MAX_TILES:,} tiles, which no picture needs")
    if precincts > _MAX_PRECINCTS or precincts * layers > _MAX_PACKETS:
        raise UnreadableImage(
            f"the JPEG 2000 image has {precincts:,} precincts in {layers:,} layers, which no picture needs"
        )


def _coding(stream: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Read the main header: the number of layers, and the sides of precincts as powers of two (A.6.1, A.6.2)."""
    at, layers, sides = 2, 1, [(15, 15)]
    while (marker := struct.unpack_from(">H", stream, at)[0]) != _TILE_PART:
        (length,) = struct.unpack_from(">H", stream, at + 2)
        segment = stream[at + 4 : at + 2 + length]
        if marker == _CODING:
            (layers,) = struct.unpack_from(">H", segment, 2)
            sides += _sides(segment[10:]) if segment[0] & 1 else []
        elif marker == _COMPONENT_CODING:
            sides += _sides(segment[7:]) if segment[1] & 1 else []
        at += 2 + max(2, length)
    return layers, sides


def _sides(powers: bytes) -> list[tuple[int, int]]:
    return [(power & 15, power >> 4) for power in powers[-1:]]  # of the full resolution
