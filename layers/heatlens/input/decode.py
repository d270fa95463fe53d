"""Decode an image file to an upright 8-bit picture; its bytes decide the type, never a header or a name."""

import io
import logging
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
from PIL import Image, ImageFile

from heatlens.errors import (
    EmptyFile,
    HeatlensError,
    NoSuchFrame,
    UnreadableImage,
    UnsupportedImage,
    is_out_of_memory,
)
from heatlens.input import bmp_rle  # noqa: F401 - in place of Pillow's decoder
from heatlens.input.decode_memory import bytes_per_pixel, check_free, check_memory
from heatlens.input.dicom_signature import is_dicom, lacks_preamble
from heatlens.input.full_depth import BYTES_PER_PIXEL, checked, full_depth
from heatlens.input.grey_levels import Samples
from heatlens.input.high_bit_depth import Deep, high_bit_depth_picture, is_white_zero
from heatlens.input.image_size import check_size
from heatlens.input.jpeg import check_scans, check_whole, with_end
from heatlens.input.jpeg2000 import check_tiles
from heatlens.input.png import without_metadata
from heatlens.input.tiff import check_parts, check_tile_size, silence_libtiff
from heatlens.steps import Values
from heatlens.types import Floats, Frame, Picture, Window

silence_libtiff()
# Pillow warns and logs by each damaged tag of a file; a failure is reported by its exception.
warnings.filterwarnings("ignore", module="PIL")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

# Our own limit is checked right after an image is opened, before any pixel; Pillow's lies below the server's.
Image.MAX_IMAGE_PIXELS = None

_ORIENTATION = 0x0112  # EXIF tag
_TURNS: dict[int | None, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OPENING_BYTES = 64_000_000
_NO_DICOM = "DICOM files need the extra dicom, which is missing here: pip install 'heatlens[dicom]'"
_NO_PREAMBLE = (
    "the file looks like DICOM without its beginning: the preamble of 128 bytes and the word DICM are missing, and too "
    "few elements follow to read it without them. Write it as a DICOM file (PS3.10), for example with dcmconv"
)
_ONE_FRAME = "only DICOM has frames to choose from, and this image is of another type: leave frame out"
_NO_HEIC = "HEIC files need the extra heic, which is missing here: pip install 'heatlens[heic]'"
_UNCONVERTIBLE = {"LAB"}
_BAND_PIXELS = 1_000_000
_HEAD_BYTES = 64  # that decide the type


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _brands(head: bytes) -> set[bytes]:
    """Read the brands of a file of the ISO base media format, the major one and those it is compatible with."""
    if head[4:8] != b"ftyp":
        return set()
    stop = min(int.from_bytes(head[:4]), len(head))
    return {head[at : at + 4] for at in (8, *range(16, stop - 3, 4))}


def _is_avif(head: bytes) -> bool:
    return not _brands(head).isdisjoint((b"avif", b"avis"))


def _is_heif(head: bytes) -> bool:
    return not _is_avif(head) and not _brands(head).isdisjoint(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    )


# By Pillow's name of a format: whether a file that begins like this has it.
_SNIFF: dict[str, Callable[[bytes], bool]] = {
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "WEBP": _is_webp,
    "TIFF": lambda head: head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),
    "BMP": lambda head: head.startswith(b"BM"),
    "GIF": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "AVIF": _is_avif,
    "JPEG2000": lambda head: head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    "HEIF": _is_heif,
}
_NAMES = {"JPEG2000": "JPEG 2000", "HEIF": "HEIC"}
SUPPORTED = ", ".join([*(_NAMES.get(kind, kind) for kind in _SNIFF), "DICOM"])


def measure(data: bytes, *, max_pixels: int) -> int:
    """Count the pixels of an image, reading its header only.

    Raises:
        EmptyFile: No bytes.
        UnsupportedImage: Not an image, or not of a supported type.
        UnreadableImage: The header is damaged.
        ImageTooLarge: More than `max_pixels`.
    """
    if is_dicom(data):
        pixels: int = _dicom().measure(data, max_pixels=max_pixels)
        return pixels
    with _open(_pixels_only(data), max_pixels=max_pixels) as image:
        return image.width * image.height


def decode(
    data: bytes,
    *,
    max_pixels: int,
    max_bytes: int | None = None,
    window: Window | None = None,
    values: Values | None = None,
    frame: Frame | None = None,
) -> Picture:
    """Decode a frame of an image as people see it: upright, alpha composed on black, 8 bits.

    High-bit-depth grayscale is mapped linearly, from its own minimum and maximum to 0 and 255 or by the window; a
    constant image becomes 0. 16-bit colors keep their upper 8 bits. Color profiles are not applied: training sets are
    read without them too.

    Args:
        data: The file.
        max_pixels: The limit of one image.
        max_bytes: Memory that decoding it may take; `None` for no limit.
        window: Center and width for high-bit-depth grayscale.
        values: How the model reads values at full depth; the picture has them then, except of 8 bits and colors.
        frame: One of a DICOM file's, from 1; without it the first frame of any file.

    Raises:
        InputError: As `measure`, and `UnreadableImage` where the pixels are truncated or damaged.
        NoFullDepth: Values are asked for, which the image does not have, and its levels are not to be mapped.
        NoSuchFrame: A frame is asked for, and the image has fewer, or is not DICOM.
        ImageTooLarge: More than `max_pixels`; nothing was decoded.
        TooMuchMemory: More than `max_bytes`; nothing was decoded.
        MemoryError: The memory ran out.
    """
    if is_dicom(data):
        options = {"max_pixels": max_pixels, "max_bytes": max_bytes, "window": window, "values": values}
        return checked(_dicom().decode(data, **options, frame=frame), values)
    if frame is not None:
        measure(data, max_pixels=max_pixels)  # raises the error of what is no image
        raise NoSuchFrame(_ONE_FRAME)
    return checked(_decode(data, max_pixels, max_bytes, window, values), values)


