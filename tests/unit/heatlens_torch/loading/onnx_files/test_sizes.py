"""Sizes are computed in NumPy, also where one is a symbol, and hostile ones are refused."""

from typing import Any

import numpy as np
import pytest

from heatlens_torch.loading.onnx_files.sizes import MOST_VALUES, SIZES, sizes, slices, target_shape


class Symbol:
    """A number that NumPy cannot convert, as torch's sizes are."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __mul__(self, other: Any) -> "Symbol":  # noqa: ANN401
        return Symbol(f"{self.text}*{other}")


def test_a_symbol_passes_through_slices_and_products() -> None:
    shape = sizes([Symbol("b"), 3, 8])
    first = SIZES["Slice"]({}, shape, np.array([0]), np.array([1]))
    product = SIZES["Mul"]({}, first, np.array([4]))
    whole = SIZES["Concat"]({"axis": 0}, product, np.array([-1]))

    assert whole[0].text == "b*4"
    assert whole[1] == -1


def test_whole_numbers_are_divided_to_whole_numbers() -> None:
    assert SIZES["Div"]({}, np.array([7]), np.array([2])).tolist() == [3]
    assert SIZES["Div"]({}, np.array([7], np.float32), np.array([2], np.float32)).tolist() == [3.5]


def test_a_reshape_copies_sizes_at_zero() -> None:
    assert target_shape([2, 3, 4], [0, -1]) == [2, -1]
    assert target_shape([2, 3, 4], [0, -1], allow_zero=True) == [0, -1]


def test_the_largest_number_is_the_end() -> None:
    far = (np.array([0]), np.array([np.iinfo(np.int64).max]), np.array([1]))

    assert slices({}, (2, 5), far) == (slice(None), slice(None, None, 1))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("ConstantOfShape", (np.array([MOST_VALUES, 2]),)),
        ("Expand", (np.zeros(1), np.array([MOST_VALUES, 2]))),
        ("Tile", (np.zeros(2), np.array([MOST_VALUES]))),
        ("Range", (np.array(0), np.array(MOST_VALUES * 2), np.array(1))),
    ],
)
def test_a_constant_that_would_fill_the_memory_is_refused(kind: str, values: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="is too large"):
        SIZES[kind]({}, *values)
