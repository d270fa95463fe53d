import io

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from heatlens.errors import ImageTooLarge
from heatlens.render.encode import encode
from heatlens.render.png import png
from heatlens.types import Format
from tests.support.images import noise


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_no_format_writes_the_metadata_of_an_image(form: Format) -> None:
    image = noise((32, 32))
    exif = Image.Exif()
    exif[0x010E] = "patient"
    image.info |= {"comment": b"patient", "exif": exif.tobytes(), "icc_profile": b"patient", "xmp": b"patient"}

    assert encode(image, form).data == encode(noise((32, 32)), form).data


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("form", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_every_format_has_its_media_type(form: Format, kind: str, mode: str) -> None:
    image = noise((8, 6), mode).resize((160, 120), Image.Resampling.BICUBIC)

    made = encode(image, form)

    back = Image.open(io.BytesIO(made.data))
    assert (back.format, back.size, made.media_type) == (kind, (160, 120), f"image/{form}")
    assert np.abs(np.asarray(back.convert("RGB"), int) - np.asarray(image.convert("RGB"), int)).mean() < 3


def test_a_png_has_the_same_bytes_as_before() -> None:
    assert encode(noise((9, 7)), "png").data == png(noise((9, 7)))


def test_a_jpeg_keeps_colors_at_full_resolution() -> None:
    with Image.open(io.BytesIO(encode(noise((32, 32)), "jpeg").data)) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4


@pytest.mark.parametrize(
    ("form", "longest", "instead"), [("jpeg", 65_500, "format=png"), ("webp", 16_383, "format=png or format=jpeg")]
)
def test_rejects_a_side_longer_than_the_format_allows(form: Format, longest: int, instead: str) -> None:
    assert encode(Image.new("RGB", (1, longest)), form).data
    with pytest.raises(ImageTooLarge, match=f"in {form} has at most {longest:,} pixels a side: ask for {instead}$"):
        encode(Image.new("RGB", (longest + 1, 1)), form)


def test_a_picture_that_webp_cannot_hold_is_too_large() -> None:
    """Its encoder keeps the modes of all blocks in one partition of at most 512 KB, full at 64 megapixels."""
    with pytest.raises(ImageTooLarge, match="more than webp holds: ask for format=png or format=jpeg"):
        encode(Image.new("L", (8000, 8000)), "webp")


@pytest.mark.parametrize("error", [OSError("encoder error -2"), ValueError("encoding error 5")])
@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_what_an_encoder_refuses_is_a_limit(form: Format, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "save", refuse)

    with pytest.raises(ImageTooLarge, match=f"8 x 6 pixels is more than {form} holds: ask for format=png"):
        encode(noise((8, 6)), form)
