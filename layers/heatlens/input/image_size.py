"""Refuse an image by its size, before any pixel is decoded."""

from heatlens.errors import ImageTooLarge

MAX_SIDE = 65_500  # pixels: the longest side of a JPEG that can be written


def check_size(width: int, height: int, max_pixels: int) -> int:
    """Return the pixels of an image.

    Raises:
        ImageTooLarge: More than `max_pixels`, or a side of more than `MAX_SIDE`.
    """
    if width * height > max_pixels:
        raise ImageTooLarge(f"the image is over the limit of {max_pixels / 1e6:g} megapixels per image")
    if max(width, height) > MAX_SIDE:
        raise ImageTooLarge(f"the image has more than {MAX_SIDE:,} pixels on a side: crop it or make it smaller")
    return width * height
