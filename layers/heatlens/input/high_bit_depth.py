"""Decode PNG and TIFF of more than 8 bits per sample with all their bits; most colors need only the upper 8."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin

from heatlens.input.grey_levels import Curve, Samples, apply_curve, in_bands, invert, stretch, windowing
from heatlens.types import Window

_PNG_GREY_ALPHA_16 = b"\x10\x04"  # bit depth and color type in IHDR
_PNG_RGBA_8 = b"\x08\x06"
_IHDR = slice(12, 29)  # chunk type and body
_IHDR_CRC = slice(29, 33)
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # TIFF tags
_OPAQUE = 65535
_SAMPLE_FORMAT, _UNSIGNED, _SIGNED = 339, 1, 2
# Of 16-bit colors Pillow unpacks the upper bytes; with the other byte order named, it unpacks the lower ones.
_OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if np.little_endian else "16L"}


class Deep(NamedTuple):
    """An 8-bit picture, and what returns the samples `[H,W]` that it was made of; of colors `None`."""

    picture: Image.Image
    samples: Callable[[], Samples] | None


def high_bit_depth_picture(image: ImageFile.ImageFile, data: bytes, window: Window | None) -> Deep | None:
    """Convert an image of more than 8 bits to an 8-bit picture; `None` where its upper 8 bits are enough.

    The mapping is linear from the smallest value to the largest, or by the window; a constant image and transparent
    pixels become 0. A color image whose channels are equal in every pixel is a grayscale one. Other colors keep their
    upper 8 bits; all 16 decide which pixels are transparent.

    Args:
        image: As opened, not loaded.
        data: The file it is read from.
        window: Center and width in the image's own values, as DICOM's LINEAR, for floats LINEAR_EXACT.

    Raises:
        UnreadableImage: A value is not finite.
    """
    if _is_grey_alpha_16(data):
        values, alpha = _grey_alpha_16(data)
        return _under(values, alpha, window)
    if image.mode in ("RGB", "RGBA"):
        return _colors(image, data, window) if _is_16_bit(image) else None
    if not (image.mode.startswith(("I", "F")) or _is_signed_8_bit(image)):
        return None
    values = _samples(image)
    curve = _curve(values, window)
    levels = apply_curve(values, invert(curve) if is_white_zero(image) else curve)
    if (transparent := image.info.get("transparency")) is not None:
        levels[values == transparent] = 0
        return Deep(Image.fromarray(levels), lambda: _without(values, values == transparent))
    return Deep(Image.fromarray(levels), lambda: values)


def _without(values: Samples, clear: Samples) -> Samples:
    return np.where(clear, np.zeros_like(values), values)


def _curve(values: Samples, window: Window | None) -> Curve:
    stretched = stretch(float(values.min()), float(values.max()))  # refuses what is not finite, also with a window
    if window is None:
        return stretched
    return windowing(window, "LINEAR_EXACT" if values.dtype.kind == "f" else "LINEAR")


def _under(values: Samples, alpha: Samples, window: Window | None) -> Deep:
    """Map the values and weigh the levels by alpha, of 16 bits; the samples are weighed too."""
    curve = _curve(values, window)

    def levels(values: Samples, alpha: Samples) -> npt.NDArray[np.uint8]:
        return np.rint(np.clip(curve(values), 0, 255) * (alpha / _OPAQUE)).astype(np.uint8)

    def weighed(values: Samples, alpha: Samples) -> Samples:
        return np.rint(values * (alpha / _OPAQUE))

    picture = Image.fromarray(in_bands(levels, values, alpha, dtype=np.uint8))
    return Deep(picture, lambda: in_bands(weighed, values, alpha, dtype=np.uint16))


def _samples(image: Image.Image) -> Samples:
    """Read the values of the file: Pillow holds unsigned 32-bit and signed 8-bit values with the other sign."""
    values = np.asarray(image)
    if _is_signed_8_bit(image):
        return values.view(np.int8)
    return values.view(np.uint32) if image.mode == "I" and _sample_format(image) == _UNSIGNED else values


def _is_signed_8_bit(image: Image.Image) -> bool:
    return image.mode == "L" and _sample_format(image) == _SIGNED


def _sample_format(image: Image.Image) -> int | None:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    sample_format: int = _first(image.tag_v2.get(_SAMPLE_FORMAT, _UNSIGNED))
    return sample_format


def is_white_zero(image: Image.Image) -> bool:
    """Tell whether 0 is white: Pillow inverts 8-bit grayscale of this kind, but none of more bits."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _first(value: Any) -> Any:  # noqa: ANN401 - a TIFF tag
    return value[0] if isinstance(value, tuple) else value


