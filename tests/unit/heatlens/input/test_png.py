import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from heatlens.errors import UnreadableImage
from heatlens.input.decode import decode, measure
from heatlens.input.png import without_metadata
from tests.support.images import encoded, noise
from tests.unit.heatlens.input.test_decode import chunk

MANY = 1_000_000
IMAGE = noise((30, 20))
DATA = encoded(IMAGE)
PACKED = zlib.compress(bytes(2_000_000))


def damaged(kind: bytes, body: bytes) -> bytes:
    whole = chunk(kind, body)
    return whole[:-1] + bytes((whole[-1] ^ 1,))


METADATA = {
    "zTXt that unpacks to much": chunk(b"zTXt", b"a\0\0" + PACKED),
    "XMP that unpacks to much": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + PACKED),
    "a profile that unpacks to much": chunk(b"iCCP", b"a\0\0" + PACKED),
    "much text": chunk(b"tEXt", b"a\0" + b"x" * 60_000) * 1200,
    "text with another checksum": damaged(b"tEXt", b"a\0b"),
    "a private chunk with another checksum": damaged(b"prVt", b"ab"),
    "gamma with another checksum": damaged(b"gAMA", bytes(4)),
    "gamma that is too short": chunk(b"gAMA", b"a"),
    "a resolution that is too short": chunk(b"pHYs", b"a"),
    "an orientation with another checksum": damaged(b"eXIf", b"MM\0*\0\0\0\x08\0\0"),
}


@pytest.mark.contract("PNG")
@pytest.mark.parametrize("place", [33, -12])
@pytest.mark.parametrize("kind", METADATA)
def test_metadata_of_any_kind_does_not_fail_the_pixels(kind: str, place: int) -> None:
    data = DATA[:place] + METADATA[kind] + DATA[place:]

    picture = decode(data, max_pixels=MANY)

    assert np.array_equal(np.asarray(picture.image), np.asarray(IMAGE))
    assert picture.verbatim == "image/png"
    assert measure(data, max_pixels=MANY) == 600


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"IEND"])
def test_a_wrong_checksum_of_pixels_is_refused(kind: bytes) -> None:
    at = DATA.index(kind)
    end = at + 4 + struct.unpack_from(">I", DATA, at - 4)[0]
    data = DATA[:end] + bytes((DATA[end] ^ 1,)) + DATA[end + 1 :]

    with pytest.raises(UnreadableImage, match="another checksum than its bytes"):
        decode(data, max_pixels=MANY)


def test_a_transparent_color_with_another_checksum_is_refused() -> None:
    data = DATA[:33] + damaged(b"tRNS", bytes(6)) + DATA[33:]

    with pytest.raises(UnreadableImage, match="another checksum"):
        decode(data, max_pixels=MANY)


def test_palette_transparency_orientation_and_animation_stay() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    flat = encoded(IMAGE.quantize(8), transparency=3, exif=exif)
    moving = encoded(IMAGE, save_all=True, append_images=[noise((30, 20), seed=1)])

    assert without_metadata(flat) == flat
    assert without_metadata(moving) == moving
    assert decode(flat, max_pixels=MANY).image.size == (20, 30)
    assert decode(moving, max_pixels=MANY).verbatim is None


def test_a_file_that_ends_early_ends_as_it_did() -> None:
    for stop in range(len(DATA) - 1):
        assert without_metadata(DATA[:stop]).endswith(DATA[max(8, stop - 20) : stop])
        with Image.open(io.BytesIO(DATA)) as image:
            assert image.size == (30, 20)
    assert without_metadata(DATA + b"more") == DATA
