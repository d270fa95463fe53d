import numpy as np
import pytest
from PIL import Image

from heatlens.render.color import levels
from heatlens.render.enlarge import HALF, enlarge, exact_levels, strip_rows
from tests.support.slow_drawing import slow_levels


@pytest.mark.parametrize("size", [(40, 31), (3, 2), (5, 700)])
def test_exact_levels_are_those_that_are_drawn_before_they_are_truncated(size: tuple[int, int]) -> None:
    heat = np.random.default_rng(1).random((7, 9), dtype=np.float32)

    exact = exact_levels(heat, size)

    assert np.array_equal(exact.astype(np.uint8), levels(heat, size, (0, 0, *size))(0, size[1]))
    assert np.abs(exact - HALF - slow_levels(heat, size, (0, 0, *size))).max() < 1e-3


@pytest.mark.parametrize("size", [(64, 64), (3, 3), (20, 500), (500, 20)])
def test_an_enlargement_is_that_of_pillow(size: tuple[int, int]) -> None:
    heat = np.random.default_rng(1).random((20, 20), dtype=np.float32)

    expected = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR), np.float32)

    assert np.abs((enlarge(heat, size).rows(0, size[1]) - HALF) / 255 - expected).max() < 1e-6


@pytest.mark.parametrize(("width", "rows"), [(1024, 64), (1, 65_536), (65_536, 1), (1_000_000, 1)])
def test_a_strip_has_a_row_at_least(width: int, rows: int) -> None:
    assert strip_rows(width) == rows
