from typing import get_args

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from heatlens.explain.cam import signed
from heatlens.render.color import SIGNED, color_map, levels, overlay, table
from heatlens.types import Colormap, Floats
from tests.support.images import noise


def heat(shape: tuple[int, int] = (7, 7)) -> Floats:
    return np.random.default_rng(3).random(shape, dtype=np.float32)


def bilinear(values: Floats, width: int, height: int) -> Floats:
    """Half-pixel bilinear enlargement with the edge repeated, one output pixel at a time."""
    h, w = values.shape
    result = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            fy = min(max((y + 0.5) * h / height - 0.5, 0), h - 1)
            fx = min(max((x + 0.5) * w / width - 0.5, 0), w - 1)
            y0, x0 = int(fy), int(fx)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            top = values[y0, x0] * (1 - (fx - x0)) + values[y0, x1] * (fx - x0)
            low = values[y1, x0] * (1 - (fx - x0)) + values[y1, x1] * (fx - x0)
            result[y, x] = top * (1 - (fy - y0)) + low * (fy - y0)
    return result


@pytest.mark.contract("colormaps")
@pytest.mark.parametrize("name", get_args(Colormap))
def test_tables_equal_matplotlib(name: Colormap) -> None:
    expected = mpl.colormaps[name](np.arange(256), bytes=True)[:, :3]

    assert table(name) == expected.tobytes()


def test_levels_equal_a_slow_bilinear_enlargement() -> None:
    expected = 255 * bilinear(heat(), 40, 31)

    assert np.abs(np.asarray(levels(heat(), (40, 31), (0, 0, 40, 31)), np.float32) - expected).max() <= 0.5 + 1e-3


def test_extremes_are_reached() -> None:
    full = levels(np.ones((3, 3), np.float32), (9, 9), (0, 0, 9, 9))
    none = levels(np.zeros((3, 3), np.float32), (9, 9), (0, 0, 9, 9))

    assert full.getextrema() == (255, 255)
    assert none.getextrema() == (0, 0)


def test_heat_is_zero_outside_the_box() -> None:
    drawn = np.asarray(levels(np.ones((2, 2), np.float32), (30, 10), (10, 0, 20, 10)))

    assert (drawn[:, 10:20] == 255).all()
    assert (drawn[:, :10] == 0).all()
    assert (drawn[:, 20:] == 0).all()


@pytest.mark.parametrize("colormap", get_args(Colormap))
def test_outside_the_box_is_the_color_of_no_heat(colormap: Colormap) -> None:
    nothing = np.full((2, 2), 0.5 if colormap in SIGNED else 0, np.float32)

    drawn = np.asarray(color_map(np.ones((2, 2), np.float32), (30, 10), (10, 0, 20, 10), colormap=colormap))

    none = np.asarray(color_map(nothing, (1, 1), (0, 0, 1, 1), colormap=colormap))[0, 0]
    assert (drawn[:, :10] == none).all()
    assert (drawn[:, 20:] == none).all()
    assert (drawn[:, 10:20] == np.frombuffer(table(colormap), np.uint8)[-3:]).all()


@pytest.mark.parametrize("colormap", sorted(SIGNED))
def test_a_signed_colormap_has_both_ends_and_its_palest_color_between(colormap: Colormap) -> None:
    values = np.array([[-3, 0, 3]], np.float32)

    drawn = np.asarray(color_map(signed(values), (3, 1), (0, 0, 3, 1), colormap=colormap))[0].astype(int)

    entries = np.frombuffer(table(colormap), np.uint8).reshape(256, 3)
    assert drawn.tolist() == [entries[0].tolist(), entries[128].tolist(), entries[255].tolist()]
    red, blue = drawn[2], drawn[0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert np.ptp(drawn[1]) <= 3  # grey


def test_the_map_alone_is_what_an_overlay_blends() -> None:
    picture, box = noise((40, 30)), (5, 0, 35, 30)

    alone = color_map(heat(), picture.size, box, colormap="turbo")

    assert (alone.mode, alone.size) == ("RGB", (40, 30))
    blended = Image.blend(picture, alone, 0.4)
    assert np.array_equal(np.asarray(overlay(picture, heat(), box, colormap="turbo", alpha=0.4)), np.asarray(blended))


@pytest.mark.contract("alpha")
@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.9])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_overlay_is_alpha_heat_plus_the_rest_original(alpha: float, mode: str) -> None:
    picture, box = noise((40, 30), mode), (0, 0, 40, 30)

    drawn = overlay(picture, heat(), box, colormap="viridis", alpha=alpha)

    index = np.asarray(levels(heat(), picture.size, box))
    colors = np.frombuffer(table("viridis"), np.uint8).reshape(256, 3)[index]
    expected = alpha * colors + (1 - alpha) * np.asarray(picture.convert("RGB"), np.float64)
    assert np.abs(np.asarray(drawn, np.float64) - expected).max() < 1


def test_one_pixel_has_an_overlay() -> None:
    assert overlay(Image.new("RGB", (1, 1)), heat(), (0, 0, 1, 1), colormap="jet", alpha=0.4).size == (1, 1)
