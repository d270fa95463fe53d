import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from heatlens.decode import decode, measure
from heatlens.errors import EmptyFile, HeatlensError, ImageTooLarge, UnreadableImage, UnsupportedImage
from tests.conftest import encoded, noise

MANY = 1_000_000


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(decode(data, max_pixels=MANY).image)


def status_of(data: bytes) -> int | None:
    try:
        decode(data, max_pixels=MANY)
    except HeatlensError as error:
        return error.status
    return None


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_types_decode_to_the_same_pixels(kind: str) -> None:
    image = noise((9, 7))

    assert np.array_equal(
        pixels(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))), np.asarray(image)
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_each_mode_decodes_as_pillow_converts_it(mode: str) -> None:
    data = encoded(noise((16, 16)).convert(mode), "JPEG", quality=95)

    picture = decode(data, max_pixels=MANY)

    assert picture.image.mode == ("L" if mode == "L" else "RGB")
    assert picture.verbatim == "image/jpeg"


def test_sixteen_bit_grey_is_stretched_from_its_own_minimum_to_its_maximum() -> None:
    values = np.array([[1000, 2000, 3000]], dtype=np.uint16)

    assert pixels(encoded(Image.fromarray(values))).tolist() == [[0, 128, 255]]


def test_sixteen_bit_constant_becomes_black() -> None:
    assert pixels(encoded(Image.fromarray(np.full((2, 2), 65535, np.uint16)))).max() == 0


def test_float_tiff_with_nan_is_unreadable_not_a_crash() -> None:
    with pytest.raises(UnreadableImage):
        pixels(encoded(Image.fromarray(np.array([[0.0, np.nan]], np.float32)), "TIFF"))


