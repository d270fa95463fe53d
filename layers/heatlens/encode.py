"""8-bit image, mode L or RGB -> PNG bytes: "up" filter, one deflate stream by ISA-L, no metadata."""

import struct
import zlib

import numpy as np
from isal import isal_zlib
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {"L": 0, "RGB": 2}
_UP = 2  # PNG filter: each byte minus the one above it
_LEVEL = 3  # ISA-L's best; at nearly the size of zlib's default, thirty times sooner


def png(image: Image.Image) -> bytes:
    """Encode losslessly.

    Args:
        image: Mode `L` or `RGB`.

    Returns:
        A PNG of 8 bits per sample; equal pixels give equal bytes.
    """
    header = struct.pack(">2I5B", image.width, image.height, 8, _COLOUR_TYPE[image.mode], 0, 0, 0)
    rows = np.asarray(image).reshape(image.height, -1)
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    body = isal_zlib.compress(filtered, _LEVEL)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
