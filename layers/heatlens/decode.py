"""Image bytes -> upright 8-bit picture. The bytes decide the type, never a header or a name."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from heatlens.errors import EmptyFile, ImageTooLarge, UnreadableImage, UnsupportedImage
from heatlens.types import Picture

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_UPRIGHT = (None, 1)
_PNG_DEPTH = 24  # offset of IHDR's bit depth


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


# Pillow's format name -> does a file that begins like this have it?
_SNIFF: dict[str, Callable[[bytes], bool]] = {
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "WEBP": _is_webp,
    "TIFF": lambda head: head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),
    "BMP": lambda head: head.startswith(b"BM"),
}
SUPPORTED = ", ".join(_SNIFF)


def measure(data: bytes, *, max_pixels: int) -> int:
    """Count the pixels an image says it has, reading its header only.

    Raises:
        EmptyFile: No bytes.
        UnsupportedImage: Not an image, or not of a supported type.
        UnreadableImage: The header is damaged.
        ImageTooLarge: More than `max_pixels`.
    """
    with _open(data, max_pixels=max_pixels) as image:
        return image.width * image.height


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """Decode one image, first frame, as people see it: upright, alpha composed on black, deep greys scaled linearly.

    Greys of more than 8 bits are mapped from their own minimum and maximum to 0 and 255; a constant image becomes 0.

    Raises:
        InputError: As `measure`, and `UnreadableImage` where the pixels are truncated or damaged.
        ImageTooLarge: More than `max_pixels`; nothing was decoded.
    """
    with _open(data, max_pixels=max_pixels) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            verbatim = _verbatim(image, data)
            return Picture(image=_eight_bits(upright), verbatim=verbatim)
        # Pillow's decoders raise whatever their format's parser meets; none of it may reach a client.
        except Exception as error:
            raise UnreadableImage("the image is truncated or damaged: it cannot be decoded to its end") from error


def _open(data: bytes, *, max_pixels: int) -> Image.Image:
    if not data:
        raise EmptyFile("the file is empty")
    kind = next((name for name, matches in _SNIFF.items() if matches(data[:16])), None)
    if kind is None:
        raise UnsupportedImage(f"the bytes are not an image of a supported type ({SUPPORTED})")
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(max_pixels) from error
    except Exception as error:
        raise UnreadableImage(f"the header of the {kind} image is damaged") from error
    if image.width * image.height > max_pixels:
        raise _too_large(max_pixels)
    return image


def _too_large(max_pixels: int) -> ImageTooLarge:
    return ImageTooLarge(f"the image is over the limit of {max_pixels / 1e6:g} megapixels per image")


def _verbatim(image: Image.Image, data: bytes) -> str | None:
    """Media type of an upload that any viewer shows as the model saw it, so that it may be passed on unchanged."""
    if image.getexif().get(_ORIENTATION) not in _UPRIGHT:
        return None
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/png" if data.startswith(b"\x89PNG") and data[_PNG_DEPTH] == 8 else None


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _scaled(np.asarray(image))
    if image.has_transparency_data:
        return _on_black(image.convert("RGBA"))
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _on_black(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")


def _scaled(values: npt.NDArray[Any]) -> Image.Image:
    levels = values.astype(np.float64)
    low, high = levels.min(), levels.max()
    if not np.isfinite(high - low):
        raise ValueError("pixel values are not finite")
    span = (high - low) or 1.0
    return Image.fromarray(np.rint((levels - low) * (255 / span)).astype(np.uint8))
