import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from heatlens.errors import TooMuchMemory
from heatlens.input.decode import decode
from heatlens.input.decode_memory import check_memory
from tests.support.dicom import dataset, dicom, written
from tests.support.images import encoded, noise
from tests.support.paths import ROOT
from tests.unit.heatlens.input.test_decode import deep_png

SIDE = 2000
PIXELS = SIDE * SIDE
COLORS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype("u1")
FILES = {
    "L PNG": lambda: encoded(Image.new("L", (SIDE, SIDE))),
    "P PNG with a transparent color": lambda: encoded(Image.new("P", (SIDE, SIDE)), transparency=0),
    "RGB PNG": lambda: encoded(Image.new("RGB", (SIDE, SIDE))),
    "RGBA PNG": lambda: encoded(Image.new("RGBA", (SIDE, SIDE))),
    "16-bit PNG": lambda: encoded(Image.new("I;16", (SIDE, SIDE), 7)),
    "16-bit gray and alpha PNG": lambda: deep_png(4, np.zeros((SIDE, SIDE, 2), "u2")),
    "16-bit gray RGBA PNG": lambda: deep_png(6, np.zeros((SIDE, SIDE, 4), "u2")),
    "JPEG": lambda: encoded(Image.new("RGB", (SIDE, SIDE)), "JPEG"),
    "progressive JPEG": lambda: encoded(Image.new("RGB", (SIDE, SIDE)), "JPEG", progressive=True),
    "JPEG without end": lambda: encoded(Image.fromarray(COLORS), "JPEG")[:-2],
    "progressive JPEG without end": lambda: encoded(Image.fromarray(COLORS), "JPEG", progressive=True)[:-2],
    "JPEG of middle gray": lambda: encoded(Image.new("RGB", (SIDE, SIDE), (128, 128, 128)), "JPEG"),
    "CMYK JPEG": lambda: encoded(Image.new("CMYK", (SIDE, SIDE)), "JPEG"),
    "WebP": lambda: encoded(Image.new("RGB", (SIDE, SIDE)), "WEBP", method=0),
    "lossless WebP": lambda: encoded(Image.fromarray(COLORS), "WEBP", method=0, lossless=True),
    "AVIF": lambda: encoded(Image.fromarray(COLORS), "AVIF", speed=10),
    "GIF": lambda: encoded(Image.fromarray(COLORS).quantize(), "GIF"),
    "JPEG 2000": lambda: encoded(Image.fromarray(COLORS), "JPEG2000"),
    "float TIFF": lambda: encoded(Image.new("F", (SIDE, SIDE), 0.5), "TIFF", compression="tiff_adobe_deflate"),
    "32-bit TIFF": lambda: encoded(Image.new("I", (SIDE, SIDE), 7), "TIFF", compression="tiff_adobe_deflate"),
    "16-bit DICOM": lambda: dicom(np.zeros((SIDE, SIDE), "u2")),
    "deflated DICOM": lambda: dicom(np.zeros((SIDE, SIDE), "u2"), DeflatedExplicitVRLittleEndian),
    "DICOM of unpacked YBR": lambda: dicom(np.zeros((SIDE, SIDE, 3), "u1"), PhotometricInterpretation="YBR_FULL"),
    "DICOM of color JPEG": lambda: compressed_dicom(JPEGBaseline8Bit),
    "DICOM of color JPEG 2000": lambda: compressed_dicom(JPEG2000Lossless),
    "DICOM of color JPEG-LS": lambda: compressed_dicom(JPEGLSLossless),
    "DICOM with a palette": lambda: palette_dicom(),
    "DICOM of 64-bit RLE": lambda: rle_dicom(),
}


def compressed_dicom(syntax: UID) -> bytes:
    made = dataset(COLORS)
    if syntax == JPEGBaseline8Bit:
        frame = encoded(Image.fromarray(COLORS), "JPEG", progressive=True)
        made.file_meta.TransferSyntaxUID, made.PixelData = syntax, encapsulate([frame])
        made["PixelData"].is_undefined_length = True
    else:
        made.compress(syntax, encoding_plugin="pylibjpeg" if syntax == JPEG2000Lossless else "")
    return written(made)