def _is_grey_alpha_16(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and data[12:16] == b"IHDR" and data[24:26] == _PNG_GREY_ALPHA_16


def _grey_alpha_16(data: bytes) -> tuple[Samples, Samples]:
    """Read values and alpha, both 0..65535, of a PNG of which Pillow would keep the high bytes only.

    Two 16-bit samples are four bytes per pixel, as four 8-bit samples are, and PNG filters bytes: with a header that
    says RGBA, Pillow reads the same file as four channels, the high and low bytes.
    """
    header = data[_IHDR].replace(_PNG_GREY_ALPHA_16, _PNG_RGBA_8)
    crc = struct.pack(">I", zlib.crc32(header))
    as_rgba = data[: _IHDR.start] + header + crc + data[_IHDR_CRC.stop :]
    with Image.open(io.BytesIO(as_rgba), formats=["PNG"]) as image:
        pairs = np.asarray(image).view(">u2")
    return pairs[..., 0], pairs[..., 1]


def _is_16_bit(image: ImageFile.ImageFile) -> bool:
    return any(_rawmode(tile).startswith(f"{image.mode};16") for tile in image.tile)


def _rawmode(tile: Any) -> str:  # noqa: ANN401 - Pillow's; its arguments depend on the codec
    return str(_first(tile.args))


def _colors(image: ImageFile.ImageFile, data: bytes, window: Window | None) -> Deep | None:
    """Convert 16-bit colors that are gray, or of which one is transparent; others need only the upper bytes."""
    upper, transparent = np.asarray(image), image.info.get("transparency")
    if transparent is None and not _is_grey(upper):
        return None
    samples = upper.astype(np.uint16)
    samples <<= 8
    samples |= _lower_bytes(image, data)
    if not _is_grey(samples):
        return None if transparent is None else Deep(_cleared(upper.copy(), samples, transparent), None)
    if image.mode == "RGBA":
        return _under(samples[..., 0], samples[..., 3], window)
    values = samples[..., 0]
    levels = apply_curve(values, _curve(values, window))
    if transparent is None:
        return Deep(Image.fromarray(levels), lambda: values)
    picture = _cleared(levels, samples, transparent)
    return Deep(picture, lambda: _without(values, (samples == transparent).all(axis=-1)))


def _cleared(levels: npt.NDArray[np.uint8], samples: Samples, transparent: object) -> Image.Image:
    """Make transparent pixels black: Pillow would compare the color's lower bytes with the pixels' upper bytes."""
    levels[(samples == transparent).all(axis=-1)] = 0
    return Image.fromarray(levels)


def _lower_bytes(image: ImageFile.ImageFile, data: bytes) -> Samples:
    with Image.open(io.BytesIO(data), formats=[image.format or ""]) as again:
        again.tile = [_in_other_order(tile) for tile in again.tile]
        return np.asarray(again)


def _in_other_order(tile: Any) -> Any:  # noqa: ANN401
    rawmode = _rawmode(tile)
    other = rawmode[:-3] + _OTHER_ORDER[rawmode[-3:]]
    return tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)


def _is_grey(channels: Samples) -> bool:
    red, green, blue = channels[..., 0], channels[..., 1], channels[..., 2]
    return np.array_equal(red, green) and np.array_equal(red, blue)
