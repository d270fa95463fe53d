import numpy as np
import pytest

from heatlens.errors import UnreadableImage
from heatlens.input.decode import decode
from heatlens.input.jpeg import check_scans, with_end
from tests.support.images import encoded, noise

SCAN = b"\xff\xda"


@pytest.mark.parametrize(
    ("pixels", "most"), [(1, 100), (20_000_000, 100), (25_000_000, 80), (100_000_000, 20), (10**10, 1)]
)
def test_the_scans_of_a_large_jpeg_are_limited_by_its_pixels(pixels: int, most: int) -> None:
    check_scans(SCAN * most, pixels)
    with pytest.raises(UnreadableImage, match=f"more than {min(most, 2 * 10**9 // pixels)} scans, which no picture"):
        check_scans(SCAN * (most + 1), pixels)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_that_lacks_only_its_end_is_read(mode: str, *, progressive: bool) -> None:
    data = encoded(noise((61, 47), mode), "JPEG", quality=90, progressive=progressive)

    for cut in (data[:-2], data[:-1]):
        picture = decode(cut, max_pixels=10_000)
        assert np.array_equal(np.asarray(picture.image), np.asarray(decode(data, max_pixels=10_000).image))
        assert picture.verbatim == "image/jpeg"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_pixels_is_refused(*, progressive: bool) -> None:
    data = encoded(noise((61, 47)), "JPEG", quality=90, progressive=progressive)

    for lost in (12, 40, 100, len(data) // 4):
        with pytest.raises(UnreadableImage, match="truncated or damaged"):
            decode(data[:-lost], max_pixels=10_000)


def test_a_whole_jpeg_is_not_decoded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(noise((16, 16)), "JPEG")
    monkeypatch.setattr("heatlens.input.jpeg._decoded", lambda _: pytest.fail("decoded"))

    assert with_end(data + b"after the end") == data + b"after the end"
