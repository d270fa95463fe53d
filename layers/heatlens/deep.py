"""Greys of more than 8 bits -> 8-bit picture, stretched from their own minimum to their maximum."""

import io
import math
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

Samples = npt.NDArray[Any]

_PNG_GREY_ALPHA_16 = b"\x10\x04"  # bit depth and colour type in IHDR
_PNG_RGBA_8 = b"\x08\x06"
_IHDR = slice(12, 29)  # chunk type and body
_IHDR_CRC = slice(29, 33)
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # TIFF tags
_SAMPLE_FORMAT, _UNSIGNED = 339, 1


def is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether Pillow holds, or would cut off, more than 8 bits of grey."""
    return image.mode.startswith(("I", "F")) or _is_grey_alpha_16(data)


def stretched(image: Image.Image, data: bytes) -> Image.Image:
    """Map the smallest value to 0 and the largest to 255; a constant image becomes 0, transparent pixels too.

    Args:
        image: Loaded, mode `I`, `I;16…` or `F`, or a PNG of 16-bit grey and alpha.
        data: The file it was read from.

    Raises:
        ValueError: A value is not finite.
    """
    if _is_grey_alpha_16(data):
        values, alpha = _grey_alpha_16(data)
        return _image(_stretch(values) * alpha)
    values = _samples(image)
    levels = _stretch(values)
    if _white_is_zero(image):
        levels = 255 - levels
    if (transparent := image.info.get("transparency")) is not None:
        levels[values == transparent] = 0
    return _image(levels)


def _stretch(values: Samples) -> npt.NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(high - low):
        raise ValueError("pixel values are not finite")
    levels: npt.NDArray[np.float64] = (values.astype(np.float64) - low) * (255 / ((high - low) or 1.0))
    return levels


def _image(levels: npt.NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.rint(levels).astype(np.uint8))


def _samples(image: Image.Image) -> Samples:
    """The values as the file means them: Pillow holds unsigned 32-bit ones as signed."""
    values = np.asarray(image)
    unsigned = isinstance(image, TiffImagePlugin.TiffImageFile) and (
        _first(image.tag_v2.get(_SAMPLE_FORMAT, _UNSIGNED)) == _UNSIGNED
    )
    return values.view(np.uint32) if image.mode == "I" and unsigned else values


def _white_is_zero(image: Image.Image) -> bool:
    """Pillow turns 8-bit greys of this kind round, and leaves deeper ones."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _first(value: Any) -> Any:  # noqa: ANN401 - a TIFF tag
    return value[0] if isinstance(value, tuple) else value


def _is_grey_alpha_16(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and data[12:16] == b"IHDR" and data[24:26] == _PNG_GREY_ALPHA_16


def _grey_alpha_16(data: bytes) -> tuple[Samples, npt.NDArray[np.float64]]:
    """Values 0..65535 and alpha 0..1 of a PNG of which Pillow would keep the high bytes only.

    Two 16-bit samples are four bytes per pixel, as four 8-bit ones are, and PNG filters bytes: with the header changed
    to say so, Pillow reads the same file as RGBA, whose channels are the high and low bytes.
    """
    header = data[_IHDR].replace(_PNG_GREY_ALPHA_16, _PNG_RGBA_8)
    crc = struct.pack(">I", zlib.crc32(header))
    as_rgba = data[: _IHDR.start] + header + crc + data[_IHDR_CRC.stop :]
    with Image.open(io.BytesIO(as_rgba), formats=["PNG"]) as image:
        halves = np.asarray(image).astype(np.uint16)
    return halves[..., 0] << 8 | halves[..., 1], (halves[..., 2] << 8 | halves[..., 3]) / 65535
