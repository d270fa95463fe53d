"""The values that a network reads equal pydicom's own pipeline and NumPy, within float32's rounding."""

import io
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels.processing import apply_rescale

from heatlens.errors import NoFullDepth, UnreadableImage
from heatlens.input.decode import decode
from heatlens.input.full_depth import full_depth
from heatlens.steps import Values
from heatlens.types import Floats
from tests.support.dicom import Array, dicom, sequence
from tests.support.images import encoded, noise

RNG = np.random.default_rng(5)
PIXELS = 10_000
FILES: dict[str, tuple[Array, int]] = {
    "unsigned 12 bits": (RNG.integers(0, 4096, (9, 7)).astype(np.uint16), 12),
    "unsigned 16 bits": (RNG.integers(0, 65536, (9, 7)).astype(np.uint16), 16),
    "signed 12 bits": (RNG.integers(-2048, 2048, (9, 7)).astype(np.int16), 12),
    "signed 16 bits": (RNG.integers(-32768, 32768, (9, 7)).astype(np.int16), 16),
    "unsigned 8 bits": (RNG.integers(0, 256, (9, 7)).astype(np.uint8), 8),
}


def reading(**fields: Any) -> Values:  # noqa: ANN401
    return Values(**{"low": -1024, "high": 1024} | fields)


def values_of(data: bytes, **fields: Any) -> Floats:  # noqa: ANN401
    values = decode(data, max_pixels=PIXELS, values=reading(**fields)).values
    assert values is not None
    assert values.dtype == np.float32
    return values[..., 0]


def slowly(data: bytes, *, of: str, monochrome1: str, scale: str) -> Array:
    """The obvious reference."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    most = 2**dataset.BitsStored - 1
    values = np.atleast_3d(dataset.pixel_array)[..., 0].astype(np.float64)
    if of == "rescaled":
        values = apply_rescale(values, dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1" and monochrome1 != "keep":
        values = (values.max() if monochrome1 == "maximum" else most) - values
    if scale != "none":
        values = values / (values.max() if scale == "maximum" else most) * 2048 - 1024
    return values


@pytest.mark.parametrize("monochrome", [1, 2])
@pytest.mark.parametrize(
    ("of", "monochrome1", "scale"),
    [
        ("rescaled", "keep", "none"),
        ("rescaled", "maximum", "none"),
        ("rescaled", "keep", "maximum"),
        ("stored", "keep", "none"),
        ("stored", "bits", "bits"),
        ("stored", "maximum", "maximum"),
    ],
)
@pytest.mark.parametrize("name", FILES)
def test_values_of_dicom_are_pydicoms(name: str, of: str, monochrome1: str, scale: str, monochrome: int) -> None:
    pixels, bits = FILES[name]
    data = dicom(pixels, bits=bits, monochrome=monochrome, RescaleSlope="1.7", RescaleIntercept="-1024")

    found = values_of(data, of=of, monochrome1=monochrome1, scale=scale)

    expected = slowly(data, of=of, monochrome1=monochrome1, scale=scale)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_a_frames_own_rescale_counts() -> None:
    frames = RNG.integers(0, 4096, (2, 4, 5)).astype(np.uint16)
    groups = [
        sequence(RescaleSlope="2", RescaleIntercept="-1000"),
        sequence(RescaleSlope="3", RescaleIntercept="0"),
    ]
    per_frame = sequence(PixelValueTransformationSequence=groups[0])
    per_frame.append(sequence(PixelValueTransformationSequence=groups[1])[0])
    data = dicom(frames[0], bits=12)
    made = pydicom.dcmread(io.BytesIO(data))
    made.NumberOfFrames, made.PixelData = 2, frames.tobytes()
    made.PerFrameFunctionalGroupsSequence = per_frame
    buffer = io.BytesIO()
    made.save_as(buffer)

    np.testing.assert_array_equal(values_of(buffer.getvalue()), frames[0] * 2.0 - 1000)


def test_a_dicom_window_changes_no_value() -> None:
    pixels, _ = FILES["signed 16 bits"]
    data = dicom(pixels, WindowCenter="40", WindowWidth="400")

    found = decode(data, max_pixels=PIXELS, values=reading(), window=(0, 100))

    assert found.values is not None
    np.testing.assert_array_equal(found.values[..., 0], pixels)
    assert found.image == decode(data, max_pixels=PIXELS, window=(0, 100)).image


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_values_of_16_bit_files_are_their_own(form: str) -> None:
    pixels, _ = FILES["unsigned 16 bits"]
    data = encoded(Image.fromarray(pixels), form)

    np.testing.assert_array_equal(values_of(data), pixels)
    np.testing.assert_allclose(values_of(data, of="stored", scale="bits"), pixels / 65535 * 2048 - 1024, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_of_32_bits_are_their_own(dtype: type) -> None:
    pixels: Array = RNG.normal(0, 1000, (6, 8)).astype(dtype)

    np.testing.assert_array_equal(values_of(encoded(Image.fromarray(pixels), "TIFF")), pixels)


def test_a_white_zero_tiff_is_inverted_as_the_model_says() -> None:
    pixels, _ = FILES["unsigned 16 bits"]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", tiffinfo={262: 0})

    np.testing.assert_array_equal(values_of(buffer.getvalue()), pixels)
    np.testing.assert_array_equal(
        values_of(buffer.getvalue(), of="stored", monochrome1="bits"), 65535 - pixels.astype(np.float64)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_values_are_turned_as_the_picture(orientation: int) -> None:
    pixels, _ = FILES["unsigned 16 bits"]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", tiffinfo={0x0112: orientation})

    found = decode(buffer.getvalue(), max_pixels=PIXELS, values=reading())

    assert found.values is not None
    values = found.values[..., 0]
    stretched = (values - values.min()) / np.ptp(values) * 255
    assert np.abs(stretched - np.asarray(found.image)).max() <= 0.5 + 1e-3


def test_transparent_pixels_are_zero() -> None:
    pixels, _ = FILES["unsigned 16 bits"]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", transparency=int(pixels[2, 3]))

    expected = np.where(pixels == pixels[2, 3], 0, pixels)
    np.testing.assert_array_equal(values_of(buffer.getvalue()), expected)


def test_alpha_weighs_the_values() -> None:
    pixels, _ = FILES["unsigned 16 bits"]
    alpha = RNG.integers(0, 65536, pixels.shape).astype(np.uint16)
    data = cv2.imencode(".png", np.stack([pixels, pixels, pixels, alpha], -1))[1].tobytes()

    expected = np.rint(pixels * (alpha / 65535))
    np.testing.assert_array_equal(values_of(data), expected)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_image_of_8_bits_is_refused_or_left_to_the_description(form: str) -> None:
    data = encoded(noise((8, 6)), form)

    with pytest.raises(NoFullDepth, match="this image has 8 bits or colors: send DICOM"):
        decode(data, max_pixels=PIXELS, values=reading())
    assert decode(data, max_pixels=PIXELS, values=reading(eight_bits="map")).values is None


def test_a_palette_has_no_values() -> None:
    data = dicom(FILES["unsigned 8 bits"][0], PhotometricInterpretation="PALETTE COLOR")

    with pytest.raises(NoFullDepth, match="the colors of a palette have none"):
        decode(data, max_pixels=PIXELS, values=reading(eight_bits="map"))


def test_floats_have_no_bits_and_must_be_finite() -> None:
    values = np.array([[0.5, 1e39]])

    with pytest.raises(NoFullDepth, match="whole numbers"):
        full_depth(values, reading(of="stored", scale="bits"))
    with pytest.raises(UnreadableImage, match="not finite"):
        full_depth(values, reading())