def palette_dicom() -> bytes:
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color in ("Red", "Green", "Blue"):
        tags[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{color}PaletteColorLookupTableData"] = (np.arange(256) * 257).astype("<u2").tobytes()
    return dicom(COLORS[..., 0], **tags)


def rle_dicom() -> bytes:
    """Write samples of 64 bits, each byte a segment of runs."""
    made = dataset(np.zeros((SIDE, SIDE), "<u8"), RLELossless)
    segment = b"\x81\x07" * (PIXELS // 128)
    starts = [64 + number * len(segment) for number in range(8)]
    made.PixelData = encapsulate([struct.pack("<16L", 8, *starts, *[0] * 7) + segment * 8])
    made["PixelData"].is_undefined_length = True
    return written(made)


PROGRAM = """
import sys
from heatlens.input.decode import decode

def status(name):  # ru_maxrss would begin with the peak of the process that started this one
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

small, large = (open(path, "rb").read() for path in sys.argv[1:])
decode(small, max_pixels=10**9)
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = status("VmRSS")
decode(large, max_pixels=10**9)
print(status("VmHWM") - before)
"""


def estimate(data: bytes) -> int:
    """Find the smallest limit under which an image is decoded, in bytes per pixel."""
    for per_pixel in range(1, 64):
        try:
            decode(data, max_pixels=PIXELS, max_bytes=PIXELS * per_pixel)
        except TooMuchMemory:
            continue
        return per_pixel
    raise AssertionError


@pytest.mark.parametrize("kind", FILES)
def test_an_image_takes_no_more_memory_than_was_estimated(kind: str, tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    large.write_bytes(data := FILES[kind]())
    small.write_bytes(dicom(np.zeros((8, 8), "u2")) if "DICOM" in kind else encoded(noise((8, 8))))

    grown = subprocess.run(
        [sys.executable, "-c", PROGRAM, small, large], cwd=ROOT, capture_output=True, check=True, text=True
    )

    # Libraries that are loaded with the first such file come on top.
    assert 1 < int(grown.stdout) / PIXELS < estimate(data) + 1.5


@pytest.mark.parametrize("kind", ["RGB PNG", "float TIFF", "16-bit DICOM"])
def test_the_limit_is_exact_and_says_what_to_do(kind: str) -> None:
    data = FILES[kind]()
    needs = PIXELS * estimate(data)

    decode(data, max_pixels=PIXELS, max_bytes=needs)
    with pytest.raises(TooMuchMemory) as caught:
        decode(data, max_pixels=PIXELS, max_bytes=needs - 1)
    assert str(caught.value) == (
        f"decoding this image of 4.0 megapixels takes about {needs / 1e6:,.0f} MB of memory and there are "
        f"{needs / 1e6:,.0f} for it: send a smaller image, or give the function or the server more memory"
    )


def test_without_a_limit_nothing_is_checked() -> None:
    check_memory(10**12, 100, None)


def test_the_peak_of_a_float_image_is_far_below_that_of_whole_arrays() -> None:
    """Values of 8 bytes for the whole image, twice, would be 28 bytes a pixel."""
    assert estimate(FILES["float TIFF"]()) <= 16


@pytest.mark.parametrize("kind", ["RGB PNG", "progressive JPEG", "float TIFF", "16-bit DICOM", "WebP"])
def test_running_out_of_memory_is_no_damaged_image(kind: str, tmp_path: Path) -> None:
    data, path = FILES[kind](), tmp_path / "image"
    path.write_bytes(data)
    program = """
import resource, sys
from heatlens.input.decode import decode
import heatlens.input.dicom
data = open(sys.argv[1], "rb").read()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 4_000_000,) * 2)
try:
    decode(data, max_pixels=10**9)
except BaseException as error:
    print(type(error).__name__)
"""
    result = subprocess.run([sys.executable, "-c", program, path], cwd=ROOT, capture_output=True, check=True, text=True)

    assert result.stdout.strip() == "MemoryError"


def test_this_process_has_no_limit_of_its_own() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
