import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from heatlens.errors import EmptyFile, HeatlensError, ImageTooLarge, InputError, UnreadableImage, UnsupportedImage
from heatlens.input.decode import decode, measure
from heatlens.types import Window
from tests.support.images import encoded, noise

MANY = 1_000_000


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(decode(data, max_pixels=MANY).image)


def error_of(data: bytes) -> HeatlensError | None:
    try:
        decode(data, max_pixels=MANY)
    except HeatlensError as error:
        return error
    return None


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.contract("PNG", "other types")
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_types_decode_to_the_same_pixels(kind: str) -> None:
    image = noise((9, 7))

    assert np.array_equal(
        pixels(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))), np.asarray(image)
    )


@pytest.mark.contract("JPEG")
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_each_mode_decodes_as_pillow_converts_it(mode: str) -> None:
    data = encoded(noise((16, 16)).convert(mode), "JPEG", quality=95)

    picture = decode(data, max_pixels=MANY)

    assert picture.image.mode == ("L" if mode == "L" else "RGB")
    assert picture.verbatim == "image/jpeg"


@pytest.mark.contract("16 bit")
def test_16_bit_grayscale_is_stretched_from_its_own_minimum_to_its_maximum() -> None:
    values = np.array([[1000, 2000, 3000]], dtype=np.uint16)

    assert pixels(encoded(Image.fromarray(values))).tolist() == [[0, 128, 255]]


@pytest.mark.contract("16 bit")
def test_a_constant_16_bit_image_becomes_black() -> None:
    assert pixels(encoded(Image.fromarray(np.full((2, 2), 65535, np.uint16)))).max() == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("window", [None, (0.0, 1.0)])
def test_rejects_a_float_tiff_without_finite_values(value: float, window: Window | None) -> None:
    data = encoded(Image.fromarray(np.array([[0.0, value]], np.float32)), "TIFF")

    with pytest.raises(UnreadableImage, match="values that are not finite"):
        decode(data, max_pixels=MANY, window=window)


def deep_tiff(
    values: np.ndarray[Any, Any], photometric: int, sample_format: int = 1, *, deflated: bool = False
) -> bytes:
    """Write a TIFF of one strip in the values' byte order by hand: Pillow does not write all of these."""
    order = ">" if values.dtype.str[0] == ">" else "<"
    (height, width), samples = values.shape[:2], values.size // (values.shape[0] * values.shape[1])
    strip = zlib.compress(values.tobytes()) if deflated else values.tobytes()
    strip += bytes(len(strip) % 2)
    # Bits per sample and format are lists, which lie behind the strip where they do not fit their place.
    bits, kinds = ([each] * samples for each in (values.itemsize * 8, sample_format))
    lists = struct.pack(f"{order}{2 * samples}H", *bits, *kinds)
    end = 8 + len(strip)
    tags = {256: width, 257: height, 259: 8 if deflated else 1, 262: photometric, 273: 8, 277: samples, 278: height}
    tags |= {279: len(strip)} | ({} if samples > 1 else {258: bits[0], 339: sample_format})
    entries = {tag: struct.pack(f"{order}2H2I", tag, 4, 1, value) for tag, value in tags.items()}
    if samples > 1:
        entries[258] = struct.pack(f"{order}2H2I", 258, 3, samples, end)
        entries[339] = struct.pack(f"{order}2H2I", 339, 3, samples, end + 2 * samples)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", end + len(lists))
    return head + strip + lists + directory


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
def test_high_bit_depth_tiff_is_stretched_and_inverted_where_white_is_zero(
    values: np.ndarray[Any, Any], sample_format: int, photometric: int, expected: list[int]
) -> None:
    [levels] = pixels(deep_tiff(values, photometric, sample_format)).tolist()

    assert levels == pytest.approx(expected, abs=1)


def test_an_unsupported_variant_is_not_reported_as_damaged() -> None:
    with pytest.raises(UnreadableImage, match="damaged, or of a rare variant"):
        decode(deep_tiff(RAMP.astype("<u4"), 0), max_pixels=MANY)


def deep_png(colour_type: int, samples: np.ndarray[Any, Any], *more: bytes) -> bytes:
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">2I5B", width, height, 16, colour_type, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_16_bit_grayscale_with_alpha_is_stretched_as_without() -> None:
    grey = np.array([[1000, 2000, 3000, 3000]])
    alpha = np.array([[65535, 65535, 65535, 0]])

    assert pixels(deep_png(4, np.stack([grey, alpha], axis=-1))).tolist() == [[0, 128, 255, 0]]
    assert decode(deep_png(4, np.stack([grey, alpha], axis=-1)), max_pixels=MANY).verbatim is None


GRAYS = np.random.default_rng(1).integers(0, 4096, (6, 9))
COLORS = np.random.default_rng(2).integers(0, 65536, (6, 9, 3))


