import tracemalloc

import numpy as np
import pytest
from PIL import Image

from heatlens.render.color import blend, color_map
from heatlens.render.drawing import drawing_of
from heatlens.render.png import png
from tests.support.images import noise


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (3, 70_000), (70_000, 3), (300, 500)])
def test_strips_together_are_the_image(size: tuple[int, int], mode: str) -> None:
    image = noise(size, mode)
    image.info["secret"] = "patient"

    drawing = drawing_of(image)

    strips = [np.asarray(strip) for strip in drawing.strips()]
    assert np.array_equal(np.concatenate(strips), np.asarray(image))
    assert np.array_equal(np.asarray(drawing.whole()), np.asarray(image))
    assert (drawing.whole().mode, drawing.whole().info) == (mode, {})


def test_drawing_and_encoding_hold_no_array_of_the_pictures_size() -> None:
    """The only things that grow with it are the file itself, and for a moment its pieces."""
    picture = Image.new("L", (2000, 1000))
    heat = np.random.default_rng(0).random((7, 7), dtype=np.float32)

    def draw() -> int:
        colored = color_map(heat, picture.size, (0, 0, 2000, 1000), colormap="jet")
        return len(png(blend(picture, colored, alpha=0.4)))

    draw()
    tracemalloc.start()
    try:
        written = draw()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 2_000_000 + 2 * written  # less than a byte a pixel: an array of floats alone has four
