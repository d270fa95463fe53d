"""Decode a frame of a DICOM file to an 8-bit picture; no value of its tags leaves this package."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import JPEGLSTransferSyntaxes, RLELossless

from heatlens.errors import NoFullDepth, UnreadableImage, UnsupportedImage
from heatlens.input.decode_memory import check_memory
from heatlens.input.dicom.describe import COLORS, GRAYSCALE, PALETTE, complete
from heatlens.input.dicom.details import without_details
from heatlens.input.dicom.frame import NATIVE, NO_PIXELS, read_frame
from heatlens.input.dicom.frame_count import check_frame
from heatlens.input.dicom.levels import full_range, grey_levels, modality_of
from heatlens.input.dicom.numbers import Notes, add_note
from heatlens.input.dicom.parse import PIXEL_DATA, PIXELS, SIZE, read
from heatlens.input.full_depth import BYTES_PER_PIXEL, full_depth
from heatlens.input.grey_levels import Samples, apply_curve
from heatlens.input.image_size import check_size
from heatlens.steps import Values
from heatlens.types import Floats, Frame, Picture, Window

_COPIES = 4  # of the samples, at the peak of decoding
_BYTE_BITS = 8
_PICTURE_BYTES = 8  # per pixel
_CONVERTED_COLOR_BYTES = 16  # per pixel, of colors that become RGB, or that a decoder holds in samples of 32 bits
_PALETTE_BYTES = 8  # per pixel, of three 16-bit entries
_PLAIN_COLORS = (*NATIVE, RLELossless, *JPEGLSTransferSyntaxes)
_DAMAGED = "the DICOM file is truncated or damaged, or of a rare variant: its image cannot be decoded"


def measure(data: bytes, *, max_pixels: int) -> int:
    """Count the pixels of one frame by the header; raises what `decode` raises."""
    return without_details(lambda: _pixels(read(data, SIZE, [], max_pixels=max_pixels), max_pixels), _damaged)


def decode(
    data: bytes,
    *,
    max_pixels: int,
    max_bytes: int | None = None,
    window: Window | None = None,
    values: Values | None = None,
    frame: Frame | None = None,
) -> Picture:
    """Decode a frame as DICOM defines its presentation.

    Stored values go through the modality stage (rescale or table) and the VOI stage (table or window); without a VOI
    stage grayscale is stretched from its own minimum to its maximum. MONOCHROME1 is inverted.

    Args:
        data: The file.
        max_pixels: The limit of one image.
        max_bytes: Memory that decoding it may take; `None` for no limit.
        window: Center and width in the modality stage's values (of a CT: Hounsfield units), in place of the file's
            own VOI stage; ignored for colors.
        values: How the model reads values at full depth, which the picture has then, except of colors.
        frame: Its number, from 1; by default the first.

    Returns:
        A picture without metadata; its notes name what the file leaves open or contradicts itself in.

    Raises:
        UnsupportedImage: A transfer syntax or a color space that is not supported.
        UnreadableImage: No pixels, or truncated or damaged ones.
        NoFullDepth: Values are asked for, and the image has a palette.
        NoSuchFrame: There are fewer frames.
        ImageTooLarge: More than `max_pixels`; no pixel was decoded.
        TooMuchMemory: More than `max_bytes`; no pixel was decoded.
        MemoryError: The memory ran out.
    """
    return without_details(lambda: _decode(data, max_pixels, max_bytes, window, values, frame or 1), _damaged)


def _damaged() -> UnreadableImage:
    return UnreadableImage(_DAMAGED)


def _decode(
    data: bytes, max_pixels: int, max_bytes: int | None, window: Window | None, step: Values | None, frame: Frame
) -> Picture:
    notes: Notes = []
    dataset = read(data, PIXELS, notes, max_pixels=max_pixels, max_bytes=max_bytes, frame=frame)
    pixels = _pixels(dataset, max_pixels)
    if not any(tag in dataset for tag in PIXEL_DATA):
        raise UnreadableImage(NO_PIXELS)
    frames = check_frame(dataset, frame)
    complete(dataset, notes)
    check_memory(pixels, _bytes_per_pixel(dataset) + (BYTES_PER_PIXEL if step else 0), max_bytes)
    stored = _stored(dataset, frame, notes)
    values = _values(dataset, stored, step, notes) if step else None
    levels = _levels(dataset, stored, window, notes)
    if np.array_equal(levels.min(axis=(0, 1)), levels.max(axis=(0, 1))):
        add_note(notes, "All pixels of the image have the same value.")
    return Picture(Image.fromarray(levels), None, tuple(notes), values, frame if frames > 1 else None)


def _stored(dataset: Dataset, frame: Frame, notes: Notes) -> Samples:
    if dataset.PhotometricInterpretation not in (*GRAYSCALE, PALETTE, *COLORS):
        raise UnsupportedImage(
            "the DICOM image has an unsupported color space: grayscale, palette, RGB, YBR_FULL are read"
        )
    return read_frame(dataset, frame, notes)


def _values(dataset: Dataset, stored: Samples, step: Values, notes: Notes) -> Floats | None:
    color_space = dataset.PhotometricInterpretation
    if color_space == PALETTE:
        raise NoFullDepth(
            "the model reads values at full depth, and the colors of a palette have none: send DICOM without palette"
        )
    if color_space not in GRAYSCALE:
        return None
    bits = int(dataset.BitsStored) if stored.dtype.kind in "iu" else None
    inverted = color_space == "MONOCHROME1"
    return full_depth(stored, step, inverted=inverted, bits=bits, modality=modality_of(dataset, notes))


def _levels(dataset: Dataset, stored: Samples, window: Window | None, notes: Notes) -> npt.NDArray[np.uint8]:
    color_space = dataset.PhotometricInterpretation
    if color_space in GRAYSCALE:
        return grey_levels(dataset, stored, window, notes)
    if color_space == PALETTE:
        return _palette(apply_color_lut(stored, dataset))
    return apply_curve(stored, full_range(dataset.BitsStored))


def _pixels(dataset: Dataset, max_pixels: int) -> int:
    if any(dataset.get(keyword) is None for keyword in SIZE):
        raise UnreadableImage(NO_PIXELS)
    return check_size(int(dataset.Columns), int(dataset.Rows), max_pixels)


def _bytes_per_pixel(dataset: Dataset) -> int:
    """Estimate the memory of the decoder: the file's pixels, the frame, its samples and a copy of them."""
    samples, size = (
        int(dataset.get("SamplesPerPixel") or 1),
        math.ceil(int(dataset.get("BitsAllocated") or 1) / _BYTE_BITS),
    )
    more = _PALETTE_BYTES if dataset.PhotometricInterpretation == PALETTE else 0
    is_plain = dataset.PhotometricInterpretation == "RGB" and dataset.file_meta.TransferSyntaxUID in _PLAIN_COLORS
    if samples > 1 and not is_plain:
        more = _CONVERTED_COLOR_BYTES * size
    return _COPIES * samples * size + _PICTURE_BYTES + more


def _palette(entries: Samples) -> Samples:
    """Reduce a palette's entries to 8 bits; some writers store 8-bit values in entries declared as 16 bits."""
    if entries.dtype == np.uint8 or entries.max() < 256:
        return entries.astype(np.uint8)
    return apply_curve(entries, full_range(16))
