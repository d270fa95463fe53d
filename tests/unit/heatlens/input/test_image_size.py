import pytest
from PIL import Image

from heatlens.errors import ImageTooLarge
from heatlens.input.decode import decode, measure
from heatlens.input.image_size import MAX_SIDE, check_size
from tests.support.images import encoded


@pytest.mark.parametrize("turned", [False, True])
def test_the_longest_side_is_limited(*, turned: bool) -> None:
    def strip(length: int) -> bytes:
        return encoded(Image.new("L", (1, length) if turned else (length, 1)))

    assert decode(strip(MAX_SIDE), max_pixels=MAX_SIDE).image.size[turned] == 65_500
    for work in (decode, measure):
        with pytest.raises(ImageTooLarge, match=r"^the image has more than 65,500 pixels on a side: crop it"):
            work(strip(MAX_SIDE + 1), max_pixels=10**8)


def test_the_limit_of_pixels_is_exact() -> None:
    assert check_size(20, 30, 600) == 600
    with pytest.raises(ImageTooLarge, match=r"over the limit of 0\.000599 megapixels per image"):
        check_size(20, 30, 599)
