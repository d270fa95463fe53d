"""Write a PNG a strip of rows at a time: filter, compress with ISA-L, and frame in chunks."""

import struct

import numpy as np
from isal import isal_zlib
from PIL import Image

from heatlens.render.drawing import Drawing, drawing_of

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPE = {"L": 0, "RGB": 2}
_SAMPLES = {"L": 1, "RGB": 3}
_UP = 2  # PNG filter: each byte minus the one above it
LEVEL = 2  # of ISA-L's four: nearly the size of the best in half its time, see decision 41


def png(picture: Image.Image | Drawing) -> bytes:
    """Encode a PNG: "up" filter, one deflate stream by ISA-L.

    Args:
        picture: Mode `L` or `RGB`.

    Returns:
        A PNG of 8 bits per sample; equal pixels give equal bytes.
    """
    drawing = picture if isinstance(picture, Drawing) else drawing_of(picture)
    header = struct.pack(">2I5B", *drawing.size, 8, _COLOR_TYPE[drawing.mode], 0, 0, 0)
    return b"".join([_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", *_compressed(drawing)), *_chunk(b"IEND")])


def _compressed(drawing: Drawing) -> list[bytes]:
    """Filter and compress the rows."""
    compressor = isal_zlib.compressobj(LEVEL)
    above = np.zeros(drawing.size[0] * _SAMPLES[drawing.mode], np.uint8)
    compressed = []
    for strip in drawing.strips():
        rows = np.asarray(strip).reshape(strip.height, -1)
        filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = _UP
        np.subtract(rows[0], above, out=filtered[0, 1:])
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
        compressed.append(compressor.compress(filtered))
        above = rows[-1]
    return [*compressed, compressor.flush()]


def _chunk(kind: bytes, *bodies: bytes) -> list[bytes]:
    checksum = isal_zlib.crc32(kind)
    for body in bodies:
        checksum = isal_zlib.crc32(body, checksum)
    return [struct.pack(">I", sum(map(len, bodies))), kind, *bodies, struct.pack(">I", checksum)]
