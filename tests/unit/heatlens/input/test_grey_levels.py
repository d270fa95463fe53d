import math
from typing import Any

import numpy as np
import pytest

from heatlens.errors import UnreadableImage
from heatlens.input.grey_levels import WindowFunction, apply_curve, invert, stretch, windowing

Array = np.ndarray[Any, Any]
GENERATOR = np.random.default_rng(0)


def slowly_windowed(value: float, centre: float, width: float, function: WindowFunction) -> float:
    """PS3.3 C.11.2.1.2.1 and C.11.2.1.3, one value at a time, as the standard writes it; 0 to 1."""
    if function == "SIGMOID":
        exponent = -4 * (value - centre) / width
        return 1 / (1 + math.exp(exponent)) if exponent < 700 else 0  # beyond that a float has no such number
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if value <= centre - width / 2:
        return 0
    if value > centre + width / 2:
        return 1
    return (value - centre) / width + 0.5


@pytest.mark.parametrize("kind", ["u1", "i1", "<u2", ">u2", "<i2", ">i2", "<u4", "<i4", ">i4", "<f4", ">f8"])
def test_the_table_equals_one_value_after_the_other(kind: str) -> None:
    dtype = np.dtype(kind)
    bounds = np.iinfo(dtype) if dtype.kind != "f" else np.finfo(np.float32)
    values = np.append(GENERATOR.integers(-100, 100, 50).clip(bounds.min, bounds.max), [bounds.min, bounds.max])
    values = values.astype(dtype).reshape(4, 13)[:, ::2]  # neither contiguous nor in this machine's order
    curve = stretch(float(values.min()), float(values.max()))

    one_by_one = [round(float(np.clip(curve(np.array([int(value)]))[0], 0, 255))) for value in values.flat]

    assert apply_curve(values, curve).shape == values.shape
    assert apply_curve(values, curve).ravel().tolist() == one_by_one


def test_a_stretch_reaches_both_ends_and_a_constant_is_black() -> None:
    assert apply_curve(np.array([7, 9, 11], np.uint16), stretch(7, 11)).tolist() == [0, 128, 255]
    assert apply_curve(np.array([7, 7], np.uint16), stretch(7, 7)).tolist() == [0, 0]


@pytest.mark.parametrize(("low", "high"), [(np.nan, 1.0), (0.0, np.inf), (-np.inf, np.inf)])
def test_rejects_a_range_that_is_not_finite(low: float, high: float) -> None:
    with pytest.raises(UnreadableImage, match="values that are not finite"):
        stretch(low, high)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("window", [(0.0, 1.0), (40.0, 400.0), (-600.0, 1500.0), (2048.0, 4096.0), (3.5, 2.0)])
def test_a_window_equals_the_formula_of_the_standard(window: tuple[float, float], function: WindowFunction) -> None:
    values = np.arange(-3000, 3000, dtype=np.int16)

    expected = [255 * slowly_windowed(int(value), *window, function) for value in values]

    assert np.abs(apply_curve(values, windowing(window, function)) - np.array(expected)).max() <= 0.5 + 1e-6


def test_the_full_window_of_eight_bits_changes_nothing() -> None:
    values = np.arange(256, dtype=np.uint8)

    assert np.array_equal(apply_curve(values, windowing((128, 256))), values)


def test_a_window_of_one_value_or_less_is_a_threshold() -> None:
    values = np.array([9, 10, 11], np.uint16)

    for width in (1.0, 0.5):
        assert apply_curve(values, windowing((10, width))).tolist() == [0, 255, 255]


def test_invert_gives_the_negative_within_the_levels() -> None:
    values = np.array([-5, 0, 100, 255, 300], np.int16)

    assert apply_curve(values, invert(lambda each: each.astype(np.float64))).tolist() == [255, 255, 155, 0, 0]