def deep_tiff(values: np.ndarray[Any, Any], photometric: int, sample_format: int = 1) -> bytes:
    """An uncompressed little-endian TIFF of one strip, written by hand: Pillow does not write all of these."""
    bits, (height, width) = values.itemsize * 8, values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height}
    tags |= {279: values.nbytes, 339: sample_format}
    body = b"".join(struct.pack("<2H2I", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    directory = struct.pack("<H", len(tags)) + body + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + values.nbytes) + values.tobytes() + directory


RAMP = np.array([[0, 1, 2, 3, 4]])


UP, DOWN = [0, 64, 128, 191, 255], [255, 191, 128, 64, 0]


@pytest.mark.parametrize(
    ("values", "sample_format", "photometric", "expected"),
    [
        (RAMP.astype("<u2") * 100 + 1000, 1, 1, UP),
        (RAMP.astype("<u2") * 100 + 1000, 1, 0, DOWN),
        (RAMP.astype("<u4") * 2**29 + 2**30, 1, 1, UP),
        (RAMP.astype("<i4") * 2**29 - 2**30, 2, 1, UP),
        (RAMP.astype("<f4") / 100 - 0.02, 3, 1, UP),
        (RAMP.astype("<f4") / 100 - 0.02, 3, 0, DOWN),
    ],
)
def test_deep_tiff_is_stretched_and_white_is_zero_is_turned_round(
    values: np.ndarray[Any, Any], sample_format: int, photometric: int, expected: list[int]
) -> None:
    [levels] = pixels(deep_tiff(values, photometric, sample_format)).tolist()

    assert levels == pytest.approx(expected, abs=1)


def test_a_variant_that_cannot_be_read_is_not_called_damaged() -> None:
    with pytest.raises(UnreadableImage, match="damaged, or of a rare variant"):
        decode(deep_tiff(RAMP.astype("<u4"), 0), max_pixels=MANY)


def deep_png(colour_type: int, samples: np.ndarray[Any, Any], *more: bytes) -> bytes:
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">2I5B", width, height, 16, colour_type, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_sixteen_bit_grey_with_alpha_is_stretched_as_without() -> None:
    grey = np.array([[1000, 2000, 3000, 3000]])
    alpha = np.array([[65535, 65535, 65535, 0]])

    assert pixels(deep_png(4, np.stack([grey, alpha], axis=-1))).tolist() == [[0, 128, 255, 0]]
    assert decode(deep_png(4, np.stack([grey, alpha], axis=-1)), max_pixels=MANY).verbatim is None


def test_a_transparent_sixteen_bit_grey_is_black() -> None:
    transparent = chunk(b"tRNS", struct.pack(">H", 3000))

    assert pixels(deep_png(0, np.array([[1000, 2000, 3000]]), transparent)).tolist() == [[0, 128, 0]]


def test_a_transparent_eight_bit_grey_is_black() -> None:
    assert pixels(encoded(Image.fromarray(np.array([[7, 200]], np.uint8)), transparency=200)).max() == 7


def test_damaged_exif_does_not_cost_the_picture() -> None:
    data = encoded(noise((6, 4), "L"))
    damaged = data[:33] + chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff junk") + data[33:]

    assert np.array_equal(pixels(damaged), pixels(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_orientation_is_turned_upright(kind: str, orientation: int) -> None:
    image = Image.new("L", (32, 16))
    image.paste(255, (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation

    upright = decode(encoded(image, kind, exif=exif), max_pixels=MANY).image

    image.getexif()[0x0112] = orientation
    assert np.abs(np.asarray(upright.convert("L"), int) - np.asarray(ImageOps.exif_transpose(image), int)).mean() < 3


def test_a_jpeg_of_endless_scans_is_refused_unread() -> None:
    data = encoded(noise((64, 64)), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")

    assert pixels(data).shape == (64, 64, 3)
    with pytest.raises(UnreadableImage, match="more than 100 scans"):
        decode(data[:-2] + data[scan:-2] * 100 + data[-2:], max_pixels=MANY)


def test_alpha_is_composed_on_black() -> None:
    image = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
    image.putpixel((1, 0), (200, 100, 50, 0))

    assert pixels(encoded(image)).tolist() == [[[200, 100, 50], [0, 0, 0]]]


def test_transparent_palette_entry_is_black() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 255, 255, 10, 20, 30])
    image.putpixel((1, 0), 1)

    assert pixels(encoded(image, transparency=0)).tolist() == [[[0, 0, 0], [10, 20, 30]]]


def test_one_bit_becomes_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)

    assert pixels(encoded(image)).tolist() == [[0, 255]]


def test_exif_orientation_is_applied_and_the_upload_is_not_passed_on() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 270 degrees to see it upright
    data = encoded(noise((4, 2)), "JPEG", exif=exif)

    picture = decode(data, max_pixels=MANY)

    assert picture.image.size == (2, 4)
    assert picture.verbatim is None


def test_only_upright_eight_bit_png_and_jpeg_are_verbatim() -> None:
    grey = noise((4, 4), "L")
    verbatim = {
        "png8": decode(encoded(grey), max_pixels=MANY).verbatim,
        "png1": decode(encoded(grey.convert("1")), max_pixels=MANY).verbatim,
        "png16": decode(encoded(Image.fromarray(np.asarray(grey).astype(np.uint16))), max_pixels=MANY).verbatim,
        "jpeg": decode(encoded(grey, "JPEG"), max_pixels=MANY).verbatim,
        "bmp": decode(encoded(grey, "BMP"), max_pixels=MANY).verbatim,
    }

    assert verbatim == {"png8": "image/png", "png1": None, "png16": None, "jpeg": "image/jpeg", "bmp": None}


def test_first_frame_of_a_tiff_is_taken() -> None:
    first, second = noise((3, 3), seed=1), noise((3, 3), seed=2)

    assert np.array_equal(pixels(encoded(first, "TIFF", save_all=True, append_images=[second])), np.asarray(first))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyFile),
        (b"hello, I am text", UnsupportedImage),
        (b"%PDF-1.7", UnsupportedImage),
        (b"GIF89a" + bytes(20), UnsupportedImage),
        (b"\x89PNG\r\n\x1a\n", UnreadableImage),
        (b"\xff\xd8\xff\xe0", UnreadableImage),
    ],
)
def test_what_is_no_image_says_so(data: bytes, error: type[HeatlensError]) -> None:
    with pytest.raises(error):
        decode(data, max_pixels=MANY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_every_truncation_is_an_input_error_or_an_image(kind: str) -> None:
    data = encoded(noise((24, 24)), kind)

    statuses = {status_of(data[:length]) for length in range(0, len(data), 41)}

    assert statuses <= {400, None}
    with pytest.raises(UnreadableImage):
        decode(data[: len(data) // 2], max_pixels=MANY)


def test_limit_counts_pixels_and_stands_at_exactly_its_number() -> None:
    data = encoded(noise((20, 10)))

    assert measure(data, max_pixels=200) == 200
    with pytest.raises(ImageTooLarge, match=r"the image is over the limit of 0\.000199 megapixels per image"):
        measure(data, max_pixels=199)


@pytest.mark.parametrize("side", [20_000, 10_000, 65_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    header = struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")

    with pytest.raises(ImageTooLarge):
        decode(bomb, max_pixels=25_000_000)
