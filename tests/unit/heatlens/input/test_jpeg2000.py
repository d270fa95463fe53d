import struct

import numpy as np
import pytest
from PIL import Image

from heatlens.errors import UnreadableImage
from heatlens.input.decode import decode
from heatlens.input.jpeg2000 import START_OF_CODESTREAM, check_tiles, read_size
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


def coding(*, layers: int = 1, levels: int = 0, precincts: bytes = b"") -> bytes:
    """Write how a picture or a tile is coded; a precinct's sides are powers of two, the lowest resolution first."""
    return bytes([bool(precincts), 0]) + struct.pack(">H", layers) + bytes([0, levels, 4, 4, 0, 1]) + precincts


def in_tile(data: bytes, marker: int, segment: bytes) -> bytes:
    """Add a segment to the header of the only tile."""
    at = data.index(b"\xff\x93")
    part = at - 6
    length = struct.unpack_from(">L", data, part)[0] + len(segment) + 4
    added = struct.pack(">HH", marker, len(segment) + 2) + segment
    return data[:part] + struct.pack(">L", length) + data[part + 4 : at] + added + data[at:]


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


HOSTILE = [
    (0xFF52, coding(precincts=b"\0")),
    (0xFF52, coding(layers=65535, precincts=b"\x33")),
    (0xFF53, bytes([0, 1, 0, 4, 4, 0, 1, 0])),
    (0xFF52, coding(levels=1, precincts=b"\0\xff")),
]


@pytest.mark.parametrize(("marker", "segment"), HOSTILE)
def test_the_precincts_and_layers_of_a_tile_of_its_own_count(marker: int, segment: bytes) -> None:
    """A tile's header replaces the picture's; a lower resolution may have smaller precincts than the full one."""
    data = codestream(700, layers=1, precinct=15)
    check_tiles(data)

    with pytest.raises(UnreadableImage, match=r"precincts in [0-9,]+ layers, which no picture needs"):
        decode(in_tile(data, marker, segment), max_pixels=MANY)


def test_the_headers_of_later_tile_parts_count() -> None:
    data = codestream(700, layers=1, precinct=15)
    part = data[data.index(b"\xff\x90") : -2]
    hostile = in_tile(part, *HOSTILE[0])

    check_tiles(data[:-2] + part * 10 + b"\xff\xd9")
    with pytest.raises(UnreadableImage, match="precincts"):
        check_tiles(data[:-2] + part * 10 + hostile + b"\xff\xd9")


def test_the_number_of_segments_is_limited() -> None:
    data = codestream(48, layers=1, precinct=15)
    at = data.index(b"\xff\x5c")

    with pytest.raises(UnreadableImage, match="more than 100,000 segments"):
        check_tiles(data[:at] + b"\xff\x64\0\2" * 100_001 + data[at:])


@pytest.mark.parametrize("options", [{}, {"tile_size": (16, 16)}, {"num_resolutions": 3}, {"precinct_size": (64, 64)}])
def test_what_real_pictures_have_is_read(options: dict[str, object]) -> None:
    picture = noise((100, 80))

    decoded = decode(encoded(picture, "JPEG2000", **options), max_pixels=MANY)

    assert np.array_equal(np.asarray(decoded.image), np.asarray(picture))


def test_the_size_is_that_of_the_image_and_not_of_its_canvas() -> None:
    numbers = struct.pack(">8LHB", 45, 37, 5, 7, 45, 37, 0, 0, 1, 0x80 | 11)

    size = read_size(b"boxes" + START_OF_CODESTREAM + bytes(4) + numbers)

    assert (size.start, size.width, size.height, size.bits, size.signed) == (5, 40, 30, 12, True)
