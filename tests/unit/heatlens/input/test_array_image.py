import numpy as np
import numpy.typing as npt
import pytest

from heatlens.errors import UnreadableImage
from heatlens.input.array_image import array_image

RAMP = np.arange(12).reshape(3, 4)


def pixels(values: npt.NDArray[np.generic], *, keep_floats: bool = False) -> list[object]:
    image = array_image(values, keep_floats=keep_floats)
    return [image.mode, np.asarray(image).tolist()]


@pytest.mark.parametrize(
    ("values", "mode", "expected"),
    [
        (RAMP.astype(np.uint8), "L", RAMP),
        (RAMP.astype(np.uint8)[:, :, None], "L", RAMP),
        (RAMP > 5, "L", (RAMP > 5) * 255),
        (RAMP / 11, "L", np.rint(RAMP / 11 * 255)),
        ((RAMP / 11).astype(np.float16), "L", np.rint((RAMP / 11).astype(np.float16) * 255)),
        (RAMP.astype(np.uint16) * 5000, "I;16", RAMP * 5000),
        (RAMP.astype(np.int64), "I;16", RAMP),
        (RAMP.astype(np.int16) - 1000, "I", RAMP - 1000),
    ],
    ids=["uint8", "one channel", "bool", "float64", "float16", "uint16", "int64", "negative"],
)
def test_a_grayscale_array_keeps_its_values(
    values: npt.NDArray[np.generic], mode: str, expected: npt.NDArray[np.generic]
) -> None:
    assert pixels(values) == [mode, expected.tolist()]


@pytest.mark.parametrize(("channels", "mode"), [(2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_a_color_array_has_its_channels_last(channels: int, mode: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 5, channels))

    assert pixels(values.astype(np.uint8)) == [mode, values.tolist()]
    assert pixels(values) == [mode, values.tolist()]  # integers of 64 bits in the range of 8
    assert pixels(values / 255) == [mode, values.tolist()]
    assert pixels((values * 257).astype(np.uint16)) == [mode, values.tolist()]


def test_grayscale_floats_of_any_range_are_kept_where_their_meaning_is_known() -> None:
    values = np.array([[-1000.0, 3.5]])

    assert pixels(values, keep_floats=True) == ["F", values.tolist()]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(4), r"an array is \[H,W\], .*, and not \[4\]$"),
        (np.zeros((3, 8, 9)), r"not \[3, 8, 9\]: move its channels last by np.moveaxis\(array, 0, -1\)$"),
        (np.zeros((7, 8, 9)), r"not \[7, 8, 9\]$"),
        (np.zeros((0, 4)), r"the array \[0, 4\] has no pixels"),
        (np.full((2, 2), 1.5), r"floats are 0 to 1, and not 1.5 to 1.5: give window=\(center, width\)"),
        (np.full((2, 2, 3), -1.0), "floats are 0 to 1, and not -1 to -1: scale them"),
        (np.full((2, 2), np.nan), "floats are 0 to 1, and not nan to nan"),
        (np.full((2, 2, 3), 256), "color of type int64 has values 0 to 255, and not 256 to 256"),
        (np.full((2, 2), 2**40), "which 32 bits do not hold"),
        (np.zeros((2, 2), complex), "an array of type complex128 is no image"),
        (np.array([["a"]]), "an array of type <U1 is no image"),
        (np.array([[None]]), "an array of type object is no image"),
    ],
)
def test_what_is_no_image_is_refused_with_a_way_out(values: npt.NDArray[np.generic], message: str) -> None:
    with pytest.raises(UnreadableImage, match=message):
        array_image(values, keep_floats=False)
