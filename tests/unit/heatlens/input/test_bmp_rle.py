import io
import random
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import BmpImagePlugin, Image

from heatlens.input.bmp_rle import BmpRleDecoder
from heatlens.input.decode import decode
from tests.support.paths import ROOT


def unpacked(
    kind: type[BmpImagePlugin.BmpRleDecoder], codes: bytes, size: tuple[int, int], *, rle4: bool, odd: int
) -> bytes:
    """Run a decoder on codes that begin `odd` bytes into a file."""
    decoder: Any = kind("P", "P", rle4, 0)
    decoder.fd, decoder.mode, decoder.args = io.BytesIO(bytes(odd) + codes), "P", ("P", rle4, 0)
    decoder.fd.read(odd)
    decoder.state = SimpleNamespace(xsize=size[0], ysize=size[1])
    result: list[bytes] = []
    decoder.set_as_raw = lambda data, *_: result.append(bytes(data))
    decoder.decode(b"")
    return result[0]


def codes(rng: random.Random) -> bytes:
    """Make one code: a run, an end of line or of the bitmap, a delta, or literal pixels, some of them cut."""
    literal = rng.randint(3, 12)
    size = (literal + 1) // 2 * 2 if rng.random() < 0.9 else 3
    return bytes(
        rng.choice(
            [
                (rng.randint(1, 30), rng.randint(0, 255)),
                (0, 0),
                (0, int(rng.random() < 0.1)),
                (0, 2, rng.randint(0, 9), rng.randint(0, 2)),
                (0, literal, *(rng.randint(0, 255) for _ in range(size))),
            ]
        )
    )


@pytest.mark.parametrize("rle4", [False, True])
def test_the_pixels_are_those_of_pillows_decoder(*, rle4: bool) -> None:
    rng = random.Random(0)
    for _ in range(1500):
        size, odd = (rng.randint(1, 20), rng.randint(1, 12)), rng.randint(0, 1)
        stream = b"".join(codes(rng) for _ in range(rng.randint(0, 30)))

        expected = unpacked(BmpImagePlugin.BmpRleDecoder, stream, size, rle4=rle4, odd=odd)
        assert unpacked(BmpRleDecoder, stream, size, rle4=rle4, odd=odd) == expected


def bmp(codes: bytes, width: int, height: int, *, rle4: bool) -> bytes:
    palette = bytes(value for level in range(16 if rle4 else 256) for value in (level, level, level, 0))
    offset = 54 + len(palette)
    head = struct.pack("<IHHI", offset + len(codes), 0, 0, offset)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 4 if rle4 else 8, 2 if rle4 else 1, len(codes), 0, 0, 0, 0)
    return b"BM" + head + info + palette + codes


def test_a_run_length_encoded_bitmap_is_decoded() -> None:
    picture = decode(bmp(b"\x03\x07\0\0\0\x03\x01\x02\x03\0\0\1", 3, 2, rle4=False), max_pixels=100).image

    assert np.asarray(picture.convert("L")).tolist() == [[1, 2, 3], [7, 7, 7]]  # from the bottom up


@pytest.mark.parametrize("rle4", [False, True])
def test_the_work_follows_from_the_bytes_not_from_the_pixels_claimed(tmp_path: Path, *, rle4: bool) -> None:
    """A hundred megapixels of ends of lines take a fraction of a second; pixel by pixel they took 14."""
    (tmp_path / "lines.bmp").write_bytes(bmp(b"\x01\x07\0\0" * 10_000, 10_000, 10_000, rle4=rle4))
    program = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (6, 6))
from heatlens.input.decode import decode
print(decode(open(sys.argv[1], "rb").read(), max_pixels=10**8).image.size)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "lines.bmp")]

    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout) == (0, "(10000, 10000)\n"), result.stderr


def test_pillow_uses_this_decoder() -> None:
    assert Image.DECODERS["bmp_rle"] is BmpRleDecoder