def of_equal_channels(kind: str) -> bytes:
    """GREYS, stored as colours."""
    three = np.stack([GRAYS] * 3, axis=-1)
    opaque = np.full((*GRAYS.shape, 1), 65535)
    return {
        "PNG": lambda: deep_png(2, three),
        "PNG with alpha": lambda: deep_png(6, np.concatenate([three, opaque], axis=-1)),
        "TIFF": lambda: deep_tiff(three.astype("<u2"), 2),
        "TIFF of the other order": lambda: deep_tiff(three.astype(">u2"), 2),
        "deflated TIFF": lambda: deep_tiff(three.astype("<u2"), 2, deflated=True),
    }[kind]()


@pytest.mark.parametrize("kind", ["PNG", "PNG with alpha", "TIFF", "TIFF of the other order", "deflated TIFF"])
def test_high_bit_depth_grayscale_stored_as_colors_keeps_its_depth(kind: str) -> None:
    picture = decode(of_equal_channels(kind), max_pixels=MANY)

    assert picture.image.mode == "L"
    assert np.array_equal(np.asarray(picture.image), pixels(deep_png(0, GRAYS)))


def test_16_bit_colors_keep_their_upper_8_bits() -> None:
    nearly_gray = np.stack([GRAYS, GRAYS ^ 1, GRAYS], axis=-1)

    for colors in (COLORS, nearly_gray):
        assert np.array_equal(pixels(deep_png(2, colors)), colors >> 8)
        assert np.array_equal(pixels(deep_tiff(colors.astype("<u2"), 2)), colors >> 8)


def test_a_window_is_linear_from_black_to_white() -> None:
    expected = np.rint(np.clip((GRAYS - 2047.5) / 999 + 0.5, 0, 1) * 255)
    kinds = [deep_png(0, GRAYS), of_equal_channels("PNG"), deep_tiff(GRAYS.astype("<u2"), 1)]

    for data in kinds:
        assert np.array_equal(np.asarray(decode(data, max_pixels=MANY, window=(2048, 1000)).image), expected)


def test_a_window_is_in_the_values_of_a_float_image() -> None:
    data = deep_tiff(np.array([[-1, 0, 0.25, 0.5, 2]], "<f4"), 1, 3)

    assert np.asarray(decode(data, max_pixels=MANY, window=(0.25, 0.5)).image).tolist() == [[0, 0, 128, 255, 255]]


def test_a_window_does_not_change_8_bit_images() -> None:
    data = encoded(noise((5, 5), "L"))

    picture = decode(data, max_pixels=MANY, window=(40, 400))

    assert np.array_equal(np.asarray(picture.image), pixels(data))
    assert picture.verbatim == "image/png"


def test_rejects_lab_colors_by_name() -> None:
    data = encoded(Image.new("LAB", (4, 4)), "TIFF")

    with pytest.raises(UnreadableImage, match="LAB colors: convert it to RGB"):
        decode(data, max_pixels=MANY)


def test_transparent_16_bit_grayscale_is_black() -> None:
    transparent = chunk(b"tRNS", struct.pack(">H", 3000))

    assert pixels(deep_png(0, np.array([[1000, 2000, 3000]]), transparent)).tolist() == [[0, 128, 0]]


def test_transparent_grayscale_stored_as_16_bit_colors_is_black() -> None:
    three = np.repeat([[[1000], [2000], [3000]]], 3, axis=-1)

    assert pixels(deep_png(2, three, chunk(b"tRNS", struct.pack(">3H", 3000, 3000, 3000)))).tolist() == [[0, 128, 0]]


def test_a_transparent_16_bit_color_is_black_and_similar_ones_are_not() -> None:
    """All 16 bits of a color are compared: equal upper bytes or swapped bytes are another color."""
    color = np.array([0x1234, 0x5678, 0x9ABC])
    row = np.stack([color, color ^ 1, color >> 8 | (color & 255) << 8])
    expected = np.where(np.arange(3)[:, None] == 0, 0, row >> 8)

    found = pixels(deep_png(2, row[None], chunk(b"tRNS", struct.pack(">3H", *color))))

    assert np.array_equal(found, expected[None])


def test_transparent_8_bit_grayscale_is_black() -> None:
    assert pixels(encoded(Image.fromarray(np.array([[7, 200]], np.uint8)), transparency=200)).max() == 7


def test_damaged_exif_does_not_fail_the_image() -> None:
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


