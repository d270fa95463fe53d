import pytest

from heatlens.errors import UnreadableImage
from heatlens.input.jpeg import check_scans

SCAN = b"\xff\xda"


@pytest.mark.parametrize(
    ("pixels", "most"), [(1, 100), (20_000_000, 100), (25_000_000, 80), (100_000_000, 20), (10**10, 1)]
)
def test_the_scans_of_a_large_jpeg_are_limited_by_its_pixels(pixels: int, most: int) -> None:
    check_scans(SCAN * most, pixels)
    with pytest.raises(UnreadableImage, match=f"more than {min(most, 2 * 10**9 // pixels)} scans, which no picture"):
        check_scans(SCAN * (most + 1), pixels)
