import io

import numpy as np
import pytest
from PIL import Image

from heatlens.render.color import overlay
from heatlens.render.png import png
from tests.support.images import encoded, noise


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (64, 48), (257, 3), (333, 500), (70_000, 3)])
def test_png_gives_the_same_pixels_back(size: tuple[int, int], mode: str) -> None:
    image = noise(size, mode)

    back = Image.open(io.BytesIO(png(image)))
    back.load()

    assert back.format == "PNG"
    assert back.mode == mode
    assert np.array_equal(np.asarray(back), np.asarray(image))


def test_png_is_deterministic_and_carries_no_metadata() -> None:
    image = noise((32, 32))
    image.info["secret"] = "patient"

    assert png(image) == png(noise((32, 32)))
    assert Image.open(io.BytesIO(png(image))).info == {}


def test_an_overlay_is_about_as_small_as_pillow_makes_it(sample_jpeg: bytes) -> None:
    radiograph = Image.open(io.BytesIO(sample_jpeg))
    heat = np.random.default_rng(0).random((20, 20), dtype=np.float32)
    drawn = overlay(radiograph, heat, (0, 0, *radiograph.size), colormap="jet", alpha=0.4)

    assert len(png(drawn)) < 1.25 * len(encoded(drawn))