def test_an_orientation_after_the_pixels_is_applied() -> None:
    data = deep_png(4, np.stack([GRAYS, np.full(GRAYS.shape, 65535)], axis=-1))
    exif = Image.Exif()
    exif[0x0112] = 6
    behind = data[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + data[-12:]

    assert np.array_equal(pixels(behind), np.rot90(pixels(data), -1))


def test_rejects_a_jpeg_with_too_many_scans_before_decoding() -> None:
    data = encoded(noise((64, 64)), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")

    assert pixels(data).shape == (64, 64, 3)
    with pytest.raises(UnreadableImage, match="more than 100 scans"):
        decode(data[:-2] + data[scan:-2] * 100 + data[-2:], max_pixels=MANY)


@pytest.mark.contract("alpha on black")
def test_alpha_is_composed_on_black() -> None:
    image = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
    image.putpixel((1, 0), (200, 100, 50, 0))

    assert pixels(encoded(image)).tolist() == [[[200, 100, 50], [0, 0, 0]]]


@pytest.mark.contract("PNG")
def test_transparent_palette_entry_is_black() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 255, 255, 10, 20, 30])
    image.putpixel((1, 0), 1)

    assert pixels(encoded(image, transparency=0)).tolist() == [[[0, 0, 0], [10, 20, 30]]]


@pytest.mark.contract("PNG")
def test_one_bit_becomes_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)

    assert pixels(encoded(image)).tolist() == [[0, 255]]


@pytest.mark.contract("JPEG")
def test_a_turned_image_is_not_returned_verbatim() -> None:
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


FRAMES = noise((8, 8), seed=1), noise((8, 8), seed=2)


@pytest.mark.contract("other types")
@pytest.mark.parametrize(("kind", "options"), [("TIFF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("MPO", {})])
def test_decodes_the_first_of_several_frames(kind: str, options: dict[str, Any]) -> None:
    first, second = FRAMES
    data = encoded(first, kind, save_all=True, append_images=[second], **options)

    alone = np.asarray(first) if kind != "MPO" else pixels(encoded(first, "JPEG"))
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 2
    assert np.array_equal(pixels(data), alone)


def test_an_animated_png_is_not_returned_verbatim() -> None:
    first, second = FRAMES
    animated = encoded(first, save_all=True, append_images=[second])

    assert decode(animated, max_pixels=MANY).verbatim is None
    assert decode(encoded(first), max_pixels=MANY).verbatim == "image/png"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_picture_has_no_metadata(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a patient"
    more: dict[str, Any] = {"comment": b"a patient"} if kind == "JPEG" else {}

    picture = decode(encoded(noise((4, 4)), kind, exif=exif, icc_profile=b"a profile", **more), max_pixels=MANY)

    assert picture.image.info == {}
    assert not picture.image.getexif()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyFile),
        (b"hello, I am text", UnsupportedImage),
        (b"%PDF-1.7", UnsupportedImage),
        (b"GIF89a" + bytes(20), UnreadableImage),
        (b"8BPS\0\1" + bytes(20), UnsupportedImage),
        (b"\x89PNG\r\n\x1a\n", UnreadableImage),
        (b"\xff\xd8\xff\xe0", UnreadableImage),
    ],
)
def test_rejects_files_that_are_not_images(data: bytes, error: type[HeatlensError]) -> None:
    with pytest.raises(error):
        decode(data, max_pixels=MANY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_every_truncation_is_an_input_error_or_an_image(kind: str) -> None:
    data = encoded(noise((24, 24)), kind)

    errors = [error_of(data[:length]) for length in range(0, len(data), 41)]

    assert all(error is None or isinstance(error, InputError) for error in errors)
    with pytest.raises(UnreadableImage):
        decode(data[: len(data) // 2], max_pixels=MANY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("read", [measure, decode])
def test_rejects_one_pixel_over_the_limit(read: Callable[..., object], kind: str) -> None:
    data = encoded(noise((20, 10)), kind)

    assert measure(data, max_pixels=200) == 200
    for enough in (200, 201):
        read(data, max_pixels=enough)
    with pytest.raises(ImageTooLarge, match=r"^the image is over the limit of 0\.000199 megapixels per image$"):
        read(data, max_pixels=199)


@pytest.mark.parametrize("side", [20_000, 10_000, 65_000])
def test_rejects_a_decompression_bomb_by_its_header(side: int) -> None:
    header = struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")

    with pytest.raises(ImageTooLarge):
        decode(bomb, max_pixels=25_000_000)


@pytest.mark.parametrize("length", range(800, 1400, 25))
def test_a_gif_cut_in_a_later_frame_is_read_or_refused(length: int) -> None:
    frames = [noise((20, 20), seed=seed) for seed in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])

    with contextlib.suppress(UnreadableImage):
        assert decode(file.getvalue()[:length], max_pixels=MANY).verbatim is None


def test_a_gif_that_ends_after_its_first_frame_is_read() -> None:
    data = bytes.fromhex(
        "474946383761140014008100000001020000000000000000002c00000000140014004008220001081c48b0a0c18308132a5cc8b0a1c38710"
        "234a9c48b1a2c58b18336adc6831200021"
    )

    assert decode(data, max_pixels=MANY).image.size == (20, 20)
