"""Check a JPEG 2000 before it is opened: its decoder allocates memory for all tiles and precincts with the header."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from heatlens.errors import UnreadableImage

START_OF_CODESTREAM = b"\xff\x4f\xff\x51"  # and of its size segment (ISO 15444-1 A.5.1)
_SIZE_SEGMENT = struct.Struct(">8LHB")
_SIZE_AT = 8  # of the segment's values, from the start of the codestream
_SIGN_BIT, _PRECISION_BITS = 0x80, 0x7F  # of a component's size
_CODING, _COMPONENT_CODING, _TILE_PART, _START_OF_DATA = 0xFF52, 0xFF53, 0xFF90, 0xFF93
_TILE_PART_BYTES = 12  # of its first segment, with the marker
_ONE_BYTE_COMPONENTS = 256  # with more, the index of a component has two bytes
_LARGEST_PRECINCT = 15  # as the power of two of its sides, where a file does not say
_MAX_TILES = 4096  # of 256 x 256 pixels: more than the largest image
_MAX_PRECINCTS = 100_000  # of all resolutions: four times as many as 100 megapixels of color have of 128 x 128
_MAX_PACKETS = 2_000_000  # a precinct of one layer: the decoder's unit of work
_MAX_SEGMENTS = 100_000  # of all headers: takes 0.1 s


@dataclass(frozen=True, slots=True)
class Size:
    """The size segment of a codestream, in pixels and bits; `start` is where the codestream begins in the file."""

    start: int
    width: int
    height: int
    tile: tuple[int, int]
    tiles: int
    components: int
    bits: int
    signed: bool


def read_size(file: bytes) -> Size:
    """Read the size of a JPEG 2000 image, with or without boxes around its codestream.

    Raises:
        UnreadableImage: It has no codestream, or one without a size.
    """
    try:
        start = file.index(START_OF_CODESTREAM)
        right, bottom, x, y, width, height, left, top, components, size = _SIZE_SEGMENT.unpack_from(
            file, start + _SIZE_AT
        )
        tiles = -(-(right - left) // width) * -(-(bottom - top) // height)
    except (ValueError, ArithmeticError, struct.error) as error:
        raise UnreadableImage("the JPEG 2000 image is damaged: it does not say its size") from error
    tile = min(width, right), min(height, bottom)
    bits = (size & _PRECISION_BITS) + 1
    return Size(start, right - x, bottom - y, tile, tiles, components, bits, bool(size & _SIGN_BIT))


def check_tiles(file: bytes) -> Size:
    """Refuse a file of more tiles, precincts or layers than any real picture, in the headers of tiles too.

    Returns:
        Its size.

    Raises:
        UnreadableImage: It has more, or no codestream.
    """
    size = read_size(file)
    if size.tiles > _MAX_TILES:
        raise UnreadableImage(f"the JPEG 2000 image has more than {_MAX_TILES:,} tiles, which no picture needs")
    layers, precincts = 1, 0
    try:
        for marker, segment, is_of_tile in _segments(file, size.start + 2):
            if marker in (_CODING, _COMPONENT_CODING):
                layers = max(layers, *struct.unpack_from(">H", segment, 2)) if marker == _CODING else layers
                precincts += _precincts(size, marker, segment) * (1 if is_of_tile else size.tiles)
            if precincts > _MAX_PRECINCTS or precincts * layers > _MAX_PACKETS:
                raise UnreadableImage(
                    f"the JPEG 2000 image has {precincts:,} precincts in {layers:,} layers, which no picture needs"
                )
    except (IndexError, struct.error) as error:
        raise UnreadableImage("the JPEG 2000 image is damaged: its headers end early") from error
    return size


def _segments(file: bytes, at: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yield the segments of the main header, then of each tile-part's: marker, content, and whether it is a tile's.

    What follows the file's end, or a tile-part of unknown length, has no header.
    """
    next_part = None
    for _ in range(_MAX_SEGMENTS):
        marker, length = struct.unpack_from(">HH", file, at)
        if marker == _TILE_PART:
            (part,) = struct.unpack_from(">L", file, at + 6)
            next_part = at + max(part, _TILE_PART_BYTES) if part else len(file)
            at += _TILE_PART_BYTES
        elif marker == _START_OF_DATA and next_part is not None:
            at = next_part
            if file[at : at + 2] != _TILE_PART.to_bytes(2):
                return
        elif next_part is not None and at >= next_part:
            return
        else:
            yield marker, file[at + 4 : at + 2 + length], next_part is not None
            at += 2 + max(2, length)
    raise UnreadableImage(f"the JPEG 2000 image has more than {_MAX_SEGMENTS:,} segments, which no picture needs")


def _precincts(size: Size, marker: int, segment: bytes) -> int:
    """Count the precincts of one tile that is coded so, over its resolutions (A.6.1, A.6.2, B.6)."""
    wide = size.components > _ONE_BYTE_COMPONENTS
    style, levels_at = (segment[0], 5) if marker == _CODING else (segment[1 + wide], 2 + wide)
    levels, powers = segment[levels_at], segment[levels_at + 5 :]
    count = 0
    for resolution in range(levels + 1):
        power = powers[resolution] if style & 1 else _LARGEST_PRECINCT * 0x11
        across, down = (
            -(-(side >> levels - resolution) // (1 << exponent)) or 1
            for side, exponent in zip(size.tile, (power & 15, power >> 4), strict=True)
        )
        count += across * down
    return count * (size.components if marker == _CODING else 1)