def _decode(data: bytes, max_pixels: int, max_bytes: int | None, window: Window | None, step: Values | None) -> Picture:
    data = _readable(data)
    with _open(data, max_pixels=max_pixels) as image:
        per_pixel = bytes_per_pixel(image) + (BYTES_PER_PIXEL if step else 0)
        check_memory(image.width * image.height, per_pixel, max_bytes)
        try:
            if _SNIFF["JPEG"](data):
                check_whole(data, image)
            picture, samples = _eight_bits(image, data, window)
            turn = _TURNS.get(_orientation(image))
            values = None if samples is None or step is None else _values(image, samples(), step, turn)
            verbatim = None if turn is not None else _verbatim(image, data)
        except HeatlensError:
            raise
        # Pillow's decoders raise whatever their format's parser meets; none of it may reach a client.
        except Exception as error:
            _raise_memory_error(error)
            check_free(image.width * image.height, per_pixel)
            raise UnreadableImage("the image is truncated or damaged: it cannot be decoded to its end") from error
    upright = picture.transpose(turn) if turn is not None else picture
    upright.info = {}  # an encoder would write profile and comment from here into derived pictures
    return Picture(upright, verbatim, values=values)


def _dicom() -> ModuleType:
    """Import the DICOM reader with the first such file: it takes a second, and its libraries are an extra."""
    try:
        from heatlens.input import dicom
    except ModuleNotFoundError as error:
        raise UnsupportedImage(_NO_DICOM) from error
    return dicom


def _open(data: bytes, *, max_pixels: int) -> ImageFile.ImageFile:
    kind = _kind(data)
    if kind == "TIFF":
        check_parts(data)
    if kind == "JPEG2000":
        check_tiles(data)
    if kind == "HEIF":
        _register_heif()
    name = _NAMES.get(kind, kind)
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
    except Exception as error:
        _raise_memory_error(error)
        if kind == "WEBP":  # its decoder allocates the picture when it opens a file, and calls a failure damage
            check_free(1, _OPENING_BYTES)
        raise UnreadableImage(f"the {name} image cannot be opened: damaged, or of a rare variant") from error
    if image.mode in _UNCONVERTIBLE:
        raise UnreadableImage(f"the {name} image is of a rare variant, with {image.mode} colors: convert it to RGB")
    pixels = check_size(image.width, image.height, max_pixels)
    if kind == "JPEG":
        check_scans(data, pixels)
    check_tile_size(image)
    return image


def _kind(data: bytes) -> str:
    """Recognize a type, by Pillow's name."""
    if not data:
        raise EmptyFile("the file is empty")
    for name, matches in _SNIFF.items():
        if matches(data[:_HEAD_BYTES]):
            return name
    reason = _NO_PREAMBLE if lacks_preamble(data) else f"the bytes are not an image of a supported type ({SUPPORTED})"
    raise UnsupportedImage(reason)


def _readable(data: bytes) -> bytes:
    """Leave out what a PNG's pixels do not need, and add the end that a JPEG lacks."""
    return with_end(data) if _SNIFF["JPEG"](data) else _pixels_only(data)


def _pixels_only(data: bytes) -> bytes:
    return without_metadata(data) if _SNIFF["PNG"](data) else data


def _register_heif() -> None:
    """Import the HEIC reader with the first such file: it is an extra."""
    try:
        from pi_heif import register_heif_opener
    except ModuleNotFoundError as error:
        raise UnsupportedImage(_NO_HEIC) from error
    register_heif_opener(thumbnails=False)


def _raise_memory_error(error: Exception) -> None:
    """Raise a `MemoryError` where a decoder ran out of memory, which says nothing of the image."""
    if is_out_of_memory(error):
        raise MemoryError from error


def _orientation(image: Image.Image) -> int | None:
    """Read the EXIF orientation; a damaged EXIF has none, and does not fail the image."""
    try:
        return image.getexif().get(_ORIENTATION)
    except MemoryError:
        raise
    except Exception:
        return None


def _verbatim(image: Image.Image, data: bytes) -> str | None:
    """Return the media type of an upload that any viewer shows: a JPEG, or a still PNG of 8 bits per sample."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if not _SNIFF["PNG"](data) or getattr(image, "is_animated", False):  # of a GIF, it reads the second frame
        return None
    return "image/png" if data[12:16] == b"IHDR" and data[24] == 8 else None


def _eight_bits(image: ImageFile.ImageFile, data: bytes, window: Window | None) -> Deep:
    if (deep := high_bit_depth_picture(image, data, window)) is not None:
        return deep
    image.load()
    if image.has_transparency_data:
        return Deep(_on_black(image), None)
    return Deep(image.convert("L" if image.mode in ("1", "L") else "RGB"), None)


def _values(image: Image.Image, samples: Samples, step: Values, turn: Image.Transpose | None) -> Floats:
    values = full_depth(samples, step, inverted=is_white_zero(image))
    if turn is None:
        return values
    return np.asarray(Image.fromarray(values[..., 0]).transpose(turn))[..., None]


def _on_black(image: Image.Image) -> Image.Image:
    """Compose on black in bands of rows: whole, the intermediate pictures take 12 bytes a pixel."""
    image = image.convert("LA") if image.mode == "La" else image
    picture = Image.new("RGB", image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        black = Image.new("RGBA", band.size, (0, 0, 0, 255))
        picture.paste(Image.alpha_composite(black, band).convert("RGB"), (0, top))
    return picture
