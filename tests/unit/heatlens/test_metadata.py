"""Metadata of an upload is in no derived output, whatever the options."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from heatlens.model import Model
from heatlens.pipeline import explain
from heatlens.results import Explanation
from heatlens.settings import LIMITS
from heatlens.types import Encoded, Options, Upload
from tests.support.dicom import dicom, sequence
from tests.support.images import encoded, noise
from tests.unit.heatlens.render.test_strip_metadata import MARKER, chunk, exif, laden_jpeg, laden_png

PICTURE = noise((40, 30))
EVERYTHING: frozenset[Any] = frozenset({"overlay", "original", "heatmap", "map"})


def turned() -> Image.Exif:
    made = exif()
    made[0x0112] = 6
    return made


def inputs() -> dict[str, bytes]:
    tags: dict[int, Any] = {270: MARKER.decode(), 305: MARKER.decode(), 33432: MARKER.decode(), 700: MARKER}
    deep = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    named: dict[str, Any] = {
        "PatientName": "Lovelace^Ada",
        "ReferencedPatientSequence": sequence(PatientName="Lovelace^Ada"),
    }
    apng = encoded(PICTURE, save_all=True, append_images=[noise((40, 30), seed=9)], exif=exif())
    return {
        "PNG": laden_png(PICTURE),
        "16-bit PNG": laden_png(Image.fromarray(deep)),
        "palette PNG": laden_png(PICTURE.quantize(32)),
        "animated PNG": apng[:-12] + chunk(b"tEXt", b"Comment\0" + MARKER) + apng[-12:],
        "JPEG": laden_jpeg(PICTURE),
        "turned JPEG": laden_jpeg(PICTURE, exif=turned()),
        "CMYK JPEG": laden_jpeg(PICTURE.convert("CMYK")),
        "WEBP": encoded(PICTURE, "WEBP", exif=exif(), icc_profile=MARKER, xmp=MARKER),
        "TIFF": encoded(PICTURE, "TIFF", exif=exif(), icc_profile=MARKER, tiffinfo=tags),
        "16-bit TIFF": encoded(Image.fromarray(deep), "TIFF", tiffinfo=tags),
        "BMP": encoded(PICTURE, "BMP") + MARKER,
        "DICOM": dicom(deep, **named),
    }


def outputs(model: Model, data: bytes, options: Options) -> dict[str, Encoded]:
    [outcome] = explain(model, [Upload("a", data)], options, limits=LIMITS, batch_images=1)
    assert isinstance(outcome, Explanation), outcome
    assert outcome.overlay is not None
    assert outcome.map_image is not None
    assert outcome.original is not None
    return {"overlay": outcome.overlay, "map_image": outcome.map_image, "original": outcome.original}


@pytest.mark.contract("metadata")
@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("name", list(inputs()))
def test_no_derived_file_has_metadata_of_the_upload(tiny_model: Model, name: str, form: Any) -> None:  # noqa: ANN401
    data = inputs()[name]
    assert MARKER in data

    for options in (
        Options(include=EVERYTHING, format=form, original="png"),
        Options(include=EVERYTHING, format=form, strip_original=True),
    ):
        for output in outputs(tiny_model, data, options).values():
            assert MARKER not in output.data
            image = Image.open(io.BytesIO(output.data))
            image.load()
            assert not dict(image.getexif())
            assert set(image.info) & {"icc_profile", "exif", "xmp", "comment", "Comment", "Packed"} == set()


VERBATIM = {"PNG", "palette PNG", "JPEG", "CMYK JPEG"}


@pytest.mark.parametrize("name", list(inputs()))
def test_only_a_verbatim_original_keeps_its_metadata(tiny_model: Model, name: str) -> None:
    data = inputs()[name]

    original = outputs(tiny_model, data, Options(include=EVERYTHING))["original"].data

    assert (original == data) == (name in VERBATIM)
    assert (MARKER in original) == (name in VERBATIM)


@pytest.mark.contract("strip_original")
@pytest.mark.parametrize("name", sorted(VERBATIM))
def test_a_stripped_original_has_the_uploads_pixels(tiny_model: Model, name: str) -> None:
    data = inputs()[name]

    original = outputs(tiny_model, data, Options(include=EVERYTHING, strip_original=True))["original"]

    assert original.media_type == f"image/{name.split()[-1].lower()}"
    with Image.open(io.BytesIO(original.data)) as after, Image.open(io.BytesIO(data)) as before:
        assert after.mode == before.mode
        assert np.array_equal(np.asarray(after), np.asarray(before))


def test_an_original_that_cannot_be_stripped_is_a_png(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatlens.draw.strip_metadata", lambda data: None)

    original = outputs(tiny_model, inputs()["JPEG"], Options(include=EVERYTHING, strip_original=True))["original"]

    assert original.media_type == "image/png"
    assert MARKER not in original.data
