import cv2
import numpy as np
import pytest
from PIL import Image

from heatlens.input.clahe import clahe
from heatlens.steps import Clahe
from tests.support.images import noise


def smooth(size: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    coarse = np.asarray(noise((6, 6)).resize(size, Image.Resampling.BICUBIC), np.int64)
    grain = np.random.default_rng(0).integers(-8, 9, coarse.shape)
    return (coarse + grain).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("tiles", [(8, 8), (3, 5), (1, 1)])
@pytest.mark.parametrize("clip_limit", [2.0, 40.0, 0.0, 0.01])
@pytest.mark.parametrize("size", [(64, 64), (77, 100), (301, 500), (200, 9), (5, 5)])
def test_equalizes_each_channel_as_opencv(size: tuple[int, int], clip_limit: float, tiles: tuple[int, int]) -> None:
    pixels = smooth(size)
    theirs = cv2.createCLAHE(clip_limit, tiles[::-1])

    found = clahe(pixels, Clahe(clip_limit=clip_limit, tiles=tiles))

    for channel in range(3):
        expected = theirs.apply(np.ascontiguousarray(pixels[..., channel]))
        assert np.abs(found[..., channel].astype(int) - expected).max() <= 1
        assert (found[..., channel] == expected).mean() > 0.9


def test_values_that_are_not_whole_are_rounded() -> None:
    pixels = smooth((64, 64))

    assert np.array_equal(clahe(pixels + np.float32(0.4), Clahe()), clahe(pixels, Clahe()))
