import struct

import numpy as np
import pytest
from PIL import Image

from heatlens.errors import UnreadableImage
from heatlens.input.decode import decode
from heatlens.input.jpeg2000 import check_tiles
from tests.support.images import encoded, noise

MANY = 1_000_000


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_pixels_are_exact(mode: str, *, raw: bool) -> None:
    data = encoded(noise((40, 30), mode), "JPEG2000", no_jp2=raw)

    picture = decode(data, max_pixels=MANY)

    assert np.array_equal(np.asarray(picture.image), np.asarray(noise((40, 30), mode)))
    assert picture.verbatim is None


def test_16_bits_are_stretched() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (30, 40)).astype(np.uint16)

    files = [encoded(Image.fromarray(values), kind) for kind in ("JPEG2000", "PNG")]
    first, second = (np.asarray(decode(data, max_pixels=MANY).image) for data in files)

    assert np.array_equal(first, second)


def test_the_number_of_tiles_is_limited() -> None:
    data = encoded(Image.new("L", (64, 64)), "JPEG2000", tile_size=(1, 1))

    check_tiles(data)  # 4,096
    with pytest.raises(UnreadableImage, match="more than 4,096 tiles"):
        decode(encoded(Image.new("L", (65, 64)), "JPEG2000", tile_size=(1, 1)), max_pixels=MANY)


def test_a_file_without_a_size_is_damaged() -> None:
    data = encoded(noise((40, 30)), "JPEG2000")

    for stop in (20, data.index(b"\xff\x4f\xff\x51") + 10):
        with pytest.raises(UnreadableImage, match="does not say its size"):
            decode(data[:stop], max_pixels=MANY)


def codestream(side: int, *, layers: int, precinct: int) -> bytes:
    """Write a gray codestream of one empty tile; `precinct` is the power of two of a precinct's sides."""
    size = struct.pack(">HH8LH", 41, 0, side, side, 0, 0, side, side, 0, 0, 1) + bytes([7, 1, 1])
    coding = bytes([1, 0]) + struct.pack(">H", layers) + bytes([0, 0, 4, 4, 0, 1, precinct | precinct << 4])
    steps = bytes([0x40, 8 << 3])
    segments = (b"\xff\x52", coding), (b"\xff\x5c", steps)
    head = b"".join(marker + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    tile = b"\xff\x93" + bytes(16)
    part = b"\xff\x90" + struct.pack(">HHLBB", 10, 0, 12 + len(tile), 0, 1) + tile
    return b"\xff\x4f\xff\x51" + size + head + part + b"\xff\xd9"


def test_the_work_of_precincts_and_layers_is_limited() -> None:
    check_tiles(codestream(300, layers=20, precinct=0))

    for data in (codestream(400, layers=1, precinct=0), codestream(48, layers=65535, precinct=0)):
        with pytest.raises(UnreadableImage, match=r"has [0-9,]+ precincts in [0-9,]+ layers, which no picture needs"):
            decode(data, max_pixels=MANY)


def test_the_precincts_of_one_component_count() -> None:
    data = codestream(400, layers=1, precinct=15)
    own = bytes([0, 1, 0, 4, 4, 0, 1, 0])
    at = data.index(b"\xff\x5c")
    check_tiles(data)

    with pytest.raises(UnreadableImage, match="precincts"):
        check_tiles(data[:at] + b"\xff\x53" + struct.pack(">H", len(own) + 2) + own + data[at:])
