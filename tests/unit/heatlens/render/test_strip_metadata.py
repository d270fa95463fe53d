"""Stripping removes every kind of metadata and keeps the pixels."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from heatlens.render.strip_metadata import strip_metadata
from tests.support.images import encoded, noise

MARKER = b"Lovelace"
Array = np.ndarray[Any, Any]


def pixels(data: bytes) -> Array:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x010E] = MARKER.decode()  # description
    made.get_ifd(0x8825)[0x1D] = MARKER.decode()  # GPS
    return made


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">2BH", 0xFF, marker, len(body) + 2) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def laden_png(image: Image.Image, **options: Any) -> bytes:  # noqa: ANN401
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", MARKER.decode())
    text.add_text("Packed", MARKER.decode(), zip=True)
    text.add_itxt("XML:com.adobe.xmp", MARKER.decode())
    text.add(b"tIME", struct.pack(">H5B", 2026, 1, 2, 3, 4, 5))
    text.add(b"gAMA", struct.pack(">I", 45455))
    text.add(b"prVt", MARKER)
    data = encoded(image, pnginfo=text, exif=exif(), icc_profile=MARKER, dpi=(300, 300), **options)
    return data[:-12] + chunk(b"tEXt", b"Late\0" + MARKER) + data[-12:] + MARKER


def palette(transparency: int | None = None) -> tuple[Image.Image, dict[str, Any]]:
    return noise((20, 13)).quantize(16), {} if transparency is None else {"transparency": transparency}


def rgba() -> Image.Image:
    image = noise((20, 13))
    image.putalpha(noise((20, 13), "L"))
    return image


PNGS = {
    "colours": (noise((20, 13)), {}),
    "greys": (noise((20, 13), "L"), {}),
    "a palette": palette(),
    "a transparent palette": palette(3),
    "a transparent grey": (noise((20, 13), "L"), {"transparency": 7}),
    "alpha": (rgba(), {}),
}


@pytest.mark.parametrize("name", list(PNGS))
def test_a_png_loses_its_metadata_and_no_pixel(name: str) -> None:
    image, options = PNGS[name]
    data = laden_png(image, **options)

    bare = strip_metadata(data)

    assert data.count(MARKER) >= 7
    assert bare is not None
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(bare)) as after:
        # As RGBA palettes and transparency are looked up.
        assert np.array_equal(np.asarray(after.convert("RGBA")), np.asarray(before.convert("RGBA")))
    assert MARKER not in bare
    kinds = {bare[at - 4 : at] for at in range(12, len(bare)) if bare[at - 4 : at].isalpha()}
    assert {b"tIME", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP"} & kinds == set()
    assert b"gAMA" in kinds  # it says how the numbers are shown


def laden_jpeg(image: Image.Image, **options: Any) -> bytes:  # noqa: ANN401
    options = {"quality": 90, "exif": exif(), "icc_profile": MARKER, "comment": MARKER, "xmp": MARKER} | options
    data = encoded(image, "JPEG", **options)
    iptc = segment(0xED, b"Photoshop 3.0\0" + MARKER)
    jfxx = segment(0xE0, b"JFXX\0\x13" + MARKER)
    thumbnail = segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\x01\x08" + MARKER * 3)
    head, rest = (data[:2], data[2:])
    if data[2:4] == b"\xff\xe0":
        length = struct.unpack_from(">H", data, 4)[0]
        head, rest = data[:2] + thumbnail, data[4 + length :]
    start = rest.index(b"\xff\xda")
    between = segment(0xFE, MARKER)
    return head + jfxx + iptc + rest[:start] + between + rest[start:] + MARKER


RGB = noise((70, 45))
JPEGS: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "colours": (RGB, {}),
    "colours at full resolution": (RGB, {"subsampling": 0}),
    "colours that are no YCbCr": (RGB, {"keep_rgb": True}),
    "greys": (RGB.convert("L"), {}),
    "CMYK": (RGB.convert("CMYK"), {}),
    "progressive": (RGB, {"progressive": True}),
    "restarts": (RGB, {"restart_marker_rows": 1}),
    "a poor quality": (RGB, {"quality": 1}),
}


@pytest.mark.parametrize("name", list(JPEGS))
def test_a_jpeg_loses_its_metadata_and_no_pixel(name: str) -> None:
    image, options = JPEGS[name]
    data = laden_jpeg(image, **options)

    bare = strip_metadata(data)

    assert data.count(MARKER) >= 8
    assert bare is not None
    assert MARKER not in bare
    assert np.array_equal(pixels(bare), pixels(data))
    assert bare.endswith(b"\xff\xd9")
    with Image.open(io.BytesIO(bare)) as opened:
        assert set(opened.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "adobe", "adobe_transform"} | {
            *("dpi", "progressive", "progression")
        }


def test_what_decoders_need_of_adobes_segment_stays() -> None:
    cmyk = laden_jpeg(RGB.convert("CMYK"))
    longer = cmyk.replace(
        b"\xff\xee\x00\x0eAdobe", segment(0xEE, b"Adobe" + bytes(7) + MARKER) + b"\xff\xee\x00\x0eAdobe"
    )

    for data in (cmyk, longer):
        bare = strip_metadata(data)
        assert bare is not None
        assert b"Adobe" in bare
        assert MARKER not in bare


def test_pictures_after_the_first_are_removed() -> None:
    pair = encoded(RGB, "MPO", save_all=True, append_images=[noise((70, 45), seed=4)], exif=exif())

    bare = strip_metadata(pair)

    assert bare is not None
    assert len(bare) < 0.6 * len(pair)
    assert np.array_equal(pixels(bare), pixels(pair))


def test_fill_bytes_and_bytes_between_segments_are_skipped() -> None:
    data = encoded(RGB, "JPEG")
    filled = data[:2] + b"\xff\xff\xff" + data[2:]
    dirty = data[:20] + b"\0\0" + MARKER + data[20:]  # behind JFIF's segment

    assert strip_metadata(filled) == strip_metadata(data)
    assert strip_metadata(dirty) == strip_metadata(data)


def test_a_file_without_metadata_stays_as_it_is() -> None:
    png, jpeg = encoded(RGB), encoded(RGB, "JPEG")

    assert strip_metadata(png) == png
    assert strip_metadata(jpeg) == jpeg


@pytest.mark.parametrize(
    "data",
    [
        encoded(RGB)[:-20],
        encoded(RGB, "JPEG")[:-2],
        encoded(RGB, "JPEG")[:100],
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        encoded(RGB, "WEBP"),
        b"",
    ],
)
def test_a_file_that_cannot_be_parsed_gives_none(data: bytes) -> None:
    assert strip_metadata(data) is None


def test_a_damaged_jpeg_that_decoders_read_on_is_not_cut() -> None:
    """An end of the image within the scan: decoders go on to the next scan or fill the rest, and so must the copy."""
    data = encoded(noise((200, 160)), "JPEG", quality=95, progressive=True)
    scans = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    damaged = {
        "an end before the last scans": data[: scans[4]] + b"\xff\xd9" + data[scans[4] :],
        "an end within a scan": data[: scans[5] + 90] + b"\xff\xd9" + data[scans[5] + 92 :],
        "a second start": data[:-2] + data,
        "a segment that is too long": data[: scans[3] + 60] + b"\xff\xe1\x03\xff" + data[scans[3] + 60 :],
    }
    for name, bad in damaged.items():
        bare = strip_metadata(bad)

        assert bare is None or np.array_equal(pixels(bare), pixels(bad)), name


def test_a_file_whose_pixels_would_change_is_not_stripped(monkeypatch: pytest.MonkeyPatch) -> None:
    data, other = laden_jpeg(RGB), laden_jpeg(noise((70, 45), seed=1))
    png, other_png = laden_png(RGB), laden_png(noise((70, 45), seed=1))

    monkeypatch.setattr("heatlens.render.strip_metadata._jpeg", lambda _: other)
    monkeypatch.setattr("heatlens.render.strip_metadata._png", lambda _: other_png)

    assert strip_metadata(data) is None
    assert strip_metadata(png) is None
