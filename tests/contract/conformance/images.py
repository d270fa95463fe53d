"""Write the conformance images beside this file: every kind of input in the contract, small and seeded."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from tests.support.dicom import dataset, dicom, written

FOLDER = Path(__file__).parent
# pydicom gives a compressed file a random identifier, whose length differs.
COMPRESSED = (
    ("rle", RLELossless, "pydicom", "92007116153657085712649562630294434223"),
    ("jpeg-ls", JPEGLSLossless, "pyjpegls", "21882066353181619643523713527862187027"),
    ("jpeg-2000", JPEG2000Lossless, "pylibjpeg", "8766954121618374350617589175282675726"),
)


def scene(width: int, height: int) -> Image.Image:
    """Return a dark field with a bright blob left of its center."""
    y, x = np.mgrid[0:height, 0:width]
    blob = np.exp(-((x - 0.3 * width) ** 2 + (y - 0.5 * height) ** 2) / (0.1 * min(width, height)) ** 2)
    grain = np.random.default_rng(0).normal(0, 0.02, (height, width))
    return Image.fromarray((np.clip(0.2 + 0.6 * blob + grain, 0, 1) * 255).astype(np.uint8))


def one_colour_png(side: int) -> bytes:
    """Return a valid PNG of `side` x `side` white pixels, 1 bit each, streamed so that it needs little memory."""
    packer, row, body = zlib.compressobj(9), b"\0" + b"\xff" * ((side + 7) // 8), b""
    for _ in range(side):
        body += packer.compress(row)
    body += packer.flush()
    return png_of((b"IHDR", struct.pack(">2I5B", side, side, 1, 0, 0, 0, 0)), (b"IDAT", body), (b"IEND", b""))


def deep_colours(values: np.ndarray[Any, Any]) -> bytes:
    """Return a PNG of 16-bit colors whose channels are all equal to these values."""
    height, width = values.shape
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in values)
    header = struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0)
    return png_of((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of these chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def dicom_files() -> dict[str, bytes]:
    """Return 12-bit DICOM files in every supported encoding, and unsupported ones."""
    values = np.asarray(scene(96, 96)).astype("<u2") * 12 + 500
    windowed: dict[str, Any] = {
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
        "WindowCenter": 700,
        "WindowWidth": 2000,
    }
    compressed = {}
    for name, syntax, encoder, uid in COMPRESSED:
        made = dataset(values, bits=12)
        made.compress(syntax, encoding_plugin=encoder)
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.3680043.8.498.{uid}")
        compressed[f"{name}.dcm"] = written(made)
    report = dataset(values)
    for element in [element for element in report if element.tag.group in (0x0028, 0x7FE0)]:
        del report[element.tag]
    return {
        "window.dcm": dicom(values, bits=12, PatientName="Phantom^One", **windowed),
        "monochrome1.dcm": dicom(values, bits=12, monochrome=1),
        "two-frames.dcm": dicom(np.concatenate([values, values]), bits=12, Rows=96, NumberOfFrames=2),
        "colours.dcm": dicom(np.stack([np.asarray(scene(48, 48))] * 3, axis=-1)),
        **compressed,
        "jpeg-lossless.dcm": compressed["jpeg-ls.dcm"].replace(JPEGLSLossless.encode(), JPEGLosslessSV1.encode()),
        "report.dcm": written(report),
        "truncated.dcm": dicom(values)[:-1000],
    }


def files() -> dict[str, bytes]:
    """Return the bytes of each file by its name."""
    grey = scene(96, 96)
    rgb = Image.merge("RGB", (grey, grey.point(lambda v: v // 2), grey.point(lambda v: 255 - v)))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 40 + 1000)
    transparent = rgb.copy()
    transparent.putalpha(grey)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    jpeg, png = saved(rgb, "JPEG", quality=90), saved(grey, "PNG")
    return {
        "grey8.png": png,
        "grey1.png": saved(grey.convert("1"), "PNG"),
        "grey16.png": saved(deep, "PNG"),
        "grey16-constant.png": saved(Image.fromarray(np.full((8, 8), 40_000, np.uint16)), "PNG"),
        "rgb8.png": saved(rgb, "PNG"),
        "palette.png": saved(rgb.quantize(16), "PNG", bits=4),
        "alpha.png": saved(transparent, "PNG"),
        "grey.jpg": saved(grey, "JPEG", quality=90),
        "rgb.jpg": jpeg,
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG", quality=90),
        "rotated.jpg": saved(scene(96, 64), "JPEG", quality=90, exif=rotated),
        "rgb.webp": saved(rgb, "WEBP", quality=80),
        "rgb.bmp": saved(rgb.resize((24, 24)), "BMP"),
        "two-frames.tif": saved(grey, "TIFF", save_all=True, append_images=[scene(32, 32)], compression="tiff_lzw"),
        "one-pixel.png": saved(Image.new("RGB", (1, 1), (90, 90, 90)), "PNG"),
        "three-to-one.png": saved(scene(192, 64), "PNG"),
        "empty.png": b"",
        "text.png": b"This is a text file with the name of an image.\n",
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated.png": png[: len(png) // 2],
        "bomb.png": one_colour_png(20_000),
        "grey16-as-colours.png": deep_colours(np.asarray(grey).astype(np.uint16) * 15),
        "animated.png": saved(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "animated.webp": saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        **dicom_files(),
    }


if __name__ == "__main__":
    for name, data in files().items():
        (FOLDER / name).write_bytes(data)
