"""Write a Pillow image as the file whose pixels it has, so that it is decoded as that file would be."""

import io

import numpy as np
from PIL import Image

from heatlens.errors import UnreadableImage
from heatlens.input.high_bit_depth import is_white_zero

# Modes whose values PNG or TIFF holds unchanged; a premultiplied alpha or a rarer color space is converted first.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
_MAX_16_BIT = 65535
_FIRST_CONVERTED = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
_WHITE_IS_ZERO = {262: 0}  # TIFF's photometric interpretation


def image_file(image: Image.Image) -> bytes:
    """Write an image to a PNG, or with more than 8 bits to a TIFF, without loss.

    Args:
        image: Of any mode but LAB. Its EXIF orientation is not applied: its pixels count as upright.

    Raises:
        UnreadableImage: It has no pixels, cannot be loaded, or has LAB colors.
    """
    if image.mode == "LAB":
        raise UnreadableImage("the Pillow image has LAB colors: convert it to RGB")
    if not image.width or not image.height:
        raise UnreadableImage("the Pillow image has no pixels")
    try:
        return _save(image)
    except MemoryError:
        raise
    # An image that Pillow opened is loaded only here; its decoders raise whatever their parsers meet.
    except Exception as error:
        raise UnreadableImage("the Pillow image cannot be loaded: closed, truncated or damaged") from error


def _save(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    if image.mode.startswith(("I", "F")):
        tags = _WHITE_IS_ZERO if is_white_zero(image) else {}
        values = _deep(image)
        if "transparency" in values.info:
            values.save(buffer, "PNG", compress_level=1)
        else:
            values.save(buffer, "TIFF", compression="raw", tiffinfo=tags)
        return buffer.getvalue()
    kept = image if image.mode in _PNG_MODES else image.convert(_FIRST_CONVERTED.get(image.mode, "RGB"))
    kept.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _deep(image: Image.Image) -> Image.Image:
    """Return floats and 32-bit integers as they are, integers of 16 bits in this machine's byte order."""
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > _MAX_16_BIT:
        return Image.fromarray(values)
    narrow = Image.fromarray(values.astype(np.uint16))
    # A transparent value; PNG, which alone can say so, has at most 16 bits.
    narrow.info = {key: value for key, value in image.info.items() if key == "transparency"}
    return narrow
