"""Estimate the memory that decoding and drawing an image take, by its header, and refuse what does not fit."""

import numpy as np
from PIL import Image, ImageFile

from heatlens.errors import TooMuchMemory

# Bytes per pixel at the peak of `decode`, by Pillow's mode: the decoded image, its copies, and the 8-bit picture.
# Measured as the growth of resident memory at 16 megapixels, rounded up.
_BY_MODE = {"1": 2, "L": 2, "P": 7, "I;16": 6, "I": 12, "F": 12, "LA": 12, "La": 12, "RGBA": 12, "RGB": 8}
_OTHER_MODE = 10
_TRANSPARENT_VALUE = 10  # with a transparent value or color in place of an alpha channel
_DEEP_COLORS = 28  # 16-bit colors are read twice, for the upper and the lower bytes, in case they are gray
# What a codec holds besides: whole frames in its own form, a progressive JPEG's coefficients, a TIFF's only strip.
_BY_FORMAT = {"WEBP": 16, "AVIF": 8, "HEIF": 8, "JPEG2000": 16, "GIF": 4, "TIFF": 4}
_PROGRESSIVE = 6

MOST_BYTES_PER_PIXEL = 44  # of any format: 16-bit colors in JPEG 2000
DRAWING_BYTES_PER_PIXEL = 22  # the picture, the colored map, the overlay and its encoder's rows
WRITING_BYTES_PER_PIXEL = 40  # all DICOM objects of a class at the peak, which the fractional segment makes
OBJECTS_BYTES_PER_PIXEL = 9  # those of a class once they are written


def bytes_per_pixel(image: ImageFile.ImageFile) -> int:
    """Estimate what `decode` takes for each pixel of an opened image, whose pixels are not loaded yet."""
    return _of_mode(image) + _BY_FORMAT.get(image.format or "", 0) + (_PROGRESSIVE if _is_progressive(image) else 0)


def check_memory(pixels: int, per_pixel: int, max_bytes: int | None, *, work: str = "decoding") -> None:
    """Refuse an image that would exhaust the memory: the process would be killed, or fail halfway.

    Args:
        pixels: Of the image.
        per_pixel: Bytes that the work takes for each.
        max_bytes: What is left for one image; `None` if no limit is known, and nothing is checked.
        work: Named in the message.

    Raises:
        TooMuchMemory: It takes more.
    """
    needs = pixels * per_pixel
    if max_bytes is not None and needs > max_bytes:
        raise TooMuchMemory(
            f"{work} this image of {pixels / 1e6:.1f} megapixels takes about {needs / 1e6:,.0f} MB of memory and there "
            f"are {max_bytes / 1e6:,.0f} for it: send a smaller image, or give the function or the server more memory"
        )


def check_free(pixels: int, per_pixel: int) -> None:
    """Raise a `MemoryError` if so much memory cannot be allocated: some decoders call that a damaged image."""
    np.empty(pixels * per_pixel, np.uint8)


def _of_mode(image: Image.Image) -> int:
    if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) and not image.mode.startswith("I"):
        return _DEEP_COLORS
    by_mode = _BY_MODE.get(image.mode, _OTHER_MODE)
    return max(by_mode, _TRANSPARENT_VALUE) if "transparency" in image.info else by_mode


def _is_progressive(image: Image.Image) -> bool:
    return bool(image.info.get("progressive") or image.info.get("progression"))
