"""Properties of decode, preprocess, color, encode and strip_metadata that hold for any image."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays
from PIL import Image, PngImagePlugin

from heatlens.card import Preprocess
from heatlens.errors import HeatlensError, InputError, LimitError
from heatlens.explain.cam import positive, signed
from heatlens.input.decode import decode, measure
from heatlens.input.geometry import view_of
from heatlens.input.grey_levels import WindowFunction, apply_curve, windowing
from heatlens.input.preprocess import preprocess
from heatlens.render.color import blend, color_map, levels, table
from heatlens.render.png import png
from heatlens.render.strip_metadata import strip_metadata
from heatlens.types import Colormap, Floats
from tests.contract.conformance import images
from tests.support.dicom import dicom
from tests.support.images import encoded

Array = npt.NDArray[Any]
MANY = 1_000_000
SIDES = some.integers(1, 24)
FINITE = {"allow_nan": False, "allow_infinity": False}


def pixels(dtype: Any, colors: bool | None = None) -> some.SearchStrategy[Array]:  # noqa: ANN401, FBT001
    """Grayscale, colors, or either."""
    grey = some.tuples(SIDES, SIDES)
    colour = some.tuples(SIDES, SIDES, some.just(3))
    return arrays.arrays(dtype, grey | colour if colors is None else colour if colors else grey)


def seen(data: bytes, **options: Any) -> Array:  # noqa: ANN401
    return np.asarray(decode(data, max_pixels=MANY, **options).image)


@given(pixels(np.uint8))
def test_png_decodes_to_the_encoded_pixels(image: Array) -> None:
    with Image.open(io.BytesIO(png(Image.fromarray(image)))) as back:
        assert np.array_equal(np.asarray(back), image)


@given(pixels(np.uint8), some.sampled_from(["PNG", "BMP", "TIFF"]))
def test_eight_bits_are_read_as_they_are(image: Array, kind: str) -> None:
    data = encoded(Image.fromarray(image), kind)

    assert np.array_equal(seen(data), image)
    assert measure(data, max_pixels=MANY) == image.shape[0] * image.shape[1]


@given(pixels(np.uint16, colors=False) | pixels(np.int32, colors=False))
def test_high_bit_depth_grayscale_spans_black_to_white_in_order(values: Array) -> None:
    drawn_levels = seen(encoded(Image.fromarray(values), "PNG" if values.dtype == np.uint16 else "TIFF"))

    low, high = int(values.min()), int(values.max())
    expected = (values.astype(float) - low) * 255 / max(high - low, 1)
    assert np.abs(drawn_levels - expected).max() <= 0.5 + 1e-6
    assert (drawn_levels.min(), drawn_levels.max()) == (0, 255 if high > low else 0)


@given(
    arrays.arrays(np.int16, some.integers(1, 40)),
    some.floats(-1e5, 1e5),
    some.floats(1, 1e5),
    some.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_a_window_keeps_the_order_and_has_gray_at_its_center(
    values: Array, centre: float, width: float, kind: WindowFunction
) -> None:
    values = np.sort(values)
    window_levels = apply_curve(values, windowing((centre, width), kind)).astype(int)

    assert (np.diff(window_levels) >= 0).all()
    if kind != "SIGMOID":
        assert (window_levels[values < centre - width / 2 - 1] == 0).all()
        assert (window_levels[values > centre + width / 2 + 1] == 255).all()
    [middle] = apply_curve(np.array([centre]), windowing((centre, width + 2), kind))
    assert abs(int(middle) - 127.5) <= 0.5 + 128 / (width + 1)


@given(pixels(np.int16, colors=False), some.integers(-3000, 3000), some.integers(1, 9000), some.integers(-1024, 1024))
def test_a_dicom_window_applies_to_rescaled_values(values: Array, centre: int, width: int, intercept: int) -> None:
    data = dicom(values, RescaleSlope=1, RescaleIntercept=intercept, WindowCenter=centre, WindowWidth=width)

    expected = apply_curve(values.astype(np.int64) + intercept, windowing((centre, width)))
    assert np.array_equal(seen(data), expected)
    plain = dicom(values, RescaleSlope=1, RescaleIntercept=intercept)
    assert np.array_equal(seen(plain, window=(centre, width)), expected)


CONFORMANCE = [data for name, data in images.files().items() if name != "bomb.png"]


@settings(max_examples=500)
@given(some.sampled_from(CONFORMANCE), some.data())
def test_any_file_gives_a_picture_or_an_input_error(data: bytes, more: some.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(more.draw(some.integers(0, 4), label="changes")):
        if damaged:
            damaged[more.draw(some.integers(0, len(damaged) - 1))] = more.draw(some.integers(0, 255))
    damaged = damaged[: more.draw(some.integers(0, len(damaged)) | some.just(len(damaged)), label="length")]

    for read in (measure, decode):
        try:
            read(bytes(damaged), max_pixels=MANY)
        except HeatlensError as error:
            assert isinstance(error, InputError | LimitError)  # noqa: PT017


MAGIC = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"RIFF\0\0\0\0WEBP",
    b"II*\0",
    b"MM\0*",
    b"BM",
    bytes(128) + b"DICM",
    b"",
]


@given(some.sampled_from(MAGIC), some.binary(max_size=400))
def test_arbitrary_bytes_after_a_signature_give_a_picture_or_an_input_error(magic: bytes, rest: bytes) -> None:
    with pytest.raises(HeatlensError) as refusal:
        decode(magic + rest, max_pixels=MANY)

    assert isinstance(refusal.value, InputError | LimitError)


def recipe(resize: int | tuple[int, int], crop: tuple[int, int] | None) -> Preprocess:
    return Preprocess.model_validate({"resize": resize, "crop": crop, "mean": (0, 0, 0), "std": (1, 1, 1)})


CROPS = some.tuples(some.integers(4, 8), some.integers(4, 8))
BOTH_SIDES = some.tuples(some.integers(8, 64), some.integers(8, 64))
RECIPES = some.builds(recipe, BOTH_SIDES, some.none() | CROPS) | some.builds(recipe, some.integers(8, 64), CROPS)
SIZES = some.tuples(some.integers(1, 3000), some.integers(1, 3000))


def centres_seen(length: int, resized: int, crop: int) -> list[int]:
    """Find, one at a time, the pixels of a side whose centers lie within the center crop of the resized image."""
    start = round((resized - crop) / 2)
    return [pixel for pixel in range(length) if start <= (pixel + 0.5) * resized / length < start + crop]


@given(SIZES, RECIPES)
def test_the_box_has_the_pixels_whose_centers_the_model_sees(size: tuple[int, int], how: Preprocess) -> None:
    left, top, right, bottom = view_of(size, how).box

    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    if how.crop is None:
        assert (left, top, right, bottom) == (0, 0, *size)
        return
    assert how.resize is not None
    short = min(size)
    resized = (
        tuple(int(how.resize * side / short) for side in size) if isinstance(how.resize, int) else how.resize[::-1]
    )
    for side, (first, last) in enumerate(((left, right), (top, bottom))):
        seen_pixels = centres_seen(size[side], resized[side], how.crop[1 - side])
        if seen_pixels:  # a pixel larger than the crop may have its centre nowhere in it
            assert abs(first - seen_pixels[0]) <= 1
            assert abs(last - 1 - seen_pixels[-1]) <= 1
        else:
            assert last - first == 1


@given(pixels(np.uint8), RECIPES)
def test_the_models_input_has_its_shape_and_its_range(image: Array, how: Preprocess) -> None:
    tensor = preprocess(Image.fromarray(image), how)

    assert not isinstance(how.resize, int) or how.crop
    assert tensor.shape == (3, *(how.crop or how.resize))  # type: ignore[misc]
    assert tensor.dtype == np.float32
    assert image.min() / 255 - 1e-6 <= tensor.min()
    assert tensor.max() <= image.max() / 255 + 1e-6


HEATS = arrays.arrays(
    np.float32, some.tuples(some.integers(1, 9), some.integers(1, 9)), elements=some.floats(0, 1, width=32)
)
MAPS = arrays.arrays(
    np.float32,
    some.tuples(some.integers(1, 9), some.integers(1, 9)),
    elements=some.floats(-1e6, 1e6, width=32, **FINITE),
)


@some.composite
def boxes(draw: some.DrawFn) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """A size and a box within it."""
    width, height = draw(SIDES), draw(SIDES)
    left, top = draw(some.integers(0, width - 1)), draw(some.integers(0, height - 1))
    return (width, height), (left, top, draw(some.integers(left + 1, width)), draw(some.integers(top + 1, height)))


@given(HEATS, boxes(), some.integers(0, 255))
def test_levels_stay_within_the_maps_range_and_are_constant_outside_the_box(
    heat: Floats, where: tuple[Any, Any], outside: int
) -> None:
    size, (left, top, right, bottom) = where

    found = levels(heat, size, (left, top, right, bottom), outside=outside)(0, size[1]).astype(int)

    inside = found[top:bottom, left:right]
    assert found.shape == (size[1], size[0])
    assert heat.min() * 255 - 0.51 <= inside.min()
    assert inside.max() <= heat.max() * 255 + 0.51
    mask = np.ones(found.shape, bool)
    mask[top:bottom, left:right] = False
    if (right - left, bottom - top) != size:
        assert (found[mask] == outside).all()


@given(HEATS, some.integers(0, 2**32 - 1), boxes())
def test_more_heat_never_lowers_a_level(heat: Floats, seed: int, where: tuple[Any, Any]) -> None:
    less = heat * np.random.default_rng(seed).random(heat.shape, np.float32)

    low, high = (levels(each, *where)(0, where[0][1]).astype(int) for each in (less, heat))

    assert (low <= high).all()


@given(HEATS, pixels(np.uint8), some.sampled_from(["jet", "turbo", "seismic"]), some.floats(0.1, 0.9))
def test_an_overlay_is_the_weighted_sum(heat: Floats, image: Array, colormap: Colormap, alpha: float) -> None:
    picture = Image.fromarray(image)

    drawing = color_map(heat, picture.size, (0, 0, *picture.size), colormap=colormap)
    blended = np.asarray(blend(picture, drawing, alpha=alpha).whole()).astype(float)
    heated = drawing.whole()

    expected = alpha * np.asarray(heated).astype(float) + (1 - alpha) * np.asarray(picture.convert("RGB")).astype(float)
    assert np.abs(blended - expected).max() <= 1
    entries = {tuple(entry) for entry in np.frombuffer(table(colormap), np.uint8).reshape(256, 3).tolist()}
    assert {tuple(colour) for colour in np.asarray(heated).reshape(-1, 3).tolist()} <= entries


@given(MAPS)
def test_both_scales_lie_in_their_range_and_the_signed_one_is_odd(values: Floats) -> None:
    heat, both = positive(values), signed(values)

    assert 0 <= heat.min() <= heat.max() <= 1
    underflows = (values > 0) & (values < values.max() * np.float64(1e-37))
    assert ((heat > 0) == (values > 0))[~underflows].all() or values.max() < 1e-30
    assert 0 <= both.min() <= both.max() <= 1
    assert np.abs(both + signed(-values) - 1).max() <= 1e-6
    assert (both[values == 0] == 0.5).all()
    if np.abs(values).max() > 0:
        assert max(both.max() - 0.5, 0.5 - both.min()) == pytest.approx(0.5)


@given(
    pixels(np.uint8),
    some.text(some.characters(codec="latin-1", exclude_characters="\0"), max_size=50),
    some.binary(max_size=60),
)
def test_stripping_removes_text_and_keeps_pixels(image: Array, words: str, rest: bytes) -> None:
    picture, text = Image.fromarray(image), PngImagePlugin.PngInfo()
    text.add_text("Comment", words)
    laden = {
        "PNG": encoded(picture, pnginfo=text, icc_profile=rest or None),
        "JPEG": encoded(picture, "JPEG", comment=words.encode(), icc_profile=rest or None),
    }

    for kind, data in laden.items():
        bare = strip_metadata(data + rest)

        assert bare == encoded(picture, kind)  # of this writer's own files nothing else is left
        assert strip_metadata(bare) == bare
