from typing import get_args

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from heatlens.explain.cam import signed
from heatlens.render.color import SIGNED, blend, color_map, levels, overlay, table
from heatlens.types import WHOLE, Colormap, Floats, Part
from tests.support.images import noise
from tests.support.slow_drawing import slow_levels, slow_overlay


def heat(shape: tuple[int, int] = (7, 7)) -> Floats:
    return np.random.default_rng(3).random(shape, dtype=np.float32)


@pytest.mark.contract("colormaps")
@pytest.mark.parametrize("name", get_args(Colormap))
def test_tables_equal_matplotlib(name: Colormap) -> None:
    expected = mpl.colormaps[name](np.arange(256), bytes=True)[:, :3]

    assert table(name) == expected.tobytes()


SIZES = [(40, 31), (1, 1), (1, 50), (257, 1), (5, 3), (333, 211), (70_000, 2)]
PARTS: list[Part] = [WHOLE, (0.1, 0.2, 0.9, 0.75), (0.3, 0, 0.4, 1)]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(7, 7), (1, 1), (1, 9), (20, 3), (64, 50)])
def test_levels_are_those_of_a_slow_enlargement_rounded_to_nearest(
    shape: tuple[int, int], size: tuple[int, int], part: Part
) -> None:
    values, (width, height) = heat(shape), size
    box = (width // 3, height // 4, width, height)

    found = levels(values, size, box, part, outside=9)(0, height)

    expected = slow_levels(values, size, box, part, outside=9)
    assert found.shape == (height, width)
    assert np.abs(found - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("value", [0, 0.5, 1])
@pytest.mark.parametrize("size", [(9, 9), (1, 77), (701, 3)])
def test_even_heat_has_one_level_rounded_up_from_the_middle(value: float, size: tuple[int, int]) -> None:
    even = np.full((3, 5), value, np.float32)

    assert np.unique(levels(even, size, (0, 0, *size), (0.1, 0.1, 0.8, 0.9))(0, size[1])) == [round(value * 255 + 0.1)]


def test_a_row_is_the_same_whichever_rows_are_computed_with_it() -> None:
    size, box = (50, 97), (4, 11, 44, 90)

    compute = levels(heat((20, 20)), size, box)

    assert np.array_equal(np.concatenate([compute(row, row + 1) for row in range(97)]), compute(0, 97))


def test_heat_is_zero_outside_the_box() -> None:
    drawn = levels(np.ones((2, 2), np.float32), (30, 10), (10, 0, 20, 10))(0, 10)

    assert (drawn[:, 10:20] == 255).all()
    assert (drawn[:, :10] == 0).all()
    assert (drawn[:, 20:] == 0).all()


@pytest.mark.parametrize("colormap", get_args(Colormap))
def test_outside_the_box_is_the_color_of_no_heat(colormap: Colormap) -> None:
    nothing = np.full((2, 2), 0.5 if colormap in SIGNED else 0, np.float32)

    drawn = np.asarray(color_map(np.ones((2, 2), np.float32), (30, 10), (10, 0, 20, 10), colormap=colormap).whole())

    none = np.asarray(color_map(nothing, (1, 1), (0, 0, 1, 1), colormap=colormap).whole())[0, 0]
    assert (drawn[:, :10] == none).all()
    assert (drawn[:, 20:] == none).all()
    assert (drawn[:, 10:20] == np.frombuffer(table(colormap), np.uint8)[-3:]).all()


@pytest.mark.parametrize("colormap", sorted(SIGNED))
def test_a_signed_colormap_has_both_ends_and_its_palest_color_between(colormap: Colormap) -> None:
    values = np.array([[-3, 0, 3]], np.float32)

    drawn = np.asarray(color_map(signed(values), (3, 1), (0, 0, 3, 1), colormap=colormap).whole())[0].astype(int)

    entries = np.frombuffer(table(colormap), np.uint8).reshape(256, 3)
    assert drawn.tolist() == [entries[0].tolist(), entries[128].tolist(), entries[255].tolist()]
    red, blue = drawn[2], drawn[0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert np.ptp(drawn[1]) <= 3  # grey


def test_the_map_alone_is_what_an_overlay_blends() -> None:
    picture, box = noise((40, 30)), (5, 0, 35, 30)

    alone = color_map(heat(), picture.size, box, colormap="turbo").whole()

    assert (alone.mode, alone.size) == ("RGB", (40, 30))
    blended = Image.blend(picture, alone, 0.4)
    assert np.array_equal(np.asarray(overlay(picture, heat(), box, colormap="turbo", alpha=0.4)), np.asarray(blended))


@pytest.mark.contract("alpha")
@pytest.mark.parametrize("alpha", [0, 0.1, 0.4, 0.9, 1])
@pytest.mark.parametrize("colormap", ["viridis", "jet", "seismic"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(40, 30), (333, 211), (1, 9), (257, 1), (70_000, 2)])
def test_overlay_is_alpha_heat_plus_the_rest_original(
    alpha: float, colormap: Colormap, mode: str, size: tuple[int, int]
) -> None:
    picture, box = noise(size, mode), (size[0] // 3, size[1] // 4, *size)

    drawing = color_map(heat(), size, box, colormap=colormap)
    drawn = np.asarray(blend(picture, drawing, alpha=alpha).whole(), np.float64)

    index = levels(heat(), size, box, outside=128 if colormap in SIGNED else 0)(0, size[1])
    expected = slow_overlay(np.asarray(picture), index, colormap=colormap, alpha=alpha)
    assert np.abs(drawn - expected).max() < 1


def test_one_pixel_has_an_overlay() -> None:
    assert overlay(Image.new("RGB", (1, 1)), heat(), (0, 0, 1, 1), colormap="jet", alpha=0.4).size == (1, 1)
