"""Check a TIFF before it is opened, and keep libtiff from writing to standard error."""

import ctypes
import struct
from pathlib import Path

from PIL import ImageFile, TiffImagePlugin

from heatlens.errors import UnreadableImage

_MAX_PARTS = 100_000  # strips or tiles: as many as 100 megapixels have of 32 x 32; each takes 10 microseconds
_STRIPS, _TILES = 273, 324  # tags with a list of offsets
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_MAX_TILE_SHARE, _SMALL_PIXELS = 4, 1_000_000  # tiles of so many times the pixels of the image, which counts as one MP
_BIG = 43  # the version of a TIFF with 64-bit offsets
_MAPS = Path("/proc/self/maps")


def check_parts(tiff: bytes) -> None:
    """Refuse a TIFF whose first frame has so many parts that finding them alone takes seconds.

    Raises:
        UnreadableImage: It has more strips or tiles than any real picture.
    """
    try:
        most = max((count for tag, count in _counts(tiff) if tag in (_STRIPS, _TILES)), default=0)
    except struct.error:
        return  # truncated: it cannot be opened
    if most > _MAX_PARTS:
        raise UnreadableImage(f"the TIFF image has more than {_MAX_PARTS:,} strips or tiles, which no picture needs")


def check_tile_size(image: ImageFile.ImageFile) -> None:
    """Refuse a TIFF whose tiles are far larger than the image: libtiff allocates and decodes whole tiles.

    Raises:
        UnreadableImage: They are.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tile = int(image.tag_v2.get(_TILE_WIDTH, 0)) * int(image.tag_v2.get(_TILE_LENGTH, 0))
        if tile > _MAX_TILE_SHARE * max(image.width * image.height, _SMALL_PIXELS):
            raise UnreadableImage(f"the TIFF image has tiles of {tile:,} pixels, more than the image itself")


def silence_libtiff() -> None:
    """Set libtiff's handlers of errors and warnings to none: it writes a line for each damaged row of a file.

    Pillow reports a failure itself. The library is the one that Pillow has loaded.
    """
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return
    for path in {line.split(maxsplit=5)[5] for line in lines if "/libtiff" in line}:
        library = ctypes.CDLL(path)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            setter = getattr(library, name)
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)


def _counts(tiff: bytes) -> list[tuple[int, int]]:
    """Read each tag of the first frame, and how many values it has."""
    order = "<" if tiff.startswith(b"II") else ">"
    if struct.unpack_from(f"{order}H", tiff, 2)[0] == _BIG:
        at, entries, step, form = 8, f"{order}Q", 20, f"{order}2HQ"
        (at,) = struct.unpack_from(f"{order}Q", tiff, at)
    else:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        entries, step, form = f"{order}H", 12, f"{order}2HI"
    (number,) = struct.unpack_from(entries, tiff, at)
    at += struct.calcsize(entries)
    read = (struct.unpack_from(form, tiff, at + index * step) for index in range(min(number, 2**16)))
    return [(tag, count) for tag, _, count in read]
