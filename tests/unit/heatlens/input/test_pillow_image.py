import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from heatlens.errors import UnreadableImage
from heatlens.input.decode import decode
from heatlens.input.pillow_image import image_file
from heatlens.types import Window
from tests.support.images import encoded, noise

MANY = 1_000_000
VALUES = np.random.default_rng(0).integers(0, 4096, (6, 9))


def levels(data: bytes, window: Window | None = None) -> np.ndarray[Any, Any]:
    return np.asarray(decode(data, max_pixels=MANY, window=window).image)


def sixteen_bits(mode: str) -> Image.Image:
    return Image.frombytes(mode, (9, 6), VALUES.astype(">u2" if mode == "I;16B" else "<u2").tobytes())


DEEP = {
    "I": Image.fromarray(VALUES.astype(np.int32)),
    "F": Image.fromarray(VALUES.astype(np.float32)),
    **{mode: sixteen_bits(mode) for mode in ("I;16", "I;16L", "I;16B", "I;16N")},
}


@pytest.mark.parametrize("mode", DEEP)
def test_every_deep_mode_is_stretched_as_the_file_of_its_values(mode: str) -> None:
    file = encoded(Image.fromarray(VALUES.astype(np.uint16)))

    assert DEEP[mode].mode == mode
    assert np.array_equal(levels(image_file(DEEP[mode])), levels(file))
    assert 0 < levels(file)[0, 0] < 255


@pytest.mark.parametrize("mode", ["I", "I;16B"])
def test_a_window_applies_to_the_values_of_a_pillow_image(mode: str) -> None:
    file = encoded(Image.fromarray(VALUES.astype(np.uint16)))

    assert np.array_equal(levels(image_file(DEEP[mode]), (2048, 1000)), levels(file, (2048, 1000)))


def test_negative_and_large_values_and_fractions_are_kept() -> None:
    for values in (np.array([[-1000, 0, 3000]], np.int32), np.array([[0, 100_000, 400_000]], np.int32)):
        assert levels(image_file(Image.fromarray(values))).tolist() == [[0, 64, 255]]
    assert levels(image_file(Image.fromarray(np.array([[0, 0.25, 1]], np.float32)))).tolist() == [[0, 64, 255]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(value: float) -> None:
    image = Image.fromarray(np.array([[0, value]], np.float32))

    with pytest.raises(UnreadableImage, match="values that are not finite"):
        levels(image_file(image))


def test_a_transparent_deep_value_is_black() -> None:
    image = Image.fromarray(np.array([[1000, 2000, 3000]], np.int32))
    image.info["transparency"] = 3000

    assert levels(image_file(image)).tolist() == [[0, 128, 0]]


def test_an_opened_tiff_whose_white_is_zero_is_inverted_as_its_file_is() -> None:
    file = encoded(Image.fromarray(VALUES.astype(np.uint16)), "TIFF", tiffinfo={262: 0})

    assert np.array_equal(levels(image_file(Image.open(io.BytesIO(file)))), levels(file))
    assert not np.array_equal(levels(file), levels(encoded(Image.fromarray(VALUES.astype(np.uint16)), "TIFF")))


@pytest.mark.parametrize(("mode", "straight"), [("La", "LA"), ("RGBa", "RGBA"), ("PA", "RGBA")])
def test_alpha_of_any_mode_is_composed_on_black(mode: str, straight: str) -> None:
    image = noise((9, 7)).quantize(200).convert("PA") if mode == "PA" else noise((9, 7)).convert(straight)
    image.putalpha(noise((9, 7), "L"))
    image = image.convert(mode)

    assert image.mode == mode
    assert np.array_equal(levels(image_file(image)), levels(encoded(image.convert(straight))))


def test_lab_colors_and_an_image_without_pixels_are_refused_by_name() -> None:
    with pytest.raises(UnreadableImage, match="LAB colors: convert it to RGB"):
        image_file(Image.new("LAB", (4, 4)))
    with pytest.raises(UnreadableImage, match="no pixels"):
        image_file(Image.new("L", (0, 4)))


def test_an_opened_image_that_is_truncated_is_unreadable() -> None:
    cut = Image.open(io.BytesIO(encoded(noise((40, 40)))[:900]))

    with pytest.raises(UnreadableImage, match="cannot be loaded"):
        image_file(cut)
