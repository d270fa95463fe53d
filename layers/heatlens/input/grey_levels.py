"""Map grayscale samples of any depth to 8-bit levels by one curve: their own range, or a window."""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from heatlens.errors import UnreadableImage
from heatlens.types import Floats, Window

Samples = npt.NDArray[Any]
Levels = npt.NDArray[np.float64]
Curve = Callable[[Samples], Levels]  # maps values to levels; those outside 0 to 255 are clipped
WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
Made = TypeVar("Made", np.uint8, np.uint16, np.float32)

_BAND_VALUES = 1_000_000
_TABLE_BYTES = 2  # a sample of at most 2 bytes has at most 65,536 values


def apply_curve(values: Samples, curve: Curve) -> npt.NDArray[np.uint8]:
    """Compute the levels of all samples, rounded to nearest.

    Args:
        values: Of any shape. Whole numbers of up to 16 bits are looked up in a table: the curve is computed once for
            each possible value instead of for each pixel.
        curve: Receives whole numbers as int64, others as they are.
    """
    return _mapped(values, lambda each: _rounded(curve(each)), np.uint8)


def apply_exactly(values: Samples, function: Curve) -> Floats:
    """Compute a function of all samples in float64, rounded only to float32; arguments as `apply_curve`."""
    return _mapped(values, function, np.float32)


def _mapped(values: Samples, function: Callable[[Samples], Samples], dtype: type[Made]) -> npt.NDArray[Made]:
    if values.dtype.kind == "f":
        return in_bands(function, values, dtype=dtype)
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if native.itemsize > _TABLE_BYTES:
        return in_bands(lambda band: function(band.astype(np.int64)), native, dtype=dtype)
    index = native.view(f"u{native.itemsize}")
    all_values = np.arange(2 ** (8 * native.itemsize), dtype=index.dtype).view(native.dtype)
    table = function(all_values.astype(np.int64)).astype(dtype)
    found: npt.NDArray[Made] = table[index]
    return found


def in_bands(work: Callable[..., Samples], *arrays: Samples, dtype: type[Made]) -> npt.NDArray[Made]:
    """Compute new samples in bands of rows: intermediate values take up to 24 bytes a pixel.

    Args:
        work: Answers bands of the arrays with new samples for their first one's pixels.
        *arrays: Of the same pixels, rows first.
        dtype: Of the new samples.
    """
    made = np.empty(arrays[0].shape, dtype)
    rows = max(1, _BAND_VALUES // max(1, made[0].size))
    for start in range(0, len(made), rows):
        made[start : start + rows] = work(*(array[start : start + rows] for array in arrays))
    return made


def stretch(low: float, high: float) -> Curve:
    """Make a linear curve from `low` to `high`; where they are equal, all levels are 0.

    Raises:
        UnreadableImage: One of them is not finite.
    """
    if not math.isfinite(high - low):
        raise UnreadableImage("the image has values that are not finite: give each pixel a finite number")
    return lambda values: (values.astype(np.float64) - low) * (255 / ((high - low) or 1.0))


def windowing(window: Window, function: WindowFunction = "LINEAR") -> Curve:
    """Make the curve of a window `(center, width)`: black below, white above, by a function of DICOM PS3.3 C.11.2.1.

    LINEAR, made for whole numbers: `(x - (c - 0.5)) / (w - 1) + 0.5`, a threshold where the width is 1 or less;
    LINEAR_EXACT: `(x - c) / w + 0.5`; SIGMOID: `1 / (1 + exp(-4 (x - c) / w))`.
    """
    center, width = window
    if function == "SIGMOID":
        # Beyond these limits a level is 0 or 255 anyway, and exp would overflow.
        return lambda values: 255 / (1 + np.exp(np.clip(-4 * (values.astype(np.float64) - center) / width, -50, 50)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width <= 0:
        return lambda values: np.where(values > center, 255.0, 0.0)
    return lambda values: ((values.astype(np.float64) - center) / width + 0.5) * 255


def invert(curve: Curve) -> Curve:
    """Make the curve of a picture whose white is its smallest value."""
    return lambda values: 255 - np.clip(curve(values), 0, 255)


def _rounded(levels: Levels) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
