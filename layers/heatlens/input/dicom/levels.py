"""Map the stored values of a grayscale DICOM frame to 8-bit levels by window or table: the stages of PS3.3 C.11."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from heatlens.input.dicom.numbers import Notes, add_note, first_number
from heatlens.input.dicom.parse import FUNCTIONAL_GROUPS
from heatlens.input.grey_levels import Curve, Samples, WindowFunction, apply_curve, invert, stretch, windowing
from heatlens.types import Window

_BYTE_BITS = 8
_FUNCTIONS: dict[str, WindowFunction] = {"LINEAR_EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}

Modality = Callable[[Samples], Samples]


def grey_levels(dataset: Dataset, stored: Samples, window: Window | None, notes: Notes) -> npt.NDArray[np.uint8]:
    """Compute the levels of a frame: modality, VOI and presentation stages.

    Args:
        dataset: Its pixel module's elements.
        stored: Its stored values, `[rows, columns]`.
        window: Linear window that replaces the VOI stage, in units of the modality stage's output.
        notes: Receives a sentence for each assumption.

    Returns:
        Levels of the same shape. Without a VOI stage they span the frame's smallest to largest value, without padding,
        which is black; values of at most 8 bits keep their own range where they are not rescaled.
    """
    transformation = _group(dataset, "PixelValueTransformationSequence")
    modality = modality_of(dataset, notes)
    voi = _voi(_group(dataset, "FrameVOILUTSequence"), notes) if window is None else None
    if window is not None:
        voi = windowing(window, "LINEAR_EXACT" if stored.dtype.kind == "f" else "LINEAR")
    elif voi is None and modality is None and stored.dtype.kind == "u" and dataset.BitsStored <= _BYTE_BITS:
        voi = full_range(dataset.BitsStored)
    padding = _padding(dataset, stored) if voi is None else None
    if voi is None:
        voi = _own_range(stored, padding, modality, table=bool(transformation.get("ModalityLUTSequence")))

    curve = voi if modality is None else _after(modality, voi)
    levels = apply_curve(stored, invert(curve) if dataset.PhotometricInterpretation == "MONOCHROME1" else curve)
    if padding is not None:
        levels[padding] = 0
    return levels


def modality_of(dataset: Dataset, notes: Notes) -> Modality | None:
    """Make the function of the frame's modality stage, `None` where it changes nothing."""
    return _modality(_group(dataset, "PixelValueTransformationSequence"), notes)


def full_range(bits: int) -> Curve:
    """Make the curve that maps the whole range of unsigned values of `bits` bits to 0..255."""
    return stretch(0, 2**bits - 1)


def _after(modality: Modality, voi: Curve) -> Curve:
    return lambda values: voi(modality(values))


def _group(dataset: Dataset, name: str) -> Dataset:
    """Find the frame's values: in its own group, in that of all frames, or beside the pixels."""
    for groups in map(dataset.get, FUNCTIONAL_GROUPS):
        if groups and (items := groups[0].get(name)):
            group: Dataset = items[0]
            return group
    return dataset


def _modality(dataset: Dataset, notes: Notes) -> Modality | None:
    if tables := dataset.get("ModalityLUTSequence"):
        look_up, _ = _table(tables[0], dataset)
        return look_up
    slope, intercept = (first_number(dataset, keyword, notes) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if slope is None and intercept is None:
        return None
    factor = _usable(slope, "RescaleSlope", 1, notes) or 1.0
    if slope == 0:
        add_note(notes, "RescaleSlope is 0: read as 1.")
    summand = _usable(intercept, "RescaleIntercept", 0, notes)
    if (factor, summand) == (1, 0):
        return None
    return lambda values: values.astype(np.float64) * factor + summand


def _usable(number: float | None, keyword: str, otherwise: int, notes: Notes) -> float:
    if number is not None and math.isfinite(number):
        return number
    add_note(notes, f"{keyword} is {'missing' if number is None else 'not a number'}: read as {otherwise}.")
    return otherwise


def _voi(dataset: Dataset, notes: Notes) -> Curve | None:
    tables = dataset.get("VOILUTSequence")
    if tables and "LUTData" in tables[0]:
        look_up, bits = _table(tables[0], dataset)
        return _after(look_up, full_range(bits))
    if not any(keyword in dataset for keyword in ("WindowCenter", "WindowWidth")):
        return None
    center, width = (first_number(dataset, keyword, notes) for keyword in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", *_FUNCTIONS):
        add_note(notes, "VOILUTFunction is unknown: read as LINEAR.")
        function = "LINEAR"
    if center is None or width is None or not math.isfinite(center + width):
        add_note(notes, "The window of the file is not two numbers and was ignored.")
    elif width <= 0 or (function == "LINEAR" and width < 1):
        add_note(notes, "The window of the file has no width and was ignored.")
    else:
        return windowing((center, width), _FUNCTIONS.get(function, "LINEAR"))
    return None


def _table(item: Dataset, dataset: Dataset) -> tuple[Modality, int]:
    """Read a lookup table and the bits of its entries; values outside its inputs get the first or last entry."""
    count, first, bits = item.LUTDescriptor
    entries = item.LUTData
    if isinstance(entries, bytes):
        count = count or 2**16
        order = "<" if dataset.original_encoding[1] in (True, None) else ">"
        entries = np.frombuffer(entries, f"{order}u2" if len(entries) >= 2 * count else "u1", count)
    entries = np.atleast_1d(np.asarray(entries)).astype(np.int64)
    return lambda values: entries[np.clip((values - first).astype(np.int64), 0, len(entries) - 1)], int(bits)


def _padding(dataset: Dataset, stored: Samples) -> npt.NDArray[np.bool_] | None:
    """Find the padding: pixels of the padding value, or between it and the range's other end."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    other = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if other is None else other)))
    padding: npt.NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return None if padding.all() else padding


def _own_range(
    stored: Samples, padding: npt.NDArray[np.bool_] | None, modality: Modality | None, *, table: bool
) -> Curve:
    image = stored if padding is None else stored[~padding]
    # A linear stage has its extremes at those of the values; a table may have them anywhere.
    values = np.unique(image) if table else np.array([image.min(), image.max()])
    if modality is not None:
        values = modality(values)
    return stretch(float(values.min()), float(values.max()))
