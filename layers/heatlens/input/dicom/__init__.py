"""DICOM file -> 8-bit picture of its first frame, drawn as DICOM says; no value of its tags leaves here."""

import logging
import re
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from heatlens.errors import HeatlensError, ImageTooLarge, UnreadableImage, UnsupportedImage
from heatlens.input.dicom.frame import NO_PIXELS, first_frame
from heatlens.input.dicom.levels import full_range, grey_levels
from heatlens.input.dicom.parse import PIXELS, SIZE, read
from heatlens.input.grey_levels import Samples, drawn
from heatlens.types import Window

Result = TypeVar("Result")

_GREYS = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_DAMAGED = "the DICOM file is truncated or damaged, or of a rare variant: its image cannot be decoded"

# What these say of a file quotes its values, and those are a patient's: it goes to no log and no warning.
_LIBRARIES = ("pydicom", "pylibjpeg", "openjpeg", "jpeg_ls")
_UNHEARD = ("ignore", None, Warning, re.compile(rf"({'|'.join(_LIBRARIES)})\b"), 0)  # as `warnings` keeps a filter
for _name in _LIBRARIES:
    logging.getLogger(_name).propagate = False


def measure(data: bytes, *, max_pixels: int) -> int:
    """Count the pixels of one frame, as the header has them; `decode` says what it raises."""
    return _told_nothing(lambda: _pixels(read(data, SIZE, max_pixels=max_pixels), max_pixels))


def decode(data: bytes, *, max_pixels: int, window: Window | None) -> Image.Image:
    """Decode the first frame as DICOM draws it.

    Stored values go through the modality stage (rescale or table) and the VOI stage (table or window); without a VOI
    stage greys are stretched from their own minimum to their maximum. MONOCHROME1 is turned round.

    Args:
        data: The file, with its preamble.
        max_pixels: The door's limit.
        window: Centre and width in what the modality stage gives (of a CT: Hounsfield units), in place of the file's
            own VOI stage; colours have none.

    Returns:
        Mode `L` or `RGB`, without metadata.

    Raises:
        UnsupportedImage: A transfer syntax or a kind of colours that is not read.
        UnreadableImage: No pixels, or truncated or damaged ones.
        ImageTooLarge: More than `max_pixels`; no pixel was decoded.
    """
    return _told_nothing(lambda: _decode(data, max_pixels, window))


def _told_nothing(work: Callable[[], Result]) -> Result:
    """Do it; of what goes wrong in a library nothing is kept but that it did."""
    if _UNHEARD not in warnings.filters:
        warnings.filterwarnings("ignore", module=_UNHEARD[3].pattern)
    try:
        return work()
    except (HeatlensError, MemoryError) as error:
        kept: HeatlensError | MemoryError | None = error
    except Exception:
        kept = None
    if isinstance(kept, HeatlensError):
        raise kept
    raise UnreadableImage(_DAMAGED) from kept


def _decode(data: bytes, max_pixels: int, window: Window | None) -> Image.Image:
    dataset = read(data, PIXELS, max_pixels=max_pixels)
    _pixels(dataset, max_pixels)
    colours = dataset.get("PhotometricInterpretation")
    if colours in _GREYS:
        return Image.fromarray(grey_levels(dataset, first_frame(dataset), window))
    if colours == "PALETTE COLOR":
        return Image.fromarray(_palette(apply_color_lut(first_frame(dataset), dataset)))
    if colours in _COLOURS:
        return Image.fromarray(drawn(first_frame(dataset), full_range(dataset.BitsStored)))
    raise UnsupportedImage("the DICOM image has colours that are not read here: greys, palette, RGB and YBR_FULL are")


def _pixels(dataset: Dataset, max_pixels: int) -> int:
    if any(dataset.get(keyword) is None for keyword in SIZE):
        raise UnreadableImage(NO_PIXELS)
    pixels = int(dataset.Rows) * int(dataset.Columns)
    if pixels > max_pixels:
        raise ImageTooLarge(f"the image is over the limit of {max_pixels / 1e6:g} megapixels per image")
    return pixels


def _palette(entries: Samples) -> Samples:
    """8 bits of a palette's entries; some writers keep 8 bits in entries that they call 16 bits wide."""
    if entries.dtype == np.uint8 or entries.max() < 256:
        return entries.astype(np.uint8)
    return drawn(entries, full_range(16))
