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
