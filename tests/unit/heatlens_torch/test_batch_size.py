"""Batches of large images are small."""

import numpy as np
import pytest

from heatlens_torch.batch_size import divide, in_batches, limit_batch


@pytest.mark.parametrize(("side", "images"), [(32, 8), (224, 8), (512, 8), (600, 5), (1024, 2), (1448, 1), (4096, 1)])
def test_a_batch_has_no_more_pixels_than_two_images_of_1024(side: int, images: int) -> None:
    assert limit_batch(8, side, side) == images


def test_sides_may_differ() -> None:
    assert limit_batch(8, 512, 2048) == 2


@pytest.mark.parametrize(("side", "sizes"), [(224, [4, 4, 1]), (1024, [2, 2, 2, 2, 1])])
def test_all_images_are_in_one_batch_in_order(side: int, sizes: list[int]) -> None:
    numbers = np.arange(9, dtype=np.float32)
    images = np.lib.stride_tricks.as_strided(numbers, (9, 3, side, side), (4, 0, 0, 0))

    batches = list(in_batches(images, 4))

    assert [len(batch) for batch in batches] == sizes
    assert [image[0, 0, 0] for batch in batches for image in batch] == numbers.tolist()


@pytest.mark.parametrize(
    ("side", "sizes"), [(224, [8]), (1024, [2, 2, 2, 2]), (600, [8]), (800, [4, 4]), (4096, [2, 2, 2, 2])]
)
def test_no_image_is_alone(side: int, sizes: list[int]) -> None:
    batches = divide(np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (8, 3, side, side), (0, 0, 0, 0)), 8)

    assert [len(batch) for batch in batches] == sizes
